"""Rules that read symptoms: what the layers, the data and the optimizer look like from inside.

A symptom alone convicts nobody: each rule also wants the fork in which that symptom was treated to do better than the
control, and about as well as the best of the other forks. The weakest of these makes the confidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..critical import Verdict
from .causes import Cause
from .evidence import Evidence, Fork
from .progress import (
    MATERIAL,
    SUBSTANTIAL,
    WORTH,
    Finding,
    accusable,
    benefit,
    beyond_own_fall,
    flawed,
    helped,
    not_finite,
    sure,
    worthless,
)
from .symptoms import BlockState, LayerState

HALF = 0.5  # of a layer's units
VANISHED = 5e-3  # relative gradient of the first weight over that of the last
SCALES = 20.0  # between features
EXHAUSTED = 0.05  # of the largest step
IDLE = 0.3  # of a run: a schedule that was over for so long was over too soon
ENDED = 0.3  # of the whole: what a schedule may leave that ends with the run
ONSET = 10.0  # times a fresh network's gradient
RAISED = 3.0  # a start so many times above a constant answer
SETTLED = 100  # updates that running statistics may take to follow the data
GAP = 0.5  # of the training loss: between new data and those that are trained on
SHARPER = 1.25  # times as sharp as a flatter place
COMPARABLE = 0.5  # of the best fork's gain
SHORT_STRIDE = 1e-3  # of a fresh network's θ, per update
LONG_STRIDE = 0.3  # of a fresh network's θ, per update


def explains(e: Evidence, fork: Fork) -> float:
    """A fork's gain over half the best of all forks' gains: above 1 it does about as well as anything."""
    # descent with curvature is stronger than any way of training: it explains conditioning, and refutes nothing
    rivals = [f for f in e.tried if f is not e.newton and not f.broke and math.isfinite(f.gain)]
    best = max((f.gain for f in rivals), default=0.0)
    if math.isinf(fork.gain):
        return 2.0
    return fork.gain / (COMPARABLE * best) if best > 0 else 2.0 if fork.gain > 0 else 0.0


def _strength(e: Evidence, fork: Fork | None, symptom: float) -> float:
    """The weakest of: the symptom, the treatment's gain over the control, its gain beside the other forks."""
    if fork is None or symptom < 1.0 or not accusable(e):
        return 0.0
    return min(symptom, benefit(e, fork), beyond_own_fall(e, fork), 1.25 * explains(e, fork))


def _finding(cause: Cause, strength: float, symptom: str, fork: Fork | None) -> Finding | None:
    if strength < 1.0:
        return None
    return Finding(cause, sure(strength), symptom if fork is None else f"{symptom}, and {helped(fork)}")


def step_too_small(e: Evidence) -> Finding | None:
    """The curvature bears a far larger rate, the gradient promises a fall, and a larger rate brings it."""
    if e.larger_lr is None or e.geometry is None or (e.stability is None and e.steps is None):
        return None
    ratio = 0.0 if e.stability is None else e.stability.ratio
    room = 0.1 / ratio if ratio > 0 else 3.0
    if e.stability is None:  # of rules without a known limit, updates far shorter than any network bears say as much
        moves = e.steps.moves if e.steps is not None else None
        room = 3.0 if moves is None else min(SHORT_STRIDE / max(moves, 1e-300), 3.0)
    promise = 3.0  # at a critical point what helps is leaving it, not the length of the step
    if e.geometry.verdict is not Verdict.NOT_CRITICAL:
        promise = _promise(e) / max(MATERIAL * e.scale, 1e-300)
    left = 1.0 if e.steps is None else e.steps.left
    strength = _strength(e, e.larger_lr, min(room, promise))
    if left <= EXHAUSTED and e.full_step is not None and benefit(e, e.full_step) >= 1.0:
        strength *= 0.3  # it was large enough once
    if e.steps is not None and e.steps.jumps:
        strength *= min(1.0, SHORT_STRIDE / e.steps.jumps)  # a fresh network would do well with it
    scaled = e.standardised
    if scaled is not None and e.features is not None and e.features.worst >= SCALES and benefit(e, scaled) >= 1.0:
        strength *= min(1.0, 0.6 * e.larger_lr.gain / scaled.gain)  # it is small because a column is large
    symptom = "the next updates are short"
    if e.stability is not None:
        symptom = f"the learning rate {e.stability.lr:.3g} uses {ratio:.2g} of what the curvature bears"
    elif e.steps is not None and e.steps.moves is not None:
        symptom = f"an update at lr {e.steps.lr:.3g} moves the weights by {e.steps.moves:.2g} of a fresh network's"
    return _finding(Cause.STEP_TOO_SMALL, strength, symptom, e.larger_lr)


