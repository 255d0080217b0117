"""The order of the probes: cheap ones first, dear ones only while the answer is open and the budget lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from numpy.typing import NDArray

from ..critical import CriticalPoint, Verdict
from ..errors import UnstuckError
from ..train import Trainer
from . import probes, rules
from .calm import calm
from .causes import Cause
from .data import look_at_features, look_at_labels
from .descent import far_along, find_descent
from .evidence import Evidence, Geometry
from .forks import Course
from .inside import overfits
from .layers import look_at_layers, look_at_weights
from .moving import look_at_statistics, look_at_steps, look_at_validation
from .newton import try_elsewhere, try_newton, try_one_batch
from .noise import look_at_noise
from .sharp import look_for_flatter
from .shuffled import compare_with_shuffled
from .subject import Clock, Subject, distance
from .trials import TRIALS, make_trial

Array = NDArray[Any]
Result = TypeVar("Result")


@dataclass
class Examination:
    """One examination under way.

    Attributes:
        subject: what is examined.
        clock: its budget.
        evidence: what is known so far.
        place: the point whose curvature is judged: θ, or the quiet point that a noisy run hovers around.
        point: the classification, once made.
        notes: probes that could not be made, and why.
        beyond: a lower place close to a flat one, (n,); None where none was verified.
    """

    subject: Subject
    clock: Clock
    evidence: Evidence
    place: Array
    point: CriticalPoint | None = None
    notes: list[str] = field(default_factory=list)
    beyond: Array | None = None

    def measure(self, what: str, probe: Callable[..., Result], *arguments: Any) -> Result | None:
        """The probe's answer with its cost booked; None, with a note, when it had to give up."""
        began = self.clock.wall
        try:
            return probe(*arguments)
        except UnstuckError as error:
            self.notes.append(f"{what}: {error}")
            return None
        finally:
            self.clock.book(what, began)

    def learn(self, **measured: Any) -> None:
        """Adds measurements to the evidence."""
        self.evidence = replace(self.evidence, **measured)


def examine(subject: Subject, clock: Clock, target: float | None) -> Examination:
    """Probes the subject until the answer is settled or everything affordable is measured."""
    run = subject.run
    began = clock.wall
    level, broken = probes.measure_level(subject, target), probes.find_broken(subject)
    clock.book("loss", began)
    evidence = Evidence(run is not None, level, subject.stochastic, broken=broken)
    work = Examination(subject, clock, evidence, subject.theta)
    if run is not None:
        _read_history(work, run)
        work.learn(
            statistics=work.measure("statistics", look_at_statistics, subject),
            weights=work.measure("weights", look_at_weights, subject),
            generalisation=work.measure("validation", look_at_validation, subject, run),
        )
    if rules.not_finite(work.evidence):
        if run is not None and broken is None:
            _look_at_curvature(work, run)
        return work
    if run is None:
        _look_at_curvature(work, None)
        _look_around(work)
    elif not rules.is_settled(work.evidence):
        _examine_run(work, run)
    if run is not None:
        _look_at_new_data(work, run)
    return work


def _read_history(work: Examination, run: Trainer) -> None:
    trend, stalled = probes.recent_trend(probes.losses_since_move(run))
    work.learn(updates=run.history.updates, failure=run.failure, trend=trend, stalled=stalled)


def _examine_run(work: Examination, run: Trainer) -> None:
    """The do-nothing control, then geometry, then the forks that it calls for."""
    control = work.measure("going on", probes.go_on, work.subject, run, work.clock, 0.12 * work.clock.seconds)
    if control is None:
        return
    continuation, course = control
    work.learn(continuation=continuation)
    if work.evidence.level.lower_bound is None and not work.subject.stochastic:
        _look_at_curvature(work, run)  # or nothing says how small a fall is
    if rules.is_settled(work.evidence):
        return
    if (rate := probes.rate_before_the_end(run, course.steps)) is not None:
        # what ends soon is the schedule, which would hide whether anything else is wrong
        work.subject.held = rate
        held = work.measure("going on", probes.go_on, work.subject, run, work.clock, 0.12 * work.clock.seconds)
        if held is not None:
            continuation, course = held
            work.learn(continuation=continuation, held=rate)
            if rules.is_settled(work.evidence):
                return
    if work.point is None:
        _look_at_curvature(work, run)
    if rules.rests_at_bound(work.evidence):
        return  # nothing can be lower
    _look_inside(work, run)
    direction = _look_around(work)
    _try_forks(work, run, course, direction)


def _look_at_new_data(work: Examination, run: Trainer) -> None:
    """Where new data are served much worse than those trained on: is this place a sharp one?"""
    known, clock = work.evidence.generalisation, work.clock
    if known is None or not overfits(work.evidence):
        return
    found = work.measure(
        "flatter place", look_for_flatter, work.subject, run, known, work.evidence.room, clock, 0.2 * clock.seconds
    )
    if found is not None:
        work.learn(sharpness=found[0], flatter=found[1])


