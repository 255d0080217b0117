"""Updates: how a run makes its training steps, in the core or one by one, and records them."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .failure import Failure, describe, first_non_finite
from .interrupt import Interrupts
from .schedules.telling import tell, watched

if TYPE_CHECKING:
    from .history import History
    from .landscape import Landscape
    from .sampler import Sampler
    from .validation import Validation

Array = NDArray[Any]

CHUNK_SECONDS = 0.1  # how long one call into the core may last: the answer to Ctrl-C waits for its end


class Updates:
    """The part of a Trainer that moves θ."""

    land: Landscape
    theta: Array
    sampler: Sampler
    history: History
    validation: Validation | None
    average: Array | None
    clip_norm: float | None
    ema: float | None
    failure: Failure | None
    _seconds_per_step: float
    opt: Any
    t: Any

    def _run_chunk(self, wanted: int, interrupts: Interrupts) -> int:
        """At most `wanted` updates up to the next validation, recorded; sets `failure` if one cannot be made."""
        if not self.sampler.full or self.validation is not None or watched(self.opt):
            wanted = min(wanted, self.sampler.steps_per_epoch - self.sampler.position)
        started = time.perf_counter()
        if hasattr(self.land, "train_steps"):
            affordable = int(CHUNK_SECONDS / self._seconds_per_step) if self._seconds_per_step else 1
            done = self._core_steps(min(wanted, max(1, affordable)), interrupts)
        else:
            done = self._one_step(interrupts)
        if done:
            self._seconds_per_step = (time.perf_counter() - started) / done
        return done

    def _core_steps(self, steps: int, interrupts: Interrupts) -> int:
        """`steps` updates in one call into the core."""
        rates = self._rates(steps)
        land: Any = self.land
        with interrupts.held:
            record = land.train_steps(
                self.theta,
                self.opt,
                self.sampler.upcoming(steps),
                self.sampler.batch_size,
                rates,
                self.clip_norm,
                **({} if self.ema is None else {"average": self.average, "average_decay": self.ema}),
            )
            if record.stop is not None:
                self.failure = self._failure(record.done)
            self._record(record.loss[: record.done], record.gradient_norm[: record.done], rates[: record.done])
            if record.error is not None:
                raise record.error
        return int(record.done)

    def _one_step(self, interrupts: Interrupts) -> int:
        """One update through the landscape's gradient."""
        rates = self._rates(1)
        loss, gradient = self.land.gradient(self.theta, self.sampler.batch())
        norm = gradient_norm(gradient)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.failure = self._failure(0)
            return 0
        if self.clip_norm is not None:
            gradient *= min(1.0, self.clip_norm / norm) if norm else 1.0
        with interrupts.held:
            self._apply(gradient, float(rates[0]))
            if self.average is not None and self.ema is not None:
                self.average += (1.0 - self.ema) * (self.theta - self.average)
            self._record(np.array([loss]), np.array([norm]), rates)
        return 1

    def _apply(self, gradient: Array, lr: float) -> None:
        """One update at the run's place in the schedule, which an optimizer that started afresh has lost."""
        schedule = self.opt.lr
        self.opt.lr = lr
        try:
            self.opt.step(self.theta, gradient)
        finally:
            self.opt.lr = schedule

    def _record(self, losses: Array, norms: Array, rates: Array) -> None:
        steps = len(losses)
        if not steps:
            return
        first = self.t
        self.history.add_updates(
            step=np.arange(first + 1, first + steps + 1),
            epoch=self.sampler.epochs(steps),
            loss=losses,
            gradient_norm=norms,
            lr=rates,
            samples=self.sampler.sizes(steps),
        )
        epoch = self.sampler.epoch
        self.sampler.advance(steps)
        if watched(self.opt) and self.validation is None and self.sampler.epoch > epoch:
            tell(self.opt, self.t, self.history.last_epoch_loss(self.sampler.steps_per_epoch))

    def _rates(self, steps: int) -> Array:
        """The learning rates of the next updates."""
        return np.array([self.opt.rate(self.t + i) for i in range(steps)], dtype=np.float64)

    def _failure(self, done: int) -> Failure:
        """Names the update `done` steps ahead of the sampler, which could not be made."""
        sampler = self.sampler.copy()
        sampler.advance(done)
        loss, gradient = self.land.gradient(self.theta, sampler.batch())
        where = first_non_finite(self.land, self.theta, gradient)
        return describe(where, loss, self.t + done + 1, sampler.epoch, self.opt.rate(self.t + done))


def gradient_norm(gradient: Array) -> float:
    """‖g‖ accumulated in float64."""
    wide = gradient.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        return math.sqrt(float(wide @ wide))
