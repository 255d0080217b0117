"""Rules: from evidence to causes. Pure functions, one per cause; each names the measurement behind its answer.

A rule compares measured numbers with thresholds. How far the weakest of its conditions lies beyond its threshold
makes the confidence: a ratio r of measurement to threshold counts 1 − 2^(−r²), i.e. ½ at the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from ..critical import Verdict
from .causes import Cause
from .evidence import Evidence, Fork, Geometry, Stability
from .inside import INSIDE, LONG_STRIDE, explains, step_too_small, too_soon
from .progress import (
    LEARNED_NOTHING,
    MATERIAL,
    MOST_CONFIDENT,
    STANDARD_ERRORS,
    SUBSTANTIAL,
    WORTH,
    Finding,
    accusable,
    at_rest,
    benefit,
    beyond_own_fall,
    crawls,
    flawed,
    freed,
    healthy,
    helped,
    not_finite,
    stands,
    sure,
    worth,
    worthless,
)

__all__ = [
    "RULES",
    "Finding",
    "Rule",
    "benefits",
    "is_settled",
    "judge",
    "knows_little",
    "not_finite",
    "rests_at_bound",
]

BEYOND_DOUBT = 0.95
Rule = Callable[[Evidence], Finding | None]


def judge(evidence: Evidence, rules: Sequence[Rule] | None = None) -> list[Finding]:
    """All findings, most confident first; UNDECIDED takes what confidence the best one leaves."""
    found = [finding for rule in rules or RULES if (finding := rule(evidence)) is not None]
    if any(not finding.cause.healthy and finding.confidence >= 0.5 for finding in found):
        # who accuses a run that falls, or rests low, has shown a crawl, a flaw or what evaluation does not see
        found = [replace(f, confidence=0.4 * f.confidence) if f.cause.healthy else f for f in found]
    best = max((finding.confidence for finding in found), default=0.0)
    found.append(Finding(Cause.UNDECIDED, max(round(1.0 - best, 6), 0.01), _open_question(evidence)))
    return sorted(found, key=lambda finding: -finding.confidence)


def is_settled(evidence: Evidence) -> bool:
    """Whether further probes could not change the answer: not finite, or progressing.

    What batch losses alone say of a fall must be beyond doubt; a copy of the run tells a slight one from noise.
    """
    found = healthy(evidence)
    if found is None or not_finite(evidence) is not None:
        return not_finite(evidence) is not None
    if crawls(evidence) or flawed(evidence) or worthless(evidence) or stands(evidence):
        return False
    return evidence.continuation is not None or found.confidence >= BEYOND_DOUBT


def benefits(evidence: Evidence, fork: Fork | None) -> bool:
    """Whether a fork does significantly and materially better than its control."""
    return fork is not None and benefit(evidence, fork) >= 1.0


def step_too_large(e: Evidence) -> Finding | None:
    """No progress, a smaller step helps, and curvature beyond the threshold, a risen loss or want of noise says why."""
    if e.smaller_lr is None or not accusable(e):
        return None
    ratio = 0.0 if e.stability is None else e.stability.ratio
    stride = 0.0 if e.steps is None else min(e.steps.stride, 1e6) / LONG_STRIDE
    risen = 0.0
    if e.reference is not None and e.room > 0:
        risen = (e.smaller_lr.control - e.reference) / (SUBSTANTIAL * e.room)
    # what a larger batch gives as well, noise may have taken: only curvature far beyond the threshold says otherwise
    noise = 0.0 if e.larger_batch is None else e.larger_batch.gain / max(e.smaller_lr.gain, 1e-300)
    least = 2.0 if noise > 0.5 else 0.8
    # where noise cannot be the reason, a smaller step that helps is proof enough
    quiet = not e.stochastic or (e.larger_batch is not None and noise < 0.25)
    why = max(ratio / least, risen, stride, 1.25 if quiet else 0.0)
    # another start is no rival: it forgets what the rate has spoilt
    there = replace(e, fresh=None, normalised=None, gentle=None)
    strength = min(why, benefit(e, e.smaller_lr), _beyond_crawl(e, e.smaller_lr), 1.25 * explains(there, e.smaller_lr))
    best, gentle = e.smaller_lr, e.gentle
    if gentle is not None:
        # what another start gains at the same rate is not the rate's doing
        same = math.inf if e.fresh is None or e.fresh.broke else e.fresh.loss
        lower = (same - gentle.loss) / max(SUBSTANTIAL * e.room, 1e-300)
        anew = min(stride, benefit(e, gentle), _beyond_crawl(e, gentle), lower)
        if anew > strength:
            strength, best = anew, gentle
    if strength < 1.0 or (e.held is not None and risen <= 1.0):
        return None  # a schedule that goes down soon mends what has done no harm yet
    # a curvature that the rate bears is no reason
    parts = [] if e.stability is None or ratio < 0.8 else [_against_curvature(e.stability)]
    if risen > 1.0:
        parts.append(f"the loss stands above {e.reference:.4g}, where a constant answer or the start would be")
    if stride > 1.0 and e.steps is not None:
        parts.append(f"an update moves the weights by {e.steps.stride:.3g} times the size that they start with")
    return Finding(Cause.STEP_TOO_LARGE, sure(strength), ", and ".join([*parts, helped(best)]))


def _beyond_crawl(e: Evidence, fork: Fork) -> float:
    """A fork's gain against the fall of a run that crawls; without meaning for one that goes up and down."""
    return math.inf if healthy(e) is None else beyond_own_fall(e, fork)


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
    if e.escape is None or not math.isfinite(e.escape.control) or not (accusable(e) or stands(e)):
        return None
    strength = freed(e, e.escape)
    longer = e.larger_lr if step_too_small(e) is not None else None
    if longer is None and e.larger_lr is not None and benefit(e, e.larger_lr) >= 1.0:
        # at a critical point a longer step only leaves it sooner; one that gains far more is another matter
        strength = min(strength, 1.5 * e.escape.gain / e.larger_lr.gain)
    rivals = [e.smaller_lr, longer, e.full_step, e.gentle]
    if g.verdict is Verdict.NOT_CRITICAL:
        strength = min(strength, MATERIAL * e.scale / max(g.gradient_decrease, 1e-300))
    for rival in rivals:
        # what another step length gives as well is not the saddle's doing
        if rival is not None and benefit(e, rival) >= 1.0:
            strength = min(strength, e.escape.gain / (1.5 * rival.gain))
    for treated in (e.normalised, e.revived):
        # what treating a symptom gains twice over is the symptom's doing
        if treated is not None and benefit(e, treated) >= 1.0:
            strength = min(strength, 2.0 * e.escape.gain / treated.gain)
    if strength < 1.0:
        return None
    return Finding(Cause.STRICT_SADDLE, sure(strength), f"{reason}, and {helped(e.escape)}")


