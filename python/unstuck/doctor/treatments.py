"""Treatments: changes of a run that a fork can try; each takes a fork and gives back the one to train."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import nn, optim
from ..curvature.stability import steepest
from ..network_landscape import NetworkLandscape
from ..train import Trainer, gradient_norm
from .data import standardised
from .forks import moved
from .layers import examined_inputs, network_landscape
from .objective import Objective
from .subject import Subject

Array = NDArray[Any]

ADAM_RATE, LAYER_RATE = 1e-3, 1e-2
STRIDE = 0.02  # of a fresh network's θ: an update that any network bears


def with_adam(fork: Trainer, lr: float = ADAM_RATE) -> Trainer:
    """The fork with Adam in place of its optimizer."""
    fork.opt = optim.Adam(lr=lr)
    return fork


def with_layerwise_rates(fork: Trainer, lr: float = LAYER_RATE) -> Trainer:
    """The fork with LAMB in place of its optimizer: every block moves by a share of its own length."""
    fork.opt = optim.LAMB(lr=lr)
    return fork


def with_full_step(fork: Trainer, peak: float) -> Trainer:
    """The fork with the largest learning rate of its past, and accumulated squares from zero."""
    fork.opt.lr = peak
    fork.opt.init(fork.land.blocks, fork.land.dtype)
    fork.opt.start = fork.t
    return fork


def with_clipping(fork: Trainer, norm: float) -> Trainer:
    """The fork with gradients clipped to a norm."""
    fork.clip_norm = norm
    return fork


def with_revived_units(fork: Trainer, subject: Subject) -> Trainer | None:
    """The fork with fresh incoming weights of every unit that is dead on the examined samples; None without any."""
    theta = revived(subject)
    return None if theta is None else moved(fork, theta)


def revived(subject: Subject) -> Array | None:
    """θ in which dead ReLU units have the incoming weights of a fresh start, and bias 0."""
    land = network_landscape(subject.land)
    if land is None:
        return None
    theta = subject.theta.copy()
    fresh = nn.Network(
        *land.net.layers, input_shape=land.net.input_shape, seed=land.net.seed + 1, dtype=land.dtype, init="he_uniform"
    )
    outputs = land.net.activations(examined_inputs(subject, land), subject.theta, "train")
    blocks = {name: (where, shape) for name, where, shape in land.blocks}
    nodes, changed = land.net._wiring.nodes, False
    for node in nodes:
        before = nodes[node.source] if node.kind == "ReLU" and node.source >= 0 else None
        if before is None or f"{before.name}.weight" not in blocks or before.kind not in ("Linear", "Conv2d"):
            continue
        z = outputs[node.source][1]
        dead = (np.moveaxis(z, 1, 0).reshape(z.shape[1], -1) <= 0.0).all(axis=1)
        if not dead.any():
            continue
        changed = True
        for name, value in (("weight", fresh.block(f"{before.name}.weight")), ("bias", 0.0)):
            if f"{before.name}.{name}" in blocks:
                where, shape = blocks[f"{before.name}.{name}"]
                view = theta[where].reshape(shape)
                view[dead] = value[dead] if isinstance(value, np.ndarray) else value
    return theta if changed else None


def fresh_theta(land: NetworkLandscape, other: int = 1) -> Array:
    """Weights of another start as torch's layers have (normalisations at 1 and 0), whatever the network's own were."""
    layers, shape = land.net.layers, land.net.input_shape
    seed = (land.net.seed + other) % 2**63
    return nn.Network(*map(_plain, layers), input_shape=shape, seed=seed, dtype=land.dtype, init="torch").theta.copy()


def _plain(layer: Any) -> Any:
    """The layer without an initialiser of its own."""
    from dataclasses import fields, replace

    known = {f.name for f in fields(layer)}
    return replace(layer, init=None) if "init" in known else layer


def on_standardised_features(fork: Trainer, subject: Subject) -> tuple[Trainer, Objective] | None:
    """A fresh start on standardised columns with the same optimizer: the old weights would be saturated by them.

    SGD gets half the rate that the curvature bears there, and no more than moves a fresh network by a fiftieth: its
    own was bounded by the largest column.
    """
    land = network_landscape(subject.land)
    made = None if land is None else standardised(land, subject.theta)
    if land is None or made is None:
        return None
    fresh = fresh_theta(land)
    run, objective = _elsewhere(fork, subject, made[0], fresh)
    if run.opt.rule == "SGD":
        start = run.theta.copy()
        curvature = steepest(objective.hessian(start))
        slope = gradient_norm(objective.gradient(start)[1])
        bearable = 1.0 / curvature if curvature > 0.0 else math.inf
        short = STRIDE * gradient_norm(fresh) / slope if slope > 0.0 else math.inf
        run.opt.lr = min(bearable, max(short, float(run.opt.rate(fork.t))))
        run.opt.lr = run.opt.lr if math.isfinite(run.opt.lr) else float(fork.opt.rate(fork.t))
    return run, objective


def with_normalisation(fork: Trainer, subject: Subject) -> tuple[Trainer, Objective] | None:
    """A fresh network with BatchNorm behind every hidden Linear and Conv2d; None with one already, or no place."""
    land = network_landscape(subject.land)
    if land is None or any(layer.kind not in _PLAIN for layer in land.net.layers):
        return None
    layers: list[Any] = []
    for i, layer in enumerate(land.net.layers):
        layers.append(_plain(layer))
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and i < len(land.net.layers) - 1:
            width = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
            layers.append(nn.BatchNorm(width))
    net = nn.Network(*layers, input_shape=land.net.input_shape, seed=land.net.seed + 1, dtype=land.dtype)
    if len(layers) == len(land.net.layers) or (not fork.sampler.full and fork.batch_size < 8):
        return None
    twin = NetworkLandscape(
        net,
        land.loss_function,
        land.X.reshape(-1, *land.net.input_shape),
        land.y,
        mode="train",
        l2=land.l2,
        spectral_penalty=land.spectral_penalty,
        sample_weight=land.sample_weight,
        memory_budget=land.memory_budget,
    )
    return _elsewhere(fork, subject, twin, net.theta.copy())


_PLAIN = (
    *("Linear", "Conv2d", "Flatten", "MaxPool2d", "AvgPool2d", "Dropout"),
    *("ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus", "Identity"),
)


def _elsewhere(fork: Trainer, subject: Subject, twin: NetworkLandscape, theta: Array) -> tuple[Trainer, Objective]:
    """A run on another landscape of the same samples, in the fork's order, and what it is judged by."""
    run = Trainer(twin, fork.opt.copy(), fork.batch_size, fork.seed, clip_norm=fork.clip_norm, theta=theta)
    run.sampler = fork.sampler.copy()
    return run, Objective(twin, subject.objective.decay, subject.objective.sample, subject.tally)
