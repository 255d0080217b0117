"""The doctor: why does this run not get better? Probes measure, rules decide, wording explains."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..curvature.blame import Blame, blame
from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Landscape, check_landscape, check_theta
from ..ranges import NON_NEGATIVE
from ..train import Trainer
from .causes import Cause
from .costs import cost_so_far, costs_of
from .diagnosis import Diagnosis
from .evidence import Evidence
from .examine import Examination, examine
from .remedies import Remedy
from .rules import RULES, Finding, Rule, judge
from .subject import Clock, Subject
from .treatment import Treatment
from .unsticking import Attempt, Outcome, unstick

__all__ = [
    "Attempt",
    "Cause",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Outcome",
    "Remedy",
    "Treatment",
    "diagnose",
    "judge",
    "unstick",
]

BUDGET, MOST = 3.0, 30.0  # nominal seconds of work
SHARE = 0.25  # of what the run has cost: the least that an examination of it may


def diagnose(
    subject: Trainer | Landscape,
    theta: Any = None,
    *,
    budget: float | None = None,
    target: float | None = None,
    rules: Iterable[Rule] = (),
) -> Diagnosis:
    """Why does this run not get better, or does it?

    A run is judged by its recent losses; if they do not fall by more than their noise, by what a copy of it does when
    trained on, by the curvature where it stands, and by copies that are trained on under one changed condition each.
    A landscape with θ can only be judged by its geometry.

    Args:
        subject: a Trainer, or a Landscape.
        theta: with a Landscape, the point (n,); None: its current point.
        budget: seconds that the examination may take, about. None: an amount of work instead, the same on a busy
            machine: at most some 6 s of an idle core, more (up to 60) for a run that has itself cost more.
        target: a loss that should be reached; above it a certified minimum counts as LOCAL_MINIMUM.
        rules: rules of your own, asked beside the built-in ones: functions of the `Evidence` that return a
            `Finding(cause, confidence, reason)` or None. The most confident finding is the answer.

    Returns:
        A `Diagnosis`.

    Raises:
        ArgumentError: no point is given, or `budget` is not positive.
        ArgumentTypeError: `subject` is neither a run nor a landscape, or a rule is no function that returns a Finding.
        BusyError: another thread is training the run.

    Guarantee: the run and the landscape are left as they were, to the bit. Without a `budget` the same run has the
    same diagnosis every time; of a landscape whose calls take longer than 0.1 ms only the order of magnitude of
    their CPU time counts.
    """
    run = subject if isinstance(subject, Trainer) else None
    land = check_landscape(subject, "subject", "a Trainer or a Landscape") if run is None else run.land
    if run is not None and theta is not None:
        raise ArgumentError("`theta` belongs to a landscape; a run is examined where it stands")
    if budget is not None and NON_NEGATIVE.check("budget", budget) == 0.0:
        raise ArgumentError("`budget` must be positive, got 0")
    if target is not None:
        target = _finite("target", target)
    own = _own_rules(rules)
    if run is not None:
        run.state()  # refused while another thread trains it
    point = theta if theta is not None else run.theta if run is not None else land.theta
    if point is None:
        raise ArgumentError("`theta` must be given: the landscape has no current point")
    # overflow on the way to a verdict is evidence, not an accident
    with np.errstate(all="ignore"):
        work = examine(*_prepared(land, point, run, budget), target)
        findings, blamed = tuple(judge(work.evidence, [*RULES, *own])), _blame(work)
    history = None if run is None else _history(run)
    return Diagnosis(
        findings,
        work.evidence,
        work.point,
        work.place,
        tuple(work.clock.spent),
        tuple(work.notes),
        history,
        blamed,
        work.subject.tally,
        work.beyond,
    )


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ArgumentTypeError(f"`{name}` must be a number, got {type(value).__name__}")
    if not np.isfinite(value):
        raise ArgumentError(f"`{name}` must be finite, got {value}")
    return float(value)


def _prepared(land: Landscape, point: Any, run: Trainer | None, budget: float | None) -> tuple[Subject, Clock]:
    """The subject, and a clock of the wall's seconds, or of work where no `budget` is stated."""
    if budget is not None:
        return Subject(land, point, run, budget), Clock(budget)
    theta = check_theta(point, land.n, land.dtype)
    costs = costs_of(land, theta, None if run is None else run.batch_size)
    seconds = BUDGET if run is None else max(BUDGET, min(SHARE * cost_so_far(run, costs), MOST))
    subject = Subject(land, theta, run, seconds, costs)
    return subject, Clock(seconds, subject.tally)


def _own_rules(rules: Iterable[Rule]) -> list[Rule]:
    try:
        return [_checked(rule) for rule in rules]
    except TypeError as error:
        if isinstance(error, ArgumentTypeError):
            raise
        raise ArgumentTypeError(f"`rules` must be a list of functions, got {type(rules).__name__}") from error


def _checked(rule: Rule) -> Rule:
    """The rule, with what it returns looked at."""
    if not callable(rule):
        raise ArgumentTypeError(f"`rules` must be functions of the evidence, got {type(rule).__name__}")

    def asked(evidence: Evidence) -> Finding | None:
        found = rule(evidence)
        if found is not None and not (isinstance(found, Finding) and isinstance(found.cause, Cause)):
            raise ArgumentTypeError(f"`rules`: a rule must return a Finding or None, got {type(found).__name__}")
        if found is None:
            return None
        confidence = _finite("rules: a confidence", found.confidence)
        if not 0.0 <= confidence <= 1.0:
            raise ArgumentError(f"`rules`: a confidence must be in [0, 1], got {confidence}")
        if not isinstance(found.reason, str):
            raise ArgumentTypeError(f"`rules`: a reason must be text, got {type(found.reason).__name__}")
        if not found.reason.strip():
            raise ArgumentError("`rules`: a rule must give a reason, got an empty one")
        return found

    return asked


def _history(run: Trainer) -> tuple[Any, Any, list[tuple[float, str]]]:
    """Steps, losses and the moments at which something was done to the run."""
    events = [(float(event["step"]), str(event["kind"])) for event in run.history.events]
    return run.history["step"].copy(), run.history["loss"].copy(), events


def _blame(work: Examination) -> Blame | None:
    """Where the direction of negative curvature lives. Cost: one product; nothing without a direction."""
    point, land = work.point, work.subject.land
    if point is None or point.direction is None:
        return None
    found = work.measure("blame", blame, work.subject.curved.hessian(work.place), point.direction, land.blocks)
    return found if found is None or np.isfinite(found.value) else None


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
