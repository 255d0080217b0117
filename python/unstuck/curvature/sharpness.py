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
from .look_size import affordable_samples
from .stability import Limit, preconditioned, stability_limit
from .tracking import FollowedEnd, Look, follow, products

if TYPE_CHECKING:
    from ..train import Trainer

Array = NDArray[Any]

NONE = math.nan
FRESH_PRODUCTS = 60  # most, of a fresh run
FRESH_WIDTH = 0.1  # (upper − lower)/upper at which a fresh run ends
FRESH_RESIDUAL = 0.03  # of its largest Ritz pair, relative
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
        samples: that the Hessian is of; 0 for a landscape without data.
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
    samples: int = 0

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
        data = f" of {self.samples} samples" if self.samples else ""
        return f"{text}; {self.products} products{data}"


class SharpnessTracker:
    """Follows λ_max (and λ_min) of the Hessian through training, at two to five products per look.

    A look multiplies a block of vectors with the Hessian of the loss on one fixed set of samples, and takes the
    Rayleigh quotient of the best of their span: a rigorous lower bound of λ_max (upper of λ_min) of the loss on those
    samples. The first look and every `certify_every`-th run Lanczos from a fresh Gaussian vector: its certificate
    bounds the end from the other side, and an eigenvalue that has overtaken the followed one is found. With a
    preconditioning optimizer the largest eigenvalue of P^-½HP^-½ is followed beside that of H.

    The samples: by default a tracker that is attached to a run draws, once, as many as keep its looks within `overhead`
    of the training's work. λ_max of few samples is larger than that of many, by the noise of the mean; pass
    `batch=None` for the Hessian of the whole loss, at up to five gradients of all data per look.

    Args:
        land: any landscape.
        batch: (S,) indices of the samples to look at, the same at every look; None: all; "auto": as above, all where
            it is not attached.
        every: updates between two looks of a run that it is attached to; None: at the end of every epoch.
        smallest: follow λ_min as well.
        vectors: of the largest end and round. 2: u and its residual; 3: also the last move, as LOBPCG; 1: a step of
            power iteration, which lags behind where the end is not well separated. None: 2, or 1 where the
            optimizer preconditions and both Hessians are followed. λ_min has at least 2.
        accuracy: relative residual above which a look goes on, up to 5 products.
        certify_every: looks between two fresh runs.
        confidence: of every certified bound.
        seed: of the fresh runs and the samples.
        overhead: share of the training's arithmetic that `batch="auto"` may add; at least 8 samples are looked at.

    Attributes:
        looks: every Sharpness so far.
        batch: the indices that are looked at; None: all samples, or not yet chosen.

    Raises:
        ArgumentError, ArgumentTypeError: an argument is out of range.

    Sources: J. Cohen et al. (2021), Gradient descent on neural networks typically occurs at the edge of stability,
    arXiv 2103.00065; Cohen et al. (2022), Adaptive gradient methods at the edge of stability, arXiv 2207.14484.
    """

    def __init__(
        self,
        land: Landscape,
        batch: Any = "auto",
        *,
        every: int | None = 50,
        smallest: bool = False,
        vectors: int | None = None,
        accuracy: float = 0.5,
        certify_every: int = 100,
        confidence: float = 1.0 - 1e-6,
        seed: int = 0,
        overhead: float = 0.05,
    ) -> None:
        self.land = check_landscape(land)
        self._auto = isinstance(batch, str)
        if self._auto and batch != "auto":
            raise ArgumentError(f'`batch` must be indices of samples, None or "auto", got {batch!r}')
        self.batch = None if batch is None or self._auto else np.array(batch)
        self.every = None if every is None else Count(1).check("every", every)
        self.accuracy = NON_NEGATIVE.check("accuracy", accuracy)
        self.certify_every = Count(1).check("certify_every", certify_every)
        self.confidence = BELOW_ONE.check("confidence", confidence)
        self.overhead = BELOW_ONE.check("overhead", overhead)
        self.vectors = None if vectors is None else Count(1, 3).check("vectors", vectors)
        self.looks: list[Sharpness] = []
        self._rng = np.random.default_rng(Count(0).check("seed", seed))
        size = self.vectors or 2
        self._largest, self._effective = FollowedEnd(1.0, size), FollowedEnd(1.0, size)
        self._smallest = FollowedEnd(-1.0, max(2, size)) if smallest else None

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
        limit = None
        if opt is not None:
            rate = float(opt.rate(opt.start + opt.t)) if lr is None else NON_NEGATIVE.check("lr", lr)
            limit = stability_limit(opt, rate)
        at = (len(self.looks) if opt is None else int(opt.t)) if step is None else int(step)
        scale = None if limit is None else limit.scale(self.land.dtype)
        self._effective.scale = scale
        if self.vectors is None:
            self._largest.size = self._effective.size = 2 if scale is None else 1
        due = len(self.looks) % self.certify_every == 0 or not self._largest.rows.size
        if due or (scale is not None and not self._effective.rows.size):
            found = self._fresh(point, limit, at)
        else:
            found = self._follow(point, limit, at)
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
        if self._auto and self.batch is None and run.land.samples is not None:
            self.batch = self._drawn(run, int(run.land.samples))
        return self

    def _drawn(self, run: Trainer, samples: int) -> Array | None:
        """Of the samples, as many as `overhead` allows; None: all."""
        steps = self.every or int(run.sampler.steps_per_epoch)
        vectors = (self.vectors or 2) + (0 if self._smallest is None else self._smallest.size)
        size = affordable_samples(self.land, self.overhead * steps, run.batch_size, vectors, self.certify_every)
        if size >= samples:
            return None
        chosen = self._rng.spawn(1)[0].choice(samples, size, replace=False)
        return np.sort(chosen)

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

    def _follow(self, point: Array, limit: Limit | None, step: int) -> Sharpness:
        """Rounds of one block product each, for all ends together."""
        ends = [self._largest]
        if self._smallest is not None:
            ends.append(self._smallest)
        if self._effective.scale is not None:
            ends.append(self._effective)
        looks, made = follow(self.land, point, self.batch, ends, self.accuracy, MOST_PRODUCTS)
        found = dict(zip(ends, looks, strict=True))
        top = found[self._largest]
        low = NONE if self._smallest is None else found[self._smallest].value
        effective = found.get(self._effective, top).value if limit is not None else NONE
        return self._look(step, top, NONE, low, NONE, effective, limit, made)

    def _fresh(self, point: Array, limit: Limit | None, step: int) -> Sharpness:
        """Lanczos from a fresh Gaussian vector for H, and one for P^-½HP^-½."""
        op = self.land.hessian(point, self.batch)
        delta = 0.5 * (1.0 - self.confidence)
        narrow = _narrow(delta, self._smallest is not None)
        state = lanczos.run(op, stop=narrow, max_products=FRESH_PRODUCTS, seed=self._rng)
        upper, lower = float(state.certificate_upper(delta)), float(state.certificate_lower(delta))
        top = _restart(self._largest, op, state)
        low = NONE if self._smallest is None else _restart(self._smallest, op, state).value
        effective = top.value if limit is not None else NONE
        if limit is not None and self._effective.scale is not None:
            scaled = preconditioned(op, limit.preconditioner)
            state = lanczos.run(scaled, stop=_near, max_products=FRESH_PRODUCTS, seed=self._rng)
            effective = _restart(self._effective, scaled, state).value
        lower = min(lower, low) if self._smallest is not None else NONE
        return self._look(step, top, max(upper, top.value), low, lower, effective, limit, int(op.products))

    def _look(
        self,
        step: int,
        top: Look,
        upper: float,
        low: float,
        lower: float,
        effective: float,
        limit: Limit | None,
        made: int,
    ) -> Sharpness:
        threshold, formula = (NONE, "") if limit is None else (limit.threshold, limit.formula)
        samples = (self.land.samples or 0) if self.batch is None else len(self.batch)
        return Sharpness(step, top.value, upper, low, lower, top.residual, effective, threshold, formula, made, samples)


def _near(state: Any) -> bool:
    """Whether the largest Ritz pair has settled."""
    return not state.k % 2 and bool(state.residuals()[-1] <= FRESH_RESIDUAL * abs(state.ritz_values()[-1]))


def _narrow(delta: float, both: bool) -> Callable[[Any], bool]:
    def narrow(state: Any) -> bool:
        if not _near(state):
            return False
        values = state.ritz_values()
        size = FRESH_WIDTH * max(abs(float(values[-1])), abs(float(values[0])))
        enough = bool(state.certificate_upper(delta) - values[-1] <= size)
        return enough and (not both or bool(values[0] - state.certificate_lower(delta) <= size))

    return narrow


def _restart(end: FollowedEnd, op: HessianOperator, state: Any) -> Look:
    """Where the end is followed from: one more product gives the quotient of the vector, and where it leads."""
    values, index = state.ritz_values(), state.k - 1 if end.sign > 0 else 0
    end.shift = max(0.0, -end.sign * float(values[0 if end.sign > 0 else -1]))
    u = np.ascontiguousarray(state.ritz_vector(index), dtype=op.dtype)
    return end.begin(u, products(op, u[None])[0])
