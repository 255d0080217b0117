"""Braking and speeding up again: RMSProp follows the size of the gradient, Adagrad remembers all of it.

On a slope that is flat, then steep, then flat, the rate of a parameter is η/σ. Both rules brake where it gets steep.
Where it gets flat again, RMSProp's moving mean forgets the steep part and the rate returns; Adagrad's sum never
shrinks and its mean only with 1/√t. The smaller α, the sooner RMSProp forgets. On a crescent, where the direction
that is steep changes on the way, that decides how soon the minimum is reached.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .surfaces import Surface, crescent, flat_steep_flat
from .walk import Walk, thinned, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..optim import Optimizer

Array = NDArray[np.float64]
TITLE = "RMSProp brakes and speeds up again where Adagrad only brakes"
LECTURE = ("C4", "C5", "C6")
BEGIN, END, WIDTH, EXIT = 5.0, 10.0, 0.2, 20.0  # of the steep part, of its walls, and where the walk ends
CRESCENT = {"wall": 2.0, "bend": 0.25, "slope": 0.2, "goal": 3.0}
START = np.array([-4.0, 8.0])


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    gentle: float = setting("slope of the flat parts", 0.1, least=1e-6, most=1e3)
    steep: float = setting("slope of the steep part", 10.0, least=1e-6, most=1e6)
    lr: float = setting("learning rate: the length of the first step of every rule", 0.05, least=1e-4, most=1.0)
    alphas: tuple[float, ...] = setting("decays of RMSProp", (0.1, 0.9, 0.99), least=0.0, most=0.999, fewest=1)
    steps: int = setting("updates at most", 6000, least=100, most=1_000_000)
    resolution: int = setting("grid points per side of the contour plot", 81, least=5, most=1000)


def rules(settings: Settings) -> dict[str, Optimizer]:
    """The rules by name; each one's first step is η·sign g, as in the lecture."""
    from ..optim import Adagrad, RMSProp

    moving = {f"RMSProp {a:g}": RMSProp(lr=settings.lr, alpha=a, initial="first") for a in settings.alphas}
    return {"Adagrad": Adagrad(settings.lr), "Adagrad, mean": Adagrad(settings.lr, form="mean"), **moving}


def compute(settings: Settings) -> dict[str, Any]:
    """Every rule along the profile and along the crescent."""
    profile = flat_steep_flat(settings.gentle, settings.steep, BEGIN, END, WIDTH)
    bent = crescent(**CRESCENT)
    return {
        "settings": {"gentle": settings.gentle, "steep": settings.steep, "lr": settings.lr},
        "resolution": settings.resolution,
        "steps": settings.steps,
        "profile": {name: _along(profile, opt, settings) for name, opt in rules(settings).items()},
        "crescent": {name: _around(bent, opt, settings.steps) for name, opt in rules(settings).items()},
    }


def _along(profile: Surface, opt: Optimizer, settings: Settings) -> dict[str, Any]:
    """The walk from 0 to the exit; Adagrad's sum gets 20 times the rate, or it would not get there."""
    faster = opt.copy()
    if opt.rule == "Adagrad" and opt.hyper["form"] == 0:
        faster.lr = 20.0 * settings.lr
    found = walk(profile, faster, np.zeros(1), settings.steps)
    x, rate = found.thetas[:-1, 0], found.rates[:, 0]
    done = int(np.argmax(found.thetas[:, 0] >= EXIT)) if found.thetas[-1, 0] >= EXIT else len(rate)
    x, rate = x[:done], rate[:done]
    before, within, after = x < BEGIN - 1.0, (x > BEGIN + 0.5) & (x < END - 0.5), x > END + 1.0
    return {
        "x": thinned(x),
        "rate": thinned(rate),
        "updates": done,
        "finished": bool(found.thetas[-1, 0] >= EXIT),
        "before": _mean(rate[before]),
        "within": _least(rate[within]),
        "after": float(rate[after][-1]) if after.any() else float("nan"),
        "recovers": bool(after.any() and rate[after][-1] > 2.0 * _least(rate[within])),
    }


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _least(values: Array) -> float:
    return float(values.min()) if len(values) else float("nan")