def _promise(e: Evidence) -> float:
    """What a step along the gradient promises where the run stands, ‖g‖²/(2‖H‖), not where descent comes to rest."""
    g = e.geometry
    if g is None:
        return 0.0
    if not g.distance or not e.weights:
        return g.gradient_decrease
    steepest = max(abs(end) for end in (*g.lambda_min, *g.lambda_max))
    square = sum(block.gradient**2 for block in e.weights)
    return max(g.gradient_decrease, square / max(2.0 * steepest, 1e-300))


def exhausted_step(e: Evidence) -> Finding | None:
    """The effective step has shrunk to a fraction of its largest, and the full step gets further."""
    if e.steps is None:
        return None
    left = e.steps.left
    strength = min(_strength(e, e.full_step, EXHAUSTED / max(left, 1e-12)), too_soon(e))
    what = "accumulated squares" if e.steps.shrunk < e.steps.lr / max(e.steps.peak, 1e-300) else "the schedule"
    return _finding(Cause.EXHAUSTED_STEP, strength, f"{what} left {left:.2g} of the largest step", e.full_step)


def too_soon(e: Evidence) -> float:
    """What the full step would gain, against what a schedule that has run its course may leave."""
    if e.steps is None or e.full_step is None:
        return 0.0
    least = SUBSTANTIAL if e.steps.idle >= IDLE else ENDED
    return e.full_step.gain / max(least * e.scale, 1e-300)


def noise_floor(e: Evidence) -> Finding | None:
    """A larger batch at the same rate helps about as much as a smaller rate: the noise undoes the gain."""
    if not e.stochastic or e.larger_batch is None or e.held is not None:
        return None  # a schedule that goes down soon takes the noise along
    ratio = 0.0 if e.stability is None else e.stability.ratio
    stride = 0.0 if e.steps is None else e.steps.stride
    strength = _strength(e, e.larger_batch, min(0.8 / max(ratio, 1e-9), LONG_STRIDE / max(stride, 1e-9), 3.0))
    symptom = "with the same learning rate the noise of the batches decides where the loss stays"
    return _finding(Cause.NOISE_FLOOR, strength, symptom, e.larger_batch)


def ill_conditioned(e: Evidence) -> Finding | None:
    """One rate is near the limit of the steepest direction, yet rates of their own for each parameter get further."""
    fork = _better(e.adaptive, e.layerwise, e.newton)
    if e.stability is None or fork is None or e.geometry is None:
        return None
    room = max(e.stability.ratio / 0.05, 0.0)
    strength = _strength(e, fork, room)
    for other in (e.smaller_lr, e.larger_batch, e.gentle):
        if other is not None and benefit(e, other) >= 1.0:
            strength *= 0.5  # then one rate could serve all, or noise is in the way
    used = f"{e.stability.ratio:.2g} of what the steepest direction bears"
    strength = min(strength, fork.gain / max(SUBSTANTIAL * e.scale, 1e-300))
    if _has_a_symptom(e) and any(
        f is not None and benefit(e, f) >= 1.0 for f in (e.standardised, e.normalised, e.fresh, e.gentle)
    ):
        strength = min(0.6 * strength, 1.1)  # which says more
    symptom = f"the learning rate {e.stability.lr:.3g} already uses {used}"
    return _finding(Cause.ILL_CONDITIONED, strength, symptom, fork)


def unscaled_features(e: Evidence) -> Finding | None:
    """Columns of very different size, and the same function of standardised columns learns."""
    if e.features is None:
        return None
    f = e.features
    strength = _strength(e, e.standardised, f.worst / SCALES)
    symptom = f"column {f.widest} of X is {f.worst:.3g} times as large as a typical one varies"
    if f.size >= max(f.spread, f.offset):
        symptom = f"the columns of X are {f.size:.3g} times larger or smaller than 1, which initial weights count on"
    return _finding(Cause.UNSCALED_FEATURES, strength, symptom, e.standardised)


def _anew(e: Evidence, fork: Fork | None) -> Fork | None:
    """The fork; another start with Adam where that did not help and the run has learned too little to lose."""
    if (fork is not None and benefit(e, fork) >= 1.0) or e.restart is None or e.level.baseline is None:
        return fork
    return e.restart if e.level.baseline - e.level.loss < WORTH * e.room else fork


def dead_units(e: Evidence) -> Finding | None:
    """Half a layer or more is 0 on all data, and reviving its units, or all, helps."""
    worst = _worst(e, lambda layer: layer.dead)
    fork = _anew(e, _better(e.revived, e.fresh, e.gentle))
    if worst is None:
        return None
    symptom = f"{worst.dead:.0%} of {worst.name}'s units are 0 on all data"
    return _finding(Cause.DEAD_UNITS, _strength(e, fork, worst.dead / HALF), symptom, fork)


