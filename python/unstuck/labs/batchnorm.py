"""Batch normalisation: the batch becomes one function, γ and β move, running statistics follow, training is faster.

∂aʲ/∂zⁱ of one normalised channel is (γ/σ)(δⱼᵢ − 1/N − ẑʲẑⁱ/N) while μ and σ are the batch's, so that every sample acts
on every other; with running statistics it is exactly 0 for j ≠ i. Beside it: the loss over the same plane through
trained weights without and with normalisation; the paths of γ and β, frozen at 1 and 0 at first; the running mean
μ̄ ← pμ̄ + (1 − p)μ for several p against the mean over all samples; and the accuracy on real digits that were not
trained on, without and with normalisation at a rate, 5 and 30 times that rate, for ReLU and for sigmoid networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..nn import BatchNorm, CrossEntropy, Layer, ReLU, Sigmoid
from ..settings import setting
from .batchnorm_measures import Followed, channel_jacobian, followed, plane, sample_coupling, surface, twin_networks
from .digit_training import BATCH, Digits, advance, deep, digits_in_two, in_words, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "Batch normalisation: one function of the whole batch, and faster training"
LECTURE = ("D4", "D6", "D7", "D8")
KINDS = ("none", "before")
OLD_WEIGHTS = (0.0, 0.9, 0.99)  # p, the weight of the old running mean
TRAINED = 60  # updates before the surface is drawn


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    depth: int = setting("hidden layers", 10, least=1, most=50)
    width: int = setting("units of each", 64, least=2, most=4096)
    lr: float = setting("learning rate of plain gradient descent", 0.1, least=1e-6, most=100.0)
    factors: tuple[float, ...] = setting("rates in units of it", (1.0, 5.0, 30.0), least=1e-3, most=1e6, fewest=1)
    updates: int = setting("of every run", 140, least=20, most=100_000)
    every: int = setting("updates between two measurements", 5, least=1, most=1000)
    goal: float = setting("accuracy whose arrival is counted", 0.9, least=0.0, most=1.0)
    frozen: int = setting("updates during which γ and β stay at 1 and 0", 40, least=0, most=100_000)
    seeds: int = setting("runs of each kind", 3, least=1, most=100)
    resolution: int = setting("grid points per side of the contour plots", 25, least=5, most=1000)


def compute(settings: Settings) -> dict[str, Any]:
    """Coupling of the samples, the two surfaces, paths of γ, β and running statistics, and the learning curves."""
    z = np.random.default_rng(0).standard_normal(8)
    data, first = digits_in_two(0), twin_networks(settings.depth, settings.width, 0)["before"]
    modes = {"train": True, "eval": False}
    return {
        "lr": settings.lr,
        "depth": settings.depth,
        "factors": settings.factors,
        "goal": settings.goal,
        "frozen": settings.frozen,
        "z": z,
        "jacobian": {mode: channel_jacobian(z, 1.0, training) for mode, training in modes.items()},
        "coupling": {mode: sample_coupling(first, data, 16, training) for mode, training in modes.items()},
        "surface": _surfaces(settings, data),
        "measured_at": np.arange(0, settings.updates + 1, settings.every),
        "followed": [_followed(settings, data, old_weight) for old_weight in OLD_WEIGHTS],
        "learning": {
            activation.__name__: {
                kind: [_learning(settings, activation, kind, factor) for factor in settings.factors] for kind in KINDS
            }
            for activation in (ReLU, Sigmoid)
        },
    }


def _surfaces(settings: Settings, data: Digits) -> dict[str, Any]:
    """Of two networks of equal first weights after the same number of updates, over the same plane."""
    from ..network_landscape import NetworkLandscape
    from ..optim import SGD
    from ..train import Trainer

    nets = twin_networks(settings.depth, settings.width, 0)
    for net in nets.values():
        land = NetworkLandscape(net, CrossEntropy(), data.X, data.y)
        advance(Trainer(land, SGD(lr=settings.lr), batch_size=BATCH, seed=0), TRAINED)
    spans = plane(nets["none"], nets["before"], 0)
    return {kind: surface(nets[kind], data, span, settings.resolution) for kind, span in zip(KINDS, spans, strict=True)}


def _followed(settings: Settings, data: Digits, old_weight: float) -> Followed:
    layers = [
        replace(layer, momentum=1.0 - old_weight) if isinstance(layer, BatchNorm) else layer
        for layer in deep(settings.depth, settings.width, ReLU, "before")
    ]
    rate = float(np.median(settings.factors)) * settings.lr
    return followed(layers, data, rate, settings.frozen, settings.updates, settings.every)


def _learning(settings: Settings, activation: Callable[[], Layer], kind: str, factor: float) -> dict[str, Any]:
    """Accuracy of every seed's run (seeds, m), and the median number of updates until the goal."""
    layers = deep(settings.depth, settings.width, activation, kind)
    runs = [
        learn(
            layers, digits_in_two(seed), factor * settings.lr, seed=seed, updates=settings.updates, every=settings.every
        )
        for seed in range(settings.seeds)
    ]
    return {
        "accuracy": np.array([run.accuracy for run in runs]),
        "arrival": float(np.median([run.first(settings.goal) for run in runs])),
        "final": float(np.median([run.accuracy[-3:].mean() for run in runs])),
    }


