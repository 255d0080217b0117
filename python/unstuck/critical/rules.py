"""From measured ends of the spectrum to tolerance, index and verdict: pure rules, no measurement."""

from __future__ import annotations

import numpy as np

from .ends import Ends
from .gate import Gate
from .result import Verdict

RELATIVE_TOLERANCE = 1e-4


def tolerance_for(asked: float | None, norm: float, noise: float, error: float) -> float:
    """τ: as asked for, else 1e-4·‖H‖; never below 4·noise or twice the widening of the bounds."""
    return max(RELATIVE_TOLERANCE * norm if asked is None else asked, 4.0 * noise, 2.0 * error)


def is_noise(norm: float, noise: float, error: float) -> bool:
    """‖H‖ cannot be told from zero."""
    return norm <= max(4.0 * noise, 2.0 * error)


def verdict_for(ends: Ends, tolerance: float, gate: Gate) -> Verdict:
    """The verdict that the evidence carries; every proof needs a strict inequality."""
    if not gate.critical:
        return Verdict.NOT_CRITICAL
    down, up = ends.low < -tolerance, ends.high > tolerance
    flat_below = ends.lower >= -tolerance and ends.low <= tolerance
    flat_above = ends.upper <= tolerance and ends.high >= -tolerance
    answers = [
        (is_noise(ends.norm, ends.noise, ends.error), Verdict.DEGENERATE),
        (down and up, Verdict.STRICT_SADDLE),
        (ends.lower > 0.0 and ends.lower >= tolerance, Verdict.LOCAL_MINIMUM),
        (ends.upper < 0.0 and ends.upper <= -tolerance, Verdict.LOCAL_MAXIMUM),
        (flat_below or (down and flat_above), Verdict.DEGENERATE),
    ]
    return next((verdict for holds, verdict in answers if holds), Verdict.UNDECIDED)


def index_for(ends: Ends, tolerance: float, n: int) -> tuple[int, int | None]:
    """(at_least, at_most) eigenvalues below −τ: Courant–Fischer for the first, the whole spectrum for the second."""
    if ends.complete:
        # a value within its own error of −τ may lie on either side
        sure = int(np.count_nonzero(ends.values + ends.error < -tolerance))
        possible = int(np.count_nonzero(ends.values - ends.error < -tolerance))
        return max(sure, int(ends.low < -tolerance)), possible
    if ends.upper < -tolerance:
        return n, n
    least = int(np.count_nonzero(ends.values < -tolerance))
    return least, (0 if ends.lower >= -tolerance else None)


def flat_count(ends: Ends, tolerance: float) -> int | None:
    """Number of eigenvalues within ±τ, when all are known."""
    return int(np.count_nonzero(np.abs(ends.values) <= tolerance)) if ends.complete else None


def further_products(ends: Ends, tolerance: float) -> int | None:
    """Predicted products until the open bound decides."""
    if ends.low < -tolerance:
        return ends.predict("upper", tolerance)
    return ends.predict("lower", -tolerance if ends.low <= tolerance else tolerance)
