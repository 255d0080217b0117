"""MINRES: the shortest-residual solution of H·x = b in a growing Krylov space, for any symmetric H."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigvalsh_tridiagonal

Array = NDArray[Any]


@dataclass(frozen=True)
class MinresSolution:
    """Answer of `minres`.

    Attributes:
        x: the solution, float64 (n,).
        residual: ‖b − H·x‖.
        norm: the largest |eigenvalue| of H seen in the Krylov space, a lower bound of ‖H‖.
        products: products used.
    """

    x: Array
    residual: float
    norm: float
    products: int


def minres(product: Callable[[Array], Array], b: Array, *, rtol: float, limit: int) -> MinresSolution:
    """Minimise ‖b − H·x‖ over span{b, Hb, H²b, …}; H may be indefinite or singular.

    Args:
        product: v ↦ H·v.
        b: right side (n,), not zero.
        rtol: stop at ‖r‖ ≤ rtol·‖b‖, or at ‖H·r‖ ≤ 1e-6·rtol·‖H‖·‖r‖ (r is all but in the
            null space; a residual along small curvature is not).
        limit: most products.

    Guarantee: ‖r‖ never grows, and bᵀr = ‖r‖².

    Source: Paige and Saunders (1975), SIAM Journal on Numerical Analysis 12; recurrences as in Greenbaum (1997).
    """
    start = float(np.linalg.norm(b))
    v_old, v = np.zeros(b.size), np.asarray(b, dtype=np.float64) / start
    w_old, w, x = np.zeros(b.size), np.zeros(b.size), np.zeros(b.size)
    c_old, c, s_old, s = 1.0, 1.0, 0.0, 0.0
    beta, residual, scale = 0.0, start, 0.0
    diagonal: list[float] = []
    off: list[float] = []
    for _ in range(limit):
        p = np.asarray(product(v), dtype=np.float64)
        alpha = float(v @ p)
        p = p - alpha * v - beta * v_old
        following = float(np.linalg.norm(p))
        diagonal.append(alpha)
        scale = max(scale, float(np.hypot(np.hypot(alpha, beta), following)))
        # QR of the tridiagonal matrix by one Givens rotation per column
        delta = c * alpha - c_old * s * beta
        r1, r2, r3 = float(np.hypot(delta, following)), s * alpha + c_old * c * beta, s_old * beta
        if r1 <= 1e-15 * scale or np.hypot(delta, c * following) <= 1e-6 * rtol * scale:
            break
        c_old, c, s_old, s = c, delta / r1, s, following / r1
        w_old, w = w, (v - r3 * w_old - r2 * w) / r1
        x = x + c * residual * w
        residual = -s * residual
        if abs(residual) <= rtol * start or following <= 1e-15 * scale:
            break
        off.append(following)
        v_old, v, beta = v, p / following, following
    ends = eigvalsh_tridiagonal(diagonal, off[: len(diagonal) - 1]) if diagonal else np.zeros(1)
    return MinresSolution(x, abs(residual), float(np.max(np.abs(ends))), len(diagonal))
