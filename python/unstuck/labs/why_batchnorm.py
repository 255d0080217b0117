"""How batch normalisation helps: it smooths the surface along the step, and hardly by less internal covariate shift.

The three measures of arXiv 1805.11604 while a network learns real digits without and with normalisation: how far the
loss ranges along the gradient for steps of ½ to 4 times the rate, how far the gradient moves away from itself there,
and the largest change of the gradient per length of the way. Beside them: what a layer's gradient changes by when only
the layers before it step (internal covariate shift), which it hardly reduces; noise after every normalisation, which
unsettles the inner distributions more than doing without and still learns faster; normalisation by the mean and by the
largest absolute deviation, which learn too; and the paper's inequality for the gradient before a normalisation (theorem
4.1): ‖∂L/∂z‖² ≤ (γ/σ)²(‖g‖² − ⟨1, g⟩²/m − ⟨g, ẑ⟩²/m), g = ∂L/∂y, for every unit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..nn import BatchNorm, CrossEntropy, Linear, Network
from ..settings import setting
from .batchnorm_measures import twin_networks
from .digit_training import BATCH, Digits, digits_in_two, in_words
from .noisy_norm import Traced, noisy
from .passes import backward, batch_normalisation, cross_entropy, forward, parameters
from .smoothness import Slope, along_the_step, covariate_shift, descent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..landscape import Block

Array = NDArray[Any]
TITLE = "Why batch normalisation helps: a smoother surface, hardly less covariate shift"
LECTURE = ("D9",)
KINDS = ("none", "before")
NORMS: dict[str, Literal["l2", "l1", "linf", "none"]] = {"mean deviation": "l1", "largest deviation": "linf"}
ARMS = ("without", "batch norm", "noisy batch norm", "mean deviation", "largest deviation")


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    depth: int = setting("hidden layers", 10, least=2, most=50)
    width: int = setting("units of each", 64, least=2, most=4096)
    lr: float = setting("learning rate of plain gradient descent", 0.2, least=1e-6, most=100.0)
    updates: int = setting("of every run", 120, least=10, most=100_000)
    every: int = setting("updates between two measurements", 5, least=1, most=1000)
    steps: tuple[float, ...] = setting(
        "lengths of the step along the gradient, in units of the rate",
        (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0),
        least=1e-3,
        most=1e3,
        fewest=2,
    )
    seed: int = setting("of weights and split", 0, least=0, most=2**31)


def compute(settings: Settings) -> dict[str, Any]:
    """The measures along both trainings, the learning curves of all arms, and both sides of the inequality."""
    data = digits_in_two(settings.seed)
    measures = {kind: _measures(settings, data, kind) for kind in KINDS}
    return {
        "lr": settings.lr,
        "updates": settings.updates,
        "measures": measures,
        "arms": {arm: _learning(settings, data, arm) for arm in ARMS},
        "inequality": inequality(settings.depth, settings.width, settings.lr, data, settings.seed),
    }


def _measures(settings: Settings, data: Digits, kind: str) -> dict[str, Array]:
    """Bands of losses and of distances between gradients (m,) each, β, covariate shift, at every measured update."""
    from ..network_landscape import NetworkLandscape

    net = twin_networks(settings.depth, settings.width, settings.seed)[kind]
    land = NetworkLandscape(net, CrossEntropy(), data.X, data.y, mode="train")
    rates = [settings.lr * step for step in settings.steps]
    rows = []
    with np.errstate(over="ignore", invalid="ignore"):
        walk = descent(land, net.theta, len(data.X), BATCH, settings.lr, settings.updates, settings.seed)
        for update, (batch, gradient) in enumerate(walk):
            if update % settings.every == 0:
                found = along_the_step(land, net.theta, gradient, batch, rates)
                shift, cosine = covariate_shift(land, net.theta, gradient, batch, settings.lr, _layers(net))
                losses, distances = found.losses, found.distances
                bands = losses.min(), losses.max(), distances.min(), distances.max()
                rows.append([update, *bands, found.beta, shift, cosine])
    names = ("update", "loss_low", "loss_high", "distance_low", "distance_high", "beta", "shift", "cosine")
    return dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True))


def _layers(net: Network) -> list[list[Block]]:
    """The blocks of every Linear layer, each with those of the normalisation that follows it."""
    found: list[list[Block]] = []
    for block in net.blocks:
        layer, _, name = block[0].partition(".")
        if isinstance(net.layers[int(layer)], Linear) and name == "weight":
            found.append([])
        found[-1].append(block)
    return found


def _learning(settings: Settings, data: Digits, arm: str) -> dict[str, Any]:
    """Accuracy on the other digits, normalised with their own statistics, and the unrest of an inner distribution.

    That is the median root mean square by which the units' means move in one update, in deviations.
    """
    from ..network_landscape import NetworkLandscape

    net = _network(settings, arm)
    land: Slope
    if arm == "noisy batch norm":
        land = traced = Traced(net, data.X, data.y, noisy(net, np.random.default_rng(settings.seed)))

        def values(X: Array) -> list[Array]:
            return traced.trace(net.theta, X).values[1:]
    else:
        land = NetworkLandscape(net, CrossEntropy(), data.X, data.y, mode="train")

        def values(X: Array) -> list[Array]:
            return [found for _, found in net.activations(X)]

    middle = [i for i, layer in enumerate(net.layers) if isinstance(layer, Linear)][settings.depth // 2]
    accuracy, means, sizes = [], [], []
    with np.errstate(over="ignore", invalid="ignore"):
        walk = descent(land, net.theta, len(data.X), BATCH, settings.lr, settings.updates, settings.seed)
        for update, _ in enumerate(walk):
            if update % settings.every == 0:
                accuracy.append(float(np.mean(values(data.X_rest)[-1].argmax(axis=1) == data.y_rest)))
            inner = values(data.X_rest[:BATCH])[middle - 1]  # what the middle layer is given
            means.append(inner.mean(axis=0, dtype=np.float64))
            sizes.append(inner.std(dtype=np.float64))
        steps = np.sqrt(np.mean(np.square(np.diff(np.array(means), axis=0)), axis=1)) if len(means) > 1 else np.zeros(1)
        unrest = float(np.median(steps / np.maximum(sizes[: len(steps)], np.finfo(np.float64).tiny)))
    return {"update": settings.every * np.arange(len(accuracy)), "accuracy": np.array(accuracy), "unrest": unrest}


def _network(settings: Settings, arm: str) -> Network:
    """Of the arm's normalisation, without running statistics; all arms begin with the same weights."""
    twin = twin_networks(settings.depth, settings.width, settings.seed)["none" if arm == "without" else "before"]
    layers = [
        replace(layer, norm=NORMS.get(arm, "l2"), track=False) if isinstance(layer, BatchNorm) else layer
        for layer in twin.layers
    ]
    net = Network(*layers, input_shape=(64,), seed=settings.seed)
    net.theta[:] = twin.theta
    return net


