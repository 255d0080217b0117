"""The minimum ratio: which share of the eigenvalues is negative, flat within a tolerance, and positive."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import BudgetError, ConvergenceWarning
from ..operators import HessianOperator
from ..progress import Progress, check_progress
from ..ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Count
from .dense import matrix_bytes
from .eigenpairs import eigenpairs
from .measure import Measure, ProbeMeasure, Share
from .plan import checked_budget
from .probing import all_eigenvalues, default_probes, probe
from .products import Products

Array = NDArray[Any]

CHEAP = 2000  # rows up to which all eigenvalues are computed unless told otherwise
STEPS = 400
RELATIVE_TOLERANCE = 1e-4
FEW = 30  # negative eigenvalues that are counted one by one
COUNTING_PRODUCTS = 500
COUNTING_WORK = 1e10  # n·products²: a second or two of orthogonalisation
NO_NEGATIVE = 1e-6  # probability that "none" is wrong


@dataclass(frozen=True)
class MinimumRatio:
    """Shares of the n eigenvalues of an operator, each as bounds (lower, upper) that hold together.

    Attributes:
        negative: of λ < −tolerance.
        flat: of |λ| ≤ tolerance.
        positive: of λ > tolerance.
        raw: #(λ > 0)/n, the lecture's figure: an estimate, unless `exact`. Where many eigenvalues are zero their
            signs are rounding, and so is this number.
        tolerance: in units of H.
        n: number of eigenvalues.
        products: matrix-vector products used.
        exact: whether all eigenvalues were computed.
        certified: whether the negative ones were counted one by one.
        confidence: with which the three bounds hold together (1 if `exact`, up to rounding).
    """

    negative: Share
    flat: Share
    positive: Share
    raw: float
    tolerance: float
    n: int
    products: int
    exact: bool
    certified: bool
    confidence: float

    def __str__(self) -> str:
        sure = "all eigenvalues computed" if self.exact else f"with {100 * self.confidence:g} % confidence"
        return (
            f"{_percent(self.negative)} negative, {_percent(self.flat)} flat (|λ| ≤ {self.tolerance:.3g}), "
            f"{_percent(self.positive)} positive; raw #(λ > 0)/n {'=' if self.exact else '≈'} {self.raw:.3g}; {self.n} "
            f"eigenvalues, {self.products} products, {sure}"
        )


def minimum_ratio(
    op: Any,
    tolerance: float | None = None,
    *,
    exact: bool | None = None,
    accuracy: float = 0.01,
    confidence: float = 0.95,
    probes: int | None = None,
    max_products: int | None = None,
    memory_budget: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> MinimumRatio:
    """The shares of negative, flat and positive eigenvalues of a symmetric operator.

    Up to 2000 rows all eigenvalues are computed. Above, Gaussian probes are run until the quadrature (Gauss–Radau with
    a node at ±tolerance) bounds the shares to within `accuracy`; its bounds are certain, the sampling error is the
    exact Beta distribution. Where at most about 30 eigenvalues are negative they are counted one by one, with a
    certificate that none is missing (`eigenpairs`).

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        tolerance: what counts as flat, in units of H; None: 1e-4·‖H‖, and four times the known noise of products.
        exact: True: all eigenvalues by a dense decomposition (n ≤ 3000); False: never.
        accuracy: width of the quadrature's part of the bounds at which the probes end.
        confidence: of the three bounds together, in [0, 1).
        probes: number of probes; None: 1 for n ≥ 20,000, more below, at most 16.
        max_products: most products; None: 400 per probe, and 500 for counting.
        memory_budget: bytes; None: 1 GiB.
        seed: of the probes.
        progress: called as progress(done, total, text) after every step.

    Returns:
        MinimumRatio: three shares in [0, 1], each (lower, upper), and `raw`.

    Guarantee: all three bounds hold together with `confidence`; with `exact` surely, up to rounding.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.
        BudgetError: the vectors do not fit `memory_budget`.
        OperatorError: the operator is not symmetric, or a product has a wrong shape.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.

    Source: the bounds are those of Chebyshev, Markov and Stieltjes, by T. Chen, T. Trogdon, S. Ubaru (2021), arXiv
    2105.06595.
    """
    products = Products(op)
    given = None if tolerance is None else NON_NEGATIVE.check("tolerance", tolerance)
    narrow = NON_NEGATIVE.check("accuracy", accuracy)
    sure = BELOW_ONE.check("confidence", confidence)
    count = Count(1, 4096).check("probes", default_probes(products.n) if probes is None else probes)
    most = None if max_products is None else Count(3).check("max_products", max_products)
    Count(0).check("seed", seed)
    check_progress(progress)
    room = checked_budget(memory_budget)
    chosen = None if exact is None else FLAG.check("exact", exact)
    cheap = products.n <= min(CHEAP, products.n if most is None else most) and matrix_bytes(products.n) <= room
    if chosen or (chosen is None and cheap):
        known = all_eigenvalues(products, memory_budget, progress)
        tau = _tolerance(given, products)
        raw = float(np.mean(known.values > 0.0))
        return _result(known, tau, raw, products, exact=True, sure=sure)
    count = count if most is None else max(1, min(count, most // 20))
    steps = STEPS if most is None else max(1, min(STEPS, (2 * most // 3 - 2) // count))

    def enough(measure: ProbeMeasure) -> bool:
        products.norm = measure.norm()
        tau = _tolerance(given, products)
        found = ProbeMeasure(measure.n, measure.recurrences, measure.shares).bracket(np.array([-tau, tau]))
        return bool((found.upper - found.lower).max() <= narrow)

    seen = probe(products, steps, count, seed, memory_budget=memory_budget, enough=enough, progress=progress)
    products.norm = seen.norm()
    tau, zero = _tolerance(given, products), seen.bracket(np.zeros(1))
    result = _result(seen, tau, 1.0 - 0.5 * float(zero.lower[0] + zero.upper[0]), products, exact=False, sure=sure)
    left = COUNTING_PRODUCTS if most is None else most - products.done
    counted = _few_negative(seen, products, tau, left, memory_budget, seed)
    return dataclasses.replace(result if counted is None else _with_count(result, counted), products=products.done)


def _tolerance(given: float | None, products: Products) -> float:
    return max(RELATIVE_TOLERANCE * products.norm, 4.0 * products.noise) if given is None else given


def _result(measure: Measure, tau: float, raw: float, products: Products, *, exact: bool, sure: float) -> MinimumRatio:
    each = 1.0 - (1.0 - sure) / 3.0  # three statements, each may fail with a third of the probability
    ends = measure.below(np.array([-tau, tau]), each)
    negative = Share(float(ends.lower[0]), float(ends.upper[0]))
    positive = Share(1.0 - float(ends.upper[1]), 1.0 - float(ends.lower[1]))
    if exact:  # λ = ±τ is flat: counted without the ambiguity of the ends
        negative, positive = _open_ends(measure, tau)
    flat = measure.within(-tau, tau, each)
    if not exact:
        flat = _sharper(flat, negative, positive)
    return MinimumRatio(
        negative, flat, positive, raw, tau, products.n, products.done, exact, exact, 1.0 if exact else sure
    )


def _open_ends(measure: Any, tau: float) -> tuple[Share, Share]:
    values, error, n = measure.values, measure.error, measure.n
    negative = Share(*(np.count_nonzero(values < edge) / n for edge in (-tau - error, -tau + error)))
    positive = Share(*(np.count_nonzero(values > edge) / n for edge in (tau + error, tau - error)))
    return negative, positive


def _sharper(share: Share, a: Share, b: Share) -> Share:
    """What the other two leave."""
    return Share(max(share.lower, 1.0 - a.upper - b.upper), min(share.upper, max(0.0, 1.0 - a.lower - b.lower)))


def _with_count(result: MinimumRatio, counted: tuple[int, int]) -> MinimumRatio:
    least, most = (count / result.n for count in counted)
    lower = max(result.negative.lower, least)
    negative = Share(lower, max(lower, min(result.negative.upper, most)))
    flat = _sharper(result.flat, negative, result.positive)
    return dataclasses.replace(result, negative=negative, flat=flat, certified=True)


def _few_negative(
    seen: ProbeMeasure, products: Products, tau: float, budget: int, memory_budget: int | None, seed: int
) -> tuple[int, int] | None:
    """(at least, at most) so many eigenvalues below −tau, where they are few and counting is affordable."""
    ends = seen.bracket(np.array([-tau]))
    guess = products.n * 0.5 * float(ends.lower[0] + ends.upper[0])
    if guess > FEW or tau <= 8.0 * products.noise:
        return None
    delta = NO_NEGATIVE / seen.probes
    if max(_core.certificate_lower(*pair, seen.n, delta) for pair in seen.recurrences) - seen.error >= -tau:
        return 0, 0
    affordable = min(budget, int(math.sqrt(COUNTING_WORK / products.n)))
    if _steps_to_certify(seen, tau, delta) > affordable:
        return None
    return _count_negative(products, tau, math.ceil(guess), affordable, memory_budget, seed)


def _steps_to_certify(seen: ProbeMeasure, tau: float, delta: float) -> float:
    """ln(2/t)/(2·√(τ/W)): steps until a Lanczos polynomial is 1/t large at −τ, W the width of the bulk."""
    nodes, weights = seen.rule()
    low, high = np.searchsorted(np.cumsum(weights), [0.005, 0.995])
    width = float(nodes[min(high, len(nodes) - 1)] - nodes[low])
    return 10.0 + 0.5 * (math.log(2.0) - _core.log_t(seen.n, delta)) * math.sqrt(width / tau)


class _OutOfProductsError(Exception):
    """The counting may go no further."""


def _count_negative(
    products: Products, tau: float, guess: int, budget: int, memory_budget: int | None, seed: int
) -> tuple[int, int] | None:
    """(at least, at most) so many eigenvalues lie below −tau; None if that took more than the budget.

    Rayleigh–Ritz values below −tau prove as many eigenvalues there (Courant, Fischer). One more pair, above −tau, and
    the certificate that nothing is missing below it, bound the count from above.
    """
    n, margin = products.n, 0.25 * tau
    op = _limited(products.op, budget)
    k = min(n, guess + max(2, guess // 2))
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                pairs = eigenpairs(op, k, "smallest", tolerance=margin, memory_budget=memory_budget, seed=seed + 1)
        except (BudgetError, _OutOfProductsError):
            return None
        if pairs.complete is not True:
            return None
        slack = products.noise + float(np.linalg.norm(pairs.residuals))
        if k == n or pairs.values[-1] - margin - slack >= -tau:
            break
        if k >= 2 * FEW:
            return None
        k = min(n, 2 * k)
    least = int(np.count_nonzero(pairs.values < -tau - products.noise))
    return least, max(least, int(np.count_nonzero(pairs.values - slack < -tau)))


def _limited(op: HessianOperator, budget: int) -> HessianOperator:
    """The same operator for at most `budget` products."""
    last = op.products + budget

    def within(product: Callable[[Array], Array]) -> Callable[[Array], Array]:
        def counted(v: Array) -> Array:
            if op.products >= last:
                raise _OutOfProductsError
            return product(v)

        return counted

    return HessianOperator(
        op.shape[0],
        op.dtype,
        within(lambda v: np.asarray(op @ v)),
        within(lambda rows: np.ascontiguousarray((op @ rows.T).T)),
        exact=op.exact,
        noise=op.noise,
        trusted=True,
    )


def _percent(share: Share) -> str:
    low, high = 100.0 * share.lower, 100.0 * share.upper
    return f"{low:.3g} %" if low == high else f"{low:.3g}–{high:.3g} %"
