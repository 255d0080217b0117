"""The lecture's worked example: a saddle point of the network y = w₁·w₂·x with one datum (x, ŷ).

L(w) = (ŷ − w₁w₂x)². At the origin the gradient is zero and H = [[0, −2xŷ], [−2xŷ, 0]] has the eigenvalues
−2xŷ and 2xŷ: a saddle. Stepping along u = (1, 1), which belongs to the negative eigenvalue, leaves it. The
quadratic model promises more than there is to gain: for x = ŷ = 1 it says −1 at u, the true loss there is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..landscape import FunctionLandscape
from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "A saddle point and the way out of it, in the network y = w₁·w₂·x"
LECTURE = ("A3", "A4", "A5")


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    x: float = setting("input of the one datum", 1.0, least=1e-3, most=1e3)
    y: float = setting("label of the one datum", 1.0, least=1e-3, most=1e3)
    exact: bool = setting("exact Hessian products, or differences of gradients", True)
    lr: float = setting("learning rate of the descent after the escape", 0.05, least=1e-6, most=10.0)
    steps: int = setting("steps of that descent", 200, least=1, most=1_000_000)
    resolution: int = setting("grid points per side of the contour plot", 81, least=5, most=1000)
    reach: float = setting("half the width of the contour plot", 2.0, least=0.1, most=100.0)


def landscape(x: float, y: float, exact: bool = True) -> FunctionLandscape:
    """L(w) = (y − w₁w₂x)², bounded below by 0."""

    def loss(w: Array) -> float:
        return float((y - w[0] * w[1] * x) ** 2)

    def gradient(w: Array) -> Array:
        slope = -2 * x * (y - w[0] * w[1] * x)
        return np.array([slope * w[1], slope * w[0]])

    def hvp(w: Array, v: Array) -> Array:
        mixed = 4 * x * x * w[0] * w[1] - 2 * x * y
        return np.array([2 * (x * w[1]) ** 2 * v[0] + mixed * v[1], mixed * v[0] + 2 * (x * w[0]) ** 2 * v[1]])

    return FunctionLandscape(loss, gradient, n=2, hvp=hvp if exact else None, lower_bound=0.0)


def compute(settings: Settings) -> dict[str, Any]:
    """Classify the origin and the valley, compare model and truth along u = (1, 1), escape, descend."""
    from .. import classify, escape, minimize
    from ..optim import SGD

    land = landscape(settings.x, settings.y, settings.exact)
    origin, u = np.zeros(2), np.ones(2)
    saddle = classify(land, origin)
    matrix = np.asarray(land.hessian(origin) @ np.eye(2), dtype=np.float64)
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    way = escape(land, origin, saddle)
    path = minimize(land, SGD(lr=settings.lr), way.theta, steps=settings.steps, record_path=True)
    bottom = np.full(2, np.sqrt(settings.y / settings.x))
    valley = classify(land, bottom)
    t = np.linspace(-1.5, 1.5, 121)
    return {
        "settings": {"x": settings.x, "y": settings.y, "exact": settings.exact},
        "extent": settings.reach,
        "resolution": settings.resolution,
        "eigenvalues": values,
        "eigenvectors": vectors.T,
        "verdict": saddle.verdict,
        "sentence": str(saddle),
        "bracket": [saddle.lambda_min.lower, saddle.lambda_min.upper],
        "valley": valley.verdict,
        "valley_sentence": str(valley),
        "loss_at_saddle": land.loss(origin),
        "model_at_u": land.loss(origin) + 0.5 * float(u @ matrix @ u),
        "loss_at_u": land.loss(u),
        "escaped": way.succeeded,
        "escape_step": way.step,
        "loss_after_escape": way.loss_after,
        "losses": path.losses,
        "path": np.concatenate([origin[None], np.asarray(path.thetas, dtype=np.float64)]),
        "t": t,
        "true_along_u": [land.loss(s * u) for s in t],
        "model_along_u": land.loss(origin) + 0.5 * t**2 * float(u @ matrix @ u),
    }


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """The origin is a strict saddle with eigenvalues ∓2xŷ, the valley is degenerate, the escape lowers L."""
    x, y = results["settings"]["x"], results["settings"]["y"]
    values = np.asarray(results["eigenvalues"])
    rounding = 1e-9 if results["settings"]["exact"] else 1e-4
    right = bool(np.abs(values - [-2 * x * y, 2 * x * y]).max() <= rounding * 2 * x * y)
    verdicts = results["verdict"].name == "STRICT_SADDLE" and results["valley"].name == "DEGENERATE"
    lower = results["loss_after_escape"] < results["loss_at_saddle"]
    sentence = (
        f"At (0, 0) the gradient is zero and the eigenvalues are {values[0]:.6g} and {values[1]:.6g}: "
        f"{results['verdict'].name}. At u = (1, 1) the quadratic model says {results['model_at_u']:.6g}, "
        f"the true loss is {results['loss_at_u']:.6g}. The escape lowers the loss from "
        f"{results['loss_at_saddle']:.6g} to {results['loss_after_escape']:.6g}, descent then to "
        f"{float(results['losses'][-1]):.3g}. On the valley w₁w₂ = ŷ/x the verdict is {results['valley'].name}."
    )
    return right and verdicts and bool(results["escaped"]) and lower, sentence


def figure(results: dict[str, Any]) -> Figure:
    """Contours with the eigenvectors and the way out; loss and model along u."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = canvas.subplots(1, 2)
    _contours(left, results)
    t = np.asarray(results["t"])
    right.plot(t, results["model_along_u"], "--", color="#c2410c", lw=1.8, label="quadratic model")
    right.plot(t, results["true_along_u"], color="#2563eb", lw=2.2, label="true loss")
    right.plot([1], [results["model_at_u"]], "o", color="#c2410c")
    right.plot([1], [results["loss_at_u"]], "o", color="#2563eb")
    right.set_xlabel("t, along u = (1, 1)")
    right.set_ylabel("loss")
    right.set_title("What the model promises, and what there is")
    right.legend()
    return canvas


def _contours(axes: Axes, results: dict[str, Any]) -> None:
    from ..plot import surface

    reach = results["extent"]
    land = landscape(results["settings"]["x"], results["settings"]["y"])
    surface(
        land,
        paths=[results["path"]],
        ax=axes,
        resolution=results["resolution"],
        extent=(-reach, reach, -reach, reach),
    )
    for value, vector in zip(results["eigenvalues"], results["eigenvectors"], strict=True):
        tip = 0.4 * reach * np.asarray(vector)
        tip = tip if tip @ np.asarray(results["path"][-1]) <= 0 else -tip
        axes.annotate(
            "", xy=tuple(tip), xytext=tuple(-tip), arrowprops={"arrowstyle": "<->", "color": "white", "lw": 1.6}
        )
        text = f"λ = {value:.3g}".replace("-", "−")
        axes.annotate(text, tuple(1.15 * tip), color="white", ha="center", va="center", weight="bold")
    axes.set_xlabel("w₁")
    axes.set_ylabel("w₂")
    axes.set_title(f"(0, 0): {results['verdict'].name.replace('_', ' ').lower()}")