def inequality(depth: int, width: int, lr: float, data: Digits, seed: int) -> dict[str, Array]:
    """Both sides of theorem 4.1 for every unit of every normalisation, at the start and after 20 and 40 updates.

    Returns:
        {"left": ‖∂L/∂z‖², "right": the bound, "unreduced": (γ/σ)²‖g‖², "layer"}, float64, (3·depth·width,) each.
    """
    net = Network(*twin_networks(depth, width, seed)["before"].layers, input_shape=(64,), seed=seed, dtype="float64")
    net.theta[:] = twin_networks(depth, width, seed)["before"].theta
    X, y = data.X.astype(np.float64), data.y
    land = Traced(net, X, y, batch_normalisation(net, training=True))
    rows = []
    for update, (batch, _) in enumerate(descent(land, net.theta, len(X), BATCH, lr, 41, seed)):
        if update % 20 == 0:
            rows += _both_sides(net, X[batch], y[batch])
    return dict(zip(("left", "right", "unreduced", "layer"), np.array(rows).reshape(-1, 4).T, strict=True))


def _both_sides(net: Network, X: Array, y: Array) -> list[Array]:
    trace = forward(net, net.theta, X)
    _, deltas = backward(trace, cross_entropy(trace.values[-1], y)[1])
    rows, m = [], len(X)
    for i, layer in enumerate(net.layers):
        if isinstance(layer, BatchNorm):
            z, g = trace.values[i], deltas[i + 1]
            deviation = np.sqrt(z.var(axis=0) + layer.eps)
            normed = (z - z.mean(axis=0)) / deviation
            factor = (parameters(net, net.theta, i)["weight"] / deviation) ** 2
            whole = np.sum(g * g, axis=0)
            bound = whole - np.sum(g, axis=0) ** 2 / m - np.sum(g * normed, axis=0) ** 2 / m
            left = np.sum(deltas[i] ** 2, axis=0)
            rows += list(np.column_stack([left, factor * bound, factor * whole, np.full(len(left), i)]))
    return rows


