"""Optimizer: checked hyper-parameters, a learning rate or schedule, state, and one fused update in place."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Block
from ..ranges import NON_NEGATIVE, Count, Flag, Limit
from ..schedules import Schedule, from_description

Array = NDArray[Any]
Rate = float | Callable[[int], float]
Self = TypeVar("Self", bound="Optimizer")

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


class Optimizer:
    """Base of all update rules: a subclass gives the rule's name, its arguments' limits and a signature.

    A step changes θ and the state in place, in one pass over memory; same bits for any number of threads.
    NaN and infinity in a gradient pass through to θ and the state, as in PyTorch; drivers (Trainer, minimize)
    check before they step.

    Attributes:
        rule: name of the C++ rule.
        limits: what each hyper-parameter besides `lr` may be, in the order of the C++ rule.
        hyper: the hyper-parameters besides `lr` as floats (switches 0 or 1), in the same order; read-only.
        n: number of parameters, None before `init` or the first step.
        dtype: float32 or float64, None while the state has not been allocated.
        blocks: [(name, slice, shape)] if `init` was given them, else None.
        slots: the state vectors, arrays (n,) of `dtype`; empty while not allocated or if the rule needs none.
        t: number of updates done.
    """

    rule: ClassVar[str]
    limits: ClassVar[Mapping[str, Limit]]

    def __init__(self, lr: Rate, **hyper: float) -> None:
        self.lr = lr
        self._hyper = {name: limit.check(name, hyper[name]) for name, limit in self.limits.items()}
        self.n: int | None = None
        self.dtype: np.dtype[Any] | None = None
        self.blocks: list[Block] | None = None
        self.slots: list[Array] = []
        self.t = 0

    @property
    def lr(self) -> Rate:
        """Learning rate: a number, or a schedule step → number. May be set at any time."""
        return self._lr

    @lr.setter
    def lr(self, value: Rate) -> None:
        self._lr = value if callable(value) else NON_NEGATIVE.check("lr", value)

    @property
    def hyper(self) -> Mapping[str, float]:
        """Hyper-parameters besides `lr`, in the order of the C++ rule."""
        return MappingProxyType(self._hyper)

    @property
    def slot_names(self) -> list[str]:
        """Names of the state vectors that these hyper-parameters need, in the order of `slots`."""
        return _core.optim_slots(self.rule, list(self._hyper.values()))

    def rate(self, t: int) -> float:
        """Learning rate of the update that follows `t` updates.

        Raises:
            ArgumentError: a schedule gave a number that is negative or not finite.
            ArgumentTypeError: a schedule gave no number.
        """
        return NON_NEGATIVE.check(f"lr({t})", self._lr(t)) if callable(self._lr) else self._lr

    def init(self, size: int | Sequence[Block], dtype: Any = None) -> None:
        """Start anew: no updates done, state zero.

        Args:
            size: number of parameters, or the blocks of a landscape, [(name, slice, shape)].
            dtype: float32 or float64, θ's; None takes it from the first step, which then allocates the state.

        Raises:
            ArgumentError: `size` is not positive, or the blocks do not cover θ in order.
            ArgumentTypeError: `dtype` is neither float32 nor float64.
        """
        blocks = None if hasattr(size, "__index__") else list(size)
        n = Count(1).check("size", size) if blocks is None else _covered(blocks)
        kind = None if dtype is None else _checked_dtype(dtype)
        self.slots = [] if kind is None else self._zero_slots(n, kind)
        self.n, self.dtype, self.blocks, self.t = n, kind, blocks, 0

    def step(self, theta: Array, gradient: Array) -> None:
        """Update number `t` + 1 of `theta` in place.

        Args:
            theta: parameters, shape (n,), float32 or float64, contiguous and writable; never copied.
            gradient: shape (n,), the same dtype, contiguous, sharing no memory with `theta`; not changed.

        Raises:
            ArgumentTypeError: wrong type, dtype or memory layout.
            ArgumentError: wrong length, shared memory, or a schedule without a usable value.
        Nothing has changed when an error is raised.
        """
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
        slots = self.slots if self.dtype is not None else self._zero_slots(theta.size, theta.dtype)
        lr, hyper = self.rate(self.t), list(self._hyper.values())
        _core.optim_step(self.rule, hyper, lr, self.t + 1, theta, gradient, slots)
        self.slots, self.n, self.dtype = slots, theta.size, theta.dtype
        self.t += 1

    def state(self) -> dict[str, Any]:
        """A copy of everything that decides the next updates.

        Returns:
            {"rule", "lr", "hyper", "n", "dtype", "t", "slots"}. "slots" is {name: array}; the rest is
            JSON-able. "lr" is a number, the description of a schedule of `unstuck.schedules`, or None for
            any other callable.
        """
        constant = None if callable(self._lr) else self._lr
        return {
            "rule": self.rule,
            "lr": self._lr.describe() if isinstance(self._lr, Schedule) else constant,
            "hyper": dict(self._hyper),
            "n": self.n,
            "dtype": None if self.dtype is None else self.dtype.name,
            "t": self.t,
            "slots": {name: slot.copy() for name, slot in zip(self.slot_names, self.slots, strict=False)},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue, to the bit, as the optimizer whose `state()` this is. If its "lr" is None, `lr` stays.

        Raises:
            ArgumentError: `state` belongs to another rule, or is incomplete or inconsistent.
            ArgumentTypeError: a value has a wrong type.
        Nothing has changed when an error is raised.
        """
        missing = {"rule", "lr", "hyper", "n", "dtype", "t", "slots"} - set(state)
        if missing:
            raise ArgumentError(f"`state` lacks {', '.join(sorted(missing))}; pass what `state()` returned")
        if state["rule"] != self.rule:
            raise ArgumentError(f"`state` belongs to the rule {state['rule']!r}, not to {self.rule}")
        if set(state["hyper"]) != set(self.limits):
            raise ArgumentError(f"`state['hyper']` must hold {list(self.limits)}, got {list(state['hyper'])}")
        lr = self._lr if state["lr"] is None else state["lr"]
        fresh = type(self)(from_description(lr) if isinstance(lr, Mapping) else lr, **state["hyper"])
        if state["n"] is not None:
            fresh.init(state["n"], state["dtype"])
        fresh.t = Count(0).check("state['t']", state["t"])
        if fresh.t > 0 and fresh.dtype is None:
            raise ArgumentError(f"`state` must hold n and dtype after {fresh.t} updates, got None")
        fresh._copy_slots(state["slots"])
        blocks = self.blocks if fresh.n == self.n else None
        self.__dict__.update(fresh.__dict__, blocks=blocks)

    def copy(self: Self) -> Self:
        """An independent optimizer in the same state; a schedule is shared, because it has no state."""
        twin = copy.copy(self)
        twin._hyper = dict(self._hyper)
        twin.slots = [slot.copy() for slot in self.slots]
        return twin

    def __repr__(self) -> str:
        settings: dict[str, object] = {"lr": self._lr, **self._hyper}
        for name, limit in self.limits.items():
            if isinstance(limit, Flag):
                settings[name] = bool(settings[name])
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in settings.items())})"

    def _zero_slots(self, n: int, dtype: np.dtype[Any]) -> list[Array]:
        return [np.zeros(n, dtype) for _ in self.slot_names]

    def _copy_slots(self, slots: Mapping[str, Array]) -> None:
        expected = self.slot_names if self.dtype is not None else []
        if set(slots) != set(expected):
            raise ArgumentError(f"`state['slots']` must hold {expected}, got {list(slots)}")
        for name, mine in zip(expected, self.slots, strict=True):
            theirs = np.asarray(slots[name])
            if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
                raise ArgumentError(
                    f"`state['slots'][{name!r}]` must be {mine.dtype} of shape {mine.shape}, "
                    f"got {theirs.dtype} of shape {theirs.shape}"
                )
            mine[:] = theirs


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        kind: np.dtype[Any] | None = np.dtype(dtype)
    except TypeError:
        kind = None
    if kind is None or kind not in DTYPES:
        raise ArgumentTypeError(f"`dtype` must be float32 or float64, got {dtype!r}")
    return kind


def _covered(blocks: list[Block]) -> int:
    """Number of parameters of blocks that follow each other from 0 on."""
    end = 0
    for name, part, shape in blocks:
        size = int(np.prod(shape))
        if (part.start, part.stop, part.step) not in {(end, end + size, None), (end, end + size, 1)}:
            raise ArgumentError(
                f"`size` must be blocks that cover theta in order: after {end} comes {name!r} "
                f"with {part} and shape {shape}"
            )
        end += size
    return Count(1).check("size", end)
