"""The rivals' rules, re-implemented: each fires beyond its published threshold and not before it."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import unstuck as us

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch):
    """Loads a module of bench.stuck from the source tree."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.stuck.{name}")


@pytest.fixture
def made(bench):
    """(rules, what makes a look, what makes a trace of looks): a calm look, with single values changed."""
    rivals, traces = bench("rivals"), bench("traces")
    calm_kernel = traces.Kernel(
        gradient_norm=0.1,
        gradient_mean=1e-3,
        gradient_spread=0.01,
        gradient_zeros=0.0,
        variance=0.01,
        norm=1.0,
        moved=0.01,
    )
    calm_layer = traces.Layer("ReLU", inactive=0.0, not_positive=0.4, flat=0.0, large=0.0, size=0.5)

    def look(loss=1.0, accuracy=0.9, lr=1e-3, kernels=2, validation=None, last=None, kind="ReLU", **changes):
        layer = replace(calm_layer, kind=kind, **{k: v for k, v in changes.items() if hasattr(calm_layer, k)})
        kernel = replace(calm_kernel, **{k: v for k, v in changes.items() if hasattr(calm_kernel, k)})
        more = [replace(calm_kernel, **(last or {}))] * (kernels - 1)
        return traces.Look(loss, accuracy, lr, (kernel, *more), (layer,), validation)

    def trace(looks, inputs=(-1.0, 1.0), **options):
        start = look(loss=np.nan)
        return traces.Trace((start, *looks), inputs, options.pop("classifies", True), **options)

    def fired(tool, looks, **options):
        return rivals.accusations(trace(looks, **options))[tool]

    return rivals, look, trace, fired


SAGEMAKER, AUTOTRAINER, DEEPDIAGNOSIS, UMLAUT = "SageMaker Debugger", "AutoTrainer", "DeepDiagnosis", "UMLAUT"
FALLING = np.geomspace(2.0, 0.2, 30)
LEARNING = np.linspace(0.3, 0.97, 30)


def calm_looks(look, **changes):
    return [look(loss=a, accuracy=b, **changes) for a, b in zip(FALLING, LEARNING, strict=True)]


def test_a_calm_trace_offends_nobody(made):
    rivals, look, trace, _ = made
    assert rivals.accusations(trace(calm_looks(look))) == {tool: [] for tool in rivals.TOOLS}


# tool, rule, what a look has just beyond the threshold, and just before it
THRESHOLDS = [
    (SAGEMAKER, "DeadRelu", {"inactive": 0.51}, {"inactive": 0.50}),
    (SAGEMAKER, "SaturatedActivation", {"kind": "Tanh", "flat": 0.51}, {"kind": "Tanh", "flat": 0.5}),
    (SAGEMAKER, "VanishingGradient", {"gradient_mean": 0.9e-7}, {"gradient_mean": 1.1e-7}),
    (SAGEMAKER, "WeightUpdateRatio, large", {"moved": 10.1}, {"moved": 9.9}),
    (SAGEMAKER, "WeightUpdateRatio, small", {"moved": 0.9e-8}, {"moved": 1.1e-8}),
    (SAGEMAKER, "PoorWeightInitialization", {"variance": 0.101}, {"variance": 0.099}),
    (SAGEMAKER, "PoorWeightInitialization", {"gradient_spread": 0.9e-3}, {"gradient_spread": 1.1e-3}),
    (SAGEMAKER, "ExplodingTensor", {"finite": False}, {"finite": True}),
    (AUTOTRAINER, "abnormal data", {"size": 10.0}, {"size": 9.9}),
    (DEEPDIAGNOSIS, "dead node", {"not_positive": 0.7}, {"not_positive": 0.69}),
    (DEEPDIAGNOSIS, "saturated activation", {"kind": "Sigmoid", "large": 0.51}, {"kind": "Sigmoid", "large": 0.5}),
    (DEEPDIAGNOSIS, "vanishing gradient", {"gradient_mean": 0.9e-7}, {"gradient_mean": 1.1e-7}),
    (DEEPDIAGNOSIS, "poor weight", {"variance": 0.9e-5}, {"variance": 1.1e-5}),
    (DEEPDIAGNOSIS, "poor weight", {"variance": 10.1}, {"variance": 9.9}),
    (DEEPDIAGNOSIS, "learning rate, high", {"gradient_norm": 101.0}, {"gradient_norm": 99.0}),
    (DEEPDIAGNOSIS, "learning rate, low", {"gradient_norm": 0.9e-2}, {"gradient_norm": 1.1e-2}),
    (UMLAUT, "learning rate high", {"lr": 0.011}, {"lr": 0.01}),
    (UMLAUT, "learning rate low", {"lr": 0.9e-7}, {"lr": 1.1e-7}),
    (UMLAUT, "validation accuracy suspicious", {"validation": (0.1, 0.96)}, {"validation": (0.1, 0.3)}),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "rule", "beyond", "before"), THRESHOLDS, ids=[f"{t[1]} {t[2]}" for t in THRESHOLDS])
