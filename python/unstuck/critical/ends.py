"""Both ends of the Hessian's spectrum as measured: verified Rayleigh quotients inside, certified bounds outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ..curvature.plan import Plan
from ..curvature.tall_blocks import gram
from ..errors import NonFiniteError
from ..landscape import Landscape
from ..operators import HessianOperator
from .directional import slope_at
from .gate import norm_of
from .probes import finite_product

Array = NDArray[Any]


@dataclass(frozen=True)
class Ends:
    """What is known about the spectrum.

    Attributes:
        lower: λ_min is not below this (with the confidence asked for; surely when `complete`), rounding included.
        low: verified Rayleigh quotient of `low_vector`: λ_min is not above this.
        high: verified Rayleigh quotient of `high_vector`: λ_max is not below this.
        upper: λ_max is not above this.
        low_vector: unit vector (n,), float64.
        high_vector: unit vector (n,), float64.
        low_product: H·low_vector.
        high_product: H·high_vector.
        values: all eigenvalues when `complete`, else verified Rayleigh–Ritz values at the low end, ascending.
        vectors: (n, q) those of the first q values, of any float type; q = len(values) unless memory is short.
        error: how far `lower`, `upper` and `values` may be off; already taken off the first two.
        slack: how far `low` and `high` may be off: the noise of difference quotients, 0 for exact products.
        complete: the whole spectrum was computed.
        noise: error of vᵀHv for unit v, the largest of all measurements.
        plan: how the memory was spent.
        certify: certify(tolerance=τ) gives the JSON-able record that `verify` re-checks.
        predict: target ↦ further steps until the lower bound reaches it (upper: until the upper bound sinks to it).
    """

    lower: float
    low: float
    high: float
    upper: float
    low_vector: Array
    high_vector: Array
    low_product: Array
    high_product: Array
    values: Array
    error: float
    slack: float
    complete: bool
    noise: float
    certify: Callable[..., dict[str, Any]]
    vectors: Array
    plan: Plan
    predict: Callable[[str, float], int | None] = lambda end, target: None

    @property
    def norm(self) -> float:
        """‖H‖ from the verified ends."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Quotient:
    """A verified Rayleigh quotient.

    Attributes:
        value: yᵀHy/yᵀy, sums in float64.
        noise: how far difference quotients along y differ when their step is doubled; 0 for exact products.
        product: Hy/‖y‖.
    """

    value: float
    noise: float
    product: Array


def rayleigh(land: Landscape, theta: Array, op: HessianOperator, y: Array) -> Quotient:
    """yᵀHy/yᵀy from one fresh product; y is rounded to the operator's type first and its norm taken after that."""
    rounded = y.astype(op.dtype)
    wide = rounded.astype(np.float64)
    size = norm_of(wide)
    product = finite_product(op, rounded).astype(np.float64) / size
    value = float((wide / size) @ product)
    return Quotient(value, 0.0 if op.exact else difference_noise(land, theta, wide / size, value), product)


def rayleigh_ritz(op: HessianOperator, vectors: Array) -> tuple[Array, Array, Array, Array]:
    """Values, ascending; the weights of their vectors; the vectors as the operator saw them, and their products.

    Raises:
        NonFiniteError: a product is not finite.
    """
    rounded = np.asfortranarray(vectors, dtype=op.dtype)
    products = np.asarray(op @ rounded)
    if not np.isfinite(products).all():
        raise NonFiniteError("a Hessian product at `theta` is not finite (NaN or infinity)")
    projected = gram(rounded, products)
    values, weights = scipy.linalg.eigh((projected + projected.T) / 2, gram(rounded, rounded))
    return values, weights, rounded, products


def product_rounding(op: HessianOperator, norm: float) -> float:
    """u·‖H‖: storing Hv in the operator's type may change vᵀHv by as much, for unit v."""
    return 0.5 * float(np.finfo(op.dtype).eps) * norm


def difference_noise(land: Landscape, theta: Array, v: Array, value: float) -> float:
    """|second difference with twice the usual step − value|: bounds truncation (three times it) and rounding."""
    step = 2.0 * float(np.cbrt(np.finfo(land.dtype).eps)) * (1.0 + norm_of(theta))
    wide = (slope_at(land, theta, v, step) - slope_at(land, theta, v, -step)) / (2 * step)
    return abs(wide - value)