def coupling(results: dict[str, Any], mode: str) -> float:
    """The largest |∂Lʲ/∂xⁱ|, j ≠ i, over the mean of j = i."""
    found = np.asarray(results["coupling"][mode])
    own = max(float(found.diagonal().mean()), np.finfo(np.float64).tiny)
    return float((found - np.diag(found.diagonal())).max() / own)


def highest(heights: Array) -> float:
    """The largest number; infinite if one is NaN."""
    found = float(np.max(heights))
    return np.inf if np.isnan(found) else found


def running_errors(results: dict[str, Any]) -> list[Array]:
    """Root mean square over the channels of (μ̄ − μ)/σ, for every p (m,)."""
    return [
        np.asarray(np.sqrt(np.mean(((f["running"] - f["mean"]) / f["deviation"]) ** 2, axis=1)))
        for f in results["followed"]
    ]


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Samples are coupled in train mode only; the surface is smoother; training is faster and bears larger rates."""
    relu, sigmoid = results["learning"]["ReLU"], results["learning"]["Sigmoid"]
    train, evaluation = coupling(results, "train"), coupling(results, "eval")
    walls = {kind: highest(results["surface"][kind]["heights"]) for kind in KINDS}
    curvatures = {kind: results["surface"][kind]["curvature"] for kind in KINDS}
    best = {kind: min(run["arrival"] for run in relu[kind]) for kind in KINDS}
    finals = [run["final"] for run in relu["before"]]
    holds = (
        train > 1e-3
        and evaluation == 0.0
        and walls["none"] > 10.0 * walls["before"]
        and curvatures["none"] > 1.5 * curvatures["before"]
        and best["before"] < 0.6 * best["none"]
        and max((run["final"] for run in relu["none"][1:]), default=1.0) < 0.7
        and min(finals) > results["goal"]
        and max(run["final"] for run in sigmoid["none"]) < 0.5
        and max(run["final"] for run in sigmoid["before"]) > results["goal"]
    )
    factors = results["factors"]
    sentence = (
        f"In train mode a sample's pixels change another's loss by up to {train:.2g} of what they change their own, "
        f"in eval mode by {evaluation:g}. Over the same plane the loss climbs to {walls['none']:.3g} without "
        f"normalisation and {walls['before']:.2g} with it; the largest curvatures are {curvatures['none']:.3g} and "
        f"{curvatures['before']:.3g}. An accuracy of {results['goal']:g} takes {in_words(best['none'])} without and "
        f"{in_words(best['before'])} with it, each at its best rate; at {_list(factors)} times {results['lr']:g} the "
        f"final accuracies are {_list(run['final'] for run in relu['none'])} without and {_list(finals)} with it, of "
        f"sigmoid networks {_list(run['final'] for run in sigmoid['none'])} and "
        f"{_list(run['final'] for run in sigmoid['before'])}."
    )
    return bool(holds), sentence


def _list(numbers: Iterable[float]) -> str:
    words = [f"{number:.3g}" for number in numbers]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def figure(results: dict[str, Any]) -> Figure:
    """Coupling, the two surfaces, learning curves, γ and β, running means."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(19, 9.4), layout="constrained")
    above, below = canvas.subplots(2, 4)
    for axes, mode in zip(above[:2], ("train", "eval"), strict=True):
        _jacobian(axes, results, mode)
    for axes, kind in zip(above[2:], KINDS, strict=True):
        _surface(axes, results["surface"], kind)
    _paths(below[0], results)
    _running(below[1], results)
    for axes, name in zip(below[2:], ("ReLU", "Sigmoid"), strict=True):
        _learning_curves(axes, results, name)
    canvas.legend(*below[3].get_legend_handles_labels(), loc="outside lower right", ncols=6, fontsize=9)
    relu = results["learning"]["ReLU"]
    slow, fast = (min(run["arrival"] for run in relu[kind]) for kind in KINDS)
    canvas.suptitle(
        f"Batch normalisation makes the batch one function, smooths its surface and trains faster: "
        f"{results['goal']:g} of the digits are read after {fast:g} updates instead of {slow:g}",
        fontsize=14,
    )
    return canvas


