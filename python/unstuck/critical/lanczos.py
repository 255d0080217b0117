"""Both ends of a large spectrum: one Lanczos run, stopped as soon as a verdict follows, its ends verified afresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from .. import _core
from ..certificate import lanczos_certificate
from ..errors import NonFiniteError, OperatorError
from ..landscape import Landscape
from ..operators import HessianOperator
from .ends import Ends, difference_noise, rayleigh
from .gate import norm_of
from .probes import asymmetric, finite_product
from .rules import is_noise, tolerance_for

Array = NDArray[Any]
Progress = Callable[[int, int], None]

PRODUCTS = 1000  # by default
VERIFIED = 16  # most negative Ritz pairs that are verified for the index
_FEWEST_STEPS = 3
_EVERY = 5  # steps between two looks at the spectrum
_MARGIN = 0.02  # a verified quotient differs from its Ritz value by rounding


@dataclass(frozen=True)
class Goal:
    """What has to be found out.

    Attributes:
        tolerance: τ as asked for, or None for 1e-4·‖H‖.
        gradient_norm: ‖g‖.
        radius: r = 0.01·max(1, ‖θ‖).
        noise: error of vᵀHv for unit v, as measured.
        delta: 1 − confidence, for both ends together.
    """

    tolerance: float | None
    gradient_norm: float
    radius: float
    noise: float
    delta: float


@dataclass(frozen=True)
class _View:
    """The run after k steps: Ritz ends inside, certified bounds, widened by `error`, outside."""

    k: int
    lower: float
    low: float
    high: float
    upper: float
    error: float
    noise: float

    @property
    def norm(self) -> float:
        return max(abs(self.low), abs(self.high))

    @property
    def largest_norm(self) -> float:
        return max(abs(self.lower), abs(self.upper))


def both_ends(
    land: Landscape,
    theta: Array,
    op: HessianOperator,
    goal: Goal,
    budget: int,
    rng: np.random.Generator,
    progress: Progress | None,
) -> Ends:
    """Lanczos from a Gaussian start until the goal is met or `budget` products are used, verification included.

    Raises:
        NonFiniteError: a product is not finite.
        OperatorError: fresh products contradict the run: the operator is not symmetric.
    """
    run = _Run(land, theta, op, goal, budget, rng)
    while True:
        run.advance(progress)
        ends = run.verified()
        # verification may have found more noise: what was settled before may be open again
        if run.finished or run.settled(run.look()):
            return ends


class _Run:
    """One Lanczos state, the noise known so far, and the rules for stopping."""

    def __init__(
        self,
        land: Landscape,
        theta: Array,
        op: HessianOperator,
        goal: Goal,
        budget: int,
        rng: np.random.Generator,
    ) -> None:
        n = op.shape[0]
        self.land, self.theta, self.op, self.goal, self.rng = land, theta, op, goal, rng
        self.noise = goal.noise
        self.kept = 2 if op.exact else 3
        self.end = op.products + budget
        # half of the memory for the basis, a quarter for Ritz vectors, their copies and products
        memory = int(getattr(land, "memory_budget", 2**30))
        capacity = min(n, budget - self.kept, memory // 2 // (n * op.dtype.itemsize))
        self.most_verified = min(VERIFIED, max(1, memory // 4 // (n * 32)))
        self.state = _core.Lanczos(n, op.dtype.name, max(capacity, _FEWEST_STEPS), rng.standard_normal(n))
        self.history: list[tuple[int, float]] = []

    @property
    def finished(self) -> bool:
        """No further step is possible, products being kept for verification."""
        state = self.state
        spanned = state.k == state.dimension
        return bool(spanned or state.k >= state.capacity or self.op.products + self.kept >= self.end)

    def advance(self, progress: Progress | None) -> None:
        """Steps until the goal is met or no further step is possible."""
        while not self.finished:
            if self.state.exhausted:  # products without rounding, as of c·I: more evidence needs fresh starts
                if self.settled(self.look()):
                    break
                self.state.restart(self.rng.standard_normal(self.state.n))
            self.state.push(finite_product(self.op, self.state.next()))
            if self.state.k < _FEWEST_STEPS or not self._due():
                continue
            if not self.op.exact and len(self.history) == 2:
                self._measure_noise()
            view = self.look()
            self.history.append((view.k, view.low))
            if progress is not None:
                progress(self.op.products, self.end)
            if self.settled(view):
                break

    def _measure_noise(self) -> None:
        """Difference quotients are worst along the highest curvature: look there before going on."""
        vector = np.asarray(self.state.ritz_vector(self.state.k - 1), dtype=np.float64)
        high = rayleigh(self.land, self.theta, self.op, vector / norm_of(vector))
        self.noise = max(self.noise, high.noise)

    def _due(self) -> bool:
        """Every five steps, later every tenth part; and when the first Ritz value below the noise shows."""
        if not self.history:
            return True
        k, low = self.history[-1]
        floor = -4.0 * self.noise
        return bool(self.state.k - k >= max(_EVERY, k // 10) or (low >= floor and self.state.count_below(floor)))

    def look(self) -> _View:
        state, delta = self.state, self.goal.delta / 2
        alpha, beta = state.alpha, state.beta[:-1]
        low, high = (float(_core.tridiagonal_eigenvalue(alpha, beta, i)) for i in (0, state.k - 1))
        error = self._error(alpha, beta, max(abs(low), abs(high)))
        # the best bounds of all steps would hold as well; measured on six kinds of spectra, n = 1,000 and 20,000, they
        # are the last ones, or closer by at most 3e-4 of the spectrum's width: not worth a second record
        return _View(
            k=int(state.k),
            lower=float(state.certificate_lower(delta)) - error,
            low=low,
            high=high,
            upper=float(state.certificate_upper(delta)) + error,
            error=error,
            noise=self.noise,
        )

    def _error(self, alpha: Array, beta: Array, norm: float) -> float:
        """‖F‖ of the computed recurrence HV = VT + βve_kᵀ − F, whose columns are errors of products and vectors.

        Rounding of Hv is proportional to ‖Hv‖, so that ‖F‖_F ≤ η·‖T‖_F/‖H‖; a difference quotient is off by η
        whatever v: √k·η. Storing unit vectors costs u·‖H‖ per column.
        """
        if norm == 0.0:
            return self.noise
        steps = float(np.sqrt(alpha.size))
        frobenius = float(np.hypot(np.linalg.norm(alpha / norm), np.sqrt(2) * np.linalg.norm(beta / norm)))
        rounding = float(np.finfo(self.op.dtype).eps) * norm * steps
        return self.noise * (max(frobenius, 1.0) if self.op.exact else steps) + rounding

    def settled(self, view: _View) -> bool:
        """A verdict follows from this view, whatever further steps would show."""
        asked = self.goal.tolerance
        inner = (1.0 - _MARGIN) * tolerance_for(asked, view.norm, view.noise, view.error)
        outer = (1.0 + _MARGIN) * tolerance_for(asked, view.largest_norm, view.noise, view.error)
        norm_known = view.largest_norm <= 1.1 * view.norm or is_noise(view.largest_norm, view.noise, view.error)
        if norm_known and self._hopeless(view, outer):
            return True
        if view.lower >= outer or view.upper <= -outer:
            return True
        if view.lower >= -inner and view.low <= inner:
            return norm_known
        if view.low < -outer and (view.high > outer or view.upper <= inner):
            return norm_known and self._at_rest(view)
        return False

    def _hopeless(self, view: _View, tolerance: float) -> bool:
        """The gradient is too large whatever λ_min and M are: ‖g‖²/(2‖H‖) > ½r²·max(τ, −λ_min)."""
        if view.largest_norm == 0.0:
            return self.goal.gradient_norm > 0.0
        length = self.goal.gradient_norm / view.largest_norm / self.goal.radius
        return length * length > max(tolerance, -view.lower) / view.largest_norm

    def _at_rest(self, view: _View) -> bool:
        """The lowest Ritz value moved by less than 5 % over the last eighth of the run (at least five steps)."""
        before = [low for k, low in self.history if k <= view.k - max(_EVERY, view.k // 8)]
        return bool(before) and view.low >= 1.05 * before[-1]

    def verified(self) -> Ends:
        """One fresh product for each end and, for the index, for further negative Ritz pairs as the budget allows."""
        op, state, delta = self.op, self.state, self.goal.delta / 2
        view = self.look()
        tau = tolerance_for(self.goal.tolerance, view.norm, view.noise, view.error)
        allowed = max(min(self.end - op.products - 1, self.most_verified), 1)
        count = min(max(state.count_below(-tau), 1), allowed, state.k)
        pairs = np.asarray(state.ritz_vectors([*range(count), state.k - 1]), dtype=np.float64)
        values, vector, product = _rayleigh_ritz(op, pairs[:, :count])
        high_vector = pairs[:, -1] / norm_of(pairs[:, -1])
        high = rayleigh(self.land, self.theta, op, high_vector)
        ritz = state.ritz_values()
        missed = max(abs(high.value - float(ritz[-1])), float(np.max(np.abs(values - ritz[:count]))))
        if missed > (1e-3 if op.exact else 0.5) * view.norm + 10 * self.noise:
            raise OperatorError(asymmetric(missed, view.norm, op.exact))
        low = float(values[0])
        low_noise = 0.0 if op.exact else difference_noise(self.land, self.theta, vector, low)
        self.noise = max(self.noise, missed, low_noise, high.noise)
        view = self.look()  # with that noise
        return Ends(
            lower=view.lower,
            low=low,
            high=high.value,
            upper=view.upper,
            low_vector=vector,
            high_vector=high_vector,
            low_product=product,
            high_product=high.product,
            values=values,
            error=view.error,
            slack=0.0 if op.exact else self.noise,
            complete=False,
            noise=self.noise,
            certify=partial(
                lanczos_certificate,
                state.alpha,
                state.beta,
                state.n,
                delta,
                view.error,
                restarts=state.restarts,
                dtype=op.dtype.name,
            ),
            predict=partial(_predicted, state, view.error, delta),
        )


def _rayleigh_ritz(op: HessianOperator, vectors: Array) -> tuple[Array, Array, Array]:
    """Rayleigh–Ritz on fresh products of `vectors` (n, q): values, ascending, the lowest one's unit vector y, and Hy.

    H has at least as many eigenvalues below any number as there are values below it (Courant–Fischer).
    """
    rounded = vectors.astype(op.dtype)
    wide = rounded.astype(np.float64)
    products = np.asarray(op @ rounded, dtype=np.float64)
    if not np.isfinite(products).all():
        raise NonFiniteError("a Hessian product at `theta` is not finite (NaN or infinity)")
    projected = wide.T @ products
    values, weights = scipy.linalg.eigh((projected + projected.T) / 2, wide.T @ wide)
    lowest = wide @ weights[:, 0]
    size = norm_of(lowest)
    return values, lowest / size, products @ weights[:, 0] / size


def _predicted(state: Any, error: float, delta: float, end: str, target: float) -> int | None:
    """Further steps until the bound, widened by `error`, reaches `target`."""
    if end == "lower":
        steps = state.predicted_steps(delta, target + error)
    else:  # the upper end of H is the lower end of −H
        steps = _core.predicted_steps(-state.alpha, state.beta, state.n, delta, error - target)
    return int(steps) if steps > 0 else None
