"""The k smallest or largest eigenpairs of a symmetric operator, with true residuals and a completeness check."""

from __future__ import annotations

import math
import operator as python_operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from .. import _core
from ..errors import ArgumentError, ArgumentTypeError, BudgetError, ConvergenceWarning, OperatorError
from ..operators import HessianOperator, as_operator
from . import lanczos
from .dense import ALWAYS_DENSE, EXACT_LIMIT, dense_matrix

Array = NDArray[Any]

DEFAULT_MEMORY = 2**30  # bytes
COMPLETENESS_FAILURE = 1e-6  # probability that complete=True is wrong
LARGEST_ASYMMETRY = 1e-3  # relative to ‖H‖: beyond rounding and difference quotients


@dataclass(frozen=True)
class Eigenpairs:
    """Eigenpairs at one end of a spectrum.

    Attributes:
        values: (k,), signed; ascending for "smallest", descending for "largest".
        vectors: (n, k) orthonormal, float64; column i belongs to values[i].
        residuals: (k,) true norms ‖H·x − λ·x‖ from products with the returned vectors; an eigenvalue of H lies
            within residuals[i] of values[i].
        products: matrix-vector products used.
        complete: True: no eigenvalue beyond values[-1], by more than the tolerance, is missing (multiplicities
            included), certain on the dense path, else with probability 1 − 1e-6. False: one is known to be missing.
            None: not settled within the work spent.
    """

    values: Array
    vectors: Array
    residuals: Array
    products: int
    complete: bool | None


def eigenpairs(
    op: Any,
    k: int = 5,
    which: Literal["smallest", "largest"] = "smallest",
    tolerance: float | None = None,
    memory_budget: int | None = None,
    seed: int = 0,
) -> Eigenpairs:
    """The k smallest or largest eigenvalues of a symmetric operator and their vectors.

    Up to 512 rows (and up to 3000 where k is a large part of them) the operator is made a matrix. Above, unrestarted
    Lanczos from a Gaussian vector; then fresh runs on the orthogonal complement of what was found until the
    certificate says that nothing is missing: so copies of multiple eigenvalues are found, too.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        k: number of pairs, 1 … n.
        which: "smallest" or "largest", by sign: never by magnitude.
        tolerance: largest residual norm, in units of H; None: 1e-6·‖H‖ (1.2e-5·‖H‖ for float32 operators).
        memory_budget: bytes for basis and results; None: 1 GiB.
        seed: of the Gaussian start vectors.

    Raises:
        ArgumentError: k, which, tolerance or memory_budget is out of range.
        BudgetError: the basis does not fit before the pairs converge; the message says how much they need.
        OperatorError: the products are not those of a symmetric operator.
        NonFiniteError: a product holds NaN or infinity.

    Warns:
        ConvergenceWarning: the true residuals stay above `tolerance` because the products are less exact.
    """
    operator = as_operator(op)
    n = operator.shape[0]
    k = _checked_count(k, n)
    if which not in ("smallest", "largest"):
        raise ArgumentError(f'`which` must be "smallest" or "largest", got {which!r}')
    if tolerance is not None and not (tolerance > 0 and math.isfinite(tolerance)):
        raise ArgumentError(f"`tolerance` must be a positive number or None, got {tolerance!r}")
    memory = DEFAULT_MEMORY if memory_budget is None else memory_budget
    before = operator.products
    search = _Search(operator, k, 1.0 if which == "smallest" else -1.0, tolerance, memory, seed)
    dense = n <= ALWAYS_DENSE or (n <= EXACT_LIMIT and 8 * k >= n)
    complete = search.dense() if dense else search.krylov()
    values, vectors, residuals = search.pairs()
    if operator.exact or tolerance is not None:
        _warn_if_inexact(residuals, search.absolute_tolerance())
    return Eigenpairs(values, vectors, residuals, operator.products - before, complete)


def _checked_count(k: Any, n: int) -> int:
    try:
        count = python_operator.index(k)
    except TypeError:
        raise ArgumentTypeError(f"`k` must be an integer, got {k!r}") from None
    if isinstance(k, bool) or not 1 <= count <= n:
        raise ArgumentError(f"`k` must be in [1, {n}], the number of rows of `op`, got {k!r}")
    return count


