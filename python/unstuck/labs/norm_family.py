"""The family of normalisations: over which axes each one looks, what it ignores, and what a small batch does to it.

Batch, layer, group, instance and root-mean-square normalisation of the same numbers (N samples, C channels, S
positions). Which entries of the input act on one entry of the output is read off the backward pass. Which changes of
the input leave the output as it is: a factor or a shift of everything, of one sample, of one channel, of one channel of
one sample. The noise that a sample's output has from the others of its batch: for Gaussian inputs its variance is near
(1 + y²/2)/(N·S) for batch normalisation, with N·S values per channel, and 0 for the rest. Then the same network with
each of them reads real digits, trained on batches of every size with a rate in proportion to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import norm
from ..nn import BatchNorm, GroupNorm, Layer, LayerNorm, Linear, ReLU, RMSNorm
from ..settings import setting
from .digit_training import CLASSES, digits_in_two, learn

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[Any]
TITLE = "Batch, layer, group, instance and RMS normalisation: axes, invariances, small batches"
LECTURE = ("D5", "D10")
SHAPE = (4, 6, 5)  # samples, channels and positions of the pictures
WIDTH = 64  # units of the network's hidden layers


@dataclass(frozen=True)
class Member:
    """One normalisation.

    Attributes:
        forward: x (N, C, S), eps → (y, cache).
        backward: ∂L/∂y, cache → (∂L/∂x, …).
        layer: in the network, over its 64 units; for instances they are 16 channels of 4 positions.
        look: colour, marker and line style.
    """

    forward: Callable[[Array, float], Any]
    backward: Callable[..., Any]
    layer: Layer
    look: tuple[str, str, Any]


FAMILY: dict[str, Member] = {
    "batch": Member(
        lambda x, eps: norm.batch_norm_forward(x, eps=eps),
        norm.batch_norm_backward,
        BatchNorm(WIDTH),
        ("#1d4ed8", "o", "-"),
    ),
    "layer": Member(
        lambda x, eps: norm.layer_norm_forward(x, axes=2, eps=eps),
        norm.layer_norm_backward,
        LayerNorm(WIDTH),
        ("#ea580c", "s", "--"),
    ),
    "group": Member(
        lambda x, eps: norm.group_norm_forward(x, max(1, x.shape[1] // 3), eps=eps),
        norm.group_norm_backward,
        GroupNorm(8, WIDTH),
        ("#15803d", "^", "-."),
    ),
    "instance": Member(
        lambda x, eps: norm.instance_norm_forward(x, eps=eps),
        norm.instance_norm_backward,
        GroupNorm(16, 16),
        ("#7c3aed", "D", ":"),
    ),
    "RMS": Member(
        lambda x, eps: norm.rms_norm_forward(x, axes=2, eps=eps),
        norm.rms_norm_backward,
        RMSNorm(WIDTH),
        ("#667085", "v", (0, (5, 1, 1, 1))),
    ),
}
# what is changed → index of the entries that are
PARTS: dict[str, Any] = {
    "everything": np.s_[:],
    "one sample": np.s_[1],
    "one channel": np.s_[:, 2],
    "one channel of one sample": np.s_[1, 2],
}
CHANGES: dict[str, tuple[float, float]] = {"× 3": (3.0, 0.0), "+ 2": (1.0, 2.0)}


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    batches: tuple[int, ...] = setting("batch sizes", (2, 4, 8, 32, 128), least=2, most=1024, fewest=1)
    draws: int = setting("batches in which one sample is normalised", 400, least=10, most=1_000_000)
    depth: int = setting("hidden layers, of 64 units", 4, least=1, most=50)
    lr: float = setting("learning rate for batches of 32 and more, in proportion below", 0.3, least=1e-6, most=100.0)
    epochs: int = setting("passes over the digits", 4, least=1, most=1000)
    seeds: int = setting("runs of each kind", 2, least=1, most=100)
    seed: int = setting("of the pictures' numbers", 0, least=0, most=2**31)


def compute(settings: Settings) -> dict[str, Any]:
    """Reach, invariances, noise and accuracies of every member."""
    rng = np.random.default_rng(settings.seed)
    x = rng.standard_normal(SHAPE)
    return {
        "batches": settings.batches,
        "reach": {name: reach(member, x) for name, member in FAMILY.items()},
        "changes": {name: _changes(member, x) for name, member in FAMILY.items()},
        "noise": {
            name: [_noise(member, settings, size) for size in settings.batches] for name, member in FAMILY.items()
        },
        "expected": expected_noise(settings),
        "accuracy": {
            name: [
                [_accuracy(member, settings, size, seed) for seed in range(settings.seeds)] for size in settings.batches
            ]
            for name, member in FAMILY.items()
        },
    }


def reach(member: Member, x: Array) -> Array:
    """Which entries of x act on the output's entry of the first sample, channel and position, bool of x's shape."""
    unit = np.zeros_like(x)
    unit[0, 0, 0] = 1.0
    _, cache = member.forward(x, 1e-5)
    return np.asarray(member.backward(unit, cache)[0] != 0.0)


def _changes(member: Member, x: Array) -> list[float]:
    """‖change of the output‖/‖output‖ for every part and change of the input, with ε = 0."""
    before = member.forward(x, 0.0)[0]
    found = []
    for part in PARTS.values():
        for factor, shift in CHANGES.values():
            moved = x.copy()
            moved[part] = factor * moved[part] + shift
            found.append(float(np.linalg.norm(member.forward(moved, 0.0)[0] - before) / np.linalg.norm(before)))
    return found


def _noise(member: Member, settings: Settings, size: int) -> float:
    """Root mean square deviation of one sample's output over random others in its batch."""
    rng = np.random.default_rng(settings.seed + 1)
    own = rng.standard_normal(SHAPE[1:])
    outputs = []
    for _ in range(settings.draws):
        batch = rng.standard_normal((size, *SHAPE[1:]))
        batch[0] = own
        outputs.append(member.forward(batch, 1e-5)[0][0])
    found = np.array(outputs)
    # about the first draw: what does not vary has a deviation of exactly 0
    return float(np.sqrt(np.mean(np.var(found - found[0], axis=0))))


