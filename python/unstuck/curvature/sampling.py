"""Curvature of a sample is not that of the population: tests on held-out data, and bootstrap intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, NonFiniteError
from ..landscape import Landscape, check_landscape, check_theta
from ..progress import Progress, check_progress
from ..ranges import BELOW_ONE, FRACTION, Count
from ..real_array import real_array
from . import lanczos
from .measure import Share

Array = NDArray[Any]

SEARCH = 200  # products at most for the direction
ACCURACY = 0.01  # of ends, relative to ‖H‖


@dataclass(frozen=True, eq=False)
class SplitTest:
    """Negative curvature along one direction, found on one part of the data and tested on the other.

    Attributes:
        found: vᵀHv on the part that the direction was found on: too low, because it was chosen to be low; NaN if the
            direction was given without that part.
        curvature: vᵀHv on the held-out part: unbiased for the population.
        standard_error: of `curvature`.
        upper: the population's curvature is at most this with probability `confidence` (one-sided, Student's t).
        p_value: probability of so low a `curvature` if the population's were 0 or more.
        confidence: that `negative` and `upper` go by.
        direction: the unit vector v, (n,).
        held_out: (S,) indices of the held-out samples.
        groups: number of groups of samples whose curvatures were averaged.
        products: Hessian products used, those of groups counted one each.
    """

    found: float
    curvature: float
    standard_error: float
    upper: float
    p_value: float
    confidence: float
    direction: Array = field(repr=False)
    held_out: Array = field(repr=False)
    groups: int
    products: int

    @property
    def negative(self) -> bool:
        """Whether the population's curvature along v is negative, by the test at level 1 − confidence."""
        return self.p_value <= 1.0 - self.confidence

    def __str__(self) -> str:
        verdict = (
            "is negative for the population" if self.negative else "is not shown to be negative for the population"
        )
        found = "" if math.isnan(self.found) else f", {self.found:.3g} where the direction was found"
        return (
            f"The curvature {verdict}: {self.curvature:.3g} ± {self.standard_error:.2g} on {len(self.held_out)} "
            f"held-out samples{found}; p = {self.p_value:.2g}."
        )


def split_test(
    land: Landscape,
    theta: Any = None,
    direction: Any = None,
    *,
    held_out: Any = None,
    share: float = 0.5,
    groups: int = 256,
    confidence: float = 0.95,
    max_products: int = SEARCH,
    seed: int = 0,
) -> SplitTest:
    """Whether negative curvature of a sample is there in the population too.

    The smallest eigenvalue of a sample's Hessian is chosen to be small: its curvature is biased (the winner's curse).
    Here v is found on part A; on part B the curvatures vᵀHᵢv of single samples, or of small groups, are independent of
    v, and a one-sided t-test on their mean is valid whatever way v was found.

    Args:
        land: a landscape with data.
        theta: (n,); None: the landscape's current point.
        direction: (n,), found without the held-out samples; None: the lowest eigenvector on the other samples.
        held_out: indices of the samples to test on; None: a random share of all.
        share: of the samples that is held out, in (0, 1).
        groups: most groups of held-out samples; as many products of one group each.
        confidence: of the verdict and of `upper`.
        max_products: most products of the search for a direction.
        seed: of the split, the groups and the search.

    Returns:
        SplitTest: the curvature along v on the held-out samples with its standard error and one-sided bound, in units
        of curvature (of the loss over θ²), the p-value, and v (n,).

    Guarantee: if the population's curvature along v is 0 or more, `negative` is True with probability 1 − `confidence`
    at most; exact for normal curvatures of groups, to which means of many samples come close.

    Raises:
        ArgumentError: the landscape has no data or couples the samples of a batch (batch norm in train mode), fewer
            than two samples are held out, an index is out of range, `direction` is zero or has a wrong shape.
        OperatorError: the Hessian on the other samples is not symmetric, or a product has a wrong shape.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a curvature is NaN or infinite.

    Source: sample splitting as in D. R. Cox (1975), A note on data-splitting for the evaluation of significance
    levels, Biometrika 62, 441–444; Student's t.
    """
    check_landscape(land)
    samples = sample_count(land)
    point = _point(land, theta)
    most = Count(2).check("groups", groups)
    sure = BELOW_ONE.check("confidence", confidence)
    budget = Count(1).check("max_products", max_products)
    rng = np.random.default_rng(Count(0).check("seed", seed))
    test = _held_out(held_out, samples, FRACTION.check("share", share), rng)
    rest = np.setdiff1d(np.arange(samples), test)
    products, found = 0, math.nan
    if direction is None:
        if not len(rest):
            raise ArgumentError("`held_out` leaves no samples to find a direction on")
        op = land.hessian(point, rest)
        state = lanczos.run(op, stop=_converged_low, max_products=min(budget, land.n), seed=rng)
        v = state.ritz_vector(0)
        found = float(v @ np.asarray(op @ v.astype(land.dtype), dtype=np.float64))
        products = int(op.products)
    else:
        v = real_array(direction, "direction").astype(np.float64)
        if v.shape != (land.n,) or not np.isfinite(v).all() or not np.any(v):
            raise ArgumentError(f"`direction` must be finite, not zero, of shape ({land.n},), got {v.shape}")
        v = v / np.linalg.norm(v)
    values, weights = _group_curvatures(land, point, v, np.array_split(rng.permutation(test), min(most, len(test))))
    mean, error = _weighted_mean(values, weights)
    degrees = len(values) - 1
    return SplitTest(
        found,
        mean,
        error,
        mean + _student(sure, degrees) * error,
        _tail(mean, error, degrees),
        sure,
        v,
        test,
        len(values),
        products + len(values),
    )


