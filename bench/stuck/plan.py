"""Plan and setup: what a planted run consists of, before it is trained."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import unstuck as us
from bench.stuck.tasks import Data, Task
from bench.stuck.traces import Recorder

ALL = 10**6  # a batch size that means all data


@dataclass(frozen=True)
class Setup:
    """A run that has not begun.

    Attributes:
        land: the landscape.
        opt: the optimizer.
        steps: updates to make.
        options: of the Trainer.
        prepare: what happens to the run before its first update.
    """

    land: us.NetworkLandscape
    opt: Any
    steps: int
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[us.Trainer], None] | None = None

    def train(self, recorder: Recorder | None = None) -> us.Trainer:
        """The trained run; a loss that is not finite ends it. A recorder looks on and is gone afterwards."""
        run = us.Trainer(self.land, self.opt, **{"batch_size": 32, **self.options})
        if self.prepare is not None:
            self.prepare(run)
        if recorder is not None:
            recorder.begin(run)
            run.watchers.append(recorder)
        with contextlib.suppress(us.errors.NonFiniteError), np.errstate(all="ignore"):
            run.fit(steps=self.steps)
        run.watchers.clear()
        return run


def _sound_network(task: Task, seed: int, severity: float) -> us.NetworkLandscape:
    return task.land(seed)


def _everywhere(task: Task) -> bool:
    return True


@dataclass(frozen=True)
class Plan:
    """How to make a run, and which answers are right.

    Attributes:
        name: of the fault, or of the healthy kind.
        causes: right answers, the strict one first. Written before any answer was seen.
        set_up: (task, seed, severity) -> the run before it is trained.
        severities: from mild to strong; of a healthy kind, two variants.
        twin: (task, seed, severity) -> the landscape that a sound run is trained on for comparison.
        sound: (task, seed, severity) -> the loss to compare with; None: what a sound run on the twin reaches.
        cure: (task, seed, severity) -> the run with nothing but the fault taken out, which must then not be stuck;
            None where the twin shows as much.
        fits: whether it makes sense on a task.
        new_data: (task, seed) -> (X, y), by whose loss it is judged; None: the loss that it trains on.
    """

    name: str
    causes: str
    set_up: Callable[[Task, int, float], Setup]
    severities: tuple[float, ...] = (1.0, 2.0)
    twin: Callable[[Task, int, float], us.NetworkLandscape] = _sound_network
    sound: Callable[[Task, int, float], float] | None = None
    cure: Callable[[Task, int, float], Setup] | None = None
    fits: Callable[[Task], bool] = _everywhere
    new_data: Callable[[Task, int], Data] | None = None

    @property
    def faulty(self) -> bool:
        """Whether the run is stuck."""
        return "HEALTHY" not in self.causes

    def answers(self, run: us.Trainer) -> tuple[str, ...]:
        """The right answers to this run, the strict one first."""
        causes = self.causes.split()
        if run.failure is not None and "NON_FINITE" in causes:
            causes.sort(key=lambda cause: cause != "NON_FINITE")
        return tuple(causes)

    def make(self, task: Task, seed: int, severity: float, recorder: Recorder | None = None) -> us.Trainer:
        """The run, trained."""
        return self.set_up(task, seed, severity).train(recorder)
