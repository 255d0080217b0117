"""Rules: from evidence to causes. Pure functions, one per cause; each names the measurement behind its answer.

A rule compares measured numbers with thresholds. How far the weakest of its conditions lies beyond its threshold
makes the confidence: a ratio r of measurement to threshold counts 1 − 2^(−r²), i.e. ½ at the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..critical import Verdict
from .causes import Cause
from .evidence import Continuation, Evidence, Fork, Geometry, Stability
from .trend import Trend

MATERIAL = 0.01  # of the scale: a gain that is worth an action
DRIFT = 1e-3  # of the scale: a fall that counts as progress
SUBSTANTIAL = 0.1  # of the scale: a gain that shows a minimum to be a poor one
LONG_ENOUGH = 0.4  # of the run, or of 300 updates: how long a copy must be watched before "at rest" means something
STANDARD_ERRORS = 3.0
MOST_CONFIDENT = 0.99


@dataclass(frozen=True)
class Finding:
    """One answer of a rule.

    Attributes:
        cause: the cause.
        confidence: in [0, 1].
        reason: the measurement behind it, as a clause.
    """

    cause: Cause
    confidence: float
    reason: str


Rule = Callable[[Evidence], Finding | None]


def judge(evidence: Evidence, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """All findings, most confident first; UNDECIDED takes what confidence the best one leaves."""
    found = [finding for rule in rules or RULES if (finding := rule(evidence)) is not None]
    best = max((finding.confidence for finding in found), default=0.0)
    found.append(Finding(Cause.UNDECIDED, max(1.0 - best, 0.01), _open_question(evidence)))
    return sorted(found, key=lambda finding: -finding.confidence)


def is_settled(evidence: Evidence) -> bool:
    """Whether further probes could not change the answer: not finite, or progressing."""
    return not_finite(evidence) is not None or healthy(evidence) is not None


def benefits(evidence: Evidence, fork: Fork | None) -> bool:
    """Whether a fork does significantly and materially better than its control."""
    return fork is not None and _benefit(evidence, fork) >= 1.0


def not_finite(e: Evidence) -> Finding | None:
    """A loss, gradient or parameter that is not a number."""
    if e.failure is not None:
        where = "the loss" if e.failure.block == "loss" else f"block {e.failure.block}"
        reason = f"update {e.failure.step} could not be made: {where} was not finite at lr {e.failure.lr:.4g}"
        return Finding(Cause.NON_FINITE, MOST_CONFIDENT, reason)
    if e.broken is not None:
        where = "the loss" if e.broken == "loss" else f"block {e.broken}"
        return Finding(Cause.NON_FINITE, MOST_CONFIDENT, f"{where} is not finite")
    return None


def healthy(e: Evidence) -> Finding | None:
    """The loss falls, by more than its noise and by more than nothing."""
    if not e.has_run or e.broken is not None:
        return None
    options = []
    if e.trend is not None and not e.stalled:
        options.append((_progress(e, e.trend), e.trend.start, e.trend.end, f"the last {e.trend.updates}"))
    c = e.continuation
    if c is not None and not c.broke:
        if c.trend is not None:
            options.append((_progress(e, c.trend), c.trend.start, c.trend.end, f"the next {c.trend.updates}"))
        options.append((_settles_lower(e, c), c.losses[0], c.later, f"the next {c.steps}"))
    best = max(options, default=(0.0, 0.0, 0.0, ""))
    if best[0] < 1.0:
        return None
    return Finding(
        Cause.HEALTHY, sure(best[0]), "the loss falls from {:.4g} to {:.4g} over {} updates".format(*best[1:])
    )


def step_too_large(e: Evidence) -> Finding | None:
    """No progress, a smaller step helps, and curvature beyond the threshold, a risen loss or want of noise says why."""
    if e.smaller_lr is None or not _at_rest(e):
        return None
    ratio = 0.0 if e.stability is None else e.stability.ratio
    risen = 0.0
    if e.reference is not None and e.scale > 0:
        risen = (e.smaller_lr.control - e.reference) / (SUBSTANTIAL * e.scale)
    # what a larger batch gives as well, noise may have taken: only curvature far beyond the threshold says otherwise
    noise = 0.0 if e.larger_batch is None else e.larger_batch.gain / max(e.smaller_lr.gain, 1e-300)
    least = 2.0 if noise > 0.5 else 0.8
    # where noise cannot be the reason, a smaller step that helps is proof enough
    quiet = not e.stochastic or (e.larger_batch is not None and noise < 0.25)
    strength = min(max(ratio / least, risen, 1.25 if quiet else 0.0), _benefit(e, e.smaller_lr))
    if strength < 1.0:
        return None
    # a curvature that the rate bears is no reason
    parts = [] if e.stability is None or ratio < 0.8 else [_against_curvature(e.stability)]
    if risen > 1.0:
        parts.append(f"the loss stands above {e.reference:.4g}, where a constant answer or the start would be")
    return Finding(Cause.STEP_TOO_LARGE, sure(strength), ", and ".join([*parts, _helped(e.smaller_lr)]))


def overshot(e: Evidence) -> Finding | None:
    """After a non-finite loss: curvature beyond the threshold is the likely reason."""
    if not_finite(e) is None or e.stability is None or e.stability.ratio < 1.0:
        return None
    return Finding(Cause.STEP_TOO_LARGE, 0.9 * sure(e.stability.ratio), _against_curvature(e.stability))


def strict_saddle(e: Evidence) -> Finding | None:
    """Verified negative curvature at rest, and a step along it helps."""
    g = e.geometry
    if g is None or not g.downhill:
        return None
    where = f"the run hovers within {g.distance:.2g} of a point with " if g.distance else ""
    reason = (
        f"{where}gradient norm {g.gradient_norm:.3g}, while the curvature along a verified direction is "
        f"{g.lambda_min[1]:.4g}"
    )
    if not e.has_run:
        return None if g.verdict is Verdict.NOT_CRITICAL else Finding(Cause.STRICT_SADDLE, 0.95, reason)
    if e.escape is None or not _at_rest(e):
        return None
    strength = min(_benefit(e, e.escape), _beyond_own_fall(e, e.escape))
    rivals = [e.smaller_lr]
    if g.verdict is Verdict.NOT_CRITICAL:
        rivals.append(e.larger_lr)
        strength = min(strength, MATERIAL * e.scale / max(g.gradient_decrease, 1e-300))
    for rival in rivals:
        # what another step length gives as well is not the saddle's doing
        if rival is not None and _benefit(e, rival) >= 1.0:
            strength = min(strength, e.escape.gain / (1.5 * rival.gain))
    if strength < 1.0:
        return None
    return Finding(Cause.STRICT_SADDLE, sure(strength), f"{reason}, and {_helped(e.escape)}")


def flat_saddle(e: Evidence) -> Finding | None:
    """A degenerate point without negative curvature, and a lower loss close by."""
    g = e.geometry
    if g is None or g.downhill or g.verdict is not Verdict.DEGENERATE:
        return None
    if e.descent is None or not e.descent.verified or not _at_rest(e):
        return None
    known = "the loss has a kink here" if g.kink else f"no curvature beyond ±{g.tolerance:.3g} leads down"
    reason = f"{known}, yet the loss is lower by {e.descent.decrease:.3g} within a distance of {e.descent.radius:.3g}"
    if not e.has_run:
        return Finding(Cause.FLAT_SADDLE, 0.9, reason)
    if e.push is None or (strength := min(_benefit(e, e.push), _beyond_own_fall(e, e.push))) < 1.0:
        return None
    return Finding(Cause.FLAT_SADDLE, sure(strength), f"{reason}, and {_helped(e.push)}")


def local_minimum(e: Evidence) -> Finding | None:
    """A certified minimum above the stated target, or above what another start reaches."""
    g = e.geometry
    if g is None or g.verdict is not Verdict.LOCAL_MINIMUM or g.at_lower_bound or not _at_rest(e):
        return None
    if e.smaller_lr is not None and _benefit(e, e.smaller_lr) >= 1.0:
        return None  # the run does not sit in the minimum, it hovers above it
    reason = f"every curvature is certified above {g.lambda_min[0]:.3g} at loss {g.loss:.4g}"
    if g.distance:
        reason += f", {g.distance:.3g} from where the run stands"
    target = e.level.target
    if target is not None:
        above = g.loss > target
        return Finding(Cause.LOCAL_MINIMUM, 0.95, f"{reason}, above the target {target:.4g}") if above else None
    if e.restart is not None:
        gain, least = g.loss - e.restart.loss, max(SUBSTANTIAL * e.scale, STANDARD_ERRORS * e.restart.error, 1e-300)
        if gain > least:
            return Finding(Cause.LOCAL_MINIMUM, sure(gain / least), f"{reason}, and {_helped(e.restart)}")
    return None


def rests_at_bound(e: Evidence) -> bool:
    """Whether the loss is at its lower bound: that of the point, and that of the run, which may hover above it."""
    g = e.geometry
    return g is not None and g.at_lower_bound and e.level.loss - g.loss <= MATERIAL * e.scale


def converged(e: Evidence) -> Finding | None:
    """At rest, the gradient promises nothing, and no fork does significantly better."""
    g, target = e.geometry, e.level.target
    if not_finite(e) is not None or g is None or not _at_rest(e):
        return None
    if rests_at_bound(e):
        return Finding(Cause.CONVERGED, 0.98, f"the loss {e.level.loss:.4g} is at its lower bound")
    if target is not None:
        reason = f"the loss {e.level.loss:.4g} meets the target {target:.4g}"
        return Finding(Cause.CONVERGED, 0.95, reason) if e.level.loss <= target else None
    return _converged_run(e, g) if e.has_run else _converged_point(e, g)


def _converged_run(e: Evidence, g: Geometry) -> Finding | None:
    """No fork gains more than 1 % of the scale, none could well have, and the gradient promises less."""
    tried = [f for f in (e.smaller_lr, e.larger_lr, e.larger_batch, e.escape, e.push) if f is not None]
    if not tried or (_no_better_than_a_constant(e) and g.verdict is not Verdict.LOCAL_MINIMUM):
        return None
    material = max(MATERIAL * e.scale, 1e-300)
    possible = max(fork.gain + fork.error for fork in tried) / material
    best = max(possible / 3, g.gradient_decrease / material, *(_benefit(e, fork) for fork in tried))
    if e.restart is not None:
        best = max(best, 0.5 * _benefit(e, e.restart))
    if best >= 1.0:
        return None
    reason = f"the loss rests at {e.level.loss:.4g}, and none of {len(tried)} forks lowers it by {MATERIAL:.0%}"
    return Finding(Cause.CONVERGED, min(1.0 - 0.5 * best**2, MOST_CONFIDENT), reason)


def _no_better_than_a_constant(e: Evidence) -> bool:
    """The network has learned nothing that one constant answer does not give as well."""
    constant = e.level.baseline
    return constant is not None and constant > 0.0 and e.level.loss > (1.0 - MATERIAL) * constant


def _converged_point(e: Evidence, g: Geometry) -> Finding | None:
    """Without a run: a certified minimum, or a flat place around which nothing lower was found."""
    if g.verdict is Verdict.LOCAL_MINIMUM:
        return Finding(Cause.CONVERGED, 0.9, f"every curvature is certified above {g.lambda_min[0]:.3g}")
    steep = g.lambda_max[0] > g.tolerance > 0
    if g.verdict is Verdict.DEGENERATE and not g.downhill and steep and e.descent is not None:
        if e.descent.verified:
            return None
        known = "the loss has a kink here" if g.kink else f"no curvature leads down by more than {g.tolerance:.3g}"
        return Finding(Cause.CONVERGED, 0.6, f"{known}, and no lower loss was found close by")
    return None


RULES: list[Rule] = [
    not_finite,
    overshot,
    healthy,
    step_too_large,
    strict_saddle,
    flat_saddle,
    local_minimum,
    converged,
]


def sure(ratio: float) -> float:
    """1 − 2^(−r²) for r = measurement/threshold, at most 0.99."""
    return min(1.0 - math.pow(2.0, -min(ratio * ratio, 60.0)), MOST_CONFIDENT)


def _progress(e: Evidence, trend: Trend) -> float:
    """How far a fall lies beyond "significant" and beyond "nothing": the smaller of the two ratios."""
    if not trend.falling or _is_recovery(e, trend):
        return 0.0
    significance = max(-trend.z / 2.33, 1.5 * trend.steady)
    return min(significance, trend.drop / _least_progress(e))


def _settles_lower(e: Evidence, c: Continuation) -> float:
    """How far the run, trained on, settles below where it stands: beyond three times its scatter there."""
    drop = c.losses[0] - c.later
    if e.reference is not None and c.later > e.reference + SUBSTANTIAL * e.scale:
        return 0.0
    return min(drop / max(3 * c.scatter, 1e-300), drop / _least_progress(e))


def _least_progress(e: Evidence) -> float:
    """The smallest fall that counts: a thousandth of the scale, or a hundredth of what is left if that is less."""
    least = DRIFT * e.scale
    if e.level.lower_bound is not None and e.level.loss > e.level.lower_bound:
        least = min(least, MATERIAL * (e.level.loss - e.level.lower_bound))
    # below a billionth of the whole, a falling loss is only running out of digits
    return max(least, 1e-9 * e.scale, 1e-300)


def _is_recovery(e: Evidence, trend: Trend) -> bool:
    """Whether the loss only comes back from a rise of the run's own making: it ends well above its start."""
    return e.reference is not None and trend.end > e.reference + SUBSTANTIAL * e.scale


