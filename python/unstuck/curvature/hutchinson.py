"""Trace, Frobenius norm and diagonal of a symmetric operator from its products, each with an interval."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ConvergenceWarning
from ..progress import Progress, check_progress
from ..ranges import BELOW_ONE, NON_NEGATIVE, Count
from .estimate import COLUMNS, Deflation, Estimate, deflation, known_rows, t_interval, t_quantile, unit_blocks
from .measure import Share
from .plan import checked_budget
from .products import Products, check_entries, gaussian, lengths, signs
from .xtrace import FEWEST, MOST_VECTORS, VECTORS, LeaveOneOut, vectors_needed

Array = NDArray[Any]

SKETCH = 32  # products that go into the range of H, and as many into its images
PROBES = 32  # of what is left
WITNESSES = 4  # Gaussian vectors that measure ‖H − Hᵀ‖_F beside all columns
MOST = 100_000  # products, when a tolerance asks for many


def trace(
    op: Any,
    tolerance: float | None = None,
    *,
    method: Literal["hutch++", "xtrace"] = "hutch++",
    sketch: int | None = None,
    probes: int | None = None,
    pairs: Any = None,
    confidence: float = 0.95,
    max_products: int | None = None,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Estimate:
    """The trace of a symmetric operator, by Hutch++ or XTrace, with an interval.

    Hutch++: the trace on the range of a sketch of H (and on known eigenvectors) is computed; on the complement it is
    the mean over random signs z of zᵀHz. XTrace: every Gaussian vector is such a probe beside the sketch that all the
    others make, which is better where eigenvalues fall off quickly. Operators of so few rows that this saves nothing
    are done exactly.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n); it may be indefinite.
        tolerance: largest half-width of the interval, in units of H. Hutch++: the first probes measure the spread, from
            which the number of all of them follows (Stein's two stages: the interval keeps its confidence). XTrace:
            vectors are added until the interval is narrow enough. None: as given by `probes`.
        method: "hutch++", whose t-interval has just its confidence, or "xtrace", whose interval by the jackknife has
            that or more (measured at 90 %: 91 to 100 %, mostly one to four times as wide as need be).
        sketch: of Hutch++, vectors of the sketch; each costs two products. None: 32.
        probes: random vectors. Hutch++: at least 2, one product each; None: 32. XTrace: at least 4, two products each;
            None: 48.
        pairs: known eigenpairs (from `eigenpairs`), or orthonormal vectors (n, k): each costs one product.
        confidence: of the interval, in [0, 1).
        max_products: most products; None: 100,000.
        memory_budget: bytes; None: 1 GiB. The sketch is made smaller if need be.
        seed: of the random vectors.
        progress: called as progress(done, total, text) after every block.

    Returns:
        Estimate with `.value`, `.interval`, `.products`. The interval of Hutch++ is that of Student's t: exact for
        normal samples, to which sums of many eigenvalues come close. All in units of H.

    Guarantee: the interval holds tr H with `confidence` (Hutch++: as far as samples are normal; XTrace: the jackknife's
    variance is on average not too small); rounding of the products widens it.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.
        OperatorError: the operator is not symmetric, or a product has a wrong shape.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.

    Warns:
        ConvergenceWarning: `tolerance` needs more than `max_products`; the interval is as wide as it is.

    Source: R. A. Meyer et al. (2021), Hutch++, arXiv 2010.09649; C. Stein (1945), Ann. Math. Statist. 16, 243–258;
    E. N. Epperly, J. A. Tropp, R. J. Webber (2024), XTrace, SIAM J. Matrix Anal. Appl. 45, 1–23; B. Efron, C. Stein
    (1981), Ann. Statist. 9, 586–596.
    """
    if not isinstance(method, str) or method not in ("hutch++", "xtrace"):
        raise ArgumentError(f'`method` must be "hutch++" or "xtrace", got {method!r}')
    limit = None if tolerance is None else _positive("tolerance", tolerance)
    if method == "xtrace":
        if sketch is not None:
            raise ArgumentError('`sketch` is for "hutch++"; the vectors of "xtrace" are its `probes`')
        vectors = Count(FEWEST).check("probes", VECTORS if probes is None else probes)
        job = _Job(op, vectors, 2, pairs, confidence, max_products, memory_budget, seed, progress)
        return _xtrace(job, vectors, limit)
    job = _Job(op, sketch, probes, pairs, confidence, max_products, memory_budget, seed, progress)
    rounding = math.sqrt(job.products.n)
    if not job.direct:
        kept = job.deflate()
        base = float(np.trace(kept.small()))
        found = job.sample(lambda z, image: np.einsum("ij,ij->i", z, image, dtype=np.float64), kept, limit)
        if found is not None:
            value, half = base + found[0], found[1] + job.products.noise * rounding
            return Estimate(value, Share(value - half, value + half), job.products.done, False, job.confidence)
    return job.exact_trace()


def _xtrace(job: _Job, vectors: int, limit: float | None) -> Estimate:
    """Leave-one-out estimates on the complement of known pairs; vectors are added by halves until narrow enough."""
    n, size = job.products.n, job.products.dtype.itemsize
    room = checked_budget(job.memory) // (6 * n * size)
    if job.direct or room < FEWEST:
        return job.exact_trace()
    job.sketch = 0
    kept = job.deflate()
    base, state = float(np.trace(kept.small())), LeaveOneOut(job.products, kept, job.rng)
    largest = min((job.most - job.products.done) // 2, room - len(kept.rows), state.dimension // 2, MOST_VECTORS)
    wanted, widths = min(vectors, largest), []
    if wanted < FEWEST:
        return job.exact_trace()
    while True:
        for begin in range(state.count, wanted, COLUMNS):
            state.extend(min(COLUMNS, wanted - begin))
            if job.progress is not None:
                job.progress(state.count, wanted, f"{job.products.done} products")
        job.products.require_squares()
        value, half = state.estimate(job.confidence)
        widths.append((state.count, half))
        if limit is None or half <= limit:
            break
        cheaper = 2 * (vectors_needed(widths, limit) - state.count) >= n
        if job.most - job.products.done >= n and (cheaper or state.count == largest):
            return job.exact_trace()
        if state.count == largest:
            warnings.warn(
                f"`tolerance` = {limit:.3g} is not reached by {state.count} vectors, the most that `max_products`, "
                f"`memory_budget` and their cubic cost allow: the interval's half-width is {half:.3g}",
                ConvergenceWarning,
                stacklevel=3,
            )
            break
        wanted = min(largest, max(state.count + state.count // 2, state.count + 4))
    value, half = base + value, half + job.products.noise * math.sqrt(n)
    return Estimate(value, Share(value - half, value + half), job.products.done, False, job.confidence)


def frobenius(
    op: Any,
    *,
    sketch: int | None = None,
    probes: int | None = None,
    pairs: Any = None,
    confidence: float = 0.95,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Estimate:
    """‖H‖_F = √(Σλᵢ²) of a symmetric operator, in units of H, with a t-interval of its square.

    ‖H‖_F² = 2·‖HQ‖_F² − ‖QᵀHQ‖_F² + ‖PHP‖_F², the last term being the mean of ‖PHPz‖² over random signs z, with Q a
    basis of the range of a sketch and of known eigenvectors, P the projection on its complement.

    Args: as `trace`.

    Returns:
        Estimate, never negative, in units of H; the interval is the root of a t-interval of the square.

    Guarantee: the interval holds ‖H‖_F with `confidence`, exactly so for normal samples.

    Raises: as `trace`. Source: the same.
    """
    job = _Job(op, sketch, probes, pairs, confidence, None, memory_budget, seed, progress)
    if job.direct:
        sizes = np.concatenate([lengths(images) for _, images in job.columns()])
        value = float(lengths(sizes[None])[0])
        return job.exact(value, job.products.noise * math.sqrt(job.products.n))
    kept = job.deflate()
    scale = job.products.norm or 1.0
    base = 2.0 * float(np.sum((lengths(kept.images) / scale) ** 2)) - float(np.sum((kept.small() / scale) ** 2))
    samples = job.samples(lambda z, image: (lengths(kept.without(image)) / scale) ** 2, kept, job.probes)
    mean, half = t_interval(samples, job.confidence)
    square, noise = max(base + mean, 0.0), job.products.noise * math.sqrt(job.products.n)
    lower = scale * math.sqrt(max(square - half, 0.0)) - noise
    upper = scale * math.sqrt(square + half) + noise
    return Estimate(scale * math.sqrt(square), Share(max(lower, 0.0), upper), job.products.done, False, job.confidence)


@dataclass(frozen=True)
class Diagonal:
    """The diagonal of an operator.

    Attributes:
        value: (n,) unbiased estimates, float64, in units of H.
        standard_error: (n,) of each, from the spread of the samples, and rounding; 0 if `exact`.
        probes: number of samples.
        products: matrix-vector products used.
        exact: whether all entries were computed.
    """

    value: Array
    standard_error: Array
    probes: int
    products: int
    exact: bool

    def interval(self, confidence: float = 0.95) -> Share:
        """(lower, upper), (n,) each: the t-interval of every entry by itself."""
        sure = BELOW_ONE.check("confidence", confidence)
        half = 0.0 if self.exact else t_quantile(sure, self.probes - 1) * self.standard_error
        return Share(self.value - half, self.value + half)


def diagonal(
    op: Any,
    *,
    sketch: int | None = None,
    probes: int | None = None,
    pairs: Any = None,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagonal:
    """diag(H) of a symmetric operator, with a standard error for every entry.

    What lies in the range of a sketch is computed, the rest is the mean of z∘(PHPz) over random signs z, whose
    variance is Σ_{j≠i} (PHP)ᵢⱼ².

    Args: as `trace`.

    Returns:
        Diagonal: (n,) values and standard errors, float64, in units of H.

    Guarantee: every entry is unbiased; `interval(confidence)` holds each by itself at that rate for normal samples
    (measured at 90 %: 87 to 95 % of the entries).

    Raises: as `trace`. Source: C. Bekas, E. Kokiopoulou, Y. Saad (2007), Appl. Numer. Math. 57, 1214–1229; the sketch
    as in Hutch++.
    """
    job = _Job(op, sketch, probes, pairs, 0.95, None, memory_budget, seed, progress)
    n = job.products.n
    if job.direct:
        value = np.concatenate([np.diagonal(images[:, begin:]) for begin, images in job.columns()])
        return Diagonal(value.astype(np.float64), np.zeros(n), 0, job.products.done, True)
    kept = job.deflate()
    # H = QQᵀH + PHQQᵀ + PHP: the first two have known diagonals
    rest = kept.images - (kept.images @ kept.rows.T) @ kept.rows
    value = np.einsum("ij,ij->j", kept.rows, kept.images, dtype=np.float64)
    value += np.einsum("ij,ij->j", kept.rows, rest, dtype=np.float64)
    job.products.require_squares()
    mean, squares, count = np.zeros(n), np.zeros(n), 0
    for z, _, image in job.probe_blocks(kept, job.probes):
        for sample in np.asarray(z, np.float64) * kept.without(image):
            count += 1
            change = sample - mean
            mean += change / count
            squares += change * (sample - mean)
    error = np.hypot(np.sqrt(squares / (count - 1) / count), 4.0 * job.products.noise)  # spread, and rounding
    return Diagonal(value + mean, error, count, job.products.done, False)


class _Job:
    """The arguments that all of them share, checked, and the products."""

    def __init__(
        self,
        op: Any,
        sketch: int | None,
        probes: int | None,
        pairs: Any,
        confidence: float,
        max_products: int | None,
        memory_budget: int | None,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.products = Products(op)
        self.sketch = Count(0).check("sketch", SKETCH if sketch is None else sketch)
        self.probes = Count(2).check("probes", PROBES if probes is None else probes)
        self.confidence = BELOW_ONE.check("confidence", confidence)
        self.most = Count(8).check("max_products", MOST if max_products is None else max_products)
        self.seed = Count(0).check("seed", seed)
        check_progress(progress)
        checked_budget(memory_budget)
        self.pairs = known_rows(pairs, self.products.n, self.products.dtype)
        self.memory, self.progress = memory_budget, progress
        self.rng = np.random.default_rng(seed)
        self.direct = self.products.n <= min(2 * self.sketch + self.probes, self.most)

    def columns(self) -> Any:
        """(begin, H·eᵢ as rows) in blocks, the operator checked first; once all are there, so is its symmetry."""
        n, dtype = self.products.n, self.products.dtype
        self.products.first(gaussian(self.rng, 1, n, dtype), self.rng)
        z, largest = gaussian(self.rng, WITNESSES, n, np.float64), 0.0
        skew = np.zeros_like(z)  # (H − Hᵀ)·z, whose mean square is that of ‖H − Hᵀ‖_F
        for begin, block in unit_blocks(n, dtype):
            images = self.products.rows(block)
            own = slice(begin, begin + len(block))
            skew += z[:, own] @ images
            skew[:, own] -= z @ images.T
            largest = max(largest, float(np.abs(images).max()))
            yield begin, images
        check_entries(self.products.op, largest, 0.5 * float(np.linalg.norm(lengths(skew))) / math.sqrt(WITNESSES))

    def deflate(self) -> Deflation:
        return deflation(self.products, min(self.sketch, self.most // 4), self.pairs, self.memory, self.seed)

    def probe_blocks(self, kept: Deflation, count: int) -> Any:
        """(z, P·z, H·P·z) for `count` rows of random signs, in blocks."""
        for begin in range(0, count, COLUMNS):
            z = signs(self.rng, min(COLUMNS, count - begin), self.products.n, self.products.dtype)
            outside = kept.without(z)
            yield z, outside, self.products.rows(outside)
            if self.progress is not None:
                self.progress(min(begin + COLUMNS, count), count, f"{self.products.done} products")

    def samples(self, measure: Callable[[Array, Array], Array], kept: Deflation, count: int) -> Array:
        """measure(Pz, HPz) for `count` random signs z."""
        return np.concatenate([np.empty(0), *(measure(z, image) for _, z, image in self.probe_blocks(kept, count))])

    def sample(
        self, measure: Callable[[Array, Array], Array], kept: Deflation, tolerance: float | None
    ) -> tuple[float, float] | None:
        """(mean, half-width); with a tolerance in Stein's two stages, or None where all n products are fewer."""
        first = max(2, min(self.probes, self.most - self.products.done))
        samples = self.samples(measure, kept, first)
        mean, half = t_interval(samples, self.confidence)
        if tolerance is None or half <= tolerance:
            return mean, half
        needed = math.ceil((half / tolerance) ** 2 * first)
        possible = first + max(self.most - self.products.done, 0)
        if min(needed, possible) - first >= self.products.n:
            return None
        if needed > possible:
            warnings.warn(
                f"`tolerance` = {tolerance:.3g} needs about {needed} probes, `max_products` leaves {possible}",
                ConvergenceWarning,
                stacklevel=4,
            )
        total = min(needed, possible)
        more = self.samples(measure, kept, total - first)
        return float(np.mean(np.concatenate([samples, more]))), half * math.sqrt(first / total)

    def exact_trace(self) -> Estimate:
        """Σ eᵢᵀHeᵢ."""
        value = sum(float(np.trace(images[:, begin:], dtype=np.float64)) for begin, images in self.columns())
        return self.exact(value, self.products.noise * math.sqrt(self.products.n))

    def exact(self, value: float, rounding: float) -> Estimate:
        return Estimate(value, Share(value - rounding, value + rounding), self.products.done, True, 1.0)


def _positive(name: str, value: Any) -> float:
    number = NON_NEGATIVE.check(name, value)
    if number == 0.0:
        raise ArgumentError(f"`{name}` must be positive, got 0")
    return number
