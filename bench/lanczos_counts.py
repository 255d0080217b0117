"""Products until Lanczos detects, converges and certifies, on spectra given as weighted nodes: n is but a weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse.linalg as sl

from unstuck import _core

NODES = 2500  # of the bulk
FAILURE = 1e-6  # δ of the certificate
QUESTIONS = ("below_zero", "below_half", "converged", "certified")


@dataclass(frozen=True)
class Problem:
    """{−g}, a bulk and, like a network's Hessian, ten outliers, in dimension n.

    Attributes:
        kind: "uniform" (bulk U(0, 1)) or "network" (outliers in [10, 100], log-normal bulk below 1).
        g: the planted eigenvalue is −g.
        n: dimension; it shows in the overlaps of the start alone.
    """

    kind: str
    g: float
    n: int

    def __str__(self) -> str:
        return f"{self.kind}, g = {self.g:g}, n = {self.n:.0e}".replace("e+0", "e")

    def instance(self, seed: int, typical: bool = False) -> tuple[Any, Any]:
        """Distinct eigenvalues, and what a Gaussian unit vector has in their eigenspaces.

        `typical`: the planted vector's share is the median one, 0.674²/n, as in the reference table.
        """
        rng = np.random.default_rng([seed, int(1e6 * self.g), int(math.log10(self.n))])
        network = self.kind == "network"
        bulk = np.minimum(10.0 ** rng.normal(-3, 0.7, NODES), 1.0) if network else rng.uniform(0, 1, NODES)
        single = np.r_[-self.g, np.linspace(10, 100, 10)] if network else np.array([-self.g])
        copies = (self.n - len(single)) / NODES
        squares = np.r_[rng.chisquare(1, len(single)), rng.chisquare(copies, NODES)]
        if typical:
            squares[0] = 0.674**2
        start = np.sqrt(squares / squares.sum())
        return np.r_[single, bulk], start


# products of unrestarted Lanczos for n = 1e4, 1e6, 1e8: until θ < 0, θ < −g/2, residual ≤ g/100, certificate ≥ −2g
FULL: dict[tuple[str, float], tuple[tuple[int, ...], ...]] = {
    ("uniform", 1e-1): ((9, 10, 18, 24), (13, 14, 22, 26), (16, 18, 26, 30)),
    ("uniform", 1e-2): ((22, 26, 54, 72), (33, 37, 65, 80), (45, 49, 77, 88)),
    ("uniform", 1e-3): ((53, 63, 161, 216), (88, 100, 197, 242), (124, 136, 234, 268)),
    ("network", 1e-1): ((15, 15, 19, 22), (16, 17, 20, 22), (18, 19, 22, 24)),
    ("network", 1e-2): ((21, 23, 31, 36), (25, 27, 34, 38), (29, 30, 37, 40)),
    ("network", 1e-3): ((39, 42, 62, 72), (48, 51, 70, 78), (56, 59, 77, 82)),
}
SIZES = (10**4, 10**6, 10**8)
# until convergence with 20 vectors of which a restart always keeps the 4 lowest and the 10 highest
RESTARTED = {
    ("network", 1e-2, 10**6): 42,
    ("network", 1e-3, 10**6): 142,
    ("network", 1e-3, 10**8): 174,
    ("uniform", 1e-3, 10**6): 372,
}


def counts(
    problem: Problem, seed: int, vectors: int | None = None, typical: bool = False, most: int = 4000
) -> dict[str, int]:
    """Products of ours until each of `QUESTIONS` is answered; `vectors`: most that are stored."""
    d, start = problem.instance(seed, typical)
    state = _core.Lanczos(len(d), "float64", vectors or len(d), start)
    answers: dict[str, int] = {}
    while len(answers) < len(QUESTIONS) and state.products < most and state.k < len(d):
        if state.k == state.capacity:
            state.compress(*_core.restart_split(state.ritz_values(), 1))
        state.push(d * state.next())
        for question, holds in _holds(problem, state, answers).items():
            if holds:
                answers.setdefault(question, int(state.products))
    return answers


def _holds(problem: Problem, state: Any, known: dict[str, int]) -> dict[str, bool]:
    g, n = problem.g, problem.n
    half = bool(state.count_below(-g / 2))
    holds = {"below_zero": bool(state.count_below(0.0)), "below_half": half}
    if "converged" not in known:
        holds["converged"] = half and bool(state.residuals()[0] <= 1e-2 * g)
    if "certified" not in known:
        # ln|p(−2g)| ≥ −ln t_δ, for n instead of the number of nodes
        ((roots, beta, _),) = state.polynomials
        left = roots.min() > -2 * g
        holds["certified"] = left and bool(np.log(roots + 2 * g).sum() - np.log(beta).sum() >= -_core.log_t(n, FAILURE))
    return holds


def eigsh_products(problem: Problem, seed: int, ncv: int | None, most: int = 4000) -> int:
    """Products of scipy's eigsh(k=1, which="SA", tol=1e-2) from the same start; `most` where it has not converged.

    ARPACK begins with A·v₀: it is given A⁻¹·(start), so that it sees the same vector as ours.
    """
    d, start = problem.instance(seed)
    used = 0

    def product(v: Any) -> Any:
        nonlocal used
        used += 1
        return d * v.ravel()

    op = sl.LinearOperator((len(d), len(d)), matvec=product, dtype=float)
    try:
        sl.eigsh(op, 1, which="SA", v0=start / d, tol=1e-2, ncv=ncv, maxiter=most // ((ncv or 20) - 10))
    except sl.ArpackNoConvergence:
        return most
    return used


def medians(problem: Problem, seeds: int, vectors: int | None = None, typical: bool = False) -> dict[str, float]:
    """Median of `counts` over the seeds; an answer that never came counts as infinite."""
    runs = [counts(problem, seed, vectors, typical) for seed in range(seeds)]
    return {q: float(np.median([run.get(q, np.inf) for run in runs])) for q in QUESTIONS}
