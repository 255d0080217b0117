"""Running statistics that follow the data: computed again over all samples while a run trains on."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..train import Trainer
from .layers import network_landscape
from .moving import recompute

FEWEST = 20  # updates between two times


class StatisticsWatch:
    """Computes the running statistics again every so many updates; a run's forks inherit it.

    Args:
        every: updates between two times.
    """

    lasting = True

    def __init__(self, every: int) -> None:
        self.every = every

    def due_in(self, run: Trainer) -> int:
        """Updates until the next time, at least 1."""
        return self.every - run.t % self.every

    def observe(self, run: Trainer) -> dict[str, Any] | None:
        """Computes them where they are due; the history gets no row."""
        if run.t % self.every == 0:
            self.recompute(run)
        return None

    def recompute(self, run: Trainer) -> bool:
        """Computes them now; False for a run without a network."""
        land = network_landscape(getattr(run.land, "_land", run.land))
        if land is not None:
            recompute(land, run.theta, np.arange(land.X.shape[0]))
        return land is not None
