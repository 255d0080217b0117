"""The picture of a spectral density: cumulative distribution with its band, outliers and bulk on one axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .spectral_density import Density

Array = NDArray[Any]

POINTS = 300


def cumulative_plot(density: Density, ax: Axes | None = None) -> Axes:
    """Share of eigenvalues up to λ, with the band that holds at all λ together."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(6.4, 4.2), layout="constrained").add_subplot() if ax is None else ax
    linear = _linear_part(density)
    x = grid(density, linear)
    band = density.cumulative(x, simultaneous=True)
    certain = density.measure.bracket(x)
    sure = f"{100 * density.confidence:g} %"
    axes.fill_between(x, band.lower, band.upper, color="#bfd7ff", lw=0, label=f"band at {sure} (everywhere)")
    axes.plot(x, 0.5 * (certain.lower + certain.upper), color="#2563eb", lw=1.6, label="estimate")
    axes.axvline(0.0, color="#c2410c", lw=0.9, ls=":")
    if linear is not None:
        axes.set_xscale("symlog", linthresh=linear, linscale=1.5)
    axes.set_xlim(float(x[0]), float(x[-1]))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("eigenvalue λ")
    axes.set_ylabel("share of eigenvalues ≤ λ")
    how = "all eigenvalues" if density.exact else f"{density.products} products"
    axes.set_title(f"{density.n} parameters, {how}")
    axes.legend(loc="lower right" if _mass_below_middle(density) else "upper left", fontsize=8)
    return axes


def grid(density: Density, linear: float | None) -> Array:
    """Points over the whole support, a little beyond it; on a symmetric-log axis as dense near 0 as far out."""
    low, high = float(density.nodes[0]), float(density.nodes[-1])
    reach = max(high - low, 1e-3 * max(abs(low), abs(high))) or 1.0
    low, high = low - 0.04 * reach, high + 0.04 * reach
    even = np.linspace(low, high, POINTS)
    if linear is None:
        return even
    turns = np.linspace(np.arcsinh(low / linear), np.arcsinh(high / linear), POINTS)
    return np.unique(np.concatenate([linear * np.sinh(turns), [low, high]]))


def _linear_part(density: Density) -> float | None:
    """Where a symmetric-log axis turns linear; None if the spectrum fits a linear one."""
    low, high = density.quantile(0.02), density.quantile(0.98)
    span = float(density.nodes[-1] - density.nodes[0])
    bulk = max(abs(low), abs(high))
    if span <= 0.0 or high - low > 0.1 * span:
        return None
    return max(bulk, 1e-6 * float(np.abs(density.nodes).max()))


def _mass_below_middle(density: Density) -> bool:
    middle = 0.5 * float(density.nodes[0] + density.nodes[-1])
    return float(density.weights[density.nodes < middle].sum()) > 0.5
