"""The distribution of eigenvalues as Gaussian probes see it: quadrature rules, bounds, and how far samples can err.

A Gaussian vector g gives the measure Σ_i ⟨g, u_i⟩² δ(λ_i). Over p probes the share of it on a set that holds m of the n
eigenvalues is exactly Beta(m·p/2, (n − m)·p/2) distributed, because a sum of squares of normal numbers is χ². The share
itself is enclosed by quadrature (Chebyshev–Markov). Both together bound m/n.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _core

Array = NDArray[Any]

ROUNDING = 1e-12  # of sums of weights


class Share(NamedTuple):
    """Bounds of shares of a spectrum: `lower` ≤ share ≤ `upper`, floats or arrays."""

    lower: Any
    upper: Any


class Measure(Protocol):
    """What a distribution of eigenvalues answers.

    Attributes:
        n: number of eigenvalues.
    """

    n: int

    def rule(self) -> tuple[Array, Array]:
        """(nodes, weights), ascending, the weights sum to 1."""

    def below(self, x: Array, confidence: float) -> Share:
        """Bounds of #(λ ≤ x)/n and of #(λ < x)/n, at every x, each with the given confidence."""

    def within(self, low: float, high: float, confidence: float) -> Share:
        """Bounds of #(low ≤ λ ≤ high)/n."""

    def margin(self, confidence: float) -> float:
        """What a distribution's estimate may err by at all x together, besides the quadrature."""

    def bracket(self, x: Array) -> Share:
        """The quadrature's bounds alone."""


class EigenvalueMeasure:
    """All eigenvalues, known to within `error`.

    Args:
        values: (n,) in any order.
        error: bound of their errors, in units of H.
    """

    def __init__(self, values: Array, error: float = 0.0) -> None:
        self.values = np.sort(np.asarray(values, dtype=np.float64))
        self.n = len(self.values)
        self.error = error

    def rule(self) -> tuple[Array, Array]:
        """(eigenvalues, 1/n each)."""
        return self.values, np.full(self.n, 1.0 / self.n)

    def bracket(self, x: Array) -> Share:
        """#(λ < x)/n and #(λ ≤ x)/n, x moved by the error."""
        lower = np.searchsorted(self.values, np.asarray(x) - self.error, side="left")
        upper = np.searchsorted(self.values, np.asarray(x) + self.error, side="right")
        return Share(lower / self.n, upper / self.n)

    def below(self, x: Array, confidence: float) -> Share:
        """As `bracket`: nothing is left to chance."""
        return self.bracket(x)

    def within(self, low: float, high: float, confidence: float) -> Share:
        """Counted, the ends moved by the error."""
        inner = np.count_nonzero((self.values >= low + self.error) & (self.values <= high - self.error))
        outer = np.count_nonzero((self.values >= low - self.error) & (self.values <= high + self.error))
        return Share(inner / self.n, outer / self.n)

    def margin(self, confidence: float) -> float:
        """0."""
        return 0.0


