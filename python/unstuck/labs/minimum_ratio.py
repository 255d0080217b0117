"""Loss against minimum ratio for many small networks, and what the sign of a zero eigenvalue is worth.

Networks for a curve in one dimension are trained from several seeds and broken off at several points; from there a
critical point is looked for (∇L = 0, of any kind). At each end all eigenvalues of the Hessian are computed: the
lecture's raw ratio #(λ > 0)/n beside three bins, below −τ, within ±τ and above τ. The course's label is given too: a
gradient norm below 1e-3 and a raw ratio above ½ is "local minimum like".

The last panel shows why the raw ratio misleads: a float32 matrix of rank 6 with 128 rows, positive semi-definite by
construction, has about 61 "negative" eigenvalues: 122 zeros whose signs are rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..settings import setting
from .small_networks import bins, curve, eigen, train

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]
TITLE = "Minimum ratio: how many eigenvalues are positive, flat, negative where training ends"
LECTURE = ("A7",)
LABEL_GRADIENT, LABEL_RATIO = 1e-3, 0.5  # the course's label
COLOURS = {"negative": "#c2410c", "flat": "#cbd2dc", "positive": "#2563eb"}


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    hidden: tuple[int, ...] = setting("units of the hidden layers", (8, 8), least=1, most=100, fewest=1)
    seeds: int = setting("networks per stopping point", 6, least=1, most=1000)
    stops: tuple[int, ...] = setting("updates before the search", (0, 100, 400, 1500), least=0, most=100_000, fewest=1)
    products: int = setting("most products per search for a critical point", 800, least=20, most=1_000_000)
    relative: float = setting("τ as a share of the largest |λ|", 1e-4, least=0.0, most=0.5)
    rank: int = setting("rank of the semi-definite matrix", 6, least=1, most=1000)
    rows: int = setting("its rows", 128, least=2, most=2000)
    matrices: int = setting("number of such matrices", 100, least=1, most=10_000)


def compute(settings: Settings) -> dict[str, Any]:
    """Every network at its critical point, and the signs of the zeros of low-rank matrices."""
    points = [_point(settings, seed, stop) for stop in settings.stops for seed in range(settings.seeds)]
    return {
        "parameters": curve(settings.hidden, 0).n,
        "points": points,
        "relative": settings.relative,
        "rank": settings.rank,
        "rows": settings.rows,
        "matrices": [_semi_definite(settings, seed) for seed in range(settings.matrices)],
        "spectrum": _spectrum(settings, 0),
    }


def _point(settings: Settings, seed: int, stop: int) -> dict[str, Any]:
    from ..search import find_critical

    land = curve(settings.hidden, seed)
    train(land, stop)
    found = find_critical(land, max_products=settings.products)
    values, _ = eigen(land, found.theta)
    shares = bins(values, settings.relative)
    like = found.gradient_norm < LABEL_GRADIENT and shares["raw"] > LABEL_RATIO
    return {
        "seed": seed,
        "stop": stop,
        "loss": found.loss,
        "gradient_norm": found.gradient_norm,
        "converged": found.converged,
        "label": "local minimum like" if like else "saddle",
        "below": int(np.count_nonzero(values < -settings.relative * np.abs(values).max())),
        **shares,
    }


def _spectrum(settings: Settings, seed: int) -> Array:
    """Eigenvalues in float32 of G·Gᵀ, relative to the largest; never negative in exact arithmetic."""
    factor = np.random.default_rng(seed).standard_normal((settings.rows, settings.rank)).astype(np.float32)
    values = np.linalg.eigvalsh(factor @ factor.T).astype(np.float64)
    return np.asarray(values / values[-1])


def _semi_definite(settings: Settings, seed: int) -> dict[str, float]:
    return bins(_spectrum(settings, seed), max(settings.relative, 1e-6))


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """Low losses go with high ratios; zeros' signs are rounding, and the bins say so."""
    points = results["points"]
    losses, ratios = (np.array([point[name] for point in points]) for name in ("loss", "raw"))
    order = _rank_correlation(losses, ratios)
    saddles = sum(point["below"] > 0 for point in points)
    called = [point for point in points if point["label"] == "local minimum like"]
    wrong = sum(point["below"] > 0 for point in called)
    matrices = results["matrices"]
    raw = float(np.median([m["raw"] for m in matrices]))
    share = min(results["rank"] / results["rows"], 1.0)
    told = max(abs(m["positive"] - share) + m["negative"] for m in matrices)
    misled = share > 0.9 or raw > share + 0.2 * (1.0 - share)
    sentence = (
        f"{len(points)} networks of {results['parameters']} parameters, at points with ∇L ≈ 0: lower losses come with "
        f"higher minimum ratios (rank correlation {order:.2f}), and {saddles} of the points still have directions of "
        f"negative curvature. The course's label calls {len(called)} of them local minimum like, {wrong} of these are "
        f"saddles. {len(matrices)} float32 matrices of rank {results['rank']} with {results['rows']} rows: median raw "
        f"ratio {raw:.2f} where {share:.3f} is right; the three bins err by {told:.2g} at most."
    )
    return bool(order < -0.3 and saddles > len(points) // 2 and misled and told == 0.0), sentence


def _rank_correlation(a: Array, b: Array) -> float:
    """Spearman's, ties sharing their mean rank; 0 where one of them is constant."""
    x, y = (np.array([np.mean([np.sum(v < u), np.sum(v <= u)]) for u in v]) for v in (a, b))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def figure(results: dict[str, Any]) -> Figure:
    """Loss against the raw ratio; the three bins of every network by loss; the zeros' signs."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 4.6), layout="constrained")
    left, middle, right = canvas.subplots(1, 3)
    _against_loss(left, results)
    _stacked(middle, results)
    _signs(right, results)
    return canvas


def _against_loss(axes: Axes, results: dict[str, Any]) -> None:
    marks = {"local minimum like": ("o", "#2563eb"), "saddle": ("x", "#c2410c")}
    for label, (mark, colour) in marks.items():
        found = [point for point in results["points"] if point["label"] == label]
        axes.plot(
            [p["raw"] for p in found], [max(p["loss"], 1e-16) for p in found], mark, color=colour, label=label, ms=6
        )
    axes.axvline(LABEL_RATIO, color="#667085", ls=":", lw=1.2)
    axes.set_yscale("log")
    axes.set_xlabel("raw minimum ratio #(λ > 0)/n")
    axes.set_ylabel("loss")
    axes.set_title("As the lecture plots it, with the course's label")
    axes.legend(fontsize=8)


def _stacked(axes: Axes, results: dict[str, Any]) -> None:
    points = sorted(results["points"], key=lambda point: -point["loss"])
    places, bottom = np.arange(len(points)), np.zeros(len(points))
    for name, colour in COLOURS.items():
        heights = np.array([point[name] for point in points])
        axes.bar(places, heights, bottom=bottom, width=1.0, color=colour, label=name)
        bottom += heights
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_xlabel("networks, from the highest loss to the lowest")
    axes.set_ylabel("share of eigenvalues")
    axes.set_title(f"Three bins, τ = {results['relative']:g}·max|λ|")
    axes.legend(fontsize=8, loc="center right")


def _signs(axes: Axes, results: dict[str, Any]) -> None:
    values = np.asarray(results["spectrum"])
    places = np.arange(1, len(values) + 1)
    for sign, name in ((-1.0, "negative"), (1.0, "positive")):
        chosen = np.sign(values) == sign
        axes.semilogy(places[chosen], np.abs(values[chosen]), ".", color=COLOURS[name], label=f"{name} sign", ms=5)
    axes.axhline(max(results["relative"], 1e-6), color="#667085", ls=":", lw=1.2, label="τ")
    raw = float(np.mean(values > 0))
    axes.set_xlabel("number of the eigenvalue")
    axes.set_ylabel("|λ| / largest")
    axes.set_title(f"Rank {results['rank']}, {results['rows']} rows, float32: raw ratio {raw:.2f}")
    axes.legend(fontsize=8, loc="center left")
