"""Schedules from their descriptions: the table of makers, and the way back from JSON."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ArgumentError
from . import combine, cosines, cycles, decay, warmups, watching
from .schedule import DEPTH, Schedule

MAKERS: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {
        maker.__name__: maker
        for maker in (
            decay.constant,
            decay.step_decay,
            decay.multi_step,
            decay.exponential,
            decay.linear,
            decay.polynomial,
            decay.inverse_sqrt,
            cosines.cosine,
            cosines.cosine_restarts,
            cosines.warmup_cosine,
            cycles.one_cycle,
            cycles.one_cycle_momentum,
            cycles.cyclic,
            cycles.cyclic_momentum,
            warmups.warmup,
            warmups.noam,
            warmups.warmup_stable_decay,
            warmups.slow_start,
            watching.reduce_on_plateau,
            watching.warmup_until,
            combine.join,
            combine.scale,
        )
    }
)


def from_description(description: Mapping[str, Any]) -> Schedule:
    """The schedule that `Schedule.describe` described, its state included.

    Raises:
        ArgumentError: it names no schedule, or its settings do not fit.
    """
    return _made(description, DEPTH)


def _made(description: Any, depth: int) -> Schedule:
    if not isinstance(description, Mapping):
        raise ArgumentError(f"`description` must be a dict, got {type(description).__name__}")
    if depth == 0:
        raise ArgumentError(f"`description` must hold at most {DEPTH} schedules within each other")
    name = str(description.get("schedule"))
    if name not in MAKERS:
        raise ArgumentError(f"`description` must name a schedule out of {', '.join(MAKERS)}, got {reprlib.repr(name)}")
    settings = {str(key): _setting(value, depth) for key, value in description.items() if key != "schedule"}
    try:
        return MAKERS[name](**settings)
    except TypeError as error:
        raise ArgumentError(f"`description` does not fit the schedule {name}: {error}") from None


def _setting(value: Any, depth: int) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_setting(part, depth) if isinstance(part, Mapping) else part for part in value)
    return _made(value, depth - 1) if isinstance(value, Mapping) else value
