"""Schedules of Leslie Smith: one cycle and cyclic, and the momentum that moves against each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..errors import ArgumentError
from ..ranges import FRACTION, NON_NEGATIVE, Count, Limit, Range
from .cosines import half_cosine
from .schedule import Schedule, power, steps_of, word_of

SHAPES = ("cosine", "linear")
MODES = ("triangular", "triangular2", "exp_range")
AT_LEAST_ONE = Range(low=1.0)


def one_cycle(
    peak: float,
    total: int,
    rise: float = 0.3,
    shape: str = "cosine",
    initial_divisor: float = 25.0,
    final_divisor: float = 1e4,
    phases: int = 2,
) -> Schedule:
    """Up to `peak` and down to almost nothing, once.

    With initial = peak/initial_divisor and final = initial/final_divisor, the value goes along a half cosine (or
    a line) from initial to peak over the first rise·total steps, then to final at step total − 1; with three
    phases first back to initial, as fast as it rose. From then on it is final (where PyTorch raises).
    Momentum beside it: `one_cycle_momentum`. Source: torch.optim.lr_scheduler.OneCycleLR; L. N. Smith & N. Topin,
    Super-convergence, arXiv 1708.07120 (three phases, linear).

    Args:
        peak: largest value, ≥ 0.
        total: steps, ≥ 1.
        rise: share of the steps in which the value rises, in [0, 1], with three phases in [0, ½] (pct_start).
        shape: "cosine" or "linear".
        initial_divisor: peak/initial, ≥ 1 (div_factor).
        final_divisor: initial/final, ≥ 1 (final_div_factor).
        phases: 2 or 3.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    high, initial = NON_NEGATIVE.check("peak", peak), AT_LEAST_ONE.check("initial_divisor", initial_divisor)
    final, cycle = AT_LEAST_ONE.check("final_divisor", final_divisor), _one_cycle_settings(total, rise, shape, phases)
    start = high / initial
    levels = (start, high, start / final) if cycle["phases"] == 2 else (start, high, start, start / final)
    settings = {"peak": high, **cycle, "initial_divisor": initial, "final_divisor": final}
    return Schedule("one_cycle", settings, _through(levels, cycle))


def one_cycle_momentum(
    total: int,
    high: float = 0.95,
    low: float = 0.85,
    rise: float = 0.3,
    shape: str = "cosine",
    phases: int = 2,
) -> Schedule:
    """The momentum beside `one_cycle`: `high` at its ends, `low` at its peak.

    Source: torch.optim.lr_scheduler.OneCycleLR(cycle_momentum=True, base_momentum=low, max_momentum=high).

    Args:
        total: steps, ≥ 1.
        high: largest value, in [0, 1].
        low: smallest value, in [0, high].
        rise: as in `one_cycle`.
        shape: "cosine" or "linear".
        phases: 2 or 3.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    top, bottom = _ordered("low", low, "high", high, FRACTION)
    cycle = _one_cycle_settings(total, rise, shape, phases)
    levels = (top, bottom, top) if cycle["phases"] == 2 else (top, bottom, top, top)
    return Schedule("one_cycle_momentum", {"high": top, "low": bottom, **cycle}, _through(levels, cycle))


def cyclic(
    low: float, high: float, up: int = 2000, down: int | None = None, mode: str = "triangular", factor: float = 1.0
) -> Schedule:
    """Up from `low` to `high` in `up` steps, down in `down` steps, again and again.

    value(t) = low + (high − low)·h(t)·a(t): h rises linearly from 0 to 1 and falls to 0; the amplitude a is 1
    ("triangular"), halved after every cycle ("triangular2"), or factorᵗ ("exp_range").
    Momentum beside it: `cyclic_momentum`. Source: torch.optim.lr_scheduler.CyclicLR, which computes h by a
    difference that cancels as t grows; L. N. Smith, Cyclical learning rates, arXiv 1506.01186.

    Args:
        low: smallest value, ≥ 0.
        high: largest value, ≥ low.
        up: steps up, ≥ 1.
        down: steps down, ≥ 1; None takes `up`.
        mode: "triangular", "triangular2" or "exp_range".
        factor: of "exp_range", in [0, 1].

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    top, bottom = _ordered("low", low, "high", high, NON_NEGATIVE)
    cycle = _cyclic_settings(up, down, mode, factor)
    height = _height(cycle)
    settings = {"low": bottom, "high": top, **cycle}
    return Schedule("cyclic", settings, lambda step: bottom + (top - bottom) * height(step))


