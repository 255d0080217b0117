"""What one update did to each block: norms that come out of the same pass over memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class StepReport:
    """Norms of one update, an entry for each block.

    Attributes:
        blocks: names of the blocks; ("theta",) if the optimizer knows none.
        gradient_norm: ‖g‖ as given, before scaling and clipping.
        theta_norm: ‖θ‖ before the update.
        change_norm: ‖Δθ‖.
        trust_ratio: factor of LARS or LAMB; 1 for other rules.
    """

    blocks: tuple[str, ...]
    gradient_norm: Array
    theta_norm: Array
    change_norm: Array
    trust_ratio: Array

    @property
    def relative_change(self) -> Array:
        """‖Δθ‖/‖θ‖; 0 where nothing moved, infinite where θ was 0."""
        return _quotient(self.change_norm, self.theta_norm)

    @property
    def effective_step(self) -> Array:
        """‖Δθ‖/‖g‖: the learning rate of plain gradient descent that would have moved as far."""
        return _quotient(self.change_norm, self.gradient_norm)

    @property
    def total_gradient_norm(self) -> float:
        """‖g‖ over all blocks."""
        return float(np.sqrt(np.sum(self.gradient_norm**2)))


def _quotient(a: Array, b: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(a == 0, 0.0, a / b)
