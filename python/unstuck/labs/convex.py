"""A fixed rate on a long valley: too large it bounces, too small it never arrives; a rate per parameter does.

L = ½·flat·x² + ½·steep·y², convex, with one minimum. The rate 10⁻² bounces between the steep walls for ever and
10⁻⁷ has hardly moved after 100,000 updates; between the two the best fixed rate still needs thousands. Adagrad,
RMSProp and Adam divide every parameter's step by the size σ of its own gradients, so the flat direction gets a rate
hundreds of times the steep one's, and arrive.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .surfaces import elongated
from .walk import Walk, thinned, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "A long valley: no fixed rate is right, a rate per parameter arrives"
LECTURE = ("C2", "C3", "C7")
START = np.array([-10.0, 1.0])
RADIUS = 0.1  # of the minimum: a walk has arrived when it stays within it


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    flat: float = setting("curvature along the valley", 0.1, least=1e-6, most=1e3)
    steep: float = setting("curvature across the valley", 200.0, least=1e-6, most=1e6)
    large: float = setting("the fixed rate that bounces", 1e-2, least=1e-9, most=1e3)
    small: float = setting("the fixed rate that crawls", 1e-7, least=1e-12, most=1e3)
    crawl: int = setting("updates with the small rate", 100_000, least=10, most=10_000_000)
    steps: int = setting("updates of the others", 5000, least=10, most=1_000_000)
    rates: int = setting("fixed rates between the two that are tried", 12, least=2, most=100)
    resolution: int = setting("grid points per side of the contour plot", 81, least=5, most=1000)


def compute(settings: Settings) -> dict[str, Any]:
    """Walks with two fixed rates, with a range of them, and with the adaptive rules."""
    from ..optim import SGD, Adagrad, Adam, RMSProp

    valley = elongated(settings.flat, settings.steep)
    bounce = walk(valley, SGD(lr=settings.large), START, settings.steps)
    crawl = walk(valley, SGD(lr=settings.small), START, settings.crawl)
    # up to the largest rate that does not grow in the steep direction, 2/steep
    rates = np.geomspace(settings.small, 1.98 / settings.steep, settings.rates)
    fixed = [walk(valley, SGD(lr=float(rate)), START, settings.steps) for rate in rates]
    adaptive = {
        "Adagrad": walk(valley, Adagrad(lr=1.0), START, settings.steps),
        "RMSProp": walk(valley, RMSProp(lr=0.01, alpha=0.9), START, settings.steps),
        "Adam": walk(valley, Adam(lr=0.1), START, settings.steps),
    }
    return {
        "settings": {"flat": settings.flat, "steep": settings.steep, "large": settings.large, "small": settings.small},
        "resolution": settings.resolution,
        "steps": settings.steps,
        "crawl_steps": len(crawl.thetas) - 1,
        "bounce": _summary(bounce),
        "crawl": _summary(crawl),
        "fixed": [{"rate": float(rate), **_summary(w, path=False)} for rate, w in zip(rates, fixed, strict=True)],
        "adaptive": {name: _summary(w) for name, w in adaptive.items()},
        # Adam's move is not proportional to its gradient; the others' is η/σ
        "rates": {name: thinned(adaptive[name].rates[:200]) for name in ("Adagrad", "RMSProp")},
    }


def _summary(found: Walk, path: bool = True) -> dict[str, Any]:
    updates = np.unique(np.geomspace(1, len(found.thetas) - 1, 200).astype(int))
    short = {
        "arrival": found.arrival(RADIUS),
        "end": found.thetas[-1],
        "updates": updates,
        "distances": found.distances[updates],
    }
    return {**short, "path": thinned(found.thetas)} if path else short


def best_fixed(results: dict[str, Any]) -> dict[str, Any] | None:
    """The fixed rate that arrives first; None if none does."""
    arrived = [row for row in results["fixed"] if row["arrival"] is not None]
    return min(arrived, key=lambda row: row["arrival"]) if arrived else None


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """The large rate still bounces, the small one has hardly moved, every adaptive rule arrives before any fixed."""
    large, small = results["settings"]["large"], results["settings"]["small"]
    height, moved = abs(results["bounce"]["end"][1]), abs(results["crawl"]["end"][0] - START[0])
    best, arrivals = best_fixed(results), {name: row["arrival"] for name, row in results["adaptive"].items()}
    slowest = max((np.inf if steps is None else steps) for steps in arrivals.values())
    first = {name: float(rates[0, 0] / rates[0, 1]) for name, rates in results["rates"].items()}
    holds = (
        height > 0.5 * START[1]
        and moved < 0.1 * abs(START[0])
        and slowest < (np.inf if best is None else best["arrival"])
        and min(first.values()) > 10.0
    )
    fixed = "none arrives" if best is None else f"the best, {best['rate']:.3g}, in {best['arrival']} updates"
    sentence = (
        f"With the rate {large:g} the walk still bounces at a height of {height:.3g} after {results['steps']:,} "
        f"updates; with {small:g} it has moved by {moved:.2g} of {abs(START[0]):g} after {results['crawl_steps']:,}. "
        f"Of {len(results['fixed'])} fixed rates {fixed}; "
        + ", ".join(f"{name} in {'never' if n is None else n}" for name, n in arrivals.items())
        + f". Adagrad's first rate along the valley is {first['Adagrad']:.3g} times that across it."
    )
    return bool(holds), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Paths on the valley, distances over time, and the adaptive rules' rates."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    _contours(left, results)
    _distances(middle, results)
    for (name, rates), style in zip(results["rates"].items(), ("-", "--"), strict=True):
        for i, (label, colour) in enumerate((("along", "#2563eb"), ("across", "#c2410c"))):
            right.semilogy(np.asarray(rates)[:, i], style, color=colour, label=f"{name}, {label} the valley")
    right.set_xlabel("update")
    right.set_ylabel("η/σ, the rate of one parameter")
    right.set_title("A rate for every parameter")
    right.legend(fontsize=8)
    return canvas


def _contours(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import surface

    valley = elongated(results["settings"]["flat"], results["settings"]["steep"])
    named = {
        f"fixed {results['settings']['large']:g}": results["bounce"],
        f"fixed {results['settings']['small']:g}": results["crawl"],
        **results["adaptive"],
    }
    paths = [row["path"] for row in named.values()]
    surface(valley.land, paths=paths, ax=axes, resolution=results["resolution"], extent=(-11.0, 2.0, -1.3, 1.3))
    for line, name in zip(axes.lines[::3], named, strict=True):
        line.set_label(name)
    axes.legend(loc="upper right", fontsize=8)
    axes.set_title("Fixed rates and rates per parameter")


def _distances(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import ON_WHITE

    for i, row in enumerate(results["fixed"]):
        label = "fixed rates" if i == 0 else None
        axes.loglog(row["updates"], row["distances"], color="#98a2b3", lw=1.0, label=label)
    for (name, row), colour in zip(results["adaptive"].items(), ON_WHITE[2:], strict=True):
        axes.loglog(row["updates"], np.maximum(row["distances"], 1e-9), color=colour, lw=1.8, label=name)
    axes.axhline(RADIUS, color="#667085", ls=":", lw=1.2)
    axes.annotate("arrived", (1, RADIUS), va="bottom", color="#667085")
    axes.set_ylim(bottom=1e-3)
    axes.set_xlabel("update")
    axes.set_ylabel("distance from the minimum")
    axes.set_title("Fixed rates against rates per parameter")
    axes.legend(fontsize=8, loc="lower left")
