"""Watching a run for plateaus while it trains, and freeing it from them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .probes import losses_since_move, recent_trend

if TYPE_CHECKING:
    from ..train import Trainer

EVERY = 100  # updates between two looks at the trend, which costs some 50 µs
FEWEST = 300  # updates since the last move before a standstill is one
SECONDS = 4.0  # of an examination with its trials
SHARE = 0.1  # of the training time that examinations of a healthy run may take


class PlateauWatch:
    """Looks at the trend of the losses, and has the run unstuck where it has ended.

    A run that turns out healthy is left alone until it has trained ten times as long as the examination took, so
    that watching takes at most a tenth of the time; a standstill that nothing helped is not examined again before
    the run is half as long again.
    """

    def __init__(self, run: Trainer) -> None:
        self._began = time.perf_counter()
        self._spent = 0.0
        self._not_before = run.t + FEWEST

    def due_in(self, run: Trainer) -> int:
        """Updates until the next look, at least 1."""
        return EVERY - run.t % EVERY

    def observe(self, run: Trainer) -> dict[str, Any] | None:
        """Looks where a look is due, and acts; the history gets no row, but an event of what was done."""
        if run.t % EVERY or run.t < self._not_before or self._spent > SHARE * (time.perf_counter() - self._began):
            return None
        losses = losses_since_move(run)
        trend, stalled = recent_trend(losses)
        if len(losses) < FEWEST or trend is None or (trend.falling and not stalled):
            return None
        self._act(run)
        return None

    def _act(self, run: Trainer) -> None:
        from .unsticking import unstick

        started = time.perf_counter()
        outcome = unstick(run, budget=SECONDS)
        spent = time.perf_counter() - started
        if outcome.diagnosis.healthy:
            self._spent += spent
        self._not_before = run.t + (FEWEST if outcome.applied is not None else max(FEWEST, run.t // 2))


@contextlib.contextmanager
def watched_for_plateaus(run: Trainer) -> Iterator[None]:
    """The run is watched during the body."""
    watch = PlateauWatch(run)
    run.watchers.append(watch)
    try:
        yield
    finally:
        run.watchers.remove(watch)
