"""Before any verdict: is the landscape finite, the same twice, its Hessian symmetric, and how noisy are products?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, NonDeterministicError, NonFiniteError, OperatorError
from ..landscape import Landscape, check_theta
from ..operators import HessianOperator
from .agreement import check_gradient, check_product
from .gate import norm_of

Array = NDArray[Any]

PRODUCTS = 3  # the probes below use


@dataclass(frozen=True)
class Probe:
    """What the probes measured.

    Attributes:
        loss: L(θ).
        gradient: ∇L(θ), (n,).
        noise: absolute error of vᵀHv for unit v, in units of H; a lower bound, raised by later measurements.
        size: ‖Hv‖ of a random unit vector, a first idea of the size of H.
        lines: unit vectors and their quotients, [(v, vᵀHv)], as the probes met them.
    """

    loss: float
    gradient: Array
    noise: float
    size: float
    lines: list[tuple[Array, float]]


def finite_theta(land: Landscape, theta: Any) -> Array:
    """θ as an array of the landscape's dtype; the landscape's own point when None.

    Raises:
        ArgumentError: there is none, or its shape is wrong.
        NonFiniteError: it holds a NaN or an infinity.
    """
    if theta is None:
        theta = land.theta
        if theta is None:
            raise ArgumentError("`theta` is None and this landscape has no current point: pass theta, an array (n,)")
    with np.errstate(over="ignore"):
        point = check_theta(theta, land.n, land.dtype).copy()
    bad = np.flatnonzero(~np.isfinite(point))
    if bad.size:
        raise NonFiniteError(f"`theta` must be finite, but theta[{bad[0]}] = {point[bad[0]]} ({bad.size} such entries)")
    return point


def finite_gradient(land: Landscape, theta: Array) -> tuple[float, Array]:
    """(L(θ), ∇L(θ)), both finite.

    Raises:
        NonFiniteError: the loss or an entry of the gradient is not finite.
        OperatorError: the gradient has a wrong size.
    """
    loss, gradient = land.gradient(theta)
    gradient = np.asarray(gradient)
    if gradient.shape != (land.n,):
        raise OperatorError(f"the landscape's gradient must have shape ({land.n},), it has {gradient.shape}")
    if not np.isfinite(loss):
        raise NonFiniteError(f"the loss at `theta` is {loss}; nothing can be said about the surface there")
    bad = np.flatnonzero(~np.isfinite(gradient))
    if bad.size:
        raise NonFiniteError(f"the gradient at `theta` is not finite: entry {bad[0]} is {gradient[bad[0]]}")
    return float(loss), gradient


def finite_product(op: HessianOperator, v: Array) -> Array:
    """H·v in the operator's dtype, finite and of the right size."""
    w = np.asarray(op @ v)
    if w.shape != v.shape:
        raise OperatorError(f"the Hessian product must have shape {v.shape}, it has {w.shape}")
    # the sum of squares is finite for finite entries unless it overflows: then look at each
    if not np.isfinite(np.vdot(w, w)) and not np.isfinite(w).all():
        raise NonFiniteError("a Hessian product at `theta` is not finite (NaN or infinity)")
    return w


