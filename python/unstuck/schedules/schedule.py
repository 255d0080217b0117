"""Schedule: a named, printable, comparable function of the step, with the checks that its makers share."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from ..ranges import NON_NEGATIVE, Choice, Count, Limit

STEPS = 2**63  # no step or number of steps reaches this
DEPTH = 16  # schedules within schedules
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, repr=False)
class Schedule:
    """A schedule with a name and settings: `schedule(step)` is its value.

    Immutable. The step is the number of updates done before, 0 for the first. A schedule that watches the
    training (`watches` is not empty) changes by being replaced: `opt.lr = opt.lr.observe(step, loss)`.

    Attributes:
        name: name of the function in `unstuck.schedules` that made it.
        settings: the arguments it was made with: numbers, words, None, schedules, and tuples of these; read-only.
        value: step → value, for step ≥ 0.
        watches: what `observe` must be told: a set of "loss" and "accuracy"; empty for a pure function of the step.
        watch: (step, loss, accuracy) → the schedule from then on; None if it watches nothing.
        depth: 1, or 1 more than the deepest of the schedules within it.
    """

    name: str
    settings: Mapping[str, Any]
    value: Callable[[int], float] = field(compare=False)
    watches: frozenset[str] = field(default=NOTHING, compare=False)
    watch: Callable[[int, float, float | None], Schedule] | None = field(default=None, compare=False)
    depth: int = field(default=1, init=False, compare=False)

    def __post_init__(self) -> None:
        parts = [part for value in self.settings.values() for part in (value if isinstance(value, tuple) else (value,))]
        below = max((part.depth for part in parts if isinstance(part, Schedule)), default=0)
        object.__setattr__(self, "settings", MappingProxyType(dict(self.settings)))
        object.__setattr__(self, "depth", 1 + below)

    def __call__(self, step: int) -> float:
        """The value at `step`.

        Raises:
            ArgumentError: `step` is negative or at least 2⁶³, or the value there is beyond float64.
            ArgumentTypeError: `step` is no integer.
        """
        value = self.value(steps_of("step", step, 0))
        if not math.isfinite(value):
            raise ArgumentError(f"`step` = {step} is beyond the range of {self}: the value there is {value}")
        return value

    def observe(self, step: int, loss: float, accuracy: float | None = None) -> Schedule:
        """The schedule to go on with, once `step` updates led to this loss and accuracy.

        `Trainer.fit` calls it at the end of every epoch with the validation's loss and accuracy, without
        validation data with the mean training loss of the epoch; `minimize` after every update with the loss before
        it. In a loop of one's own: `opt.lr = opt.lr.observe(t, loss)`. A pure function of the step returns itself.

        Args:
            step: updates done so far.
            loss: may be NaN or infinite, which counts as no improvement.
            accuracy: needed only if `watches` has it.

        Raises:
            ArgumentError: the accuracy is watched but was not given or is NaN.
            ArgumentTypeError: `loss` or `accuracy` is no number.
        """
        if self.watch is None:
            return self
        number = _number("loss", loss)
        share = None if accuracy is None else _number("accuracy", accuracy)
        if "accuracy" in self.watches and (share is None or math.isnan(share)):
            raise ArgumentError(
                f"`accuracy` is needed by {self}, got {accuracy}; train with validation data of a classification, "
                "or watch the loss"
            )
        return self.watch(steps_of("step", step, 0), number, share)

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.settings.items())))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.settings.items())})"

    def __reduce__(self) -> tuple[Callable[..., Schedule], tuple[dict[str, Any]]]:
        from .description import from_description

        return from_description, (self.describe(),)

    def describe(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_description` makes the same schedule, state included."""
        return {"schedule": self.name, **{key: _described(value) for key, value in self.settings.items()}}


def steps_of(name: str, value: Any, least: int = 1) -> int:
    """`value` as a number of steps from `least` to 2⁶³ − 1."""
    steps = Count(least).check(name, value)
    if steps >= STEPS:
        raise ArgumentError(f"`{name}` must be below 2**63, got {value}")
    return steps


def word_of(name: str, value: Any, words: tuple[str, ...]) -> str:
    """`value`, one of `words`."""
    return words[int(Choice(*words).check(name, value))]


def below(name: str, value: Any, limit: Limit, most: float, what: str) -> float:
    """`value` within `limit` and at most `most`, which is called `what`."""
    number = limit.check(name, value)
    if number > most:
        raise ArgumentError(f"`{name}` must be in [0, {what}] = [0, {most}], got {number}")
    return number


def milestones_of(name: str, value: Any, shortest: int = 1) -> tuple[int, ...]:
    """`value` as steps ≥ 1 in increasing order."""
    steps = tuple(steps_of(f"{name}[{i}]", step) for i, step in enumerate(elements_of(name, value, "steps")))
    if len(steps) < shortest or any(a >= b for a, b in pairwise(steps)):
        raise ArgumentError(f"`{name}` must be at least {shortest} increasing steps, got {steps}")
    return steps


def elements_of(name: str, value: Any, what: str) -> list[Any]:
    """The elements of a sequence, which are called `what`."""
    try:
        return list(None if isinstance(value, str | bytes) else value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(f"`{name}` must be a sequence of {what}, got {reprlib.repr(value)}") from None


def schedule_of(name: str, value: Any, limit: Limit = NON_NEGATIVE) -> Schedule:
    """`value` as a schedule; a number is constant."""
    from .decay import constant

    if not isinstance(value, Schedule):
        if callable(value):
            raise ArgumentTypeError(
                f"`{name}` must be a number or a schedule of unstuck.schedules, got {value!r}; "
                "a function of one's own can be combined within another function, but not saved"
            )
        return constant(limit.check(name, value))
    if value.depth >= DEPTH:
        raise ArgumentError(f"`{name}` must hold at most {DEPTH - 1} schedules within each other")
    return value


def power(base: float, exponent: float) -> float:
    """base^exponent for base ≥ 0, infinite where it is beyond float64."""
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


def _described(value: Any) -> Any:
    if isinstance(value, Schedule):
        return value.describe()
    return [_described(part) for part in value] if isinstance(value, tuple) else value


def _number(name: str, value: Any) -> float:
    """`value` as a number, which may be infinite or NaN."""
    try:
        wrong = isinstance(value, str | bytes) or np.ndim(value) > 0
        return float(None if wrong else value)  # type: ignore[arg-type]
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"`{name}` must be a number, got {reprlib.repr(value)}") from None
