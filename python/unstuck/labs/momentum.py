"""Momentum: through a shallow minimum and away from a saddle, where plain descent stays.

With momentum every move is the last move plus the new step: m ← λm − ηg, θ ← θ + m, so m is a weighted sum of
all past gradients, mᵗ = −Σ λ^(t−1−i) ηᵢ gᵢ. On a valley with a ridge across it, plain descent stops in the shallow
minimum before the ridge and momentum rolls over it. Beside a saddle both leave, momentum in fewer steps. On a
saddle itself only noise leaves: the lab measures the steps to leave over batch size and momentum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .surfaces import Surface, bumpy, product
from .walk import Walk, thinned, walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "Momentum crosses a shallow minimum and leaves a saddle sooner"
LECTURE = ("B8",)
START = np.array([-7.0, 1.5])
BESIDE_SADDLE = np.array([1.0, -1.0 + 1e-4])
LEFT = 0.5  # |w₂| beyond which a run has left the noisy saddle; its minima are at ±1


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    momenta: tuple[float, ...] = setting(
        "momenta to compare, beginning with 0", (0.0, 0.5, 0.9), least=0.0, most=0.99, fewest=1
    )
    lr: float = setting("learning rate on the valley with a ridge", 0.1, least=1e-4, most=1.0)
    steps: int = setting("updates on each surface", 600, least=10, most=100_000)
    bump: float = setting("height of the ridge", 0.6, least=0.0, most=10.0)
    batches: tuple[int, ...] = setting(
        "batch sizes at the saddle, of 256 samples", (1, 4, 16, 64, 256), least=1, most=256, fewest=1
    )
    seeds: int = setting("runs per batch size and momentum", 7, least=1, most=1000)
    patience: int = setting("updates after which a run counts as stuck at the saddle", 500, least=10, most=100_000)
    resolution: int = setting("grid points per side of the contour plots", 81, least=5, most=1000)


def noisy_saddle() -> Array:
    """Slopes ξ (256, 2) of the samples' losses ½w₁² − ½w₂² + ¼w₂⁴ + ξᵢ·w; their mean is exactly 0."""
    half = np.random.default_rng(0).integers(-8, 9, size=(128, 2)) / 8.0
    return np.concatenate([half, -half])


def compute(settings: Settings) -> dict[str, Any]:
    """Paths over the ridge and beside the saddle, the sum of past gradients, and steps to leave the noisy saddle."""
    valley = bumpy(0.1, 1.0, settings.bump, -3.0, 0.5)
    over = [_descend(valley, START, settings.lr, momentum, settings.steps) for momentum in settings.momenta]
    beside = [_descend(product(), BESIDE_SADDLE, 0.02, momentum, settings.steps) for momentum in settings.momenta]
    losses = [_losses(found) for found in beside]
    slopes = noisy_saddle()
    return {
        "momenta": settings.momenta,
        "batches": settings.batches,
        "bump": settings.bump,
        "resolution": settings.resolution,
        "patience": settings.patience,
        "ridge_paths": [thinned(found.thetas) for found in over],
        "ridge_distance": [float(found.distances[-1]) for found in over],
        "saddle_paths": [thinned(found.thetas) for found in beside],
        "saddle_losses": [thinned(row) for row in losses],
        "saddle_steps": [_steps_until(row < 0.5) for row in losses],
        "sum_error": _sum_of_gradients(settings.steps),
        "leaving": [
            [_leaving(slopes, batch, momentum, settings) for batch in settings.batches] for momentum in settings.momenta
        ],
    }


def _descend(surface: Surface, start: Array, lr: float, momentum: float, steps: int) -> Walk:
    from ..optim import SGD

    return walk(surface, SGD(lr=lr, momentum=momentum), start, steps)


def _losses(found: Walk) -> Array:
    return np.array([found.surface.land.loss(theta) for theta in found.thetas])


def _steps_until(reached: Any) -> int | None:
    """The first index that is true."""
    found = np.flatnonzero(reached)
    return int(found[0]) if len(found) else None


def _sum_of_gradients(steps: int) -> float:
    """The largest relative difference of the move m and −Σ λ^(t−1−i) ηᵢ gᵢ, under a rate that changes."""
    from ..optim import SGD
    from ..schedules import one_cycle

    decay, valley = 0.9, bumpy(0.1, 1.0, 0.6, -3.0, 0.5)
    rate = one_cycle(0.1, steps)
    opt = SGD(lr=rate, momentum=decay, lr_in_buffer=True)
    theta, error, largest = START.copy(), 0.0, 0.0
    total = np.zeros(2)  # Σ λ^(t−1−i) ηᵢ gᵢ by Horner's rule
    for t in range(steps):
        gradient = valley.gradients(theta)
        total = decay * total + rate(t) * gradient
        before = theta.copy()
        opt.step(theta, gradient)
        error = max(error, float(np.abs(theta - before + total).max()))
        largest = max(largest, float(np.abs(total).max()))
    return error / largest


