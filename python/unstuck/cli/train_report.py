"""The report of `unstuck train`: how well it predicts, where it ended up, the curves that show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, _core
from ..number_text import number
from ..plain_text import plain
from ..report import Chart, Fact, Report, build, charts
from ..report.facts import Status

if TYPE_CHECKING:
    from ..critical import CriticalPoint
    from ..doctor import Diagnosis
    from ..train import Trainer
    from .train import Prepared, Settings

Array = NDArray[Any]

PARTED = 0.3  # the model is off by this share of its own change at the chart's edge
REACH = 1.0  # half the chart's width at most, in units of max(1, ‖θ‖)


def finished(
    settings: Settings, prepared: Prepared, trainer: Trainer, point: CriticalPoint, diagnosis: Diagnosis
) -> Report:
    """The report of a training that ran to its end; its status is "bad" where the diagnosis names what holds it up."""
    stuck = not diagnosis.healthy and diagnosis.cause.name != "UNDECIDED"
    quality = measure(prepared, trainer)
    loss = trainer.land.loss(trainer.theta)
    ending = str(point)
    quality_text = f"{quality.value} {quality.label} after {settings.epochs} epochs (training loss {number(loss)})"
    sentence = f"{quality_text}. {diagnosis if stuck else ending}"
    remedies = diagnosis.shown_remedies
    if diagnosis.cause.name == "HEALTHY":
        remedies.append(Fact("Train on", "more epochs", "info", "The loss is still falling."))
    return build(
        f"{plain(prepared.table.target, 60)}: {quality.value} {quality.label}",
        sentence,
        [_task(prepared), quality, _why(diagnosis, stuck), *_shape(point)],
        [*(diagnosis.figures()[:1] if stuck else []), *_figures(trainer, point)],
        {
            "verdict": point.verdict,
            "cause": diagnosis.cause.name,
            "loss": loss,
            "certificate": point.certificate,
            "history": _history(trainer),
        },
        remedies=remedies,
        details=_details(settings, prepared, trainer),
        answers=diagnosis.answers if stuck else (),
        status="bad" if stuck else "good" if point.verdict.name == "LOCAL_MINIMUM" else "info",
    )


def _why(diagnosis: Diagnosis, stuck: bool) -> Fact:
    status: Status = "bad" if stuck else "good" if diagnosis.healthy else "info"
    return Fact("why it is not lower", diagnosis.cause.name, status, str(diagnosis))


def failed(settings: Settings, prepared: Prepared, trainer: Trainer, message: str) -> Report:
    """The report of a training that met a loss or gradient that is not finite."""
    done = trainer.t
    remedy = Fact(
        "Lower the learning rate",
        f"--lr {float(trainer.opt.rate(0)) / 10:.3g}",
        "warn",
        "A loss that is not finite after finite data mostly means that the steps are too long.",
    )
    return build(
        f"{plain(prepared.table.target, 60)}: not finite",
        f"Training stopped after {done} updates: {message}",
        [_task(prepared), Fact("outcome", "not finite", "bad", message)],
        [charts.loss_curve(trainer.history["step"], trainer.history["loss"])] if done else [],
        {"verdict": "NON_FINITE", "history": _history(trainer)},
        remedies=[remedy],
        details=_details(settings, prepared, trainer),
        status="bad",
    )


def measure(prepared: Prepared, trainer: Trainer) -> Fact:
    """How well the network predicts: accuracy or root mean square error, on held-out rows if there are any."""
    held = len(prepared.held_y) > 0
    X, y = (prepared.held_X, prepared.held_y) if held else (prepared.X, prepared.y)
    outputs = np.asarray(trainer.land.net.predict(X, theta=trainer.theta), dtype=np.float64)  # type: ignore[attr-defined]
    where = f"on {len(y):,} held-out rows" if held else "on the training rows"
    if prepared.table.task == "classification":
        right = outputs.argmax(axis=1) == y
        share = float(right.mean())
        base = float(np.bincount(y).max() / len(y))
        sentence = f"{int(right.sum()):,} of {len(y):,} are right; always guessing the commonest class gets {base:.1%}."
        data: dict[str, Any] = {"accuracy": share, "baseline": base, "rows": len(y)}
        return Fact(f"accuracy {where}", f"{share:.1%}", _better(share, base), sentence, data)
    error = prepared.unit * float(np.sqrt(np.mean((outputs[:, 0] - y) ** 2)))
    base = prepared.unit * float(np.std(y))
    sentence = f"Always predicting their mean has an error of {number(base)}."
    data = {"rmse": error, "baseline": base, "rows": len(y)}
    return Fact(f"root mean square error {where}", number(error), _better(-error, -base), sentence, data)


def _better(value: float, base: float) -> Status:
    return "good" if value > base else "warn"


def _task(prepared: Prepared) -> Fact:
    table = prepared.table
    rows = f"{len(prepared.X):,} + {len(prepared.held_y):,} rows"
    data = {"task": table.task, "rows": len(prepared.X), "held": len(prepared.held_y), "classes": len(table.classes)}
    return Fact("task", f"{table.task}, {len(table.features):,} features, {rows}", "info", table.reason, data)


def _figures(trainer: Trainer, point: CriticalPoint) -> list[Chart]:
    history = trainer.history
    held = None
    if len(history["validation_step"]):
        held = (history["validation_step"], history["validation_loss"])
    figures = [
        charts.loss_curve(
            history["step"],
            history["loss"],
            validation=held,
            caption="Loss of each batch (faint) with its running median.",
        )
    ]
    low, high = point.lambda_min, point.lambda_max
    ends = (low.lower, low.upper), (high.lower, high.upper)
    figures.append(charts.spectrum_ends(*ends, point.tolerance, caption="At the end of the training."))
    if point.direction is not None:
        figures.append(_along(trainer, point))
    figures.append(charts.gradient_norm(history["step"], history["gradient_norm"]))
    return figures


def _shape(point: CriticalPoint) -> list[Fact]:
    """The facts about the point; the headline already says the verdict's whole sentence."""
    meaning = str(point.verdict.value)
    return [
        replace(fact, sentence=f"{meaning[0].upper()}{meaning[1:]}.") if fact.value == point.verdict.name else fact
        for fact in point.facts()
    ]


