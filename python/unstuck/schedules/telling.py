"""Telling an optimizer's schedule how training goes, for the drivers that move θ."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError
from .schedule import NOTHING, Schedule


def watched(opt: Any) -> frozenset[str]:
    """What the schedule of the learning rate must be told: "loss", "accuracy", both or nothing."""
    return opt.lr.watches if isinstance(getattr(opt, "lr", None), Schedule) else NOTHING


def tell(opt: Any, step: int, loss: float, accuracy: float | None = None) -> None:
    """Replaces the schedule of the learning rate by what it becomes after this observation."""
    if watched(opt):
        opt.lr = opt.lr.observe(step, loss, accuracy)


def require_told(opt: Any, accuracy: bool) -> None:
    """Refuses schedules that watch what nobody will tell them.

    Args:
        opt: the optimizer.
        accuracy: whether an accuracy will be measured.

    Raises:
        ArgumentError: the learning rate watches an accuracy that is not measured, or another hyper-parameter
            watches anything.
    """
    if "accuracy" in watched(opt) and not accuracy:
        raise ArgumentError(f"`validation` is needed: the schedule {opt.lr} watches the accuracy")
    for name, value in getattr(opt, "settings", {}).items():
        if isinstance(value, Schedule) and value.watches:
            raise ArgumentError(f"`{name}` cannot be {value}: only the learning rate's schedule is told of training")
