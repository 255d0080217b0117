"""What is a minimum in few dimensions is a saddle in many.

Networks for a curve in one dimension, narrow and wide, are brought to a critical point on the plateau near their start.
All eigenvalues of the Hessian there give the number of directions of negative curvature, which grows with the number of
parameters. Slices through the same point are then judged by themselves: the restriction of the Hessian to a random
plane, or to the plane of its two largest eigenvectors, is 2 × 2, and nearly always positive definite. A contour plot
shows a minimum where the full space has a way down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .small_networks import bins, curve, eigen, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "A minimum of a slice is a saddle of the full space; the wider the network, the more ways down"
LECTURE = ("A9",)
SLICES = 1000  # random planes per point


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    widths: tuple[int, ...] = setting(
        "units of each of the two hidden layers", (2, 4, 8, 16, 24), least=1, most=40, fewest=2
    )
    seeds: int = setting("networks per width", 3, least=1, most=1000)
    steps: int = setting("updates before the search for a critical point", 30, least=0, most=100_000)
    products: int = setting("most products per search", 500, least=20, most=1_000_000)
    relative: float = setting("τ as a share of the largest |λ|", 1e-4, least=0.0, most=0.5)
    resolution: int = setting("grid points per side of the slice", 41, least=5, most=1000)


def compute(settings: Settings) -> dict[str, Any]:
    """Every width's critical points, their slices, and one slice drawn."""
    rows = [_point(settings, width, seed) for width in settings.widths for seed in range(settings.seeds)]
    widest = max((row for row in rows if row["below"] > 0), key=lambda row: row["width"], default=rows[-1])
    return {
        "relative": settings.relative,
        "rows": rows,
        "slice": _slice(settings, widest["width"], widest["seed"]),
    }


def _critical(settings: Settings, width: int, seed: int) -> Any:
    from ..search import find_critical

    land = curve((width, width), seed)
    train(land, settings.steps)
    return land, find_critical(land, max_products=settings.products)


def _point(settings: Settings, width: int, seed: int) -> dict[str, Any]:
    land, found = _critical(settings, width, seed)
    values, vectors = eigen(land, found.theta)
    tau = settings.relative * float(np.abs(values).max())
    return {
        "width": width,
        "seed": seed,
        "parameters": land.n,
        "loss": found.loss,
        "gradient_norm": found.gradient_norm,
        "below": int(np.count_nonzero(values < -tau)),
        "least": float(values[0]),
        "slices": _minima(values, vectors, np.random.default_rng(seed)),
        **bins(values, settings.relative),
    }


def _minima(values: Array, vectors: Array, rng: np.random.Generator) -> float:
    """Share of random planes in which the restricted Hessian is positive definite."""
    # coordinates in the eigenbasis: a random plane is one there, too
    planes = rng.standard_normal((SLICES, 2, len(values)))
    restricted = np.einsum("pin,n,pjn->pij", planes, values, planes)
    gram = np.einsum("pin,pjn->pij", planes, planes)
    least = np.array(
        [np.linalg.eigvals(np.linalg.solve(g, h)).real.min() for g, h in zip(gram, restricted, strict=True)]
    )
    return float(np.mean(least > 0.0))


