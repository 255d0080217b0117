"""How the eigenvalues of a symmetric operator are distributed: stochastic Lanczos quadrature with a certain band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..progress import Progress, check_progress
from ..ranges import BELOW_ONE, FLAG, Count
from ..real_array import real_array
from .dense import ALWAYS_DENSE, matrix_bytes
from .measure import Measure, Share
from .plan import checked_budget
from .probing import all_eigenvalues, default_probes, probe
from .products import Products

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]

STEPS = 100
RIPPLE = 3.0  # κ of the smoothing width


@dataclass(frozen=True)
class Density:
    """The distribution of the n eigenvalues of an operator.

    Attributes:
        nodes: (m,) quadrature nodes of all probes together, ascending, in units of H; all eigenvalues if `exact`.
        weights: (m,) the share of the spectrum that each stands for; they sum to 1.
        n: number of eigenvalues.
        steps: Lanczos steps per probe (n if `exact`).
        probes: number of Gaussian probes (0 if `exact`).
        products: matrix-vector products used.
        exact: whether `nodes` are all eigenvalues.
        confidence: of `cumulative`, unless it is given there.
        measure: what `cumulative` reads.
    """

    nodes: Array
    weights: Array
    n: int
    steps: int
    probes: int
    products: int
    exact: bool
    confidence: float
    measure: Measure

    def __repr__(self) -> str:
        how = "exact" if self.exact else f"{self.probes} probe(s) of {self.steps} steps"
        return f"Density(n={self.n}, in [{self.nodes[0]:.4g}, {self.nodes[-1]:.4g}], {how}, {self.products} products)"

    def cumulative(self, x: ArrayLike, confidence: float | None = None, simultaneous: bool = False) -> Share:
        """Bounds of #(λ ≤ x)/n, and of #(λ < x)/n too.

        The quadrature's part of the band is certain (Chebyshev–Markov, from Gauss–Radau rules with a node at x); the
        part of the random probes is the exact Beta distribution of a share.

        Args:
            x: points, any shape, in units of H.
            confidence: with which the band holds; None: the density's own (0.95 by default).
            simultaneous: at all x together (asymptotic for many eigenvalues, by Kolmogorov and Smirnov), instead of
                at each x by itself (exact).

        Returns:
            Share(lower, upper), each of the shape of x, in [0, 1].

        Raises:
            ArgumentError: x holds NaN, or the confidence is not in [0, 1).
        """
        points = real_array(x, "x").astype(np.float64)
        if np.isnan(points).any():
            raise ArgumentError("`x` must hold numbers, it holds NaN")
        sure = self.confidence if confidence is None else BELOW_ONE.check("confidence", confidence)
        if simultaneous:
            margin, found = self.measure.margin(sure), self.measure.bracket(points.ravel())
            found = Share(np.maximum(found.lower - margin, 0.0), np.minimum(found.upper + margin, 1.0))
        else:
            found = self.measure.below(points.ravel(), sure)
        return Share(np.reshape(found.lower, points.shape)[()], np.reshape(found.upper, points.shape)[()])

    def quantile(self, q: float) -> float:
        """The smallest node up to which at least the share q of the weights lies."""
        place = int(np.searchsorted(np.cumsum(self.weights), q))
        return float(self.nodes[min(place, len(self.nodes) - 1)])

    def width(self) -> float:
        """Standard deviation of `curve`'s smoothing: half the bulk's width · 2/((k − 1)·√(8·ln 3)).

        The bulk holds all but ½ % of the spectrum at either end, k is the number of nodes per probe within it: so a
        few outliers do not blur the rest, and the width scales with H. Source: Lin, Saad, Yang (2016), SIAM Review
        58, 34–65.

        Raises:
            ArgumentError: all eigenvalues are equal: there is nothing to smooth.
        """
        low, high = self.quantile(0.005), self.quantile(0.995)
        if high - low <= 1e-9 * float(np.abs(self.nodes).max()):
            low, high = float(self.nodes[0]), float(self.nodes[-1])
        if high <= low:
            raise ArgumentError("`width` must be given: all eigenvalues are equal, so that no width follows from them")
        inside = np.count_nonzero((self.nodes >= low) & (self.nodes <= high)) / max(self.probes, 1)
        return 0.5 * (high - low) * 2.0 / (max(min(inside, STEPS) - 1.0, 1.0) * float(np.sqrt(8.0 * np.log(RIPPLE))))

    def curve(self, x: ArrayLike, width: float | None = None) -> Array:
        """The density smoothed by a Gaussian: Σ wᵢ·φ((x − θᵢ)/width)/width, integral 1.

        Args:
            x: points, any shape, in units of H.
            width: standard deviation of the Gaussian, in units of H; None: `width()`.

        Returns:
            Of the shape of x, in 1/units of H.

        Raises:
            ArgumentError: `width` is not positive.
        """
        points = real_array(x, "x").astype(np.float64)
        spread = self.width() if width is None else float(width)
        if not (spread > 0 and np.isfinite(spread)):
            raise ArgumentError(f"`width` must be a positive number or None, got {width!r}")
        z = (points[..., None] - self.nodes) / spread
        return np.asarray(np.exp(-0.5 * z**2) @ self.weights / (spread * np.sqrt(2.0 * np.pi)))

    def plot(self, ax: Axes | None = None) -> Axes:
        """The cumulative distribution with its band: no smoothing chosen by hand.

        Args:
            ax: axes to draw on; None makes a new figure, without a window.

        Returns:
            The axes; `ax.figure.savefig(path)` writes the picture.
        """
        from .density_plot import cumulative_plot

        return cumulative_plot(self, ax)


def density(
    op: Any,
    steps: int | None = None,
    probes: int | None = None,
    seed: int = 0,
    *,
    exact: bool | None = None,
    confidence: float = 0.95,
    memory_budget: int | None = None,
    progress: Progress | None = None,
) -> Density:
    """The distribution of the eigenvalues of a symmetric operator.

    Gaussian probes run through three-term Lanczos recurrences in lock-step, one block product per step, without a
    stored basis. The band of `cumulative` encloses the distribution: quadrature error with certainty, sampling error
    with the stated confidence, up to the rounding of products. One eigenvalue weighs 1/n and is seen as χ²₁/n: for
    single eigenvalues at the ends use `eigenpairs`.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        steps: Lanczos steps per probe; the band narrows with it. None: 100.
        probes: number of probes; None: 1 for n ≥ 20,000, more below, at most 16.
        seed: of the probes.
        exact: True: all eigenvalues by a dense decomposition (n ≤ 3000); None: up to 512 rows, if the matrix fits
            `memory_budget`.
        confidence: of the band, in [0, 1).
        memory_budget: bytes; None: 1 GiB.
        progress: called as progress(done, total, text) after every step.

    Returns:
        Density: nodes (m,) in units of H and their weights; `cumulative(x)` with its band, `curve(x)` in 1/units of H.

    Guarantee: at any x the band of `cumulative` holds the true share with `confidence` (exact for Gaussian probes and
    exact products; widened by the known error of products).

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.
        BudgetError: the vectors of one step do not fit `memory_budget`.
        OperatorError: the operator is not symmetric, or a product has a wrong shape.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.

    Source: T. Chen, T. Trogdon, S. Ubaru (2021), arXiv 2105.06595; G. H. Golub, G. Meurant (2010), Matrices, Moments
    and Quadrature, ch. 6.
    """
    products = Products(op)
    wanted = Count(1).check("steps", STEPS if steps is None else steps)
    count = Count(1, 4096).check("probes", default_probes(products.n) if probes is None else probes)
    Count(0).check("seed", seed)
    sure = BELOW_ONE.check("confidence", confidence)
    check_progress(progress)
    room = checked_budget(memory_budget)
    chosen = None if exact is None else FLAG.check("exact", exact)
    if chosen or (chosen is None and products.n <= ALWAYS_DENSE and matrix_bytes(products.n) <= room):
        known = all_eigenvalues(products, memory_budget, progress)
        return Density(*known.rule(), products.n, products.n, 0, products.done, True, sure, known)
    seen = probe(products, wanted, count, seed, memory_budget=memory_budget, progress=progress)
    done = max(len(alpha) for alpha, _ in seen.recurrences)
    return Density(*seen.rule(), products.n, done, count, products.done, False, sure, seen)
