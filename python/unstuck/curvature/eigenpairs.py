"""The k smallest or largest eigenpairs of a symmetric operator, with true residuals and a completeness check."""

from __future__ import annotations

import operator as python_operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError, ConvergenceWarning, NonFiniteError
from ..number_text import number
from ..operators import as_operator
from ..progress import check_progress
from ..ranges import NON_NEGATIVE, Count
from ..real_array import real_array
from .dense import ALWAYS_DENSE, EXACT_LIMIT, matrix_bytes
from .eigen_search import FAILURE, MOST_CYCLED, Request, Search
from .plan import Plan, checked_budget

Array = NDArray[Any]


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs at one end of a spectrum.

    Attributes:
        values: (k,), signed; ascending for "smallest", descending for "largest".
        vectors: (n, k) orthonormal, float64; column i belongs to values[i].
        residuals: (k,) true norms ‖H·x − λ·x‖ from products with the returned vectors.
        intervals: (k, 2): an eigenvalue of H lies in each; values ± residuals.
        multiplicities: (k,) how many of the values lie within the tolerance of each other, itself included; at the last
            value more copies may follow.
        products: matrix-vector products used.
        complete: True: no eigenvalue beyond values[-1], by more than the tolerance, is missing (multiplicities
            included), with the stated confidence. False: one is known to be missing. None: not settled within the
            products spent.
        confidence: 1.0 when the whole spectrum was computed, else 1 − 1e-6.
        converged: all residuals are within the tolerance, as the run saw them.
        further_products: predicted until convergence, or until completeness is settled; None if neither is open or
            nothing can be predicted.
        plan: how the memory was spent.
        certificate: JSON-able record of the last run on the complement of what was found (of ±H, so that its low end is
            the wanted one), for `unstuck.verify`; None where the whole spectrum was computed.
    """

    values: Array
    vectors: Array = field(repr=False)
    residuals: Array
    intervals: Array = field(repr=False)
    multiplicities: Array
    products: int
    complete: bool | None
    confidence: float
    converged: bool
    further_products: int | None
    plan: Plan
    certificate: dict[str, Any] | None = field(repr=False)

    def __str__(self) -> str:
        shown = ", ".join(number(value) for value in self.values[:5]) + (", …" if self.values.size > 5 else "")
        sure = {True: "none missing", False: "at least one missing", None: "not settled whether any is missing"}
        state = "" if self.converged else "not converged, "
        return (
            f"{self.values.size} eigenvalue(s): {shown}; {state}residuals up to {number(self.residuals.max(), 2)}, "
            f"{sure[self.complete]}, {self.products} products"
        )


def eigenpairs(
    op: Any,
    k: int = 5,
    which: Literal["smallest", "largest"] = "smallest",
    tolerance: float | None = None,
    memory_budget: int | None = None,
    seed: int = 0,
    *,
    start: Any = None,
    max_products: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Eigenpairs:
    """The k smallest or largest eigenvalues of a symmetric operator and their vectors.

    Up to 512 rows (and up to 3000 where k is a large part of them) the operator is made a matrix. Above, Lanczos from a
    Gaussian vector; then fresh runs on the orthogonal complement of what was found until the certificate says that
    nothing is missing: so copies of multiple eigenvalues are found, too. When the basis fills the memory, a thick
    restart keeps the wanted end and the isolated eigenvalues of the far end; where not even 16 vectors fit, one pair is
    found with three vectors and a second run.

    Args:
        op: HessianOperator, SciPy LinearOperator, matrix (n, n), or a function v ↦ H·v with an attribute `n`.
        k: number of pairs, 1 … n.
        which: "smallest" or "largest", by sign: never by magnitude.
        tolerance: largest residual norm, in units of H; None: 1e-6·‖H‖ (1.2e-5·‖H‖ where vectors are float32).
        memory_budget: bytes for basis, work space and results, those of the operator's products not counted; None:
            1 GiB.
        seed: of the Gaussian start vectors.
        start: (n,) or (n, m) approximate eigenvectors, as those of a nearby operator, in any order; Rayleigh–Ritz on
            them comes first, at one product each.
        max_products: most products; None: until done.
        progress: called as progress(products, expected total).

    Returns:
        Eigenpairs: values (k,) in units of H, vectors (n, k), true residuals, intervals, and whether any is missing.

    Guarantee: each of `intervals` holds an eigenvalue; with `complete` they are all that there are at that end.

    Raises:
        ArgumentError: k, which, tolerance, memory_budget, start or max_products is out of range.
        BudgetError: no basis fits, or max_products allows no answer at all.
        OperatorError: the products are not those of a symmetric operator.
        NonFiniteError: a product, or `start`, holds NaN or infinity.
        NonDeterministicError: the same product came out different twice.

    Warns:
        ConvergenceWarning: the true residuals stay above `tolerance`, because the products are less exact or
            `max_products` were used up.

    Source: K. Wu and H. Simon (2000), SIAM Journal on Matrix Analysis 22, 602–616, for the thick restart.
    """
    operator = as_operator(op)
    n = operator.shape[0]
    k = _checked_count(k, n)
    if not isinstance(which, str) or which not in ("smallest", "largest"):
        raise ArgumentError(f'`which` must be "smallest" or "largest", got {which!r}')
    if tolerance is not None and NON_NEGATIVE.check("tolerance", tolerance) == 0.0:
        raise ArgumentError("`tolerance` must be a positive number or None, got 0")
    Count(0).check("seed", seed)
    if max_products is not None and (
        np.ndim(max_products) != 0 or not hasattr(max_products, "__index__") or max_products < 1
    ):
        raise ArgumentError(f"`max_products` must be a positive integer or None, got {max_products!r}")
    check_progress(progress)
    guesses = None if start is None else _checked_start(start, n)
    sign = 1.0 if which == "smallest" else -1.0
    request = Request(k, sign, tolerance, checked_budget(memory_budget), max_products, seed, progress)
    search = Search(operator, request)
    converged = _solve(search, guesses)
    values, vectors, residuals = search.pairs()
    allowed = search.absolute_tolerance()
    if not converged or operator.exact or tolerance is not None:
        _warn_if_inexact(residuals, allowed, converged)
    certain = search.certificate is None and search.complete is True
    return Eigenpairs(
        values=values,
        vectors=vectors,
        residuals=residuals,
        intervals=np.stack([values - residuals, values + residuals], axis=1),
        multiplicities=_multiplicities(values, np.maximum(residuals, allowed)),
        products=search.products,
        complete=search.complete,
        confidence=1.0 if certain else 1.0 - FAILURE,
        converged=converged,
        further_products=search.further_products,
        plan=search.plan,
        certificate=search.certificate,
    )


def _solve(search: Search, guesses: Array | None) -> bool:
    """Whether the k pairs converged."""
    n, k, limit = search.n, search.k, search.request.max_products
    affordable = limit is None or limit >= n + k
    room = search.request.memory >= matrix_bytes(n)
    small = n <= ALWAYS_DENSE or (n <= EXACT_LIMIT and 8 * k >= n)
    if small and affordable and room and guesses is None:
        search.dense()
        return True
    # a matrix of this size costs less than a run of so many steps
    patience = n // 3 if n <= EXACT_LIMIT and affordable and room else n
    search.make_plan(max(min(patience, n if limit is None else limit, MOST_CYCLED), k + 2, 1))
    first = None if guesses is None else search.warm_start(guesses)
    if not search.krylov(first):
        if search.plan.form != "full basis" or patience == n:
            return False
        search.dense()
        return True
    search.settle()
    return True


def _checked_start(start: Any, n: int) -> Array:
    guesses = real_array(start, "start")
    guesses = guesses[:, None] if guesses.ndim == 1 else guesses
    if guesses.ndim != 2 or len(guesses) != n or not 1 <= guesses.shape[1] <= n:
        raise ArgumentError(f"`start` must have shape ({n},) or ({n}, m) with 1 ≤ m ≤ {n}, got {np.shape(start)}")
    if not np.isfinite(guesses).all():
        raise NonFiniteError("`start` must be finite, but it holds NaN or infinity")
    return guesses


def _multiplicities(values: Array, widths: Array) -> Array:
    """How many of the sorted values each one cannot be told from."""
    distances = np.abs(values[:, None] - values[None])
    counts: Array = np.count_nonzero(distances <= widths[:, None] + widths[None], axis=1)
    return counts


def _checked_count(k: Any, n: int) -> int:
    try:
        count = python_operator.index(k)
    except TypeError:
        raise ArgumentTypeError(f"`k` must be an integer, got {k!r}") from None
    if isinstance(k, bool) or not 1 <= count <= n:
        raise ArgumentError(f"`k` must be in [1, {n}], the number of rows of `op`, got {k!r}")
    return count


def _warn_if_inexact(residuals: Array, tolerance: float, converged: bool) -> None:
    worst = float(residuals.max())
    if worst <= tolerance:
        return
    why = (
        "the products of `op` are not more exact than that, or not quite those of a symmetric operator; "
        "use a float64 operator or a larger `tolerance`"
    )
    if not converged:
        why = "the products allowed did not suffice; raise `max_products`, or `memory_budget` for a larger basis"
    warnings.warn(
        f"residuals up to {worst:.3g} exceed the tolerance {tolerance:.3g}: {why}", ConvergenceWarning, stacklevel=3
    )