def widths(measures: dict[str, Array]) -> dict[str, float]:
    """Median width of the two bands, 90 % point of β, median covariate shift."""
    if not len(measures["update"]):
        return dict.fromkeys(("loss", "distance", "beta", "shift"), np.inf)
    return {
        "loss": float(np.median(measures["loss_high"] - measures["loss_low"])),
        "distance": float(np.median(measures["distance_high"] - measures["distance_low"])),
        "beta": float(np.quantile(measures["beta"], 0.9)),
        "shift": float(np.median(measures["shift"])),
    }


def arrival(arm: dict[str, Any], goal: float = 0.85) -> float:
    """Updates until the accuracy is first at least `goal`."""
    reached = np.flatnonzero(np.asarray(arm["accuracy"]) >= goal)
    return float(arm["update"][reached[0]]) if len(reached) else np.inf


def excess(results: dict[str, Any]) -> float:
    """The largest left side of the inequality over its right side, less 1."""
    found = results["inequality"]
    live = np.asarray(found["right"]) > 0.0
    return float(np.max(np.asarray(found["left"])[live] / np.asarray(found["right"])[live], initial=0.0)) - 1.0


def removed(results: dict[str, Any]) -> float:
    """Median share of ‖g‖² that the two subtracted terms take away."""
    found = results["inequality"]
    live = np.asarray(found["unreduced"]) > 0.0
    return float(1.0 - np.median(np.asarray(found["right"])[live] / np.asarray(found["unreduced"])[live]))


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """All three measures are smaller with normalisation, the shift is not; the controls learn; the inequality holds."""
    plain, normed = (widths(results["measures"][kind]) for kind in KINDS)
    arms = results["arms"]
    steps = {arm: arrival(arms[arm]) for arm in ARMS}
    over = excess(results)
    unrest = arms["noisy batch norm"]["unrest"] / max(arms["without"]["unrest"], np.finfo(np.float64).tiny)
    holds = (
        plain["loss"] > 3.0 * normed["loss"]
        and plain["distance"] > 3.0 * normed["distance"]
        and plain["beta"] > 1.1 * normed["beta"]
        and normed["shift"] > 0.6 * plain["shift"]
        and steps["noisy batch norm"] < steps["without"]
        and unrest > 1.5
        and steps["mean deviation"] < steps["without"]
        and over < 1e-9
    )
    sentence = (
        f"Along the gradient, for steps of ½ to 4 times the rate {results['lr']:g}, the loss ranges over "
        f"{plain['loss']:.2g} without and {normed['loss']:.2g} with normalisation, the gradient's distance over "
        f"{plain['distance']:.2g} and {normed['distance']:.2g} (medians); the effective β is {plain['beta']:.3g} and "
        f"{normed['beta']:.3g} (90 % points); a layer's gradient shifts by {plain['shift']:.2g} and "
        f"{normed['shift']:.2g} of itself when the layers before it step. An accuracy of 0.85 takes "
        f"{in_words(steps['without'])} without, {in_words(steps['batch norm'])} with batch normalisation, "
        f"{in_words(steps['noisy batch norm'])} with noise after it, whose inner means move {unrest:.2g} times as "
        f"much as without, and "
        f"{in_words(steps['mean deviation'])} and {in_words(steps['largest deviation'])} with mean and largest "
        f"deviation. The left side of the gradient's inequality exceeds the right by at most {max(over, 0.0):.1g} of "
        f"it, over {len(results['inequality']['left']):,} units."
    )
    return bool(holds), sentence


