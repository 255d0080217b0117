"""The summary: θ ← θ + ηᵗ·mᵗ/σᵗ, one ingredient at a time on one surface.

A long valley with a small ridge across it, and noisy gradients. Plain descent stops before the ridge. Momentum m
carries over it, but at a fixed rate for both parameters it crawls. A size σ for every parameter alone is fast and
stops before the ridge too. Both together arrive soon and then wander in the noise; a schedule η of warm-up and decay
brings them to rest. m and σ do not cancel: m keeps the direction, so that steps that keep turning back sum to little,
σ only the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .surfaces import Surface, bumpy
from .walk import Walk, thinned, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..optim import Optimizer

Array = NDArray[np.float64]
TITLE = "Momentum, a size for every parameter and a schedule, added one at a time"
LECTURE = ("C12",)
START = np.array([-8.0, 1.5])
RADIUS = 0.5  # of the minimum; the ridge is 3 away
STAGES = {
    "descent": ("none", "none", "constant"),
    "+ momentum": ("heavy", "none", "constant"),
    "σ alone": ("none", "moving", "constant"),
    "momentum + σ": ("average", "moving", "constant"),
    "momentum + σ + schedule": ("average", "moving", "warm-up and decay"),
}
MOMENTA, SIZES = ("none", "average"), ("none", "sum", "moving")
SCHEDULES = ("constant", "warm-up and decay")


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    flat: float = setting("curvature along the valley", 0.03, least=1e-6, most=10.0)
    steep: float = setting("curvature across the valley", 100.0, least=1e-3, most=1e6)
    bump: float = setting("height of the ridge", 0.0128, least=0.0, most=10.0)
    width: float = setting("width of the ridge", 0.06, least=1e-3, most=10.0)
    noise: float = setting("standard deviation of the gradients' noise", 0.005, least=0.0, most=10.0)
    lr: float = setting("learning rate with a σ", 0.03, least=1e-5, most=10.0)
    steps: int = setting("updates", 2500, least=200, most=1_000_000)
    warmup: int = setting("of which warm-up", 50, least=1, most=100_000)
    seed: int = setting("of the noise", 0, least=0, most=2**31)
    resolution: int = setting("grid points per side of the contour plot", 81, least=5, most=1000)


def optimizer(momentum: str, size: str, schedule: str, settings: Settings) -> Optimizer:
    """One combination; without σ the rate is just below 2/steep, Adagrad's sum takes ten times the rate of the rest."""
    from ..optim import Composed
    from ..schedules import warmup_cosine

    rate = {"none": 1.9 / settings.steep, "sum": 10.0 * settings.lr, "moving": settings.lr}[size]
    lr = rate if schedule == "constant" else warmup_cosine(rate, settings.warmup, settings.steps)
    return Composed(lr, momentum=momentum, size=size, beta=0.9, alpha=0.99)  # type: ignore[arg-type]


def surface_of(settings: Settings) -> Surface:
    """The valley with its ridge at x = −3."""
    return bumpy(settings.flat, settings.steep, settings.bump, -3.0, settings.width)


def compute(settings: Settings) -> dict[str, Any]:
    """A walk for every stage, and one for every combination of momentum, size and schedule."""
    valley = surface_of(settings)
    stages = {name: _walk(valley, *parts, settings) for name, parts in STAGES.items()}
    table = [
        {"momentum": m, "size": s, "schedule": h, **_summary(_walk(valley, m, s, h, settings))}
        for m in MOMENTA
        for s in SIZES
        for h in SCHEDULES
    ]
    return {
        "surface": [settings.flat, settings.steep, settings.bump, -3.0, settings.width],
        "resolution": settings.resolution,
        "steps": settings.steps,
        "stages": {
            name: {**_summary(found), "path": thinned(found.thetas), "distances": thinned(found.distances)}
            for name, found in stages.items()
        },
        "table": table,
        # |Δθ|/η across the valley while both wander in the noise: 1 would be a step of full size every time
        "step_share": {name: _step_share(stages[name], settings.lr) for name in ("σ alone", "momentum + σ")},
    }


