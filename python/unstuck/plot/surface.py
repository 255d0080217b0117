"""Contours of the loss over a plane through θ, with the paths of optimizers on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Landscape, check_landscape
from ..ranges import Count
from ..real_array import real_array
from .directions import plane_of, through

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

Array = NDArray[Any]
Extent = tuple[float, float, float, float]
PATH, PATH_END = "path-line-", "path-end-"  # a path's line and last point are called this and a number
FINEST = 10_000  # loss evaluations per side
_COLOURS = ("#f97316", "#facc15", "#f472b6", "#a3e635", "#22d3ee")
ON_WHITE = ("#ea580c", "#a16207", "#db2777", "#4d7c0f", "#0891b2")  # the same hues for curves of the paths elsewhere


def surface(
    land: Landscape,
    paths: Sequence[Any] = (),
    directions: ArrayLike | str | None = None,
    theta: ArrayLike | None = None,
    ax: Axes | None = None,
    *,
    resolution: int = 61,
    extent: Extent | None = None,
    seed: int = 0,
) -> Axes:
    """Contours of the loss over a plane, and paths drawn on it.

    A surface of two parameters is drawn in its own coordinates. Otherwise the plane is {θ + a·d₁ + b·d₂};
    paths are projected onto it by least squares, so that their end may lie above the drawn contour.

    Args:
        land: the surface.
        paths: results of `minimize(…, record_path=True)` or arrays (steps, n).
        directions: two vectors (2, n) that span the plane, or how to choose them: "paths", the two principal
            directions of the paths; "random", each block scaled to the size of θ's; "filter", each row of a weight
            scaled to the size of θ's row, vectors (biases, γ and β) left alone (Li et al. 2018); "eigen", the
            directions of the smallest and of the largest curvature at θ. None: "paths", else "random".
        theta: the point (n,) the plane goes through; None takes the surface's current point, then the end of
            the first path.
        ax: axes to draw on; None makes a new figure, without a window.
        resolution: loss evaluations per side.
        extent: (a_min, a_max, b_min, b_max); None follows the paths.
        seed: of random directions.

    Returns:
        The axes; `ax.figure.savefig(path)` writes the picture. Where the loss is not finite it stays empty.

    Raises:
        ArgumentError: n is 1, shapes do not fit, directions are parallel, no point is known.
        ArgumentTypeError: `land` is no landscape, or `paths` no list of paths.

    Source: H. Li et al. (2018), Visualizing the loss landscape of neural nets, arXiv 1712.09913.
    """
    check_landscape(land)
    if isinstance(paths, (str, bytes)) or not isinstance(paths, Iterable):
        raise ArgumentTypeError(f"`paths` must be a list of paths, got {type(paths).__name__}")
    if land.n < 2:
        raise ArgumentError("`land` must have at least two parameters, it has 1")
    if isinstance(resolution, bool) or not isinstance(resolution, (int, np.integer)) or not 2 <= resolution <= FINEST:
        raise ArgumentError(f"`resolution` must be an integer from 2 to {FINEST}, got {resolution!r}")
    if ax is not None and not hasattr(ax, "contourf"):
        raise ArgumentTypeError(f"`ax` must be matplotlib axes or None, got {type(ax).__name__}")
    Count(0).check("seed", seed)
    tracks = [_track(path, land.n, i) for i, path in enumerate(paths)]
    own = land.n == 2 and directions is None
    origin = np.zeros(2) if own and theta is None else through(land, tracks, theta)
    plane = np.eye(2) if own else plane_of(land, tracks, directions, origin, seed)
    if own:
        origin = np.zeros(2)
    flat = [_project(track - origin, plane) for track in tracks]
    box = _extent(flat, extent, 2.0 if own else 1.0)
    a, b, heights = _heights(land, origin, plane, box, int(resolution))
    axes = new_axes() if ax is None else ax
    _contours(axes, a, b, heights)
    _draw_paths(axes, flat)
    axes.set_xlim(box[0], box[1])
    axes.set_ylim(box[2], box[3])
    axes.set_xlabel("θ₁" if own else "along direction 1")
    axes.set_ylabel("θ₂" if own else "along direction 2")
    return axes


def new_axes() -> Axes:
    """Axes of a new figure without a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(6.0, 5.0), layout="constrained").add_subplot()