def _jacobian(axes: Axes, results: dict[str, Any], mode: str) -> None:
    found = np.abs(results["jacobian"][mode])
    image = axes.imshow(found, cmap="Greys", vmin=0.0, vmax=float(np.abs(results["jacobian"]["eval"]).max()))
    axes.figure.colorbar(image, ax=axes, shrink=0.8)
    off = float((found - np.diag(found.diagonal())).max())
    axes.set_title(f"{mode} mode: |∂aʲ/∂zⁱ|, {f'up to {off:.2f}' if off else 'exactly 0'} for j ≠ i")
    axes.set_xlabel("sample i")
    axes.set_ylabel("sample j")


def _surface(axes: Axes, surfaces: dict[str, Any], kind: str) -> None:
    """Both surfaces with the same levels, geometric from the lowest to ten times the loss of guessing."""
    heights = np.nan_to_num(np.asarray(surfaces[kind]["heights"]), nan=1e30)
    lowest = min(float(np.nan_to_num(surfaces[k]["heights"], nan=np.inf).min()) for k in KINDS)
    levels = np.geomspace(min(max(lowest, 1e-6), np.log(10.0)), 10.0 * np.log(10.0), 15)
    ticks = np.linspace(-1.0, 1.0, len(heights))
    filled = axes.contourf(ticks, ticks, heights, levels=levels, cmap="Blues_r", extend="max")
    axes.contour(ticks, ticks, heights, levels=levels[::2], colors="white", linewidths=0.7)
    axes.figure.colorbar(filled, ax=axes, format="%.2g", shrink=0.8)
    axes.plot(0, 0, "o", mfc="white", mec="black")
    name = "without" if kind == "none" else "with"
    axes.set_title(f"Loss {name} normalisation: up to {highest(surfaces[kind]['heights']):.3g}")
    axes.set_xlabel("along direction 1, in lengths of the weights")
    axes.set_ylabel("along direction 2")


def _paths(axes: Axes, results: dict[str, Any]) -> None:
    """γ − 1 and β of the last normalisation, every fourth channel."""
    found, at = results["followed"][1], results["measured_at"]
    solid = axes.plot(at, found["gamma"][:, ::4] - 1.0, color="#1d4ed8", lw=1.0)
    dashed = axes.plot(at, found["beta"][:, ::4], color="#ea580c", lw=1.2, ls="--")
    axes.axvline(results["frozen"], color="black", lw=0.8)
    axes.legend([solid[0], dashed[0]], ["γ − 1", "β"], loc="upper left", fontsize=10)
    axes.set_xlabel("update")
    axes.set_title(f"γ and β of the last norm, frozen for {results['frozen']} updates")


def _running(axes: Axes, results: dict[str, Any]) -> None:
    colours, styles = ("#667085", "#1d4ed8", "#ea580c"), (":", "-", "--")
    for p, error, colour, ls in zip(OLD_WEIGHTS, running_errors(results), colours, styles, strict=True):
        axes.semilogy(results["measured_at"], error, color=colour, ls=ls, label=f"p = {p:g}")
    axes.set_xlabel("update")
    axes.set_ylabel("error of the running mean, in deviations")
    axes.set_title("Last norm's running mean μ̄ ← pμ̄ + (1 − p)μ")
    axes.legend(fontsize=9)


def _learning_curves(axes: Axes, results: dict[str, Any], name: str) -> None:
    looks = {"none": ("#ea580c", "--", "without"), "before": ("#1d4ed8", "-", "with")}
    at = results["measured_at"]
    for kind in KINDS:
        colour, ls, word = looks[kind]
        for run, factor, width in zip(
            results["learning"][name][kind],
            results["factors"],
            np.linspace(0.8, 3.0, len(results["factors"])),
            strict=True,
        ):
            middle = np.median(run["accuracy"], axis=0)
            axes.plot(at, middle, color=colour, ls=ls, lw=width, label=f"{word}, rate × {factor:g}")
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("update")
    axes.set_ylabel("accuracy on digits not trained on")
    axes.set_title(f"{name} network, {results['depth']} hidden layers")
