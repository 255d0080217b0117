"""Showing: a diagnosis, or an attempt to get free, as a report with the curves that were measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..number_text import apart, number
from ..report import Answer, Chart, Fact, Report, build, charts
from ..report.facts import Status
from . import wording
from .doubts import doubt
from .evidence import Evidence, Fork
from .forks import CHECKPOINTS
from .rules import benefits

if TYPE_CHECKING:
    from .diagnosis import Diagnosis
    from .unsticking import Attempt, Outcome

MOST_CURVES = 7
CLEARLY = 11 / 12  # of the looks: below the control, though not by enough
UNLIKELY = 0.05  # confidence below which a further cause is not listed


def diagnosis_report(d: Diagnosis, drawn: bool = True) -> Report:
    """Causes in their order, evidence, remedies, curves if `drawn`, costs."""
    return build(
        f"Diagnosis: {wording.title(d.cause)}",
        wording.verdict(d.findings[0]),
        wording.weighed(d.cause, d.evidence),
        figures(d) if drawn else [],
        {"cause": d.cause.name, "healthy": d.healthy, "causes": confidences(d), **costs(d)},
        remedies=d.shown_remedies,
        details=details(d),
        status=wording.status_of(d.cause),
        answers=answers(d),
        note=f"Examined {cost_text(d)}; the run was left as it was.",
    )


def outcome_report(o: Outcome, drawn: bool = True) -> Report:
    """What was tried beside doing nothing, what was kept, and why the run had been stuck; curves if `drawn`."""
    d = o.diagnosis
    if o.applied is not None:
        title, status = f"Freed by: {o.applied.treatment.name}", "good"
    elif d.healthy:
        title, status = f"Nothing to do: {wording.title(d.cause)}", "good"
    else:
        title, status = f"No remedy helped: {wording.title(d.cause)}", "bad"
    curves: list[Chart] = []
    if drawn:
        verified = {id(attempt.fork) for attempt in o.tried if attempt.verified}
        curves = [*copies_chart([attempt.fork for attempt in o.tried], verified), *figures(d, copies=False)]
    state = "the run goes on from there" if o.applied is not None else "the run was left as it was, to the bit"
    tried = f", {len(o.tried)} remedies tried beside doing nothing" if o.tried else ""
    return build(
        title,
        str(o),
        [
            Fact("diagnosis", wording.title(d.cause), wording.status_of(d.cause), str(d)),
            *wording.weighed(d.cause, d.evidence),
        ],
        curves,
        {
            "cause": d.cause.name,
            "healthy": d.healthy,
            "applied": None if o.applied is None else o.applied.treatment.name,
            "tried": [attempt_data(attempt) for attempt in o.tried],
            "causes": confidences(d),
            **costs(d),
            "seconds": o.seconds,
        },
        remedies=o.shown_remedies,
        details=details(d),
        status=status,  # type: ignore[arg-type]
        answers=answers(d),
        note=f"{number(o.seconds, 3)} s in all: examined {cost_text(d)}{tried}; {state}.",
    )


def answers(d: Diagnosis) -> list[Answer]:
    """The causes that are worth a word, with what speaks for each and what would change it."""
    worth = [f for i, f in enumerate(d.findings) if i == 0 or f.confidence >= UNLIKELY]
    return [
        Answer(
            wording.title(f.cause),
            f.cause.name,
            f.confidence,
            f"{f.reason[:1].upper()}{f.reason[1:]}.",
            doubt(f.cause, d.measured),
            "info" if i else wording.status_of(f.cause),
        )
        for i, f in enumerate(worth)
    ]


def attempt_fact(attempt: Attempt, kept: bool) -> Fact:
    """One remedy beside doing nothing."""
    fork, again = attempt.fork, attempt.again
    loss, control = apart(fork.loss, fork.control, digits=3)
    better = 100 * fork.wins
    what = attempt.treatment.text[:1].upper() + attempt.treatment.text[1:]
    sentence = (
        f"{what}: after {fork.steps} updates the loss is {loss} instead of {control} "
        f"(± {number(fork.error, 2)}), lower at {better:.0f}% of the looks."
    )
    if attempt.same:
        sentence = f"{what}: the training loss stays what it is, evaluation is mended."
    if fork.broke:
        sentence = f"{what}: the loss was soon no longer finite."
    if again is not None:
        loss, control = apart(again.loss, again.control, digits=3)
        sentence += f" With the samples in another order: {loss} instead of {control}."
    word = "kept" if kept else _word(fork, attempt.verified)
    status: Status = "good" if attempt.verified else "info"
    return Fact(attempt.treatment.name, word, status, sentence, attempt_data(attempt))


def attempt_data(attempt: Attempt) -> dict[str, Any]:
    """The numbers of one attempt."""
    treatment, fork = attempt.treatment, attempt.fork
    named = {"name": treatment.name, "cause": treatment.cause, "text": treatment.text, "verified": attempt.verified}
    return {**named, "fork": vars(fork), "again": None if attempt.again is None else vars(attempt.again)}


def figures(d: Diagnosis, copies: bool = True) -> list[Chart]:
    """What copies of the run reached, the run's own losses, the ends of the spectrum."""
    e, found = d.measured, []
    if copies:
        tried = wording.forks_of(e)
        found += copies_chart(tried, {id(fork) for fork in tried if benefits(e, fork)}, _going_on(e))
    if d.history is not None and len(d.history[0]):
        found.append(charts.loss_curve(*d.history, caption="Of every update: the loss on its own batch."))
    if d.point is not None:
        low, high = d.point.lambda_min, d.point.lambda_max
        ends = (low.lower, low.upper), (high.lower, high.upper)
        meaning = d.point.verdict.value
        found.append(charts.spectrum_ends(*ends, d.point.tolerance, f"{meaning[:1].upper()}{meaning[1:]}."))
    return found