@dataclass(frozen=True, eq=False)
class BootstrapEnds:
    """How far the ends of a spectrum would move with other data.

    Attributes:
        lambda_min: smallest eigenvalue on the data as they are.
        lambda_max: largest.
        lambda_min_interval: for the population's smallest eigenvalue (basic bootstrap: it undoes the bias by which a
            sample's ends lie too far out); approximate, for many samples.
        lambda_max_interval: for its largest.
        resamples: (r, 2) both ends of every resample.
        confidence: of each interval.
        products: Hessian products used.
    """

    lambda_min: float
    lambda_max: float
    lambda_min_interval: Share
    lambda_max_interval: Share
    resamples: Array = field(repr=False)
    confidence: float
    products: int

    def __str__(self) -> str:
        low, high = self.lambda_min_interval, self.lambda_max_interval
        return (
            f"λ_min {self.lambda_min:.3g}, for the population [{low.lower:.3g}, {low.upper:.3g}]; λ_max "
            f"{self.lambda_max:.3g}, for the population [{high.lower:.3g}, {high.upper:.3g}] "
            f"({100 * self.confidence:g} %, {len(self.resamples)} resamples, {self.products} products)"
        )


def bootstrap_ends(
    land: Landscape,
    theta: Any = None,
    *,
    resamples: int = 40,
    confidence: float = 0.95,
    max_products: int = 60,
    seed: int = 0,
    progress: Progress | None = None,
) -> BootstrapEnds:
    """Intervals for λ_min and λ_max of the population's Hessian at a fixed θ, from resampled data.

    Each resample draws as many samples with replacement; both ends are found by Lanczos to 1 % of ‖H‖, started from
    the ends on all data.

    Args:
        land: a landscape with data.
        theta: (n,); None: the landscape's current point.
        resamples: number of resamples, at least 10.
        confidence: of each interval.
        max_products: most products per resample.
        seed: of the resamples.
        progress: called as progress(done, total, text) after every resample.

    Returns:
        BootstrapEnds: both ends on the data, their intervals for the population, and those of every resample, in units
        of curvature (of the loss over θ²).

    Guarantee: the intervals have their confidence for many samples (asymptotically) and ends that stand alone; an end
    within a cluster, where eigenvalues change places, is covered less well.

    Raises:
        ArgumentError: the landscape has no data or couples the samples of a batch, or an argument is out of range.
        OperatorError: the Hessian is not symmetric, or a product has a wrong shape.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.

    Source: A. C. Davison, D. V. Hinkley (1997), Bootstrap Methods and their Application, section 5.2.
    """
    check_landscape(land)
    samples = sample_count(land)
    point = _point(land, theta)
    count = Count(10).check("resamples", resamples)
    sure = BELOW_ONE.check("confidence", confidence)
    most = min(Count(1).check("max_products", max_products), land.n)
    rng = np.random.default_rng(Count(0).check("seed", seed))
    check_progress(progress)
    op = land.hessian(point)
    state = lanczos.run(op, stop=_converged_ends, max_products=min(3 * most, land.n), seed=rng)
    first, products = np.array([state.ritz_values()[0], state.ritz_values()[-1]]), int(op.products)
    start = state.ritz_vector(0) + state.ritz_vector(state.k - 1)
    ends = np.empty((count, 2))
    for i in range(count):
        op = land.hessian(point, rng.integers(0, samples, samples))
        # a little of everything: an end on the resample may lie elsewhere
        noise = rng.standard_normal(land.n)
        warm = start + 0.3 * noise / np.linalg.norm(noise)
        state = lanczos.run(op, stop=_converged_ends, max_products=most, start=warm)
        ends[i] = state.ritz_values()[0], state.ritz_values()[-1]
        products += int(op.products)
        if progress is not None:
            progress(i + 1, count, f"{products} products")
    half = 0.5 * (1.0 - sure)
    low, high = np.quantile(ends, [half, 1.0 - half], axis=0)
    at_min, at_max = (Share(float(2.0 * first[j] - high[j]), float(2.0 * first[j] - low[j])) for j in (0, 1))
    return BootstrapEnds(float(first[0]), float(first[1]), at_min, at_max, ends, sure, products)


