"""The menu: for each cause an ordered list of treatments."""

from __future__ import annotations

from ..train import Trainer
from .causes import Cause
from .diagnosis import Diagnosis
from .kitchen import Kitchen
from .treatment import Treatment

__all__ = ["MENU", "Treatment", "menu"]


def menu(diagnosis: Diagnosis, run: Trainer) -> list[Treatment]:
    """What could be tried, the most promising first: for each cause found, then what helps without knowing why."""
    kitchen = Kitchen(diagnosis, run)
    wanted = [cause for cause, confidence in diagnosis.causes if confidence >= 0.05 and not cause.healthy]
    chosen: dict[str, Treatment] = {}
    # what evaluation does not see is mended there, not by another way of training
    general = [] if diagnosis.cause is Cause.STALE_STATISTICS else [Cause.UNDECIDED]
    for cause in [*wanted, *general]:
        for name in MENU.get(cause, ()):
            treatment = kitchen.make(name, cause)
            if treatment is not None:
                chosen.setdefault(treatment.name, treatment)
    return list(chosen.values())


MENU: dict[Cause, tuple[str, ...]] = {
    Cause.STRICT_SADDLE: ("escape", "perturb", "start_again"),
    Cause.FLAT_SADDLE: ("push_off", "perturb", "start_again"),
    Cause.LOCAL_MINIMUM: ("best_of_starts", "start_again"),
    Cause.STEP_TOO_LARGE: ("start_gently", "start_and_descend", "bearable_rate", "lower_rate", "warm_up"),
    Cause.STEP_TOO_SMALL: ("usual_rate", "bearable_rate", "raise_rate"),
    Cause.ILL_CONDITIONED: ("curvature", "layerwise", "adam", "momentum"),
    Cause.UNSCALED_FEATURES: ("curvature", "adam", "layerwise", "bearable_rate"),
    Cause.NOISE_FLOOR: ("lower_rate", "larger_batch", "start_gently", "start_and_descend"),
    Cause.VANISHING_GRADIENT: ("scaled_start", "scaled_start_adam", "start_and_descend", "adam"),
    Cause.EXPLODING_GRADIENT: ("scaled_start", "scaled_start_adam", "start_and_descend", "clip", "lower_rate"),
    Cause.DEAD_UNITS: ("revive", "scaled_start", "start_and_descend", "start_again", "start_gently"),
    Cause.SATURATED_UNITS: ("scaled_start", "start_and_descend", "start_again", "start_gently", "adam"),
    Cause.BAD_INITIALISATION: ("start_again", "scaled_start", "start_and_descend", "perturb"),
    Cause.SHARP_MINIMUM: ("flatter_start",),
    Cause.STALE_STATISTICS: ("recompute",),
    Cause.EXHAUSTED_STEP: ("full_step", "start_and_descend", "adam"),
    Cause.NON_FINITE: ("start_again_slower", "start_gently", "start_and_descend", "bearable_rate", "clip"),
    Cause.UNDECIDED: (
        "start_gently",
        "scaled_start_adam",
        "start_and_descend",
        "lower_rate",
        "usual_rate",
        "adam",
        "perturb",
    ),
}
