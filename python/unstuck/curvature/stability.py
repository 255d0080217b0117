"""How much curvature an optimizer bears at its learning rate, and the Hessian as that optimizer sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..operators import HessianOperator
from .preconditioning import Metric, metric, scaled

Array = NDArray[Any]


@dataclass(frozen=True)
class Limit:
    """The stability limit of an optimizer on a quadratic.

    Attributes:
        threshold: largest stable eigenvalue of P^-1/2 H P^-1/2.
        formula: of the threshold.
        metric: P; None for the identity.
    """

    threshold: float
    formula: str
    metric: Metric | None

    @property
    def preconditioner(self) -> Array | None:
        """The diagonal of P (n,), or None for the identity."""
        return None if self.metric is None else self.metric.diagonal()

    def scale(self, dtype: Any) -> Array | None:
        """The diagonal of P^-1/2 (n,) in float32 or float64, or None for the identity."""
        return None if self.metric is None else self.metric.inverse_roots(dtype)


def stability_limit(opt: Any, lr: float) -> Limit | None:
    """The limit at learning rate `lr`; None for a rule without a known one, or while the rate is 0.

    Heavy ball and Nesterov: Cohen et al., arXiv 2103.00065; Adam with fixed P: Cohen et al., arXiv 2207.14484.
    RMSProp is heavy ball (or plain descent) on the preconditioned Hessian.
    """
    if lr <= 0.0 or opt.rule not in _LIMITS:
        return None
    return _LIMITS[opt.rule](opt, lr)


def preconditioned(op: HessianOperator, diagonal: Array | None) -> HessianOperator:
    """P^-1/2 H P^-1/2."""
    return op if diagonal is None else scaled(op, diagonal)


def steepest(op: HessianOperator, accuracy: float = 0.02, most: int = 40) -> float:
    """A lower bound of the largest eigenvalue, by Lanczos until it no longer grows by more than `accuracy`.

    At most `most` products. The value is a Ritz value: never above the largest eigenvalue, up to rounding.
    """
    n = op.shape[0]
    start = np.random.default_rng(0).standard_normal(n)
    state = _core.Lanczos(n, op.dtype.name, min(most, n), start)
    before = -np.inf
    for step in range(1, min(most, n) + 1):
        state.push(op @ state.next())
        if state.invariant:
            break
        if step % 5 == 0:
            now = float(state.ritz_values()[-1])
            if now - before <= accuracy * abs(now):
                break
            before = now
    return float(state.ritz_values()[-1])


def _momentum_threshold(momentum: float, lr: float, nesterov: bool = False) -> tuple[float, str]:
    if momentum == 0.0:
        return 2.0 / lr, "2/lr"
    if nesterov:
        return (2.0 + 2.0 * momentum) / (lr * (1.0 + 2.0 * momentum)), "(2 + 2β)/(lr·(1 + 2β))"
    return (2.0 + 2.0 * momentum) / lr, "(2 + 2β)/lr"


def _sgd(opt: Any, lr: float) -> Limit:
    h = opt.hyper
    # dampening d shortens every step by 1 − d once the buffer is warm
    effective = lr * (1.0 - h["dampening"]) if h["momentum"] else lr
    return Limit(*_momentum_threshold(h["momentum"], max(effective, 1e-300), bool(h["nesterov"])), None)


def _rmsprop(opt: Any, lr: float) -> Limit | None:
    if opt.t == 0:
        return None  # no second moment yet
    return Limit(*_momentum_threshold(opt.hyper["momentum"], lr), metric(opt))


def _adam(opt: Any, lr: float) -> Limit | None:
    if opt.t == 0:
        return None
    beta = opt.hyper["beta1"]
    effective = lr / (1.0 - beta**opt.t)
    return Limit((2.0 + 2.0 * beta) / ((1.0 - beta) * effective), "(2 + 2β₁)/((1 − β₁)·lr)", metric(opt))


_LIMITS = {"SGD": _sgd, "RMSProp": _rmsprop, "Adam": _adam, "AdamW": _adam}
