"""Where a picture of a surface goes through, and along which directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from ..landscape import Landscape, check_theta
from ..real_array import real_array

Array = NDArray[Any]


def through(land: Landscape, tracks: list[Array], theta: ArrayLike | None) -> Array:
    """The point (n,) in float64: `theta`, else the surface's current point, else the end of the first path."""
    point: Any = land.theta if theta is None else theta
    if point is None and tracks:
        point = tracks[0][-1]
    if point is None:
        raise ArgumentError("`theta` is needed: this surface has no current point and no path is given")
    point = check_theta(point, land.n, np.dtype(np.float64))
    if not np.isfinite(point).all():
        raise ArgumentError("`theta` must be finite")
    return np.array(point)


def plane_of(
    land: Landscape, tracks: list[Array], directions: ArrayLike | str | None, origin: Array, seed: int
) -> Array:
    """Two independent vectors (2, n), given or chosen; see `surface`."""
    if directions is None:
        principal = _principal(tracks, land.n, origin)
        return random_directions(land, origin, seed) if principal is None else principal
    if isinstance(directions, str):
        return _named(directions, land, tracks, origin, seed)
    plane = real_array(directions, "directions").astype(np.float64)
    if plane.shape != (2, land.n) or not np.isfinite(plane).all():
        raise ArgumentError(f"`directions` must be finite, of shape (2, {land.n}), got {plane.shape}")
    sizes = np.linalg.svd(plane, compute_uv=False)
    if sizes[1] <= 1e-12 * sizes[0]:
        raise ArgumentError("`directions` must not be parallel or zero")
    return plane


def _named(name: str, land: Landscape, tracks: list[Array], origin: Array, seed: int) -> Array:
    if name == "paths":
        principal = _principal(tracks, land.n, origin)
        if principal is None:
            raise ArgumentError('`directions` "paths" needs `paths` of at least three points that span a plane')
        return principal
    chooser = _CHOOSERS.get(name)
    if chooser is None:
        raise ArgumentError(
            f"`directions` must be two vectors, None, 'paths', {', '.join(map(repr, _CHOOSERS))}, got {name[:40]!r}"
        )
    return chooser(land, origin, seed)


def _principal(tracks: list[Array], n: int, origin: Array) -> Array | None:
    """The two principal directions of the paths, seen from `origin`; None if they do not span a plane."""
    moves = np.concatenate([track - origin for track in tracks]) if tracks else np.empty((0, n))
    moves = moves[np.isfinite(moves).all(axis=1)]
    if len(moves) > 2:
        _, sizes, rows = np.linalg.svd(moves, full_matrices=False)
        if sizes[1] > 1e-9 * sizes[0]:
            # the sign of a singular vector is arbitrary: the largest entry is made positive
            return np.array([row * np.sign(row[np.argmax(np.abs(row))]) for row in rows[:2]])
    return None


def random_directions(land: Landscape, origin: Array, seed: int) -> Array:
    """Gaussian vectors, each block scaled to the norm of the block of θ (1 where that is 0)."""
    plane = np.random.default_rng(seed).standard_normal((2, land.n))
    for _, where, _ in land.blocks:
        size = float(np.linalg.norm(origin[where])) or 1.0
        plane[:, where] *= size / np.linalg.norm(plane[:, where], axis=1, keepdims=True)
    return plane


def filter_directions(land: Landscape, origin: Array, seed: int) -> Array:
    """Gaussian vectors, each row of a weight (a filter) scaled to the norm of θ's; 0 in biases, γ and β.

    A surface without blocks of two axes has no filters: its blocks are scaled as by `random_directions`.
    """
    if not any(len(shape) > 1 for _, _, shape in land.blocks):
        return random_directions(land, origin, seed)
    plane = np.random.default_rng(seed).standard_normal((2, land.n))
    for _, where, shape in land.blocks:
        if len(shape) < 2:
            plane[:, where] = 0.0
            continue
        size = np.linalg.norm(origin[where].reshape(shape[0], -1), axis=1)
        rows = plane[:, where].reshape(2, shape[0], -1)
        rows = rows * (size / np.linalg.norm(rows, axis=2))[:, :, None]
        plane[:, where] = rows.reshape(2, -1)
    return plane


def eigen_directions(land: Landscape, origin: Array, seed: int) -> Array:
    """Unit eigenvectors of the smallest and of the largest eigenvalue of the Hessian at the point."""
    from ..curvature import eigenpairs

    op = land.hessian(np.asarray(origin, dtype=land.dtype))
    ends = [eigenpairs(op, k=1, which=which, seed=seed).vectors[:, 0] for which in ("smallest", "largest")]
    return np.array(ends, dtype=np.float64)


_CHOOSERS: dict[str, Callable[[Landscape, Array, int], Array]] = {
    "random": random_directions,
    "filter": filter_directions,
    "eigen": eigen_directions,
}