def probe(land: Landscape, theta: Array, op: HessianOperator, rng: np.random.Generator) -> Probe:
    """Loss and gradient twice and along a line, one product twice, and a second product for symmetry and noise.

    The second vector is u = Hv/‖Hv‖: |uᵀHv − vᵀHu| then compares numbers of the size ‖Hv‖, where a random u would
    hide an asymmetry behind its 1/√n overlap.

    Raises:
        NonFiniteError: a NaN or an infinity in loss, gradient or product.
        NonDeterministicError: the same call gave two different results.
        OperatorError: the operator is not symmetric, a size is wrong, or loss, gradient and product contradict each
            other.
    """
    loss, gradient = finite_gradient(land, theta)
    v = rng.standard_normal(land.n).astype(op.dtype)
    v /= np.linalg.norm(v)
    w = finite_product(op, v)
    again = finite_product(op, v)
    size = norm_of(w)
    root = float(np.sqrt(np.finfo(op.dtype).eps))
    jitter = norm_of(np.subtract(w, again, dtype=np.float64))
    if jitter > root * size + 10 * op.noise:
        raise NonDeterministicError(
            f"the same Hessian product came out different twice (by {jitter:.3g}, its norm is {size:.3g}): switch off "
            "dropout, augmentation and shuffling, so that there is one surface to look at"
        )
    _same_twice(land, theta, loss, gradient, size, root)
    check_gradient(land, theta, gradient, rng.spawn(1)[0])
    noise = max(jitter, op.noise, float(np.finfo(op.dtype).eps) * size)
    lines = [(v, float(v.astype(np.float64) @ w))]
    if size > 0.0:
        u = (w / size).astype(op.dtype)
        z = finite_product(op, u)
        noise = max(noise, _asymmetry(op, v, w, u, z))
        lines += _between(v, w, u, z)
    if op.exact:
        share, where = 0.01, "a random unit vector"
        check_product(land, theta, gradient, v, w, share=share, floor=10.0 * noise, where=where)
    return Probe(loss, gradient, noise, size, lines)


def _same_twice(land: Landscape, theta: Array, loss: float, gradient: Array, size: float, root: float) -> None:
    again, gradient_again = finite_gradient(land, theta)
    reach = 1.0 + norm_of(theta)
    if abs(loss - again) > root * max(abs(loss), abs(again)) + root**2 * size * reach**2:
        raise NonDeterministicError(
            f"the loss at the same `theta` came out as {loss:.9g} and then {again:.9g}: switch off dropout, "
            "augmentation and shuffling, or fix their seed, so that there is one surface to look at"
        )
    change = norm_of(np.subtract(gradient, gradient_again, dtype=np.float64))
    if change > root * (norm_of(gradient) + size * reach):
        raise NonDeterministicError(
            f"the gradient at the same `theta` came out different twice (by {change:.3g}, its norm is "
            f"{norm_of(gradient):.3g}): switch off dropout, augmentation and shuffling, or fix their seed"
        )


def _asymmetry(op: HessianOperator, v: Array, w: Array, u: Array, z: Array) -> float:
    """|uᵀHv − vᵀHu| for w = Hv, z = Hu, per unit lengths."""
    wide_v, wide_u = v.astype(np.float64), u.astype(np.float64)
    size = norm_of(w)
    gap = abs(float(wide_u @ w) - float(wide_v @ z)) / (norm_of(v) * norm_of(u))
    # difference quotients are symmetric only as far as the step, rounding and kinks let them
    if gap > (1e-3 if op.exact else 0.5) * size + 10 * op.noise:
        raise OperatorError(asymmetric(gap, size, op.exact))
    return gap


def _between(v: Array, w: Array, u: Array, z: Array) -> list[tuple[Array, float]]:
    """Unit vectors along v + u and v − u with their quotients, from w = Hv and z = Hu."""
    lines = []
    for sign in (1.0, -1.0):
        along = v.astype(np.float64) + sign * u
        square = float(along @ along)
        if square > 1e-2:  # else u is v or −v, and the quotient would be rounding
            lines.append((along / np.sqrt(square), float(along @ (w + sign * z)) / square))
    return lines


def asymmetric(gap: float, size: float, exact: bool = True) -> str:
    """The message for an operator that is no Hessian."""
    cure = "a Hessian is symmetric, so check the product (`hvp`)"
    if not exact:
        cure = (
            "these are differences of gradients, so either `gradient` is not the gradient of `loss`, or rounding and "
            "kinks dominate at their step: pass an exact `hvp`, or compute in float64"
        )
    return f"the Hessian product is not symmetric: uᵀHv and vᵀHu differ by {gap:.3g} where ‖Hv‖ = {size:.3g}; {cure}"
