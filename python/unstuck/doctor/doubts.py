"""Doubts: for each cause, which measurement would have led to another answer; thresholds are those of the rules."""

from __future__ import annotations

from collections.abc import Callable

from ..number_text import number
from .causes import Cause
from .evidence import Evidence
from .inside import EXHAUSTED, HALF, RAISED, SCALES, VANISHED
from .progress import DRIFT, MATERIAL, SUBSTANTIAL, WORTH


def doubt(cause: Cause, e: Evidence) -> str:
    """What would change the answer `cause`, in one sentence; empty where nothing is known."""
    maker = _DOUBTS.get(cause)
    return "" if maker is None else maker(e)


def _gain(e: Evidence) -> str:
    """The smallest gain that counts."""
    least = WORTH if e.stochastic else MATERIAL
    share = f"{least:.0%} of what there is to gain"
    return f"{number(least * e.scale, 2)} ({share})" if e.scale > 0 else share


def _healthy(e: Evidence) -> str:
    least = f"{DRIFT:.1%} of what there is to gain"
    least = f"{number(DRIFT * e.scale, 2)} ({least})" if e.scale > 0 else least
    return f"a fall that its own noise could make (rank statistic above −2.33), or one of less than {least}."


def _converged(e: Evidence) -> str:
    if not e.has_run:
        return "a verified direction of negative curvature, or a lower loss found close by."
    return f"a treated copy that ends lower by more than {_gain(e)}, or a stated target below this loss."


def _saddle(e: Evidence) -> str:
    flat = "" if e.geometry is None else f" (above −{number(e.geometry.tolerance, 2)})"
    first = f"a curvature that is no longer negative{flat} on other samples"
    if not e.has_run:
        return f"{first}."
    return f"{first}, or a step along the direction that gains less than {_gain(e)}, or no more than another rate does."


def _flat(e: Evidence) -> str:
    if e.descent is None:
        return "no lower loss close by."
    near = number(e.descent.radius, 3)
    return f"no lower loss within a distance of {near}, or a push off that gains less than {_gain(e)}."


def _minimum(e: Evidence) -> str:
    return (
        "a direction of curvature below the tolerance, or another start that ends lower by less than "
        f"{SUBSTANTIAL:.0%} of what there is to gain."
    )


def _too_large(e: Evidence) -> str:
    if e.smaller_lr is None:
        return "a curvature within what the learning rate bears."
    noise = ", or larger batches that gain as much: then the noise is the reason" if e.stochastic else ""
    return f"a smaller step that gains less than {_gain(e)}{noise}."


def _treated(what: str) -> Callable[[Evidence], str]:
    return lambda e: f"{what} that gains less than {_gain(e)}, or much less than another change does."


def _symptom(threshold: str, what: str) -> Callable[[Evidence], str]:
    return lambda e: f"{threshold}, or {what} that gains less than {_gain(e)}."


_DOUBTS: dict[Cause, Callable[[Evidence], str]] = {
    Cause.HEALTHY: _healthy,
    Cause.CONVERGED: _converged,
    Cause.STRICT_SADDLE: _saddle,
    Cause.FLAT_SADDLE: _flat,
    Cause.LOCAL_MINIMUM: _minimum,
    Cause.STEP_TOO_LARGE: _too_large,
    Cause.STEP_TOO_SMALL: _symptom(
        "a critical point here, where no step length helps, or a rate above a tenth of what the curvature bears",
        "a larger step",
    ),
    Cause.ILL_CONDITIONED: _symptom("one other learning rate that serves all directions", "a copy with Adam"),
    Cause.NOISE_FLOOR: _treated("a larger batch at the same learning rate"),
    Cause.VANISHING_GRADIENT: _symptom(
        f"a relative gradient of the first weight above {VANISHED:g} of the last one's", "a copy with normalisation"
    ),
    Cause.EXPLODING_GRADIENT: _symptom(
        "relative gradients that do not grow towards the first weight", "a copy with clipped gradients"
    ),
    Cause.DEAD_UNITS: _symptom(f"fewer than {HALF:.0%} dead units in every layer", "fresh weights for them"),
    Cause.SATURATED_UNITS: _symptom(
        f"fewer than {HALF:.0%} saturated units in every layer", "a copy with normalisation or a fresh start"
    ),
    Cause.BAD_INITIALISATION: _symptom(
        f"units that differ from each other and a first loss below {RAISED:g} times a constant answer's",
        "another start",
    ),
    Cause.UNSCALED_FEATURES: _symptom(
        f"columns within {SCALES:g} times of each other", "a copy on standardised features"
    ),
    Cause.SHARP_MINIMUM: lambda e: "a loss on new data as low as on the training data, or a flatter place.",
    Cause.STALE_STATISTICS: lambda e: (
        "the same loss in evaluation as in training on the same samples, or statistics computed again that do not "
        "close the gap."
    ),
    Cause.EXHAUSTED_STEP: _symptom(
        f"more than {EXHAUSTED:.0%} of the largest step being left", "a copy with the full step"
    ),
    Cause.NON_FINITE: lambda e: "a loss, a gradient and parameters that are all finite.",
    Cause.UNDECIDED: lambda e: (
        "more time, so that more copies can be trained for longer: `us.diagnose(run, budget=30)`."
        if e.has_run
        else "a run to try things out on: `us.diagnose(run)` instead of a point alone."
    ),
}