def _along(trainer: Trainer, point: CriticalPoint) -> Chart:
    """True loss and quadratic model along the direction of negative curvature, until they part visibly."""
    land, theta = trainer.land, np.asarray(trainer.theta, dtype=np.float64)
    direction = np.asarray(point.direction, dtype=np.float64)
    loss, gradient = land.gradient(trainer.theta)
    slope, curvature = float(direction @ gradient), point.lambda_min.upper

    def true(t: Array) -> Array:
        return np.array([land.loss((theta + s * direction).astype(land.dtype)) for s in t])

    def model(t: Array) -> Array:
        return np.asarray(loss + t * slope + 0.5 * t**2 * curvature)

    reach = parting(lambda t: true(t) - model(t), lambda t: model(t) - loss, max(1.0, float(np.linalg.norm(theta))))
    t = np.linspace(-reach, reach, 41)
    title = "The loss along the direction of the lowest curvature"
    caption = "From the end of the training, both ways, as far as the model of slope and curvature holds."
    return charts.along_direction(t, true(t), model(t), caption=caption, title=title)


def parting(gap: Callable[[Array], Array], change: Callable[[Array], Array], size: float) -> float:
    """The distance at which a model is off by a fair share of what it says, at most REACH · `size`.

    Args:
        gap: true loss − model, at distances (k,).
        change: what the model says the loss changes by.
        size: the length to measure by, max(1, ‖θ‖).
    """
    reach = 1e-4 * size
    while reach < REACH * size:
        ends = np.array([-reach, reach])
        if not np.abs(gap(ends)).max() < PARTED * np.abs(change(ends)).max():  # NaN has parted too
            break
        reach *= 1.25
    return min(reach, REACH * size)


def _missing(prepared: Prepared) -> Fact:
    """How many values were missing, and what they were taken for."""
    assert prepared.fill is not None
    absent = np.isnan(prepared.table.X)
    columns = {
        name: {"missing": int(count), "mean": float(mean)}
        for name, count, mean in zip(prepared.table.features, absent.sum(axis=0), prepared.fill, strict=True)
        if count
    }
    share = f"{100 * absent.mean():.2g} %"
    sentence = f"{int(absent.sum()):,} missing values ({share}) were given the mean of their column's training part."
    return Fact("missing values", f"{share}, in {len(columns)} of {absent.shape[1]} columns", "warn", sentence, columns)


def _details(settings: Settings, prepared: Prepared, trainer: Trainer) -> list[Fact]:
    sizes = [len(prepared.table.features), *settings.hidden, max(len(prepared.table.classes), 1)]
    network = f"{'-'.join(map(str, sizes))}, {settings.activation}, {trainer.land.n:,} parameters"
    scaled = "standardised on the training part" if settings.standardise else "as they are"
    return [
        Fact("network", network, data={"sizes": sizes, "parameters": trainer.land.n}),
        Fact("optimizer", f"{trainer.opt!r}"),
        Fact("batch size", str(settings.batch_size), data=settings.batch_size),
        Fact("updates", f"{trainer.t:,} in {trainer.epoch} epochs", data=trainer.t),
        Fact("features", scaled, data=settings.standardise),
        *([] if prepared.fill is None else [_missing(prepared)]),
        Fact("seed", str(settings.seed), data=settings.seed),
        Fact("unstuck", f"{__version__}, CPU variant {_core.level}"),
    ]


def _history(trainer: Trainer) -> dict[str, Any]:
    """At most 500 rows of the history, evenly spaced."""
    history = trainer.history
    keep = np.unique(np.linspace(0, history.updates - 1, 500).astype(int)) if history.updates else slice(0)
    curves = {name: history[name][keep] for name in ("step", "loss", "gradient_norm", "lr")}
    held = {name: history[name] for name in ("validation_step", "validation_loss", "validation_accuracy")}
    return {**curves, **held}
