"""Both ends of a large spectrum: one Lanczos run, stopped as soon as a verdict follows, its ends verified afresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..certificate import certifier
from ..curvature.tall_blocks import combined
from ..errors import OperatorError
from ..landscape import Landscape
from ..operators import HessianOperator
from .ends import Ends, difference_noise, product_rounding, rayleigh, rayleigh_ritz
from .gate import norm_of
from .krylov_process import krylov_process
from .probes import asymmetric
from .rules import is_noise, tolerance_for

if TYPE_CHECKING:
    from .progressive import Proved

Array = NDArray[Any]
Progress = Callable[[int, int], None]

PRODUCTS = 1000  # by default
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


class Run:
    """One Lanczos state from a Gaussian start, the noise known so far, and the rules for stopping.

    Args:
        land: the landscape.
        theta: the point (n,).
        op: its Hessian.
        goal: what has to be found out.
        budget: most products, verification included.
        memory: bytes for vectors.
        rng: draws the start.

    Raises:
        BudgetError: not even three vectors fit `memory` bytes.
    """

    def __init__(
        self,
        land: Landscape,
        theta: Array,
        op: HessianOperator,
        goal: Goal,
        budget: int,
        memory: int,
        rng: np.random.Generator,
    ) -> None:
        self.land, self.theta, self.op, self.goal = land, theta, op, goal
        self.noise = goal.noise
        self.kept = 2 if op.exact else 3
        self.end = op.products + budget
        most = max(min(int(op.shape[0]), budget - self.kept), _FEWEST_STEPS)
        self.process = krylov_process(op, memory, most, rng)
        self.history: list[tuple[int, float]] = []
        self._known: Proved | None = None

    def ends(self, progress: Progress | None) -> Ends:
        """Steps until the goal is met or the products are used up, then both ends by fresh products.

        Raises:
            NonFiniteError: a product is not finite.
            OperatorError: fresh products contradict the run: the operator is not symmetric.
        """
        while True:
            self.advance(progress)
            if self._known is not None and self._proves_saddle(self._known, self.look()):
                return self._proved_ends(self._known)
            ends = self.verified()
            # verification may have found more noise: what was settled before may be open again
            if self.finished or self.settled(self.look()):
                return ends

    @property
    def left(self) -> int:
        """Products that may still be used."""
        return self.end - int(self.op.products)

    def suggest(self, vectors: Array) -> bool:
        """Directions (n, q) found elsewhere: do they bend down, and up, by more than τ here? As many products."""
        from .progressive import proved

        if self.left <= vectors.shape[1] + _FEWEST_STEPS + self.kept:
            return False
        known = proved(self.land, self.theta, self.op, vectors)
        self.noise = max(self.noise, known.noise)
        tau = tolerance_for(self.goal.tolerance, max(abs(known.low), abs(known.high)), self.noise, 0.0)
        self._known = known if known.low < -tau and known.high > tau else None
        return self._known is not None

    def forget(self) -> None:
        """On without what was suggested."""
        self._known = None
        self.history.clear()

    @property
    def finished(self) -> bool:
        """No further step is possible, products being kept for verification."""
        return self.process.spent or self.op.products + self.process.replay + self.kept >= self.end

    def advance(self, progress: Progress | None) -> None:
        """Steps until the goal is met or no further step is possible."""
        process = self.process
        while not self.finished:
            if process.exhausted:  # products without rounding, as of c·I: more evidence needs fresh starts
                if self.settled(self.look()):
                    break
                process.begin_afresh()
            process.step()
            if process.steps < _FEWEST_STEPS or not self._due():
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
        vector = self.process.high_vector()
        if vector is not None:
            self.noise = max(self.noise, rayleigh(self.land, self.theta, self.op, vector / norm_of(vector)).noise)

    def _due(self) -> bool:
        """Every five steps, later every tenth part; and when the first Ritz value below the noise shows."""
        if not self.history or self._known is not None:
            return True
        k, low = self.history[-1]
        floor = -4.0 * self.noise
        steps = self.process.steps
        return bool(steps - k >= max(_EVERY, k // 10) or (low >= floor and self.process.state.count_below(floor)))

    def look(self) -> _View:
        """Where both ends stand now."""
        state, delta = self.process.state, self.goal.delta / 2
        low, high = self.process.ends()
        if self._known is not None:
            low, high = min(low, self._known.low), max(high, self._known.high)
        error = self.process.error(self.noise, max(abs(low), abs(high)))
        # the best bounds of all steps would hold as well; measured on six kinds of spectra, n = 1,000 and 20,000, they
        # are the last ones, or closer by at most 3e-4 of the spectrum's width: not worth a second record
        return _View(
            k=self.process.steps,
            lower=float(state.certificate_lower(delta)) - error,
            low=low,
            high=high,
            upper=float(state.certificate_upper(delta)) + error,
            error=error,
            noise=max(self.noise, product_rounding(self.op, max(abs(low), abs(high)))),
        )

    def settled(self, view: _View) -> bool:
        """A verdict follows from this view, whatever further steps would show."""
        if self._known is not None and self._proves_saddle(self._known, view):
            return True
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

    def _proves_saddle(self, known: Proved, view: _View) -> bool:
        """Both signs exceed τ whatever ‖H‖ is, up to its certified bound."""
        tau = (1.0 + _MARGIN) * tolerance_for(self.goal.tolerance, view.largest_norm, view.noise, view.error)
        return known.low < -tau and known.high > tau

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
        op, process, delta = self.op, self.process, self.goal.delta / 2
        view = self.look()
        tau = tolerance_for(self.goal.tolerance, view.norm, view.noise, view.error)
        allowed = max(min(self.end - op.products - process.replay - 1, process.most_verified), 1)
        lowest, high_vector, expected = process.vectors(tau, allowed)
        block = _rayleigh_ritz(op, lowest)
        high_vector /= norm_of(high_vector)
        high = rayleigh(self.land, self.theta, op, high_vector)
        missed = float(np.max(np.abs(np.append(block.values, high.value) - expected)))
        if missed > (1e-3 if op.exact else 0.5) * view.norm + 10 * self.noise:
            raise OperatorError(asymmetric(missed, view.norm, op.exact))
        low = float(block.values[0])
        low_noise = 0.0 if op.exact else difference_noise(self.land, self.theta, block.lowest, low)
        self.noise = max(self.noise, missed, low_noise, high.noise)
        view = self.look()  # with that noise
        return Ends(
            lower=view.lower,
            low=low,
            high=high.value,
            upper=view.upper,
            low_vector=block.lowest,
            high_vector=high_vector,
            low_product=block.product,
            high_product=high.product,
            values=block.values,
            error=view.error,
            slack=0.0 if op.exact else self.noise,
            complete=False,
            noise=view.noise,
            certify=certifier(process.state, delta, view.error, dtype=process.plan.dtype),
            vectors=block.vectors,
            plan=process.plan,
            predict=process.predictor(view.error, delta, tau),
        )

    def _proved_ends(self, known: Proved) -> Ends:
        """The ends that were suggested and verified, with the bounds of the steps so far."""
        process, delta, view = self.process, self.goal.delta / 2, self.look()
        return Ends(
            lower=view.lower,
            low=known.low,
            high=known.high,
            upper=view.upper,
            low_vector=known.ends[0][0],
            high_vector=known.ends[1][0],
            low_product=known.ends[0][1],
            high_product=known.ends[1][1],
            values=known.values,
            error=view.error,
            slack=0.0 if self.op.exact else self.noise,
            complete=False,
            noise=view.noise,
            certify=certifier(process.state, delta, view.error, dtype=process.plan.dtype),
            vectors=known.vectors,
            plan=process.plan,
        )


@dataclass(frozen=True)
class _Block:
    """Rayleigh–Ritz values, ascending, their vectors (n, q), the lowest one and its product."""

    values: Array
    vectors: Array
    lowest: Array
    product: Array


def _rayleigh_ritz(op: HessianOperator, vectors: Array) -> _Block:
    """Rayleigh–Ritz on fresh products of `vectors` (n, q).

    H has at least as many eigenvalues below any number as there are values below it (Courant–Fischer).
    """
    values, weights, rounded, products = rayleigh_ritz(op, vectors)
    vectors = combined(rounded, weights, op.dtype) if rounded.shape[1] > 1 else rounded
    lowest, product = combined(rounded, weights[:, :1])[:, 0], combined(products, weights[:, :1])[:, 0]
    size = norm_of(lowest)
    return _Block(values, vectors, lowest / size, product / size)
