"""Lanczos as classify sees it: steps, both ends, what rounding costs, and vectors, with a basis or without one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..curvature.plan import FEWEST, Plan, basis_plan, three_vector_plan
from ..curvature.three_vectors import ThreeVectorRun
from ..errors import BudgetError
from ..operators import HessianOperator
from .probes import finite_product

Array = NDArray[Any]
Predictor = Callable[[str, float], int | None]

VERIFIED = 16  # most negative Ritz pairs that are verified for the index
_FAR_VECTORS = 6  # of float64, that verification and the look along a line hold at once


def krylov_process(
    op: HessianOperator, memory: int, most: int, rng: np.random.Generator, start: Array | None = None
) -> BasisProcess | ThreeVectorProcess:
    """A run of at most `most` steps within `memory` bytes: full basis, thick restarts, or three vectors.

    `start` takes the place of a Gaussian vector (n,), and certificates with it; without a basis it is not used.

    Raises:
        BudgetError: not even three vectors fit.
    """
    n, size = int(op.shape[0]), int(op.dtype.itemsize)
    verified = min(VERIFIED, max(1, memory // 4 // (n * (2 * size + 8))))
    work = n * (8 * _FAR_VECTORS + 3 * size + 2 * size * verified)
    fewest = max(FEWEST, 1)
    plan = basis_plan(n, op.dtype, memory, work=work, fewest=fewest, most=most)
    if plan is None and verified > 1:
        verified = 1
        work = n * (8 * _FAR_VECTORS + 5 * size)
        plan = basis_plan(n, op.dtype, memory, work=work, fewest=fewest, most=most)
    if plan is not None:
        return BasisProcess(op, plan, verified, rng, start)
    plan = three_vector_plan(n, op.dtype, memory, work=n * 8 * 3)
    if plan is None:
        needed = n * (3 * size + 24)
        raise BudgetError(
            f"classify needs at least {needed:,} bytes for {n} parameters, `memory_budget` is {memory:,}: "
            "three vectors, and those of the two ends"
        )
    return ThreeVectorProcess(op, plan, rng)


class BasisProcess:
    """Lanczos with a stored basis, compressed when it is full.

    Attributes:
        state: the Lanczos state.
        plan: how the memory is spent.
        most_verified: Ritz pairs that may be verified.
        replay: products that vectors will cost: none.
    """

    replay = 0

    def __init__(
        self,
        op: HessianOperator,
        plan: Plan,
        most_verified: int,
        rng: np.random.Generator,
        start: Array | None = None,
    ) -> None:
        self.op, self.plan, self.most_verified, self.rng = op, plan, most_verified, rng
        n = int(op.shape[0])
        first = rng.standard_normal(n) if start is None else start
        self.state = _core.Lanczos(n, plan.dtype, plan.vectors, first)
        self._frobenius = 0.0  # of T over all cycles

    @property
    def steps(self) -> int:
        """Products so far."""
        return int(self.state.products)

    @property
    def spent(self) -> bool:
        """The whole space is spanned, or a full basis is full."""
        full = self.plan.form == "full basis" and self.state.k >= self.plan.vectors
        return bool(self.state.k == self.state.dimension or full)

    @property
    def exhausted(self) -> bool:
        """Nothing to continue from but a fresh start."""
        return bool(self.state.exhausted)

    def begin_afresh(self) -> None:
        """A fresh Gaussian start in the complement of the basis."""
        self.state.restart(self.rng.standard_normal(self.state.n))

    def step(self) -> None:
        """One product, after a thick restart where the basis is full."""
        state = self.state
        if state.k == state.capacity:
            low, high = _core.restart_split(state.ritz_values(), 1)
            state.compress(low, high)
        state.push(finite_product(self.op, state.next()))
        if self.plan.form != "full basis":
            self._frobenius = float(np.hypot(self._frobenius, np.hypot(state.alpha[-1], 1.5 * state.beta[-1])))

    def ends(self) -> tuple[float, float]:
        """Smallest and largest Ritz value."""
        state = self.state
        if state.compressions:
            ritz = state.ritz_values()
            return float(ritz[0]), float(ritz[-1])
        alpha, beta = state.alpha, state.beta[:-1]
        low, high = (_core.tridiagonal_eigenvalue(alpha, beta, i) for i in (0, state.k - 1))
        return float(low), float(high)

    def error(self, noise: float, norm: float) -> float:
        """‖F‖ of the computed recurrence; see `recurrence_error`."""
        state = self.state
        if not state.compressions:
            return recurrence_error(state.alpha, state.beta[:-1], noise, norm, self.op.exact, self.plan.dtype)
        if norm == 0.0:
            return noise
        roundings = float(np.sqrt(state.roundings))
        relative = max(self._frobenius / norm, 1.0) if self.op.exact else roundings
        return noise * relative + float(np.finfo(self.plan.dtype).eps) * norm * roundings

    def high_vector(self) -> Array | None:
        """Ritz vector of the largest Ritz value, (n,), float64."""
        return np.asarray(self.state.ritz_vector(self.state.k - 1), dtype=np.float64)

    def vectors(self, tau: float, allowed: int) -> tuple[Array, Array, Array]:
        """Ritz vectors of the values below −τ, at least one and at most `allowed`, (n, q), and of the largest value.

        Also the Ritz values of all of them, (q + 1,).
        """
        state = self.state
        count = min(max(state.count_below(-tau), 1), allowed, state.k)
        lowest = np.empty((state.n, count), dtype=self.op.dtype, order="F")
        for begin in range(0, count, 4):
            part = list(range(begin, min(begin + 4, count)))
            lowest[:, part] = state.ritz_vectors(part)
        high = self.high_vector()
        assert high is not None
        return lowest, high, state.ritz_values()[[*range(count), -1]]

    def predictor(self, error: float, delta: float, tau: float) -> Predictor:
        """predict(end, target): further steps until a bound, widened by `error`, reaches the target."""
        state = self.state
        if not state.compressions:
            return partial(_predicted, state.alpha, state.beta, state.n, state.restarts, error, delta)
        # the basis may be large: nothing of it is kept
        known = {target: int(state.predicted_steps(delta, target + error)) for target in (-tau, tau)}

        def predict(end: str, target: float) -> int | None:
            nearest = min(known, key=lambda x: abs(x - target))
            return known[nearest] if end == "lower" and known[nearest] > 0 else None

        return predict


class ThreeVectorProcess:
    """Lanczos without a basis: vectors cost as many products again.

    Attributes:
        state: α, β and the certificate.
        plan: how the memory is spent.
        most_verified: one, as T may hold copies.
    """

    most_verified = 1

    def __init__(self, op: HessianOperator, plan: Plan, rng: np.random.Generator) -> None:
        self.op, self.plan = op, plan
        self.run = ThreeVectorRun(op, int(rng.integers(2**62)))
        self.state = self.run.state

    @property
    def steps(self) -> int:
        """Products so far, those for vectors not counted."""
        return int(self.state.k)

    @property
    def replay(self) -> int:
        """Products that vectors will cost."""
        return self.steps + 1

    @property
    def spent(self) -> bool:
        """Nothing to continue from."""
        return bool(self.state.exhausted)

    @property
    def exhausted(self) -> bool:
        """A fresh start would need what is not stored: see `spent`."""
        return False

    def begin_afresh(self) -> None:
        """Never asked for."""

    def step(self) -> None:
        """One product."""
        self.state.push(finite_product(self.op, self.state.next()))

    def ends(self) -> tuple[float, float]:
        """Smallest and largest Ritz value."""
        return self.run.ends()

    def error(self, noise: float, norm: float) -> float:
        """‖F‖ of the computed recurrence; see `recurrence_error`."""
        state = self.state
        return recurrence_error(state.alpha, state.beta[:-1], noise, norm, self.op.exact, self.plan.dtype)

    def high_vector(self) -> Array | None:
        """Too dear before the end."""
        return None

    def vectors(self, tau: float, allowed: int) -> tuple[Array, Array, Array]:
        """The lowest Ritz vector (n, 1) and the highest (n,), from the fewest steps that show them; their values."""
        low, high = self.run.ends()
        within = 1e-3 * max(abs(low), abs(high))
        ends = [(True, self.run.settled_steps(True, min(within, 0.02 * abs(low) + 1e-9 * within)))]
        ends.append((False, self.run.settled_steps(False, within)))
        lowest, highest = self.run.vectors(ends)
        expected = np.array([self.run.ends(ends[0][1])[0], self.run.ends(ends[1][1])[1]])
        return lowest[:, None], highest.astype(np.float64), expected

    def predictor(self, error: float, delta: float, tau: float) -> Predictor:
        """predict(end, target): further products until a bound reaches the target, vectors included."""
        state = self.state
        inner = partial(_predicted, state.alpha, state.beta, state.n, [], error, delta)

        def predict(end: str, target: float) -> int | None:
            steps = inner(end, target)
            return None if steps is None else 2 * steps + self.steps

        return predict


def recurrence_error(alpha: Array, beta: Array, noise: float, norm: float, exact: bool, dtype: str) -> float:
    """‖F‖ of the computed recurrence HV = VT + βve_kᵀ − F, whose columns are errors of products and vectors.

    Rounding of Hv is proportional to ‖Hv‖, so that ‖F‖_F ≤ η·‖T‖_F/‖H‖; a difference quotient is off by η
    whatever v: √k·η. Storing unit vectors costs u·‖H‖ per column.
    """
    if norm == 0.0:
        return noise
    steps = float(np.sqrt(alpha.size))
    frobenius = float(np.hypot(np.linalg.norm(alpha / norm), np.sqrt(2) * np.linalg.norm(beta / norm)))
    rounding = float(np.finfo(dtype).eps) * norm * steps
    return noise * (max(frobenius, 1.0) if exact else steps) + rounding


def _predicted(
    alpha: Array, beta: Array, n: int, restarts: list[int], error: float, delta: float, end: str, target: float
) -> int | None:
    """Further steps until the bound, widened by `error`, reaches `target`."""
    if end == "lower":
        steps = _core.predicted_steps(alpha, beta, n, delta, target + error, restarts)
    else:  # the upper end of H is the lower end of −H
        steps = _core.predicted_steps(-alpha, beta, n, delta, error - target, restarts)
    return int(steps) if steps > 0 else None