def copies_chart(
    forks: Iterable[Fork], helped: set[int], control: tuple[tuple[float, ...], int] | None = None
) -> list[Chart]:
    """The curves of treated copies beside the control; no chart where nothing was tried.

    Args:
        forks: the copies.
        helped: id() of those that did significantly better.
        control: (losses, updates) of the run trained on unchanged; None: as the copies had it beside them.
    """
    drawn = [fork for fork in forks if np.isfinite(fork.course).any()]
    drawn = sorted(drawn, key=lambda fork: (id(fork) not in helped, fork.loss))[:MOST_CURVES]
    if not drawn and control is None:
        return []
    if control is None:
        control = drawn[0].beside, drawn[0].steps
    level = _last(control[0])
    curves = [
        charts.Curve(_label(fork, level), *_course(fork.course, fork.steps), id(fork) in helped, word)
        for fork in drawn
        for word in [_word(fork, id(fork) in helped)]
    ]
    if not curves:
        text = "A copy of the run, with nothing changed; the run itself stands where it was."
        return [charts.copies(_course(*control), [], text, "The run, trained on in a copy")]
    return [charts.copies(_course(*control), curves)]


def _word(fork: Fork, helped: bool) -> str:
    """Whether a copy did better, in a word or two."""
    if helped:
        return "helps"
    return "too little" if fork.wins >= CLEARLY and fork.gain > 0 else "no better"


def _label(fork: Fork, level: float) -> str:
    """What was changed; where the copy started elsewhere, what it would have reached from there without."""
    own = _last(fork.beside)
    same = abs(own - level) <= 0.02 * abs(level) or not np.isfinite([own, level]).all()
    return fork.change if same else f"{fork.change} (without it from there {number(own, 3)})"


def _last(losses: tuple[float, ...]) -> float:
    return float(losses[-1]) if losses else float("nan")


def _going_on(e: Evidence) -> tuple[tuple[float, ...], int] | None:
    return None if e.continuation is None else (e.continuation.losses, e.continuation.steps)


def _course(losses: tuple[float, ...], steps: int) -> tuple[Any, Any]:
    """(updates, losses)."""
    return np.arange(len(losses)) * (steps // CHECKPOINTS), np.array(losses)


def details(d: Diagnosis) -> list[Fact]:
    """What the examination cost, and what could not be measured."""
    spent: dict[str, float] = {}
    for what, seconds in d.costs:
        spent[what] = spent.get(what, 0.0) + seconds
    parts = ", ".join(f"{what} {number(seconds, 2)}" for what, seconds in spent.items())
    text = f"Seconds: {parts}." if parts else ""
    cost = Fact("cost", cost_text(d), "info", text, costs(d))
    return [cost, *(Fact("not measured", "", "warn", note) for note in d.notes)]


def cost_text(d: Diagnosis) -> str:
    """Seconds and products."""
    products = f" and {d.products:,} Hessian products" if d.products else ""
    return f"in {number(d.seconds, 2)} s{products}"


def costs(d: Diagnosis) -> dict[str, Any]:
    """The same for machines."""
    return {"seconds": d.seconds, "products": d.products, "seconds_of": [list(cost) for cost in d.costs]}


def confidences(d: Diagnosis) -> dict[str, float]:
    """Cause ↦ confidence."""
    return {cause.name: confidence for cause, confidence in d.causes}