def _look_inside(work: Examination, run: Trainer) -> None:
    """Layers, data and optimizer: cheap, and what they show decides which treatments are tried."""
    subject = work.subject
    work.learn(
        layers=work.measure("layers", look_at_layers, subject),
        features=work.measure("features", look_at_features, subject),
        labels=work.measure("labels", look_at_labels, subject),
        noise=work.measure("noise", look_at_noise, subject, run.sampler.batch_size),
        one_batch=work.measure("one batch", try_one_batch, subject),
        steps=work.measure("step size", look_at_steps, subject, run),
    )
    if rules.knows_little(work.evidence):
        work.learn(shuffled=work.measure("shuffled targets", compare_with_shuffled, subject))


def _look_at_curvature(work: Examination, run: Trainer | None) -> None:
    subject, clock = work.subject, work.clock
    if subject.stochastic:
        quiet = work.measure("coming to rest", calm, subject.curved, subject.theta, clock, 0.1 * clock.seconds)
        work.place = subject.theta if quiet is None else quiet
    cp = work.measure("curvature", probes.look_at_point, subject, work.place, clock, 0.25 * clock.seconds)
    if cp is not None:
        work.point = cp
        loss, away = float(subject.objective.loss(work.place)), distance(work.place, subject.theta)
        work.learn(geometry=Geometry.of(cp, loss, subject.curved.samples, away))
    if run is not None:
        work.learn(stability=work.measure("stability", probes.measure_stability, subject, run))


def _look_around(work: Examination) -> Array | None:
    """At a degenerate point without negative curvature: the direction of a lower loss close by, if there is one."""
    cp, subject, seconds = work.point, work.subject, 0.3 * work.clock.seconds
    if cp is None or cp.verdict is not Verdict.DEGENERATE or cp.direction is not None or cp.at_lower_bound:
        return None
    found = work.measure("neighbourhood", find_descent, subject.curved, work.place, cp, work.clock, seconds)
    if found is None:
        return None
    descent, direction = found
    work.learn(descent=descent)
    return direction if descent.verified else None


def _try_forks(work: Examination, run: Trainer, control: Course, direction: Array | None) -> None:
    subject, clock = work.subject, work.clock
    stability = work.evidence.stability
    ratio = None if stability is None else stability.ratio
    smaller = work.measure("smaller step", probes.try_smaller_lr, subject, run, control, ratio, work.evidence.steps)
    larger = work.measure("larger step", probes.try_larger_lr, subject, run, control, ratio, work.evidence.steps)
    work.learn(smaller_lr=smaller, larger_lr=larger)
    _leave_point(work, run, control.steps, direction)
    for trial in TRIALS:
        if clock.left > 0.0 and trial.wanted(work.evidence):
            work.learn(
                **{trial.name: work.measure(trial.name, make_trial, trial, subject, run, work.evidence, control)}
            )
    if subject.stochastic and rules.benefits(work.evidence, smaller):
        work.learn(larger_batch=work.measure("larger batch", probes.try_larger_batch, subject, run, control))
    if _is_steep(work.evidence) and clock.left > 0.0:
        work.learn(newton=work.measure("L-BFGS", try_newton, subject, control, clock, 0.12 * clock.seconds))
    if rules.certified_minimum(work.evidence) and clock.left > 0.0:
        point = work.evidence.geometry
        loss = work.evidence.level.loss if point is None else point.loss
        seconds = 0.2 * clock.seconds
        work.learn(elsewhere=work.measure("other starts", try_elsewhere, subject, run, loss, clock, seconds))
    if rules.judge(work.evidence)[0].cause in (Cause.CONVERGED, Cause.UNDECIDED):
        seconds, level = max(0.1 * clock.seconds, min(0.8 * clock.left, 0.5 * clock.seconds)), work.evidence.level
        work.learn(restart=work.measure("restart", probes.try_restart, subject, run, level, clock, seconds))


def _is_steep(evidence: Evidence) -> bool:
    """Whether the rate already uses a part of what the steepest direction bears, so that a larger one is no way out."""
    return evidence.stability is not None and evidence.stability.ratio > 0.03


def _leave_point(work: Examination, run: Trainer, steps: int, direction: Array | None) -> None:
    """Forks that start beyond the point, beside one that starts at it."""
    cp, subject, place = work.point, work.subject, work.place
    if cp is None or (cp.direction is None and direction is None):
        return
    rest = work.measure("staying", probes.stay, subject, run, place, steps)
    if rest is None:
        return
    if cp.direction is not None:
        work.learn(escape=work.measure("escape", probes.try_escape, subject, run, rest, place, cp))
    elif direction is not None and work.evidence.descent is not None:
        near, longest = work.evidence.descent.radius, 100.0 * cp.gate.radius
        start = far_along(subject.curved, place, near, longest, direction)
        work.beyond = start
        work.learn(push=work.measure("push", probes.try_push, subject, run, rest, place, start))