def saturated_units(e: Evidence) -> Finding | None:
    """Half a layer or more is on the flat part of its activation, and normalising it or starting again helps."""
    worst = _worst(e, lambda layer: layer.saturated)
    fork = _anew(e, _better(e.normalised, e.fresh, e.gentle))
    if worst is None:
        return None
    symptom = f"{worst.saturated:.0%} of {worst.name}'s units are flat on nearly all data"
    strength = _strength(e, fork, worst.saturated / HALF) * _flaw_first(e) * (0.8 if _risen(e) else 1.0)
    return _finding(Cause.SATURATED_UNITS, strength, symptom, fork)


def _flaw_first(e: Evidence) -> float:
    """Identical units explain what becomes of them."""
    return 0.6 if flawed(e) else 1.0


def vanishing_gradient(e: Evidence) -> Finding | None:
    """Gradient or signal fade by orders of magnitude between the first layer and the last, and normalisation helps."""
    ends = _ends(e)
    fork = _better(e.normalised, e.fresh)
    if ends is None:
        return None
    first, last = ends
    ratio = first.relative / last.relative if last.relative > 0 else 1.0
    symptom = f"relative to the weights, the gradient of {first.name} is {ratio:.2g} times that of {last.name}"
    signal = signal_left(e)
    if signal < ratio:
        ratio = signal
        symptom = f"what the last hidden layer still tells samples apart by is {ratio:.2g} times that of the first"
    strength = _strength(e, fork, min(VANISHED / max(ratio, 1e-12), 3.0)) * _flaw_first(e)
    worst = _worst(e, lambda layer: layer.dead)
    if _onset(e) >= ONSET or _risen(e) or (worst is not None and worst.dead >= HALF):
        strength *= 0.6  # it exploded first, and has saturated the units; or dead units let nothing through
    return _finding(Cause.VANISHING_GRADIENT, strength, symptom, fork)


def _risen(e: Evidence) -> bool:
    """Whether the loss stands far above its start and a constant answer: updates took it there."""
    return e.reference is not None and e.level.loss > e.reference + SUBSTANTIAL * e.room


def _onset(e: Evidence) -> float:
    return 0.0 if e.steps is None or e.steps.onset is None else e.steps.onset


def exploding_gradient(e: Evidence) -> Finding | None:
    """Gradients grow towards the first weight or are huge as a whole, and bounding them helps."""
    ends = _ends(e)
    if ends is None:
        return None
    first, last = ends
    ratio = first.relative / last.relative if last.relative > 0 else 0.0
    symptom = f"relative to the weights, the gradient of {first.name} is {ratio:.3g} times that of {last.name}"
    found = _finding(Cause.EXPLODING_GRADIENT, _strength(e, e.clipped, ratio * 0.02), symptom, e.clipped)
    if found is not None or _onset(e) < ONSET:
        return found
    fork = _better(e.clipped, e.normalised, e.fresh, e.gentle)
    symptom = f"the first gradient of the run was {_onset(e):.3g} times a fresh network's"
    return _finding(
        Cause.EXPLODING_GRADIENT, _strength(e, fork, min(_onset(e) / ONSET, 3.0)) * _flaw_first(e), symptom, fork
    )


def bad_initialisation(e: Evidence) -> Finding | None:
    """A start far above a constant answer, or of identical units, and another start does better."""
    if e.fresh is None:
        return None
    level, hidden = e.level, (e.weights or ())[:-1]
    alike = max((block.identical for block in hidden), default=0.0)
    raised = 0.0
    scaled = e.features is None or e.features.worst < SCALES
    if scaled and level.start is not None and level.baseline is not None and level.baseline > 0:
        raised = level.start / level.baseline
    symptom = (
        f"{alike:.0%} of a layer's units are identical"
        if flawed(e)
        else f"the run began at {level.start:.3g}, {raised:.3g} times a constant answer's loss"
        if level.start is not None
        else ""
    )
    strength = _strength(e, e.fresh, max(1.6 if flawed(e) else alike / 0.9, raised / RAISED))
    fork = e.fresh
    if flawed(e) and worthless(e) and accusable(e):
        # units that are one and have learned nothing: any fall that is certain will do
        others = [f for f in (e.fresh, e.escape, e.restart) if f is not None and not f.broke and f.wins == 1.0]
        other = max(others, key=lambda f: f.gain, default=e.fresh)
        certain = other.gain / max(3.0 * other.error, 1e-300)
        certain = min(1.6, other.gain / max(MATERIAL * e.scale, 1e-300), certain) if others else 0.0
        strength, fork = (certain, other) if certain > strength else (strength, fork)
    return _finding(Cause.BAD_INITIALISATION, strength, symptom, fork)


