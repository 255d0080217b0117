"""The sharpness of a training run: the ends of the Hessian's spectrum step by step, beside what the optimizer bears."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError, NonFiniteError
from ..landscape import Landscape, check_landscape, check_theta
from ..operators import HessianOperator
from ..ranges import BELOW_ONE, NON_NEGATIVE, Count
from . import lanczos
from .stability import Limit, preconditioned, stability_limit
from .tracking import FollowedEnd, Look

if TYPE_CHECKING:
    from ..train import Trainer

Array = NDArray[Any]

NONE = math.nan
FRESH_PRODUCTS = 60  # most, of a fresh run
FRESH_WIDTH = 0.05  # (upper − lower)/upper at which a fresh run ends
MOST_PRODUCTS = 5  # of a look that follows


@dataclass(frozen=True)
class Sharpness:
    """One look at the curvature.

    Attributes:
        step: updates done.
        lambda_max: a Rayleigh quotient of H: λ_max is at least this, up to rounding.
        lambda_max_upper: λ_max is at most this with the tracker's confidence; NaN between certified looks.
        lambda_min: a Rayleigh quotient of H: λ_min is at most this; NaN unless followed.
        lambda_min_lower: λ_min is at least this with the tracker's confidence; NaN between certified looks.
        residual: ‖Hu − lambda_max·u‖: an eigenvalue lies within it of `lambda_max`.
        effective: the same lower bound for P^-½HP^-½, with P of the optimizer; `lambda_max` where P is the identity,
            NaN without an optimizer.
        threshold: largest eigenvalue of P^-½HP^-½ at which the optimizer is stable on a quadratic; NaN if unknown.
        formula: of the threshold.
        products: matrix-vector products of this look.
    """

    step: int
    lambda_max: float
    lambda_max_upper: float
    lambda_min: float
    lambda_min_lower: float
    residual: float
    effective: float
    threshold: float
    formula: str
    products: int

    @property
    def ratio(self) -> float:
        """`effective` / `threshold`: above 1 the step is too large for the local quadratic."""
        return self.effective / self.threshold

    def __str__(self) -> str:
        upper = "" if math.isnan(self.lambda_max_upper) else f", at most {self.lambda_max_upper:.4g}"
        text = f"step {self.step}: λ_max ≥ {self.lambda_max:.4g}{upper}"
        if not math.isnan(self.lambda_min):
            text += f", λ_min ≤ {self.lambda_min:.4g}"
        if not math.isnan(self.threshold):
            text += f"; {self.effective:.4g} of {self.formula} = {self.threshold:.4g} ({self.ratio:.2f})"
        return f"{text}; {self.products} products"


class SharpnessTracker:
    """Follows λ_max (and λ_min) of the Hessian through training, at two to five products per look.

    A look multiplies a block of vectors, two per end, with the Hessian of one fixed batch and takes the Rayleigh
    quotient of the best of their span: a rigorous lower bound of λ_max (upper of λ_min). The first look and every
    `certify_every`-th runs Lanczos from a fresh Gaussian vector: its certificate bounds the end from the other side,
    and an eigenvalue that has overtaken the followed one is found.

    Args:
        land: any landscape.
        batch: (S,) indices of the samples to look at, the same at every look; None: all.
        every: updates between two looks of a run that it is attached to; None: at the end of every epoch.
        smallest: follow λ_min as well.
        vectors: per end and round. 2: u and its residual; 3: also the last move, as LOBPCG; 1: a step of power
            iteration, the cheapest, which lags behind where the end is not well separated.
        accuracy: relative residual above which a look goes on, up to 5 products.
        certify_every: looks between two fresh runs.
        confidence: of every certified bound.
        seed: of the fresh runs.

    Attributes:
        looks: every Sharpness so far.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.

    Sources: J. Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge of stability,
    arXiv 2103.00065; Cohen et al. (2022), Adaptive gradient methods at the edge of stability, arXiv 2207.14484.
    """

    def __init__(
        self,
        land: Landscape,
        batch: Any = None,
        *,
        every: int | None = 50,
        smallest: bool = False,
        vectors: int = 2,
        accuracy: float = 0.1,
        certify_every: int = 50,
        confidence: float = 1.0 - 1e-6,
        seed: int = 0,
    ) -> None:
        self.land = check_landscape(land)
        self.batch = None if batch is None else np.array(batch)
        self.every = None if every is None else Count(1).check("every", every)
        self.accuracy = NON_NEGATIVE.check("accuracy", accuracy)
        self.certify_every = Count(1).check("certify_every", certify_every)
        self.confidence = BELOW_ONE.check("confidence", confidence)
        size = Count(1, 3).check("vectors", vectors)
        self.looks: list[Sharpness] = []
        self._rng = np.random.default_rng(Count(0).check("seed", seed))
        self._largest, self._effective = FollowedEnd(1.0, size), FollowedEnd(1.0, size)
        self._smallest = FollowedEnd(-1.0, size) if smallest else None
        self._scale: Array | None = None  # P^-½ of the last look
        self._last_epoch = -1

    def __repr__(self) -> str:
        return f"SharpnessTracker({len(self.looks)} looks{', last ' + str(self.looks[-1]) if self.looks else ''})"

    def check(
        self, theta: Any = None, opt: Any = None, *, lr: float | None = None, step: int | None = None
    ) -> Sharpness:
        """Looks at the Hessian at θ.

        Args:
            theta: (n,); None: the landscape's current point.
            opt: an optimizer; its rule gives the threshold, its state the preconditioner P.
            lr: learning rate; None: the optimizer's next one.
            step: updates done, for the record; None: the optimizer's, or the number of looks.

        Returns:
            The look, which is also appended to `looks`.

        Raises:
            ArgumentError: there is no θ, or it has a wrong shape.
            NonFiniteError: θ or a product holds NaN or infinity.
        """
        point = self.land.theta if theta is None else theta
        if point is None:
            raise ArgumentError("`theta` is None and this landscape has no current point: pass theta, an array (n,)")
        point = check_theta(point, self.land.n, self.land.dtype)
        op = self.land.hessian(point, self.batch)
        limit = None
        if opt is not None:
            rate = float(opt.rate(opt.start + opt.t)) if lr is None else NON_NEGATIVE.check("lr", lr)
            limit = stability_limit(opt, rate)
        at = (len(self.looks) if opt is None else int(opt.t)) if step is None else int(step)
        certified = len(self.looks) % self.certify_every == 0 or not self._largest.rows.size
        found = self._fresh(op, limit, at) if certified else self._follow(op, limit, at)
        self.looks.append(found)
        return found

    def attach(self, run: Trainer) -> SharpnessTracker:
        """Looks at the run's θ while it trains, and records every look in `run.history`.

        Columns: `curvature_step`, `curvature_epoch`, `lambda_max`, `lambda_max_upper`, `lambda_min`,
        `effective_lambda_max`, `stability_threshold`. Training itself is not changed, to the bit.

        Raises:
            ArgumentTypeError: `run` is no Trainer.
            ArgumentError: it has another number of parameters, or no epochs where `every` is None.
        """
        watchers = getattr(run, "watchers", None)
        if not isinstance(watchers, list):
            raise ArgumentTypeError(f"`run` must be a Trainer, got {type(run).__name__}")
        if run.land.n != self.land.n:
            raise ArgumentError(f"`run` must have {self.land.n} parameters, it has {run.land.n}")
        if self.every is None and run.land.samples is None:
            raise ArgumentError("`every` must be a number of updates: this run has no data and no epochs")
        if self not in watchers:
            watchers.append(self)
        return self

    def due_in(self, run: Trainer) -> int:
        """Updates of an attached run until the next look, at least 1."""
        if self.every is not None:
            return self.every - run.t % self.every
        return int(run.sampler.steps_per_epoch - run.sampler.position)

    def observe(self, run: Trainer) -> dict[str, Any] | None:
        """The row for the history where a look is due; a curvature that is not finite is NaN."""
        due = run.t % self.every == 0 if self.every is not None else run.sampler.position == 0
        if not due:
            return None
        try:
            seen = self.check(run.theta, run.opt, lr=run.opt.rate(run.t), step=run.t)
        except NonFiniteError:
            seen = Sharpness(run.t, NONE, NONE, NONE, NONE, NONE, NONE, NONE, "", 0)
        return {
            "curvature_step": run.history.updates,
            "curvature_epoch": run.epoch,
            "lambda_max": seen.lambda_max,
            "lambda_max_upper": seen.lambda_max_upper,
            "lambda_min": seen.lambda_min,
            "effective_lambda_max": seen.effective,
            "stability_threshold": seen.threshold,
        }

    def _follow(self, op: HessianOperator, limit: Limit | None, step: int) -> Sharpness:
        """Rounds of one block product each, for all ends together."""
        before, scale = op.products, _scaling(limit, op)
        ends = [end for end in (self._largest, self._smallest) if end is not None and end.rows.size]
        factors: dict[FollowedEnd, Any] = {}
        if scale is not None and self._effective.rows.size:
            ends.append(self._effective)
            factors[self._effective] = scale
        looks: dict[FollowedEnd, Look] = {}
        while True:
            blocks = [end.rows * factors[end] if end in factors else end.rows for end in ends]
            images = _images(op, np.concatenate(blocks) if len(blocks) > 1 else blocks[0])
            for end, begin in zip(ends, np.cumsum([0, *(len(block) for block in blocks)]), strict=False):
                part = images[begin : begin + len(end.rows)]
                looks[end] = end.absorb(part * factors[end] if end in factors else part)
            rough = any(look.residual > self.accuracy * abs(look.value) for look in looks.values())
            done = op.products - before
            if not rough or done + sum(len(end.rows) for end in ends) > MOST_PRODUCTS:
                break
        top = looks[self._largest]
        low = NONE if self._smallest is None else looks[self._smallest].value
        effective = top.value if limit is not None else NONE
        if scale is not None:
            effective = looks[self._effective].value if self._effective in looks else NONE
        return _look(step, top, NONE, low, NONE, effective, limit, op.products - before)

    def _fresh(self, op: HessianOperator, limit: Limit | None, step: int) -> Sharpness:
        """Lanczos from a fresh Gaussian vector for H, and one for P^-½HP^-½."""
        before, scale = op.products, _scaling(limit, op)
        top, upper, low, lower = self._lanczos(op, self._largest, self._smallest)
        effective = top.value if limit is not None else NONE
        if limit is not None and scale is not None:
            effective = self._lanczos(preconditioned(op, limit.preconditioner), self._effective, None)[0].value
        return _look(step, top, upper, low, lower, effective, limit, op.products - before)

    def _lanczos(
        self, op: HessianOperator, largest: FollowedEnd, smallest: FollowedEnd | None
    ) -> tuple[Look, float, float, float]:
        delta = 0.5 * (1.0 - self.confidence)
        state = lanczos.run(op, stop=_narrow(delta, smallest is not None), max_products=FRESH_PRODUCTS, seed=self._rng)
        upper, lower = float(state.certificate_upper(delta)), float(state.certificate_lower(delta))
        values = state.ritz_values()
        largest.shift = max(0.0, -float(values[0]))
        if smallest is not None:
            smallest.shift = max(0.0, float(values[-1]))
        # one more product each: the quotient of the vector itself, and where it leads
        top = _restart(largest, op, state.ritz_vector(state.k - 1))
        low = NONE if smallest is None else _restart(smallest, op, state.ritz_vector(0)).value
        return top, max(upper, top.value), low, min(lower, low) if smallest is not None else NONE


def _narrow(delta: float, both: bool) -> Callable[[Any], bool]:
    def narrow(state: Any) -> bool:
        if state.k % 4:
            return False
        values = state.ritz_values()
        size = FRESH_WIDTH * max(abs(float(values[-1])), abs(float(values[0])))
        enough = bool(state.certificate_upper(delta) - values[-1] <= size)
        return enough and (not both or bool(values[0] - state.certificate_lower(delta) <= size))

    return narrow


def _restart(end: FollowedEnd, op: HessianOperator, vector: Array) -> Look:
    """Where the end is followed from: the quotient of the vector as the operator takes it."""
    u = np.ascontiguousarray(vector, dtype=op.dtype)
    return end.begin(u, _images(op, u[None])[0])


def _images(op: HessianOperator, rows: Array) -> Array:
    """H·row for every row."""
    images = np.ascontiguousarray(np.asarray(op.matmat(rows.T)).T, dtype=op.dtype)
    if not math.isfinite(float(images.sum())) and not np.isfinite(images).all():
        raise NonFiniteError(
            "products of the Hessian hold NaN or infinity; the point, the data or the loss is not finite"
        )
    return images


def _scaling(limit: Limit | None, op: HessianOperator) -> Array | None:
    """P^-½, (n,); None for the identity."""
    if limit is None or limit.preconditioner is None:
        return None
    return np.asarray(1.0 / np.sqrt(limit.preconditioner), dtype=op.dtype)


def _look(
    step: int,
    top: Look,
    upper: float,
    low: float,
    lower: float,
    effective: float,
    limit: Limit | None,
    products: int,
) -> Sharpness:
    threshold = NONE if limit is None else limit.threshold
    formula = "" if limit is None else limit.formula
    return Sharpness(step, top.value, upper, low, lower, top.residual, effective, threshold, formula, int(products))