class ProbeMeasure:
    """The pooled measures of Gaussian probes.

    Args:
        n: dimension.
        recurrences: [(alpha, beta)] of every probe, beta as long as alpha, its last entry the residual.
        masses: (probes,) the squared lengths of the Gaussian start vectors.
        error: bound of the error of nodes by inexact products, in units of H.
    """

    def __init__(self, n: int, recurrences: list[tuple[Array, Array]], masses: Array, error: float = 0.0) -> None:
        self.n, self.recurrences, self.error = n, recurrences, error
        self.shares = np.asarray(masses, dtype=np.float64) / np.sum(masses)

    @property
    def probes(self) -> int:
        """Number of probes."""
        return len(self.recurrences)

    def norm(self) -> float:
        """The largest |node|: a lower bound of ‖H‖ that has converged after a few dozen steps."""
        last = [len(alpha) - 1 for alpha, _ in self.recurrences]
        ends = [
            abs(_core.tridiagonal_eigenvalue(alpha, beta, i))
            for (alpha, beta), k in zip(self.recurrences, last, strict=True)
            for i in (0, k)
        ]
        return max(ends)

    def rule(self) -> tuple[Array, Array]:
        """The Gauss rules of all probes as one, nodes ascending."""
        rules = [_core.gauss_rule(*recurrence) for recurrence in self.recurrences]
        nodes = np.concatenate([nodes for nodes, _ in rules])
        weights = np.concatenate([share * rule[1] for share, rule in zip(self.shares, rules, strict=True)])
        order = np.argsort(nodes, kind="stable")
        return nodes[order], weights[order] / weights.sum()

    def bracket(self, x: Array) -> Share:
        """Chebyshev–Markov: certain for the pooled measure, x moved by the error of the nodes."""
        points = np.atleast_1d(np.asarray(x, dtype=np.float64))
        ends = np.stack([points - self.error, points + self.error])
        if self.error == 0.0:
            ends = ends[:1]
        found = np.zeros((2, ends.size))
        for share, (alpha, beta) in zip(self.shares, self.recurrences, strict=True):
            found += share * _core.distribution_bounds(alpha, beta, ends.ravel()).T
        lower, upper = found[0, : len(points)], found[1, -len(points) :]
        return Share(np.clip(lower, 0.0, 1.0), np.clip(upper, 0.0, 1.0))

    def below(self, x: Array, confidence: float) -> Share:
        """The bracket widened by the exact limits of the Beta distribution."""
        return self._limits(self.bracket(x), confidence)

    def within(self, low: float, high: float, confidence: float) -> Share:
        """From the bracket at both ends."""
        ends = self.bracket(np.array([low, high]))
        lower = np.clip(ends.lower[1:] - ends.upper[:1], 0.0, 1.0)
        found = self._limits(Share(lower, np.clip(ends.upper[1:] - ends.lower[:1], 0.0, 1.0)), confidence)
        return Share(float(found.lower[0]), float(found.upper[0]))

    def margin(self, confidence: float) -> float:
        """The shares at all x together move like a Brownian bridge of variance 2·F(1 − F)/(n·probes).

        The supremum of its size exceeds √(½·ln(2/δ)) with probability at most δ (Kolmogorov–Smirnov, asymptotic).
        """
        return float(np.sqrt(0.5 * np.log(2.0 / (1.0 - confidence))) * np.sqrt(2.0 / (self.n * self.probes)))

    def _limits(self, share: Share, confidence: float) -> Share:
        """Counts m for which a share as small (large) as was seen has at least half the failure probability."""
        half = 0.5 * (1.0 - confidence)
        lower = _count_limit(share.lower, self.n, self.probes, half, smallest=True)
        upper = _count_limit(share.upper, self.n, self.probes, half, smallest=False)
        return Share(lower / self.n, upper / self.n)


def _count_limit(share: Array, n: int, probes: int, half: float, smallest: bool) -> Array:
    """The smallest m with P(Beta ≥ share) ≥ half, or the largest with P(Beta ≤ share) ≥ half, as whole numbers."""
    from scipy.special import betainc, betaincc

    share = np.asarray(share, dtype=np.float64)
    low, high = np.zeros_like(share), np.full_like(share, float(n))
    for _ in range(64):
        m = np.clip(0.5 * (low + high), 1e-9, n * (1.0 - 1e-12))
        a, b = 0.5 * probes * m, np.maximum(0.5 * probes * (n - m), 1e-300)
        if smallest:
            likely = betaincc(a, b, share) >= half
            high, low = np.where(likely, m, high), np.where(likely, low, m)
        else:
            likely = betainc(a, b, share) >= half
            low, high = np.where(likely, m, low), np.where(likely, high, m)
    # whole numbers beyond the limit; a share that is rounding is none
    if smallest:
        found = np.ceil(high - 1e-6 * np.maximum(1.0, high * 1e-9))
        return np.asarray(np.where(share <= ROUNDING, 0.0, np.clip(found, 0.0, n)))
    found = np.floor(low + 1e-6 * np.maximum(1.0, low * 1e-9))
    return np.asarray(np.where(share >= 1.0 - ROUNDING, float(n), np.clip(found, 0.0, n)))
