"""Stuck is not critical: three losses that stand still, and only one of them where the gradient is zero.

The same digits, three runs. One takes steps that are too long for the steepest direction and bounces between the walls
of the valley; one takes short steps on small batches, whose noise undoes what the gradient gains; one sits on a saddle.
From the loss alone they look alike. Four measurements tell them apart: the gradient of all data and the certified
verdict on the point; and copies of the run that are trained on beside an unchanged one, with a tenth of the rate, with
all data in every batch, and from beyond the saddle. What a smaller rate mends and more data do not, walls hold up; what
more data mend as well, noise does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..number_text import number
from ..settings import setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..network_landscape import NetworkLandscape
    from ..train import Trainer

Array = NDArray[np.float64]
TITLE = "The loss stands still while the gradient does not: walls, noise, or a critical point"
LECTURE = ("C1",)
WALLS, NOISE, CRITICAL = "walls of a valley", "noise floor", "critical point"
KINDS = (WALLS, NOISE, CRITICAL)
COPIES = {  # name -> (colour, stroke)
    "unchanged": ("#667085", "-"),
    "a tenth of the rate": ("#2563eb", "--"),
    "all data": ("#c2410c", "-."),
    "beyond the saddle": ("#15803d", ":"),
}
LOOKS = 24
STILL = 0.05  # of the loss: by how much it may move within the last two thirds
MENDED = 0.05  # of the loss: a gain that counts
AS_WELL = 0.5  # of the smaller rate's gain


@dataclass(frozen=True)
class Settings:
    """Settings of the lab."""

    samples: int = setting("digits to train on", 600, least=50, most=1300)
    hidden: int = setting("tanh units of the network that starts on a saddle", 16, least=1, most=500)
    steep: float = setting("rate of the bouncing run, in units of 2/λ_max at its start", 6.0, least=0.01, most=1e4)
    gentle: float = setting("rate of the noisy run, in the same units", 0.5, least=1e-4, most=1e4)
    batch: int = setting("samples per update of the noisy run", 8, least=1, most=1300)
    updates: int = setting("updates before the loss is judged", 900, least=30, most=100_000)
    further: int = setting("updates of every copy", 480, least=LOOKS, most=100_000)
    penalty: float = setting("λ of ½λ‖θ‖²", 1e-2, least=0.0, most=10.0)
    seed: int = setting("of the split and the batches", 0, least=0, most=2**31)


def compute(settings: Settings) -> dict[str, Any]:
    """All three runs: their course, what is measured where they stand, and their copies."""
    return {"settings": vars(settings), "runs": {kind: _examine(start(kind, settings), settings) for kind in KINDS}}


def start(kind: str, settings: Settings) -> Trainer:
    """The run of that kind, before its first update."""
    from .. import nn, optim
    from ..curvature import eigenpairs
    from ..network_landscape import NetworkLandscape
    from ..train import Trainer
    from .digit_training import digits_in_two

    data, width = digits_in_two(settings.seed), settings.hidden
    layers = [nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10)] if kind == CRITICAL else [nn.Linear(64, 10)]
    net = nn.Network(*layers, input_shape=(64,), seed=settings.seed, init="zeros" if kind == CRITICAL else "torch")
    X, y = data.X[: settings.samples], data.y[: settings.samples]
    land = NetworkLandscape(net, nn.CrossEntropy(), X, y, l2=settings.penalty)
    if kind == CRITICAL:
        return Trainer(land, optim.SGD(lr=0.5), batch_size=len(X), seed=settings.seed)
    highest = float(eigenpairs(land.hessian(land.theta), k=1, which="largest", seed=0).values[0])
    rate = 2.0 / highest * (settings.steep if kind == WALLS else settings.gentle)
    batch = len(X) if kind == WALLS else min(settings.batch, len(X))
    return Trainer(land, optim.SGD(lr=rate), batch_size=batch, seed=settings.seed)


def _examine(run: Trainer, settings: Settings) -> dict[str, Any]:
    """Train, measure where it stands, and train the copies on."""
    from ..critical import classify
    from ..escape import escape

    run.fit(steps=settings.updates)
    land: NetworkLandscape = run.land  # type: ignore[assignment]
    point = classify(land, run.theta)
    step = escape(land, run.theta, point) if point.direction is not None else None
    loss, gradient = land.gradient(run.theta)
    courses = {name: _course(copy, settings) for name, copy in _copies(run, step).items()}
    return {
        "steps": run.history["step"],
        "losses": run.history["loss"],
        "norms": run.history["gradient_norm"],
        "lr": float(run.opt.rate(run.t)),
        "loss": loss,
        "gradient": float(np.linalg.norm(gradient.astype(np.float64))),
        "edge": point.norm * float(run.opt.rate(run.t)) / 2.0,
        "verdict": point.verdict.name,
        "lowest": point.lambda_min.upper,
        "copies": courses,
    }


def _copies(run: Trainer, step: Any) -> dict[str, Trainer]:
    """Copies of the run with one thing changed each."""
    from ..doctor.forks import with_batch, with_rate

    copies = {
        "unchanged": run.fork(),
        "a tenth of the rate": with_rate(run.fork(), 0.1),
        "all data": with_batch(run.fork(), run.land.samples or 1),
    }
    if step is not None and step.succeeded:
        beyond = run.fork()
        beyond.move_to(step.theta)
        copies["beyond the saddle"] = beyond
    return copies


def _course(copy: Trainer, settings: Settings) -> Array:
    """The loss on all data at equally spaced looks; infinite from where it is no longer finite."""
    from ..errors import NonFiniteError

    losses = [copy.land.loss(copy.theta)]
    for _ in range(LOOKS):
        try:
            copy.fit(steps=settings.further // LOOKS)
        except NonFiniteError:
            break
        losses.append(copy.land.loss(copy.theta))
    return np.array(losses + [np.inf] * (LOOKS + 1 - len(losses)))


def settled(course: Array) -> float:
    """Mean over the later half."""
    return float(np.mean(course[1 + LOOKS // 2 :]))


def movement(losses: Array) -> float:
    """By which share of itself the mean loss changes from the middle third to the last."""
    third = max(1, len(losses) // 3)
    last, middle = float(np.mean(losses[-third:])), float(np.mean(losses[-2 * third : -third]))
    return abs(last - middle) / max(abs(last), 1e-300)


def told(row: dict[str, Any]) -> str:
    """What holds this run up, from the measurements alone."""
    if row["verdict"] in ("STRICT_SADDLE", "LOCAL_MINIMUM", "LOCAL_MAXIMUM", "DEGENERATE"):
        return CRITICAL
    unchanged = settled(row["copies"]["unchanged"])
    smaller, data = (unchanged - settled(row["copies"][name]) for name in ("a tenth of the rate", "all data"))
    if not smaller > MENDED * abs(unchanged):
        return "undecided"
    return NOISE if data > AS_WELL * smaller else WALLS


def claim(results: dict[str, Any]) -> tuple[bool, str]:
    """All three stand still, only the third without a gradient, and each is told for what it is."""
    rows = results["runs"]
    still = {kind: movement(np.asarray(row["losses"])) for kind, row in rows.items()}
    large = min(_late_norm(rows[kind]) for kind in (WALLS, NOISE))
    small = _late_norm(rows[CRITICAL])
    answers = {kind: told(row) for kind, row in rows.items()}
    right = all(answer == kind for kind, answer in answers.items())
    parts = [
        f"{kind}: loss {row['loss']:.3g}, moving by {still[kind]:.1%}, gradient of a batch {_late_norm(row):.2g}, "
        f"λ·η/2 = {row['edge']:.2g}, told as {answers[kind]} ({_reached(row)})"
        for kind, row in rows.items()
    ]
    ratio = "without limit" if small == 0 else f"{large / small:.2g} times"
    sentence = (
        f"Three losses stand still; the gradients of two of them are larger than the third's by {ratio}. "
        + ". ".join(part[0].upper() + part[1:] for part in parts)
        + "."
    )
    return bool(right and max(still.values()) < STILL and large > 100.0 * small and np.isfinite(large)), sentence


def _late_norm(row: dict[str, Any]) -> float:
    """Median gradient norm of the last third of the batches."""
    return float(np.median(row["norms"][-max(1, len(row["norms"]) // 3) :]))


def _reached(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {settled(course):.3g}" for name, course in row["copies"].items())


def figure(results: dict[str, Any]) -> Figure:
    """Above, each run's loss and that of its copies; below, the size of the gradient."""
    from matplotlib.figure import Figure

    canvas = Figure(figsize=(15, 7.2), layout="constrained")
    axes = canvas.subplots(2, len(KINDS), sharex="col")
    for i, (kind, row) in enumerate(results["runs"].items()):
        _losses(axes[0, i], kind, row, results["settings"]["further"])
        _norms(axes[1, i], row)
    axes[0, 0].set_ylabel("loss")
    axes[1, 0].set_ylabel("gradient norm")
    shown = [panel.get_legend_handles_labels() for panel in axes[:, -1]]
    handles, labels = shown[0][0] + shown[1][0], shown[0][1] + shown[1][1]
    canvas.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return canvas


