"""Schedules that watch the training: the rate falls on a plateau, and warm-up ends when a goal is reached."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ArgumentError
from ..ranges import BELOW_ONE, FRACTION, NON_NEGATIVE, Count, Range
from .schedule import NOTHING, Schedule, below, schedule_of, steps_of, word_of

ANY = Range(low=-math.inf)


def reduce_on_plateau(
    initial: float,
    factor: float = 0.1,
    patience: int = 10,
    threshold: float = 1e-4,
    threshold_mode: str = "relative",
    cooldown: int = 0,
    floor: float = 0.0,
    smallest: float = 1e-8,
    watch: str = "loss",
    *,
    level: float | None = None,
    best: float | None = None,
    bad: int = 0,
    resting: int = 0,
) -> Schedule:
    """A constant that is multiplied by `factor` when the watched number has not improved for a while.

    An observation is better if loss < best·(1 − threshold), or loss < best − threshold with an absolute threshold
    (accuracy: > best·(1 + threshold), > best + threshold); else it is bad. More than `patience` bad ones in a row
    reduce the value to max(value·factor, floor), unless that changes it by no more than `smallest`; for
    `cooldown` observations after that none counts as bad. NaN and infinity are never better.
    `Trainer.fit` observes once per epoch: the validation, or without validation data the mean training loss.
    Immutable as every schedule: `observe` returns the next one, whose state is in its description, so that
    checkpoints and forks carry it. Source: torch.optim.lr_scheduler.ReduceLROnPlateau.

    Args:
        initial: first value, ≥ 0.
        factor: multiplier, in [0, 1).
        patience: bad observations in a row that are tolerated, ≥ 0.
        threshold: least improvement that counts, ≥ 0.
        threshold_mode: "relative" or "absolute".
        cooldown: observations after a reduction that never count as bad, ≥ 0.
        floor: smallest value, in [0, initial].
        smallest: least reduction that is made, ≥ 0 (eps).
        watch: "loss" (less is better) or "accuracy" (more is better).
        level: state: present value; None, `initial`.
        best: state: best observation so far; None, none yet.
        bad: state: bad observations in a row.
        resting: state: observations of the cooldown that are left.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start = NON_NEGATIVE.check("initial", initial)
    rule: dict[str, Any] = {
        "initial": start,
        "factor": BELOW_ONE.check("factor", factor),
        "patience": steps_of("patience", patience, 0),
        "threshold": NON_NEGATIVE.check("threshold", threshold),
        "threshold_mode": word_of("threshold_mode", threshold_mode, ("relative", "absolute")),
        "cooldown": steps_of("cooldown", cooldown, 0),
        "floor": below("floor", floor, NON_NEGATIVE, start, "initial"),
        "smallest": NON_NEGATIVE.check("smallest", smallest),
        "watch": word_of("watch", watch, ("loss", "accuracy")),
    }
    present = start if level is None else below("level", level, NON_NEGATIVE, start, "initial")
    state: dict[str, Any] = {
        "level": present,
        "best": None if best is None else ANY.check("best", best),
        "bad": Count(0).check("bad", bad),
        "resting": Count(0).check("resting", resting),
    }
    return Schedule(
        "reduce_on_plateau",
        {**rule, **state},
        lambda step: present,
        frozenset({rule["watch"]}),
        lambda step, loss, accuracy: reduce_on_plateau(**rule, **_next(rule, state, loss, accuracy)),
    )


def _next(rule: dict[str, Any], state: dict[str, Any], loss: float, accuracy: float | None) -> dict[str, Any]:
    """The state after one more observation."""
    seen = loss if rule["watch"] == "loss" or accuracy is None else accuracy
    level, best, bad, resting = state["level"], state["best"], state["bad"], state["resting"]
    if _better(rule, seen, best):
        best, bad = seen, 0
    else:
        bad += 1
    if resting > 0:
        resting, bad = resting - 1, 0
    if bad > rule["patience"]:
        lower = max(level * rule["factor"], rule["floor"])
        level = lower if level - lower > rule["smallest"] else level
        bad, resting = 0, rule["cooldown"]
    return {"level": level, "best": best, "bad": bad, "resting": resting}


def _better(rule: dict[str, Any], seen: float, best: float | None) -> bool:
    if not math.isfinite(seen):
        return False
    if best is None:
        return True
    falling = rule["watch"] == "loss"
    margin = -float(rule["threshold"]) if falling else float(rule["threshold"])
    goal = best * (1.0 + margin) if rule["threshold_mode"] == "relative" else best + margin
    return seen < goal if falling else seen > goal


def warmup_until(
    base: Schedule | float,
    start: float = 0.1,
    loss: float | None = None,
    accuracy: float | None = None,
    *,
    since: int | None = None,
) -> Schedule:
    """A constant, low rate until a goal is reached, then any schedule from its beginning.

    value(t) = start·base(0) until an observation has loss ≤ `loss` or accuracy ≥ `accuracy`, whichever is given;
    value(t) = base(t − s) from then on, s the updates done by then. Observations as in `reduce_on_plateau`.
    Source: K. He et al., arXiv 1512.03385, section 4.2: 0.01 until the training error is below 80 %, then 0.1.

    Args:
        base: the schedule, or a number.
        start: factor of the warm-up, in (0, 1].
        loss: goal for the loss.
        accuracy: goal for the accuracy, in [0, 1]; give one of the two.
        since: state: updates done when the goal was reached; None, not yet.

    Raises:
        ArgumentError: an argument is out of its range, or not exactly one goal is given.
        ArgumentTypeError: an argument has a wrong type.
    """
    inner, first = schedule_of("base", base), FRACTION.check("start", start)
    if first == 0.0:
        raise ArgumentError("`start` must be positive, got 0: nothing would move and no goal be reached")
    if (loss is None) == (accuracy is None):
        raise ArgumentError("`loss` or `accuracy` must be given as the goal, and not both")
    goal = None if loss is None else ANY.check("loss", loss)
    share = None if accuracy is None else FRACTION.check("accuracy", accuracy)
    begin = None if since is None else steps_of("since", since, 0)
    settings = {"base": inner, "start": first, "loss": goal, "accuracy": share, "since": begin}

    def value(step: int) -> float:
        return first * inner(0) if begin is None else inner(max(step - begin, 0))

    def watch(step: int, seen: float, right: float | None) -> Schedule:
        if begin is not None:
            after = inner.observe(max(step - begin, 0), seen, right)
            return warmup_until(after, first, goal, share, since=begin)
        reached = seen <= goal if goal is not None else right is not None and right >= (share or 0.0)
        return warmup_until(inner, first, goal, share, since=step if reached else None)

    needs = NOTHING if begin is not None else frozenset({"loss" if goal is not None else "accuracy"})
    watches = needs | inner.watches
    return Schedule("warmup_until", settings, value, watches, watch if watches else None)