def _warn_if_inexact(residuals: Array, tolerance: float) -> None:
    worst = float(residuals.max())
    if worst > tolerance:
        warnings.warn(
            f"residuals up to {worst:.3g} exceed the tolerance {tolerance:.3g}: the products of `op` are not more "
            "exact than that; use a float64 operator or a larger `tolerance`",
            ConvergenceWarning,
            stacklevel=3,
        )


class _Search:
    """One call of `eigenpairs`. Its inner values are those of sign·H, whose smallest end is wanted."""

    def __init__(
        self, op: HessianOperator, k: int, sign: float, tolerance: float | None, memory: int, seed: int
    ) -> None:
        self.op, self.k, self.sign, self.tolerance, self.memory = op, k, sign, tolerance, memory
        self.rng = np.random.default_rng(seed)
        self.norm = 0.0  # largest norm of a product with a unit vector: ≤ ‖H‖
        self.trend: list[tuple[int, float]] = []  # (step, worst residual / limit) of the first run
        self.vectors = np.empty((op.shape[0], 0), order="F")  # found so far, orthonormal
        self.images = np.empty((op.shape[0], 0), order="F")  # H·vectors

    def absolute_tolerance(self) -> float:
        if self.tolerance is not None:
            return self.tolerance
        eps = float(np.finfo(self.op.dtype).eps)
        return max(2.0**-20, 100.0 * eps) * self.norm + 10.0 * self.op.noise

    def dense(self) -> bool:
        matrix, asymmetry = dense_matrix(self.op, self.memory)
        n = len(matrix)
        self.norm = float(np.linalg.norm(matrix, axis=0).max())
        self._check_symmetry(asymmetry)
        subset = (0, self.k - 1) if self.sign > 0 else (n - self.k, n - 1)
        self._add(eigh(matrix, subset_by_index=subset)[1])
        return True

    def krylov(self) -> bool | None:
        self._check_memory()
        n, capacity = self.op.shape[0], self._capacity()
        # a matrix of this size costs less than a run of so many steps
        patience = n // 3 if n <= EXACT_LIMIT else n
        state = self._run(self._has_converged, min(capacity, patience))
        if not self._has_converged(state):
            if patience < min(capacity, n):
                return self.dense()
            raise self._budget_error(state)
        self._add(state.ritz_vectors(self._outermost(state, self.k)))
        return True if state.k == state.dimension else self._complete(3 * state.k + 100)

    def pairs(self) -> tuple[Array, Array, Array]:
        """Rayleigh–Ritz on the vectors found: the k wanted values, vectors and true residuals."""
        values, rotation = self._rayleigh_ritz()
        values, rotation = values[: self.k], rotation[:, : self.k]
        vectors = self.vectors @ rotation
        residuals = np.linalg.norm(self.images @ rotation - vectors * values, axis=0)
        return values, vectors, residuals

    def _complete(self, most_steps: int) -> bool | None:
        """Fresh runs on the complement of what was found until the certificate excludes a missing eigenvalue."""
        for attempt in range(2 * self.k + 3):
            if self.vectors.shape[1] == self.op.shape[0] or self.norm == 0.0:
                return True
            steps = min(self._capacity(), most_steps)
            if steps < 2:
                return None
            last = self.sign * self._rayleigh_ritz()[0][self.k - 1]
            check = _Completeness(self, last - self.absolute_tolerance(), COMPLETENESS_FAILURE / 2.0 ** (attempt + 1))
            state = self._run(check, steps)
            missing = check.count(state)
            if missing == 0:
                return True if check.certified or state.k == state.dimension else None
            if not check.settled:
                return False
            self._add(state.ritz_vectors(self._outermost(state, missing)))
        return None

    def _rayleigh_ritz(self) -> tuple[Array, Array]:
        small = self.vectors.T @ self.images
        values, rotation = eigh(0.5 * (small + small.T))
        order = np.argsort(self.sign * values, kind="stable")
        return values[order], rotation[:, order]

    def _add(self, vectors: Array) -> None:
        for _ in range(2):
            vectors = np.linalg.qr(vectors - self.vectors @ (self.vectors.T @ vectors))[0]
        # the vectors as the operator sees them: residuals are then those of its type
        vectors = np.asarray(vectors, dtype=self.op.dtype)
        images = np.asarray(self.op @ vectors, dtype=np.float64)
        self.vectors = np.hstack([self.vectors, vectors])
        self.images = np.hstack([self.images, images])

    def _run(self, stop: Callable[[_core.Lanczos], bool], steps: int) -> _core.Lanczos:
        locked = np.ascontiguousarray(self.vectors.T) if self.vectors.size else None
        state = lanczos.run(
            self.op, stop=stop, max_products=steps, seed=self.rng, locked=locked, restart_invariant=True
        )
        self.norm = max(self.norm, state.largest_product)
        return state

    def _outermost(self, state: _core.Lanczos, count: int) -> list[int]:
        """Indices of the `count` Ritz values at the wanted end, that end first."""
        return list(range(count)) if self.sign > 0 else list(range(state.k - 1, state.k - 1 - count, -1))

    def _has_converged(self, state: _core.Lanczos) -> bool:
        self.norm = max(self.norm, state.largest_product)
        if state.k < self.k or not (_is_checkpoint(state) or state.k == state.capacity):
            return False
        self._check_symmetry(state.asymmetry)
        worst = float(state.residuals()[self._outermost(state, self.k)].max())
        limit = 0.5 * self.absolute_tolerance()
        self.trend.append((state.k, worst / limit if limit > 0 else 0.0))
        return worst <= limit

    def _check_symmetry(self, asymmetry: float) -> None:
        if asymmetry > LARGEST_ASYMMETRY * self.norm + 10.0 * self.op.noise:
            raise OperatorError(
                f"`op` is not symmetric: products differ from those of a symmetric operator by {asymmetry:.3g}, "
                f"at a norm of about {self.norm:.3g}"
            )

    def _bytes_per_step(self) -> int:
        return int(self.op.shape[0] * self.op.dtype.itemsize)

    def _fixed_bytes(self) -> int:
        """float64: start, residual and product; vectors, images and copies of both; locked rows in the basis."""
        found = max(self.vectors.shape[1], self.k)
        return int(self.op.shape[0] * (8 * (3 + 4 * found) + self.vectors.shape[1] * self.op.dtype.itemsize))

    def _capacity(self) -> int:
        steps = (self.memory - self._fixed_bytes()) // self._bytes_per_step()
        return int(min(max(steps, 0), self.op.shape[0] - self.vectors.shape[1]))

    def _check_memory(self) -> None:
        needed = self._fixed_bytes() + min(self.k + 2, self.op.shape[0]) * self._bytes_per_step()
        if needed > self.memory:
            raise BudgetError(
                f"{self.k} eigenpairs of {self.op.shape[0]} parameters need at least {needed:,} bytes, "
                f"`memory_budget` is {self.memory:,}"
            )

    def _budget_error(self, state: _core.Lanczos) -> BudgetError:
        (first, before), (last, now) = self.trend[len(self.trend) // 2], self.trend[-1]
        rate = math.log(before / now) / (last - first) if last > first and before > now > 0 else 0.0
        more = math.ceil(1.2 * math.log(now) / rate) if rate > 0 else 4 * state.k
        steps = min(state.k + more, self.op.shape[0])
        needed = self._fixed_bytes() + steps * self._bytes_per_step()
        return BudgetError(
            f"{self.k} eigenpairs have not converged within the {state.k} Lanczos vectors that `memory_budget` = "
            f"{self.memory:,} bytes allows; they need about {needed:,} bytes ({steps} vectors), or a larger `tolerance`"
        )


class _Completeness:
    """Stops a run on the complement once nothing below `target` can be left, or once what is there has converged."""

    def __init__(self, search: _Search, target: float, delta: float) -> None:
        self.search, self.target, self.delta = search, target, delta
        self.certified = False
        self.settled = False

    def count(self, state: _core.Lanczos) -> int:
        """Ritz values of sign·P·H·P below the target: at least as many eigenvalues were missing."""
        sign = self.search.sign
        return state.count_below(self.target) if sign > 0 else state.k - state.count_below(-self.target)

    def __call__(self, state: _core.Lanczos) -> bool:
        below = self.count(state)
        if below == 0:
            positive = self.search.sign > 0
            bound = state.certificate_lower(self.delta) if positive else -state.certificate_upper(self.delta)
            self.certified = bound >= self.target
            return self.certified
        if not _is_checkpoint(state):
            return False
        limit = 0.5 * self.search.absolute_tolerance()
        self.settled = bool(state.residuals()[self.search._outermost(state, below)].max() <= limit)
        return self.settled


def _is_checkpoint(state: _core.Lanczos) -> bool:
    """Whether to solve the tridiagonal eigenproblem now: O(k²), so at about every twentieth part of the steps."""
    return state.k % max(1, state.k // 20) == 0 or state.exhausted or state.invariant