def test_thresholds(made, tool, rule, beyond, before):
    _, look, _, fired = made
    assert rule in fired(tool, calm_looks(look, **beyond))
    assert rule not in fired(tool, calm_looks(look, **before))


def test_autotrainer_reports_gradients_only_where_accuracy_misses_its_target(made):
    _, look, _, fired = made
    vanished = {"gradient_norm": 0.9e-4, "last": {"gradient_norm": 0.1}}
    poor = [look(loss=x, accuracy=0.5, **vanished) for x in FALLING]
    assert "gradient vanish" in fired(AUTOTRAINER, poor)
    assert "gradient vanish" not in fired(AUTOTRAINER, calm_looks(look, **vanished))
    assert "gradient vanish" not in fired(AUTOTRAINER, poor[:2])  # its first look comes after three epochs
    near = [look(loss=x, accuracy=0.5, gradient_norm=1.1e-4, last={"gradient_norm": 1.0}) for x in FALLING]
    assert "gradient vanish" not in fired(AUTOTRAINER, near)


def test_autotrainer_explosion(made):
    _, look, _, fired = made
    high, low = ([look(accuracy=0.5, gradient_norm=r, last={"gradient_norm": 1.0})] * 5 for r in (71.0, 69.0))
    assert "gradient explode" in fired(AUTOTRAINER, high)
    assert "gradient explode" not in fired(AUTOTRAINER, low)
    assert "gradient explode" in fired(AUTOTRAINER, [look(), look(loss=np.nan)], broke=True)
    assert "gradient explode" not in fired(AUTOTRAINER, [look(finite=False, loss=999.0)])


def test_autotrainer_dying_relu_wants_relu_and_zeros(made):
    _, look, _, fired = made
    assert "dying ReLU" in fired(AUTOTRAINER, [look(accuracy=0.5, gradient_zeros=0.7)] * 5)
    assert "dying ReLU" not in fired(AUTOTRAINER, [look(accuracy=0.5, gradient_zeros=0.69)] * 5)
    assert "dying ReLU" not in fired(AUTOTRAINER, [look(accuracy=0.5, gradient_zeros=0.9, kind="Tanh")] * 5)


def test_autotrainer_oscillation_and_slowness(made):
    _, look, _, fired = made
    waves = [look(accuracy=0.8 + 0.02 * (-1) ** i) for i in range(20)]  # drops of 0.04
    ripples = [look(accuracy=0.8 + 0.01 * (-1) ** i) for i in range(20)]  # drops of 0.02
    assert "oscillating loss" in fired(AUTOTRAINER, waves)
    assert "oscillating loss" not in fired(AUTOTRAINER, ripples)
    assert "slow convergence" in fired(AUTOTRAINER, [look(accuracy=0.3 + 0.009 * i) for i in range(10)])
    assert "slow convergence" not in fired(AUTOTRAINER, [look(accuracy=0.3 + 0.011 * i) for i in range(10)])
    assert "slow convergence" not in fired(AUTOTRAINER, [look(accuracy=0.71)] * 10)


def test_autotrainer_is_not_run_on_regressions(made):
    rivals, look, trace, _ = made
    assert AUTOTRAINER not in rivals.accusations(trace([look(accuracy=np.nan)] * 5, classifies=False))


