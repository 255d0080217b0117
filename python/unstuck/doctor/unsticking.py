"""unstick: remedies are tried in forks beside a do-nothing control; the best verified one is kept, or nothing."""

from __future__ import annotations

import math
import os
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError, UnstuckError
from ..ranges import NON_NEGATIVE
from ..report import Fact, Report
from ..sampler import Sampler
from ..train import Trainer
from . import forks
from .causes import Cause
from .diagnosis import Diagnosis
from .evidence import Evidence, Fork
from .forks import Course
from .menu import menu
from .objective import Objective, examined_samples
from .progress import SUBSTANTIAL, WORTH, benefit, sooner
from .subject import MOST_SAMPLES, Clock, Subject
from .treatment import Treatment

BUDGET = 6.0  # seconds, half of them for the diagnosis; nominal ones of work unless a budget is stated
MOST_TRIED = 7


@dataclass(frozen=True)
class Attempt:
    """One treatment, tried in a fork.

    Attributes:
        treatment: what was done.
        fork: what it reached beside the control, on the run's own batches.
        again: the same on batches in another order; None where the first try settled it.
        verified: significantly and materially better than doing nothing, every time.
    """

    treatment: Treatment
    fork: Fork
    again: Fork | None
    verified: bool

    def __str__(self) -> str:
        word = "helps" if self.verified else "does not help"
        return f"{self.treatment.name} {word}: {self.reached}"

    @property
    def same(self) -> bool:
        """Whether it helps without any change of the training loss, as fresh running statistics do."""
        return self.verified and not self.fork.gain > 0.0

    @property
    def reached(self) -> str:
        """What was done, and what came of it, as a clause."""
        if self.same:
            return f"{self.treatment.text}: the training loss stays what it is, evaluation is mended"
        numbers = f"{self.fork.loss:.4g} instead of {self.fork.control:.4g}"
        return f"with {self.treatment.text}, {self.fork.steps} updates lead to {numbers}"