def _losses(axes: Axes, kind: str, row: dict[str, Any], further: int) -> None:
    steps, losses = np.asarray(row["steps"]), np.asarray(row["losses"])
    width = max(1, len(losses) // 60)
    smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
    axes.plot(steps, losses, color="#98a2b3", lw=0.6, alpha=0.5)
    axes.plot(steps[width - 1 :], smooth, color="#1b2330", lw=1.8, label="the run")
    at = steps[-1] + np.arange(LOOKS + 1) * (further // LOOKS)
    for name, course in row["copies"].items():
        colour, stroke = COPIES[name]
        axes.plot(at, course, color=colour, ls=stroke, lw=2.2, label=name)
    axes.axvline(steps[-1], color="#667085", lw=1, ls=":")
    shown = np.concatenate([losses[len(losses) // 10 :], *row["copies"].values()])
    shown = shown[np.isfinite(shown)]
    low, high = float(shown.min()), float(np.quantile(shown, 0.98))
    axes.set_ylim(low - 0.1 * (high - low), high + 0.15 * (high - low) + 1e-9)
    axes.set_title(f"{kind[0].upper()}{kind[1:]}: told as {told(row)}")


def _norms(axes: Axes, row: dict[str, Any]) -> None:
    steps = np.asarray(row["steps"])
    axes.semilogy(steps, np.maximum(row["norms"], 1e-16), color="#2563eb", lw=0.8, label="gradient of the batch")
    late = steps[-1] + np.array([0.0, 0.35]) * len(steps)
    axes.plot(
        late,
        [max(row["gradient"], 1e-16)] * 2,
        color="#be123c",
        ls="--",
        lw=2,
        label="gradient of all data, at the end",
    )
    text = f"{row['verdict']}, λ·η/2 = {row['edge']:.2g}, lowest curvature {number(row['lowest'], 2)}"
    axes.set_title(text, fontsize=9.5, color="#667085")
    axes.set_xlabel("update")
