"""Wording: evidence and findings as facts and sentences; nothing is decided here."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from ..critical import Verdict
from ..curvature.blame import Blame
from ..number_text import apart, number
from ..plain_text import plain
from ..report.facts import Fact, Status
from .causes import Cause
from .evidence import Continuation, Descent, Evidence, Fork, Geometry, Level, Stability
from .rules import Finding, benefits
from .trend import Trend
from .wording_inside import inside_facts

if TYPE_CHECKING:
    from ..train import Failure

STATUS: dict[Cause, Status] = {Cause.HEALTHY: "good", Cause.CONVERGED: "good", Cause.UNDECIDED: "warn"}

TITLES = {
    Cause.HEALTHY: "healthy",
    Cause.CONVERGED: "converged",
    Cause.STRICT_SADDLE: "stuck at a strict saddle",
    Cause.FLAT_SADDLE: "stuck at a flat saddle",
    Cause.LOCAL_MINIMUM: "stuck in a local minimum",
    Cause.STEP_TOO_LARGE: "the step is too large",
    Cause.STEP_TOO_SMALL: "the step is too small",
    Cause.NOISE_FLOOR: "held up by the noise of its batches",
    Cause.VANISHING_GRADIENT: "the gradient vanishes on its way down",
    Cause.EXPLODING_GRADIENT: "the gradient explodes on its way down",
    Cause.BAD_INITIALISATION: "badly initialised",
    Cause.UNSCALED_FEATURES: "held up by features of different scales",
    Cause.EXHAUSTED_STEP: "the step has decayed to nothing",
    Cause.SHARP_MINIMUM: "settled in a sharp minimum",
    Cause.NON_FINITE: "not finite",
    Cause.UNDECIDED: "undecided",
}


# which fact carries a verdict
DECISIVE: dict[Cause, tuple[str, ...]] = {
    Cause.STRICT_SADDLE: ("kind of point", "where it bends down"),
    Cause.FLAT_SADDLE: ("kind of point", "lower loss close by"),
    Cause.LOCAL_MINIMUM: ("kind of point",),
    Cause.STEP_TOO_LARGE: ("step against curvature",),
    Cause.STEP_TOO_SMALL: ("step against curvature",),
    Cause.ILL_CONDITIONED: ("step against curvature",),
    Cause.VANISHING_GRADIENT: ("gradient from last to first",),
    Cause.EXPLODING_GRADIENT: ("gradient from last to first",),
    Cause.DEAD_UNITS: ("units without slope",),
    Cause.SATURATED_UNITS: ("units without slope",),
    Cause.UNSCALED_FEATURES: ("scale of features",),
    Cause.SHARP_MINIMUM: ("sharpness", "new data"),
    Cause.STALE_STATISTICS: ("evaluation against training",),
    Cause.EXHAUSTED_STEP: ("step left",),
    Cause.NON_FINITE: ("update refused", "not finite"),
}


def weighed(cause: Cause, evidence: list[Fact]) -> list[Fact]:
    """The facts with "bad" for those that carry the verdict, and for no others."""
    decisive = DECISIVE.get(cause, ())
    status: dict[bool, Status] = {True: "bad", False: "info"}
    return [
        replace(fact, status=status[fact.label in decisive]) if fact.label in decisive or fact.status == "bad" else fact
        for fact in evidence
    ]


# fields of `Evidence` that are forks, in the order of a report
FORKS = {
    "smaller_lr": "smaller step",
    "larger_lr": "larger step",
    "larger_batch": "larger batch",
    "escape": "beyond the saddle",
    "push": "off the flat place",
    "restart": "another start",
    "elsewhere": "other starts",
    "adaptive": "Adam",
    "layerwise": "LAMB",
    "newton": "L-BFGS",
    "full_step": "the full step",
    "clipped": "clipped gradients",
    "revived": "dead units revived",
    "standardised": "standardised features",
    "normalised": "normalised",
    "fresh": "fresh weights",
    "gentle": "fresh weights, gently",
}


def verdict(finding: Finding) -> str:
    """What the answer means, in one sentence without its measurements."""
    meaning = finding.cause.explanation
    return f"{meaning[:1].upper()}{meaning[1:]} ({finding.cause.name}, confidence {finding.confidence:.2f})."


def sentence(finding: Finding) -> str:
    """The answer in one sentence: the numbers first, then what they mean."""
    reason = plain(finding.reason[:1].upper() + finding.reason[1:])
    return f"{reason}: {finding.cause.explanation} ({finding.cause.name}, confidence {finding.confidence:.2f})."


def title(cause: Cause) -> str:
    """The cause in a few words."""
    return TITLES.get(cause, cause.name.lower().replace("_", " "))


def status_of(cause: Cause) -> Status:
    """The colour of a verdict."""
    return STATUS.get(cause, "bad")


def facts(e: Evidence, blamed: Blame | None = None) -> list[Fact]:
    """Everything that was measured, one fact each."""
    found = [_level(e.level)]
    if e.failure is not None:
        found.append(_failure(e.failure))
    if e.broken is not None:
        where = plain(e.broken, 80)
        found.append(Fact("not finite", where, "bad", f"The first value that is not finite is in {where}."))
    if e.trend is not None:
        found.append(_trend(e.trend, e.stalled))
    if e.continuation is not None:
        found.append(_continuation(e.continuation, e.scale))
    if e.held is not None:
        text = f"The schedule soon ends; copies keep the present learning rate {number(e.held, 3)} instead."
        found.append(Fact("rate of the copies", number(e.held, 3), "info", text, e.held))
    if e.geometry is not None:
        found.append(_geometry(e.geometry))
    if blamed is not None:
        found.append(_blame(blamed))
    if e.stability is not None:
        found.append(_stability(e.stability))
    if e.descent is not None:
        found.append(_descent(e.descent))
    found += inside_facts(e)
    found += [_fork(name, fork, e) for name, fork in _named_forks(e)]
    return found


def forks_of(e: Evidence) -> list[Fork]:
    """Every copy that was trained on under a changed condition."""
    return [fork for _, fork in _named_forks(e)]


def _named_forks(e: Evidence) -> list[tuple[str, Fork]]:
    named = [(name, fork) for field, name in FORKS.items() if (fork := getattr(e, field)) is not None]
    known = {id(fork) for _, fork in named}
    return named + [(plain(fork.change, 48), fork) for fork in e.treated if id(fork) not in known]


def _level(level: Level) -> Fact:
    parts = []
    if level.baseline is not None:
        parts.append(f"the best constant answer has {_n(level.baseline)}")
    if level.start is not None:
        parts.append(f"the run began at {_n(level.start)}")
    if level.lower_bound is not None:
        parts.append(f"it can never fall below {_n(level.lower_bound)}")
    if level.target is not None:
        parts.append(f"the target is {_n(level.target)}")
    if level.of_samples is not None:
        part = "all" if level.samples == level.of_samples else f"{level.samples:,} of"
        parts.append(f"measured on {part} {level.of_samples:,} samples")
    return Fact("loss", _n(level.loss), "info", _sentence(f"the loss is {_n(level.loss)}", parts), asdict(level))


def _failure(failure: Failure) -> Fact:
    return Fact(
        "update refused", f"step {failure.step}, {plain(failure.block, 80)}", "bad", failure.text, asdict(failure)
    )


def _trend(trend: Trend, stalled: bool | None) -> Fact:
    falling = trend.falling and not stalled
    start, end = apart(trend.start, trend.end)
    text = f"over the last {trend.updates} updates the loss went from {start} to {end}"
    parts = [f"rank statistic {trend.z:.2f}, noise of a block {_n(trend.noise)}"]
    if stalled:
        parts.append("but lately it has stopped falling")
    value = f"{0.0 - trend.drop:+.3g} in {trend.updates} updates"
    return Fact(
        "trend", value, "good" if falling else "warn", _sentence(text, parts), {**asdict(trend), "stalled": stalled}
    )


def _continuation(c: Continuation, whole: float) -> Fact:
    first, last = c.losses[0], c.losses[-1]
    before, after = apart(first, last)
    text = f"trained on unchanged for {c.steps} updates, a copy of the run goes from {before} to {after}"
    good = c.trend is not None and c.trend.falling and not c.broke
    parts = ["then its loss is no longer finite"] if c.broke else []
    if not c.broke and c.fall > 0.0 and whole > 0.0:
        # linear: what the present slope promises
        many = number(0.1 * whole * c.steps / c.fall, 2)
        parts = [f"at this slope it takes {many} updates to go down by a tenth of what there is to gain"]
    return Fact("going on", f"{before} → {after}", "good" if good else "warn", _sentence(text, parts), asdict(c))


def _geometry(g: Geometry) -> Fact:
    low, high = g.lambda_min, g.lambda_max
    what = g.verdict.value
    if g.kink and g.verdict is Verdict.DEGENERATE:
        what = "the loss has a kink, where curvature holds on one side only and cannot decide"
    text = (
        f"{what}; lowest curvature in [{_n(low[0])}, {_n(low[1])}], highest in [{_n(high[0])}, "
        f"{_n(high[1])}], flat within ±{_n(g.tolerance)}, gradient norm {_n(g.gradient_norm)}"
    )
    if low[0] > 0.0:
        text += f", condition number {_n(high[1] / low[0])}"
    if g.samples is not None:
        text += f", on {g.samples:,} samples"
    if g.distance:
        text = f"at a distance of {_n(g.distance)}, where descent on all data comes to rest: {text}"
    bad: Status = "bad" if g.downhill else "info"
    parts = ["the loss has a kink there"] if g.kink and g.verdict is not Verdict.DEGENERATE else []
    return Fact("kind of point", g.verdict.name, bad, _sentence(text, parts), asdict(g))


def _blame(blamed: Blame) -> Fact:
    shares = {share.name: share.curvature for share in blamed.blocks}
    rows = [{"block": row.name, "row": row.row, "curvature": row.curvature} for row in blamed.rows]
    return Fact(
        "where it bends down", plain(blamed.worst.name, 80), "info", str(blamed), {"blocks": shares, "rows": rows}
    )


def _stability(s: Stability) -> Fact:
    text = (
        f"{s.rule} at lr {_n(s.lr)} bears a curvature of {s.formula} = {_n(s.threshold)}; "
        f"the steepest it sees is {_n(s.curvature)}, {s.ratio:.2g} times that"
    )
    return Fact(
        "step against curvature", f"{s.ratio:.3g}", "warn" if s.ratio > 1 else "info", _sentence(text), asdict(s)
    )


def _descent(d: Descent) -> Fact:
    text = (
        f"within a distance of {_n(d.radius)} the loss falls by {_n(d.decrease)}, "
        f"of which slope and curvature here explain {_n(d.explained)}"
    )
    if not d.decrease > 0:
        text = f"within a distance of {_n(d.radius)} no lower loss was found"
    return Fact(
        "lower loss close by",
        _n(d.decrease) if d.decrease > 0 else "none",
        "bad" if d.verified else "info",
        _sentence(text),
        asdict(d),
    )


def _fork(name: str, fork: Fork, e: Evidence) -> Fact:
    loss, control = apart(fork.loss, fork.control)
    text = f"with {fork.change}, {fork.steps} updates lead to {loss} instead of {control} (± {_n(fork.error)})"
    if fork.broke:
        return Fact(name, "breaks", "info", _sentence(f"with {fork.change} the loss is soon not finite"), asdict(fork))
    value = "{} instead of {}".format(*apart(fork.loss, fork.control, digits=3, most=6))
    return Fact(name, value, "good" if benefits(e, fork) else "info", _sentence(text), asdict(fork))


def _sentence(text: str, parts: list[str] | None = None) -> str:
    joined = "; ".join([text, *(parts or [])])
    return joined[:1].upper() + joined[1:] + "."


def _n(x: float) -> str:
    """Four figures."""
    return "0" if x == 0 else f"{x:.4g}" if math.isfinite(x) else number(x)
