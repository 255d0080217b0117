"""Healthy runs, the known traps among them: nothing is wrong with any, and a doctor should say so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unstuck as us
from bench.stuck.plan import ALL, Plan, Setup
from bench.stuck.tasks import Task

SGD, Adam, cosine = us.optim.SGD, us.optim.Adam, us.schedules.warmup_cosine
FINE = "HEALTHY CONVERGED"


def _with(
    opt: Callable[[Task, float], Any], steps: int, batch_size: int = 32, validated: bool = False, **options: Any
) -> Callable[[Task, int, float], Setup]:
    """A run on the task's network with an optimizer."""

    def set_up(task: Task, seed: int, variant: float) -> Setup:
        given: dict[str, Any] = {"seed": seed, "batch_size": batch_size}
        if validated and task.kind != "convolution":
            given["validation"] = task.held_out(seed)
        return Setup(task.land(seed, **options), opt(task, variant), steps, given)

    return set_up


def _normalised(task: Task, seed: int, variant: float) -> Setup:
    return Setup(task.land(seed, between=lambda width: [us.nn.BatchNorm(width)]), Adam(lr=1e-3), 300, {"seed": seed})


def _dropped(task: Task, seed: int, variant: float) -> Setup:
    return Setup(task.land(seed, (64,), between=lambda width: [us.nn.Dropout(0.25 * variant)]), Adam(lr=1e-3), 500)


def _heavy_tails(X: np.ndarray) -> np.ndarray:
    """Standardised columns with values up to some ±10."""
    Z = np.sign(X) * np.abs(X) ** 1.7
    spread = Z.std(axis=0)
    return Z / np.where(spread > 0.01, spread, 1.0)


def _shuffled(task: Task, seed: int) -> us.NetworkLandscape:
    return task.land(seed, (64,), "ReLU", relabel=lambda y: np.random.default_rng(seed).permutation(y))


def _mostly_dead(task: Task, seed: int, variant: float) -> Setup:
    """Three quarters of the first layer dead, the others live and learning."""
    land = task.land(seed, (96,), "ReLU")
    bias = land.net.block("0.bias")
    bias[: int(0.75 * bias.size)] = -50.0
    return Setup(land, Adam(lr=2e-3), 400, {"seed": seed})


def _sparse(task: Task, seed: int, variant: float) -> Setup:
    """Three quarters of the first layer's outputs are 0, yet its units live.

    z has a deviation of 1/√3 at the start; many columns bend a unit back more easily.
    """
    land = task.land(seed, (96,), "ReLU")
    land.net.block("0.bias")[:] = -0.45 - 0.006 * task.load()[0].shape[1]
    return Setup(land, Adam(lr=variant * 1e-3), 300, {"seed": seed})


def _triangle(lowest: float, highest: float, period: int) -> Callable[[int], float]:
    """A rate that rises and falls again and again (L. Smith 2017)."""
    return lambda t: lowest + (highest - lowest) * (1.0 - abs(2.0 * (t % period) / period - 1.0))


HEALTHY = (
    Plan("Adam", FINE, _with(lambda t, v: Adam(lr=v * 1e-3), 400, validated=True)),
    Plan("AdamW", FINE, _with(lambda t, v: us.optim.AdamW(lr=v * 1e-3), 600, activation="GELU")),
    Plan("RMSProp", FINE, _with(lambda t, v: us.optim.RMSProp(lr=v * 1e-3), 300)),
    Plan("Adagrad", FINE, _with(lambda t, v: us.optim.Adagrad(lr=v * 2e-2), 600)),
    Plan("SGD", FINE, _with(lambda t, v: SGD(lr=v * t.rate), 400, validated=True)),
    Plan("momentum", FINE, _with(lambda t, v: SGD(lr=0.2 * v * t.rate, momentum=0.9), 400, activation="ReLU")),
    Plan("Nesterov", FINE, _with(lambda t, v: SGD(lr=0.2 * v * t.rate, momentum=0.9, nesterov=True), 300)),
    Plan("small noisy batches", FINE, _with(lambda t, v: SGD(lr=0.2 * t.rate), 400, batch_size=4)),
    Plan("single samples", FINE, _with(lambda t, v: SGD(lr=0.2 * t.rate), 800, batch_size=1)),
    Plan("all data", FINE, _with(lambda t, v: SGD(lr=2 * v * t.rate), 150, batch_size=ALL)),
    Plan("edge of stability", FINE, _with(lambda t, v: SGD(lr=5 * v * t.rate), 200, batch_size=ALL)),
    Plan("warm-up in progress", FINE, _with(lambda t, v: Adam(lr=cosine(peak=v * 1e-3, warmup=300, total=3000)), 60)),
    Plan("ten updates", FINE, _with(lambda t, v: Adam(lr=v * 1e-3), 10)),
    Plan("no update yet", FINE, _with(lambda t, v: Adam(lr=v * 1e-3), 0)),
    Plan("trained to the end", FINE, _with(lambda t, v: Adam(lr=v * 1e-3), 5000)),
    Plan("a schedule to its end", FINE,
         _with(lambda t, v: Adam(lr=cosine(peak=v * 5e-3, warmup=50, total=1500)), 1500)),
    Plan("rate spikes", FINE, _with(lambda t, v: Adam(lr=lambda k: v * 5e-3 if k % 100 < 5 else 1e-3), 700)),
    Plan("cyclic rate", FINE, _with(lambda t, v: Adam(lr=_triangle(1e-4, v * 4e-3, 200)), 900)),
    Plan("strong penalty", FINE, _with(lambda t, v: Adam(lr=cosine(peak=1e-2, warmup=20, total=1500)), 1500, l2=1e-2),
         twin=lambda t, s, v: t.land(s, l2=1e-2)),
    Plan("sparse ReLU", FINE, _sparse, fits=lambda t: t.kind != "linear"),
    Plan("three quarters dead, and learning", FINE, _mostly_dead, fits=lambda t: t.kind == "perceptron"),
    Plan("inputs far outside [-1, 1]", FINE, _with(lambda t, v: Adam(lr=v * 1e-3), 400, change=_heavy_tails),
         fits=lambda t: t.kind == "perceptron"),
    Plan("batch normalisation", FINE, _normalised),
    Plan("dropout", FINE, _dropped, fits=lambda t: t.kind == "perceptron"),
    Plan("random labels", FINE, lambda t, s, v: Setup(_shuffled(t, s), Adam(lr=v * 1e-3), 1500, {"seed": s}),
         twin=lambda t, s, v: _shuffled(t, s), fits=lambda t: t.kind == "perceptron"),
)  # fmt: skip
