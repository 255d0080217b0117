"""Runs Gaussian probes through an operator: the recurrences of stochastic Lanczos quadrature, or all eigenvalues."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, OperatorError
from ..interrupt import interruptible
from ..progress import Progress
from .dense import EXACT_LIMIT, dense_matrix
from .measure import EigenvalueMeasure, ProbeMeasure
from .products import LARGEST_ASYMMETRY, Products, check_entries, gaussian, lengths, require_memory

Array = NDArray[np.float64]

SAMPLES = 20_000  # n·probes: a share of ½ then has the standard error √(½/SAMPLES) = 0.5 %
MOST_PROBES = 16
FIRST_LOOK = 12  # steps
BLOCKS = 6  # vectors kept per probe: three of the recurrence, its copy for the product, the product, the start


def default_probes(n: int) -> int:
    """For large n one probe says what many say for small n."""
    return int(np.clip(-(-SAMPLES // n), 1, MOST_PROBES))


def all_eigenvalues(products: Products, memory_budget: int | None, progress: Progress | None) -> EigenvalueMeasure:
    """Every eigenvalue, from n products and a dense decomposition (LAPACK dsyevd).

    Raises:
        ArgumentError: n is above 3000.
        OperatorError: the operator is not symmetric.
        BudgetError, NonFiniteError, NonDeterministicError: as `dense_matrix` and `Products.first`.
    """
    if products.n > EXACT_LIMIT:
        raise ArgumentError(f"`exact=True` needs at most {EXACT_LIMIT} parameters, `op` has {products.n}")
    products.first(gaussian(np.random.default_rng(0), 1, products.n, products.dtype), np.random.default_rng(1))

    def show(done: int, total: int) -> None:
        if progress is not None:
            progress(done, total, "products of the dense matrix")

    matrix, asymmetry = dense_matrix(products.op, memory_budget, show)
    check_entries(products.op, float(np.abs(matrix).max()), asymmetry)
    values = interruptible(lambda: np.linalg.eigvalsh(matrix))
    norm = products.norm = float(np.abs(values).max(initial=0.0))
    rounding = float(np.finfo(np.float64).eps) * np.sqrt(products.n) * norm
    return EigenvalueMeasure(values, max(rounding, asymmetry / np.sqrt(products.n), float(products.op.noise)))


def probe(
    products: Products,
    steps: int,
    probes: int,
    seed: int,
    *,
    memory_budget: int | None = None,
    enough: Callable[[ProbeMeasure], bool] | None = None,
    progress: Progress | None = None,
) -> ProbeMeasure:
    """At most `steps` block products with `probes` Gaussian vectors; `enough` is asked whenever they grew by a quarter.

    Raises:
        BudgetError: the vectors do not fit `memory_budget`.
        OperatorError: the operator is not symmetric, or a product has a wrong shape.
        NonFiniteError, NonDeterministicError: as `Products.first`.
    """
    n = products.n
    needed = BLOCKS * probes * n * products.dtype.itemsize
    require_memory(needed, memory_budget, f"a block of {probes} probe(s) of {n} parameters")
    rng = np.random.default_rng(seed)
    start = gaussian(rng, probes, n, products.dtype)
    masses = lengths(start) ** 2
    state = (_core.Float32Probes if products.dtype == np.float32 else _core.Float64Probes)(start)
    del start
    ask_at = FIRST_LOOK
    for step in range(min(steps, n)):
        block = state.next()
        state.push(products.rows(block) if step else products.first(block, rng))
        products.norm = max(products.norm, state.largest_product)
        products.require_squares()
        _check_symmetry(products, state, probes)
        if progress is not None:
            progress(step + 1, steps, f"{products.done} products")
        if state.exhausted:
            break
        if enough is not None and step + 1 >= ask_at:
            if enough(_measure(products, state, masses)):
                break
            ask_at = int(1.25 * ask_at) + 1
    return _measure(products, state, masses)


def _measure(products: Products, state: _core.Float32Probes | _core.Float64Probes, masses: Array) -> ProbeMeasure:
    recurrences = [(state.alpha(p), state.beta(p)) for p in range(len(masses))]
    error = float(np.sqrt(state.steps)) * products.noise
    return ProbeMeasure(products.n, recurrences, masses, error)


def _nearly_invariant(products: Products, state: _core.Float32Probes | _core.Float64Probes, probes: int) -> bool:
    """Some residual β was so small that rounding, u·‖H‖/β, turned the next vector: what follows says nothing of H."""
    least = min(float(beta[beta > 0.0].min(initial=np.inf)) for beta in map(state.beta, range(probes)))
    return least <= 10.0 * float(np.finfo(products.dtype).eps) / LARGEST_ASYMMETRY * products.norm


def _check_symmetry(products: Products, state: _core.Float32Probes | _core.Float64Probes, probes: int) -> None:
    allowed = (LARGEST_ASYMMETRY if products.op.exact else 0.5) * products.norm + 10.0 * products.op.noise
    if state.asymmetry > allowed and not _nearly_invariant(products, state, probes):
        raise OperatorError(
            f"`op` is not symmetric: vᵀHu and uᵀHv differ by {state.asymmetry:.3g} at a norm of about "
            f"{products.norm:.3g}; a Hessian is symmetric, so check the product (`hvp`)"
        )
