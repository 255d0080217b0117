"""Why warm-up: in the first steps σ is an estimate from a few gradients, and 1/σ varies wildly.

The variance of 1/σᵗ is measured over many draws of Gaussian gradients, as RAdam assumes, and over mini-batches of a
network on real digits. RAdam's rectification rᵗ = √(Var[1/σ^∞]/Var[1/σᵗ]) is what keeps the variance of the step
constant; it is drawn beside the measured ratio and beside plain linear warm-up over 2/(1 − β₂) steps, which
comes close to it (J. Ma & D. Yarats, arXiv 1910.04209).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "The variance of 1/σ over the first steps, RAdam's answer to it, and warm-up"
LECTURE = ("C10", "C11")


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    beta2: float = setting("decay of the mean square", 0.99, least=0.7, most=0.9999)
    draws: int = setting("Gaussian gradient sequences", 10_000, least=100, most=10_000_000)
    steps: int = setting("updates", 1000, least=20, most=100_000)
    networks: int = setting("sequences of mini-batch gradients of a network", 60, least=0, most=10_000)
    batch_size: int = setting("of the network's mini-batches", 16, least=1, most=1797)
    seed: int = setting("of the draws", 0, least=0, most=2**31)


def rectification(beta2: float, steps: int) -> Array:
    """RAdam's rᵗ for t = 1 … steps; NaN where ρᵗ ≤ 4, the variance is infinite there.

    ρ∞ = 2/(1 − β₂) − 1, ρᵗ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ), rᵗ = √((ρᵗ − 4)(ρᵗ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρᵗ)).
    Source: L. Liu et al., arXiv 1908.03265.
    """
    t = np.arange(1, steps + 1, dtype=np.float64)
    most = 2.0 / (1.0 - beta2) - 1.0
    rho = most - 2.0 * t * beta2**t / -np.expm1(t * math.log(beta2))
    inside = (rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho)
    return np.where(rho > 4.0, np.sqrt(np.maximum(inside, 0.0)), np.nan)


def inverse_sizes(gradients: Any, beta2: float) -> Any:
    """Yields 1/σᵗ, σ² the corrected moving mean of g², for each of an iterable of arrays g."""
    square = 0.0
    for t, gradient in enumerate(gradients, 1):
        square = beta2 * square + (1.0 - beta2) * np.square(gradient, dtype=np.float64)
        yield np.sqrt((1.0 - beta2**t) / square)


def compute(settings: Settings) -> dict[str, Any]:
    """Variance of 1/σᵗ for Gaussian gradients and a network's, rᵗ, and linear warm-up."""
    rng = np.random.default_rng(settings.seed)
    draws = (rng.standard_normal(settings.draws) for _ in range(settings.steps))
    gaussian = np.array([(inverse.mean(), inverse.var()) for inverse in inverse_sizes(draws, settings.beta2)])
    steps = np.arange(1, settings.steps + 1)
    length = 2.0 / (1.0 - settings.beta2)
    return {
        "beta2": settings.beta2,
        "t": steps,
        "mean": gaussian[:, 0],
        "variance": gaussian[:, 1],
        "measured": np.sqrt(gaussian[-1, 1] / gaussian[:, 1]),
        "rectification": rectification(settings.beta2, settings.steps),
        "linear": np.minimum(1.0, steps / length),
        "network": _network(settings) if settings.networks else None,
        "radam": _radam_steps(settings.beta2, settings.steps),
    }


def _network(settings: Settings) -> Array:
    """Median over the parameters of Var[1/σᵗ]/E[1/σᵗ]² of a network's mini-batch gradients at its start, (steps,)."""
    from .. import nn
    from ..data import digits
    from ..network_landscape import NetworkLandscape

    X, y = digits()
    net = nn.Network(nn.Linear(64, 10), nn.Tanh(), nn.Linear(10, 10), input_shape=(64,), seed=settings.seed)
    land = NetworkLandscape(net, nn.CrossEntropy(), X, y)
    rng = np.random.default_rng(settings.seed + 1)
    theta = net.theta.copy()
    pool = np.stack(
        [land.gradient(theta, rng.choice(len(X), settings.batch_size, replace=False))[1] for _ in range(400)]
    )
    live = np.all(pool != 0.0, axis=0)
    pool = pool[:, live].astype(np.float64)[:, :200]
    steps = min(settings.steps, 300)
    order = rng.integers(0, len(pool), size=(steps, settings.networks))
    spreads = [
        float(np.median(inverse.var(axis=0) / inverse.mean(axis=0) ** 2))
        for inverse in inverse_sizes((pool[row] for row in order), settings.beta2)
    ]
    return np.array(spreads)


