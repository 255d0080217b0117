"""classify: the decision procedure, from probes through the ends of the spectrum to one verdict."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..curvature.plan import checked_budget
from ..curvature.symmetries import MIXTURES, Symmetries
from ..landscape import Landscape
from ..operators import HessianOperator, as_operator
from ..ranges import Count
from . import dense, lanczos, probes, rules
from .ends import Ends
from .gate import Gate, gate, norm_of, radius_at
from .lines import Lines
from .morse import Morse, certified_index
from .quotient import judge_the_rest, known_symmetries, without_kink
from .request import Request, check_switch, checked
from .result import Bracket, CriticalPoint, Quotient, Verdict

Array = NDArray[Any]
Progress = Callable[[int, int], None]


def classify(
    land: Landscape,
    theta: ArrayLike | None = None,
    tolerance: float | None = None,
    confidence: float = 1 - 1e-6,
    max_products: int | None = None,
    seed: int = 0,
    exact: bool | None = None,
    progress: Progress | None = None,
    memory_budget: int | None = None,
    index: bool = False,
    progressive: bool = False,
    symmetries: bool | None = None,
) -> CriticalPoint:
    """What kind of point is `theta`: saddle, minimum, maximum, degenerate, or not critical at all?

    Probes come first: loss, gradient and product must be finite, the same twice and, along a line, each the derivative
    of the one before; the operator must be symmetric; what products are off by is measured and widens the tolerance.
    Then the ends of the Hessian's spectrum: all of it for n ≤ 512 (or `exact=True`), else Lanczos from a Gaussian start
    with both ends watched; its basis is kept within `memory_budget` by thick restarts or, where not even 16 vectors
    fit, not kept at all.

    With `progressive` the directions are looked for on few samples first, and tried on as many others; all the data
    then only verify them: a pronounced saddle is proved with a dozen products of all samples. Everything else, and a
    saddle whose negative curvature is too small to be seen in a part of the data, takes the full run as before.

    At a kink that was found (a unit of a ReLU network exactly at zero; a slope that jumps along an end of the
    spectrum, or along one of a few random directions before a minimum or maximum is stated) second derivatives hold on
    one side only, and the verdict is DEGENERATE instead of a minimum or maximum.

    Guarantee: STRICT_SADDLE is proved by two vectors v, u whose quotients vᵀHv < −τ and uᵀHu > +τ were computed
    afresh. LOCAL_MINIMUM (every eigenvalue ≥ +τ), LOCAL_MAXIMUM and "no eigenvalue below −τ" (DEGENERATE) hold with
    probability `confidence` over the random start, whatever the Hessian; surely when the whole spectrum is computed.
    Rounding is a measured widening of the bounds, not part of this probability.

    Args:
        land: the landscape; a network's is judged on all of its data.
        theta: the point (n,), not changed. None: the landscape's current point.
        tolerance: τ in units of curvature; eigenvalues within ±τ count as flat. None: 1e-4·‖H‖. Raised to the
            measured noise of the products where it lies below.
        confidence: in (0, 1).
        max_products: most Hessian-vector products, ≥ 8; UNDECIDED when they do not suffice. None: as many as the
            whole spectrum takes (n ≤ 512), else 1000 and what the memory budget holds.
        seed: of the random vectors; the same seed gives the same answer to the bit.
        exact: True: the whole spectrum for n ≤ 3000; Ctrl-C ends it at once, while one call of LAPACK may run on in the
            background for seconds. False: Lanczos from n = 3 on. None: by n and max_products.
        progress: called as progress(products, most products).
        memory_budget: bytes for Lanczos vectors and those made from them, landscape and products not counted. None: the
            landscape's own, else 1 GiB.
        index: True: go on, within `max_products`, until all directions of negative curvature are found and a fresh run
            on their complement certifies that there is no other: `index` = (q, q).
        progressive: True: samples first. The guarantees are the same; λ_min's bracket is as wide as the few products
            leave it. Products of fewer samples are in `sampled_products` and count towards `max_products` by their
            share of the samples. Nothing is sampled below 128 samples or 3 parameters.
        symmetries: True: find out which directions are flat by construction (`us.curvature.symmetries`, for networks);
            of a DEGENERATE point, judge the others by themselves too, as `quotient`, for as many products again. None:
            count those of a DEGENERATE network where the whole spectrum is known or that takes no more than a tenth of
            the products. False: never.
            What they take counts towards `max_products`, if that is given, and is left out where it does not suffice.

    Returns:
        A `CriticalPoint`; `str()` of it is one sentence.

    Raises:
        ArgumentError: theta is missing or has a wrong shape, an argument is out of range, or `progressive` is asked of
            a landscape without samples, or one whose samples depend on each other (batch normalisation in training),
            or `symmetries` of one that is no network.
        BudgetError: not even three vectors fit `memory_budget`.
        NonFiniteError: theta, the loss, the gradient or a product is not finite.
        NonDeterministicError: the same call gave two different results (dropout, shuffling).
        OperatorError: the operator is not symmetric, a callback returned a wrong size, or loss, gradient and product
            do not belong together.

    Source: the a-posteriori bound is that of van Dorsselaer, Hochstenbach and van der Vorst (2000), SIAM Journal on
    Matrix Analysis 22; the test of what is critical compares the decreases of Royer, O'Neill and Wright (2020).
    """
    started = time.perf_counter()
    request = checked(land, tolerance, confidence, max_products, exact, progress, progressive, symmetries)
    check_switch("index", index, (True, False))
    Count(0).check("seed", seed)
    point = probes.finite_theta(land, theta)
    op = as_operator(land.hessian(point))
    before = op.products
    rng = np.random.default_rng(seed)
    probe = probes.probe(land, point, op, rng)
    gradient_norm = norm_of(probe.gradient)
    goal = lanczos.Goal(tolerance, gradient_norm, radius_at(point), probe.noise, 1.0 - confidence)
    memory = checked_budget(getattr(land, "memory_budget", None) if memory_budget is None else memory_budget)
    search = _Search(land, point, op, probe, goal, request, memory, rng, progress)
    ends, judged = search.answer()
    left = before + request.budget - search.shares - op.products
    morse = _morse(op, ends, judged, (1.0 - confidence, left, rng), progress) if index else None
    flat = _flat_directions(search, ends, judged, symmetries, op.products - before)
    return _answer(
        land,
        point,
        probe,
        ends,
        judged,
        confidence,
        morse=morse,
        products=op.products - before,
        seconds=time.perf_counter() - started,
        sampled=search.sampled,
        flat=flat,
    )


@dataclass
class _Search:
    """From what is asked for to the ends of the spectrum and what they mean.

    Attributes:
        sampled: {samples: products}, of a progressive search.
        shares: what they cost in products with all samples.
    """

    land: Landscape
    theta: Array
    op: HessianOperator
    probe: probes.Probe
    goal: lanczos.Goal
    request: Request
    memory: int
    rng: np.random.Generator
    progress: Progress | None
    sampled: dict[int, int] = field(default_factory=dict)
    shares: int = 0

    def answer(self) -> tuple[Ends, _Judged]:
        """By samples, all of the spectrum, or Lanczos."""
        if self.request.whole and not self.request.progressive:
            return self._whole()
        budget = self.request.budget - probes.PRODUCTS
        run = lanczos.Run(self.land, self.theta, self.op, self.goal, budget, self.memory, self.rng)
        if self.request.progressive:
            found = self._from_samples(run)
            if found is not None:
                return found
            if self.request.whole and run.left >= self.land.n + 2:
                return self._whole()
        return self._judged(run.ends(self.progress))

    def _whole(self) -> tuple[Ends, _Judged]:
        return self._judged(dense.whole_spectrum(self.land, self.theta, self.op, self.probe.noise, self.progress))

    def _from_samples(self, run: lanczos.Run) -> tuple[Ends, _Judged] | None:
        """A saddle whose directions were found on samples; None where the full data have to be looked at."""
        from .progressive import SampledSearch

        def show() -> None:
            if self.progress is not None:
                self.progress(self.op.products + search.cost, run.end)

        search = SampledSearch(self.land, self.theta, self.goal.tolerance, self.memory, self.rng, show, run.left)
        self.sampled = search.products
        found = None
        for vectors in search.suggestions():
            if run.suggest(vectors):
                found = self._judged(run.ends(self.progress))
                break
        run.forget()
        self.shares = search.cost
        run.end -= search.cost
        return found if found is not None and found[1].verdict is Verdict.STRICT_SADDLE else None

    def _judged(self, ends: Ends) -> tuple[Ends, _Judged]:
        return ends, _judge(self.land, self.theta, self.op, self.probe, ends, self.goal.tolerance)


@dataclass(frozen=True)
class _Judged:
    verdict: Verdict
    tolerance: float
    gate: Gate
    kink: bool | None


def _judge(
    land: Landscape, theta: Array, op: HessianOperator, probe: probes.Probe, ends: Ends, asked: float | None
) -> _Judged:
    tolerance = rules.tolerance_for(asked, ends.norm, ends.noise, ends.error)
    lines = Lines(land, theta, op, probe, ends, tolerance)
    low = lines.lowest()
    third = 0.0 if ends.low >= -tolerance else float("inf") if low is None else low.third
    opening = gate(norm_of(probe.gradient), ends.low, ends.norm, tolerance, radius_at(theta), third)
    verdict = rules.verdict_for(ends, tolerance, opening)
    models = [low] if verdict is Verdict.NOT_CRITICAL else [low, lines.highest()]
    kinks = [None if model is None else model.kink for model in models]
    kink = True if True in kinks else None if None in kinks else False
    if verdict in (Verdict.LOCAL_MINIMUM, Verdict.LOCAL_MAXIMUM) and (kink or lines.kink_between()):
        verdict, kink = Verdict.DEGENERATE, True
    return _Judged(verdict, tolerance, opening, kink)


def _answer(
    land: Landscape,
    theta: Array,
    probe: probes.Probe,
    ends: Ends,
    judged: _Judged,
    confidence: float,
    *,
    morse: Morse | None,
    products: int,
    seconds: float,
    sampled: dict[int, int],
    flat: tuple[Symmetries | None, Quotient | None],
) -> CriticalPoint:
    tau, verdict = judged.tolerance, judged.verdict
    down = ends.low < -tau
    least, most = rules.index_for(ends, tau, land.n)
    values, vectors = ends.values, ends.vectors
    if morse is not None:
        values, vectors = morse.values, morse.vectors
        least = max(least, int(np.count_nonzero(values < -tau)))
        most = morse.most if most is None else most
    return CriticalPoint(
        verdict=verdict,
        lambda_min=Bracket(min(ends.lower, ends.low), ends.low + ends.slack),
        lambda_max=Bracket(ends.high - ends.slack, max(ends.upper, ends.high)),
        direction=ends.low_vector / norm_of(ends.low_vector) if down else None,
        directions=_directions(vectors[:, : int(np.count_nonzero(values[: vectors.shape[1]] < -tau))]),
        index=(least, most),
        tolerance=tau,
        gradient_norm=norm_of(probe.gradient),
        products=products,
        sampled_products=sampled,
        seconds=seconds,
        kink=judged.kink,
        confidence=1.0 if ends.complete else confidence,
        certificate=ends.certify(tolerance=tau),
        loss=probe.loss,
        n=land.n,
        method="dense" if ends.complete else "lanczos",
        noise=ends.noise,
        flat=rules.flat_count(ends, tau),
        gate=judged.gate,
        lower_bound=land.lower_bound,
        at_lower_bound=_at_lower_bound(land, theta, probe.loss, ends.norm),
        further_products=rules.further_products(ends, tau) if verdict is Verdict.UNDECIDED else None,
        plan=ends.plan,
        index_certificate=None if morse is None else morse.certificate,
        symmetries=flat[0],
        quotient=flat[1],
    )


def _flat_directions(
    search: _Search, ends: Ends, judged: _Judged, asked: bool | None, products: int
) -> tuple[Symmetries | None, Quotient | None]:
    """Those that are flat by construction, and, if that was asked, the verdict on the others."""
    degenerate = judged.verdict is Verdict.DEGENERATE
    if not (asked or degenerate):
        return None, None
    land, theta, op, tau = search.land, search.theta, search.op, judged.tolerance
    found = known_symmetries(land, theta, op, ends, tau, asked, products)
    if found is None or not (asked and degenerate):
        return found, None
    goal = replace(search.goal, tolerance=tau, noise=max(search.goal.noise, ends.noise))
    budget = search.request.budget - search.shares - products - MIXTURES
    if not search.request.limited:
        budget = max(budget, search.request.budget)
    rest = judge_the_rest(
        land, theta, op, found, ends, goal, judged.gate, budget, search.memory, search.rng, search.progress
    )
    kink = judged.kink or Lines(land, theta, op, search.probe, ends, tau).kink_between()
    return found, without_kink(rest, bool(kink))


def _morse(
    op: HessianOperator, ends: Ends, judged: _Judged, means: tuple[float, int, np.random.Generator], progress: Any
) -> Morse | None:
    """The certified index, where there is something to count and the whole spectrum is not known."""
    delta, left, rng = means
    tau = judged.tolerance
    count = int(np.count_nonzero(ends.values < -tau))
    if ends.complete or count == 0 or ends.upper < -tau or ends.plan.form == "three vectors":
        return None
    last = op.products + left
    return certified_index(
        op,
        ends.vectors[:, :count],
        tau,
        ends.noise,
        delta,
        budget=left,
        plan=ends.plan,
        rng=rng,
        progress=None if progress is None else lambda: progress(op.products, last),
    )


def _directions(vectors: Array) -> Array:
    """Unit columns, float64."""
    wide = np.array(vectors, dtype=np.float64)
    wide /= np.linalg.norm(wide, axis=0)
    return wide


def _at_lower_bound(land: Landscape, theta: Array, loss: float, norm: float) -> bool:
    """L(θ) equals the stated bound within what rounding θ and L by one unit can change."""
    bound = land.lower_bound
    if bound is None:
        return False
    eps = float(np.finfo(land.dtype).eps)
    reach = max(1.0, norm_of(theta))
    return bool(abs(loss - bound) <= 4 * eps * abs(bound) + eps * norm * reach**2 / 2)