def flat_saddle(e: Evidence) -> Finding | None:
    """A degenerate point without negative curvature, and a lower loss close by."""
    g = e.geometry
    if g is None or g.downhill or g.verdict is not Verdict.DEGENERATE:
        return None
    if e.descent is None or not e.descent.verified or not (accusable(e) or stands(e)):
        return None
    known = "the loss has a kink here" if g.kink else f"no curvature beyond ±{g.tolerance:.3g} leads down"
    reason = f"{known}, yet the loss is lower by {e.descent.decrease:.3g} within a distance of {e.descent.radius:.3g}"
    if not e.has_run:
        return Finding(Cause.FLAT_SADDLE, 0.9, reason)
    if e.push is None or not math.isfinite(e.push.control) or (strength := freed(e, e.push)) < 1.0:
        return None
    return Finding(Cause.FLAT_SADDLE, sure(strength), f"{reason}, and {helped(e.push)}")


def local_minimum(e: Evidence) -> Finding | None:
    """A certified minimum above the stated target, or above what another start reaches."""
    g = e.geometry
    if g is None or not certified_minimum(e) or rests_at_bound(e) or not at_rest(e):
        return None
    anew = (e.fresh, e.gentle, e.normalised)
    if any(benefit(e, fork) >= 1.0 for fork in e.tried if fork not in anew):
        return None  # the run does not sit in the minimum: it hovers above it, or creeps along a valley towards it
    reason = f"every curvature is certified above {g.lambda_min[0]:.3g} at loss {g.loss:.4g}"
    if g.distance:
        reason += f", {g.distance:.3g} from where the run stands"
    target = e.level.target
    if target is not None:
        above = g.loss > target
        return Finding(Cause.LOCAL_MINIMUM, 0.95, f"{reason}, above the target {target:.4g}") if above else None
    for other in (e.elsewhere, e.restart):
        if other is None or other.broke:
            continue
        # a tenth of the whole, or a quarter of what can be learned where that is little
        room = math.inf if e.level.baseline is None else max(e.level.baseline - other.loss, 0.0)
        least = max(min(SUBSTANTIAL * e.scale, 0.25 * room), MATERIAL * e.scale, STANDARD_ERRORS * other.error, 1e-300)
        gain = g.loss - other.loss
        if gain > least:
            return Finding(Cause.LOCAL_MINIMUM, sure(gain / least), f"{reason}, and {helped(other)}")
    return None


def certified_minimum(e: Evidence) -> bool:
    """Whether every curvature is certified to be positive.

    A curvature that is positive and yet counts as flat is one where no lower loss was found close by, either.
    """
    g = e.geometry
    if g is None or g.verdict is Verdict.LOCAL_MINIMUM:
        return g is not None
    nothing_lower = e.descent is not None and not e.descent.verified
    return g.verdict is Verdict.DEGENERATE and g.lambda_min[0] > 0.0 and not g.kink and nothing_lower


