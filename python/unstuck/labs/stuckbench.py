"""A small bench for the doctor: runs with planted faults and healthy ones, each asked why it does not get better.

Every run is made on the digits, with one fault put in on purpose, or with none. `us.diagnose` sees the run alone. A
fault counts as found where the answer is one of its causes; a healthy run must be left alone: HEALTHY and CONVERGED are
right, UNDECIDED is no accusation. The authors planted these faults themselves, so this shows how the doctor works, not
how often it is right on other people's runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..nn import BatchNorm, CrossEntropy, Layer, Linear, Network, ReLU, Sigmoid, Tanh
from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..network_landscape import NetworkLandscape
    from ..optim import Optimizer
    from ..train import Trainer

Array = NDArray[Any]
TITLE = "Planted faults and healthy runs: what the doctor says of each"
LECTURE = ("A1", "C1")
FINE = ("HEALTHY", "CONVERGED")
ENOUGH = 0.8  # share of the faults that must be found
ALL = 10**6  # a batch size that means all data


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    only: tuple[str, ...] = setting("name of a run; repeat for more; all by default", (), choices=lambda: list(RUNS))
    seeds: int = setting("runs of every kind", 1, least=1, most=100)
    seed: int = setting("the first seed", 0, least=0, most=2**31)
    budget: float = setting("seconds for one diagnosis", 2.0, least=0.1, most=3600.0)


def land(seed: int, hidden: tuple[int, ...], activation: Callable[[], Layer], **options: Any) -> NetworkLandscape:
    """The digits, standardised, and a network; `norm`, `scale`, `init` and `l2` change what is built."""
    from ..network_landscape import NetworkLandscape
    from .digit_training import digits_in_two

    data = digits_in_two(seed)
    layers: list[Layer] = []
    for a, b in zip((64, *hidden[:-1]), hidden, strict=True) if hidden else ():
        norm = [BatchNorm(b, momentum=options["norm"])] if "norm" in options else []
        layers += [Linear(a, b), *norm, activation()]
    net = Network(
        *layers,
        Linear(hidden[-1] if hidden else 64, 10),
        input_shape=(64,),
        seed=seed,
        init=options.get("init", "torch"),
    )
    X = (data.X * options.get("scale", 1.0) + options.get("shift", 0.0)).astype(np.float32)
    return NetworkLandscape(net, CrossEntropy(), X, data.y, l2=options.get("l2", 0.0))


def trained(where: NetworkLandscape, opt: Optimizer, steps: int, batch: int = 32, seed: int = 0) -> Trainer:
    """A run of so many updates, or up to the one that could not be made."""
    from ..train import Trainer

    run = Trainer(where, opt, batch_size=batch, seed=seed)
    with contextlib.suppress(NonFiniteError), np.errstate(all="ignore"):
        run.fit(steps=steps)
    return run


def _sgd(lr: Any, momentum: float = 0.0) -> Optimizer:
    from ..optim import SGD

    return SGD(lr=lr, momentum=momentum)


def _adam(lr: Any) -> Optimizer:
    from ..optim import Adam

    return Adam(lr=lr)


def _biased(seed: int, activation: Callable[[], Layer], bias: float) -> Trainer:
    """A first layer whose units are all pushed to one side."""
    where = land(seed, (48,), activation)
    where.net.block("0.bias")[:] = bias
    return trained(where, _sgd(0.05), 400, seed=seed)


def _huge_column(seed: int) -> Trainer:
    """Softmax regression with one column 10⁴ times as large, at half the rate that its curvature bears."""
    from ..curvature import eigenpairs

    scale = np.where(np.arange(64) == 20, 1e4, 1.0)
    where = land(seed, (), Tanh, scale=scale)
    highest = eigenpairs(where.hessian(where.theta), k=1, which="largest", seed=0).values[0]
    return trained(where, _sgd(1.0 / float(highest)), 1500, ALL)


def _decaying(seed: int) -> Trainer:
    from ..schedules import exponential

    return trained(land(seed, (32,), Tanh), _sgd(exponential(0.05, 0.9)), 500, seed=seed)


def _warming(seed: int) -> Trainer:
    from ..schedules import warmup_cosine

    return trained(land(seed, (32,), Tanh), _adam(warmup_cosine(peak=1e-3, warmup=300, total=3000)), 60, seed=seed)


# name -> (right answers, the run)
RUNS: dict[str, tuple[tuple[str, ...], Callable[[int], Trainer]]] = {
    "zero start": (
        ("STRICT_SADDLE", "BAD_INITIALISATION"),
        lambda s: trained(land(s, (32,), Tanh, init="zeros"), _sgd(0.05), 300, seed=s),
    ),
    "zero start of two layers": (
        ("FLAT_SADDLE", "BAD_INITIALISATION", "STRICT_SADDLE"),
        lambda s: trained(land(s, (24, 24), Tanh, init="zeros"), _sgd(0.05), 400, seed=s),
    ),
    "rate too large": (
        ("STEP_TOO_LARGE", "NON_FINITE"),
        lambda s: trained(land(s, (32,), Tanh), _sgd(5.0, 0.9), 300, seed=s),
    ),
    "rate too small": (("STEP_TOO_SMALL",), lambda s: trained(land(s, (32,), Tanh), _sgd(1e-8), 400, seed=s)),
    "rate that decays at once": (("EXHAUSTED_STEP", "STEP_TOO_SMALL"), _decaying),
    "dead layer": (("DEAD_UNITS", "BAD_INITIALISATION"), lambda s: _biased(s, ReLU, -30.0)),
    "saturated layer": (("SATURATED_UNITS", "BAD_INITIALISATION"), lambda s: _biased(s, Sigmoid, -40.0)),
    "one huge column": (("UNSCALED_FEATURES", "ILL_CONDITIONED"), _huge_column),
    "statistics that never follow": (
        ("STALE_STATISTICS",),
        lambda s: trained(land(s, (32,), Tanh, norm=1e-4, shift=20.0), _adam(1e-3), 400, seed=s),
    ),
    "overflow": (
        ("NON_FINITE", "STEP_TOO_LARGE"),
        lambda s: trained(land(s, (32,), ReLU), _sgd(1e5), 200, seed=s),
    ),
    "healthy: Adam": (FINE, lambda s: trained(land(s, (32,), ReLU), _adam(1e-3), 300, seed=s)),
    "healthy: SGD": (FINE, lambda s: trained(land(s, (32,), Tanh), _sgd(0.05), 300, seed=s)),
    "healthy: small noisy batches": (FINE, lambda s: trained(land(s, (32,), Tanh), _sgd(0.01), 400, 4, s)),
    "healthy: edge of stability": (FINE, lambda s: trained(land(s, (32,), Tanh), _sgd(0.5), 200, ALL, s)),
    "healthy: warm-up under way": (FINE, _warming),
    "healthy: sparse ReLU": (FINE, lambda s: trained(land(s, (96,), ReLU), _adam(1e-3), 300, seed=s)),
    "healthy: batch normalisation": (
        FINE,
        lambda s: trained(land(s, (32,), Tanh, norm=0.1), _adam(1e-3), 300, seed=s),
    ),
    "healthy: trained to the end": (
        FINE,
        lambda s: trained(land(s, (), Tanh, l2=1e-2), _sgd(1.0), 600, ALL),
    ),
    "healthy: ten updates": (FINE, lambda s: trained(land(s, (32,), ReLU), _adam(1e-3), 10, seed=s)),
}


def compute(settings: Settings) -> dict[str, Any]:
    """Every run and what the doctor said of it."""
    chosen = settings.only or tuple(RUNS)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return {"rows": [_ask(name, seed, settings.budget) for name in chosen for seed in seeds]}


def _ask(name: str, seed: int, budget: float) -> dict[str, Any]:
    from ..doctor import diagnose

    causes, make = RUNS[name]
    found = diagnose(make(seed), budget=budget)
    return {
        "run": name,
        "seed": seed,
        "causes": list(causes),
        "said": found.cause.name,
        "confidences": {cause.name: confidence for cause, confidence in found.causes},
        "seconds": found.seconds,
        "right": found.cause.name in causes,
        "accused": not found.healthy and found.cause.name != "UNDECIDED",
    }


def scores(rows: list[dict[str, Any]]) -> dict[str, int]:
    """Faults and healthy runs, and how many of them are found, and accused."""
    faulty = [row for row in rows if row["causes"][0] not in FINE]
    healthy = [row for row in rows if row["causes"][0] in FINE]
    return {
        "faults": len(faulty),
        "found": sum(row["right"] for row in faulty),
        "healthy": len(healthy),
        "accused": sum(row["accused"] for row in healthy),
    }


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """No healthy run is accused, and most faults are found."""
    rows = results["rows"]
    n = scores(rows)
    wrong = [f"{row['run']} (said {row['said']})" for row in rows if not row["right"]]
    missed = f" Not right: {', '.join(wrong)}." if wrong else ""
    seconds = float(np.median([row["seconds"] for row in rows]))
    sentence = (
        f"{n['found']} of {n['faults']} planted faults are named by one of their causes, {n['accused']} of "
        f"{n['healthy']} healthy runs are accused; a diagnosis takes {seconds:.2g} s in the median.{missed}"
    )
    return bool(n["accused"] == 0 and n["found"] >= ENOUGH * n["faults"]), sentence


def figure(results: dict[str, Any]) -> Figure:
    """A table: a line for every run, a column for every cause; frames are right answers, numbers confidences."""
    from matplotlib.figure import Figure

    rows = results["rows"]
    causes = _columns(rows)
    canvas = Figure(figsize=(4.5 + 0.62 * len(causes), 2.2 + 0.34 * len(rows)), layout="constrained")
    axes = canvas.subplots()
    for place, row in enumerate(rows):
        _line(axes, place, row, causes)
    axes.set_xlim(-0.5, len(causes) + 0.4)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(causes)), [name.replace("_", " ").lower() for name in causes], rotation=50, ha="left")
    axes.xaxis.tick_top()
    many = len({row["seed"] for row in rows}) > 1
    axes.set_yticks(range(len(rows)), [f"{row['run']} {row['seed']}" if many else row["run"] for row in rows])
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    n = scores(rows)
    axes.set_xlabel(
        f"frame: a right answer; number: confidence; bold: what was said\n{n['found']} of {n['faults']} faults found, "
        f"{n['accused']} of {n['healthy']} healthy runs accused"
    )
    return canvas


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    """The causes that occur, in the order of `Cause`."""
    from ..doctor import Cause

    seen = {name for row in rows for name in (row["said"], *row["causes"], *_worth(row))}
    return [cause.name for cause in Cause if cause.name in seen]


def _worth(row: dict[str, Any]) -> dict[str, float]:
    """The answers with a confidence worth showing."""
    return {name: sure for name, sure in row["confidences"].items() if sure >= 0.05 or name == row["said"]}


def _line(axes: Axes, place: int, row: dict[str, Any], causes: list[str]) -> None:
    from matplotlib.patches import Rectangle

    sure = _worth(row)
    for column, cause in enumerate(causes):
        corner = (column - 0.46, place - 0.42)
        if cause in sure:
            shade = 0.12 + 0.6 * sure[cause]
            colour = "#15803d" if cause in row["causes"] else "#be123c" if cause == row["said"] else "#667085"
            axes.add_patch(Rectangle(corner, 0.92, 0.84, color=colour, alpha=shade, lw=0))
            weight = "bold" if cause == row["said"] else "normal"
            ink = "white" if shade > 0.6 else "#1b2330"
            axes.text(
                column, place, f"{sure[cause]:.2f}", ha="center", va="center", color=ink, weight=weight, fontsize=9
            )
        if cause in row["causes"]:
            axes.add_patch(Rectangle(corner, 0.92, 0.84, fill=False, edgecolor="#1b2330", lw=1.4))
    mark = ("✓" if row["right"] else "·" if row["said"] == "UNDECIDED" else "✗", f"{row['seconds']:.1f} s")
    axes.text(len(causes) - 0.3, place, " ".join(mark), va="center", fontsize=9)
