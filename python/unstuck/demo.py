"""The demo: a network that starts with all weights zero gets stuck on real digits; find out why, escape, train on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import data, nn, optim
from .doctor import Cause, Diagnosis, diagnose
from .escape import Escape, escape
from .network_landscape import NetworkLandscape
from .number_text import apart, number
from .progress import Progress, silent
from .ranges import Count
from .report import Chart, Fact, Report, build, charts
from .train import Trainer
from .validation import accuracy

Array = NDArray[Any]

HIDDEN, BATCH, RATE = 64, 32, 2e-3
HELD_OUT = 0.25  # share of the images that the network is never trained on
PATIENCE = 10  # epochs between two looks at whether the loss still falls
LOOKS = 6
AFTERWARDS = 60  # epochs after the escape


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes:
        sentence: the story in one sentence with numbers.
        report: the report, as it was written.
        outcome: the numbers, JSON-able; `outcome["escaped"]` tells whether the run got free.
    """

    sentence: str
    report: Report
    outcome: dict[str, Any]


@dataclass(frozen=True)
class Story:
    """What happened, as measured.

    Attributes:
        run: the run at its end.
        found: the diagnosis that said stuck, or the last one that did not.
        way_out: the escape; None if the run was not stuck at a saddle.
        stuck_at: updates done when it was taken.
        stuck_accuracy: on the held-out images at that moment.
        control: loss of a copy without the escape after as many updates.
        ending: diagnosis at the end.
        seconds: time for all of this.
    """

    run: Trainer
    found: Diagnosis
    way_out: Escape | None
    stuck_at: int
    stuck_accuracy: float
    control: float
    ending: Diagnosis
    seconds: float


def run(
    seed: int = 0,
    progress: Progress | None = None,
    report_path: str | os.PathLike[str] | None = "unstuck-report.html",
) -> DemoResult:
    """Train a 64-64-10 tanh network on the optical digits from all-zero weights, diagnose, escape, train on.

    Args:
        seed: of the split, the network and the order of the samples.
        progress: called as progress(done, total, text).
        report_path: where the report goes (.html, .json or .txt); None: nowhere.

    Raises:
        ArgumentError: the report cannot be written, or `seed` is negative.
    """
    story = tell(Count(0).check("seed", seed), progress or silent)
    sentence, outcome = words(story), numbers(story)
    report = build(
        "Stuck, and how it got free" if outcome["escaped"] else "The demo",
        sentence,
        facts(story),
        figures(story),
        outcome,
        remedies=[Fact(r.name, "", "info", r.text) for r in story.found.remedies],
        details=[Fact("data", data.ATTRIBUTION), Fact("seed", str(seed)), Fact("time", f"{story.seconds:.1f} s")],
        status="good" if outcome["escaped"] else "warn",
        answers=story.found.answers,
    )
    if report_path is not None:
        report.save(report_path)
    return DemoResult(sentence, report, outcome)


def start(seed: int) -> Trainer:
    """The run before its first update: every weight and bias is zero."""
    X, y = data.digits()
    rows, held = data.split(len(X), HELD_OUT, seed)
    layers = nn.Linear(X.shape[1], HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 10)
    net = nn.Network(*layers, input_shape=(X.shape[1],), seed=seed, init="zeros")
    land = NetworkLandscape(net, nn.CrossEntropy(), X[rows], y[rows])
    return Trainer(land, optim.Adam(lr=RATE), BATCH, seed, validation=(X[held], y[held]))


def tell(seed: int, progress: Progress) -> Story:
    """Train until the doctor says stuck, escape, train on, and let a copy go on without the escape."""
    began = time.perf_counter()
    trainer = start(seed)
    found = train_until_stuck(trainer, progress)
    stuck_at, stuck_accuracy = trainer.t, held_out_accuracy(trainer)
    stays, way_out = trainer.fork(), None
    if found.point is not None and found.point.direction is not None:
        way_out = escape(trainer.land, found.theta, found.point)
        trainer.move_to(way_out.theta, "escape", str(way_out))
    for epoch in range(AFTERWARDS):
        trainer.fit(epochs=1)
        progress(epoch + 1, AFTERWARDS, f"training on, {held_out_accuracy(trainer):.1%} of the held-out images right")
    stays.fit(epochs=AFTERWARDS)
    control = trainer.land.loss(stays.theta)
    ending = diagnose(trainer)
    seconds = time.perf_counter() - began
    return Story(trainer, found, way_out, stuck_at, stuck_accuracy, control, ending, seconds)


def train_until_stuck(trainer: Trainer, progress: Progress) -> Diagnosis:
    """Train and ask the doctor every ten epochs, at most six times; the first answer that is not "healthy"."""
    for look in range(LOOKS):
        trainer.fit(epochs=PATIENCE)
        progress(look + 1, LOOKS, f"loss {trainer.history['loss'][-1]:.4g}: does it still fall?")
        found = diagnose(trainer)
        if not found.healthy:
            break
    return found


def held_out_accuracy(trainer: Trainer) -> float:
    """The fraction of held-out images that are right."""
    return 0.0 if trainer.validation is None else accuracy(trainer.validation.land, trainer.theta)