def _track(path: Any, n: int, i: int) -> Array:
    """One path as float64 (steps, n)."""
    points = getattr(path, "thetas", path)
    if points is None:
        raise ArgumentError(f"`paths[{i}]` has no recorded points; call minimize with record_path=True")
    track = np.asarray(points)
    if track.dtype.kind not in "fiub":
        raise ArgumentTypeError(f"`paths[{i}]` must hold real numbers, got {type(path).__name__}")
    if track.ndim != 2 or track.shape[1] != n or len(track) == 0:
        raise ArgumentError(f"`paths[{i}]` must have shape (steps, {n}), got {track.shape}")
    return track.astype(np.float64)


def _project(moves: Array, plane: Array) -> Array:
    """Coordinates (steps, 2) of points in the plane, by least squares."""
    return np.asarray(np.linalg.lstsq(plane.T, moves.T, rcond=None)[0].T)


def _extent(flat: list[Array], extent: Extent | None, reach: float) -> Extent:
    if extent is not None:
        box = real_array(extent, "extent").astype(np.float64)
        if box.shape != (4,) or not np.isfinite(box).all() or box[0] >= box[1] or box[2] >= box[3]:
            raise ArgumentError(f"`extent` must be (a_min, a_max, b_min, b_max), increasing, got {extent}")
        return (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    points = np.concatenate(flat) if flat else np.empty((0, 2))
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) == 0:
        return (-reach, reach, -reach, reach)
    low, high = points.min(axis=0), points.max(axis=0)
    # the narrower side is at least a third of the wider one, so that a straight path shows its surroundings
    half = np.maximum(0.5 * (high - low), float((high - low).max()) / 6)
    half = np.where(half > 0, 1.25 * half, reach)
    middle = 0.5 * (low + high)
    a, b = (middle - half), (middle + half)
    return (float(a[0]), float(b[0]), float(a[1]), float(b[1]))


def _heights(land: Landscape, origin: Array, plane: Array, box: Extent, resolution: int) -> tuple[Array, Array, Array]:
    a, b = np.linspace(box[0], box[1], resolution), np.linspace(box[2], box[3], resolution)
    heights = np.empty((resolution, resolution))
    for i, v in enumerate(b):
        for j, u in enumerate(a):
            point = (origin + u * plane[0] + v * plane[1]).astype(land.dtype)
            heights[i, j] = float(land.loss(point))
    return a, b, np.where(np.isfinite(heights), heights, np.nan)


def _contours(axes: Axes, a: Array, b: Array, heights: Array) -> None:
    """Levels at equal shares of the area, so that a flat valley and a steep wall are both resolved."""
    from matplotlib.colors import BoundaryNorm

    finite = heights[np.isfinite(heights)]
    if finite.size == 0:
        raise ArgumentError("the loss is not finite anywhere on the plane; give another `extent`")
    levels = np.unique(np.quantile(finite, np.linspace(0, 1, 25)))
    if len(levels) < 3:
        middle, width = float(levels[0]), max(float(np.ptp(levels)), abs(float(levels[0])) * 1e-6, 1e-12)
        levels = np.linspace(middle - width, middle + 2 * width, 4)
    masked = np.ma.masked_invalid(heights)
    norm = BoundaryNorm(levels, 256, extend="neither")
    axes.contourf(a, b, masked, levels=levels, norm=norm, cmap="Blues_r")
    axes.contour(a, b, masked, levels=levels[1:-1:2], colors="white", linewidths=0.5, alpha=0.5)


def path_lines(figure: Figure | SubFigure, prefix: str) -> list[Any]:
    """The lines of all paths that `surface` drew on a figure (PATH), or their last points (PATH_END), in order."""
    return [line for axes in figure.axes for line in axes.lines if str(line.get_gid()).startswith(prefix)]


def _draw_paths(axes: Axes, flat: list[Array]) -> None:
    known = len(path_lines(axes.figure, PATH))
    for i, track in enumerate(flat):
        colour = _COLOURS[i % len(_COLOURS)]
        axes.plot(track[:, 0], track[:, 1], color=colour, lw=1.8, zorder=3, gid=f"{PATH}{known + i}")
        axes.plot(*track[0], "o", mfc="white", mec=colour, mew=1.8, ms=7, zorder=4)
        axes.plot(*track[-1], "o", color=colour, ms=7, zorder=4, gid=f"{PATH_END}{known + i}")