def _at_rest(e: Evidence) -> bool:
    """Whether the loss makes no progress, and was watched for long enough to say so; a point without a run is."""
    if e.continuation is not None and e.continuation.steps < LONG_ENOUGH * min(e.updates, 300):
        return False
    return healthy(e) is None


def _beyond_own_fall(e: Evidence, fork: Fork) -> float:
    """A fork's gain against what the run itself may have gained in as many updates, its noise included."""
    if e.continuation is None or e.continuation.broke:
        return math.inf
    own = e.continuation.losses[0] - e.continuation.later + e.continuation.scatter
    return fork.gain / (1.5 * own) if own > 0 else math.inf


def _benefit(e: Evidence, fork: Fork) -> float:
    """How far a fork's gain lies beyond "material" and beyond its standard error: the smaller of the two ratios."""
    if fork.broke or fork.gain <= 0:
        return 0.0
    if math.isinf(fork.gain):
        return 3.0
    material = fork.gain / (MATERIAL * e.scale) if e.scale > 0 else math.inf
    noise = fork.gain / (STANDARD_ERRORS * fork.error) if fork.error > 0 else math.inf
    if fork.wins >= 11 / 12:
        # below the control at 11 of 12 checkpoints: probability 0.003 by chance, however wild the control is
        noise = max(noise, 1.25)
    return min(material, noise)


