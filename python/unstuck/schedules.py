"""Schedules: pure functions of the step, so that resuming anywhere gives the same value.

A step is the number of updates done before, 0 for the first. Wherever a schedule is accepted, any callable
step → float is; the ones of this module can also be printed, compared and saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .errors import ArgumentError
from .ranges import NON_NEGATIVE, Count


@dataclass(frozen=True, repr=False)
class Schedule:
    """A schedule with a name and settings: `schedule(step)` is its value.

    Args:
        name: name of the function in this module that made it.
        settings: the arguments it was made with.
        value: step → value, for step ≥ 0.
    """

    name: str
    settings: Mapping[str, float]
    value: Callable[[int], float] = field(compare=False)

    def __call__(self, step: int) -> float:
        """The value at `step`; ArgumentError if it is negative, ArgumentTypeError if it is no integer."""
        return self.value(Count(0).check("step", step))

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.settings.items())))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.settings.items())})"

    def __reduce__(self) -> tuple[Callable[..., Schedule], tuple[dict[str, Any]]]:
        return from_description, (self.describe(),)

    def describe(self) -> dict[str, Any]:
        """A JSON-able dict from which `from_description` makes the same schedule."""
        return {"schedule": self.name, **self.settings}


def constant(value: float) -> Schedule:
    """`value` at every step."""
    level = NON_NEGATIVE.check("value", value)
    return Schedule("constant", {"value": level}, lambda step: level)


def warmup_cosine(peak: float, warmup: int, total: int, floor: float = 0.0) -> Schedule:
    """Linear from 0 to `peak` over `warmup` steps, half a cosine to `floor` at step `total`, then `floor`.

    value(t) = peak·t/warmup for t < warmup,
    value(t) = floor + ½(peak − floor)(1 + cos(π·(t − warmup)/(total − warmup))) up to t = total.
    With warmup > 0 the value at step 0 is 0. Source: optax.warmup_cosine_decay_schedule with init_value 0.

    Args:
        peak: value at step `warmup`, ≥ 0.
        warmup: number of warm-up steps, ≥ 0.
        total: step at which the floor is reached, > warmup.
        floor: last value, in [0, peak].

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: `warmup` or `total` is not an integer, `peak` or `floor` not a number.
    """
    high, low = NON_NEGATIVE.check("peak", peak), NON_NEGATIVE.check("floor", floor)
    rise, end = Count(0).check("warmup", warmup), Count(1).check("total", total)
    if end <= rise:
        raise ArgumentError(f"`total` must be larger than `warmup` = {rise}, got {end}")
    if low > high:
        raise ArgumentError(f"`floor` must be in [0, peak] = [0, {high}], got {low}")

    def value(step: int) -> float:
        if step < rise:
            return high * step / rise
        done = min(1.0, (step - rise) / (end - rise))
        return low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * done))

    return Schedule("warmup_cosine", {"peak": high, "warmup": rise, "total": end, "floor": low}, value)


def step_decay(initial: float, factor: float, every: int) -> Schedule:
    """`initial`, multiplied by `factor` after each `every` steps: value(t) = initial·factor^⌊t/every⌋.

    Source: torch.optim.lr_scheduler.StepLR in closed form.

    Args:
        initial: value of the first `every` steps, ≥ 0.
        factor: multiplier, ≥ 0.
        every: steps between two multiplications, ≥ 1.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: `every` is not an integer, `initial` or `factor` not a number.
    """
    start, ratio = NON_NEGATIVE.check("initial", initial), NON_NEGATIVE.check("factor", factor)
    length = Count(1).check("every", every)
    settings = {"initial": start, "factor": ratio, "every": length}
    return Schedule("step_decay", settings, lambda step: start * ratio ** (step // length))


MAKERS: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {maker.__name__: maker for maker in (constant, warmup_cosine, step_decay)}
)


def from_description(description: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.describe` described; ArgumentError when it names none of this module."""
    name = str(description.get("schedule"))
    if name not in MAKERS:
        raise ArgumentError(f"`description` must name a schedule out of {', '.join(MAKERS)}, got {name!r}")
    settings = {key: value for key, value in description.items() if key != "schedule"}
    try:
        return MAKERS[name](**settings)
    except TypeError as error:
        raise ArgumentError(f"`description` does not fit the schedule {name}: {error}") from None
