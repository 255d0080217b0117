"""A verified step along negative curvature: sign, length from a model, and roll-back when the loss does not fall."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .combined_step import MOST, combine
from .critical import CriticalPoint, Verdict
from .critical.directional import DirectionalModel, measure
from .critical.gate import norm_of, radius_at
from .critical.probes import finite_gradient, finite_product, finite_theta
from .errors import ArgumentError, ArgumentTypeError, NonFiniteError
from .landscape import Landscape, check_landscape
from .number_text import apart, number
from .operators import as_operator

Array = NDArray[Any]

_SHARE = 0.25  # of the predicted decrease must really happen
_HALVINGS = 40
_SCANNED = 20


@dataclass(frozen=True, eq=False)
class Escape:
    """Answer of `escape`.

    Attributes:
        theta: the new point (n,); a copy of the old one when nothing was gained.
        loss_before: L at the old point.
        loss_after: L(theta), never above loss_before.
        predicted_decrease: what the model promised, > 0. The step may be longer than the one it was promised for.
        step: ‖theta − old point‖ > 0; 0 when nothing was gained. The sign is already in theta.
        succeeded: the loss fell by at least a quarter of what was predicted, and by more than rounding.
        curvature: vᵀHv along the direction, measured anew.
        slope: vᵀ∇L along the direction taken, ≤ 0 or within rounding of 0.
        trials: evaluations of the loss.
        directions: how many directions of negative curvature the step combines.
    """

    theta: Array
    loss_before: float
    loss_after: float
    predicted_decrease: float
    step: float
    succeeded: bool
    curvature: float
    slope: float
    trials: int
    directions: int = 1

    def __str__(self) -> str:
        if not self.succeeded:
            return (
                f"No escape: {self.trials} trial steps along the direction of curvature {number(self.curvature, 3)} "
                f"did not lower the loss {number(self.loss_before)}, so the point is unchanged."
            )
        before, after = apart(self.loss_before, self.loss_after)
        fallen, predicted = apart(self.loss_before - self.loss_after, self.predicted_decrease, digits=3, most=4)
        along = "the direction" if self.directions == 1 else f"a combination of {self.directions} directions"
        return (
            f"Escaped: a step of length {number(self.step, 3)} along {along} of curvature "
            f"{number(self.curvature, 3)} lowered the loss from {before} to {after}, a decrease of {fallen} where "
            f"{predicted} was predicted."
        )


def escape(land: Landscape, theta: ArrayLike, cp: CriticalPoint) -> Escape:
    """Leave a saddle, or any point with negative curvature, along `cp.direction`.

    The model along the unit direction v is slope·t + ½ρt² + (M/6)t³ + (Q/24)t⁴ with ρ = vᵀHv and the third and
    fourth derivatives M = |φ'''|, Q = max(φ'''', 0) measured from slopes (with slope = Q = 0 its lowest point is
    2|ρ|/M and promises 2|ρ|³/(3M²)). The first step is its lowest point, at most max(1, ‖θ‖); it is halved until a
    quarter of the promised decrease is real, then doubled while the loss keeps falling. It goes downhill; when the
    slope is within rounding both signs are tried and the lower loss is taken. Where the model fails (at a kink, or
    when it promises less than rounding) steps of all lengths are tried on both sides.

    Where `cp.directions` holds several, each further one is then added with the sign and length that lower the loss
    most, and the combination is taken where it falls further (its prediction is that of the first direction).

    Args:
        land: the landscape.
        theta: the point that `cp` describes, (n,); it is not changed.
        cp: answer of `classify` at theta, with a direction.

    Returns:
        An `Escape`: the new point (n,), losses and decreases in units of the loss, `step` in those of θ.

    Guarantee: loss_after is never above loss_before, whatever happens.

    Raises:
        ArgumentError: `cp` has no direction of negative curvature, or none at this theta.
        ArgumentTypeError: `land` is no landscape, or `cp` no answer of `classify`.
        NonFiniteError: theta, or the loss or gradient there, is not finite.

    Source: the cubic model and its acceptance follow Royer, O'Neill and Wright (2020), Mathematical Programming 180.
    """
    check_landscape(land)
    point = finite_theta(land, theta)
    v = _direction(land, cp)
    loss, gradient = finite_gradient(land, point)
    op = as_operator(land.hessian(point))
    product = finite_product(op, v.astype(op.dtype)).astype(np.float64)
    curvature = float(v @ product)
    if not curvature < 0.0:
        raise ArgumentError(
            f"`cp` does not fit `theta`: its direction has curvature {curvature:.3g} here, which is not negative; "
            "pass the theta that was classified"
        )
    radius = radius_at(point)
    try:
        norm = max(cp.norm, abs(curvature))
        model = measure(
            land, point, v, curvature=curvature, gradient=gradient, norm=norm, radius=radius, noise=op.noise
        )
    except NonFiniteError:  # one side of theta is outside the region where the loss is defined
        slope = float(v @ gradient.astype(np.float64))
        model = DirectionalModel(slope, abs(slope), curvature, 0.0, 0.0, radius, None, float("inf"))
    single = _descend(land, point, v, loss, model, largest=100.0 * radius)
    return _combined(land, point, cp, op, gradient, single, largest=100.0 * radius)


def _combined(
    land: Landscape, point: Array, cp: CriticalPoint, op: Any, gradient: Array, single: Escape, largest: float
) -> Escape:
    """The step with further directions in it, if it falls further."""
    others = np.asarray(cp.directions[:, 1 : 1 + MOST], dtype=np.float64)
    if not single.succeeded or others.shape[0] != len(point) or others.shape[1] == 0:
        return single
    images = np.asarray(op @ np.asfortranarray(others, dtype=op.dtype), dtype=np.float64)
    displacement = np.subtract(single.theta, point, dtype=np.float64)
    first = (displacement, single.curvature, single.loss_after)
    found = combine(land, point, first, others, np.sum(others * images, axis=0), largest)
    if found is None:
        return single
    length = norm_of(found.displacement)
    along = found.displacement / length
    return replace(
        single,
        theta=found.theta,
        loss_after=found.loss,
        step=length,
        curvature=float(along @ finite_product(op, along.astype(op.dtype)).astype(np.float64)),
        slope=float(along @ gradient.astype(np.float64)),
        trials=single.trials + found.trials,
        directions=1 + found.directions,
    )


def _direction(land: Landscape, cp: CriticalPoint) -> Array:
    if not isinstance(cp, CriticalPoint):
        raise ArgumentTypeError(f"`cp` must be the answer of classify, got {type(cp).__name__}")
    if cp.direction is None:
        advice = "follow the gradient" if cp.verdict is Verdict.NOT_CRITICAL else "no step of second order leads down"
        raise ArgumentError(f"`cp` has no direction of negative curvature (verdict {cp.verdict.name}): {advice}")
    v = np.asarray(cp.direction, dtype=np.float64)
    if v.shape != (land.n,):
        raise ArgumentError(
            f"`cp` belongs to another landscape: its direction has shape {v.shape}, expected ({land.n},)"
        )
    return v / norm_of(v)


def _descend(land: Landscape, point: Array, v: Array, loss: float, model: DirectionalModel, largest: float) -> Escape:
    """The step that the model promises, then as much more as keeps falling; else whatever a scan finds."""
    if model.slope > 0.0:
        v, model = -v, model.reversed()
    search = _LineSearch(land, point, v, loss)
    level = abs(model.slope) <= model.slope_noise
    first = model.best_step(largest)
    promise = -model.change(first)
    found = search.backtrack(model, first, (1.0, -1.0) if level else (1.0,))
    reached = None
    if found is not None:
        promise, reached = found
        reached = search.expand(reached, largest)
    if reached is None or model.kink is not False:
        reached = search.scan(largest, reached, _SHARE * promise)
    if reached is None:
        return Escape(point, loss, loss, max(promise, 0.0), 0.0, False, model.curvature, model.slope, search.trials)
    length = norm_of(np.subtract(reached.theta, point, dtype=np.float64))
    slope = float(np.sign(reached.t)) * model.slope
    return Escape(reached.theta, loss, reached.loss, promise, length, True, model.curvature, slope, search.trials)


@dataclass(frozen=True)
class _Reached:
    """A point θ + t·v and its loss; infinite where it is not finite."""

    t: float
    loss: float
    theta: Array


class _LineSearch:
    """Losses along ±v, counted."""

    def __init__(self, land: Landscape, point: Array, v: Array, loss: float) -> None:
        self.land, self.point, self.v, self.loss = land, point, v, loss
        self.rounding = 8.0 * float(np.finfo(land.dtype).eps) * abs(loss)
        self.trials = 0

    def at(self, t: float) -> _Reached:
        """The point θ + t·v."""
        moved = (self.point + t * self.v).astype(self.land.dtype)
        loss = self.land.loss(moved)
        self.trials += 1
        return _Reached(t, loss if np.isfinite(loss) else float("inf"), moved)

    def lower(self, reached: _Reached) -> bool:
        """The loss fell by more than its rounding."""
        return reached.loss < self.loss and self.loss - reached.loss >= self.rounding

    def backtrack(
        self, model: DirectionalModel, first: float, sides: tuple[float, ...]
    ) -> tuple[float, _Reached] | None:
        """Halve the step until the loss falls by its share of the prediction: (prediction, point)."""
        for halving in range(_HALVINGS):
            t = first / 2.0**halving
            predicted = -model.change(t)
            if predicted <= self.rounding:
                return None
            reached = min((self.at(side * t) for side in sides), key=lambda r: r.loss)
            if self.lower(reached) and self.loss - reached.loss >= _SHARE * predicted:
                return predicted, reached
        return None

    def expand(self, reached: _Reached, largest: float) -> _Reached:
        """Double the step while that lowers the loss further, up to `largest`."""
        while 2.0 * abs(reached.t) <= largest:
            further = self.at(2.0 * reached.t)
            if further.loss >= reached.loss:
                break
            reached = further
        return reached

    def scan(self, largest: float, best: _Reached | None, least: float) -> _Reached | None:
        """The lowest of `best` and the steps ±largest/2^j that gain `least`, for where no model holds."""
        steps = [side * largest / 2.0**j for j in range(_SCANNED) for side in (1.0, -1.0)]
        reached = min((self.at(t) for t in steps), key=lambda r: r.loss)
        if best is not None and best.loss <= reached.loss:
            return best
        return reached if self.lower(reached) and self.loss - reached.loss >= least else best
