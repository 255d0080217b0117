"""Trials: which symptom calls for which treatment, each tried in a fork beside the do-nothing control."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..train import Trainer
from . import forks, treatments
from .evidence import Evidence, Fork
from .forks import Course
from .inside import EXHAUSTED, HALF, LONG_STRIDE, ONSET, RAISED, SCALES, VANISHED, signal_left
from .layers import network_landscape
from .objective import Objective
from .subject import Subject

Made = Trainer | tuple[Trainer, Objective] | None
UNEQUAL = 300.0  # times: relative gradients that no one rate serves
WORTH_A_TRY = 0.6  # of a rule's threshold: a trial may find what the symptom only hints at


@dataclass(frozen=True)
class Trial:
    """A treatment with the evidence that calls for it.

    Attributes:
        name: the field of `Evidence` that the fork becomes.
        wanted: whether the evidence calls for it.
        prepare: (fork, subject, evidence) -> the run to train; None where it cannot be made.
        change: what was changed, in words.
    """

    name: str
    wanted: Callable[[Evidence], bool]
    prepare: Callable[[Trainer, Subject, Evidence], Made]
    change: Callable[[Evidence], str]


def make_trial(trial: Trial, subject: Subject, run: Trainer, evidence: Evidence, control: Course) -> Fork | None:
    """The treated fork beside the control. Cost: as the control; None where the treatment cannot be made."""
    made = trial.prepare(subject.fork(run), subject, evidence)
    if made is None:
        return None
    fork, objective = made if isinstance(made, tuple) else (made, None)
    course = forks.follow(subject, fork, control.steps, objective)
    return forks.compare(subject, course, control, trial.change(evidence))


def _share(e: Evidence, name: str) -> float:
    return max((getattr(layer, name) for layer in e.layers or ()), default=0.0)


def _fade(e: Evidence) -> float:
    """Relative gradient of the first weight over that of the last; 1 for fewer than three."""
    if e.weights is None or len(e.weights) < 3 or e.weights[-1].relative <= 0:
        return 1.0
    return e.weights[0].relative / e.weights[-1].relative


def _unequal(e: Evidence) -> float:
    """The largest relative gradient of a weight over the smallest."""
    sizes = [block.relative for block in e.weights or () if block.relative > 0.0]
    return max(sizes) / min(sizes) if sizes else 1.0


def _start_is_bad(e: Evidence) -> bool:
    level = e.level
    alike = max((block.identical for block in (e.weights or ())[:-1]), default=0.0)
    raised = level.start is not None and level.baseline is not None and level.start > 0.5 * RAISED * level.baseline
    return alike >= HALF or raised


def _exploded(e: Evidence) -> bool:
    onset = None if e.steps is None else e.steps.onset
    return onset is not None and onset > WORTH_A_TRY * ONSET


def _blocked(e: Evidence) -> bool:
    fade = min(_fade(e), signal_left(e))
    return _share(e, "saturated") > WORTH_A_TRY * HALF or fade < VANISHED / WORTH_A_TRY


def _dies(e: Evidence) -> bool:
    return _share(e, "dead") > WORTH_A_TRY * HALF


def _fresh(fork: Trainer, subject: Subject, evidence: Evidence) -> Made:
    land = network_landscape(subject.land)
    return None if land is None else forks.moved(fork, treatments.fresh_theta(land))


def _soft(e: Evidence) -> float:
    """The factor that makes the first updates of a fresh network a fiftieth of its weights."""
    return treatments.STRIDE if e.steps is None or e.steps.soft is None else e.steps.soft


def _gentle(fork: Trainer, subject: Subject, evidence: Evidence) -> Made:
    made = _fresh(fork, subject, evidence)
    return None if made is None else forks.with_rate(fork, _soft(evidence))


TRIALS = (
    Trial(
        "revived",
        _dies,
        lambda fork, subject, e: treatments.with_revived_units(fork, subject),
        lambda e: "fresh weights for the dead units",
    ),
    Trial(
        "standardised",
        lambda e: e.features is not None and e.features.worst > WORTH_A_TRY * SCALES,
        lambda fork, subject, e: treatments.on_standardised_features(fork, subject),
        lambda e: "standardised features",
    ),
    Trial(
        "full_step",
        lambda e: e.steps is not None and e.steps.left < EXHAUSTED / WORTH_A_TRY,
        lambda fork, subject, e: treatments.with_full_step(fork, e.steps.peak if e.steps else fork.opt.rate(fork.t)),
        lambda e: f"the step back at its largest, lr {e.steps.peak if e.steps else 0.0:.3g}",
    ),
    Trial(
        "clipped",
        lambda e: _fade(e) > 20.0 or _exploded(e),
        lambda fork, subject, e: treatments.with_clipping(fork, 1.0),
        lambda e: "gradients clipped to norm 1",
    ),
    Trial(
        "normalised",
        _blocked,
        lambda fork, subject, e: treatments.with_normalisation(fork, subject),
        lambda e: "a fresh network with BatchNorm behind every hidden layer",
    ),
    Trial(
        "gentle",
        lambda e: (
            e.steps is not None
            and e.steps.stride > (2.0 * treatments.STRIDE if _dies(e) else WORTH_A_TRY * LONG_STRIDE)
        ),
        _gentle,
        lambda e: f"fresh weights and the learning rate multiplied by {_soft(e):.3g}",
    ),
    Trial(
        "fresh",
        lambda e: _blocked(e) or _start_is_bad(e) or _dies(e) or _exploded(e),
        _fresh,
        lambda e: "fresh weights",
    ),
    Trial(
        "layerwise",
        lambda e: e.stability is not None and e.stability.ratio > 0.03 and _unequal(e) > UNEQUAL,
        lambda fork, subject, e: treatments.with_layerwise_rates(fork),
        lambda e: f"LAMB with lr {treatments.LAYER_RATE:g}",
    ),
    Trial(
        "adaptive",
        lambda e: e.stability is not None and e.stability.rule == "SGD" and e.stability.ratio > 0.03,
        lambda fork, subject, e: treatments.with_adam(fork),
        lambda e: f"Adam with lr {treatments.ADAM_RATE:g}",
    ),
)