def _walk(valley: Surface, momentum: str, size: str, schedule: str, settings: Settings) -> Walk:
    opt = optimizer(momentum, size, schedule, settings)
    return walk(valley, opt, START, settings.steps, noise=settings.noise, seed=settings.seed)


def _summary(found: Walk) -> dict[str, Any]:
    """Steps to come near the minimum and stay, and the root mean square distance over the last tenth."""
    last = found.distances[-max(1, len(found.distances) // 10) :]
    return {"arrival": found.arrival(RADIUS), "rest": float(np.sqrt(np.mean(last**2)))}


def _step_share(found: Walk, lr: float) -> float:
    moves = np.abs(np.diff(found.thetas[:, 1]))
    return float(moves[len(moves) // 2 :].mean() / lr)


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Without momentum it stops before the ridge; σ arrives sooner; only a schedule comes to rest."""
    stages, share = results["stages"], results["step_share"]
    plain, moving, sized, both, full = (stages[name] for name in STAGES)
    over = moving["arrival"] is not None and both["arrival"] is not None and full["arrival"] is not None
    stopped = plain["arrival"] is None and sized["arrival"] is None and min(plain["rest"], sized["rest"]) > 2.0
    sooner = over and both["arrival"] < moving["arrival"]
    rest = full["rest"] < 0.5 * both["rest"] and full["rest"] < 0.1
    keeps = share["momentum + σ"] < 0.5 * share["σ alone"]
    sentence = (
        f"Plain descent ends {plain['rest']:.3g} from the minimum, before the ridge, and so does σ alone "
        f"({sized['rest']:.3g}). Momentum arrives after {moving['arrival']} updates, with σ after {both['arrival']}; "
        f"it then wanders at a distance of {both['rest']:.2g}, with a schedule of {full['rest']:.2g}. Across the "
        f"valley the mean step is {share['σ alone']:.2g} of the rate with σ alone and "
        f"{share['momentum + σ']:.2g} with momentum: m and σ do not cancel."
    )
    return bool(stopped and sooner and rest and keeps), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Paths on the surface, distance over time, and the table of all combinations."""
    from matplotlib.figure import Figure

    from ..plot import ON_WHITE

    canvas = Figure(figsize=(15, 4.8), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    _paths(left, results)
    for (name, row), colour in zip(results["stages"].items(), ON_WHITE, strict=True):
        updates = np.linspace(0, results["steps"], len(row["distances"]))
        middle.semilogy(updates, row["distances"], color=colour, label=name, lw=1.3)
    middle.axhline(RADIUS, color="#667085", ls=":", lw=1.2)
    middle.set_xlabel("update")
    middle.set_ylabel("distance from the minimum")
    middle.set_title("One ingredient at a time")
    canvas.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    _table(right, results)
    return canvas


def _paths(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import surface

    valley = bumpy(*results["surface"])
    paths = [row["path"] for row in results["stages"].values()]
    surface(valley.land, paths=paths, ax=axes, resolution=results["resolution"], extent=(-8.8, 1.5, -1.8, 1.8))
    for line, name in zip(axes.lines[::3], results["stages"], strict=True):
        line.set_label(name)
    axes.legend(loc="lower right", fontsize=8)
    axes.set_title("A valley with a ridge, noisy gradients")


def _table(axes: Axes, results: dict[str, Any]) -> None:
    rows = results["table"][::-1]
    colours = ["#2563eb" if row["arrival"] is not None else "#c2410c" for row in rows]
    axes.barh(range(len(rows)), [row["rest"] for row in rows], color=colours)
    axes.set_yticks(range(len(rows)), [f"m {r['momentum']}, σ {r['size']}, {r['schedule']}" for r in rows], fontsize=8)
    axes.set_xscale("log")
    axes.set_xlabel("distance from the minimum at the end")
    axes.set_title("Every combination (blue: arrived)")
