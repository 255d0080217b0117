"""Probes: how much the optimizer still moves, what evaluation sees, and what new data say."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn
from ..errors import NonFiniteError
from ..network_landscape import NetworkLandscape
from ..train import Trainer, gradient_norm
from .forks import moved, with_batch, with_rate
from .layers import network_landscape
from .subject import Subject
from .symptoms import Generalisation, Statistics, StepSize
from .treatments import STRIDE, fresh_theta

Array = NDArray[Any]


LITTLE = 0.05  # of the largest rate
LARGE_BATCH = 512
LEAST_FACTOR = 1e-8
UPDATES = 12  # whose lengths are measured: momentum of 0.9 has built up by then


def look_at_steps(subject: Subject, run: Trainer) -> StepSize:
    """The learning rate against the largest so far, what accumulated squares leave of it, and how far updates go.

    Cost: two gradients and 24 updates.
    """
    lr = float(run.opt.rate(run.t))
    rates = run.history["lr"]
    peak = max(lr, float(rates.max(initial=0.0)))
    shrunk = 1.0
    if run.opt.rule == "Adagrad" and run.opt.t > 0:
        root = np.sqrt(np.asarray(run.opt.value("square_sum"), dtype=np.float64))
        if run.opt.hyper.get("form", 0.0):
            root /= np.sqrt(run.opt.t)
        _, gradient = subject.curved.gradient(subject.theta)
        moving = root > 0.0
        if moving.any():
            ratio = np.abs(gradient[moving].astype(np.float64)) / root[moving]
            shrunk = float(min(1.0, np.sqrt(np.mean(ratio**2))))
    idle = float(np.mean(rates < LITTLE * peak)) if len(rates) else 0.0
    # accumulated squares shrink from the first update on
    return StepSize(lr, peak, shrunk, idle if shrunk >= LITTLE else 1.0, *_strides(subject, run))


def _strides(subject: Subject, run: Trainer) -> tuple[float | None, float | None, float | None, float | None]:
    """Longest of the next updates, from here and from a fresh start, in units of a fresh start's length; the onset.

    Last, the factor on the rate that makes those from a fresh start a fiftieth of it, at most 1.
    """
    land = network_landscape(subject.land)
    if land is None:
        return None, None, None, None
    fresh = fresh_theta(land)
    unit = max(float(np.linalg.norm(fresh.astype(np.float64))), 1e-300)
    moves = _stride(subject, subject.fork(run)) / unit
    many = max(run.sampler.batch_size, min(run.sampler.samples or 1, LARGE_BATCH))

    def jump(factor: float) -> float:
        return _stride(subject, with_rate(with_batch(moved(subject.fork(run), fresh), many), factor)) / unit

    jumps = jump(1.0)
    soft = _softened(jump, jumps)
    norms = run.history["gradient_norm"]
    usual = gradient_norm(run.land.gradient(fresh, run.sampler.upcoming(1))[1])
    onset = float(norms[0]) / usual if len(norms) and usual > 0.0 else None
    return moves, jumps, onset, soft


def _softened(jump: Callable[[float], float], jumps: float) -> float:
    """The factor at which first updates are `STRIDE` long; where they overflow, from the first tenth that does not."""
    factor = 1.0
    while not math.isfinite(jumps) and factor > LEAST_FACTOR:
        factor *= 0.1
        jumps = jump(factor)
    return factor * min(1.0, STRIDE / max(jumps, 1e-300)) if math.isfinite(jumps) else factor


def _stride(subject: Subject, fork: Trainer) -> float:
    lengths = []
    for _ in range(UPDATES):
        before = fork.theta.astype(np.float64)
        try:
            fork.fit(steps=1)
        except NonFiniteError:
            return math.inf
        subject.tally.update(fork.sampler.batch_size, 1)
        lengths.append(float(np.linalg.norm(fork.theta - before)))
    return max(lengths)


def look_at_statistics(subject: Subject) -> Statistics | None:
    """The loss in train and in eval mode, and with statistics of the data. None without running statistics."""
    land = network_landscape(subject.land)
    if land is None or not any(".running_" in name for name, _, _ in land.net.buffer_blocks):
        return None
    chosen = subject.curved.sample
    batch = np.arange(land.X.shape[0]) if chosen is None else chosen
    if len(batch) < 2:
        return None
    training, evaluation = (_in_mode(land, mode) for mode in ("train", "eval"))
    fresh = _in_mode(land, "eval").detached()
    recompute(fresh, subject.theta, batch)
    losses = [float(view.loss(subject.theta, batch)) for view in (training, evaluation, fresh)]
    return Statistics(*losses)


def _in_mode(land: NetworkLandscape, mode: Any) -> NetworkLandscape:
    view = copy.copy(land)
    view.mode = mode
    return view


def recompute(land: NetworkLandscape, theta: Array, batch: Array) -> None:
    """Sets the landscape's running statistics to those of the samples `batch` taken as one batch."""
    X = land.X[batch].reshape(-1, *land.net.input_shape)
    nn.recompute_statistics(land.net, X, theta=theta, buffers=land.buffers)


def look_at_validation(subject: Subject, run: Trainer) -> Generalisation | None:
    """The loss on new data beside that on the training data. None without validation data."""
    if run.validation is None:
        return None
    loss, accuracy = run.validation(subject.theta)
    past = run.history["validation_loss"]
    best = float(min(loss, past.min(initial=np.inf)))
    return Generalisation(float(subject.objective.loss(subject.theta)), float(loss), best, accuracy)
