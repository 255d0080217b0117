"""Probe: do the inputs say anything about the targets? The same learning, with targets as they are and shuffled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layers import network_landscape
from .newton import descend
from .objective import Objective
from .subject import Subject
from .symptoms import Shuffled
from .treatments import fresh_theta

Array = NDArray[Any]

MOST_SAMPLES, GRADIENTS = 1024, 60


def compare_with_shuffled(subject: Subject) -> Shuffled | None:
    """The lowest losses on unseen samples of a fresh network, with the targets as they are and in another order.

    L-BFGS learns half of at most 1,024 samples and is judged on the other half on its way; a network that finds
    nothing ends at about a constant answer in both. Cost: at most 120 gradients of 512 samples and as many losses;
    None without a network or for fewer than 16 samples.
    """
    land = network_landscape(subject.land)
    if land is None or len(land.X) < 16:
        return None
    rng = np.random.default_rng(0)
    order = rng.permutation(len(land.X))[:MOST_SAMPLES]
    X, y = land.X[order], land.y[order]
    half, start = len(order) // 2, fresh_theta(land)
    found = []
    for targets in (y, y[rng.permutation(len(y))]):
        # batch normalisation with the statistics of each half
        twin = land.with_data(X, targets)
        twin.mode = "train"
        learned, kept = (
            Objective(twin, 0.0, np.arange(*ends, dtype=np.int64), subject.tally)
            for ends in ((0, half), (half, len(order)))
        )
        found.append(_best_on(kept, learned, start))
    return Shuffled(len(order), found[0], found[1])


def _best_on(kept: Objective, learned: Objective, start: Array) -> float:
    """The lowest loss on `kept` while `learned` is learned."""
    seen = [float(kept.loss(start))]
    descend(learned, start, GRADIENTS, lambda theta: seen.append(float(kept.loss(theta))))
    return float(np.nanmin(seen))
