"""What every rule asks first: does the loss make progress, is the run at rest, and does a fork do better?"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from ..plain_text import plain
from .causes import Cause
from .evidence import Continuation, Evidence, Fork
from .trend import Trend

MATERIAL = 0.01  # of the scale: a gain that is worth an action where no noise is about
WORTH = 0.05  # of the scale: the same for noisy runs, which a smaller rate always lowers a little
CRAWL = 0.05  # of the scale: a fall of less in twice the updates so far is a crawl
PASSES = 5.0  # over the data: how many a fall is measured by at least
OUTDONE = 10.0  # times the run's own fall: what a treatment must gain to accuse a run that crawls
DRIFT = 1e-3  # of the scale: a fall that counts as progress
SUBSTANTIAL = 0.1  # of the scale: a gain that shows a minimum to be a poor one
LONG_ENOUGH = 0.4  # of the run, or of 300 updates: how long a copy must be watched before "at rest" means something
LEARNED_NOTHING = 100  # updates after which a loss like a constant answer's is no start any more
WANDERS = 2.5  # standard errors: a smaller shift of the losses is no fall
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


def not_finite(e: Evidence) -> Finding | None:
    """A loss, gradient or parameter that is not a number."""
    if e.failure is not None:
        where = "the loss" if e.failure.block == "loss" else f"block {plain(e.failure.block, 80)}"
        reason = f"update {e.failure.step} could not be made: {where} was not finite at lr {e.failure.lr:.4g}"
        return Finding(Cause.NON_FINITE, MOST_CONFIDENT, reason)
    if e.broken is not None:
        where = "the loss" if e.broken == "loss" else f"block {plain(e.broken, 80)}"
        return Finding(Cause.NON_FINITE, MOST_CONFIDENT, f"{where} is not finite")
    return None


def healthy(e: Evidence) -> Finding | None:
    """The loss falls, by more than its noise and by more than nothing."""
    if not e.has_run or e.broken is not None:
        return None
    options = []
    c = e.continuation
    if e.trend is not None and not e.stalled:
        strength = _progress(e, e.trend) * (1.0 if _goes_on(e) else 0.0 if _over(e) else 0.5)
        options.append((strength, e.trend.start, e.trend.end, f"the last {e.trend.updates}"))
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


def _over(e: Evidence) -> bool:
    """Whether a copy without noise shows that a fall of the past is over."""
    c = e.continuation
    return c is not None and not e.stochastic and c.fall < _least_progress(e)


def _goes_on(e: Evidence) -> bool:
    """Whether a copy, watched for long enough, goes on falling; True where none was."""
    c = e.continuation
    if c is None or c.broke or c.trend is None or c.steps < LONG_ENOUGH * min(e.updates, 300):
        return True
    # at the edge of stability the loss goes up and down, and down in the long run: its floor tells
    floor = statistics.quantiles(c.losses[len(c.losses) // 2 + 1 :], n=4)[0]
    sinks = not e.stochastic and c.losses[0] - floor > _least_progress(e)
    return c.trend.falling or c.trend.z < -1.0 or sinks


def sure(ratio: float) -> float:
    """1 − 2^(−r²) for r = measurement/threshold, at most 0.99."""
    return min(1.0 - math.pow(2.0, -min(ratio * ratio, 60.0)), MOST_CONFIDENT)


def _progress(e: Evidence, trend: Trend) -> float:
    """How far a fall lies beyond "significant" and beyond "nothing": the smaller of the two ratios."""
    if not trend.falling or _is_recovery(e, trend):
        return 0.0
    significance = max(-trend.z / 2.33, 1.5 * trend.steady)
    return min(significance, trend.drop / _least_progress(e))


def crawls(e: Evidence) -> bool:
    """Whether the loss falls so slowly that in twice the updates so far it would go down by a twentieth of the whole.

    Not where less than a tenth is left: then the work is as good as done.
    """
    bound = e.level.lower_bound
    if bound is not None and e.level.loss - bound < SUBSTANTIAL * e.scale:
        return False
    if e.continuation is not None:
        c = e.continuation
        # who has not seen the data five times is given the time to
        share = CRAWL * (1.0 if c.passes is None else min(1.0, max(c.passes, 1e-3) / PASSES))
        return _watched(e) and not c.broke and c.fall < share * e.scale
    if e.trend is None or e.updates < LEARNED_NOTHING:
        return False
    ahead = -e.trend.slope * max(600, 2 * e.updates)
    return ahead < CRAWL * e.scale


def flawed(e: Evidence) -> bool:
    """Whether all units of a hidden layer are the same, which no training of a sound network brings about."""
    return any(block.identical >= 0.9 for block in (e.weights or ())[:-1])


def worthless(e: Evidence) -> bool:
    """Whether after a hundred updates and more the network is no better than a constant answer, nor soon will be."""
    constant, c = e.level.baseline, e.continuation
    if constant is None or e.updates < LEARNED_NOTHING or (c is not None and c.broke):
        return False
    ahead = c.later if c is not None else e.level.loss
    return ahead > constant - MATERIAL * e.room


def stands(e: Evidence) -> bool:
    """Whether the loss has stood still for a third of the run and goes on to, though a copy may leave in the end.

    That is how a saddle holds a run: the way out grows from almost nothing.
    """
    c = e.continuation
    if c is None or c.broke or e.stochastic or e.updates < LEARNED_NOTHING or e.trend is None or not _watched(e):
        return False
    quarter = c.losses[: len(c.losses) // 4 + 1]
    return abs(e.trend.drop) < DRIFT * e.scale and max(quarter) - min(quarter) < DRIFT * e.scale


def freed(e: Evidence, fork: Fork) -> float:
    """How far a start beyond the place does better than one at it: at the end, or all the way where the run stands."""
    return max(min(benefit(e, fork), beyond_own_fall(e, fork)), sooner(e, fork))


def sooner(e: Evidence, fork: Fork) -> float:
    """How far a fork lies below its control on the mean of its way, where the run stands; else 0."""
    if not stands(e) or fork.broke or len(fork.course) < len(fork.beside) or not fork.beside:
        return 0.0
    gain = statistics.fmean(fork.beside) - statistics.fmean(fork.course)
    return min(0.5 * gain / worth(e, fork), 3.0) if fork.loss <= fork.control else 0.0


def _watched(e: Evidence) -> bool:
    """Whether a copy was trained on for long enough to say that the run makes no progress."""
    return e.continuation is None or e.continuation.steps >= LONG_ENOUGH * min(e.updates, 300)


def _settles_lower(e: Evidence, c: Continuation) -> float:
    """How far the run, trained on, settles below where it stands: beyond three times its scatter there."""
    drop = c.losses[0] - c.later
    if e.reference is not None and c.later > e.reference + SUBSTANTIAL * e.room:
        return 0.0
    if c.shift is not None and c.shift < WANDERS and e.updates >= LEARNED_NOTHING:
        return 0.0  # one loss of many that go up and down
    if worthless(e):
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
    return e.reference is not None and trend.end > e.reference + SUBSTANTIAL * e.room


def at_rest(e: Evidence) -> bool:
    """Whether the loss makes no progress, and was watched for long enough to say so; a point without a run is."""
    return _watched(e) and healthy(e) is None


def accusable(e: Evidence) -> bool:
    """Whether a cause may be looked for: at rest, or at a crawl, or with a flaw that progress does not excuse."""
    return _watched(e) and (healthy(e) is None or crawls(e) or flawed(e) or worthless(e))


def beyond_own_fall(e: Evidence, fork: Fork) -> float:
    """A fork's gain against what the run itself may have gained in as many updates, its noise included.

    Of a run that falls, at a crawl, much more is asked.
    """
    c = e.continuation
    if c is None or c.broke:
        return math.inf
    if math.isinf(fork.gain):
        return 3.0
    if healthy(e) is not None:
        if worthless(e):
            # half the way from the control down to a constant answer, which the run itself does not reach
            way = 0.5 * (fork.control - (e.level.baseline or 0.0))
            return fork.gain / max(way, SUBSTANTIAL * e.room)
        times = OUTDONE if crawls(e) else 1.5
        return min(fork.gain / max(times * c.fall, 1e-300), fork.gain / max(SUBSTANTIAL * e.scale, 1e-300))
    if c.shift is not None and c.shift < WANDERS and e.updates >= LEARNED_NOTHING:
        return math.inf  # of a loss that goes up and down, the one that happened to be the last says nothing
    own = c.losses[0] - c.later + c.scatter
    return fork.gain / (1.5 * own) if own > 0 else math.inf


def worth(e: Evidence, fork: Fork | None = None) -> float:
    """The least gain that is worth an action, in units of the loss; for a fork, by where its control stands."""
    whole = e.scale
    if fork is not None and e.level.lower_bound is not None and math.isfinite(fork.control):
        whole = min(whole, max(e.room, fork.control - e.level.lower_bound))
    return max((WORTH if e.stochastic else MATERIAL) * whole, 1e-300)


def benefit(e: Evidence, fork: Fork) -> float:
    """How far a fork's gain lies beyond "material" and beyond its standard error: the smaller of the two ratios."""
    if fork.broke or fork.gain <= 0:
        return 0.0
    if math.isinf(fork.gain):
        return 3.0
    material = fork.gain / worth(e, fork) if e.scale > 0 else math.inf
    noise = fork.gain / (STANDARD_ERRORS * fork.error) if fork.error > 0 else math.inf
    if fork.wins >= 11 / 12:
        # below the control at 11 of 12 checkpoints: probability 0.003 by chance, however wild the control is
        noise = max(noise, 1.25)
    return min(material, noise)


def helped(fork: Fork) -> str:
    """What a fork reached, as a clause."""
    reached = f"{fork.loss:.4g} instead of {fork.control:.4g} after {fork.steps} updates"
    return f"with {fork.change} the loss comes to {reached}"
