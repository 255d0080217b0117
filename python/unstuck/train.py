"""Trainer: moves θ over a landscape with an optimizer, batch by batch, and keeps the record."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import serving
from .atomic_file import as_path
from .detached import Detached
from .errors import ArgumentError, ArgumentTypeError, NonFiniteError
from .exclusive import Exclusive, moving
from .failure import Failure
from .history import History
from .interrupt import Interrupts
from .landscape import Landscape, check_landscape, check_theta
from .progress import Progress, check_progress
from .ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Count
from .sampler import Sampler
from .schedules.telling import require_told, tell, watched
from .state import State
from .trainer_arguments import check_optimizer, positive, start_of
from .updates import Updates, gradient_norm
from .validation import Validation

if TYPE_CHECKING:
    from .history import Watcher
    from .optim.base import Optimizer

__all__ = ["Failure", "Trainer", "gradient_norm"]

Array = NDArray[Any]

PROGRESS_SECONDS = 0.1


class Trainer(Updates):
    """A training run: one landscape, one optimizer, and everything that changes.

    Training moves the landscape's own point, `land.theta` (a network's parameters), in place. Networks are
    always trained in train mode, whatever the mode in which the landscape is looked at.

    Args:
        land: any Landscape.
        opt: an optimizer of `unstuck.optim`; it is initialised here, its state then belongs to this run. An
            earlier run that it served goes on with a copy. Its learning rate may be a schedule, or be changed
            between two calls of `fit`. A schedule that watches the training (`us.schedules.reduce_on_plateau`)
            is told of every epoch: the validation, or without validation data the epoch's mean training loss;
            `opt.lr` is then the schedule as it has become.
        batch_size: samples per update, drawn without replacement in a fresh order every epoch; the last batch
            of an epoch holds what is left, and its loss is the mean over its own samples. At least the number
            of samples: all data in natural order. Without meaning for a landscape without data.
        seed: of the order of the samples, 0 ≤ seed < 2⁶⁴.
        validation: (X, y), measured after every epoch.
        clip_norm: gradients longer than this are scaled down to this length (torch's clip_grad_norm_ divides by
            norm + 1e-6 instead).
        ema: decay d in (0, 1) of the moving average a ← d·a + (1 − d)·θ after every update, a₀ = θ₀; see
            `average`.
        theta: where to start, (n,); None: at `land.theta`.

    Raises:
        ArgumentError: an argument out of its range, or a start that is missing or not finite.
        ArgumentTypeError: an argument of the wrong type.
        BusyError: another thread is training the run that `opt` serves.

    While one thread trains a run, others are refused with BusyError whatever would read or change its state.
    """

    def __init__(
        self,
        land: Landscape,
        opt: Optimizer,
        batch_size: int = 32,
        seed: int = 0,
        *,
        validation: tuple[Any, Any] | None = None,
        clip_norm: float | None = None,
        ema: float | None = None,
        theta: Any = None,
    ) -> None:
        check_landscape(land)
        check_optimizer(opt)
        self.batch_size = min(Count(1).check("batch_size", batch_size), 2**62)  # beyond any data set
        self.seed = Count(0).check("seed", seed)
        if self.seed >= 2**64:
            raise ArgumentError(f"`seed` must be below 2**64, got {seed}")
        self.clip_norm = None if clip_norm is None else positive(NON_NEGATIVE, "clip_norm", clip_norm)
        self.ema = None if ema is None else positive(BELOW_ONE, "ema", ema)
        self.land = land
        self._opt = opt
        self._exclusive = Exclusive()
        self.theta, start = start_of(land, theta)
        self.validation = None if validation is None else Validation(land, validation)
        self.sampler = Sampler(land.samples, self.batch_size, self.seed)
        self.history = History()
        self.failure: Failure | None = None
        self.watchers: list[Watcher] = []
        self._take(opt)
        self.average: Array | None = None if self.ema is None else start.copy()
        self._forked_at = 0
        self._seconds_per_step = 0.0
        self.theta[:] = start  # last: an error above leaves the landscape's point alone

    @property
    def opt(self) -> Optimizer:
        """The optimizer; assigning another starts it afresh from where θ stands."""
        return self._opt

    @opt.setter
    def opt(self, opt: Optimizer) -> None:
        check_optimizer(opt)
        with self._exclusive.quick("opt"):
            self._take(opt)
            opt.start = self.t

    def _take(self, opt: Optimizer) -> None:
        """Starts `opt` for this run; the run that it served until now goes on with a copy of it."""
        with serving.handed_over(opt, self):
            opt.init(self.land.blocks, self.land.dtype)
            self._opt = opt

    @property
    def t(self) -> int:
        """Updates done."""
        return self._forked_at + self.history.updates

    @property
    def epoch(self) -> int:
        """Epochs completed."""
        return self.sampler.epoch

    def __repr__(self) -> str:
        return f"Trainer({self.land.n} parameters, {self.opt!r}, {self.t} updates, {self.epoch} epochs)"

    def fit(
        self,
        epochs: int | None = None,
        steps: int | None = None,
        progress: Progress | None = None,
        *,
        unstick: bool = False,
    ) -> Trainer:
        """Trains on, from where the run stands.

        Args:
            epochs: train for this many passes over the data.
            steps: train for this many updates; give one of the two.
            progress: called as progress(done, total, text) at most ten times a second.
            unstick: where the loss stands still, have `us.unstick` free the run; its history names what was done.

        Returns:
            The run itself.

        Raises:
            ArgumentTypeError: `progress` is not callable.
            BusyError: this run is being trained already, or another run trains the same network.
            NonFiniteError: the loss or the gradient of an update is NaN or infinite. Nothing of that update
                is applied, the message names its number and the parameter block, and `failure` keeps them.
            KeyboardInterrupt: on Ctrl-C, within half a second plus one update. The update under way is either
                done and recorded or not done at all; the run can go on.
        """
        total = self._steps_wanted(epochs, steps)
        FLAG.check("unstick", unstick)
        check_progress(progress)
        self._check_batches(total)
        done, last_call = 0, time.perf_counter()
        busy, watched_as_asked = self._exclusive.long("fit"), self._plateaus() if unstick else nullcontext()
        with busy, moving(self.theta, "fit"), Interrupts() as interrupts, watched_as_asked:
            self.failure = None
            if total and self._validation_is_due():
                self._validate(interrupts)
            while done < total:
                epoch = self.sampler.epoch
                done += self._run_chunk(min([total - done, *(w.due_in(self) for w in self.watchers)]), interrupts)
                if self.failure is not None:
                    raise NonFiniteError(self.failure.text)
                if self.sampler.epoch > epoch:
                    self._validate(interrupts)
                self._watch(interrupts)
                if progress is not None and (done == total or time.perf_counter() - last_call > PROGRESS_SECONDS):
                    progress(done, total, f"step {self.t}, loss {self.history['loss'][-1]:.4g}")
                    last_call = time.perf_counter()
        return self

    def state(self) -> State:
        """A copy of everything that training changes."""
        sampler = self.sampler
        with self._exclusive.quick("state"):
            return State(
                self.theta,
                self.opt.state(),
                sampler.epoch,
                sampler.position,
                self.history.updates,
                self.average,
                self._buffers(),
            ).copy()

    def restore(self, state: State) -> None:
        """Puts the run back to a state that was taken from it; later rows of the history are dropped.

        Raises:
            ArgumentError: the state is of another problem, or later than the run's history.
            ArgumentTypeError: `state` is no State.
        """
        if not isinstance(state, State):
            raise ArgumentTypeError(f"`state` must be what `state()` returned, got {type(state).__name__}")
        theta = check_theta(state.theta, self.land.n, self.land.dtype, "state.theta")
        buffers = self._buffers()
        if getattr(state.buffers, "shape", None) != getattr(buffers, "shape", None):
            raise ArgumentError("`state` and the run must have the same running statistics")
        if (state.average is None) != (self.average is None):
            raise ArgumentError("`state` and the run must both have a moving average or both have none")
        if not 0 <= state.updates <= self.history.updates:
            raise ArgumentError(f"`state` is of {state.updates} updates, the history has {self.history.updates}")
        with self._exclusive.quick("restore"):
            self.opt.load_state(state.copy().optimizer)
            self.history.truncate(state.updates)
            self.theta[:] = theta
            if buffers is not None:
                buffers[:] = state.buffers
            self.average = None if state.average is None else state.average.copy()
            self.sampler.epoch, self.sampler.position = state.epoch, state.position
            self.failure = None

    def _buffers(self) -> Array | None:
        """The live running statistics; None where there are none."""
        buffers: Array | None = getattr(self.land, "buffers", None)
        return None if buffers is None or not buffers.size else buffers

    def digest(self) -> str:
        """SHA-256 of everything that training changes: equal digests, equal runs from here on."""
        return self.state().digest()

    def move_to(self, theta: Any, kind: str = "move", text: str = "") -> None:
        """Puts θ somewhere else, e.g. beyond a saddle; the history gets an event.

        The optimizer's momentum and second moments belong to the old place and start from zero; its schedule
        goes on.

        Raises:
            ArgumentError: `theta` has a wrong shape or is not finite.
            ArgumentTypeError: `kind` or `text` is no text.
        """
        if not (isinstance(kind, str) and isinstance(text, str)):
            raise ArgumentTypeError("`kind` and `text` must be text")
        array = check_theta(theta, self.land.n, self.land.dtype)
        if not np.isfinite(array).all():
            raise ArgumentError("`theta` must be finite")
        with self._exclusive.quick("move_to"):
            self.theta[:] = array
            self.opt.init(self.land.blocks, self.land.dtype)
            self.opt.start = self.t
            self.failure = None
            self.history.events.append({"step": self.t, "kind": kind, "text": text})

    def fork(self) -> Trainer:
        """An independent run from the same state on the same landscape, with an empty history.

        Training the fork moves its own θ and leaves this run, and a network's parameters, to the bit as they are.
        It is validated only where the schedule is told of the validation, and watched only by what lasts, such as
        running statistics that are computed again.
        """
        with self._exclusive.quick("fork"):
            twin = Trainer(
                Detached(self.land),
                self.opt.copy(),
                self.batch_size,
                self.seed,
                clip_norm=self.clip_norm,
                ema=self.ema,
                theta=self.theta,
            )
            twin.opt.load_state(self.opt.state())
            twin.sampler = self.sampler.copy()
            twin.validation = self.validation if watched(self.opt) else None
            twin.average = None if self.average is None else self.average.copy()
            twin.history.begin_within(self.history, self.sampler.epoch)
            twin._forked_at, twin._seconds_per_step = self.t, self._seconds_per_step
            twin.watchers = [watcher for watcher in self.watchers if getattr(watcher, "lasting", False)]
            return twin

    def save(self, path: str | Path) -> None:
        """Writes the run to one file (safetensors with JSON inside), whole or not at all; see `load`."""
        from .checkpoint import save_trainer

        goal = as_path(path)
        with self._exclusive.quick("save"):
            save_trainer(self, goal)

    @staticmethod
    def load(path: str | Path, land: Landscape, *, opt: Optimizer | None = None, validation: Any = None) -> Trainer:
        """The saved run on the same landscape; going on equals not having stopped, bit for bit.

        Args:
            path: a file written by `save`.
            land: the landscape of the saved run (data are not in the file); its θ is set to the saved one.
            opt: needed only if a rate or hyper-parameter was a function of one's own, which no file can hold: an
                optimizer that has it. The run goes on with a copy.
            validation: (X, y), as in the constructor.

        Raises:
            ArgumentTypeError: `path` is no path, `land` no landscape or `opt` no optimizer.
            CheckpointError: the file is missing, damaged, of another kind or a newer format, or does not fit
                `land`.
        """
        from .checkpoint import load_trainer

        return load_trainer(as_path(path), check_landscape(land), opt, validation)

    def _steps_wanted(self, epochs: int | None, steps: int | None) -> int:
        require_told(self.opt, accuracy=self.validation is not None)
        if (epochs is None) == (steps is None):
            raise ArgumentError("`fit` needs either `epochs` or `steps`")
        if steps is not None:
            return Count(0).check("steps", steps)
        if self.sampler.samples is None:
            raise ArgumentError("`epochs` has no meaning for a landscape without data; give `steps`")
        return Count(0).check("epochs", epochs) * self.sampler.steps_per_epoch

    def _check_batches(self, total: int) -> None:
        """Refuses sizes of batches that a layer cannot be trained on, before anything changes."""
        check = getattr(self.land, "check_batch", None)
        if total and check is not None:
            check(self.sampler.smallest(total))

    def _plateaus(self) -> AbstractContextManager[None]:
        """Watches for plateaus, and frees the run from them."""
        from .doctor.plateau import watched_for_plateaus

        return watched_for_plateaus(self)

    def _validate(self, interrupts: Interrupts) -> None:
        if self.validation is None:
            return
        loss, accuracy = self.validation(self.theta)
        with interrupts.held:
            self.history.add_validation(
                validation_step=self.history.updates,
                validation_epoch=self.sampler.epoch,
                validation_loss=loss,
                validation_accuracy=accuracy,
            )
            tell(self.opt, self.t, loss, accuracy)

    def _watch(self, interrupts: Interrupts) -> None:
        for watcher in self.watchers:
            row = watcher.observe(self)
            if row is not None:
                with interrupts.held:
                    self.history.add_curvature(**row)

    def _validation_is_due(self) -> bool:
        """Whether an interrupt came between the last update of an epoch and its validation."""
        if self.validation is None or self.sampler.position or not self.history.updates:
            return False
        return self.sampler.epoch not in self.history["validation_epoch"][-1:]
