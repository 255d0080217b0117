"""Optimizer: checked hyper-parameters, schedules, state, and one fused update in place."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, ArgumentTypeError, NonFiniteError
from ..landscape import Block
from ..nearest_name import cure
from ..ranges import NON_NEGATIVE, Choice, Count, Limit
from ..schedules import Schedule, from_description
from . import per_block, storage
from .asked import what_is_asked
from .hyper import Hyper, Number, restored
from .step_report import StepReport

Array = NDArray[Any]
Rate = float | Callable[[int], float]
Self = TypeVar("Self", bound="Optimizer")

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
_ROUNDING = Choice("nearest", "stochastic")
_MOST_UPDATES = 2**53  # exact in float64
_KEYS = {"rule", "lr", "hyper", "n", "dtype", "t", "slots"}


class Options(TypedDict, total=False):
    """What every optimizer accepts besides its own hyper-parameters; see `Optimizer`."""

    state: Literal["bfloat16", "int8"] | None
    rounding: Literal["nearest", "stochastic"]
    per_block: per_block.PerBlock | None


class Optimizer:
    """Base of all update rules: a subclass gives the rule's name, its arguments' limits and a signature.

    A step changes θ and the state in place, in one pass over memory; same bits for any number of threads.
    Numbers below the smallest normal one count as 0 within a step.

    Every optimizer also accepts:
        state: format of the state vectors: None, θ's dtype; "bfloat16", 2 bytes; "int8", 1 byte and a float32 scale
            for every 256 elements: three bits of mantissa, a range of 2³⁵ for squares and 2¹⁹ otherwise. A NaN or
            infinity in one gradient makes the "int8" state of its whole block of 256 NaN, and with it their θ; the
            step's `non_finite` keeps it out.
        rounding: of "bfloat16" and "int8" state: "stochastic", right on average, from a hash of the update's number
            and the element's place, so that runs repeat; or "nearest".
        per_block: {pattern of block names: {"lr": factor, "weight_decay": factor, "trust_ratio": bool}}, e.g.
            {"*.bias": {"weight_decay": 0}}; later patterns count more. See `unstuck.optim.exclude_vectors`.

    Any hyper-parameter that is a number may be a schedule, a callable step → number, checked at every step.

    Attributes:
        rule: name of the C++ rule.
        limits: what each hyper-parameter besides `lr` may be, in the order of the C++ rule.
        n: number of parameters, None before `init` or the first step.
        dtype: float32 or float64, None while the state has not been allocated.
        blocks: [(name, slice, shape)] if `init` was given them, else None.
        slots: the state vectors in the order of `slot_names`; empty while not allocated or if the rule needs none.
        t: number of updates done.
        start: step of the schedules at which `t` was 0.
        skipped: number of steps that were skipped because of a gradient that was not finite.
    """

    rule: ClassVar[str]
    limits: ClassVar[Mapping[str, Limit]]

    def __init__(self, lr: Rate, options: Options, **hyper: Any) -> None:
        unknown = set(options) - set(Options.__annotations__)
        if unknown:
            named = [name for name in inspect.signature(type(self)).parameters if name != "options"]
            names = [*named, *Options.__annotations__]
            raise ArgumentTypeError(
                f"`{min(unknown)}` is no argument of {type(self).__name__}; {cure(min(unknown), names)}"
            )
        self.lr = lr
        self._hyper = Hyper(self.limits, hyper)
        self.format: str | None = storage.checked_format(options.get("state"), self.rule)
        self.rounding = options.get("rounding", "stochastic")
        _ROUNDING.check("rounding", self.rounding)
        self.per_block = per_block.checked(options.get("per_block"))
        self.n: int | None = None
        self.dtype: np.dtype[Any] | None = None
        self.blocks: list[Block] | None = None
        self.slots: list[Array] = []
        self.t = self.start = self.skipped = 0
        self._update: _core.OptimUpdate | None = None

    @property
    def lr(self) -> Rate:
        """Learning rate: a number, or a schedule step → number. May be set at any time."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = value if callable(value) else NON_NEGATIVE.check("lr", value)

    @property
    def hyper(self) -> Mapping[str, float]:
        """Hyper-parameters besides `lr` of the next update, as floats (switches 0 or 1, choices from 0), in order."""
        return MappingProxyType(self.hyper_at(self.start + self.t))

    @property
    def settings(self) -> Mapping[str, Number]:
        """Hyper-parameters besides `lr` as they were given: numbers, words, schedules."""
        return MappingProxyType(self._hyper.arguments())

    @property
    def slot_names(self) -> list[str]:
        """Names of the state arrays that these hyper-parameters need, in the order of `slots`."""
        return storage.array_names(self._slots(), self.format)

    def rate(self, t: int) -> float:
        """Learning rate at step `t` of the schedule.

        Raises:
            ArgumentError: a schedule gave a number that is negative or not finite.
            ArgumentTypeError: a schedule gave no number.
        """
        return NON_NEGATIVE.check(f"lr({t})", self._lr(t)) if callable(self._lr) else self._lr

    def hyper_at(self, t: int) -> dict[str, float]:
        """Hyper-parameters besides `lr` at step `t` of their schedules, each checked; errors as `rate`."""
        return self._hyper.at(t)

    def hyper_rows(self, t: int, steps: int) -> Array:
        """Hyper-parameters of `steps` updates from step `t` on, (steps, k), or (1, k) if none is a schedule."""
        count = steps if self._hyper.varies else 1
        return np.array([list(self.hyper_at(t + i).values()) for i in range(count)], np.float64).reshape(count, -1)

    def value(self, name: str) -> Array:
        """A state vector as numbers: a copy in float64, whatever its format.

        Raises:
            ArgumentError: there is none of that name, or no state yet.
        """
        return storage.numbers(self._slots(), self.format, self.slots, name, self.n)

    def state_vector(self, name: str) -> Array:
        """A state vector (n,) to read only: the array itself, float32 or float64, or as `value` where it is low-bit."""
        names = [slot for slot, _, _ in self._slots()]
        if self.format is not None or name not in names or not self.slots:
            return self.value(name)
        return self.slots[names.index(name)]

    def init(self, size: int | Sequence[Block], dtype: Any = None) -> None:
        """Start anew: no updates done, state as at the beginning.

        Args:
            size: number of parameters, or the blocks of a landscape, [(name, slice, shape)].
            dtype: float32 or float64, θ's; None takes it from the first step, which then allocates the state.

        Raises:
            ArgumentError: `size` is not positive, the blocks do not cover θ in order, or a pattern of `per_block`
                matches none.
            ArgumentTypeError: `size` is neither, or `dtype` is neither float32 nor float64.
        """
        single = hasattr(size, "__index__")
        blocks = None if single else per_block.block_list("size", size, "a number of parameters, or blocks")
        n = Count(1, per_block.MOST).check("size", size) if blocks is None else per_block.covered(blocks)
        kind = None if dtype is None else _checked_dtype(dtype)
        per_block.rows(blocks, self.per_block)
        self.slots = [] if kind is None else self._new_slots(n, kind)
        self.n, self.dtype, self.blocks, self._update = n, kind, blocks, None
        self.t = self.start = self.skipped = 0

    def step(
        self,
        theta: Array,
        gradient: Array,
        *,
        scale: float = 1.0,
        clip_norm: float | None = None,
        gradient_norm: float | None = None,
        average: Array | None = None,
        average_decay: float = 0.999,
        zero_gradient: bool = False,
        non_finite: Literal["propagate", "skip", "raise"] = "propagate",
        report: bool = False,
    ) -> StepReport | None:
        """Update number `t` + 1 of `theta` in place, everything asked for in the same pass over memory.

        Args:
            theta: parameters, shape (n,), float32 or float64, contiguous and writable; never copied.
            gradient: shape (n,), the same dtype, contiguous, sharing no memory with `theta`.
            scale: multiplies the gradient first (1/loss scale).
            clip_norm: a gradient that is longer after `scale` is shortened to this length.
            gradient_norm: ‖gradient‖ if it is known; saves the pass that measures it for `clip_norm` and `non_finite`.
            average: moving average of θ, (n,), of θ's dtype, or uint16, the bits of bfloat16, rounded
                stochastically: a ← d·a + (1 − d)·θ.
            average_decay: d in [0, 1).
            zero_gradient: set the gradient to 0 afterwards; it is not changed otherwise.
            non_finite: what a NaN or infinity in the gradient does: "propagate" into θ and the state, as in PyTorch;
                "skip" the step, so that nothing changes but `skipped`; "raise" NonFiniteError, nothing changed.
            report: return norms of every block.

        Returns:
            A StepReport if asked for and not skipped.

        Raises:
            ArgumentTypeError: wrong type, dtype or memory layout.
            ArgumentError: wrong length, shared memory, or a value out of its range.
            NonFiniteError: see `non_finite`.
        Nothing has changed when an error is raised.
        """
        self._require_fit(theta, gradient)
        asked = what_is_asked(
            scale, clip_norm, gradient_norm, average, average_decay, zero_gradient, non_finite, report
        )
        fresh = self.dtype is None
        slots = self._new_slots(theta.size, theta.dtype) if fresh else self.slots
        update = self._new_update(theta.size, theta.dtype) if self._update is None or fresh else self._update
        now = self.start + self.t
        row, rate = self._hyper.row(now), self.rate(now)
        done, _, table = update.step(row, rate, self.t + 1, theta, gradient, slots, **asked)
        if not done:
            if non_finite == "raise":
                raise NonFiniteError(f"`gradient`{_where(gradient)}; nothing has changed")
            self.skipped += 1
            return None
        self.slots, self.n, self.dtype, self._update = slots, theta.size, theta.dtype, update
        self.t += 1
        return None if table is None else StepReport(self._block_names(), *table.T)

    def core(self) -> _core.OptimUpdate:
        """The plan of the pass for the state as it is allocated; for the training loop of the core."""
        if self.n is None or self.dtype is None:
            raise ArgumentError("`opt` must be initialised with a size and a dtype first")
        if self._update is None:
            self._update = self._new_update(self.n, self.dtype)
        return self._update

    def state(self) -> dict[str, Any]:
        """A copy of everything that decides the next updates.

        Returns:
            "slots" is {name: array}; the rest is JSON-able. "lr" and the values of "hyper" are numbers (or words),
            the description of a schedule of `unstuck.schedules`, or None for any other callable.
        """
        constant = None if callable(self._lr) else self._lr
        return {
            "rule": self.rule,
            "lr": self._lr.describe() if isinstance(self._lr, Schedule) else constant,
            "hyper": self._hyper.describe(),
            "n": self.n,
            "dtype": None if self.dtype is None else self.dtype.name,
            "t": self.t,
            "start": self.start,
            "state": self.format,
            "rounding": self.rounding,
            "layout": storage.LAYOUT,
            "per_block": {pattern: dict(row) for pattern, row in self.per_block.items()},
            "blocks": per_block.described(self.blocks),
            "slots": {name: slot.copy() for name, slot in zip(self.slot_names, self.slots, strict=False)},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue, to the bit, as the optimizer whose `state()` this is. What it holds as None stays as it is here.

        Raises:
            ArgumentError: `state` belongs to another rule, or is incomplete or inconsistent.
            ArgumentTypeError: a value has a wrong type.
        Nothing has changed when an error is raised.
        """
        if not isinstance(state, Mapping):
            raise ArgumentTypeError(f"`state` must be what `state()` returned, got {type(state).__name__}")
        missing = _KEYS - set(state)
        if missing:
            raise ArgumentError(f"`state` lacks {', '.join(sorted(missing))}; pass what `state()` returned")
        if state["rule"] != self.rule:
            raise ArgumentError(f"`state` belongs to the rule {state['rule']!r}, not to {self.rule}")
        lr = self._lr if state["lr"] is None else state["lr"]
        fresh = type(self)(
            from_description(lr) if isinstance(lr, Mapping) else lr,
            state=state.get("state"),
            rounding=state.get("rounding", "stochastic"),
            per_block=state.get("per_block"),
            **restored(state["hyper"], self._hyper),
        )
        storage.require_room(state["slots"], state["n"])
        storage.require_layout(fresh.format, state.get("layout"))
        blocks = per_block.restored(state.get("blocks"))
        if blocks is None and not fresh.per_block and state["n"] == self.n:
            blocks = self.blocks
        if state["n"] is not None:
            fresh.init(state["n"] if blocks is None else blocks, state["dtype"])
        if fresh.n != state["n"]:
            raise ArgumentError(f"`state['blocks']` must cover {state['n']} parameters, got {fresh.n}")
        fresh.t = Count(0, _MOST_UPDATES).check("state['t']", state["t"])
        fresh.start = Count(0, _MOST_UPDATES).check("state['start']", state.get("start", 0))
        if fresh.t > 0 and fresh.dtype is None:
            raise ArgumentError(f"`state` must hold n and dtype after {fresh.t} updates, got None")
        storage.copy_into(fresh.slots, fresh.slot_names if fresh.dtype is not None else [], state["slots"])
        self.__dict__.update(fresh.__dict__, skipped=self.skipped)

    def copy(self: Self) -> Self:
        """An independent optimizer in the same state; a schedule is shared, because it has no state."""
        twin = copy.copy(self)
        twin.slots = [storage.aligned(s.size, s.dtype, s, place) for place, s in enumerate(self.slots)]
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Without the plan of the core, which is made anew when needed."""
        return {**self.__dict__, "_update": None}

    def __repr__(self) -> str:
        settings: dict[str, object] = {"lr": self._lr, **self._hyper.arguments()}
        if self.format is not None:
            settings.update(state=self.format, rounding=self.rounding)
        if self.per_block:
            settings["per_block"] = self.per_block
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"

    def _slots(self) -> list[storage.Slot]:
        return _core.optim_slots(self.rule, self._hyper.structure())

    def _new_slots(self, n: int, dtype: np.dtype[Any]) -> list[Array]:
        return storage.new_arrays(self._slots(), self.format, n, dtype)

    def _new_update(self, n: int, dtype: np.dtype[Any]) -> _core.OptimUpdate:
        table = per_block.rows(self.blocks, self.per_block)
        wide, nearest = dtype == np.float64, self.rounding == "nearest"
        return _core.OptimUpdate(self.rule, self._hyper.structure(), n, wide, table, self.format or "theta", nearest)

    def _require_fit(self, theta: Any, gradient: Any) -> None:
        for name, array in (("theta", theta), ("gradient", gradient)):
            if not isinstance(array, np.ndarray):
                raise ArgumentTypeError(f"`{name}` must be a NumPy array, got {type(array).__name__}")
        if self.n is not None and theta.shape != (self.n,):
            raise ArgumentError(
                f"`theta` must have shape ({self.n},), the size of the state, got {theta.shape}; `init` starts anew"
            )
        if self.dtype is not None and theta.dtype != self.dtype:
            raise ArgumentTypeError(
                f"`theta` must be {self.dtype}, the dtype of the state, got {theta.dtype}; `init` starts anew"
            )
        if theta.dtype not in DTYPES:
            raise ArgumentTypeError(f"`theta` must be float32 or float64, got {theta.dtype}")

    def _block_names(self) -> tuple[str, ...]:
        return ("theta",) if self.blocks is None else tuple(name for name, _, _ in self.blocks)


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        kind: np.dtype[Any] | None = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind not in DTYPES:
        raise ArgumentTypeError(f"`dtype` must be float32 or float64, got {dtype!r}")
    return kind


def _where(gradient: Array) -> str:
    bad = np.flatnonzero(~np.isfinite(gradient))
    if not bad.size:
        return f" times `scale` does not fit into {gradient.dtype.name}"
    return f" is not finite: {gradient[bad[0]]} at position {bad[0]}, {bad.size} in all"