def test_unchanged_values(made):
    _, look, _, fired = made
    assert "loss unchanged" in fired(DEEPDIAGNOSIS, [look(loss=1.0)] * 5)
    assert "loss unchanged" not in fired(DEEPDIAGNOSIS, [look(loss=1.0)] * 4)
    assert "accuracy unchanged" in fired(DEEPDIAGNOSIS, [look(loss=x, accuracy=0.5) for x in FALLING[:20]])
    assert "accuracy unchanged" not in fired(DEEPDIAGNOSIS, [look(loss=x, accuracy=0.5) for x in FALLING[:19]])
    assert "weights unchanged" in fired(DEEPDIAGNOSIS, [look(loss=x, moved=0.0) for x in FALLING[:5]])
    assert "weights unchanged" not in fired(DEEPDIAGNOSIS, [look(loss=x, moved=0.0) for x in FALLING[:4]])
    assert "LossNotDecreasing" in fired(SAGEMAKER, [look(loss=1.0)] * 11)
    assert "LossNotDecreasing" not in fired(SAGEMAKER, [look(loss=1.0)] * 10)


@pytest.mark.parametrize(("inputs", "accused"), [((-1.0, 1.0), False), ((-1.01, 1.0), True), ((0.0, 1.01), True)])
def test_inputs_outside_the_unit_interval(made, inputs, accused):
    _, look, _, fired = made
    assert ("improper data" in fired(DEEPDIAGNOSIS, calm_looks(look), inputs=inputs)) == accused
    assert ("input not normalised" in fired(UMLAUT, calm_looks(look), inputs=inputs)) == accused


def test_dropout(made):
    _, look, _, fired = made
    assert "dropout high" in fired(UMLAUT, calm_looks(look), dropout=0.6)
    assert "dropout high" not in fired(UMLAUT, calm_looks(look), dropout=0.5)


def test_every_aim_is_a_cause(made):
    rivals, *_ = made
    for rule in rivals.RULES:
        assert rule.tool in rivals.TOOLS
        assert all(hasattr(us.Cause, cause) for cause in rule.aims.split())


def test_a_recorder_sees_what_numpy_sees(bench):
    """Activations, gradients and accuracy of a small network after two epochs, beside plain NumPy in float64."""
    traces, plan = bench("traces"), bench("plan")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, 40)
    net = us.nn.Network(us.nn.Linear(3, 5), us.nn.ReLU(), us.nn.Linear(5, 2), input_shape=(3,), dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    recorder = traces.Recorder()
    run = plan.Setup(land, us.optim.SGD(lr=0.1), 9, {"batch_size": 10}).train(recorder)
    trace = recorder.trace(run)
    assert len(trace.looks) == 1 + 2 + 1 and run.watchers == []  # the start, two epochs of four updates, the end
    np.testing.assert_allclose([look.loss for look in trace.epochs[:2]], run.history["loss"][:8].reshape(2, 4).mean(1))
    W1, b1, W2, b2 = (np.array(net.block(name)) for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    last = trace.looks[-1]
    z = X[:10] @ W1.T + b1
    h = np.maximum(z, 0)
    p = np.exp(h @ W2.T + b2)
    p /= p.sum(1, keepdims=True)
    d = (p - np.eye(2)[y[:10]]) / 10
    g1, g2 = (d @ W2 * (z > 0)).T @ X[:10], d.T @ h
    np.testing.assert_allclose(
        [k.gradient_norm for k in last.kernels], [np.linalg.norm(g) for g in (g1, g2)], rtol=1e-9
    )
    np.testing.assert_allclose(last.kernels[0].gradient_zeros, np.mean(g1 == 0))
    np.testing.assert_allclose(last.kernels[1].variance, W2.var())
    np.testing.assert_allclose(last.layers[0].not_positive, np.mean(h <= 0))
    np.testing.assert_allclose(last.layers[0].inactive, np.mean((h > 0).mean(0) < 0.01))
    said = (np.maximum(X @ W1.T + b1, 0) @ W2.T + b2).argmax(1)
    assert last.accuracy == np.mean(said == y)
    assert trace.inputs == (X.min(), X.max()) and trace.classifies and not trace.broke