def sample_count(land: Landscape) -> int:
    """How many samples the loss is a mean over.

    Raises:
        ArgumentError: there are none, or a batch couples them (batch normalisation in train mode).
    """
    if land.samples is None:
        raise ArgumentError("`land` has no data samples, so that there is nothing to split or resample")
    if getattr(land, "mode", "eval") == "train" and np.size(getattr(land, "buffers", ())):
        raise ArgumentError(
            "`land` is in train mode with batch normalisation, which couples the samples of a batch: the Hessian is no "
            'mean over samples. Use mode="eval"'
        )
    return int(land.samples)


def _point(land: Landscape, theta: Any) -> Array:
    point = land.theta if theta is None else theta
    if point is None:
        raise ArgumentError("`theta` is None and this landscape has no current point: pass theta, an array (n,)")
    return check_theta(point, land.n, land.dtype).copy()


def _held_out(indices: Any, samples: int, share: float, rng: np.random.Generator) -> Array:
    if indices is None:
        count = round(share * samples)
        if not 2 <= count < samples:
            raise ArgumentError(f"`share` = {share:g} must leave at least 2 of the {samples} samples, and not all")
        return np.sort(rng.permutation(samples)[:count])
    chosen = real_array(indices, "held_out")
    if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or len(np.unique(chosen)) != len(chosen) or len(chosen) < 2:
        raise ArgumentError("`held_out` must hold at least 2 different integer indices")
    if chosen.min() < 0 or chosen.max() >= samples:
        raise ArgumentError(f"`held_out` must lie in [0, {samples}), got {chosen.min()} … {chosen.max()}")
    return np.sort(chosen.astype(np.int64))


def _group_curvatures(land: Landscape, point: Array, v: Array, groups: list[Array]) -> tuple[Array, Array]:
    """(vᵀHv of every group, its weight in the mean of all)."""
    weight = sample_weights(land)
    narrow = v.astype(land.dtype)
    values, weights = [], []
    for group in groups:
        total = float(len(group)) if weight is None else float(weight[group].sum())
        if total > 0.0:
            values.append(float(v @ np.asarray(land.hessian(point, group) @ narrow, dtype=np.float64)))
            weights.append(total)
    if len(values) < 2:
        raise ArgumentError("`held_out` must hold at least two samples of positive weight")
    if not np.isfinite(values).all():
        raise NonFiniteError(
            "a curvature on the held-out samples is NaN or infinite; the point or the data is not finite"
        )
    return np.array(values), np.array(weights)


def sample_weights(land: Any) -> Array | None:
    """What each sample weighs in the loss: its own weight times that of its class; None: all the same."""
    own = getattr(land, "sample_weight", None)
    by_class = getattr(getattr(land, "loss_function", None), "class_weights", lambda: ())()
    if not np.size(by_class):
        by_class = None
    if by_class is not None:
        by_class = np.asarray(by_class, dtype=np.float64)[land.y]
    if own is None or by_class is None:
        kept = by_class if own is None else own
        return None if kept is None else np.asarray(kept, dtype=np.float64)
    return np.asarray(np.asarray(own, dtype=np.float64) * by_class)


def _weighted_mean(values: Array, weights: Array) -> tuple[float, float]:
    """Σwc/Σw and its standard error (that of a ratio, by linearisation)."""
    share = weights / weights.sum()
    mean = float(share @ values)
    count = len(values)
    return mean, math.sqrt(count / (count - 1) * float(np.sum((share * (values - mean)) ** 2)))


def _student(confidence: float, degrees: int) -> float:
    """One-sided quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, confidence))


def _tail(mean: float, error: float, degrees: int) -> float:
    """P(t ≤ mean/error)."""
    from scipy.special import stdtr

    if error == 0.0:
        return 0.0 if mean < 0.0 else 1.0
    return float(stdtr(degrees, mean / error))


def _converged_low(state: _core.Lanczos) -> bool:
    if state.k % 4 and not state.exhausted:
        return False
    return bool(state.residuals()[0] <= 0.1 * abs(state.ritz_values()[0]))


def _converged_ends(state: _core.Lanczos) -> bool:
    if state.k % 4 and not state.exhausted:
        return False
    values, residuals = state.ritz_values(), state.residuals()
    limit = ACCURACY * max(abs(float(values[0])), abs(float(values[-1])))
    return bool(max(residuals[0], residuals[-1]) <= limit)
