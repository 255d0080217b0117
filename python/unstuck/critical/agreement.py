"""Do loss, gradient and Hessian product belong together? Compared along lines through θ, at ever smaller steps.

A contradiction counts only if it stays the same over a range of steps and no smaller step takes it away: near a kink,
and where rounding rules, differences wander or the contradiction fades, and nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import OperatorError
from ..landscape import Landscape
from .gate import norm_of, radius_at

Array = NDArray[Any]

_STEADY = 0.1  # of a gap: what may vary for it to count as the same
_BENT = 0.25  # of a curvature: what may vary for it to count as one
_LOSS_SHARE = 0.01  # of a change of the loss: what Simpson's rule and crossed kinks may miss
_LOSS_ROUNDS, _LOSS_DEEPEST, _LOSS_NEEDED = 8, 12, 3  # steps shrink by 4
_SLOPE_ROUNDS, _SLOPE_DEEPEST, _SLOPE_NEEDED = 4, 9, 2  # steps shrink by 16


def check_gradient(land: Landscape, theta: Array, gradient: Array, rng: np.random.Generator) -> None:
    """Simpson's rule over slopes must give the change of the loss, on both sides of θ: 6 gradients when it does.

    The line is a random one turned towards the gradient. From θ ± h·d/2 to θ ± h·d, so that a kink at θ itself does
    not matter: L(θ + h·d) − L(θ + h·d/2) against h/12·(g(h/2) + 4g(3h/4) + g(h))ᵀd.

    Raises:
        OperatorError: they differ by more than 1 %, in the same way at three steps or more, and agree at no smaller
            one.
    """
    d = rng.standard_normal(land.n)
    d /= norm_of(d)
    size = norm_of(gradient)
    if size > 0.0:
        d += gradient.astype(np.float64) / size
        d /= norm_of(d)
    line, reach = _Line(land, theta, d), radius_at(theta)
    for step in (reach, reach / 64.0):  # a factor shows at any step, a wrong constant at small ones
        climb = _climb(line, step, (1.0,))
        if climb is not None and not climb.agrees():
            _refuse_unless_it_fades(line, step)
            return


def _refuse_unless_it_fades(line: _Line, step: float) -> None:
    """A contradiction was seen at `step`: does it persist on both sides at smaller ones?"""
    steady: list[_Climb] = []
    before: _Climb | None = None
    for round_ in range(_LOSS_DEEPEST):
        if round_ >= _LOSS_ROUNDS and len(steady) < _LOSS_NEEDED:
            return
        climb = _climb(line, step / 4.0**round_, (1.0, -1.0))
        if climb is not None and climb.agrees():
            return
        if len(steady) < _LOSS_NEEDED:
            if climb is not None and climb.gap <= 10.0 * line.loss_noise(climb.step):
                return
            repeats = climb is not None and before is not None and climb.repeats(before)
            steady = [] if climb is None else [*steady, climb] if repeats else [climb]
        before = climb
    worst = steady[-1]
    side = int(np.argmax(np.abs(worst.relative)))
    raise OperatorError(
        f"`gradient` is not the gradient of `loss`: from θ + h·d/2 to θ + h·d with h = {worst.step:.3g} and a unit "
        f"vector d the loss changes by {worst.change[side]:.6g}, but the slopes dᵀ`gradient` add up to "
        f"{worst.total[side]:.6g}, and smaller h bring them no closer; correct one of the two callbacks (a term "
        "missing in one of them? another batch? a wrong sign or factor?)"
    )


def check_product(
    land: Landscape, theta: Array, gradient: Array, v: Array, product: Array, *, share: float, floor: float, where: str
) -> None:
    """Differences of gradients along the unit vector v must give H·v: 4 gradients when they do.

    Args:
        land: the landscape.
        theta: the point, (n,).
        gradient: ∇L(θ), (n,).
        v: unit vector (n,).
        product: H·v, (n,).
        share: of the larger of the two norms that may differ.
        floor: difference of norms that is of no interest.
        where: what v is, for the message.

    Raises:
        OperatorError: the differences settle at something else, over two decades of steps at least, with the same
            from either side, and at no smaller step do they agree.
    """
    line, wide = _Line(land, theta, v), product.astype(np.float64)
    steady: list[_Bend] = []
    for round_ in range(_SLOPE_DEEPEST):
        if round_ >= _SLOPE_ROUNDS and len(steady) < _SLOPE_NEEDED:
            return
        bend = _bend(line, gradient, wide, radius_at(theta) / 16.0**round_)
        if bend is not None and bend.gap <= max(floor, share * max(bend.size, norm_of(wide))):
            return
        if len(steady) < _SLOPE_NEEDED:
            same = bend is not None and all(norm_of(bend.second - b.second) <= _STEADY * bend.gap for b in steady)
            steady = [*steady, bend] if bend is not None and same and _settled(bend, line) else []
            if not steady and round_ >= 2:
                return  # a kink, or rounding
    worst = steady[-1]
    if worst.gap <= 10.0 * line.slope_noise(worst.size) / worst.step:
        return
    raise OperatorError(
        f"the Hessian product (`hvp`) does not belong to `gradient`: along {where} the gradient changes by "
        f"{worst.size:.6g} per unit length (central differences, h = {steady[0].step:.3g} to {worst.step:.3g}), `hvp` "
        f"gives a vector of norm {norm_of(wide):.6g}, and the two vectors differ by {worst.gap:.6g}; correct `hvp` "
        "(H(θ)·v of the whole loss, not an approximation of H), or leave it out: products are then differences of "
        "gradients"
    )


@dataclass(frozen=True)
class _Climb:
    """Changes of the loss and sums of slopes on one or both sides of θ, at one step h."""

    step: float
    change: Array
    total: Array

    @property
    def gap(self) -> float:
        """The largest contradiction."""
        return float(np.max(np.abs(self.change - self.total)))

    @property
    def relative(self) -> Array:
        """(change − total) / the larger of the two, per side."""
        size = np.maximum(np.abs(self.change), np.abs(self.total))
        return np.asarray((self.change - self.total) / np.where(size > 0.0, size, 1.0))

    def agrees(self) -> bool:
        """Within what Simpson's rule may miss."""
        return bool((np.abs(self.relative) <= _LOSS_SHARE).all())

    def repeats(self, before: _Climb) -> bool:
        """The same relative contradiction as at the larger step, and no larger slope: rounding grows like 1/h."""
        wandered = float(np.max(np.abs(self.relative - before.relative)))
        same = wandered <= 2 * _STEADY * float(np.max(np.abs(self.relative)))
        return same and self.gap / self.step <= 1.5 * before.gap / before.step


