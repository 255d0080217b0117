"""The loss along lines: through a point, and from one solution to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Landscape, check_landscape, check_theta
from ..ranges import Count
from ..real_array import real_array
from .directions import through
from .surface import FINEST, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[Any]
_STYLES = (("#2563eb", "-"), ("#ea580c", "--"), ("#16a34a", "-."), ("#9333ea", ":"))


def line(
    land: Landscape,
    directions: ArrayLike | Mapping[str, ArrayLike],
    theta: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    extent: tuple[float, float] = (-1.0, 1.0),
    resolution: int = 101,
    others: Mapping[str, Landscape] | None = None,
) -> Axes:
    """The loss L(θ + t·d) over t, for one or several vectors d, e.g. eigenvectors.

    Args:
        land: the surface.
        directions: one vector (n,), several (k, n), or {name: vector} for the legend.
        theta: the point (n,) at t = 0; None: the surface's current point.
        ax: axes to draw on; None makes a new figure, without a window.
        extent: (first, last) t.
        resolution: loss evaluations per curve.
        others: further surfaces of the same parameters, e.g. {"validation": land.with_data(Xv, yv)}; drawn along
            the same directions in thinner lines.

    Returns:
        The axes. Where the loss is not finite the curve is interrupted.

    Raises:
        ArgumentError: shapes do not fit, a direction is zero or not finite, no point is known.
        ArgumentTypeError: `land` is no landscape.
    """
    check_landscape(land)
    named = _named_directions(directions, land.n)
    origin = through(land, [], theta)
    t = _places(extent, resolution)
    axes = new_axes() if ax is None else ax
    surfaces = {"": land, **_checked_others(others, land)}
    for (name, d), (colour, _) in zip(named.items(), _cycled(len(named)), strict=True):
        for (label, surface), (_, style) in zip(surfaces.items(), _cycled(len(surfaces)), strict=True):
            heights = _heights(surface, origin, t[:, None] * d)
            text = ", ".join(part for part in (name, label) if part)
            axes.plot(t, heights, color=colour, ls=style, lw=1.0 if label else 1.8, label=text or None)
    axes.axvline(0.0, color="0.6", lw=0.8, zorder=0)
    axes.set_xlabel("t, in lengths of the direction")
    axes.set_ylabel("loss at θ + t·d")
    if len(named) > 1 or len(surfaces) > 1 or any(named):
        axes.legend()
    return axes


def interpolation(
    land: Landscape,
    first: ArrayLike,
    second: ArrayLike,
    ax: Axes | None = None,
    *,
    extent: tuple[float, float] = (-1.0, 2.0),
    resolution: int = 121,
    names: tuple[str, str] = ("first", "second"),
    others: Mapping[str, Landscape] | None = None,
) -> Axes:
    """The loss along the straight line from one solution to another, and beyond both.

    Args:
        land: the surface, e.g. the training loss.
        first: the point (n,) at α = 0.
        second: the point (n,) at α = 1.
        ax: axes to draw on; None makes a new figure, without a window.
        extent: (first, last) α.
        resolution: loss evaluations per curve.
        names: of the two solutions.
        others: further surfaces of the same parameters, e.g. {"validation": land.with_data(Xv, yv)}.

    Returns:
        The axes. Where the loss is not finite the curve is interrupted.

    Raises:
        ArgumentError: shapes do not fit, or the two solutions are the same point.
        ArgumentTypeError: `land` is no landscape.

    Source: I. Goodfellow, O. Vinyals, A. Saxe (2015), arXiv 1412.6544; N. Keskar et al. (2017), arXiv 1609.04836.
    """
    check_landscape(land)
    start, end = (through(land, [], point) for point in (first, second))
    if not (end - start).any():
        raise ArgumentError("`second` must differ from `first`: there is no line through one point")
    alpha = _places(extent, resolution)
    axes = new_axes() if ax is None else ax
    surfaces = {"training" if others else "": land, **_checked_others(others, land)}
    for (label, surface), (colour, style) in zip(surfaces.items(), _cycled(len(surfaces)), strict=True):
        heights = _heights(surface, start, alpha[:, None] * (end - start))
        axes.plot(alpha, heights, color=colour, ls=style, lw=1.8, label=label or None)
    for place in (0.0, 1.0):
        axes.axvline(place, color="0.6", lw=0.8, zorder=0)
    ticks = [x for x in axes.get_xticks() if alpha[0] <= x <= alpha[-1] and x not in (0.0, 1.0)]
    shown = [0.0, 1.0, *(x for x in ticks if min(abs(x), abs(x - 1.0)) > 0.2)]
    axes.set_xticks(shown, [_safe(names[0]), _safe(names[1]), *(f"{x:g}" for x in shown[2:])])
    axes.set_xlabel("α in (1 − α)·first + α·second")
    axes.set_ylabel("loss")
    if len(surfaces) > 1:
        axes.legend()
    return axes


def _safe(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return str(text).replace("$", r"\$")


def _cycled(count: int) -> list[tuple[str, str]]:
    return [_STYLES[i % len(_STYLES)] for i in range(count)]


def _named_directions(directions: Any, n: int) -> dict[str, Array]:
    """{name: vector}; unnamed ones are numbered, a single one has no name."""
    if isinstance(directions, Mapping):
        given = {_safe(name): vector for name, vector in directions.items()}
    else:
        rows = real_array(directions, "directions")
        if rows.ndim not in (1, 2):
            raise ArgumentError(f"`directions` must have shape ({n},) or (k, {n}), got {rows.shape}")
        given = {"": rows} if rows.ndim == 1 else {f"direction {i + 1}": row for i, row in enumerate(rows)}
    if not given:
        raise ArgumentError("`directions` is empty")
    named = {}
    for name, vector in given.items():
        d = real_array(vector, "directions").astype(np.float64)
        if d.shape != (n,) or not np.isfinite(d).all() or not d.any():
            raise ArgumentError(f"`directions` must be finite, not zero, of shape ({n},) each, got {d.shape}")
        named[name] = d
    return named


def _checked_others(others: Mapping[str, Landscape] | None, land: Landscape) -> dict[str, Landscape]:
    if others is None:
        return {}
    if not isinstance(others, Mapping):
        raise ArgumentTypeError(f"`others` must be {{name: landscape}} or None, got {type(others).__name__}")
    for name, other in others.items():
        check_landscape(other, "others")
        if other.n != land.n:
            raise ArgumentError(f"`others`[{str(name)[:40]!r}] has {other.n} parameters, `land` has {land.n}")
    return {_safe(name): other for name, other in others.items()}


def _places(extent: Any, resolution: Any) -> Array:
    ends = real_array(extent, "extent").astype(np.float64)
    if ends.shape != (2,) or not np.isfinite(ends).all() or ends[0] >= ends[1]:
        raise ArgumentError(f"`extent` must be (first, last), increasing, got {extent!r}")
    return np.linspace(ends[0], ends[1], Count(2, FINEST).check("resolution", resolution))


def _heights(land: Landscape, origin: Array, moves: Array) -> Array:
    """Losses (steps,) at origin + move; NaN where not finite."""
    heights = np.array([float(land.loss(check_theta(origin + move, land.n, land.dtype))) for move in moves])
    return np.where(np.isfinite(heights), heights, np.nan)
