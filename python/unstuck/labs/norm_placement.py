"""Before or after the activation: both train, and for the sigmoid before is better.

A deep sigmoid network reads real digits without batch normalisation, with it before every sigmoid and with it after.
The gradient is measured on either side of every sigmoid: σ′ = σ(1 − σ) lets at most a quarter of it through, and next
to nothing where the sigmoid is saturated. Normalising z before the sigmoid keeps it where it is steep, whatever the
size of the weights: √E σ′(z)² = 0.212 for Gaussian z of mean 0 and deviation 1. Normalising a after it makes up for
what was lost on the way through the layers, but a saturated sigmoid stays saturated. All three are trained at several
rates, from first weights of the usual size and from weights so large that sigmoids saturate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .digit_training import deep, digits_in_two, enlarge, learn
from .passes import backward, cross_entropy, forward

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "Normalisation before or after the activation, and the gradient either side of a sigmoid"
LECTURE = ("D3",)
PLACES = ("none", "before", "after")
LABELS = {"none": "no normalisation", "before": "before the sigmoid", "after": "after the sigmoid"}
STYLES: dict[str, dict[str, Any]] = {
    "none": {"color": "#667085", "marker": "s", "ls": ":"},
    "before": {"color": "#1d4ed8", "marker": "o", "ls": "-"},
    "after": {"color": "#ea580c", "marker": "^", "ls": "--"},
}


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    depth: int = setting("hidden layers", 4, least=1, most=50)
    width: int = setting("units of each", 64, least=2, most=4096)
    sizes: tuple[float, ...] = setting(
        "factors of the first weights at which the gradient is measured, the last that of saturated training",
        (0.25, 1.0, 4.0, 16.0),
        least=1e-3,
        most=1e4,
        fewest=1,
    )
    rates: tuple[float, ...] = setting(
        "learning rates of plain gradient descent", (0.03, 0.1, 0.3, 1.0, 3.0), least=1e-6, most=100.0, fewest=1
    )
    updates: int = setting("of every run", 100, least=10, most=100_000)
    seeds: int = setting("runs of each kind", 3, least=1, most=100)


def compute(settings: Settings) -> dict[str, Any]:
    """Gradients on either side of the sigmoids at every size of the weights, and training at two sizes."""
    sides = {place: [_either_side(settings, place, size) for size in settings.sizes] for place in PLACES}
    usual = {place: _either_side(settings, place, 1.0) for place in PLACES}
    return {
        "sizes": settings.sizes,
        "rates": settings.rates,
        "updates": settings.updates,
        "passed": {place: [float(np.mean(side["passed"])) for side in found] for place, found in sides.items()},
        "saturated": {place: [float(np.mean(side["saturated"])) for side in found] for place, found in sides.items()},
        "either_side": usual,
        "accuracy": {place: _accuracies(settings, place, 1.0) for place in PLACES},
        "saturated_accuracy": {place: _accuracies(settings, place, settings.sizes[-1]) for place in PLACES},
    }


def _either_side(settings: Settings, place: str, size: float) -> dict[str, Array]:
    """Of every sigmoid at the start: root mean square of ∂L/∂z and ∂L/∂a, their ratio, and the saturated share."""
    from ..nn import Network, Sigmoid

    data = digits_in_two(0)
    layers = deep(settings.depth, settings.width, Sigmoid, place)
    net = Network(*layers, input_shape=(64,), seed=0, dtype="float64", init="he_normal")
    enlarge(net, size)
    trace = forward(net, net.theta, data.X[:256].astype(np.float64))
    _, deltas = backward(trace, cross_entropy(trace.values[-1], data.y[:256])[1])
    sigmoids = [i for i, layer in enumerate(net.layers) if isinstance(layer, Sigmoid)]
    z = np.array([_root_mean_square(deltas[i]) for i in sigmoids])
    a = np.array([_root_mean_square(deltas[i + 1]) for i in sigmoids])
    slopes = [trace.values[i + 1] * (1.0 - trace.values[i + 1]) for i in sigmoids]
    return {
        "z": z,
        "a": a,
        "passed": z / np.maximum(a, np.finfo(float).tiny),
        "saturated": np.array([float(np.mean(slope < 0.01)) for slope in slopes]),  # |z| > 4.6
    }


def _root_mean_square(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _accuracies(settings: Settings, place: str, size: float) -> Array:
    """Validation accuracy at the end, the mean of the last three measurements, (rates, seeds)."""
    from ..nn import Sigmoid

    layers, every = deep(settings.depth, settings.width, Sigmoid, place), max(1, settings.updates // 10)
    parts = [digits_in_two(seed) for seed in range(settings.seeds)]
    return np.array(
        [
            [
                learn(layers, data, lr, seed=seed, updates=settings.updates, every=every, size=size)
                .accuracy[-3:]
                .mean()
                for seed, data in enumerate(parts)
            ]
            for lr in settings.rates
        ]
    )


def medians(accuracies: dict[str, Any]) -> dict[str, Array]:
    """Median over the seeds, for every placement (rates,)."""
    return {place: np.median(np.asarray(found), axis=1) for place, found in accuracies.items()}


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Both placements train where none does not; before the sigmoid bears more rates and saturating weights."""
    usual, large = medians(results["accuracy"]), medians(results["saturated_accuracy"])
    best = {place: float(usual[place].max()) for place in PLACES}
    best_large = {place: float(large[place].max()) for place in PLACES}
    passed = {place: results["passed"][place][-1] for place in PLACES}
    worst = {place: float(usual[place].min()) for place in PLACES}
    holds = (
        min(best["before"], best["after"]) > 0.85
        and best["none"] < 0.5
        and worst["before"] > worst["after"] + 0.2
        and best_large["before"] > best_large["after"] + 0.05
        and passed["before"] > 1.5 * passed["after"]
    )
    rates = results["rates"]
    sentence = (
        f"After {results['updates']} updates from weights of the usual size the best accuracies on digits not trained "
        f"on are {best['before']:.2f} with normalisation before the sigmoid, {best['after']:.2f} after it and "
        f"{best['none']:.2f} without: both work. The worst over rates from {min(rates):g} to {max(rates):g} are "
        f"{worst['before']:.2f} before and {worst['after']:.2f} after. From weights {results['sizes'][-1]:g} times as "
        f"large a sigmoid passes {passed['before']:.3f} of the gradient before, {passed['after']:.3f} after, and the "
        f"best accuracies are {best_large['before']:.2f} and {best_large['after']:.2f} "
        f"({best_large['none']:.2f} without): for a sigmoid, before is better."
    )
    return bool(holds), sentence


