"""Planted faults: each makes a run on a task that is stuck for a known reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unstuck as us
from bench.stuck.minima import has_few_columns, lowest_minimum, worst_minimum
from bench.stuck.plan import ALL, Plan, Setup
from bench.stuck.tasks import Data, Task

SGD, Adam, Initialiser = us.optim.SGD, us.optim.Adam, us.nn.init.Initialiser


def _bends(task: Task) -> bool:
    """Its network has activations."""
    return task.kind != "linear"


def _has_columns(task: Task) -> bool:
    """Its inputs are features, not pixels."""
    return task.kind != "convolution"


def _biased(activation: str) -> Callable[[Task, int, float], Setup]:
    def set_up(task: Task, seed: int, bias: float) -> Setup:
        land = task.land(seed, (48,), activation)
        land.net.block("0.bias")[:] = -bias
        return Setup(land, SGD(lr=task.rate), 400, {"seed": seed})

    return set_up


def bearable(land: us.NetworkLandscape) -> float:
    """Half the rate that the steepest direction bears at the start."""
    return 1.0 / us.curvature.eigenpairs(land.hessian(land.theta), k=1, which="largest", seed=0).values[0]


def _linear(task: Task, seed: int, change: Callable[[np.ndarray], np.ndarray], steps: int) -> Setup:
    """A linear model of changed columns, all data, at half the rate that is safe everywhere.

    Curvature ≤ c·λ_max(X̃ᵀX̃/N) with X̃ = [X, 1]; c = ½ for cross-entropy, 2/outputs for the mean square.
    """
    land = task.land(seed, (), change=change)
    X = np.hstack([land.X, np.ones((len(land.X), 1))]).astype(np.float64)
    steepest = np.linalg.norm(X, 2) ** 2 / len(X) * (2.0 / task.outputs if task.regression else 0.5)
    return Setup(land, SGD(lr=1.0 / steepest), steps, {"batch_size": ALL})


def _sound_linear(task: Task, seed: int, severity: float) -> us.NetworkLandscape:
    """The same model of the columns as they are: where it cannot learn the task, no column is to blame."""
    return task.land(seed, ())


def _one_huge_column(task: Task, seed: int, factor: float) -> Setup:
    varying = np.flatnonzero(task.data(seed)[0].std(axis=0) > 0.5)
    huge = varying[seed % len(varying)]

    def change(X: np.ndarray) -> np.ndarray:
        return X * np.where(np.arange(X.shape[1]) == huge, factor, 1.0)

    return _linear(task, seed, change, 1500)


def _far_from_zero(task: Task, seed: int, offset: float) -> Setup:
    """Columns with a mean far beyond their spread, as years or temperatures in kelvin have."""
    return _linear(task, seed, lambda X: X + offset, 1500)


def _correlated(task: Task, seed: int, own: float) -> Setup:
    """Columns of one size that share a common part: x_j ← (c + own·x_j)/√(1 + own²)."""

    def change(X: np.ndarray) -> np.ndarray:
        common = np.random.default_rng(0).normal(size=(len(X), 1))
        return (common + own * X) / np.sqrt(1.0 + own * own)

    return _linear(task, seed, change, 400)


def _unequal_layers(task: Task, seed: int, factor: float) -> Setup:
    """The first layer `factor` times larger, the last as many times smaller: the same function of another θ."""
    land = task.land(seed, (4, 16), "ReLU")
    first, last = [name[: -len(".weight")] for name, _, _ in land.blocks if name.endswith(".weight")][::2]
    for name, scale in ((f"{first}.weight", factor), (f"{first}.bias", factor), (f"{last}.weight", 1.0 / factor)):
        land.net.block(name)[:] *= scale
    return Setup(land, SGD(lr=bearable(land)), 1500, {"batch_size": ALL})


def _one_sample(batch_size: int) -> Callable[[Task, int, float], Setup]:
    def set_up(task: Task, seed: int, factor: float) -> Setup:
        rate = factor * task.rate * (0.2 if task.regression else 1.0)  # squares grow where entropies level off
        return Setup(task.land(seed), SGD(lr=rate), 1500, {"seed": seed, "batch_size": batch_size})

    return set_up


def _against_positive_inputs(task: Task, seed: int, bias: float) -> Setup:
    """All weights of the second layer negative, where the first gives nothing but positive numbers or 0."""
    land = task.land(seed, (32, 32), "ReLU")
    second = [name[: -len(".weight")] for name, _, _ in land.blocks if name.endswith(".weight")][1]
    weight = land.net.block(f"{second}.weight")
    weight[:] = -np.abs(weight)
    land.net.block(f"{second}.bias")[:] = -bias
    return Setup(land, SGD(lr=task.rate), 400, {"seed": seed})


def _after_a_burst(task: Task, seed: int, factor: float) -> Setup:
    """Adagrad that has met one batch with gradients `factor` times as large before its first update."""

    def burst(run: us.Trainer) -> None:
        _, g = run.land.gradient(run.theta)
        run.opt.step(run.theta.copy(), (factor * g).astype(g.dtype))

    return Setup(task.land(seed), us.optim.Adagrad(lr=0.02), 500, {"seed": seed}, burst)


def _stale(task: Task, seed: int, momentum: float) -> Setup:
    land = task.land(seed, between=lambda width: [us.nn.BatchNorm(width, momentum=momentum)], change=lambda X: X + 20.0)
    return Setup(land, Adam(lr=1e-3), 400, {"seed": seed})


def _deep(activation: str, gain: float | None = None) -> Callable[[Task, int, float], Setup]:
    """As many hidden layers as the severity says."""

    def set_up(task: Task, seed: int, layers: float) -> Setup:
        options: dict[str, Any] = {} if gain is None else {"init": Initialiser("xavier_normal", gain=gain)}
        return Setup(
            task.land(seed, (24,) * int(layers), activation, **options), SGD(lr=task.rate), 500, {"seed": seed}
        )

    return set_up


def _exploding(task: Task, seed: int, gain: float) -> Setup:
    """Ten layers of tanh whose weights are so large that small changes grow from layer to layer.

    The rate is small enough that the gradient still does so after training (at the task's own the units saturate).
    """
    init = Initialiser("xavier_normal", gain=gain)
    return Setup(task.land(seed, (24,) * 10, init=init), SGD(lr=0.001 * task.rate), 400, {"seed": seed})


def _identical(task: Task, seed: int, value: float) -> Setup:
    """Every unit of a layer starts with the same weights."""
    land = task.land(seed, (24, 24), init=Initialiser("constant", value=value))
    return Setup(land, Adam(lr=1e-2), 2000, {"seed": seed, "batch_size": 64})


FEW = slice(0, 120)  # samples to train on; the rest are new data


def _new_data(task: Task, seed: int) -> Data:
    X, y = task.data(seed)
    return X[FEW.stop :], y[FEW.stop :]


def _sharp(task: Task, seed: int, gain: float) -> Setup:
    """Few samples, all at once, from a large start: what fits them lies in a sharp place and fits nothing else."""
    land = task.land(seed, (64,), part=FEW, init=Initialiser("torch", gain=gain))
    return Setup(land, Adam(lr=2e-3), 2000, {"batch_size": ALL, "validation": _new_data(task, seed)})


def _collapsed(task: Task, seed: int, l2: float) -> Setup:
    """Two hidden layers whose weights a penalty has taken to 0: there the Hessian is l2·I and the output bias's own."""
    return Setup(task.land(seed, (24, 24), init="zeros", l2=l2), SGD(lr=2 * task.rate), 500, {"seed": seed})


def _sgd(factor: float | None = None, **options: Any) -> Callable[[Task, int, float], Setup]:
    def set_up(task: Task, seed: int, severity: float) -> Setup:
        lr = task.rate * (severity if factor is None else factor)
        return Setup(task.land(seed), SGD(lr=lr, **options), 400, {"seed": seed})

    return set_up


FAULTS = (
    Plan("zero start, one hidden layer", "STRICT_SADDLE BAD_INITIALISATION FLAT_SADDLE",
         lambda t, s, v: Setup(t.land(s, (32,), init="zeros"), SGD(lr=v * t.rate), 300, {"seed": s})),
    Plan("zero start, two hidden layers", "FLAT_SADDLE BAD_INITIALISATION STRICT_SADDLE",
         lambda t, s, v: Setup(t.land(s, (24, 24), init="zeros"), SGD(lr=v * t.rate), 400, {"seed": s})),
    Plan("a minimum higher than others", "LOCAL_MINIMUM",
         worst_minimum, (1.0, 3.0, 4.0), sound=lowest_minimum, fits=has_few_columns),
    Plan("collapsed under a penalty", "LOCAL_MINIMUM BAD_INITIALISATION", _collapsed, (1e-3, 5e-3),
         twin=lambda t, s, v: t.land(s, (24, 24), l2=v)),
    Plan("SGD rate far too large", "STEP_TOO_LARGE NON_FINITE",
         lambda t, s, v: Setup(t.land(s), SGD(lr=v * t.rate, momentum=0.9), 300, {"seed": s}), (100.0, 1000.0)),
    Plan("Adam rate far too large", "STEP_TOO_LARGE SATURATED_UNITS",
         lambda t, s, v: Setup(t.land(s), Adam(lr=v), 500, {"seed": s}), (1.0, 10.0)),
    Plan("SGD rate far too small", "STEP_TOO_SMALL", _sgd(), (1e-4, 1e-6)),
    Plan("Adam rate far too small", "STEP_TOO_SMALL",
         lambda t, s, v: Setup(t.land(s, activation="ReLU"), Adam(lr=v), 400, {"seed": s}), (1e-7, 1e-8)),
    Plan("rate decays at once", "EXHAUSTED_STEP STEP_TOO_SMALL",
         lambda t, s, v: Setup(t.land(s), SGD(lr=us.schedules.exponential(t.rate, v)), 500, {"seed": s}), (0.9, 0.8)),
    Plan("Adagrad after a burst", "EXHAUSTED_STEP STEP_TOO_SMALL", _after_a_burst, (1e4, 1e6)),
    Plan("dead layer", "DEAD_UNITS BAD_INITIALISATION", _biased("ReLU"), (30.0, 100.0), fits=_bends),
    Plan("dead second layer", "DEAD_UNITS BAD_INITIALISATION", _against_positive_inputs, (0.1, 1.0), fits=_bends),
    Plan("saturated layer", "SATURATED_UNITS BAD_INITIALISATION", _biased("Sigmoid"), (40.0, 80.0), fits=_bends),
    Plan("deep sigmoid", "VANISHING_GRADIENT SATURATED_UNITS STRICT_SADDLE FLAT_SADDLE",
         _deep("Sigmoid"), (5.0, 8.0), fits=_bends),
    Plan("deep, small weights", "VANISHING_GRADIENT BAD_INITIALISATION FLAT_SADDLE STRICT_SADDLE",
         _deep("Tanh", 0.2), (5.0, 8.0)),
    Plan("deep, large weights", "EXPLODING_GRADIENT BAD_INITIALISATION SATURATED_UNITS STEP_TOO_LARGE",
         _exploding, (6.0, 9.0), fits=_bends),
    Plan("identical units", "BAD_INITIALISATION STRICT_SADDLE FLAT_SADDLE", _identical, (0.1, 0.3)),
    Plan("one huge column", "UNSCALED_FEATURES ILL_CONDITIONED", _one_huge_column, (1e4, 1e5),
         fits=_has_columns, twin=_sound_linear),
    Plan("columns far from zero", "UNSCALED_FEATURES ILL_CONDITIONED", _far_from_zero, (100.0, 300.0),
         fits=_has_columns, twin=_sound_linear),
    Plan("correlated columns", "ILL_CONDITIONED", _correlated, (0.01, 0.003),
         fits=_has_columns, twin=_sound_linear),
    Plan("layers of unequal scale", "ILL_CONDITIONED BAD_INITIALISATION", _unequal_layers, (100.0, 300.0),
         fits=_has_columns, twin=lambda t, s, v: t.land(s, (4, 16), "ReLU")),
    Plan("batches of one sample", "NOISE_FLOOR STEP_TOO_LARGE", _one_sample(1), (10.0, 30.0), cure=_one_sample(ALL)),
    Plan("fits few samples sharply", "SHARP_MINIMUM BAD_INITIALISATION", _sharp, (5.0, 10.0), new_data=_new_data,
         twin=lambda t, s, v: t.land(s, (64,), part=FEW), fits=lambda t: t.kind == "perceptron"),
    Plan("statistics that never follow", "STALE_STATISTICS", _stale, (1e-4, 1e-5)),
    Plan("overflow", "NON_FINITE STEP_TOO_LARGE",
         lambda t, s, v: Setup(t.land(s, activation="ReLU"), SGD(lr=v), 500, {"seed": s}), (1e4, 1e6)),
)  # fmt: skip