def _radam_steps(beta2: float, steps: int) -> Array:
    """Lengths of RAdam's steps over Adam's for a constant gradient 1 and ε = 0: rᵗ itself, from the rules' code."""
    from ..optim import Adam, RAdam

    lengths = []
    for opt in (RAdam(1.0, beta2=beta2, eps=0.0, early="skip", threshold=4.0), Adam(1.0, beta2=beta2, eps=0.0)):
        theta, gradient, path = np.zeros(1), np.ones(1), [0.0]
        for _ in range(steps):
            opt.step(theta, gradient)
            path.append(float(theta[0]))
        lengths.append(-np.diff(path))
    return np.asarray(lengths[0] / lengths[1])


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """The variance is large at first; rᵗ follows the measured ratio, RAdam takes it, linear warm-up is close."""
    r, measured = np.asarray(results["rectification"]), np.asarray(results["measured"])
    variance, t = np.asarray(results["variance"]), np.asarray(results["t"])
    known = np.isfinite(r) & (t >= 20)
    error = float(np.abs(r - measured)[known].max())
    rule = float(np.abs(results["radam"] - np.where(np.isfinite(r), r, 0.0)).max())
    apart = float(np.abs(np.asarray(results["linear"]) - measured)[t >= 20].max())
    shrinks = float(variance[4] / variance[-1])
    net = None if results["network"] is None else np.asarray(results["network"])
    falls = net is None or bool(net[1] > 3.0 * net[-1])
    holds = shrinks > 20.0 and error < 0.1 and rule < 1e-6 and apart < 0.35 and falls
    sentence = (
        f"After 5 updates the variance of 1/σ is {shrinks:.3g} times that after {len(t)}. RAdam's r differs from the "
        f"measured ratio by at most {error:.2g} from update 20 on, linear warm-up over 2/(1 − β₂) = "
        f"{2 / (1 - results['beta2']):.4g} updates by {apart:.2g}; RAdam's own steps are r to {rule:.1g}."
    )
    if net is not None:
        sentence += (
            f" For a network's mini-batches the relative variance falls from {net[1]:.2g} after 2 updates to "
            f"{net[-1]:.2g} after {len(net)}."
        )
    return bool(holds), sentence


def figure(results: dict[str, Any]) -> Figure:
    """Relative variance of 1/σ over time; rectification, measured ratio and warm-up."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    t = np.asarray(results["t"])
    relative = np.asarray(results["variance"]) / np.asarray(results["mean"]) ** 2
    left.loglog(t, relative, color="#2563eb", label="Gaussian gradients")
    if results["network"] is not None:
        net = np.asarray(results["network"])
        left.loglog(t[: len(net)], net, color="#c2410c", label="mini-batches of a network, median parameter")
    left.set_xlabel("update")
    left.set_ylabel("variance of 1/σ, relative to its squared mean")
    left.set_title("σ is a poor estimate at first")
    left.legend(fontsize=8)
    right.semilogx(t, results["measured"], color="#2563eb", lw=2.4, label="measured √(Var∞/Varᵗ)")
    right.semilogx(t, results["rectification"], "--", color="#c2410c", lw=1.6, label="RAdam's rᵗ")
    right.semilogx(t, results["linear"], ":", color="#15803d", lw=1.8, label="linear warm-up over 2/(1 − β₂)")
    right.set_xlabel("update")
    right.set_ylabel("factor of the step")
    right.set_title("What rectification and warm-up do about it")
    right.legend(fontsize=8)
    return canvas