def numbers(story: Story) -> dict[str, Any]:
    """The outcome."""
    point, way_out, geometry = story.found.point, story.way_out, story.found.measured.geometry
    final = story.run.land.loss(story.run.theta)
    return {
        "escaped": way_out is not None and way_out.succeeded and final < way_out.loss_before,
        "cause": story.found.cause.name,
        "confidence": story.found.causes[0][1],
        "stuck_updates": story.stuck_at,
        "stuck_loss": story.found.measured.level.loss,
        "stuck_accuracy": story.stuck_accuracy,
        "saddle_distance": None if geometry is None else geometry.distance,
        "gradient_norm": None if point is None else point.gradient_norm,
        "lambda_min": None if point is None else [point.lambda_min.lower, point.lambda_min.upper],
        "lambda_max": None if point is None else [point.lambda_max.lower, point.lambda_max.upper],
        "certificate": None if point is None else point.certificate,
        "escape_step": None if way_out is None else way_out.step,
        "escape_loss": None if way_out is None else way_out.loss_after,
        "updates": story.run.t,
        "loss": final,
        "accuracy": held_out_accuracy(story.run),
        "control_loss": story.control,
        "ending": story.ending.cause.name,
        "seconds": story.seconds,
    }


def words(story: Story) -> str:
    """The story in one sentence."""
    n, point = numbers(story), story.found.point
    stood, stayed = apart(n["stuck_loss"], n["control_loss"])
    if point is None or story.way_out is None or story.found.cause is not Cause.STRICT_SADDLE:
        return f"The run was not stuck at a saddle: {story.found}"
    ending = (
        f"one step of length {number(n['escape_step'], 3)} along it and {AFTERWARDS} epochs more brought the loss to "
        f"{number(n['loss'], 3)} and {n['accuracy']:.1%} of the held-out images, while a copy without the step "
        f"stayed at {stayed}"
        if n["escaped"]
        else f"a step along it did not help: the loss is {number(n['loss'])} after {AFTERWARDS} epochs more"
    )
    place = f"hovered within {number(n['saddle_distance'], 2)} of" if n["saddle_distance"] else "sat on"
    return (
        f"After {n['stuck_updates']} updates the loss stood still at {stood} with "
        f"{n['stuck_accuracy']:.1%} of the held-out images right, because the run {place} a strict saddle: gradient "
        f"norm {number(point.gradient_norm, 2)} there, curvature {number(point.lambda_min.upper)} along a verified "
        f"direction; {ending}."
    )


def facts(story: Story) -> list[Fact]:
    """What the doctor saw, the way out, and how it ended."""
    n, found = numbers(story), story.found
    held = 0 if story.run.validation is None else story.run.validation.land.samples
    right = f"{n['accuracy']:.1%} of {held} images that it was never trained on are right; {story.stuck_accuracy:.1%} "
    stood, stayed = apart(n["stuck_loss"], n["control_loss"])
    text = f"A copy that was trained on without the escape, just as long, went from {stood} to {stayed}."
    way_out = story.way_out
    return [
        Fact("diagnosis", found.cause.name, "bad" if not found.healthy else "good", str(found)),
        *([] if way_out is None else [_escaped(way_out)]),
        Fact("in the end", f"{n['accuracy']:.1%}", "good", f"{right}were when it was stuck. {story.ending}"),
        Fact("without the escape", f"loss {stayed}", "warn", text),
        *(replace(fact, status="info") for fact in found.evidence),
    ]


def _escaped(way_out: Escape) -> Fact:
    return Fact("escape", f"step {number(way_out.step, 3)}", "good" if way_out.succeeded else "bad", str(way_out))


def figures(story: Story) -> list[Chart]:
    """The loss with the moment of the escape, both ends of the spectrum, and the loss along the direction."""
    history, point = story.run.history, story.found.point
    events = [(event["step"], event["kind"]) for event in history.events]
    held = history["validation_step"], history["validation_loss"]
    caption = "The dashed line is the moment of the escape." if events else "No escape was called for."
    steps, losses = history["step"], history["loss"]
    drawn = [charts.loss_curve(steps, losses, events, validation=held, caption=caption)]
    if point is None:
        return drawn
    drawn += [figure for figure in story.found.figures() if figure.title != drawn[0].title]
    if story.way_out is not None and point.direction is not None:
        drawn.append(along(story.run.land, story.found.theta, point.direction, story.way_out))
    return drawn


def along(land: Any, theta: Array, v: Array, way_out: Escape) -> Chart:
    """The loss on the line θ + t·v beside its quadratic model L + t·vᵀ∇L + ½t²·vᵀHv."""
    taken = float((way_out.theta.astype(np.float64) - theta) @ v)
    t = np.linspace(-1.6, 1.6, 61) * abs(taken or 1.0)
    line = np.array([land.loss(np.asarray(theta + s * v, dtype=theta.dtype)) for s in t])
    slope = np.sign(taken) * way_out.slope
    model = way_out.loss_before + t * slope + 0.5 * t**2 * way_out.curvature
    return charts.along_direction(
        t, line, model, taken, caption="The model is what the gradient and the curvature at the saddle promise."
    )