def _climb(line: _Line, h: float, sides: tuple[float, ...]) -> _Climb | None:
    """None where a loss or slope is not finite."""
    changes, totals = [], []
    for t in (side * h for side in sides):
        (near, first), (_, middle), (far, last) = (line.at(share * t) for share in (0.5, 0.75, 1.0))
        changes.append(far - near)
        totals.append(t / 12.0 * (line.slope(first) + 4.0 * line.slope(middle) + line.slope(last)))
    if not np.isfinite([changes, totals]).all():
        return None
    return _Climb(h, np.array(changes), np.array(totals))


@dataclass(frozen=True)
class _Bend:
    """Central second differences of the loss as a vector, at one step h: how they vary, and how far from H·v."""

    step: float
    second: Array
    size: float
    spread: float
    gap: float


def _settled(bend: _Bend, line: _Line) -> bool:
    """The differences vary little beside the gap; they are also those of one curvature, or of rounding alone.

    Otherwise the surface bends more sharply than the step: a kink that is rounded off, say.
    """
    if bend.spread > _STEADY * bend.gap:
        return False
    return bend.spread <= _BENT * bend.size or bend.spread <= 10.0 * line.slope_noise(bend.size) / bend.step


def _bend(line: _Line, center: Array, product: Array, h: float) -> _Bend | None:
    """Differences at h and h/2, and from either side at h/2; None where a gradient is not finite."""
    (_, far), (_, near), (_, back), (_, farthest) = (line.at(t) for t in (h, h / 2, -h / 2, -h))
    if not all(np.isfinite(g).all() for g in (far, near, back, farthest)):
        return None
    wide, second = _change(far, farthest) / (2 * h), _change(near, back) / h
    ahead, behind = _change(near, center) / (h / 2), _change(center, back) / (h / 2)
    spread = max(norm_of(wide - second), norm_of(ahead - behind))
    return _Bend(h, second, norm_of(second), spread, norm_of(second - product))


def _change(of: Array, since: Array) -> Array:
    return np.subtract(of, since, dtype=np.float64)


class _Line:
    """Loss and gradient at θ + t·v, and how exact they can be."""

    def __init__(self, land: Landscape, theta: Array, v: Array) -> None:
        self.land, self.theta, self.v = land, theta, np.asarray(v, dtype=np.float64)
        self.losses: list[float] = []
        self.digits = 0  # binary digits of the gradients met
        self.steepest = 0.0
        self.looked = False

    def at(self, t: float) -> tuple[float, Array]:
        """(loss, gradient)."""
        with np.errstate(all="ignore"):
            loss, gradient = self.land.gradient(np.asarray(self.theta + t * self.v, dtype=self.land.dtype))
        if np.isfinite(loss) and np.isfinite(gradient).all():
            self.losses.append(float(loss))
            self.steepest = max(self.steepest, norm_of(gradient))
            self.digits = max(self.digits, _digits(gradient[:1000].astype(np.float64)))
        return float(loss), gradient

    def slope(self, gradient: Array) -> float:
        """The gradient's component along the line."""
        return float(gradient.astype(np.float64) @ self.v)

    def loss_noise(self, h: float) -> float:
        """Rounding of a change of the loss and of a sum of slopes over h."""
        self._look_around()
        return 8.0 * self._eps(_digits(np.array(self.losses))) * max(map(abs, self.losses)) + h * self.slope_noise(0.0)

    def slope_noise(self, size: float) -> float:
        """Rounding of a gradient, θ rounded where the gradient changes by `size` per unit length."""
        self._look_around()
        return 4.0 * self._eps(self.digits) * (self.steepest + size * max(1.0, norm_of(self.theta)))

    def _eps(self, digits: int) -> float:
        """Round-off of the landscape's type, or of a coarser one that the callbacks compute in."""
        return max(float(np.finfo(self.land.dtype).eps), 2.0 ** (1 - digits))

    def _look_around(self) -> None:
        """A small loss or gradient may be the difference of large numbers: see their size at a distance of ‖θ‖."""
        if self.looked:
            return
        self.looked = True
        for side in (1.0, -1.0):
            for halving in range(4):
                try:
                    loss, gradient = self.at(side * max(1.0, norm_of(self.theta)) / 2.0**halving)
                except Exception:  # outside of what the callbacks can compute
                    continue
                if np.isfinite(loss) and np.isfinite(gradient).all():
                    break


def _digits(values: Array) -> int:
    """Binary digits of the mantissas: 24 for numbers that were computed in float32, whatever holds them."""
    whole = np.ldexp(np.frexp(values[values != 0.0])[0], 53).astype(np.int64)
    if whole.size == 0:
        return 0
    # the lowest set bit
    return 53 - int(np.log2((whole & -whole).min()))
