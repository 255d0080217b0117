"""How far the quadratic Taylor model can be trusted, away from a critical point and at one.

Near θ the loss is L(θ + t·v) = L + t·gᵀv + ½t²·vᵀHv + O(t³). The lab measures the model's error along
directions of a small network's loss (tanh, float64, real digits) at its start and at a critical point that it
was driven to: the error of the model with H falls with t³, without H only with t². At the critical point g
drops out and the sign of vᵀHv alone decides whether the way leads up or down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..network_landscape import NetworkLandscape
from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "The quadratic Taylor model against the true loss of a network"
LECTURE = ("A2",)
_COLOURS = {"quadratic": "#2563eb", "linear": "#c2410c"}


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    samples: int = setting("digits that the loss is taken over", 300, least=20, most=1797)
    hidden: int = setting("units of the hidden layer", 8, least=1, most=256)
    l2: float = setting("weight of the penalty ½·l2·‖θ‖²", 1e-2, least=0.0, most=1.0)
    steps: int = setting("full-batch Adam steps before the critical point is sought", 1500, least=1, most=100_000)
    directions: int = setting("random directions at each point", 4, least=1, most=100)
    points: int = setting("distances t per direction", 25, least=8, most=400)
    reach: float = setting("largest distance t", 1.0, least=1e-2, most=100.0)
    seed: int = setting("of the network, the samples and the directions", 0, least=0, most=2**31)


def landscape(settings: Settings) -> NetworkLandscape:
    """The penalised cross-entropy of a 64-hidden-10 tanh network on digits, float64."""
    from .. import nn
    from ..data import digits

    X, y = digits()
    chosen = np.random.default_rng(settings.seed).permutation(len(X))[: settings.samples]
    net = nn.Network(
        nn.Linear(64, settings.hidden),
        nn.Tanh(),
        nn.Linear(settings.hidden, 10),
        input_shape=(64,),
        seed=settings.seed,
        dtype="float64",
    )
    return NetworkLandscape(net, nn.CrossEntropy(), X[chosen].astype(np.float64), y[chosen], l2=settings.l2)


def compute(settings: Settings) -> dict[str, Any]:
    """Model and truth along directions at the start and at the critical point."""
    from .. import find_critical, minimize
    from ..optim import Adam
    from ..schedules import warmup_cosine

    land = landscape(settings)
    start = land.theta.copy()
    rate = warmup_cosine(peak=0.02, warmup=1, total=settings.steps + 1)
    trained = minimize(land, Adam(lr=rate), start, steps=settings.steps)
    critical = find_critical(land, trained.theta)
    rng = np.random.default_rng(settings.seed + 1)
    t = np.geomspace(settings.reach * 1e-4, settings.reach, settings.points)
    return {
        "t": t,
        "n": land.n,
        "converged": critical.converged,
        "start": _along(land, start, _directions(land, settings, rng), t),
        "critical": _along(land, critical.theta, _directions(land, settings, rng), t),
    }


def _directions(land: NetworkLandscape, settings: Settings, rng: np.random.Generator) -> Array:
    rows = rng.standard_normal((settings.directions, land.n))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _along(land: NetworkLandscape, theta: Array, directions: Array, t: Array) -> dict[str, Any]:
    """Errors (directions, points) of the linear and the quadratic model, their slopes, and what g contributes."""
    loss, gradient = land.gradient(theta)
    slope = directions @ gradient
    curvature = np.einsum("ij,ji->i", directions, land.hessian(theta) @ directions.T)
    true = np.array([[land.loss(theta + s * v) for s in t] for v in directions])
    linear = np.abs(true - loss - np.outer(slope, t))
    quadratic = np.abs(true - loss - np.outer(slope, t) - 0.5 * np.outer(curvature, t**2))
    # a difference of two losses is rounded to a few u·L
    floor = 64 * np.finfo(np.float64).eps * abs(loss)
    return {
        "loss": loss,
        "gradient_norm": float(np.linalg.norm(gradient)),
        "curvature": curvature,
        "linear": linear,
        "quadratic": quadratic,
        "floor": floor,
        "linear_order": [_order(t, row, floor) for row in linear],
        "quadratic_order": [_order(t, row, floor) for row in quadratic],
        "gradient_share": float(np.max(np.abs(slope) / (np.abs(slope) + 0.05 * np.abs(curvature)))),
    }


def _order(t: Array, error: Array, floor: float) -> float:
    """The power p of error ∝ tᵖ, fitted over the smallest decade of t whose error stands clear of rounding."""
    clear = np.flatnonzero(error > 30 * floor)
    if len(clear) == 0:
        return float("nan")
    window = clear[t[clear] <= 10 * t[clear[0]] * (1 + 1e-9)]
    if len(window) < 3:
        return float("nan")
    return float(np.polyfit(np.log(t[window]), np.log(error[window]), 1)[0])


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Error ∝ t³ with H and ∝ t² without, at both points; at the critical point g contributes nothing."""
    cubic = np.array([results[where]["quadratic_order"] for where in ("start", "critical")]).ravel()
    square = np.array([results[where]["linear_order"] for where in ("start", "critical")]).ravel()
    away, there = results["start"], results["critical"]
    holds = bool(
        np.all(cubic > 2.7)
        and 2.8 < np.median(cubic) < 3.3
        and 1.8 < np.median(square) < 2.2
        and there["gradient_share"] < 0.01
    )
    sentence = (
        f"The error of the quadratic model grows with t^{np.median(cubic):.2f}, of the linear one with "
        f"t^{np.median(square):.2f} (medians over {len(cubic)} directions of a network with {results['n']} "
        f"parameters). At the start (gradient norm {away['gradient_norm']:.2g}) the gradient makes up to "
        f"{away['gradient_share']:.0%} of the change at t = 0.1, at the critical point (gradient norm "
        f"{there['gradient_norm']:.2g}) at most {there['gradient_share']:.2g}: there the curvature decides."
    )
    return holds, sentence


def figure(results: dict[str, Any]) -> Figure:
    """Error against distance on logarithmic axes, for both points."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 4.6), layout="constrained")
    titles = {"start": "At the start", "critical": "At the critical point"}
    for axes, (where, title) in zip(canvas.subplots(1, 2, sharey=True), titles.items(), strict=True):
        _errors(axes, np.asarray(results["t"]), results[where])
        axes.set_title(f"{title}, ‖g‖ = {results[where]['gradient_norm']:.2g}")
    return canvas


def _errors(axes: Axes, t: Array, found: dict[str, Any]) -> None:
    for model, power in (("linear", 2), ("quadratic", 3)):
        errors = np.maximum(np.asarray(found[model]), found["floor"] / 64)
        for i, row in enumerate(errors):
            label = f"{model} model" if i == 0 else None
            axes.loglog(t, row, color=_COLOURS[model], lw=1.3, alpha=0.8, label=label)
        guide = float(np.median(errors[:, -1])) * (t / t[-1]) ** power
        axes.loglog(t, guide, ":", color="#667085", lw=1.2)
        middle = len(t) // 2
        axes.annotate(f"∝ t{'²³'[power - 2]}", (t[middle], guide[middle]), xytext=(-34, 12), textcoords="offset points")
    axes.axhspan(found["floor"] / 1e3, found["floor"], color="#e3e7ee", lw=0)
    axes.annotate("rounding", (t[-1], found["floor"] / 2), ha="right", va="top", color="#667085")
    axes.set_ylim(bottom=found["floor"] / 1e3)
    axes.set_xlabel("distance t along a random unit direction")
    axes.set_ylabel("error of the model")
    axes.legend(loc="upper left")
