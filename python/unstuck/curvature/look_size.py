"""How many samples a look at a run's curvature may use: by its arithmetic, so the same on any machine."""

from __future__ import annotations

from typing import Any

# in forward passes of one sample, W multiply-adds each; n parameters, gradients take 3
PRIMAL, PRODUCT, FRESH_PRODUCTS = 4, 6, 20
# in multiply-adds: what a parameter costs a training step, and a look for every vector; what a look costs at any size
UPDATE, VECTOR, LOOK = 20, 40, 3_000_000
FEWEST = 8
MARGIN = 0.5  # for looks that go on, caches that they empty, and what Python does between two calls


def affordable_samples(land: Any, steps: float, batch_size: int, vectors: int, certify_every: int) -> int:
    """Samples whose looks take no more arithmetic than `steps` updates of a training run.

    Args:
        land: of the run.
        steps: updates between two looks times the share that a look may take.
        batch_size: samples of an update.
        vectors: products of a look.
        certify_every: looks between two fresh runs.
    """
    network = getattr(getattr(land, "net", None), "_core", None)
    work = max(1, int(getattr(network, "work", land.n)))
    training = MARGIN * steps * (3.0 * work * batch_size + UPDATE * land.n)
    fixed = VECTOR * vectors * land.n + LOOK
    each = PRIMAL + PRODUCT * vectors + (PRIMAL + PRODUCT * FRESH_PRODUCTS) / certify_every
    return max(FEWEST, int((training - fixed) / (each * work)))