def expected_noise(settings: Settings) -> Array:
    """√mean((1 + y²/2)/(N·S)), to leading order, of batch normalisation; y is the sample's own value."""
    own = np.random.default_rng(settings.seed + 1).standard_normal(SHAPE[1:])
    return np.asarray(np.sqrt(np.mean(1.0 + 0.5 * own**2) / (np.asarray(settings.batches) * SHAPE[2])))


def _accuracy(member: Member, settings: Settings, size: int, seed: int) -> float:
    """On the digits not trained on, after the last update."""
    layers = [layer for _ in range(settings.depth) for layer in (Linear(WIDTH, WIDTH), member.layer, ReLU())]
    data = digits_in_two(seed)
    if len(data.X) % size == 1:  # a last batch of one sample has no variance
        data = replace(data, X=data.X[:-1], y=data.y[:-1])
    lr = settings.lr * min(1.0, size / 32)
    updates = max(1, settings.epochs * len(data.X) // size)
    network = [*layers, Linear(WIDTH, CLASSES)]
    return float(learn(network, data, lr, seed=seed, updates=updates, every=updates, batch_size=size).accuracy[-1])


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Only batch normalisation is noisy and fails with small batches; every member has its own invariances."""
    batches = results["batches"]
    small, large = int(np.argmin(batches)), int(np.argmax(batches))
    accuracy = {name: np.median(np.asarray(found), axis=1) for name, found in results["accuracy"].items()}
    noise = results["noise"]
    others = [name for name in FAMILY if name != "batch"]
    lost = {name: float(accuracy[name].max() - accuracy[name][small]) for name in FAMILY}
    holds = (
        all(value == 0.0 for name in others for value in noise[name])
        and noise["batch"][small] > 2.0 * noise["batch"][large] > 0.0
        and lost["batch"] > 0.2
        and all(lost[name] < 0.1 for name in others)
        and {name: invariances(results, name) for name in FAMILY} == INVARIANCES
    )
    listed = ", ".join(f"{name} {accuracy[name][small]:.2f}" for name in FAMILY)
    far = ", ".join(f"{name} {accuracy[name][large]:.2f}" for name in FAMILY)
    sentence = (
        f"With batch normalisation the others of a batch of {batches[small]} move a sample's output by "
        f"{noise['batch'][small]:.2g}, those of a batch of {batches[large]} by {noise['batch'][large]:.2g}; with "
        f"layer, group, instance and RMS normalisation by exactly 0. Accuracies on digits not trained on with "
        f"batches of {batches[small]}: {listed}; of {batches[large]}: {far}. Only instance normalisation ignores the "
        f"scale of one channel of one sample, only RMS normalisation notices a common shift."
    )
    return bool(holds), sentence


# what leaves the output as it is, by part and change
INVARIANCES: dict[str, set[str]] = {
    "batch": {"everything × 3", "everything + 2", "one channel × 3", "one channel + 2"},
    "layer": {"everything × 3", "everything + 2", "one sample × 3", "one sample + 2"},
    "group": {"everything × 3", "everything + 2", "one sample × 3", "one sample + 2"},
    "instance": {f"{part} {change}" for part in PARTS for change in CHANGES},
    "RMS": {"everything × 3", "one sample × 3"},
}


def invariances(results: dict[str, Any], name: str) -> set[str]:
    """The changes of the input that change the output by rounding only."""
    labels = [f"{part} {change}" for part in PARTS for change in CHANGES]
    return {label for label, found in zip(labels, results["changes"][name], strict=True) if found < 1e-12}


def figure(results: dict[str, Any]) -> Figure:
    """Reach, invariances, noise from the batch, accuracy over the batch size."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(14, 9.5), layout="constrained")
    (axes, table), (noise, accuracy) = canvas.subplots(2, 2)
    _reach(axes, results)
    _table(table, results)
    _over_the_batch(noise, accuracy, results)
    small = int(np.argmin(results["batches"]))
    batch, layer = (float(np.median(results["accuracy"][name][small])) for name in ("batch", "layer"))
    canvas.suptitle(
        f"With batches of {results['batches'][small]} batch normalisation reads {batch:.2f} of the digits, "
        f"layer normalisation {layer:.2f}: only the former depends on the rest of the batch",
        fontsize=14,
    )
    return canvas


def _reach(axes: Axes, results: dict[str, Any]) -> None:
    """One column of N × (C, S) pictures per member."""
    samples, channels, positions = SHAPE
    for column, name in enumerate(FAMILY):
        found = np.asarray(results["reach"][name], dtype=np.float64)
        for n in range(samples):
            left, bottom = column * (positions + 3), (samples - 1 - n) * (channels + 1.5)
            box = (left, left + positions, bottom, bottom + channels)
            axes.imshow(0.15 + 0.5 * found[n], extent=box, cmap="Greys", vmin=0.0, vmax=1.0, interpolation="nearest")
            if n == 0:
                axes.plot(left + 0.5, bottom + channels - 0.5, "*", color="white", mec="black", ms=10)
        axes.annotate(name, (column * (positions + 3) + positions / 2, -1.0), ha="center", va="top", fontsize=10)
    axes.set_xlim(-4.5, len(FAMILY) * (positions + 3) - 2)
    axes.set_ylim(-3.5, samples * (channels + 1.5))
    for n in range(samples):
        middle = (samples - 1 - n) * (channels + 1.5) + channels / 2
        axes.annotate(f"sample {n + 1}", (-0.6, middle), ha="right", va="center", fontsize=9)
    axes.set_aspect("auto")
    axes.set_axis_off()
    axes.set_title("What acts on the starred output: dark (rows: channels, columns: positions)", fontsize=11)


def _table(axes: Axes, results: dict[str, Any]) -> None:
    labels = [f"{part} {change}" for part in PARTS for change in CHANGES]
    found = np.array([results["changes"][name] for name in FAMILY]).T
    axes.imshow(np.where(found < 1e-12, 0.0, 0.55), cmap="Greys", vmin=0.0, vmax=1.0, aspect="auto")
    for row, column in np.ndindex(*found.shape):
        same = found[row, column] < 1e-12
        axes.text(column, row, "same" if same else f"{found[row, column]:.2f}", ha="center", va="center", fontsize=9)
    axes.set_xticks(range(len(FAMILY)), list(FAMILY))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title("What a change of the input does to the output: relative change", fontsize=11)


def _over_the_batch(noise: Axes, accuracy: Axes, results: dict[str, Any]) -> None:
    from matplotlib.ticker import NullLocator

    batches = results["batches"]
    colour, marker, ls = FAMILY["batch"].look
    noise.loglog(batches, results["noise"]["batch"], color=colour, marker=marker, ls=ls, label="batch, measured")
    noise.loglog(batches, results["expected"], color="black", lw=0.8, ls="--", label="√((1 + y²/2)/(N·S))")
    noise.plot([], [], " ", label="layer, group, instance, RMS: exactly 0")
    noise.yaxis.set_major_formatter("{x:g}")
    noise.yaxis.set_minor_formatter("{x:.2g}")
    noise.set_ylabel("deviation of one sample's output")
    noise.set_title("Noise from the others of the batch", fontsize=11)
    noise.legend(fontsize=9)
    for name, member in FAMILY.items():
        colour, marker, ls = member.look
        found = np.median(np.asarray(results["accuracy"][name]), axis=1)
        accuracy.semilogx(batches, found, color=colour, marker=marker, ls=ls, label=name)
    accuracy.set_ylim(0.0, 1.0)
    accuracy.set_ylabel("accuracy on digits not trained on")
    accuracy.set_title("The same network with each, the same number of passes", fontsize=11)
    accuracy.legend(fontsize=9, loc="lower right")
    for axes in (noise, accuracy):
        axes.set_xlabel("batch size")
        axes.set_xticks(batches, [str(size) for size in batches], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
