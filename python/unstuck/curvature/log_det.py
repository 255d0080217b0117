"""ln det(H + μI) of a symmetric operator whose H + μI is positive definite, by stochastic Lanczos quadrature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import OperatorError
from ..progress import Progress, check_progress
from ..ranges import BELOW_ONE, NON_NEGATIVE, Count, Range
from .dense import ALWAYS_DENSE, matrix_bytes
from .estimate import Estimate, t_interval
from .measure import ProbeMeasure, Share
from .plan import checked_budget
from .probing import all_eigenvalues, default_probes, probe
from .products import Products

Array = NDArray[Any]

STEPS = 400
FEWEST = 8  # probes, for a t-interval worth the name
INDEFINITE = 1e-6  # probability that the lower end of the spectrum is wrong
_ANY = Range(low=-math.inf)


def log_determinant(
    op: Any,
    shift: float,
    *,
    lower_bound: float | None = None,
    accuracy: float = 1e-3,
    steps: int | None = None,
    probes: int | None = None,
    confidence: float = 0.95,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Estimate:
    """The natural logarithm of det(H + shift·I), Σ ln(λᵢ + shift).

    The logarithm's derivatives alternate in sign: a Gauss rule gives too much, a Gauss–Radau rule with a node left of
    the spectrum too little. The interval holds both, and the t-interval over probes. That no eigenvalue lies at or
    below −shift is certified (probability of error 1e-6) or follows from `lower_bound`.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        shift: μ, in units of H.
        lower_bound: a number known to be at most λ_min, e.g. 0 for a Gauss–Newton operator; None: it is measured.
        accuracy: difference of the two rules, per eigenvalue, at which the probes end.
        steps: most Lanczos steps per probe; None: 400.
        probes: number of probes; None: 8 or more.
        confidence: of the interval.
        memory_budget: bytes; None: 1 GiB.
        seed: of the probes.
        progress: called as progress(done, total, text) after every step.

    Returns:
        Estimate of ln det(H + μI), a plain number: scaling H and μ by c adds n·ln c.

    Guarantee: the interval holds it with `confidence` (the quadrature's part surely, the probes' part as a t-interval),
    and H + μI is positive definite with probability 1 − 1e-6, or surely where `lower_bound` says so.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.
        OperatorError: H + shift·I is not positive definite (the message gives a Rayleigh quotient that proves it), or
            cannot be shown to be within `steps`; or the operator is not symmetric.
        BudgetError: the vectors do not fit `memory_budget`.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.

    Source: S. Ubaru, J. Chen, Y. Saad (2017), SIAM J. Matrix Anal. Appl. 38, 1075–1099; the two-sided bounds by
    G. H. Golub and G. Meurant.
    """
    products = Products(op)
    mu = _ANY.check("shift", shift)
    known = None if lower_bound is None else _ANY.check("lower_bound", lower_bound)
    narrow = NON_NEGATIVE.check("accuracy", accuracy)
    most = Count(1).check("steps", STEPS if steps is None else steps)
    count = Count(2, 4096).check("probes", max(default_probes(products.n), FEWEST) if probes is None else probes)
    sure = BELOW_ONE.check("confidence", confidence)
    Count(0).check("seed", seed)
    check_progress(progress)
    memory = checked_budget(memory_budget)
    if products.n <= ALWAYS_DENSE and matrix_bytes(products.n) <= memory:
        return _of_all(all_eigenvalues(products, memory_budget, progress).values, mu, products)

    def enough(measure: ProbeMeasure) -> bool:
        if _bottom(measure, mu, None) <= -mu:
            return True  # proved indefinite
        least = _floor(measure, known)
        return least + mu > 0.0 and float(np.ptp(_rules(measure, mu, least), axis=0).mean()) <= narrow

    seen = probe(products, most, count, seed, memory_budget=memory_budget, enough=enough, progress=progress)
    _bottom(seen, mu, products)
    least = _floor(seen, known)
    if least + mu <= 0.0:
        raise OperatorError(
            f"`shift` = {mu:.6g}: H + shift·I could not be shown to be positive definite within {most} steps per "
            f"probe, only that λ_min ≥ {least:.6g}; give more `steps`, a larger `shift`, or a known `lower_bound`"
        )
    rules = products.n * _rules(seen, mu, least)
    (low, below), (high, above) = (t_interval(samples, sure) for samples in rules)
    interval = Share(low - below, high + above)
    return Estimate(0.5 * (low + high), interval, products.done, False, sure)


def _of_all(values: Array, mu: float, products: Products) -> Estimate:
    if values[0] + mu <= 0.0:
        raise OperatorError(_indefinite(mu, float(values[0])))
    terms = np.log(values + mu)
    rounding = float(np.sum(products.noise / (values + mu)))
    value = float(terms.sum())
    return Estimate(value, Share(value - rounding, value + rounding), products.done, True, 1.0)


def _bottom(measure: ProbeMeasure, mu: float, products: Products | None) -> float:
    """The smallest Ritz value, a Rayleigh quotient; refused by name when it proves H + μI indefinite."""
    least = min(_core.tridiagonal_eigenvalue(alpha, beta, 0) for alpha, beta in measure.recurrences)
    if products is not None and least <= -mu:
        raise OperatorError(_indefinite(mu, least))
    return least


def _indefinite(mu: float, quotient: float) -> str:
    return (
        f"`shift` = {mu:.6g}: H + shift·I is not positive definite, H has a Rayleigh quotient of {quotient:.6g}; its "
        f"determinant has no logarithm. Take a shift above {-quotient:.6g}"
    )


def _floor(measure: ProbeMeasure, known: float | None) -> float:
    """At most λ_min: given, or certified by the best of the probes."""
    delta = INDEFINITE / measure.probes
    best = max(_core.certificate_lower(*pair, measure.n, delta) for pair in measure.recurrences) - measure.error
    return float(best) if known is None else max(known, float(best))


def _rules(measure: ProbeMeasure, mu: float, least: float) -> Array:
    """(2, probes): ∫ ln(λ + μ) by Gauss–Radau with a node at `least`, and by Gauss."""
    low: list[float] = []
    high: list[float] = []
    for alpha, beta in measure.recurrences:
        for found, rule in ((low, _core.gauss_radau_rule(alpha, beta, least)), (high, _core.gauss_rule(alpha, beta))):
            nodes, weights = rule
            logs = np.log(np.maximum(nodes, least) + mu)
            found.append(float(weights @ logs))
    return np.array([np.minimum(low, high), np.maximum(low, high)])
