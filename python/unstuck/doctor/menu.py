"""The menu: for each cause an ordered list of treatments, small objects that change a run in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .. import optim
from ..curvature.stability import stability_limit, steepest
from ..errors import ArgumentError
from ..escape import escape as leave
from ..train import Trainer
from . import forks, treatments
from .causes import Cause
from .diagnosis import Diagnosis
from .layers import network_landscape
from .moving import recompute
from .subject import Subject

PUSH = 0.02  # of ‖θ‖ (or of 1): a perturbation that breaks symmetry and forgets nothing


@dataclass(frozen=True)
class Treatment:
    """One thing that can be done to a run.

    Attributes:
        cause: what it is against.
        name: a few words.
        text: what it does, with numbers, as a noun phrase.
    """

    cause: Cause
    name: str
    text: str
    act: Callable[[Trainer], bool]

    def describe(self) -> str:
        """What it does, in one sentence."""
        return f"{self.name}: {self.text}."

    def applies_to(self, run: Trainer) -> bool:
        """Whether it can be done to this run, tried on a fork of it."""
        return bool(self.act(run.fork()))

    def apply(self, run: Trainer) -> None:
        """Does it to the run; the history gets an event.

        Raises:
            ArgumentError: it cannot be done to this run, which is left as it was.
        """
        before = run.state()
        try:
            done = self.act(run)
        except BaseException:
            run.restore(before)
            raise
        if not done:
            run.restore(before)
            raise ArgumentError(f"`run`: the treatment {self.name!r} cannot be applied to it")
        run.failure = None
        run.history.events.append({"step": run.t, "kind": "treatment", "text": f"{self.name}: {self.text}"})


def menu(diagnosis: Diagnosis, run: Trainer) -> list[Treatment]:
    """What could be tried, the most promising first: for each cause found, then what helps without knowing why."""
    kitchen = _Kitchen(diagnosis, run)
    wanted = [cause for cause, confidence in diagnosis.causes if confidence >= 0.05 and not cause.healthy]
    chosen: dict[str, Treatment] = {}
    for cause in [*wanted, Cause.UNDECIDED]:
        for name in MENU.get(cause, ()):
            treatment = kitchen.make(name, cause)
            if treatment is not None:
                chosen.setdefault(treatment.name, treatment)
    return list(chosen.values())


MENU: dict[Cause, tuple[str, ...]] = {
    Cause.STRICT_SADDLE: ("escape", "perturb", "start_again"),
    Cause.FLAT_SADDLE: ("perturb", "start_again"),
    Cause.LOCAL_MINIMUM: ("start_again",),
    Cause.STEP_TOO_LARGE: ("bearable_rate", "lower_rate", "warm_up"),
    Cause.STEP_TOO_SMALL: ("bearable_rate", "raise_rate"),
    Cause.ILL_CONDITIONED: ("adam", "momentum"),
    Cause.UNSCALED_FEATURES: ("adam", "bearable_rate"),
    Cause.NOISE_FLOOR: ("lower_rate", "larger_batch"),
    Cause.VANISHING_GRADIENT: ("adam", "start_again"),
    Cause.EXPLODING_GRADIENT: ("clip", "lower_rate"),
    Cause.DEAD_UNITS: ("revive", "start_again"),
    Cause.SATURATED_UNITS: ("start_again", "adam"),
    Cause.BAD_INITIALISATION: ("start_again", "perturb"),
    Cause.STALE_STATISTICS: ("recompute",),
    Cause.EXHAUSTED_STEP: ("full_step", "adam"),
    Cause.NON_FINITE: ("start_again_slower", "bearable_rate", "clip", "lower_rate"),
    Cause.UNDECIDED: ("lower_rate", "raise_rate", "adam", "perturb"),
}


class _Kitchen:
    """Makes treatments with the numbers of one diagnosis."""

    def __init__(self, diagnosis: Diagnosis, run: Trainer) -> None:
        self.diagnosis, self.run = diagnosis, run
        self.subject = Subject(run.land, run.theta, run, 1.0)
        self.lr = float(run.opt.rate(run.t))

    def make(self, name: str, cause: Cause) -> Treatment | None:
        """The treatment of that name; None where it makes no sense here."""
        made: Treatment | None = getattr(self, f"_{name}")(cause)
        return made

    def _rate(self, cause: Cause, name: str, factor: float) -> Treatment:
        def act(run: Trainer) -> bool:
            forks.with_rate(run, factor)
            return True

        return Treatment(cause, name, f"the learning rate multiplied by {factor:.3g}", act)

    def _lower_rate(self, cause: Cause) -> Treatment:
        return self._rate(cause, "lower the rate", 0.1)

    def _raise_rate(self, cause: Cause) -> Treatment:
        return self._rate(cause, "raise the rate", 10.0)

    def _bearable_rate(self, cause: Cause) -> Treatment | None:
        stability = self.diagnosis.measured.stability
        if stability is None or not 0.0 < stability.ratio < np.inf:
            return None
        return self._rate(cause, "the rate that the curvature bears", 0.5 / stability.ratio)

    def _warm_up(self, cause: Cause) -> Treatment:
        start, base = self.run.t, self.run.opt.lr

        def rate(t: int) -> float:
            full = float(base(t)) if callable(base) else float(base)
            return full * min(1.0, 0.01 + 0.99 * (t - start) / 500.0) * 0.3

        def act(run: Trainer) -> bool:
            run.opt.lr = rate
            return True

        return Treatment(cause, "warm up", "a rate that rises over 500 updates to a third of what it was", act)

    def _adam(self, cause: Cause) -> Treatment | None:
        if self.run.opt.rule == "Adam":
            return None
        return Treatment(cause, "Adam", f"Adam with lr {treatments.ADAM_RATE:g}", _with_adam)

    def _momentum(self, cause: Cause) -> Treatment | None:
        hyper = self.run.opt.hyper
        if self.run.opt.rule != "SGD" or hyper.get("momentum", 0.0):
            return None
        lr = self.run.opt.lr

        def act(run: Trainer) -> bool:
            run.opt = optim.SGD(lr=lr, momentum=0.95, weight_decay=hyper.get("weight_decay", 0.0))
            return True

        return Treatment(cause, "momentum", "momentum 0.95", act)

    def _larger_batch(self, cause: Cause) -> Treatment | None:
        samples = self.run.sampler.samples
        if samples is None or self.run.sampler.full:
            return None
        size = min(8 * self.run.batch_size, samples)

        def act(run: Trainer) -> bool:
            forks.with_batch(run, size)
            return True

        return Treatment(cause, "larger batches", f"batches of {size} instead of {self.run.batch_size} samples", act)

    def _clip(self, cause: Cause) -> Treatment:
        norms = self.run.history["gradient_norm"]
        finite = norms[np.isfinite(norms)]
        norm = float(np.quantile(finite, 0.25)) if finite.size else 1.0

        def act(run: Trainer) -> bool:
            run.clip_norm = max(norm, 1e-12)
            return True

        return Treatment(cause, "clip", f"gradients clipped to norm {norm:.3g}", act)

    def _full_step(self, cause: Cause) -> Treatment | None:
        steps = self.diagnosis.measured.steps
        if steps is None or steps.peak <= 0.0:
            return None

        def act(run: Trainer) -> bool:
            treatments.with_full_step(run, steps.peak)
            return True

        return Treatment(cause, "the full step again", f"lr {steps.peak:.3g} and accumulated squares from zero", act)

    def _escape(self, cause: Cause) -> Treatment | None:
        point = self.diagnosis.point
        if point is None or point.direction is None:
            return None
        step = leave(self.subject.curved, self.diagnosis.theta, point)
        if not step.succeeded:
            return None
        text = f"a step of length {step.step:.3g} along the certified direction"
        return Treatment(cause, "escape", text, lambda run: _move(run, step.theta, text))

    def _perturb(self, cause: Cause) -> Treatment:
        theta = self.run.theta.astype(np.float64)
        noise = np.random.default_rng(0).standard_normal(theta.size)
        size = PUSH * max(1.0, float(np.linalg.norm(theta)))
        moved = (theta + size * noise / np.linalg.norm(noise)).astype(self.run.theta.dtype)
        text = f"a random push of length {size:.3g}"
        return Treatment(cause, "push", text, lambda run: _move(run, moved, text))

    def _revive(self, cause: Cause) -> Treatment | None:
        theta = treatments.revived(self.subject)
        if theta is None:
            return None
        text = "fresh weights for the dead units"
        return Treatment(cause, "revive", text, lambda run: _move(run, theta, text))

    def _start_again(self, cause: Cause) -> Treatment | None:
        land = network_landscape(self.run.land)
        if land is None:
            return None
        theta = treatments.fresh_theta(land)
        text = "fresh weights within ±1/√inputs"
        return Treatment(cause, "start again", text, lambda run: _move(run, theta, text))

    def _start_again_slower(self, cause: Cause) -> Treatment | None:
        """Fresh weights, and the rate that the curvature bears there: for a run that has overflowed."""
        land = network_landscape(self.run.land)
        if land is None:
            return None
        theta = treatments.fresh_theta(land)
        limit = stability_limit(self.run.opt, self.lr)
        curvature = steepest(self.subject.curved.hessian(theta))
        factor = 0.1
        if self.run.opt.rule == "SGD" and limit is not None and curvature > 0.0:
            factor = min(0.1, 0.25 * limit.threshold / curvature)
        text = f"fresh weights and the learning rate multiplied by {factor:.3g}"

        def act(run: Trainer) -> bool:
            forks.with_rate(run, factor)
            return _move(run, theta, text)

        return Treatment(cause, "start again, slower", text, act)

    def _recompute(self, cause: Cause) -> Treatment | None:
        land = network_landscape(self.run.land)
        if land is None or not land.net.buffer_blocks:
            return None
        rows = land.X.shape[0]

        def act(run: Trainer) -> bool:
            own = network_landscape(getattr(run.land, "_land", run.land))
            if own is not None:
                recompute(own, run.theta, np.arange(rows))
            return own is not None

        return Treatment(cause, "recompute the statistics", f"running statistics of all {rows} samples", act)


def _with_adam(run: Trainer) -> bool:
    treatments.with_adam(run)
    return True


def _move(run: Trainer, theta: np.ndarray, text: str) -> bool:
    run.move_to(theta, "treatment", text)
    return True
