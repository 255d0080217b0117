"""Looking for a critical point of any kind, minimum or saddle: make the gradient vanish, not the loss."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .critical import Verdict, classify
from .critical.gate import norm_of, radius_at
from .critical.probes import finite_gradient, finite_product, finite_theta
from .critical.request import FEWEST_PRODUCTS
from .critical.sentence import number
from .curvature.products import Products, gaussian
from .errors import ArgumentError
from .landscape import Landscape, check_landscape
from .minres import minres
from .operators import HessianOperator, as_operator
from .progress import check_progress
from .ranges import NON_NEGATIVE

Array = NDArray[Any]

METHODS = ("newton", "gradient-norm")
_HALVINGS = 30
_FEWEST_PER_SOLVE = 16  # products
_JUDGING = 300  # most products for the last test


@dataclass(frozen=True, eq=False)
class Critical:
    """Answer of `find_critical`.

    Attributes:
        theta: where the search ended, (n,): the smallest gradient norm met.
        gradient_norm: ‖∇L(theta)‖.
        converged: the gradient is small enough for `classify` to call theta critical (or as small as `tolerance`).
        products: Hessian-vector products used.
        loss: L(theta).
        iterations: accepted steps.
        reason: why it stopped, in words.
    """

    theta: Array
    gradient_norm: float
    converged: bool
    products: int
    loss: float
    iterations: int
    reason: str

    def __str__(self) -> str:
        outcome = "Found a critical point" if self.converged else "No critical point found"
        return (
            f"{outcome}: gradient norm {number(self.gradient_norm)} at loss {number(self.loss)} after "
            f"{self.iterations} steps and {self.products} products; {self.reason}."
        )


def find_critical(
    land: Landscape,
    theta: ArrayLike | None = None,
    method: str = "newton",
    *,
    tolerance: float | None = None,
    max_products: int = 2000,
    progress: Callable[[int, int], None] | None = None,
) -> Critical:
    """Search for a point where the gradient vanishes, starting at `theta`; every accepted step shrinks ‖∇L‖.

    Args:
        land: the landscape.
        theta: the start (n,), not changed. None: the landscape's current point.
        method: "newton": H·p = −g solved by MINRES (the least-squares step where H is singular), halved until ‖g‖
            falls; quadratic convergence; one solve takes at most an eighth of the budget (or 16 products).
            "gradient-norm": L-BFGS on ½‖∇L‖², whose gradient is H·g, one product per step; cheaper steps, many more
            of them.
        tolerance: stop at ‖∇L‖ ≤ tolerance. None: a thousandth of what counts as converged, or
            what rounding leaves.
        max_products: most Hessian-vector products. A quarter of them, at most 300, is kept to let `classify` judge
            the end where its gradient norm alone (‖g‖ ≤ 0.01·r·‖H‖, r = 0.01·max(1, ‖θ‖)) does not decide.
        progress: called as progress(products, max_products) after every step.

    Returns:
        A `Critical`: the point (n,) and ‖∇L‖ there, in units of the loss over θ; look at `converged`: failures are
        answers too (½‖∇L‖² has minima of its own, where H·g = 0).

    Guarantee: ‖∇L‖ never grows; `converged` says that it is as small as asked for, or that `classify` calls the point
    critical.

    Raises:
        ArgumentError: an unknown method, or a tolerance or budget that is not positive.
        ArgumentTypeError: an argument of a wrong type.
        NonFiniteError: the start, or loss, gradient or a product there, is not finite.
        NonDeterministicError: the same product at the start came out different twice.
        OperatorError: the operator there is not symmetric, or a callback returned a wrong size.

    Source: C. C. Paige, M. A. Saunders (1975), MINRES, SIAM J. Numer. Anal. 12, 617–629; Newton's method on ½‖∇L‖² as
    in C. G. Frye et al. (2019), arXiv 1901.10603.
    """
    if method not in METHODS:
        raise ArgumentError(f"`method` must be one of {', '.join(METHODS)}, got {method!r}")
    check_landscape(land)
    check_progress(progress)
    if tolerance is not None and NON_NEGATIVE.check("tolerance", tolerance) == 0.0:
        raise ArgumentError("`tolerance` must be a positive gradient norm or None, got 0")
    if isinstance(max_products, bool) or not isinstance(max_products, (int, np.integer)) or max_products < 1:
        raise ArgumentError(f"`max_products` must be a positive integer, got {max_products!r}")
    search = _Search(land, finite_theta(land, theta), int(max_products))
    if search.budget >= _FEWEST_PER_SOLVE:
        search.check_operator()
    propose = search.newton if method == "newton" else _LimitedMemory(search).propose
    return search.run(propose, tolerance, progress)


@dataclass(frozen=True)
class _Step:
    """A direction p, and the slope of ½‖g‖² along it, pᵀHg < 0."""

    p: Array
    slope: float


class _Search:
    """The point, its gradient, and the line search on ½‖g‖² that both methods share."""

    def __init__(self, land: Landscape, theta: Array, budget: int) -> None:
        self.reserve = min(_JUDGING, budget // 4)
        self.land, self.theta, self.budget = land, theta, budget - self.reserve
        self.loss, gradient = finite_gradient(land, theta)
        self.gradient = gradient.astype(np.float64)
        self.size = norm_of(self.gradient)
        self.start = self.size
        self.norms: deque[float] = deque([0.0], maxlen=10)  # lower bounds of ‖H‖ at the latest points
        self.products = 0
        self._operator: HessianOperator | None = None

    def check_operator(self) -> None:
        """One product twice, and another for symmetry, at the start."""
        self._operator = as_operator(self.land.hessian(self.theta))
        rng = np.random.default_rng(0)
        held = Products(self._operator)
        held.first(gaussian(rng, 1, self.land.n, self._operator.dtype), rng)
        self.products += held.done

    def product(self, v: Array) -> Array:
        """H·v at the current point, in float64."""
        if self._operator is None:
            self._operator = as_operator(self.land.hessian(self.theta))
        self.products += 1
        return finite_product(self._operator, v.astype(self.land.dtype)).astype(np.float64)

    @property
    def norm(self) -> float:
        """‖H‖ from below, of the latest points."""
        return max(self.norms)

    @property
    def accepted(self) -> float:
        """The gradient norm below which `converged` is true."""
        return 0.01 * radius_at(self.theta) * self.norm

    @property
    def target(self) -> float:
        """A thousandth of `accepted`, but not below what rounding of θ and g leaves."""
        rounding = 4.0 * float(np.finfo(self.land.dtype).eps) * self.norm * max(1.0, norm_of(self.theta))
        return min(self.accepted, max(1e-3 * self.accepted, rounding))

    def run(
        self, propose: Callable[[], _Step | None], tolerance: float | None, progress: Callable[[int, int], None] | None
    ) -> Critical:
        iterations, reason = 0, ""
        while not reason:
            if self.size <= (self.target if tolerance is None else tolerance):
                reason = "the gradient is as small as asked for"
            elif self.products >= self.budget:
                reason = "the budget of products is used up"
            else:
                step = propose()
                if step is None or not self.walk(step):
                    reason = "no step makes the gradient smaller"
                else:
                    iterations += 1
            if progress is not None:
                progress(min(self.products, self.budget), self.budget)
        converged = self.size <= self.accepted or (tolerance is not None and self.size <= tolerance) or self.judged()
        return Critical(self.theta, self.size, converged, self.products, self.loss, iterations, reason)

    def judged(self) -> bool:
        """What classify says, when its test can hold at all: ‖g‖²/(2‖H‖) ≤ ½|λ₋|r² needs ‖g‖ ≤ r·‖H‖."""
        if self.size == 0.0:
            return True
        # self.norm is a lower bound of ‖H‖
        if self.reserve < FEWEST_PRODUCTS or self.size > 2.0 * radius_at(self.theta) * self.norm:
            return False
        verdict = classify(self.land, self.theta, max_products=self.reserve)
        self.products += verdict.products
        return verdict.verdict is not Verdict.NOT_CRITICAL

    def newton(self) -> _Step | None:
        """MINRES for H·p = −g; the nearer, the more exactly. bᵀr = ‖r‖² gives the slope for free."""
        rtol = max(min(0.1, (self.size / self.start) ** 0.5 * 0.1), 1e-10)
        # an eighth of the budget: several cruder steps lead further than one exact one
        share = max(self.budget // 8, _FEWEST_PER_SOLVE)
        limit = min(self.budget - self.products, 2 * max(self.land.n, 3), share)
        solution = minres(self.product, -self.gradient, rtol=rtol, limit=limit)
        self.norms.append(solution.norm)
        slope = solution.residual**2 - self.size**2
        return _Step(solution.x, slope) if slope < 0.0 and solution.x.any() else None

    def walk(self, step: _Step) -> bool:
        """Halve the step until ½‖g‖² falls by a fair share of what its slope promises."""
        reach = 10.0 * max(1.0, norm_of(self.theta))
        t = min(1.0, reach / norm_of(step.p))
        for _ in range(_HALVINGS):
            moved = (self.theta + t * step.p).astype(self.land.dtype)
            loss, gradient = self.land.gradient(moved)
            size = norm_of(gradient)
            if np.isfinite(loss) and np.isfinite(size) and size**2 <= self.size**2 + 2e-4 * t * step.slope:
                if size >= self.size:
                    return False
                self.theta, self.loss, self.size = moved, float(loss), size
                self.gradient = np.asarray(gradient, dtype=np.float64)
                self._operator = None
                return True
            t /= 2
        return False


class _LimitedMemory:
    """L-BFGS directions for q = ½‖g‖², ∇q = H·g."""

    def __init__(self, search: _Search, memory: int = 20) -> None:
        self.search = search
        self.pairs: deque[tuple[Array, Array, float]] = deque(maxlen=memory)
        self.last: tuple[Array, Array] | None = None

    def propose(self) -> _Step | None:
        """−(approximate inverse Hessian of q)·∇q; the very first step is the least-squares one along −H·g."""
        search = self.search
        slope = search.product(search.gradient)
        size = norm_of(slope)
        if size == 0.0:
            return None
        search.norms.append(size / search.size)
        theta = search.theta.astype(np.float64)
        if self.last is not None:
            s, y = theta - self.last[0], slope - self.last[1]
            if float(s @ y) > 1e-10 * norm_of(s) * norm_of(y):
                self.pairs.append((s, y, 1.0 / float(s @ y)))
        self.last = (theta, slope)
        p = -self._two_loops(slope)
        descent = float(p @ slope)
        if not descent < 0.0:
            self.pairs.clear()
            p, descent = -slope / search.norm**2, -(size**2) / search.norm**2
        return _Step(p, descent)

    def _two_loops(self, slope: Array) -> Array:
        q, coefficients = slope.copy(), []
        for s, y, rho in reversed(self.pairs):
            a = rho * float(s @ q)
            q -= a * y
            coefficients.append(a)
        if self.pairs:
            s, y, _ = self.pairs[-1]
            q *= float(s @ y) / float(y @ y)
        else:
            q /= self.search.norm**2
        for (s, y, rho), a in zip(self.pairs, reversed(coefficients), strict=True):
            q += (a - rho * float(y @ q)) * s
        return q