def figure(results: dict[str, Any]) -> Figure:
    """What a sigmoid passes over the weights' size, gradients through the layers, and accuracy over the rate."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(12.5, 9), layout="constrained")
    (share, layers), (usual, large) = canvas.subplots(2, 2)
    for place in PLACES:
        share.semilogx(results["sizes"], results["passed"][place], label=LABELS[place], **STYLES[place])
    share.axhline(0.25, color="black", lw=0.8)
    share.annotate(
        "σ′ is at most ¼", (results["sizes"][0], 0.25), xytext=(0, 3), textcoords="offset points", fontsize=8
    )
    share.set_ylim(0.0, 0.29)
    share.set_xlabel("size of the first weights, the usual being 1")
    share.set_ylabel("|∂L/∂z| over |∂L/∂a|, mean over the sigmoids")
    share.set_title("What a sigmoid passes on: before keeps it steep")
    share.legend(fontsize=9, loc="lower left")
    _through_the_layers(layers, results)
    _over_the_rate(usual, results, "accuracy", "Weights of the usual size: both train")
    _over_the_rate(
        large, results, "saturated_accuracy", f"Weights {results['sizes'][-1]:g} times as large: before is better"
    )
    best = {place: float(row.max()) for place, row in medians(results["saturated_accuracy"]).items()}
    canvas.suptitle(
        f"For a sigmoid, normalise before it: with saturating weights {best['before']:.2f} of the digits are read, "
        f"{best['after']:.2f} with the norm after it",
        fontsize=13,
    )
    return canvas


def _through_the_layers(axes: Axes, results: dict[str, Any]) -> None:
    """The gradient's zigzag from the output back to the input, both sides of every sigmoid."""
    for place in PLACES:
        side = results["either_side"][place]
        z, a = np.asarray(side["z"]), np.asarray(side["a"])
        at = np.arange(1, len(z) + 1)
        both = np.column_stack([z, a]).ravel()
        where = np.column_stack([at - 0.15, at + 0.15]).ravel()
        style = {**STYLES[place], "marker": ""}
        axes.semilogy(where, both, lw=1.4, **style)
        dot = {"color": STYLES[place]["color"], "marker": STYLES[place]["marker"], "ls": ""}
        axes.semilogy(at - 0.15, z, **dot)
        axes.semilogy(at + 0.15, a, mfc="white", **dot)
    axes.set_xticks(np.arange(1, len(results["either_side"]["none"]["z"]) + 1))
    axes.set_xlabel("sigmoid of hidden layer (filled: ∂L/∂z before it, open: ∂L/∂a after it)")
    axes.set_ylabel("root mean square of the gradient")
    axes.set_title("Usual weights: the gradient on its way back, right to left")


def _over_the_rate(axes: Axes, results: dict[str, Any], key: str, title: str) -> None:
    """Median, lowest and highest accuracy of the seeds."""
    for place, middle in medians(results[key]).items():
        found = np.asarray(results[key][place])
        axes.semilogx(results["rates"], middle, label=LABELS[place], **STYLES[place])
        axes.fill_between(
            results["rates"], found.min(axis=1), found.max(axis=1), color=STYLES[place]["color"], alpha=0.15, lw=0
        )
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("learning rate")
    axes.set_ylabel(f"accuracy after {results['updates']} updates, digits not trained on")
    axes.set_title(title)
