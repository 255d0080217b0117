"""Watching a run for plateaus while it trains, and freeing it from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .costs import costs_of
from .probes import losses_since_move, recent_trend
from .trend import shift_of

if TYPE_CHECKING:
    from ..train import Trainer

Array = NDArray[Any]

EVERY, GROWTH = 100, 0.3  # updates between two looks at the trend; of the updates so far, where that is more
PLAINLY = 4.0  # standard errors
FEWEST = 300  # updates since the last move before a standstill is one
SHARE = 0.05  # of the work of training that examinations of a healthy run may take


class PlateauWatch:
    """Looks at the trend of the losses, and has the run unstuck where it has ended.

    A run that turns out healthy is left alone until its training has cost twenty times as much as the examinations, by
    the work that both take, so that the same run is freed at the same updates on any machine. A standstill that
    nothing helped is not examined again before the run is half as long again.
    """

    def __init__(self, run: Trainer) -> None:
        self._costs = costs_of(run.land, run.theta, run.sampler.batch_size)
        self._start = run.t
        self._spent = 0.0  # nominal seconds
        self._next = run.t + FEWEST

    def due_in(self, run: Trainer) -> int:
        """Updates until the next look, at least 1."""
        return max(1, self._next - run.t)

    def observe(self, run: Trainer) -> dict[str, Any] | None:
        """Looks where a look is due, and acts; the history gets no row, but an event of what was done."""
        if run.t < self._next:
            return None
        self._next = run.t + max(EVERY, int(GROWTH * (run.t - self._start)))
        trained = (run.t - self._start) * self._costs.of_update(run.sampler.batch_size)
        if self._spent > SHARE * trained:
            return None
        losses = losses_since_move(run)
        if len(losses) < FEWEST or _plainly_falls(losses):
            return None
        trend, stalled = recent_trend(losses)
        if trend is None or (trend.falling and not stalled):
            return None
        self._act(run)
        return None

    def _act(self, run: Trainer) -> None:
        from .unsticking import unstick

        outcome = unstick(run)
        work = outcome.diagnosis.work
        if outcome.diagnosis.healthy and work is not None:
            self._spent += work.seconds
        self._next = run.t + (FEWEST if outcome.applied is not None else max(FEWEST, run.t // 2))


def _plainly_falls(losses: Array) -> bool:
    """Whether the last sixth lies so far below the one before that no closer look is needed. Cost: some 20 µs."""
    sixth = len(losses) // 6
    shift = shift_of(losses[-2 * sixth : -sixth], losses[-sixth:])
    return shift is not None and shift > PLAINLY


@contextlib.contextmanager
def watched_for_plateaus(run: Trainer) -> Iterator[None]:
    """The run is watched during the body."""
    watch = PlateauWatch(run)
    run.watchers.append(watch)
    try:
        yield
    finally:
        run.watchers.remove(watch)
