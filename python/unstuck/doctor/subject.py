"""Subject: the run or point under examination, looked at without being touched, and the time allowed for it."""

from __future__ import annotations

import copy
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..landscape import Landscape, check_theta
from ..train import Trainer
from .costs import Costs, Tally, costs_of
from .objective import Objective, coupled_decay, examined_samples

Array = NDArray[Any]

MOST_SAMPLES = 4096
LOSS_WORK, PRODUCT_WORK = 7e7, 2e7  # parameters times samples, per second of the budget


class Subject:
    """What is examined.

    Args:
        land: the landscape.
        theta: the point (n,); copied.
        run: the run that stands there, or None.
        seconds: budget of the examination, which decides how many samples it can afford.
        costs: of a loss, a gradient, a product and an update; None: they are looked up or measured.

    Attributes:
        objective: the loss with penalty and coupled weight decay, on the samples that forks are judged on.
        curved: the same on those, maybe fewer, that gradients and curvature are taken on.
        dtype_error: relative rounding of one loss value.
        held: the learning rate that forks keep instead of following a schedule that is about to end; None: they follow.
        tally: the work that was done on these and in forks.
    """

    def __init__(
        self, land: Landscape, theta: Any, run: Trainer | None, seconds: float, costs: Costs | None = None
    ) -> None:
        self.land, self.run = land, run
        self.theta: Array = check_theta(theta, land.n, land.dtype).copy()
        decay = 0.0 if run is None else coupled_decay(run.opt)
        seen = land if run is None else trained_view(land)
        # parameters × samples: about 200 losses and 100 products in the budget on one core
        many = int(min(max(LOSS_WORK * seconds / land.n, 256), MOST_SAMPLES))
        few = int(min(max(PRODUCT_WORK * seconds / land.n, 128), many))
        self.tally = Tally(costs or costs_of(land, self.theta, None if run is None else run.batch_size))
        self.objective = Objective(seen, decay, examined_samples(land.samples, many), self.tally)
        self.curved = Objective(seen, decay, examined_samples(land.samples, few), self.tally)
        self.dtype_error = float(np.finfo(land.dtype).eps)
        self.held: float | None = None

    def fork(self, run: Trainer) -> Trainer:
        """A fork of the run, at its present rate throughout where `held` says so."""
        twin = run.fork()
        if self.held is not None:
            twin.opt.lr = self.held
        return twin

    @property
    def stochastic(self) -> bool:
        """Whether the run's updates use only a part of the data."""
        return self.run is not None and not self.run.sampler.full


def trained_view(land: Any) -> Any:
    """The landscape as training sees it: batch normalisation with the statistics of the batch itself."""
    names = [name for name, _, _ in getattr(getattr(land, "net", None), "buffer_blocks", [])]
    if not any(".running_" in name for name in names):
        return land
    view = copy.copy(land)
    view.mode = "train"
    return view


class Clock:
    """A budget that probes draw on: seconds of the wall's clock, or of work, whatever else the machine does.

    Args:
        seconds: the whole budget.
        tally: the work to be timed; None: the wall's clock.

    Attributes:
        spent: [(what, seconds by the wall's clock)] of the probes so far.
    """

    def __init__(self, seconds: float, tally: Tally | None = None) -> None:
        self.seconds, self.tally = seconds, tally
        self.spent: list[tuple[str, float]] = []
        self._started = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds since the start, of work or of the wall's clock."""
        return self.wall if self.tally is None else self.tally.seconds

    @property
    def wall(self) -> float:
        """Seconds since the start by the wall's clock."""
        return time.perf_counter() - self._started

    @property
    def left(self) -> float:
        """Seconds left, never negative; of work twice the budget, so that no treatment goes untried for a dear one."""
        return max(0.0, (1.0 if self.tally is None else 2.0) * self.seconds - self.elapsed)

    def book(self, what: str, began: float) -> None:
        """Notes what was done since `began` (a value of `wall`)."""
        self.spent.append((what, self.wall - began))


def distance(a: Array, b: Array) -> float:
    """‖a − b‖ in float64."""
    return float(np.linalg.norm(a.astype(np.float64) - b.astype(np.float64)))
