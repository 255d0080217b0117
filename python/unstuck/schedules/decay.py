"""Schedules that only fall (or stay): constant, step, multi-step, exponential, polynomial, linear, inverse root."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence

from ..errors import ArgumentError
from ..ranges import NON_NEGATIVE
from .schedule import Schedule, below, milestones_of, power, steps_of


def constant(value: float) -> Schedule:
    """`value` at every step."""
    level = NON_NEGATIVE.check("value", value)
    return Schedule("constant", {"value": level}, lambda step: level)


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
    length = steps_of("every", every)
    settings = {"initial": start, "factor": ratio, "every": length}
    return Schedule("step_decay", settings, lambda step: start * power(ratio, step // length))


def multi_step(initial: float, factor: float, milestones: Sequence[int]) -> Schedule:
    """`initial`, multiplied by `factor` at each milestone: value(t) = initial·factor^#{m : m ≤ t}.

    Source: torch.optim.lr_scheduler.MultiStepLR in closed form.

    Args:
        initial: value before the first milestone, ≥ 0.
        factor: multiplier, ≥ 0.
        milestones: steps ≥ 1, increasing.

    Raises:
        ArgumentError: an argument is out of its range, or the milestones do not increase.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, ratio = NON_NEGATIVE.check("initial", initial), NON_NEGATIVE.check("factor", factor)
    marks = milestones_of("milestones", milestones)
    settings = {"initial": start, "factor": ratio, "milestones": marks}
    return Schedule("multi_step", settings, lambda step: start * power(ratio, bisect_right(marks, step)))


def exponential(initial: float, factor: float) -> Schedule:
    """value(t) = initial·factorᵗ.

    Source: torch.optim.lr_scheduler.ExponentialLR in closed form.

    Args:
        initial: value at step 0, ≥ 0.
        factor: multiplier per step, ≥ 0; beyond 1 the value grows until it leaves float64, an error then.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument is not a number.
    """
    start, ratio = NON_NEGATIVE.check("initial", initial), NON_NEGATIVE.check("factor", factor)
    return Schedule("exponential", {"initial": start, "factor": ratio}, lambda step: start * power(ratio, step))


def linear(initial: float, final: float, total: int) -> Schedule:
    """A straight line from `initial` to `final` at step `total`, then `final`.

    value(t) = initial + (final − initial)·min(t, total)/total. Up or down.
    Source: torch.optim.lr_scheduler.LinearLR(start_factor, end_factor, total_iters) in closed form, where
    initial = start_factor·lr and final = end_factor·lr (LinearLR needs factors in (0, 1] and [0, 1]).

    Args:
        initial: value at step 0, ≥ 0.
        final: value from step `total` on, ≥ 0.
        total: steps, ≥ 1.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, end = NON_NEGATIVE.check("initial", initial), NON_NEGATIVE.check("final", final)
    length = steps_of("total", total)

    def value(step: int) -> float:
        return end if step >= length else start + (end - start) * (step / length)

    return Schedule("linear", {"initial": start, "final": end, "total": length}, value)


def polynomial(initial: float, total: int, exponent: float = 1.0, floor: float = 0.0) -> Schedule:
    """value(t) = floor + (initial − floor)·(1 − min(t, total)/total)^exponent.

    Source: torch.optim.lr_scheduler.PolynomialLR(total_iters, power) in closed form, whose floor is 0;
    optax.polynomial_schedule.

    Args:
        initial: value at step 0, ≥ 0.
        total: step from which on the value is `floor`, ≥ 1.
        exponent: power of the fall, > 0.
        floor: last value, in [0, initial].

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, length = NON_NEGATIVE.check("initial", initial), steps_of("total", total)
    end = below("floor", floor, NON_NEGATIVE, start, "initial")
    degree = NON_NEGATIVE.check("exponent", exponent)
    if degree == 0.0:
        raise ArgumentError("`exponent` must be positive, got 0")

    def value(step: int) -> float:
        return end + (start - end) * power(1.0 - min(step, length) / length, degree)

    return Schedule("polynomial", {"initial": start, "total": length, "exponent": degree, "floor": end}, value)


def inverse_sqrt(initial: float, timescale: int = 1) -> Schedule:
    """value(t) = initial/√(1 + t/timescale).

    With timescale 1 it is η/√(t + 1), which makes Adagrad's root-mean form equal its root-sum form. After a
    warm-up of w steps, `warmup(inverse_sqrt(peak, w), w)` is peak·√(w/t), the schedule of fairseq's inverse_sqrt
    and of transformers' get_inverse_sqrt_schedule.

    Args:
        initial: value at step 0, ≥ 0.
        timescale: steps after which the value has fallen to initial/√2, ≥ 1.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, scale = NON_NEGATIVE.check("initial", initial), steps_of("timescale", timescale)
    settings = {"initial": start, "timescale": scale}
    return Schedule("inverse_sqrt", settings, lambda step: start / math.sqrt(1.0 + step / scale))