@dataclass(frozen=True)
class Outcome:
    """What `unstick` found, tried and did; `str()` of it is one sentence.

    Attributes:
        diagnosis: why the run does not get better.
        tried: every treatment that was tried, in the order of the menu.
        applied: the one that was kept; None if none was verified, and then the run is as it was, to the bit.
        seconds: wall-clock time of everything.
    """

    diagnosis: Diagnosis
    tried: tuple[Attempt, ...]
    applied: Attempt | None
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """For a process that checks: 0 where the run was healthy or got free, else 1."""
        return 0 if self.diagnosis.healthy or self.applied is not None else 1

    @property
    def shown_remedies(self) -> list[Fact]:
        """What was tried as facts, with what each reached; where nothing helped, what else could be done."""
        from .showing import attempt_fact

        tried = [attempt_fact(attempt, attempt is self.applied) for attempt in self.tried]
        return tried if self.applied is not None else [*tried, *self.diagnosis.shown_remedies]

    def report(self) -> Report:
        """The remedies with their curves beside doing nothing, and the diagnosis."""
        from .showing import outcome_report

        return outcome_report(self)

    def to_json(self) -> str:
        """The report without its charts, as strict JSON."""
        from .showing import outcome_report

        return outcome_report(self, drawn=False).json()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report, whole or not at all; the ending decides: .html, .json or .txt.

        Raises:
            ArgumentError: another ending, or the file cannot be written.
        """
        return self.report().save(path)

    def _repr_html_(self) -> str:
        from ..report.html import fragment
        from .showing import outcome_report

        report = outcome_report(self, drawn=False)
        return fragment(report.title, str(self), report.facts, report.status)

    def __str__(self) -> str:
        cause = self.diagnosis.cause.name
        if self.applied is not None:
            return f"{cause}: applied {self.applied.treatment.name!r}; {self.applied.reached}."
        if self.diagnosis.healthy:
            return f"{cause}: nothing was done, {self.diagnosis.cause.explanation}."
        return f"{cause}: none of {len(self.tried)} treatments did significantly better than doing nothing."


def unstick(run: Trainer, budget: float | None = None) -> Outcome:
    """Diagnoses a run, tries remedies in forks against doing nothing, and applies the best one that is verified.

    Every treatment is trained for as many updates as a do-nothing control, from the same state on the same batches;
    where batches are random, the best is tried once more on another order of the samples, and must win again.

    Args:
        run: a Trainer; changed only by a verified treatment, which its history then names.
        budget: seconds for everything, about. None: an amount of work instead, the same on a busy machine: about 6 s
            of an idle core.

    Returns:
        An `Outcome`.

    Raises:
        ArgumentError: `budget` is not positive.
        ArgumentTypeError: `run` is no Trainer.

    Guarantee: without a verified treatment the run is left as it was, to the bit.
    """
    from . import diagnose

    if not isinstance(run, Trainer):
        raise ArgumentTypeError(f"`run` must be a Trainer, got {type(run).__name__}")
    if budget is not None and NON_NEGATIVE.check("budget", budget) == 0.0:
        raise ArgumentError("`budget` must be positive, got 0")
    began = time.perf_counter()
    diagnosis = diagnose(run, budget=None if budget is None else 0.5 * budget)
    if diagnosis.healthy:
        return Outcome(diagnosis, (), None, time.perf_counter() - began)
    left = 0.5 * BUDGET
    if budget is not None:
        left = max(0.3 * budget, budget - (time.perf_counter() - began))
    with np.errstate(all="ignore"):  # a treatment may overflow; then it has not helped
        tried = _try_all(diagnosis, run, left, stated=budget is not None)
    best = _best(tried, diagnosis.measured)
    if best is not None:
        best.treatment.apply(run)
    return Outcome(diagnosis, tuple(tried), best, time.perf_counter() - began)


def _try_all(diagnosis: Diagnosis, run: Trainer, seconds: float, stated: bool) -> list[Attempt]:
    subject = Subject(run.land, run.theta, run, seconds)
    clock = Clock(seconds, None if stated else subject.tally)
    candidates = menu(diagnosis, run)[:MOST_TRIED]
    if not candidates:
        return []
    steps = forks.affordable_steps(subject, run.fork(), clock, seconds / (len(candidates) + 3))
    judged = _judged_by(diagnosis, subject, run)
    untreated = run.fork()
    evidence, control = diagnosis.measured, forks.follow(subject, untreated, steps, judged)
    highest = _evaluation(subject, run, untreated), _on_new_data(run, untreated) + WORTH * evidence.room
    attempts = [
        Attempt(treatment, fork, None, _verified(diagnosis, evidence, fork, treatment))
        for treatment in candidates
        if (fork := _fork(treatment, subject, run, control, judged, highest)) is not None
    ]
    best = _best(attempts, evidence)
    if best is None or run.sampler.full:
        return attempts
    other = forks.follow(subject, _reordered(run.fork()), steps, judged)
    again = _fork(best.treatment, subject, run, other, judged, highest, reordered=True)
    sure = again is not None and _verified(diagnosis, evidence, again, best.treatment)
    attempts[attempts.index(best)] = Attempt(best.treatment, best.fork, again, sure)
    return attempts


def _judged_by(diagnosis: Diagnosis, subject: Subject, run: Trainer) -> Objective:
    """The training objective; where new data are the trouble, the loss on those."""
    if diagnosis.cause is not Cause.SHARP_MINIMUM or run.validation is None:
        return subject.objective
    new = run.validation.land
    return Objective(new, 0.0, examined_samples(new.samples, MOST_SAMPLES), subject.tally)


def _fork(
    treatment: Treatment,
    subject: Subject,
    run: Trainer,
    control: Course,
    judged: Objective,
    highest: tuple[float, float],
    reordered: bool = False,
) -> Fork | None:
    """The treated fork beside the control; None where it cannot be treated.

    `highest`: what its losses in evaluation, and on new data, may be.
    """
    fork = run.fork()
    try:
        if not treatment.act(fork):
            return None
    except UnstuckError:
        return None
    if reordered:
        _reordered(fork)
    found = forks.compare(subject, forks.follow(subject, fork, control.steps, judged), control, treatment.text)
    # what training does not see must not become worse either
    worse = _evaluation(subject, run, fork) > highest[0] or _on_new_data(run, fork) > highest[1]
    return replace(found, broke=True) if worse else found


def _on_new_data(run: Trainer, fork: Trainer) -> float:
    """The loss of a fork on the validation data; −∞ without any, +∞ where it is not finite.

    Nor with running statistics, of which the validation only knows the run's own.
    """
    if run.validation is None or getattr(run.land, "buffers", np.empty(0)).size:
        return -math.inf
    loss = float(run.validation(fork.theta)[0])
    return loss if math.isfinite(loss) else math.inf


def _evaluation(subject: Subject, run: Trainer, fork: Trainer) -> float:
    """The loss of a fork with its running statistics; −∞ without any."""
    if subject.objective.land is run.land:
        return -math.inf
    loss = float(fork.land.loss(fork.theta, subject.objective.sample))
    return loss if math.isfinite(loss) else math.inf


def _reordered(fork: Trainer) -> Trainer:
    """The fork with the samples in another order."""
    sampler = Sampler(fork.sampler.samples, fork.batch_size, (fork.seed + 1) % 2**64)
    sampler.epoch, fork.sampler = fork.sampler.epoch, sampler
    return fork


def _verified(diagnosis: Diagnosis, evidence: Evidence, fork: Fork, treatment: Treatment) -> bool:
    if treatment.name == "recompute the statistics":
        return diagnosis.cause is Cause.STALE_STATISTICS
    helps = benefit(evidence, fork)
    if diagnosis.cause in (Cause.STRICT_SADDLE, Cause.FLAT_SADDLE):
        helps = max(helps, sooner(evidence, fork))
    return helps >= 1.0 and math.isfinite(fork.loss) and lower_on_average(fork)


def lower_on_average(fork: Fork) -> bool:
    """Whether spikes, which a median does not see, leave something of the gain."""
    if len(fork.course) < len(fork.beside) or not math.isfinite(fork.control):
        return not fork.broke
    later = forks.CHECKPOINTS // 2
    return statistics.fmean(fork.course[-later:]) <= statistics.fmean(fork.beside[-later:])


def _best(attempts: list[Attempt], evidence: Evidence) -> Attempt | None:
    """The first verified one that comes about as low as the lowest: the menu names what mends the cause first."""
    verified = [attempt for attempt in attempts if attempt.verified]
    if not verified:
        return None
    lowest = min(attempt.fork.loss for attempt in verified)
    return next(attempt for attempt in verified if attempt.fork.loss <= lowest + SUBSTANTIAL * evidence.room)
