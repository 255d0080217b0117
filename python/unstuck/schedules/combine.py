"""Combinations of schedules: one after another, and one times another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ..errors import ArgumentError
from .schedule import Schedule, elements_of, milestones_of, schedule_of


def join(pieces: Sequence[Schedule | float], milestones: Sequence[int]) -> Schedule:
    """One schedule after another, each counting from the milestone where it begins.

    value(t) = piece_i(t − m_i) for m_i ≤ t < m_(i+1), with m_0 = 0.
    Source: torch.optim.lr_scheduler.SequentialLR in closed form; optax.join_schedules.

    Args:
        pieces: schedules or numbers, at least one.
        milestones: steps ≥ 1 at which the second, third … piece begins, increasing.

    Raises:
        ArgumentError: the milestones do not increase, or are not one fewer than the pieces.
        ArgumentTypeError: an argument has a wrong type.
    """
    parts = tuple(schedule_of(f"pieces[{i}]", p) for i, p in enumerate(elements_of("pieces", pieces, "schedules")))
    marks = milestones_of("milestones", milestones, shortest=0)
    if len(marks) + 1 != len(parts):
        raise ArgumentError(
            f"`milestones` must be one fewer than the {len(parts)} `pieces`, got {len(marks)}: the steps between them"
        )
    begins = (0, *marks)

    def value(step: int) -> float:
        piece = bisect_right(marks, step)
        return parts[piece](step - begins[piece])

    def watch(step: int, loss: float, accuracy: float | None) -> Schedule:
        active = bisect_right(marks, max(step - 1, 0))
        after = parts[active].observe(step - begins[active], loss, accuracy)
        return join((*parts[:active], after, *parts[active + 1 :]), marks)

    watches = frozenset[str]().union(*(part.watches for part in parts))
    return Schedule("join", {"pieces": parts, "milestones": marks}, value, watches, watch if watches else None)


def scale(base: Schedule | float, factor: Schedule | float) -> Schedule:
    """One schedule times another: value(t) = base(t)·factor(t).

    Source: torch.optim.lr_scheduler.ChainedScheduler, whose members multiply.

    Args:
        base: a schedule or a number.
        factor: a schedule or a number.

    Raises:
        ArgumentError: a number is negative or not finite.
        ArgumentTypeError: an argument is neither number nor schedule.
    """
    first, second = schedule_of("base", base), schedule_of("factor", factor)

    def watch(step: int, loss: float, accuracy: float | None) -> Schedule:
        return scale(first.observe(step, loss, accuracy), second.observe(step, loss, accuracy))

    watches = first.watches | second.watches
    settings = {"base": first, "factor": second}
    return Schedule("scale", settings, lambda step: first(step) * second(step), watches, watch if watches else None)
