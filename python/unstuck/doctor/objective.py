"""Objective: what a run really minimises (weight decay included) on the samples that are examined."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..landscape import Landscape
from ..operators import HessianOperator
from .costs import Tally

Array = NDArray[Any]

# rules that add λθ to the gradient: their decay is a penalty ½λ‖θ‖² of the objective
COUPLED = ("SGD", "RMSProp", "RMSPropWarmup", "Adam", "Adagrad", "NAdam", "RAdam", "AdaMax", "LARS", "Composed")


class Objective:
    """L(θ) + ½λ‖θ‖² on a fixed selection of the samples; a Landscape.

    Args:
        land: the landscape that is trained on.
        decay: λ ≥ 0, in units of loss per squared parameter.
        sample: indices of the examined samples; None for all.
        tally: where the work is counted, or None.
    """

    theta = None

    def __init__(
        self, land: Landscape, decay: float = 0.0, sample: Array | None = None, tally: Tally | None = None
    ) -> None:
        self.land, self.decay, self.sample, self.tally = land, decay, sample, tally
        self.n, self.dtype, self.blocks = land.n, land.dtype, land.blocks
        self.lower_bound = land.lower_bound
        self.samples = land.samples if sample is None else len(sample)
        self.at_kink = getattr(land, "at_kink", None)  # penalties are smooth

    def loss(self, theta: Array, batch: Array | None = None) -> float:
        """The objective at θ."""
        if self.tally is not None:
            self.tally.loss(self._size(batch))
        return self.land.loss(theta, self._chosen(batch)) + self._penalty(theta)

    def gradient(self, theta: Array, batch: Array | None = None) -> tuple[float, Array]:
        """The objective and its gradient at θ."""
        if self.tally is not None:
            self.tally.gradient(self._size(batch))
        loss, gradient = self.land.gradient(theta, self._chosen(batch))
        if self.decay:
            gradient = gradient + np.asarray(self.decay * theta, dtype=gradient.dtype)
        return loss + self._penalty(theta), gradient

    def hessian(self, theta: Array, batch: Array | None = None) -> HessianOperator:
        """H + λI at θ."""
        op, tally, size = self.land.hessian(theta, self._chosen(batch)), self.tally, self._size(batch)
        if not self.decay and tally is None:
            return op
        decay = op.dtype.type(self.decay)

        def product(v: Array) -> Array:
            if tally is not None:
                tally.product(size)
            result: Array = op @ v
            return result + decay * v if decay else result

        def block(rows: Array) -> Array:
            if tally is not None:
                tally.product(size, len(rows))
            result = np.ascontiguousarray((op @ rows.T).T)
            return result + decay * rows if decay else result

        return HessianOperator(
            self.n,
            op.dtype,
            product,
            block,
            exact=op.exact,
            noise=op.noise,
            plan=op.plan,
            trusted=True,
        )

    def _chosen(self, batch: Array | None) -> Array | None:
        return self.sample if batch is None else batch

    def _size(self, batch: Array | None) -> int:
        chosen = self._chosen(batch)
        return (self.samples or 1) if chosen is None else len(chosen)

    def _penalty(self, theta: Array) -> float:
        if not self.decay:
            return 0.0
        wide = theta.astype(np.float64, copy=False)
        return 0.5 * self.decay * float(wide @ wide)


def coupled_decay(opt: Any) -> float:
    """The weight decay λ that is part of the objective; 0 where the optimizer has none or decouples it."""
    if opt.rule not in COUPLED or opt.hyper.get("decoupled_weight_decay", 0.0):
        return 0.0
    return float(opt.hyper.get("weight_decay", 0.0))


def examined_samples(samples: int | None, most: int) -> Array | None:
    """All samples (None) up to `most`; of more, that many drawn without replacement, the same at every call."""
    if samples is None or samples <= most:
        return None
    chosen = np.random.default_rng(0).choice(samples, most, replace=False)
    return np.sort(chosen).astype(np.int64)
