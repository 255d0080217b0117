"""Features of very different size make the error surface a ravine; standardising them makes it nearly round.

A linear model with two features and a bias is fitted by its mean squared error, on the features as they are and on
x̃ = (x − m)/σ. The Hessian of that loss is 2XᵀX/N: its condition number is the squared ratio of the ravine's length to
its width, and gradient descent with the best fixed rate, 2/(λ_min + λ_max), needs a number of steps proportional to
it. What remains after standardising is the features' correlation ρ: (1 + |ρ|)/(1 − |ρ|). The statistics m and σ are
those of the training part; the error is measured on the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "Features of different size: a ravine, and what standardising them does"
LECTURE = ("D1", "D2")
FORMS = ("as they are", "standardised")
WEIGHTS = (1.5, -0.8, 0.5)  # of the two features, in units of their deviation, and of the constant


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    ratio: float = setting("size of the second feature, the first being 1", 100.0, least=1e-6, most=1e6)
    offset: float = setting("mean of the features, in units of their deviations", 0.5, least=-100.0, most=100.0)
    correlation: float = setting("of the two features", 0.5, least=-0.999, most=0.999)
    samples: int = setting("samples, a quarter of them for testing", 400, least=16, most=1_000_000)
    noise: float = setting("standard deviation of the targets' noise", 0.1, least=0.0, most=100.0)
    goal: float = setting("fraction of the avoidable loss that may remain", 1e-2, least=1e-12, most=0.9)
    steps: int = setting("updates at most", 20_000, least=1, most=1_000_000)
    resolution: int = setting("grid points per side of the contour plots", 61, least=5, most=1000)
    seed: int = setting("of the data", 0, least=0)


def compute(settings: Settings) -> dict[str, Any]:
    """Curvature, gradient descent and test error on both forms of the same data."""
    from ..standardise import Standardiser

    X, y = _data(settings)
    train = len(X) - len(X) // 4
    scaler = Standardiser().update(X[:train])
    found = {
        name: _descend(settings, features[:train], y[:train], features[train:], y[train:])
        for name, features in zip(FORMS, (X, scaler.transform(X)), strict=True)
    }
    return {"ratio": settings.ratio, "goal": settings.goal, "resolution": settings.resolution, "forms": found}


def _data(settings: Settings) -> tuple[Array, Array]:
    rng = np.random.default_rng(settings.seed)
    standard, rho = rng.standard_normal((settings.samples, 2)), settings.correlation
    standard[:, 1] = rho * standard[:, 0] + np.sqrt(1.0 - rho * rho) * standard[:, 1]
    y = standard @ np.array(WEIGHTS[:2]) + WEIGHTS[2] + settings.noise * rng.standard_normal(settings.samples)
    return (standard + settings.offset) * np.array([1.0, settings.ratio]), y


def _descend(settings: Settings, X: Array, y: Array, X_test: Array, y_test: Array) -> dict[str, Any]:
    """Gradient descent from zero with the best fixed rate, until little of the avoidable loss is left."""
    from ..network_landscape import NetworkLandscape
    from ..nn import MSE, Linear, Network
    from ..optim import SGD

    net = Network(Linear(2, 1, init="zeros"), input_shape=(2,), dtype="float64")
    land = NetworkLandscape(net, MSE(), X, y)
    start = net.theta.copy()
    curvatures = np.linalg.eigvalsh(land.hessian(start) @ np.eye(land.n))
    rate = 2.0 / float(curvatures[0] + curvatures[-1])
    best = _least_squares(X, y)
    lowest = land.loss(best)
    allowed = lowest + settings.goal * (land.loss(start) - lowest)
    opt, theta, path = SGD(lr=rate), start.copy(), [start.copy()]
    losses = [land.loss(start)]
    while losses[-1] > allowed and len(path) <= settings.steps:
        opt.step(theta, land.gradient(theta)[1])
        path.append(theta.copy())
        losses.append(land.loss(theta))
    arrived = len(path) - 1 if losses[-1] <= allowed else None
    thin = slice(None, None, max(1, len(path) // 1000))
    return {
        "curvatures": curvatures,
        "condition": float(curvatures[-1] / curvatures[0]),
        "rate": rate,
        "steps": arrived,
        "updates": np.arange(len(path))[thin],
        "losses": (np.array(losses) - lowest)[thin],
        "path": np.array(path)[thin],
        "best": best,
        "test_error": land.with_data(X_test, y_test).loss(theta),
        "X": X,
        "y": y,
    }


def _least_squares(X: Array, y: Array) -> Array:
    """(w₁, w₂, b) of the lowest mean squared error."""
    return np.asarray(np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)[0], dtype=np.float64)


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Standardising lowers the condition number and the steps, each at least tenfold, and costs no accuracy."""
    raw, scaled = (results["forms"][name] for name in FORMS)
    slow = np.inf if raw["steps"] is None else raw["steps"]
    holds = (
        raw["condition"] > 10.0 * scaled["condition"]
        and scaled["steps"] is not None
        and slow > 10.0 * scaled["steps"]
        and scaled["test_error"] < 1.05 * raw["test_error"]
    )
    left = f"{results['goal']:g} of the avoidable loss"
    sentence = (
        f"With a feature {results['ratio']:g} times the other the Hessian's condition number is "
        f"{raw['condition']:.3g} and the best fixed rate {_arrives(raw, left)}; standardised it is "
        f"{scaled['condition']:.3g} and the best rate {_arrives(scaled, left)}. Mean squared test errors "
        f"{raw['test_error']:.3g} and {scaled['test_error']:.3g}."
    )
    return bool(holds), sentence


