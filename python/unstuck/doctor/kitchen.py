"""The kitchen: makes each treatment of the menu with the numbers of one diagnosis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import optim
from ..curvature.stability import stability_limit, steepest
from ..escape import escape as leave
from ..network_landscape import NetworkLandscape
from ..train import Trainer
from . import forks, treatments
from .causes import Cause
from .diagnosis import Diagnosis
from .following import FEWEST, StatisticsWatch
from .layers import examined_inputs, network_landscape
from .moving import look_at_steps
from .newton import MOST, STARTS, descend_for_all, other_start, starts_around
from .sharp import flatter_start
from .starts import scaled_theta
from .subject import Subject, distance
from .treatment import Treatment

Array = NDArray[Any]

PUSH = 0.02  # of ‖θ‖ (or of 1): a perturbation that breaks symmetry and forgets nothing


class Kitchen:
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

    def _stride_rate(self, cause: Cause, name: str, stride: float | None) -> Treatment | None:
        """The rate at which an update moves the weights by a fiftieth of a fresh network's."""
        if stride is None or not 0.0 < stride < np.inf:
            return None
        return self._rate(cause, name, treatments.STRIDE / stride)

    def _usual_rate(self, cause: Cause) -> Treatment | None:
        steps, stability = self.diagnosis.measured.steps, self.diagnosis.measured.stability
        if steps is None or not steps.moves:
            return None
        factor = treatments.STRIDE / steps.moves
        if stability is not None and stability.ratio > 0.0:
            factor = min(factor, 0.25 / stability.ratio)
        return self._rate(cause, "a rate of usual updates", factor) if factor > 2.0 else None

    def _start_gently(self, cause: Cause) -> Treatment | None:
        """Fresh weights, and the rate at which their first updates are a fiftieth of them."""
        land, steps = network_landscape(self.run.land), self.diagnosis.measured.steps
        factor = self._soft(land) if steps is None else steps.soft
        if land is None or factor is None or factor >= 0.5:
            return None
        theta = treatments.fresh_theta(land)
        text = f"fresh weights and the learning rate multiplied by {factor:.3g}"

        def act(run: Trainer) -> bool:
            forks.with_rate(run, factor)
            return _move(run, theta, text)

        return Treatment(cause, "start again, gently", text, act)

    def _soft(self, land: NetworkLandscape | None) -> float | None:
        return None if land is None else look_at_steps(self.subject, self.run).soft

    def _scaled(self, cause: Cause, adam: bool) -> Treatment | None:
        land = network_landscape(self.run.land)
        if land is None or (adam and self.run.opt.rule == "Adam"):
            return None
        theta = scaled_theta(land, examined_inputs(self.subject, land))
        if not np.isfinite(theta).all():
            return None
        # Adam's first updates are lr long in every parameter: a fiftieth of a fresh one's usual size
        usual = float(np.sqrt(np.mean(treatments.fresh_theta(land).astype(np.float64) ** 2)))
        lr = float(f"{min(max(treatments.STRIDE * usual, 1e-4), 1e-2):.1g}")
        text = "fresh weights, scaled so that every hidden unit varies by one over the data"
        text += f", and Adam with lr {lr:g}" if adam else ""

        def act(run: Trainer) -> bool:
            if adam:
                treatments.with_adam(run, lr)
            return _move(run, theta, text)

        return Treatment(cause, "start again, scaled to the data" + (", with Adam" if adam else ""), text, act)

    def _scaled_start(self, cause: Cause) -> Treatment | None:
        return self._scaled(cause, adam=False)

    def _scaled_start_adam(self, cause: Cause) -> Treatment | None:
        return self._scaled(cause, adam=True)

    def _start_and_descend(self, cause: Cause) -> Treatment | None:
        """A scaled start and descent with curvature; then the run's own optimizer, at a rate that is not too large."""
        land, steps = network_landscape(self.run.land), self.diagnosis.measured.steps
        if land is None:
            return None
        start = scaled_theta(land, examined_inputs(self.subject, land))
        loss, used, theta = descend_for_all(self.subject, start, MOST)
        if not np.isfinite(loss):
            return None
        soft = self._soft(land) if steps is None else steps.soft
        factor = soft if soft is not None and soft < 0.5 else 1.0
        text = f"fresh weights and {used} steps of L-BFGS on {self.subject.curved.samples or 'all'} samples"
        text += f", then the learning rate multiplied by {factor:.3g}" if factor < 1.0 else ""

        def act(run: Trainer) -> bool:
            if factor < 1.0:
                forks.with_rate(run, factor)
            return _move(run, theta, text)

        return Treatment(cause, "start again, with curvature", text, act)

    def _layerwise(self, cause: Cause) -> Treatment | None:
        def act(run: Trainer) -> bool:
            treatments.with_layerwise_rates(run)
            return True

        text = f"LAMB with lr {treatments.LAYER_RATE:g}, whose updates follow the size of each block"
        return None if self.run.opt.rule == "LAMB" else Treatment(cause, "rates for each layer", text, act)

    def _curvature(self, cause: Cause) -> Treatment | None:
        """Descent with curvature on the examined samples first; then the run goes on with its own optimizer."""
        loss, used, theta = descend_for_all(self.subject, self.subject.theta, MOST)
        if not loss < self.diagnosis.measured.level.loss:
            return None
        text = f"{used} steps of L-BFGS on {self.subject.curved.samples or 'all'} samples, from here"
        return Treatment(cause, "descend with curvature", text, lambda run: _move(run, theta, text))

    def _best_of_starts(self, cause: Cause) -> Treatment | None:
        starts = [other_start(self.subject, i) for i in range(STARTS)]
        if network_landscape(self.run.land) is None:
            starts += starts_around(self.subject.theta)
        _, _, theta = min((descend_for_all(self.subject, start, MOST) for start in starts), key=lambda found: found[0])
        text = f"the lowest place that L-BFGS finds from {len(starts)} fresh starts"
        return Treatment(cause, "the best of several starts", text, lambda run: _move(run, theta, text))

    def _flatter_start(self, cause: Cause) -> Treatment | None:
        land = network_landscape(self.run.land)
        if land is None:
            return None
        theta = treatments.fresh_theta(land)
        size = flatter_start(self.run.fork(), theta).sampler.batch_size
        text = f"fresh weights and batches of {size} samples"

        def act(run: Trainer) -> bool:
            run.move_to(theta, "treatment", text)
            forks.with_batch(run, size)
            return True

        return Treatment(cause, "start again, flatter", text, act)

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

    def _push_off(self, cause: Cause) -> Treatment | None:
        beyond = self.diagnosis.beyond
        if beyond is None:
            return None
        text = f"a step of length {distance(beyond, self.diagnosis.theta):.3g} to a lower loss close by"
        return Treatment(cause, "push off", text, lambda run: _move(run, beyond, text))

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
        watch = StatisticsWatch(max(FEWEST, self.run.sampler.steps_per_epoch))

        def act(run: Trainer) -> bool:
            if not watch.recompute(run):
                return False
            run.watchers.append(watch)
            return True

        text = f"running statistics of all {rows} samples, now and every {watch.every} updates"
        return Treatment(cause, "recompute the statistics", text, act)


def _with_adam(run: Trainer) -> bool:
    treatments.with_adam(run)
    return True


def _move(run: Trainer, theta: np.ndarray, text: str) -> bool:
    run.move_to(theta, "treatment", text)
    return True