def figure(results: dict[str, Any]) -> Figure:
    """The three bands, covariate shift, learning curves, both sides of the inequality."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(17, 9), layout="constrained")
    above, below = canvas.subplots(2, 3)
    plain, normed = (widths(results["measures"][kind]) for kind in KINDS)
    _band(above[0], results, "loss", f"Loss along the step: ranges over {plain['loss']:.2g} and {normed['loss']:.2g}")
    _band(
        above[1],
        results,
        "distance",
        f"Gradient's distance from itself: over {plain['distance']:.2g} and {normed['distance']:.2g}",
    )
    _lines(above[2], results, "beta", f"Effective β: 90 % below {plain['beta']:.2g} and {normed['beta']:.2g}")
    _lines(below[0], results, "shift", f"Covariate shift: {plain['shift']:.2g} and {normed['shift']:.2g}, hardly less")
    _learning_curves(below[1], results)
    _inequality(below[2], results)
    for axes, name in zip(above, ("loss", "‖∇L(θ) − ∇L(θ − ηg)‖", "largest change of gradient / way"), strict=True):
        axes.set_ylabel(name)
    below[0].set_ylabel("median over the layers of ‖G − G′‖/‖G‖")
    canvas.suptitle(
        "Batch normalisation smooths the surface that training walks on: along the step the loss ranges over "
        f"{normed['loss']:.2g} instead of {plain['loss']:.2g}",
        fontsize=14,
    )
    return canvas


LOOKS = {"none": ("#ea580c", "--", "without", "//"), "before": ("#1d4ed8", "-", "with batch normalisation", "")}


def _band(axes: Axes, results: dict[str, Any], name: str, title: str) -> None:
    floor = 1e-4
    for kind in KINDS:
        colour, ls, label, hatch = LOOKS[kind]
        found = results["measures"][kind]
        low, high = (np.maximum(found[f"{name}_{end}"], floor) for end in ("low", "high"))
        axes.fill_between(found["update"], low, high, facecolor=colour, edgecolor=colour, hatch=hatch, alpha=0.3)
        axes.plot(found["update"], high, color=colour, ls=ls, lw=1.2, label=label)
    axes.set_yscale("log")
    axes.set_xlabel("update")
    axes.set_title(title, fontsize=11)
    axes.legend(fontsize=9)


def _lines(axes: Axes, results: dict[str, Any], name: str, title: str) -> None:
    for kind in KINDS:
        colour, ls, label, _ = LOOKS[kind]
        found = results["measures"][kind]
        axes.plot(found["update"], found[name], color=colour, ls=ls, label=label)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("update")
    axes.set_title(title, fontsize=11)
    axes.legend(fontsize=9)


def _learning_curves(axes: Axes, results: dict[str, Any]) -> None:
    looks = (
        ("#ea580c", "--", ""),
        ("#1d4ed8", "-", ""),
        ("#15803d", "-.", ""),
        ("#7c3aed", ":", ""),
        ("#667085", "-", "v"),
    )
    for (name, arm), (colour, ls, marker) in zip(results["arms"].items(), looks, strict=True):
        axes.plot(arm["update"], arm["accuracy"], color=colour, ls=ls, marker=marker, markevery=3, ms=5, label=name)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("update")
    axes.set_ylabel("accuracy on digits not trained on")
    axes.set_title("Noise after it does not spoil it; other deviations work too", fontsize=11)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3)


def _inequality(axes: Axes, results: dict[str, Any]) -> None:
    found = results["inequality"]
    unreduced = np.maximum(np.asarray(found["unreduced"]), np.finfo(np.float64).tiny)
    gone, least = (np.maximum(1.0 - np.asarray(found[side]) / unreduced, 1e-6) for side in ("left", "right"))
    axes.loglog(least, gone, ".", ms=2.5, color="#1d4ed8")
    axes.plot([1e-6, 1], [1e-6, 1], color="black", lw=0.8)
    axes.annotate("equal", (0.4, 0.4), xytext=(-34, 6), textcoords="offset points", fontsize=9)
    axes.set_xlabel("share of (γ/σ)²‖∂L/∂y‖² that theorem 4.1 takes away at least")
    axes.set_ylabel("share by which ‖∂L/∂z‖² is smaller")
    axes.set_title(
        f"The gradient's inequality is tight: {100 * removed(results):.2g} % taken away (median)", fontsize=11
    )
