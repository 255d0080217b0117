"""Remedies: what can be done about a cause, with the numbers of the run at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .causes import Cause
from .evidence import Evidence, Fork


@dataclass(frozen=True)
class Remedy:
    """One thing to do.

    Attributes:
        cause: what it is against.
        name: a few words.
        text: what to do, in one sentence with numbers.
    """

    cause: Cause
    name: str
    text: str

    def describe(self) -> str:
        """What to do, in one sentence."""
        return self.text


def remedies_for(cause: Cause, evidence: Evidence) -> list[Remedy]:
    """What to do about `cause`, the most promising first; empty when nothing needs to be done."""
    if cause is Cause.HEALTHY:
        return []
    maker = _MENU.get(cause)
    return [Remedy(cause, name, text) for name, text in maker(evidence)] if maker else []


def _saddle(e: Evidence) -> list[tuple[str, str]]:
    gain = _from(e.escape)
    leave = "e = us.escape(run.land, d.theta, d.point); run.move_to(e.theta)"
    if not e.has_run:
        leave = "us.escape(land, theta, d.point).theta"
    return [
        (
            "escape",
            f"Leave along the direction: {leave}{gain}.",
        ),
        ("break the symmetry", "Start from random weights, each unit different, instead of equal or zero ones."),
    ]


def _flat(e: Evidence) -> list[tuple[str, str]]:
    gain = _from(e.push)
    return [
        ("push off", f"Move θ by a small random perturbation and train on{gain}."),
        ("initialise again", "Start from random weights scaled for the activation instead of zeros."),
    ]


def _minimum(e: Evidence) -> list[tuple[str, str]]:
    gain = "" if e.restart is None else f"; in a fork {e.restart.change} reached {e.restart.loss:.4g}"
    return [("start again", f"Start from other weights{gain}.")]


def _too_large(e: Evidence) -> list[tuple[str, str]]:
    if e.stability is None or e.stability.curvature <= 0 or e.stability.ratio < 1.0:
        # the curvature here would bear more: what helped was measured in a fork
        helped = "" if e.smaller_lr is None else f": in a fork {e.smaller_lr.change} reached {e.smaller_lr.loss:.4g}"
        return [("lower the rate", f"Divide the learning rate by 10{helped}.")]
    bearable = e.stability.lr / max(e.stability.ratio, 1e-12)
    return [
        (
            "lower the rate",
            f"Set the learning rate below {bearable:.3g}, e.g. to {0.5 * bearable:.2g}: that is what the curvature "
            f"{e.stability.curvature:.4g} allows.",
        ),
        ("warm up", "Raise the learning rate slowly from a tenth of that, us.schedules.warmup_cosine."),
    ]


def _non_finite(e: Evidence) -> list[tuple[str, str]]:
    return [*_too_large(e), ("clip", "Bound the gradient: us.Trainer(…, clip_norm=1.0).")]


def _undecided(e: Evidence) -> list[tuple[str, str]]:
    more = ("measure more", "Train on and ask again, or allow more time: us.diagnose(run, budget=30).")
    forks = [e.smaller_lr, e.larger_lr, e.larger_batch, e.escape, e.push, e.restart]
    helped = [f for f in forks if f is not None and not f.broke and f.gain > max(3 * f.error, 0.01 * abs(f.control))]
    if not helped:
        return [more]
    best = max(helped, key=lambda fork: fork.gain)
    text = f"What helped most: {best.change} brought the loss to {best.loss:.4g} instead of {best.control:.4g}."
    return [("do what a fork did", text), more]


def _from(fork: Fork | None) -> str:
    if fork is None or fork.broke:
        return ""
    return f"; in a fork {fork.change} brought the loss to {fork.loss:.4g} instead of {fork.control:.4g}"


def _too_small(e: Evidence) -> list[tuple[str, str]]:
    if e.stability is None or e.stability.ratio <= 0:
        return [("raise the rate", f"Multiply the learning rate by 10 until the loss moves{_from(e.larger_lr)}.")]
    bears = 0.25 * e.stability.lr / e.stability.ratio
    return [
        (
            "raise the rate",
            f"Set the learning rate to {bears:.2g}, a quarter of what the curvature bears{_from(e.larger_lr)}.",
        )
    ]


def _noise(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("enlarge the batch", f"Use larger batches at the same rate{_from(e.larger_batch)}."),
        ("lower the rate", f"Let the learning rate decay, us.schedules.cosine{_from(e.smaller_lr)}."),
        ("average", "Average the weights: us.Trainer(…, ema=0.999) and run.average."),
    ]


def _conditioned(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("rates of their own", f"Use us.optim.Adam{_from(e.adaptive)}."),
        ("momentum", "Use momentum: us.optim.SGD(…, momentum=0.9)."),
        ("normalise", "Put us.nn.BatchNorm behind the linear layers."),
    ]


def _features(e: Evidence) -> list[tuple[str, str]]:
    return [
        (
            "standardise",
            f"Standardise the columns of X with us.Standardiser on the training part{_from(e.standardised)}.",
        ),
        *_conditioned(e)[:1],
    ]


def _dead(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("revive", f"Give the dead units fresh weights{_from(e.revived)}."),
        ("leak", "Use us.nn.LeakyReLU, and a smaller learning rate or a warm-up so that they do not die again."),
    ]


def _saturated(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("normalise", f"Put us.nn.BatchNorm before the activation{_from(e.normalised)}."),
        ("start again", f"Start from smaller weights{_from(e.fresh)}."),
    ]


def _vanishing(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("normalise", f"Put us.nn.BatchNorm behind the linear layers{_from(e.normalised)}."),
        ("shortcuts", "Use us.nn.ReLU instead of a saturating activation, and us.nn.Residual blocks."),
    ]


def _exploding(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("clip", f"Bound the gradient: us.Trainer(…, clip_norm=1.0){_from(e.clipped)}."),
        ("normalise", "Put us.nn.BatchNorm behind the linear layers, or start from smaller weights."),
    ]


def _start(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("start again", f'Start again with init="he_normal" (ReLU) or "xavier_normal" (tanh, sigmoid){_from(e.fresh)}.')
    ]


def _stale(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("recompute", "Compute the running statistics again over the training data."),
        ("follow faster", "Raise the momentum of BatchNorm, or average over all batches with momentum=None."),
    ]


def _sharp(e: Evidence) -> list[tuple[str, str]]:
    return [
        ("start again", f"Start again from weights of the usual size and with smaller batches{_from(e.flatter)}."),
        ("average", "Average the weights: us.Trainer(…, ema=0.999) and run.average."),
        ("penalise", "Add a penalty, us.NetworkLandscape(…, l2=1e-4) or AdamW's weight decay, or stop earlier."),
    ]


def _exhausted(e: Evidence) -> list[tuple[str, str]]:
    return [
        (
            "restore the step",
            f"Put the learning rate back up and start the accumulated squares afresh{_from(e.full_step)}.",
        ),
        ("schedule", "Let the schedule last as long as the training."),
    ]


_MENU: dict[Cause, Callable[[Evidence], list[tuple[str, str]]]] = {
    Cause.STRICT_SADDLE: _saddle,
    Cause.FLAT_SADDLE: _flat,
    Cause.LOCAL_MINIMUM: _minimum,
    Cause.STEP_TOO_LARGE: _too_large,
    Cause.STEP_TOO_SMALL: _too_small,
    Cause.NOISE_FLOOR: _noise,
    Cause.ILL_CONDITIONED: _conditioned,
    Cause.UNSCALED_FEATURES: _features,
    Cause.DEAD_UNITS: _dead,
    Cause.SATURATED_UNITS: _saturated,
    Cause.VANISHING_GRADIENT: _vanishing,
    Cause.EXPLODING_GRADIENT: _exploding,
    Cause.BAD_INITIALISATION: _start,
    Cause.STALE_STATISTICS: _stale,
    Cause.SHARP_MINIMUM: _sharp,
    Cause.EXHAUSTED_STEP: _exhausted,
    Cause.NON_FINITE: _non_finite,
    Cause.UNDECIDED: _undecided,
}
