"""XTrace: every test vector serves the sketch of all the others, and the jackknife says how far the mean may be off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .estimate import Deflation, t_quantile
from .products import Products, gaussian
from .tall_blocks import gram

Array = NDArray[np.float64]

VECTORS = 48  # by default: two products each
FEWEST = 4  # two are left out at a time
MOST_VECTORS = 512  # the cube of it is work
_SAME = 1e-10  # of |sᵢ ± sⱼ|²: below, both directions are one


class LeaveOneOut:
    """Gaussian test vectors Ω, Y = P·H·P·Ω, and an orthonormal basis Q of Y with its images: grows by blocks.

    Args:
        products: of H.
        kept: an orthonormal basis that is treated exactly; P is the projection on its complement.
        rng: draws the test vectors.
    """

    def __init__(self, products: Products, kept: Deflation, rng: np.random.Generator) -> None:
        self.products, self.kept, self.rng = products, kept, rng
        self.dimension = products.n - len(kept.rows)
        none = np.empty((0, products.n), products.dtype)
        self.basis, self.images = none, none
        self.R = np.empty((0, 0))
        self.W = np.empty((0, 0))  # QᵀΩ
        self.H = np.empty((0, 0))  # QᵀHQ
        self.lengths = np.empty(0)  # ‖ω‖²
        self.quotients = np.empty(0)  # ωᵀHω
        self._omega = none

    @property
    def count(self) -> int:
        """Test vectors so far."""
        return len(self.lengths)

    def extend(self, count: int) -> None:
        """`count` further test vectors: two products each."""
        omega = self.kept.without(gaussian(self.rng, count, self.products.n, self.products.dtype))
        y = self.kept.without(self.products.rows(omega))
        above, fresh, corner = _orthonormal_beyond(self.basis, y)
        images = self.kept.without(self.products.rows(fresh))
        old = self.count
        R = np.zeros((old + count, old + count))
        R[:old, :old], R[:old, old:], R[old:, old:] = self.R, above, corner
        cross = _gram(self.images, fresh)
        self.R, self.H = R, _bordered(self.H, cross, _gram(fresh, images))
        self.lengths = np.append(self.lengths, np.einsum("ij,ij->i", omega, omega, dtype=np.float64))
        self.quotients = np.append(self.quotients, np.einsum("ij,ij->i", omega, y, dtype=np.float64))
        self._omega = np.concatenate([self._omega, omega])
        self.basis, self.images = np.concatenate([self.basis, fresh]), np.concatenate([self.images, images])
        self.W = _gram(self.basis, self._omega)

    def estimate(self, confidence: float) -> tuple[float, float]:
        """(mean of the leave-one-out estimates of tr PHP, half the width of its interval).

        The standard error is the jackknife's, √Σᵢ(Tᵢ − T̄)² with Tᵢ the estimate without vector i: on average not too
        small (Efron and Stein), where the spread of the leave-one-out estimates, which are correlated, is.
        """
        singles, pairs = self._samples()
        k = self.count
        deleted = (pairs.sum(axis=1) - np.diagonal(pairs)) / (k - 1)
        error = float(np.linalg.norm(deleted - deleted.mean()))
        return float(singles.mean()), t_quantile(confidence, k - 1) * error

    def _samples(self) -> tuple[Array, Array]:
        """Estimates with ω_j tested on the sketch of all but j, (k,), and on that of all but i and j, (k, k).

        The columns of Y without i span Q but for sᵢ ∝ R⁻ᵀeᵢ; without i and j, Q but for sᵢ and s_j, whose sum and
        difference are orthogonal. With x the coefficients of ω in what remains, ωᵀ(I − QQᵀ)H(I − QQᵀ)ω =
        ωᵀHω − 2xᵀRe_j + xᵀHx, divided by ‖(I − QQᵀ)ω‖², times the dimension of the complement.
        """
        R, H, W = self.R, self.H, self.W
        S = _left_out(R)
        C, HS, SR = S.T @ W, H @ S, S.T @ R
        SHS, SHW = S.T @ HS, HS.T @ W
        k, G = self.count, S.T @ S
        c, r, h, w = (np.diagonal(m).copy() for m in (C, SR, SHS, SHW))
        rest = self.quotients - 2.0 * np.einsum("ij,ij->j", W, R) + np.einsum("ij,ij->j", W, H @ W)
        outside = self.lengths - np.einsum("ij,ij->j", W, W)
        total = float(np.trace(H))
        quadratic = rest + 2.0 * c * r - 2.0 * c * w + c * c * h
        singles = total - h + (self.dimension - k + 1) * quadratic / (outside + c * c)
        parts = []
        for sign in (1.0, -1.0):  # b = (sᵢ ± s_j)/|sᵢ ± s_j|
            size = 2.0 * (1.0 + sign * G)
            f = np.where(size > _SAME, 1.0 / np.sqrt(np.maximum(size, _SAME)), 0.0)
            bHb = (h[:, None] + 2.0 * sign * SHS + h[None, :]) * f * f
            parts.append((f, (C + sign * c) * f, (SR + sign * r) * f, (SHW + sign * w) * f, bHb))
        (f1, c1, r1, w1, h1), (f2, c2, r2, w2, h2) = parts
        mixed = (h[:, None] - h[None, :]) * f1 * f2
        quadratic = rest + 2.0 * (c1 * r1 + c2 * r2) - 2.0 * (c1 * w1 + c2 * w2)
        quadratic += c1 * c1 * h1 + c2 * c2 * h2 + 2.0 * c1 * c2 * mixed
        pairs = total - h1 - h2 + (self.dimension - k + 2) * quadratic / (outside + c1 * c1 + c2 * c2)
        return singles, pairs


def vectors_needed(widths: list[tuple[int, float]], limit: float) -> float:
    """Test vectors at which the half-width is about `limit`, from [(vectors, half-width)] by a power law."""
    (now, half) = widths[-1]
    power = 0.5
    if len(widths) > 1:
        before, wider = widths[-2]
        power = max(power, float(np.log(max(wider, half) / half) / np.log(now / before)))
    return float(now * (half / limit) ** (1.0 / power))


def _orthonormal_beyond(basis: Array, rows: Array) -> tuple[Array, Array, Array]:
    """(A, Q, R): rows = Aᵀ·basis + Rᵀ·Q with Q orthonormal (k, n), of the rows' type, and orthogonal to the basis."""
    above, corner, fresh = np.zeros((len(basis), len(rows))), np.eye(len(rows)), rows
    for _ in range(2):
        inside = _gram(basis, fresh)
        above += inside @ corner
        fresh = fresh - (inside.T.astype(rows.dtype) @ basis if len(basis) else 0.0)
        scale = float(np.abs(fresh).max(initial=0.0)) or 1.0  # without overflow of squares
        q, r = np.linalg.qr((fresh / rows.dtype.type(scale)).T)
        corner = scale * r.astype(np.float64) @ corner
        fresh = np.ascontiguousarray(q.T)
    return above, fresh, corner


def _left_out(R: Array) -> Array:
    """Unit columns sᵢ ∝ R⁻ᵀeᵢ; singular values that are rounding count as such."""
    left, sizes, right = np.linalg.svd(R)
    if sizes[0] == 0.0:
        return np.eye(len(R))
    S = (left / np.maximum(sizes / sizes[0], np.finfo(np.float64).eps)) @ right
    return np.asarray(S / np.linalg.norm(S, axis=0))


def _bordered(old: Array, cross: Array, corner: Array) -> Array:
    """Symmetric [[old, cross], [crossᵀ, corner]]."""
    return np.block([[old, cross], [cross.T, 0.5 * (corner + corner.T)]])


def _gram(a: Array, b: Array) -> Array:
    """Inner products of rows, (len(a), len(b)), float64."""
    return gram(a.T, b.T)
