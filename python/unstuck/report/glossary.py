"""The field's words in plain ones: shown when a reader points at a word of a report, and listed at its end."""

from __future__ import annotations

import re
from functools import lru_cache

# the longest of several that fit is taken; case does not matter
TERMS = {
    "gradient norm": "the steepness of the loss here: the length of the gradient, 0 at a critical point",
    "gradient": "the direction in which the loss rises fastest; training steps against it",
    "critical point": "a point where the gradient is zero: a minimum, a maximum or a saddle",
    "strict saddle": "a point without slope from which the loss falls along some direction, so that it can be left",
    "saddle": "a point without slope that is higher than some points around it and lower than others",
    "curvature": "how the slope changes along a direction: negative where the loss bends down, positive where up",
    "lowest curvature": "the curvature along the direction that bends down most, or up least",
    "highest curvature": "the curvature along the direction that bends up most",
    "eigenvalue": "the curvature along one of the surface's principal directions",
    "eigenvalues": "the curvatures along the surface's principal directions",
    "Hessian": "the matrix of all second derivatives of the loss: it holds every curvature",
    "spectrum": "all eigenvalues of the Hessian",
    "verified direction": "a direction along which the curvature was computed afresh, so that it is no estimate",
    "certified": "holds with a stated probability, by a bound that can be checked again with unstuck.verify",
    "proved": "computed afresh for a direction in hand: no estimate, no probability",
    "tolerance": "curvature smaller than this counts as flat",
    "kink": "a point where the slope jumps, as of a ReLU unit at zero; curvature there holds on one side only",
    "products": "Hessian times vector: the unit of cost, each about two gradients",
    "fork": "a copy that is trained on with one thing changed; the run itself is not touched",
    "rank statistic": "how clearly the loss falls (Mann–Kendall): below about −2.3 it is no accident",
    "noise of a block": "how much the mean loss of neighbouring stretches of the run scatters",
    "held-out": "kept out of the training, to see how well the network does on data it has not seen",
    "confidence": "how sure the diagnosis is, from 0 to 1",
    "learning rate": "the length of the steps relative to the gradient",
    "degenerate": "flat along some direction, so that curvature cannot tell a minimum from a saddle",
}


@lru_cache(maxsize=1)
def meanings() -> dict[str, tuple[str, str]]:
    """Every explained word in lower case ↦ (the word, its meaning); names of verdicts and causes bring their own."""
    from ..critical import Verdict
    from ..doctor.causes import Cause

    named = {verdict.name: verdict.value for verdict in Verdict}
    named |= {cause.name: cause.explanation for cause in Cause}
    return {word.lower(): (word, meaning) for word, meaning in (named | TERMS).items()}


@lru_cache(maxsize=1)
def pattern() -> re.Pattern[str]:
    """Matches every explained word that stands by itself."""
    words = sorted(meanings(), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, words))})(?![\w-])", re.IGNORECASE)