def _leaving(slopes: Array, batch: int, momentum: float, settings: Settings) -> list[int | None]:
    """Updates until |w₂| > ½ from the saddle itself, one number per seed; None for stuck."""
    return [_leave(slopes, batch, momentum, seed, settings.patience) for seed in range(settings.seeds)]


def _leave(slopes: Array, batch: int, momentum: float, seed: int, patience: int) -> int | None:
    from ..optim import SGD
    from ..sampler import Sampler

    sampler, opt, w = Sampler(len(slopes), batch, seed), SGD(lr=0.05, momentum=momentum), np.zeros(2)
    for t in range(patience):
        chosen = sampler.batch()
        noise = slopes.mean(axis=0) if chosen is None else slopes[chosen].mean(axis=0)
        opt.step(w, np.array([w[0], w[1] ** 3 - w[1]]) + noise)
        sampler.advance(1)
        if abs(w[1]) > LEFT:
            return t + 1
    return None


def median_steps(results: dict[str, Any]) -> Array:
    """Median updates to leave the noisy saddle (momenta, batches); infinite for stuck."""
    steps = [[[np.inf if s is None else s for s in runs] for runs in row] for row in results["leaving"]]
    return np.asarray(np.median(np.asarray(steps, dtype=np.float64), axis=2))


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Plain descent stays before the ridge, strong momentum arrives; momentum and small batches leave sooner."""
    momenta, steps = np.asarray(results["momenta"]), results["saddle_steps"]
    plain, strong = int(np.argmin(momenta)), int(np.argmax(momenta))
    away = results["ridge_distance"]
    medians = median_steps(results)
    small, large = int(np.argmin(results["batches"])), int(np.argmax(results["batches"]))
    sooner = steps[strong] is not None and (steps[plain] is None or steps[strong] < steps[plain])
    noise = medians[plain, small] < medians[plain, large] and medians[strong, small] < medians[plain, small]
    holds = away[plain] > 1.0 and away[strong] < 0.1 and sooner and bool(noise) and results["sum_error"] < 1e-12
    sentence = (
        f"Over the ridge, plain descent ends {away[plain]:.3g} from the minimum, momentum {momenta[strong]:g} "
        f"{away[strong]:.2g} from it. Beside the saddle plain descent needs {_count(steps[plain])} updates, momentum "
        f"{_count(steps[strong])}. On the noisy saddle itself the median is {_count(medians[plain, small])} updates "
        f"with batches of {results['batches'][small]} and {_count(medians[strong, small])} with momentum too; with "
        f"batches of {results['batches'][large]} {_count(medians[plain, large])}. The move equals the weighted sum of "
        f"all past gradients to {results['sum_error']:.1g}."
    )
    return bool(holds), sentence


def _count(steps: float | None) -> str:
    return "never" if steps is None or np.isinf(steps) else f"{steps:g}"


def figure(results: dict[str, Any]) -> Figure:
    """Paths over the ridge and beside the saddle, and steps to leave over batch size and momentum."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    valley = bumpy(0.1, 1.0, results["bump"], -3.0, 0.5).land
    _paths(left, valley, results["ridge_paths"], (-8.0, 3.0, -2.5, 2.5), results)
    left.set_title("A ridge across the valley")
    _paths(middle, product().land, results["saddle_paths"], (-1.4, 2.0, -1.4, 2.0), results)
    middle.set_title("Beside the saddle (0, 0)")
    _leaving_plot(right, results)
    return canvas


def _paths(axes: Axes, land: Any, paths: list[Array], extent: tuple[float, float, float, float], results: Any) -> None:
    from ..plot import surface

    before = len(axes.lines)
    surface(land, paths=paths, ax=axes, resolution=results["resolution"], extent=extent)
    # every path is three lines: itself, its start, its end
    for line, momentum in zip(axes.lines[before::3], results["momenta"], strict=True):
        line.set_label(f"momentum {momentum:g}")
    axes.legend(loc="upper right", fontsize=8)


def _leaving_plot(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import ON_WHITE

    patience = results["patience"]
    for i, (momentum, row) in enumerate(zip(results["momenta"], median_steps(results), strict=True)):
        colour = ON_WHITE[i % len(ON_WHITE)]
        axes.plot(results["batches"], np.minimum(row, patience), "o-", color=colour, label=f"momentum {momentum:g}")
    axes.axhline(patience, color="#667085", ls=":", lw=1.2)
    axes.annotate("stuck", (results["batches"][0], patience), va="bottom", color="#667085")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlabel("batch size (of 256)")
    axes.set_ylabel("median updates to leave the saddle")
    axes.set_title("On a saddle only noise leaves")
    axes.legend(fontsize=8)