def _against_curvature(s: Stability) -> str:
    return f"the steepest curvature {s.curvature:.4g} is {s.ratio:.3g} times what lr {s.lr:.4g} bears"


def _helped(fork: Fork) -> str:
    return f"{fork.change} brings the loss to {fork.loss:.4g} instead of {fork.control:.4g} after {fork.steps} updates"


def _open_question(e: Evidence) -> str:
    """What is known when no rule is sure."""
    g = e.geometry
    if g is None:
        return "the shape of the surface was not measured"
    if not e.has_run and g.verdict is Verdict.NOT_CRITICAL:
        return (
            f"this is no critical point: the gradient promises a fall of {g.gradient_decrease:.3g}, "
            "so only a run can show why it would be stuck here"
        )
    forks = (e.smaller_lr, e.larger_lr, e.larger_batch, e.escape, e.push, e.restart)
    tried = [fork for fork in forks if fork is not None]
    helpful = [fork for fork in tried if benefits(e, fork)]
    if helpful:
        best = max(helpful, key=lambda fork: fork.gain)
        return f"{_helped(best)}, but no single cause explains it"
    if tried:
        return f"the point is {g.verdict.name}, and nothing that was tried tells the causes apart"
    more = "its curvature alone does not tell" if e.has_run else "only a run could be tried out further"
    return f"the point is {g.verdict.name}, and {more}"
