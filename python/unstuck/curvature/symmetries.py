"""Symmetries: directions along which the loss cannot change, because of how the network is built or what it sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import check_theta
from ..operators import HessianOperator, as_operator
from ..ranges import NON_NEGATIVE
from .symmetry_families import MOST_COLUMNS, Family, families

if TYPE_CHECKING:
    from ..network_landscape import NetworkLandscape

Array = NDArray[Any]

MIXTURES = 6  # Gaussian vectors of the directions, whose products are looked at
FACTOR = 8.0  # P(|z| < 1/8)⁶ = 1e-6 for normal z: no direction is further from flat than so many times the largest
EXACT = 64  # directions up to which the residual is computed for each
INDEPENDENT = 1e-9  # of a Gram matrix of unit vectors


@dataclass(frozen=True)
class Symmetry:
    """One family of directions along which the loss does not change.

    Attributes:
        reason: why, in words with the layers' names.
        count: independent directions of this family beyond those of the families before it.
    """

    reason: str
    count: int


@dataclass(frozen=True)
class Symmetries:
    """The flat directions that are known without looking at the spectrum; `str()` of it is one sentence.

    Attributes:
        families: why and how many.
        residual: largest ‖Hd‖ over the unit vectors d that they span, in units of H; at a critical point it is noise.
            Exact for up to 64 directions, else an upper bound by random mixtures (probability of error 1e-6).
        n: number of parameters.
        coordinates: (m,) parameters that are flat directions by themselves, ascending.
        columns: (n, d) SciPy sparse matrix, zero at the coordinates: the others, where several parameters move.
        weights: (d, k) such that columns @ weights is orthonormal.
    """

    families: tuple[Symmetry, ...]
    residual: float
    n: int
    coordinates: Array = field(repr=False)
    columns: Any = field(repr=False)
    weights: Array = field(repr=False)

    @property
    def count(self) -> int:
        """Independent flat directions."""
        return len(self.coordinates) + int(self.weights.shape[1])

    @property
    def basis(self) -> Array:
        """Orthonormal (n, count), float64: the directions, made anew (8·n·count bytes)."""
        units = np.zeros((self.n, len(self.coordinates)))
        units[self.coordinates, np.arange(len(self.coordinates))] = 1.0
        return np.concatenate([units, self.columns @ self.weights], axis=1)

    def __str__(self) -> str:
        if not self.count:
            return f"None of the {self.n} directions is flat by a known symmetry."
        return f"{self.count} of the {self.n} directions are flat by construction: {self.reasons()}."

    def reasons(self) -> str:
        """How many by what, in words."""
        return "; ".join(f"{family.count} by {family.reason}" for family in self.families if family.count)

    def apart(self, rows: Array) -> Array:
        """What of each row (k, n) is orthogonal to all of them, float64."""
        wide = np.array(rows, dtype=np.float64)
        wide[:, self.coordinates] = 0.0
        if self.weights.size:
            for _ in range(2):  # the second time takes the first one's rounding away
                inside = (self.columns.T @ wide.T).T @ self.weights
                wide -= (self.columns @ (self.weights @ inside.T)).T
        return wide

    def deflate(self, op: Any, shift: float = 0.0) -> HessianOperator:
        """P·H·P + shift·(I − P), P = I − QQᵀ, Q the basis: the operator without these directions.

        Args:
            op: HessianOperator, SciPy LinearOperator or matrix (n, n).
            shift: the eigenvalue that they have instead, in units of H.

        Raises:
            ArgumentError: `op` has another size.
        """
        H = as_operator(op)
        if H.shape[0] != self.n:
            raise ArgumentError(f"`op` must have shape ({self.n}, {self.n}), got {H.shape}")

        def block(rows: Array) -> Array:
            outside = self.apart(rows)
            images = self.apart(np.asarray(H.matmat(np.ascontiguousarray(outside.astype(H.dtype)).T)).T)
            if shift != 0.0:
                images += shift * (rows - outside)
            return np.ascontiguousarray(images.astype(H.dtype))

        return HessianOperator(
            self.n, H.dtype, lambda v: block(v[None])[0], block, exact=H.exact, noise=H.noise, plan=H.plan, trusted=True
        )

    def mixtures(self, rng: np.random.Generator, count: int) -> Array:
        """`count` Gaussian vectors of their span, (count, n), float64."""
        rows = np.zeros((count, self.n))
        rows[:, self.coordinates] = rng.standard_normal((count, len(self.coordinates)))
        if self.weights.size:
            rows += (self.columns @ (self.weights @ rng.standard_normal((self.weights.shape[1], count)))).T
        return rows


def symmetries(land: NetworkLandscape, theta: ArrayLike | None = None, tolerance: float | None = None) -> Symmetries:
    """The directions in which the loss of a network cannot curve at a critical point, and why.

    Families: logits that may all be shifted (CrossEntropy behind a Linear); inputs that are 0 on all data, and units
    (ReLU) that are; biases, means and scales of weights that a normalisation behind them removes again (BatchNorm in
    training, LayerNorm, RMSNorm, up to their ε); hidden units whose weights can be scaled in against out (Linear, then
    Identity, ReLU or LeakyReLU, then Linear). For a scaling t the Hessian obeys H·t = −(∂t/∂θ)ᵀ∇L, so that it is flat
    where the gradient vanishes; the others are flat everywhere.

    Args:
        land: a NetworkLandscape; with `l2` > 0 nothing is flat and the answer is empty.
        theta: the point (n,); None: the network's current one.
        tolerance: what counts as flat, in units of curvature; None: 1e-4·‖H‖, as in `classify`.

    Returns:
        `Symmetries`: any number of single parameters, and at most 2,000 other directions of each family.

    Raises:
        ArgumentError: `tolerance` is negative, or `theta` has a wrong shape.
        ArgumentTypeError: `land` is no NetworkLandscape.

    Guarantee: no unit vector d that the answer spans has ‖Hd‖ above `tolerance`, so that at least as many eigenvalues
    lie within ±tolerance: by products with all directions up to 64, else with random mixtures (probability of error
    1e-6). A family that is not flat by itself is left out.
    Cost: one forward pass over at most 4,096 samples, and products: one for each direction or, for more than 64, 6 (as
    many again for each family where not all are flat), and a dozen for ‖H‖ without `tolerance`.

    Source: scalings as in B. Neyshabur et al. (2015), Path-SGD, arXiv 1506.02617, and L. Dinh et al. (2017), arXiv
    1703.04933; scales before a normalisation as in T. van Laarhoven (2017), arXiv 1706.05350.
    """
    from ..network_landscape import NetworkLandscape

    if not isinstance(land, NetworkLandscape):
        raise ArgumentTypeError(f"`land` must be a NetworkLandscape, got {type(land).__name__}")
    point = check_theta(land.theta if theta is None else theta, land.n, land.dtype)
    given = None if tolerance is None else NON_NEGATIVE.check("tolerance", tolerance)
    op = land.hessian(point)
    return flat_symmetries(land, point, op, 1e-4 * _norm(op) if given is None else given)


def flat_symmetries(
    land: NetworkLandscape, theta: Array, op: HessianOperator, flat: float, exact: int = EXACT
) -> Symmetries:
    """The symmetries whose directions are flat within `flat`; see `symmetries`.

    Up to `exact` directions each has its own product, otherwise Gaussian mixtures stand for all.
    """
    if land.l2 > 0.0:
        return _assembled([], land.n)
    rng = np.random.default_rng(0)
    candidates = [family for family in families(land, theta) if len(family.coordinates) or family.columns]
    found = _checked(_assembled(candidates, land.n), op, rng, exact)
    if found.residual <= flat:
        return found
    kept = [f for f in candidates if _checked(_assembled([f], land.n), op, rng, exact).residual <= flat]
    found = _checked(_assembled(kept, land.n), op, rng, exact)
    return found if found.residual <= flat else _assembled([], land.n)


def _checked(found: Symmetries, op: HessianOperator, rng: np.random.Generator, exact: int) -> Symmetries:
    """With ‖HQ‖, Q the basis, or a bound of it."""
    if not found.count:
        return found
    if found.count <= exact:
        images = _images(op, found.basis.T)
        return _with_residual(found, float(np.linalg.norm(images, 2)))
    sizes = np.linalg.norm(_images(op, found.mixtures(rng, MIXTURES)), axis=0)
    return _with_residual(found, FACTOR * float(sizes.max()))


def _with_residual(found: Symmetries, residual: float) -> Symmetries:
    return Symmetries(found.families, residual, found.n, found.coordinates, found.columns, found.weights)


def _images(op: HessianOperator, rows: Array) -> Array:
    """H·row in columns, (n, k)."""
    return np.asarray(op.matmat(np.ascontiguousarray(rows, dtype=op.dtype).T), dtype=np.float64)


def _assembled(candidates: list[Family], n: int) -> Symmetries:
    """One basis of all families, and what each adds: the rank is m + that of the columns without the m coordinates."""
    counted: list[Symmetry] = []
    coordinates = np.empty(0, np.int64)
    columns: list[tuple[Array, Array]] = []
    before, matrix, weights = 0, _sparse([], coordinates, n), np.empty((0, 0))
    for family in candidates:
        coordinates = np.union1d(coordinates, family.coordinates)
        columns += family.columns[: max(MOST_COLUMNS - len(columns), 0)]
        matrix = _sparse(columns, coordinates, n)
        weights = _orthonormalising(matrix)
        rank = len(coordinates) + weights.shape[1]
        counted.append(Symmetry(family.reason, rank - before))
        before = rank
    return Symmetries(tuple(counted), 0.0, n, coordinates, matrix, weights)


def _sparse(columns: list[tuple[Array, Array]], without: Array, n: int) -> Any:
    """Unit vectors as a sparse matrix (n, d), then without some of their entries."""
    from scipy.sparse import csc_array

    kept = np.ones(n, dtype=bool)
    kept[without] = False
    rows, values, ends = [np.empty(0, np.int64)], [np.empty(0)], [0]
    for where, value in columns:
        size = float(np.linalg.norm(value))
        inside = kept[where] & (value != 0.0)
        rows.append(where[inside])
        values.append(value[inside] / (size or 1.0))
        ends.append(ends[-1] + int(np.count_nonzero(inside)))
    return csc_array((np.concatenate(values), np.concatenate(rows), np.array(ends)), shape=(n, len(columns)))


def _orthonormalising(matrix: Any) -> Array:
    """(d, k) weights that turn the columns into an orthonormal basis of their span."""
    if matrix.shape[1] == 0:
        return np.empty((0, 0))
    values, vectors = np.linalg.eigh((matrix.T @ matrix).toarray())
    kept = values > INDEPENDENT
    return np.asarray(vectors[:, kept] / np.sqrt(values[kept]))


def _norm(op: HessianOperator) -> float:
    """‖H‖ from below, by a dozen power iterations."""
    v = np.random.default_rng(1).standard_normal(op.shape[0])
    size = 0.0
    for _ in range(12):
        v /= max(float(np.linalg.norm(v)), 1e-300)
        v = np.asarray(op @ v.astype(op.dtype), dtype=np.float64)
        size = max(size, float(np.linalg.norm(v)))
    return size
