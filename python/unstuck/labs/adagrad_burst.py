"""Adagrad's sideways burst: where it comes from, and its cures.

In the lecture's form σ is the root *mean* square of all past gradients. Down a long valley the gradient across it is
soon tiny; its σ shrinks with 1/√t, and the rate across, η/σ, grows until η·c/σ > 2 for the curvature c: then every
step across is longer than the one before, and the walk bursts sideways, until one large gradient restores σ. The
usual form with the root of the *sum* never shrinks and never bursts. Decay of η with 1/√t makes the mean form equal
to it; warm-up lets more large gradients into σ before η is large, and moves the burst beyond the walk's end;
warm-up and then decay is the usual recipe. The gradients carry a little noise, so that none is ever exactly zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .surfaces import Surface, elongated
from .walk import Walk, thinned, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..optim import Optimizer
    from ..schedules import Schedule

Array = NDArray[np.float64]
TITLE = "Adagrad's burst: in the root-mean form only, cured by decay or warm-up"
LECTURE = ("C4", "C8", "C9", "C10")
START = np.array([-100.0, 1.0])
QUIET, BURST = 1e-3, 0.1  # |y| below which the valley's floor is reached, and above which the walk has burst
PLAIN, SUM, DECAY = "mean", "sum", "mean, decay 1/√t"
WARM, BOTH = "mean, warm-up", "mean, warm-up and decay"
# the hues of the paths beside them (plot.ON_WHITE) where there is one
COLOURS = {PLAIN: "#ea580c", SUM: "#667085", DECAY: "#2563eb", WARM: "#a16207", BOTH: "#db2777"}


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    flat: float = setting("curvature along the valley", 1e-3, least=1e-9, most=1e3)
    steep: float = setting("curvature across the valley", 10.0, least=1e-6, most=1e6)
    lr: float = setting("learning rate", 0.2, least=1e-4, most=10.0)
    decayed: float = setting("learning rate at the start of the decay", 5.0, least=1e-4, most=100.0)
    warmup: int = setting("updates of warm-up", 1000, least=1, most=1_000_000)
    steps: int = setting("updates", 3000, least=100, most=1_000_000)
    noise: float = setting("standard deviation of noise added to the gradients", 1e-9, least=0.0, most=1.0)
    seed: int = setting("of the noise", 0, least=0, most=2**31)
    resolution: int = setting("grid points per side of the contour plot", 81, least=5, most=1000)


def rules(settings: Settings) -> dict[str, Optimizer]:
    """The forms and their cures by name."""
    from ..optim import Adagrad
    from ..schedules import inverse_sqrt, warmup

    falling = inverse_sqrt(settings.lr, timescale=settings.warmup)
    rates: dict[str, Schedule | float] = {
        PLAIN: settings.lr,
        DECAY: inverse_sqrt(settings.decayed),
        WARM: warmup(settings.lr, settings.warmup),
        BOTH: warmup(falling, settings.warmup),
    }
    forms: dict[str, Optimizer] = {name: Adagrad(lr, form="mean", eps=0.0) for name, lr in rates.items()}
    return {PLAIN: forms.pop(PLAIN), SUM: Adagrad(settings.lr, eps=0.0), **forms}


def compute(settings: Settings) -> dict[str, Any]:
    """One walk for each form and cure, and how far decay and the sum form differ."""
    from ..optim import Adagrad

    valley = elongated(settings.flat, settings.steep)
    walks = {name: _walk(valley, opt, settings) for name, opt in rules(settings).items()}
    summed = _walk(valley, Adagrad(settings.decayed, eps=0.0), settings)
    apart = np.abs(walks[DECAY].thetas - summed.thetas)
    return {
        "settings": {"flat": settings.flat, "steep": settings.steep, "lr": settings.lr, "warmup": settings.warmup},
        "resolution": settings.resolution,
        "steps": settings.steps,
        "walks": {name: _story(found, settings.steep) for name, found in walks.items()},
        "difference": float(apart.max() / np.abs(START).max()),
    }


def _walk(valley: Surface, opt: Optimizer, settings: Settings) -> Walk:
    return walk(valley, opt, START, settings.steps, noise=settings.noise, seed=settings.seed)


def _story(found: Walk, steep: float) -> dict[str, Any]:
    """When the floor was reached, when it was left, how high, when it was reached again."""
    height = np.abs(found.thetas[:, 1])
    quiet = _first(height < QUIET, 0)
    burst = None if quiet is None else _first(height > BURST, quiet)
    peak = 0.0 if quiet is None else float(height[quiet:].max())
    growth = steep * found.rates[:, 1]
    return {
        "path": thinned(found.thetas, 6000),
        "height": thinned(height, 6000),
        "growth": thinned(growth, 6000),
        "quiet": quiet,
        "burst": burst,
        "peak": peak,
        "again": None if burst is None else _first(height < QUIET, burst),
        "unstable": None if quiet is None else _first(growth > 2.0, quiet),
        "x": float(found.thetas[-1, 0]),
        "x_at_burst": None if burst is None else float(found.thetas[burst, 0]),
    }


def _first(where: Any, begin: int) -> int | None:
    """The first index from `begin` on at which it holds."""
    found = np.flatnonzero(where[begin:])
    return begin + int(found[0]) if len(found) else None


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """The mean form bursts and recovers; the sum form, decay and warm-up do not; decay makes the mean the sum."""
    walks = results["walks"]
    plain = walks[PLAIN]
    bursts = plain["burst"] is not None and plain["again"] is not None and plain["peak"] > BURST
    cured = all(walks[name]["burst"] is None and walks[name]["quiet"] is not None for name in (SUM, DECAY, WARM, BOTH))
    stable = all(walks[name]["unstable"] is None for name in (SUM, DECAY, BOTH))
    forward = all(abs(walks[name]["x"]) < 0.1 * abs(START[0]) for name in (PLAIN, DECAY, WARM, BOTH))
    if not bursts:
        return False, f"The mean form does not burst within {results['steps']:,} updates (peak {plain['peak']:.2g})."
    sentence = (
        f"In the root-mean form the walk is on the valley's floor after {plain['quiet']} updates, its rate across "
        f"grows beyond stability at update {plain['unstable']} and at update {plain['burst']}, still "
        f"{-plain['x_at_burst']:.3g} from the minimum, it bursts sideways, up to {plain['peak']:.3g}, and is back at "
        f"update {plain['again']}. Highest |y| from the floor on: root-sum form {walks[SUM]['peak']:.1g}, "
        f"decay {walks[DECAY]['peak']:.1g}, warm-up {walks[WARM]['peak']:.1g}, both {walks[BOTH]['peak']:.1g}. "
        f"With decay 1/√t the mean form is the sum form to {results['difference']:.1g}."
    )
    return bool(bursts and cured and stable and forward and results["difference"] < 1e-9), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Paths down the valley, the height over time, and the growth factor's cause η·c/σ."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    _paths(left, results)
    for name, row in results["walks"].items():
        updates = np.linspace(0, results["steps"], len(row["height"]))
        middle.semilogy(updates, np.maximum(row["height"], 1e-12), color=COLOURS[name], label=name, lw=1.3)
        right.loglog(updates[1 : len(row["growth"]) + 1], row["growth"], color=COLOURS[name], label=name, lw=1.3)
    middle.set_ylim(1e-12, 10)
    middle.set_xlabel("update")
    middle.set_ylabel("|y|, distance across the valley")
    middle.set_title("The burst")
    canvas.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    right.axhline(2.0, color="black", ls=":", lw=1.2)
    right.annotate("unstable above 2", (1, 2.2), color="#667085")
    right.set_xlabel("update")
    right.set_ylabel("η·c/σ across the valley")
    right.set_title("Its cause")
    return canvas


def _paths(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import surface

    valley = elongated(results["settings"]["flat"], results["settings"]["steep"])
    names = (PLAIN, WARM, BOTH)
    paths = [results["walks"][name]["path"] for name in names]
    surface(valley.land, paths=paths, ax=axes, resolution=results["resolution"], extent=(-105.0, 10.0, -2.2, 2.2))
    for line, name in zip(axes.lines[::3], names, strict=True):
        line.set_label(name)
    axes.legend(loc="upper right", fontsize=8)
    axes.set_title("Down the valley")
