"""Leaving a saddle: plain descent, momentum, small batches, a random push, and a step along negative curvature.

A tanh network on digits with all weights zero and the best constant answer is a critical point: the gradient
vanishes, and the Hessian has eigenvalues of both signs. Every method starts at the same point, a hair's breadth
beside it, and leaves when the loss has fallen by a given share. Near the saddle plain descent multiplies its distance
along an eigenvector by 1 + η|λ| per update, so it needs about ln(distance/breadth)/ln(1 + η|λ_min|) updates: it is
slow because the breadth is small. The instrument finds the direction with a dozen Hessian products, proves its
curvature, and steps along it by a length from a cubic model; sign, step, and the actual beside the predicted decrease
are reported, and a step that does not lower the loss is taken back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..network_landscape import NetworkLandscape
from ..number_text import number
from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..train import Trainer

Array = NDArray[np.float64]
TITLE = "Leaving a saddle: descent, momentum, small batches, a push, negative curvature"
LECTURE = ("A5", "A6")
CURVATURE = "negative curvature"
LOOK = 10  # updates between two looks at the loss


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    hidden: int = setting("hidden units", 16, least=1, most=1000)
    samples: int = setting("digits", 300, least=50, most=1797)
    breadth: float = setting("distance from the saddle at the start", 1e-4, least=1e-7, most=1e-2)
    lr: float = setting("learning rate", 2.0, least=1e-4, most=10.0)
    momentum: float = setting("of the method with momentum", 0.9, least=0.0, most=0.999)
    batches: tuple[int, ...] = setting("batch sizes below all data", (16, 64), least=1, most=1797)
    push: float = setting("length of the random push", 0.1, least=1e-6, most=10.0)
    fall: float = setting("share of the loss that must be gone", 0.1, least=1e-3, most=0.9)
    steps: int = setting("updates at most", 2000, least=10, most=1_000_000)
    seeds: int = setting("starting points", 2, least=1, most=100)


def landscape(settings: Settings) -> tuple[NetworkLandscape, Array]:
    """The surface, and the saddle: zero weights, and the class frequencies as answer."""
    from .. import nn
    from ..data import digits

    data, labels = digits()
    X, y = data[: settings.samples].astype(np.float64) / 16.0, labels[: settings.samples]
    net = nn.Network(
        nn.Linear(64, settings.hidden),
        nn.Tanh(),
        nn.Linear(settings.hidden, 10),
        input_shape=(64,),
        seed=0,
        dtype="float64",
    )
    saddle = np.zeros(net.n)
    saddle[-10:] = np.log(np.bincount(y, minlength=10) / len(y))
    return NetworkLandscape(net, nn.CrossEntropy(), X - X.mean(axis=0), y), saddle


def compute(settings: Settings) -> dict[str, Any]:
    """Updates and seconds of every method from every starting point, and the step that is reported."""
    land, saddle = landscape(settings)
    methods = _methods(settings)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in methods}
    for seed in range(settings.seeds):
        start = _beside(land, saddle, settings.breadth, seed)
        for name, method in methods.items():
            runs[name].append(method(land, start, land.loss(saddle), seed))
    first = runs[CURVATURE][0]
    return {
        "settings": {"lr": settings.lr, "breadth": settings.breadth, "fall": settings.fall, "steps": settings.steps},
        "parameters": land.n,
        "loss": land.loss(saddle),
        "gradient_norm": float(np.linalg.norm(land.gradient(saddle)[1])),
        "least": first["least"],
        "growth": _predicted(settings, first["least"]),
        "runs": runs,
        "line": _line(land, saddle, first["direction"], 1.25 * max(first["step"], 1e-3)),
    }


def _beside(land: NetworkLandscape, saddle: Array, breadth: float, seed: int) -> Array:
    offset = np.random.default_rng([seed, 1]).standard_normal(land.n)
    return np.asarray(saddle + breadth * offset / np.linalg.norm(offset))


def _methods(settings: Settings) -> dict[str, Callable[..., dict[str, Any]]]:
    def descend(momentum: float, batch: int, push: float = 0.0) -> Callable[..., dict[str, Any]]:
        def method(land: NetworkLandscape, start: Array, loss: float, seed: int) -> dict[str, Any]:
            began = time.perf_counter()
            where = _beside(land, start, push, seed + 1000) if push else start
            return _descent(settings, land, where, loss, momentum, batch, seed, began)

        return method

    everything = settings.samples
    return {
        "plain descent": descend(0.0, everything),
        f"momentum {settings.momentum:g}": descend(settings.momentum, everything),
        **{f"batch {batch}": descend(0.0, batch) for batch in settings.batches if batch < everything},
        f"push of {settings.push:g}": descend(0.0, everything, settings.push),
        CURVATURE: lambda land, start, loss, seed: _by_curvature(settings, land, start, loss, seed),
    }


def _descent(
    settings: Settings,
    land: NetworkLandscape,
    start: Array,
    loss: float,
    momentum: float,
    batch: int,
    seed: int,
    began: float,
) -> dict[str, Any]:
    """SGD from `start` until the loss of all data has fallen by the share."""
    from ..optim import SGD
    from ..train import Trainer

    run: Trainer = Trainer(land, SGD(lr=settings.lr, momentum=momentum), batch_size=batch, seed=seed, theta=start)
    losses, steps = [land.loss(start)], [0]
    while losses[-1] > (1.0 - settings.fall) * loss and run.t < settings.steps:
        run.fit(steps=min(LOOK, settings.steps - run.t))
        losses.append(land.loss(run.theta))
        steps.append(run.t)
    left = losses[-1] <= (1.0 - settings.fall) * loss
    return {
        "updates": run.t if left else None,
        "seconds": time.perf_counter() - began,
        "steps": steps,
        "losses": losses,
        "products": 0,
    }


def _by_curvature(settings: Settings, land: NetworkLandscape, start: Array, loss: float, seed: int) -> dict[str, Any]:
    """Classify, escape, then plain descent."""
    from ..critical import classify
    from ..escape import escape

    began = time.perf_counter()
    point = classify(land, start, seed=seed)
    if point.direction is None:
        return {
            "updates": None,
            "seconds": time.perf_counter() - began,
            "steps": [0],
            "losses": [land.loss(start)],
            "products": point.products,
            "verdict": point.verdict,
            "escaped": False,
            "predicted": 0.0,
            "actual": 0.0,
            "step": 0.0,
            "sentence": str(point),
            "least": point.lambda_min.upper,
            "direction": np.zeros(land.n),
        }
    way = escape(land, start, point)
    after = _descent(settings, land, way.theta, loss, 0.0, settings.samples, seed, began)
    return {
        **after,
        "products": point.products,
        "verdict": point.verdict,
        "escaped": way.succeeded,
        "predicted": way.predicted_decrease,
        "actual": way.loss_before - way.loss_after,
        "step": way.step,
        "sentence": str(way),
        "least": point.lambda_min.upper,
        "direction": (way.theta - start) / max(way.step, 1e-300),
    }


def _predicted(settings: Settings, least: float) -> float:
    """ln(1/breadth)/ln(1 + η|λ_min|): updates in which the distance along the steepest way grows to 1.

    The start's share in that direction is breadth·√(2/(π·n)) or so; both are of the same order in the logarithm.
    """
    return float(np.log(1.0 / settings.breadth) / np.log1p(settings.lr * max(-least, 1e-300)))


def _line(land: NetworkLandscape, saddle: Array, direction: Array, reach: float) -> dict[str, Any]:
    """The loss along the way out and the parabola of its curvature."""
    v = np.asarray(direction)
    t = np.linspace(-reach, reach, 121)
    curvature = float(v @ (land.hessian(saddle) @ v))
    base = land.loss(saddle)
    return {
        "t": t,
        "true": np.array([land.loss(saddle + s * v) for s in t]),
        "model": base + 0.5 * curvature * t**2,
        "curvature": curvature,
    }


def median_updates(results: dict[str, Any]) -> dict[str, float]:
    """Median updates to leave; infinite where at least half of the runs never did."""
    return {
        name: float(np.median([np.inf if row["updates"] is None else row["updates"] for row in rows]))
        for name, rows in results["runs"].items()
    }


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """The curved way out is verified and needs the fewest updates; plain descent needs as many as its growth says."""
    updates = median_updates(results)
    ways = results["runs"][CURVATURE]
    found = all(way["escaped"] and way["actual"] > 0 and way["verdict"].name == "STRICT_SADDLE" for way in ways)
    others = {name: value for name, value in updates.items() if name != CURVATURE}
    plain = others["plain descent"]
    soonest = updates[CURVATURE] < min(others.values())
    grown = bool(0.5 * results["growth"] < plain < 3.0 * results["growth"])
    seconds = {name: float(np.median([row["seconds"] for row in rows])) for name, rows in results["runs"].items()}
    listed = ", ".join(
        f"{name} {'never' if np.isinf(updates[name]) else f'{updates[name]:g}'} ({seconds[name]:.2g} s)"
        for name in updates
    )
    way = ways[0]
    sentence = (
        f"At the saddle (loss {results['loss']:.4g}, ‖∇L‖ = {results['gradient_norm']:.1g}, λ_min ≤ "
        f"{results['least']:.3g}) {way['products']} products prove a direction of negative curvature; the step of "
        f"length {way['step']:.3g} lowers the loss by {way['actual']:.3g}, {way['predicted']:.3g} was predicted. "
        f"Updates to lose {100 * results['settings']['fall']:g} % of the loss: {listed}. Plain descent's growth rate "
        f"alone predicts {results['growth']:.0f}."
    )
    return bool(found and soonest and grown), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Losses over updates, updates and seconds of every method, and the line along the way out."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    for name, rows in results["runs"].items():
        mark = "o" if name == CURVATURE else None
        left.plot(np.asarray(rows[0]["steps"]) + 1, rows[0]["losses"], marker=mark, lw=1.6, label=name)
    left.axhline((1.0 - results["settings"]["fall"]) * results["loss"], color="#667085", ls=":", lw=1.2)
    left.set_xscale("log")
    left.set_xlabel("update + 1")
    left.set_ylabel("loss of all data")
    left.set_title("From a hair's breadth beside the saddle")
    left.legend(fontsize=8, loc="upper left")
    _bars(middle, results)
    line = results["line"]
    right.plot(line["t"], line["true"], color="#2563eb", lw=2, label="true loss")
    right.plot(line["t"], line["model"], "--", color="#c2410c", lw=1.6, label="quadratic model")
    low, high = min(line["true"]), max(line["true"])
    right.set_ylim(low - 0.6 * (high - low) - 1e-12, high + 0.1 * (high - low) + 1e-12)
    right.set_xlabel(f"along the way out, curvature {number(line['curvature'], 3)}")
    right.set_ylabel("loss")
    way = results["runs"][CURVATURE][0]
    right.plot(way["step"], results["loss"] - way["actual"], "o", color="#2563eb", label="the step taken")
    right.set_title("Along the way out")
    right.legend(fontsize=8, loc="lower center")
    return canvas


def _bars(axes: Axes, results: dict[str, Any]) -> None:
    updates = median_updates(results)
    names, most = list(updates)[::-1], float(results["settings"]["steps"])
    places = np.arange(len(names))
    axes.set_xscale("log")
    seconds = [float(np.median([row["seconds"] for row in results["runs"][name]])) for name in names]
    axes.barh(places + 0.2, [min(updates[name], most) for name in names], 0.38, color="#2563eb", label="updates")
    axes.barh(places - 0.2, [1000.0 * s for s in seconds], 0.38, color="#f59e0b", label="milliseconds")
    for place, name in zip(places, names, strict=True):
        if np.isinf(updates[name]):
            axes.annotate("never", (most, place + 0.2), va="center", ha="right", color="white", fontsize=8)
        if updates[name] == 0:
            text = f"0 updates, {results['runs'][name][0]['products']} products"
            axes.annotate(text, (1.2, place + 0.2), va="center", color="#2563eb", fontsize=8)
    axes.set_xlim(left=1.0)
    axes.set_yticks(places, names, fontsize=9)
    axes.set_title("Updates and time to leave")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
