"""Is the gradient small enough to speak of a critical point: the two promised decreases, free of scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Gate:
    """The numbers behind "critical or not"; the first three are decreases of the loss.

    Attributes:
        gradient_decrease: ‖g‖²/(2‖H‖), what a step along the gradient promises; infinite where ‖H‖ = 0 and g ≠ 0.
        curvature_decrease: min(2|λ₋|³/(3M²), ½|λ₋|r²), what negative curvature promises within the radius r.
        flat_decrease: ½τr², what the tolerance hides within r.
        radius: r = 0.01·max(1, ‖θ‖).
        third_derivative: M, measured along the direction of λ₋; 0 when there is none.
        critical: gradient_decrease ≤ max(curvature_decrease, flat_decrease), or g = 0.
    """

    gradient_decrease: float
    curvature_decrease: float
    flat_decrease: float
    radius: float
    third_derivative: float
    critical: bool


def radius_at(theta: Array) -> float:
    """R = 0.01·max(1, ‖θ‖)."""
    return 0.01 * max(1.0, norm_of(theta))


def gate(gradient_norm: float, lambda_min: float, norm: float, tolerance: float, radius: float, third: float) -> Gate:
    """Compare what the gradient promises with what curvature promises, all in units of ‖H‖.

    Args:
        gradient_norm: ‖g‖.
        lambda_min: the smallest eigenvalue.
        norm: ‖H‖.
        tolerance: τ.
        radius: r.
        third: third derivative along the direction of lambda_min; only its size matters.
    """
    negative = max(-lambda_min, 0.0)
    third = abs(third)
    descent = 0.0
    if gradient_norm > 0.0:
        descent = gradient_norm / norm * gradient_norm / 2 if norm > 0.0 else float("inf")
    within_radius = negative / 2 * radius**2
    curvature = within_radius
    if third > 0.0:
        reach = negative / third
        curvature = min(2.0 / 3.0 * negative * reach * reach, within_radius)
    flat = tolerance / 2 * radius**2
    if norm > 0.0:
        # every term over ‖H‖ is a squared length: no underflow when the loss is scaled by 1e-200
        length = gradient_norm / norm
        critical = length * length / 2 <= max(curvature / norm, flat / norm)
    else:
        critical = False
    return Gate(descent, curvature, flat, radius, third, critical or gradient_norm == 0.0)


def norm_of(vector: Array) -> float:
    """‖vector‖ in float64, without overflow or underflow of the squares."""
    largest = float(np.max(np.abs(vector), initial=0.0))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(np.asarray(vector, dtype=np.float64) / largest))