def _slice(settings: Settings, width: int, seed: int) -> dict[str, Any]:
    """The loss on the plane of the two largest eigenvectors, and along the way down."""
    land, found = _critical(settings, width, seed)
    values, vectors = eigen(land, found.theta)
    reach = 0.3 * max(1.0, float(np.linalg.norm(found.theta)) / 10.0)
    steps = np.linspace(-reach, reach, settings.resolution)
    plane = [[land.loss(found.theta + a * vectors[:, -1] + b * vectors[:, -2]) for a in steps] for b in steps]
    scan = np.linspace(-4.0 * reach, 4.0 * reach, 161)
    best = float(scan[int(np.argmin([land.loss(found.theta + t * vectors[:, 0]) for t in scan]))])
    far = np.linspace(-1.8, 1.8, 121) * max(abs(best), 0.05 * reach)
    return {
        "width": width,
        "parameters": land.n,
        "loss": found.loss,
        "steps": steps,
        "plane": np.array(plane),
        "far": far,
        "down": np.array([land.loss(found.theta + t * vectors[:, 0]) for t in far]),
        "curvatures": [float(values[-1]), float(values[-2]), float(values[0])],
    }


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """More parameters, more directions down; slices hide them; the drawn slice is a minimum beside a way down."""
    rows = results["rows"]
    widths = sorted({row["width"] for row in rows})
    index = [float(np.mean([row["below"] for row in rows if row["width"] == width])) for width in widths]
    saddles = [row for row in rows if row["below"] > 0]
    hidden = float(np.median([row["slices"] for row in saddles])) if saddles else 0.0
    drawn = results["slice"]
    plane, down = np.asarray(drawn["plane"]), np.asarray(drawn["down"])
    # the search ends near a critical point: its own place counts as lowest within a thousandth of the slice's range
    bottom = bool(plane.min() >= drawn["loss"] - 1e-3 * (plane.max() - drawn["loss"]) and plane.max() > drawn["loss"])
    lower = float(drawn["loss"] - down.min())
    grows = index[-1] > index[0] and len(saddles) > len(rows) // 2
    sentence = (
        f"From {rows[0]['parameters']} to {rows[-1]['parameters']} parameters the number of directions of negative "
        f"curvature rises from {index[0]:.3g} to {index[-1]:.3g} on average; {len(saddles)} of {len(rows)} points are "
        f"saddles. Of random planes through these, {100 * hidden:.0f} % show a minimum. The slice of the widest one "
        f"({drawn['parameters']} parameters) {'is' if bottom else 'is not'} a minimum at loss {drawn['loss']:.4g}, and "
        f"along the most negative curvature the loss falls by {lower:.3g}."
    )
    return bool(grows and hidden > 0.5 and bottom and lower > 0.0), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Directions down against parameters, the three bins, the slice, and the way down beside it."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.4), layout="constrained")
    first, second, third = canvas.subplots(1, 3)
    rows = results["rows"]
    parameters = np.array([row["parameters"] for row in rows])
    first.semilogx(parameters, [row["below"] for row in rows], "o", color="#c2410c", label="negative eigenvalues", ms=5)
    first.set_xlabel("parameters")
    first.set_ylabel("directions of negative curvature", color="#c2410c")
    beside = first.twinx()
    for name, colour in (("positive", "#2563eb"), ("flat", "#98a2b3")):
        beside.semilogx(parameters, [row[name] for row in rows], "x", color=colour, label=f"share {name}", ms=5)
    beside.set_ylim(0, 1)
    beside.set_ylabel("share of eigenvalues")
    beside.legend(fontsize=8, loc="upper left")
    first.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1.0, 0.9))
    for axes in (first, beside):
        axes.set_xticks(np.unique(parameters), [str(n) for n in np.unique(parameters)])
        axes.minorticks_off()
    first.set_title("At critical points, by size of the network")
    _contours(second, results["slice"])
    _way_down(third, results["slice"])
    return canvas


def _contours(axes: Axes, drawn: dict[str, Any]) -> None:
    steps = np.asarray(drawn["steps"])
    axes.contourf(steps, steps, drawn["plane"], levels=24, cmap="Blues_r")
    axes.plot(0, 0, "o", color="#facc15", ms=7)
    axes.set_xlabel("along the largest curvature")
    axes.set_ylabel("along the second largest")
    axes.set_title(f"A slice through {drawn['parameters']} dimensions: a minimum")


def _way_down(axes: Axes, drawn: dict[str, Any]) -> None:
    far = np.asarray(drawn["far"])
    axes.plot(far, drawn["down"], color="#c2410c", lw=2)
    axes.plot(0, drawn["loss"], "o", color="#facc15", mec="#667085", ms=7)
    axes.set_xlabel(f"along the most negative curvature, λ = {drawn['curvatures'][2]:.3g}")
    axes.set_ylabel("loss")
    axes.set_title("The same point in the full space: a way down")