def cyclic_momentum(
    low: float = 0.8,
    high: float = 0.9,
    up: int = 2000,
    down: int | None = None,
    mode: str = "triangular",
    factor: float = 1.0,
) -> Schedule:
    """The momentum beside `cyclic`: value(t) = high − (high − low)·h(t)·a(t).

    Source: torch.optim.lr_scheduler.CyclicLR(cycle_momentum=True, base_momentum=low, max_momentum=high).

    Args:
        low: smallest value, in [0, 1].
        high: largest value, in [low, 1].
        up: as in `cyclic`.
        down: as in `cyclic`.
        mode: as in `cyclic`.
        factor: as in `cyclic`.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    top, bottom = _ordered("low", low, "high", high, FRACTION)
    cycle = _cyclic_settings(up, down, mode, factor)
    height = _height(cycle)
    settings = {"low": bottom, "high": top, **cycle}
    return Schedule("cyclic_momentum", settings, lambda step: top - (top - bottom) * height(step))


def _ordered(low_name: str, low: Any, high_name: str, high: Any, limit: Limit) -> tuple[float, float]:
    """(high, low), checked."""
    top, bottom = limit.check(high_name, high), limit.check(low_name, low)
    if bottom > top:
        raise ArgumentError(f"`{low_name}` must be at most `{high_name}` = {top}, got {bottom}")
    return top, bottom


def _one_cycle_settings(total: Any, rise: Any, shape: Any, phases: Any) -> dict[str, Any]:
    length, share = steps_of("total", total), FRACTION.check("rise", rise)
    parts = Count(2).check("phases", phases)
    if parts > 3:
        raise ArgumentError(f"`phases` must be 2 or 3, got {parts}")
    if parts == 3 and share > 0.5:
        raise ArgumentError(f"`rise` must be in [0, 0.5] with three phases, got {share:g}")
    return {"total": length, "rise": share, "shape": word_of("shape", shape, SHAPES), "phases": parts}


def _through(levels: tuple[float, ...], cycle: dict[str, Any]) -> Callable[[int], float]:
    """From one level to the next, within the phases of one cycle."""
    last = cycle["total"] - 1
    turn = cycle["rise"] * cycle["total"] - 1.0
    ends = (turn, float(last)) if len(levels) == 3 else (turn, 2.0 * turn, float(last))
    curved = cycle["shape"] == "cosine"

    def value(step: int) -> float:
        place, start = float(min(step, last)), 0.0
        phase = 0
        while phase < len(ends) - 1 and place > ends[phase]:
            start, phase = ends[phase], phase + 1
        length = ends[phase] - start
        share = min((place - start) / length, 1.0) if length > 0.0 else 1.0
        first, then = levels[phase], levels[phase + 1]
        return half_cosine(first, then, share) if curved else first + (then - first) * share

    return value


def _cyclic_settings(up: Any, down: Any, mode: Any, factor: Any) -> dict[str, Any]:
    rise = steps_of("up", up)
    return {
        "up": rise,
        "down": rise if down is None else steps_of("down", down),
        "mode": word_of("mode", mode, MODES),
        "factor": FRACTION.check("factor", factor),
    }


def _height(cycle: dict[str, Any]) -> Callable[[int], float]:
    """Step → h(t)·a(t)."""
    rise, fall, mode, factor = cycle["up"], cycle["down"], cycle["mode"], cycle["factor"]

    def height(step: int) -> float:
        cycles, place = divmod(step, rise + fall)
        share: float = place / rise if place <= rise else (rise + fall - place) / fall
        if mode == "triangular2":
            return math.ldexp(share, -cycles)
        return share * power(factor, step) if mode == "exp_range" else share

    return height