def _arrives(form: dict[str, Any], left: str) -> str:
    if form["steps"] is None:
        return f"has not come down to {left} after {form['updates'][-1]:,} updates"
    return f"comes down to {left} in {_count(form)}"


def figure(results: dict[str, Any]) -> Figure:
    """The two surfaces over (w₁, w₂) with the paths, and the avoidable loss over the updates."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 5), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    for axes, name in ((left, FORMS[0]), (middle, FORMS[1])):
        form = results["forms"][name]
        _contours(axes, form, results["resolution"])
        axes.set_title(f"Features {name}: condition number {form['condition']:.3g}")
    for name, colour, ls in zip(FORMS, ("#c2410c", "#2563eb"), ("--", "-"), strict=True):
        form = results["forms"][name]
        right.loglog(form["updates"] + 1, np.maximum(form["losses"], 1e-16), color=colour, ls=ls, label=name)
    right.set_xlabel("update + 1")
    right.set_ylabel("loss above the lowest")
    right.set_title("Gradient descent with the best fixed rate")
    right.legend(fontsize=8)
    raw, scaled = (results["forms"][name] for name in FORMS)
    canvas.suptitle(
        f"Standardised features make the ravine nearly round: {_count(scaled)} instead of {_count(raw)}", fontsize=13
    )
    return canvas


def _count(form: dict[str, Any]) -> str:
    return "not arrived" if form["steps"] is None else f"{form['steps']:,} update{'s' * (form['steps'] != 1)}"


def _contours(axes: Axes, form: dict[str, Any], resolution: int) -> None:
    """Contours of the loss over both weights, the bias at its best, equally scaled so that the shape shows."""
    from ..landscape import FunctionLandscape
    from ..plot import surface

    X, y, best = np.asarray(form["X"]), np.asarray(form["y"]), np.asarray(form["best"])
    land = FunctionLandscape(
        lambda w: float(np.mean((X @ w + best[2] - y) ** 2)),
        lambda w: 2.0 * X.T @ (X @ w + best[2] - y) / len(X),
        n=2,
        lower_bound=0.0,
    )
    reach = 1.6 * float(np.abs(best[:2]).max()) + 1e-12
    extent = (best[0] - reach, best[0] + reach, best[1] - reach, best[1] + reach)
    surface(land, paths=[np.asarray(form["path"])[:, :2]], ax=axes, resolution=resolution, extent=extent)
    axes.set_xlabel("w₁")
    axes.set_ylabel("w₂")