def rests_at_bound(e: Evidence) -> bool:
    """Whether the loss is at its lower bound, of the point and of the run, which may hover above it.

    At a kink or a saddle of great curvature the tolerance of the point's verdict is no measure of the loss.
    """
    g, bound = e.geometry, e.level.lower_bound
    if g is None or bound is None or not g.at_lower_bound:
        return False
    return max(e.level.loss, g.loss) - bound <= MATERIAL * e.scale


def converged(e: Evidence) -> Finding | None:
    """At rest, the gradient promises nothing, and no fork does significantly better."""
    g, target = e.geometry, e.level.target
    if not_finite(e) is not None or g is None or not at_rest(e):
        return None
    if rests_at_bound(e):
        return Finding(Cause.CONVERGED, 0.98, f"the loss {e.level.loss:.4g} is at its lower bound")
    if target is not None:
        reason = f"the loss {e.level.loss:.4g} meets the target {target:.4g}"
        return Finding(Cause.CONVERGED, 0.95, reason) if e.level.loss <= target else None
    return _converged_run(e, g) if e.has_run else _converged_point(e, g)


def _converged_run(e: Evidence, g: Geometry) -> Finding | None:
    """No fork gains more than 1 % of the scale, none could well have, and the gradient promises less."""
    # of noisy data, descent with curvature learns the noise, too
    tried = [fork for fork in e.tried if fork is not e.newton or not e.stochastic]
    nothing = certified_minimum(e) if flawed(e) else _nothing_to_learn(e, g)
    if not tried or (_no_better_than_a_constant(e) and not nothing):
        return None
    # a gain that is worth an action, or one of three times as much that its noise leaves open
    others = [fork for fork in tried if fork is not e.full_step and not fork.broke]
    possible = max((fork.gain + fork.error for fork in others), default=0.0) / worth(e)
    best = max(possible / 3, g.gradient_decrease / worth(e), *(_doubt(e, fork) for fork in tried))
    if e.restart is not None:
        anew = 0.5 * benefit(e, e.restart)
        # what going on at the full rate would gain as well is what the end of a schedule leaves
        left = e.full_step is not None and e.full_step.gain > 0.8 * e.restart.gain
        best = max(best, min(anew, too_soon(e)) if left else anew)
    if e.elsewhere is not None and certified_minimum(e):
        best = max(best, 0.5 * benefit(e, e.elsewhere))
    if best >= 1.0:
        return None
    least = WORTH if e.stochastic else MATERIAL
    reason = f"the loss rests at {e.level.loss:.4g}, and none of {len(tried)} forks lowers it by {least:.0%}"
    return Finding(Cause.CONVERGED, min(1.0 - 0.5 * best**2, MOST_CONFIDENT), reason)


def _doubt(e: Evidence, fork: Fork) -> float:
    """How much a fork speaks against convergence: as much as it would accuse."""
    found = benefit(e, fork)
    if fork in (e.adaptive, e.layerwise, e.newton):
        found = min(found, fork.gain / max(SUBSTANTIAL * e.scale, 1e-300))
    return min(found, too_soon(e)) if fork is e.full_step else found


def knows_little(e: Evidence) -> bool:
    """Whether a run that had time to has learned less than a twentieth of what a constant answer leaves."""
    constant = e.level.baseline
    return constant is not None and e.updates >= LEARNED_NOTHING and e.level.loss > constant - WORTH * e.room


def _no_better_than_a_constant(e: Evidence) -> bool:
    """The network has learned nothing that one constant answer does not give as well."""
    constant = e.level.baseline
    return constant is not None and constant > 0.0 and e.level.loss > (1.0 - MATERIAL) * constant


def _nothing_to_learn(e: Evidence, g: Geometry) -> bool:
    """A certified minimum, or another start, trained for long enough, that does not get below a constant either."""
    if certified_minimum(e):
        return True
    r = e.restart
    return r is not None and not r.broke and r.steps >= 600 and r.gain < worth(e)


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
    *INSIDE,
]


def _against_curvature(s: Stability) -> str:
    return f"the steepest curvature {s.curvature:.4g} is {s.ratio:.3g} times what lr {s.lr:.4g} bears"


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
    forks = (e.smaller_lr, e.larger_lr, e.larger_batch, e.escape, e.push, e.restart, *e.treated)
    tried = [fork for fork in forks if fork is not None]
    helpful = [fork for fork in tried if benefits(e, fork)]
    if helpful:
        best = max(helpful, key=lambda fork: fork.gain)
        return f"{helped(best)}, but no single cause explains it"
    if tried:
        return f"the point is {g.verdict.name}, and nothing that was tried tells the causes apart"
    more = "its curvature alone does not tell" if e.has_run else "only a run could be tried out further"
    return f"the point is {g.verdict.name}, and {more}"