def _around(bent: Surface, opt: Optimizer, steps: int) -> dict[str, Any]:
    found: Walk = walk(bent, opt, START, steps)
    return {"arrival": found.arrival(0.2), "path": thinned(found.thetas), "end": found.thetas[-1]}


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """All brake by the steepness; RMSProp's rate returns, Adagrad's does not; RMSProp is first on the crescent."""
    rows, bent = results["profile"], results["crescent"]
    moving = {name: row for name, row in rows.items() if name.startswith("RMSProp")}
    summed, mean = rows["Adagrad"], rows["Adagrad, mean"]
    quick = min(moving, key=lambda name: float(name.split()[1]))
    braked = all(row["within"] < 0.2 * row["before"] for row in rows.values())
    back = {name: row["after"] / row["before"] for name, row in rows.items()}
    returns = back[quick] > 0.9 and all(back[name] > 3.0 * back["Adagrad, mean"] for name in moving)
    remembers = back["Adagrad"] < 0.05 and not summed["recovers"] and back["Adagrad, mean"] < 0.25
    arrivals = {name: np.inf if row["arrival"] is None else row["arrival"] for name, row in bent.items()}
    sooner = max(arrivals[name] for name in moving) < min(arrivals["Adagrad"], arrivals["Adagrad, mean"])
    sentence = (
        f"Where the slope is {results['settings']['steep'] / results['settings']['gentle']:g} times as steep, the "
        f"rates fall to {_shares(rows, 'within')} of what they were; at the end of the second flat part they are "
        f"back at {_shares(rows, 'after')}. Updates to the end: {_updates(rows)}. Around the crescent: "
        + ", ".join(f"{name} {'never' if np.isinf(n) else n}" for name, n in arrivals.items())
        + "."
    )
    return bool(braked and returns and remembers and sooner and mean["within"] > 0), sentence


def _shares(rows: dict[str, Any], what: str) -> str:
    return ", ".join(f"{row[what] / row['before']:.2g} ({name})" for name, row in rows.items())


def _updates(rows: dict[str, Any]) -> str:
    return ", ".join(f"{name} {row['updates'] if row['finished'] else 'never'}" for name, row in rows.items())


def figure(results: dict[str, Any]) -> Figure:
    """Rates along the profile, places over time, and paths on the crescent."""
    from matplotlib.figure import Figure

    from ..plot import ON_WHITE

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    colours = dict(zip(results["crescent"], cycle(ON_WHITE), strict=False))  # as their paths on the right
    for name, row in results["profile"].items():
        base = row["before"]
        left.semilogy(row["x"], np.asarray(row["rate"]) / base, color=colours[name], label=name, lw=1.6)
    left.axvspan(BEGIN, END, color="#e3e7ee", lw=0)
    left.annotate("steep", (0.5 * (BEGIN + END), 1.1), ha="center", color="#667085")
    left.set_xlabel("x")
    left.set_ylabel("rate η/σ, as a share of that on the first flat part")
    left.set_title("Braking, and speeding up again")
    for name, row in results["profile"].items():
        middle.plot(np.linspace(0, row["updates"], len(row["x"])), row["x"], color=colours[name], lw=1.6)
    middle.axhspan(BEGIN, END, color="#e3e7ee", lw=0)
    middle.set_xlabel("update")
    middle.set_ylabel("x")
    middle.set_title("Where they are")
    _bent(right, results)
    canvas.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return canvas


def _bent(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import surface

    paths = [row["path"] for row in results["crescent"].values()]
    land = crescent(**CRESCENT).land
    surface(land, paths=paths, ax=axes, resolution=results["resolution"], extent=(-5.5, 5.0, -1.5, 9.0))
    for line, name in zip(axes.lines[::3], results["crescent"], strict=True):
        line.set_label(name)
    axes.legend(loc="upper right", fontsize=8)
    axes.set_title("Around a crescent")
