"""Schedules along half a cosine: once, with restarts, and after a linear warm-up."""

from __future__ import annotations

import math

from ..errors import ArgumentError
from ..ranges import FLAG, NON_NEGATIVE, Count
from .schedule import Schedule, below, steps_of


def half_cosine(high: float, low: float, share: float) -> float:
    """The value low + ½(high − low)(1 + cos π·share): from `high` at share 0 to `low` at share 1."""
    return low + 0.5 * (high - low) * (1.0 + math.cos(math.pi * share))


def cosine(initial: float, total: int, floor: float = 0.0, periodic: bool = False) -> Schedule:
    """Half a cosine from `initial` to `floor` at step `total`, then `floor`.

    value(t) = floor + ½(initial − floor)(1 + cos(π·t/total)), from step `total` on `floor`, with `periodic` on
    along the cosine, up again and down. Source: torch.optim.lr_scheduler.CosineAnnealingLR(T_max, eta_min) in
    closed form, which is periodic; its recursion accumulates rounding errors, most of all near the floor.
    I. Loshchilov & F. Hutter, SGDR, arXiv 1608.03983.

    Args:
        initial: value at step 0, ≥ 0.
        total: steps down, ≥ 1.
        floor: lowest value, in [0, initial].
        periodic: go up again after `total`.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, length = NON_NEGATIVE.check("initial", initial), steps_of("total", total)
    low, again = below("floor", floor, NON_NEGATIVE, start, "initial"), bool(FLAG.check("periodic", periodic))

    def value(step: int) -> float:
        place = step % (2 * length) if again else min(step, length)
        return half_cosine(start, low, place / length)

    return Schedule("cosine", {"initial": start, "total": length, "floor": low, "periodic": again}, value)


def cosine_restarts(initial: float, period: int, growth: int = 1, floor: float = 0.0) -> Schedule:
    """Half a cosine from `initial` to `floor`, started again after each period.

    Within a period of length T, s steps after its start: floor + ½(initial − floor)(1 + cos(π·s/T)). The first
    period has `period` steps, every later one `growth` times as many as the one before; `floor` itself is not
    reached. Source: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(T_0, T_mult, eta_min);
    I. Loshchilov & F. Hutter, SGDR, arXiv 1608.03983.

    Args:
        initial: value at the start of every period, ≥ 0.
        period: steps of the first period, ≥ 1.
        growth: factor from one period's length to the next, an integer ≥ 1.
        floor: lowest value, in [0, initial].

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, first = NON_NEGATIVE.check("initial", initial), steps_of("period", period)
    multiple, low = steps_of("growth", growth), below("floor", floor, NON_NEGATIVE, start, "initial")

    def value(step: int) -> float:
        length = first
        if multiple == 1:
            step %= first
        while step >= length:
            step, length = step - length, length * multiple
        return half_cosine(start, low, step / length)

    settings = {"initial": start, "period": first, "growth": multiple, "floor": low}
    return Schedule("cosine_restarts", settings, value)


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
    rise, end = Count(0).check("warmup", warmup), steps_of("total", total)
    if end <= rise:
        raise ArgumentError(f"`total` must be larger than `warmup` = {rise}, got {end}")
    below("floor", low, NON_NEGATIVE, high, "peak")

    def value(step: int) -> float:
        if step < rise:
            return high * step / rise
        return half_cosine(high, low, min(1.0, (step - rise) / (end - rise)))

    return Schedule("warmup_cosine", {"peak": high, "warmup": rise, "total": end, "floor": low}, value)