def stale_statistics(e: Evidence) -> Finding | None:
    """Evaluation is far worse than training on the same samples, and statistics of these samples mend it."""
    s = e.statistics
    if s is None or not_finite(e) is not None:
        return None
    if e.updates < SETTLED:
        return None  # running statistics start from nothing
    gap, mended = s.evaluation - s.training, s.evaluation - s.recomputed
    # a tenth of the whole, or half of what was learned so far where that is little
    known = e.reference if e.level.baseline is None else e.level.baseline
    learned = 0.0 if known is None else max(known - s.training, 0.0)
    most = max(SUBSTANTIAL * e.scale, 0.25 * abs(s.training))
    least = max(min(most, max(0.5 * learned, WORTH * e.scale)), 1e-300)
    strength = min(gap / least, mended / (0.5 * gap) if gap > 0 else 0.0)
    if strength < 1.0:
        return None
    reason = (
        f"evaluation gives {s.evaluation:.4g} where training gives {s.training:.4g} on the same samples, and with "
        f"statistics of these samples it gives {s.recomputed:.4g}"
    )
    return Finding(Cause.STALE_STATISTICS, sure(1.5 * strength), reason)


def _has_a_symptom(e: Evidence) -> bool:
    """Whether features, layers, weights, the start or the rate look like a more special cause of slow descent."""
    if e.steps is not None and e.steps.stride >= LONG_STRIDE:
        return True
    start, constant = e.level.start, e.level.baseline
    if start is not None and constant and start >= RAISED * constant:
        return True
    spread = 1.0 if e.features is None else e.features.worst
    idle = max((max(layer.dead, layer.saturated) for layer in e.layers or ()), default=0.0)
    ends = _ends(e)
    fade = ends[0].relative / ends[1].relative if ends is not None and ends[1].relative > 0 else 1.0
    return spread >= SCALES or idle >= HALF or min(fade, signal_left(e)) <= VANISHED


def overfits(e: Evidence) -> bool:
    """Whether the training data are learned, and new data are served much worse."""
    g, constant = e.generalisation, e.level.baseline
    if g is None or constant is None or not_finite(e) is not None:
        return False
    learned = constant - g.training >= 0.5 * e.room
    return learned and g.validation - g.training > max(SUBSTANTIAL * e.room, GAP * abs(g.training))


def sharp_minimum(e: Evidence) -> Finding | None:
    """New data are served badly, the place is sharp at any scale, and a flatter one serves them better."""
    g, s, fork = e.generalisation, e.sharpness, e.flatter
    if g is None or s is None or fork is None or fork.broke or not overfits(e):
        return None
    gap = g.validation - g.training
    sharper = s.elsewhere / max(SHARPER * s.here, 1e-300)
    better = min(fork.gain / max(0.25 * gap, SUBSTANTIAL * e.room), fork.gain / max(3.0 * fork.error, 1e-300))
    strength = min(gap / (SUBSTANTIAL * e.room), 1.25 * sharper, better, 3.0)
    if strength < 1.0:
        return None
    reason = (
        f"the loss is {g.training:.4g} on the training data and {g.validation:.4g} on new data, and no more than a "
        f"change of the weights by {s.here:.0%} of themselves is borne, against {s.elsewhere:.0%} in a flatter place: "
        f"with {fork.change} it comes to {fork.loss:.4g}"
    )
    return Finding(Cause.SHARP_MINIMUM, sure(strength), reason)


def _worst(e: Evidence, share: Callable[[LayerState], float]) -> LayerState | None:
    return max(e.layers, key=share) if e.layers else None


def _ends(e: Evidence) -> tuple[BlockState, BlockState] | None:
    """The first and the last weight of a network of at least three."""
    return (e.weights[0], e.weights[-1]) if e.weights is not None and len(e.weights) > 2 else None


def signal_left(e: Evidence) -> float:
    """How much the last hidden layer varies over the samples, against the first; 1 for fewer than three."""
    spreads = [layer.spread for layer in e.layers or ()]
    return spreads[-1] / spreads[0] if len(spreads) > 2 and spreads[0] > 0 else 1.0


def _better(*forks: Fork | None) -> Fork | None:
    tried = [fork for fork in forks if fork is not None and not fork.broke]
    return max(tried, key=lambda fork: fork.gain) if tried else None


INSIDE = [
    step_too_small,
    exhausted_step,
    noise_floor,
    ill_conditioned,
    unscaled_features,
    dead_units,
    saturated_units,
    vanishing_gradient,
    exploding_gradient,
    bad_initialisation,
    stale_statistics,
    sharp_minimum,
]
