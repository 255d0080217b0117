"""Training steps in the core: the same as gradient and update called one by one, and consistent when they end early."""

from __future__ import annotations

import signal

import numpy as np
import pytest

import unstuck as us
from network_cases import Case, chain
from oracles import relative_error

CASE = Case("steps", chain((6, 9, 3), "tanh"), "weighted", samples=50, weighted_samples=True, l2=0.01)
OPTIMIZERS = {
    "sgd": lambda: us.optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: us.optim.RMSProp(lr=0.01),
    "adam": lambda: us.optim.Adam(lr=0.01),
}


def start(name, dtype="float64"):
    """(landscape, θ, optimizer with state)."""
    land, theta, *_ = CASE.landscape(us, dtype)
    opt = OPTIMIZERS[name]()
    opt.init(land.n, dtype=np.dtype(dtype))
    return land, theta.copy(), opt


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_are_gradients_and_updates(name, dtype):
    """Ragged last slice, changing rates, two rounds over the order: bit for bit."""
    order = np.random.default_rng(0).permutation(50)
    rates = np.linspace(0.02, 0.01, 9)
    land, theta, opt = start(name, dtype)
    record = land.train_steps(theta, opt, order, 16, rates)
    assert record.done == opt.t == 9
    assert record.stop is record.error is None
    _, expected, single = start(name, dtype)
    for step, rate in enumerate(rates):
        batch = order[step % 4 * 16 : step % 4 * 16 + 16]
        loss, gradient = land.gradient(expected, batch)
        assert record.loss[step] == loss
        assert record.gradient_norm[step] == pytest.approx(np.linalg.norm(gradient.astype(float)), rel=1e-12)
        single.lr = float(rate)
        single.step(expected, gradient)
    np.testing.assert_array_equal(theta, expected)
    for ours, theirs in zip(opt.slots, single.slots, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_split_calls_are_one_call():
    order, rates = np.arange(50), np.full(6, 0.01)
    land, theta, opt = start("adam")
    land.train_steps(theta, opt, order[:48], 8, rates)
    _, again, other = start("adam")
    land.train_steps(again, other, order[:24], 8, rates[:3])
    land.train_steps(again, other, order[24:48], 8, rates[3:])
    np.testing.assert_array_equal(theta, again)
    assert other.t == 6


def test_full_batch_without_an_order():
    land, theta, opt = start("sgd")
    land.train_steps(theta, opt, None, 50, np.full(3, 0.1))
    _, expected, other = start("sgd")
    land.train_steps(expected, other, np.arange(50), 50, np.full(3, 0.1))
    np.testing.assert_array_equal(theta, expected)
    _, chunked, third = start("sgd")
    land.train_steps(chunked, third, None, 20, np.full(3, 0.1))
    _, expected, other = start("sgd")
    land.train_steps(expected, other, np.arange(50), 20, np.full(3, 0.1))
    np.testing.assert_array_equal(chunked, expected)


@pytest.mark.parametrize("clip", [1e-3, 0.05, 1e6])
def test_clipping_scales_long_gradients(clip):
    land, theta, opt = start("sgd")
    before = theta.copy()
    record = land.train_steps(theta, opt, None, 50, [1.0], clip_norm=clip)
    loss, gradient = land.gradient(before)
    norm = np.linalg.norm(gradient)
    assert record.gradient_norm[0] == pytest.approx(norm, rel=1e-14)
    used = gradient * min(1.0, clip / norm)
    # first Nesterov step: m = g, θ ← θ − lr (g + μ m)
    assert relative_error(before - theta, 1.9 * used) <= 1e-10
    assert record.loss[0] == loss


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_that_is_not_finite_changes_nothing(name):
    land, theta, opt = start(name)
    X, y, weight = CASE.data()
    land.X[33, 2] = np.nan  # the data are the caller's own: kept without a copy
    order = np.r_[np.arange(30), 33, np.arange(5)]
    record = land.train_steps(theta, opt, order, 10, np.full(4, 0.01))
    assert record.stop == "loss"
    assert record.done == opt.t == 3
    assert len(record.loss) == 4
    clean = us.NetworkLandscape(CASE.network(us), CASE.loss_function(us), X, y, l2=CASE.l2, sample_weight=weight)
    _, expected, other = start(name)
    clean.train_steps(expected, other, order, 10, np.full(3, 0.01))
    np.testing.assert_array_equal(theta, expected)
    for ours, theirs in zip(opt.slots, other.slots, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("scale", "stop"), [(1e200, "loss"), (1e90, "gradient")])
def test_stop_says_what_was_not_finite(scale, stop):
    case = Case("linear", chain((3, 2), "identity"), "mse", samples=8)
    X, y, _ = case.data()
    land = us.NetworkLandscape(case.network(us), us.nn.MSE(), X * scale, y)
    theta, opt = case.theta(), us.optim.SGD(lr=1e-3)
    opt.init(land.n, dtype=np.float64)
    before = theta.copy()
    record = land.train_steps(theta, opt, None, 8, np.full(3, 1e-3))
    assert (record.done, opt.t, record.stop) == (0, 0, stop)
    np.testing.assert_array_equal(theta, before)


def test_weights_without_a_mean_are_refused_before_anything_changes():
    X, y, weight = CASE.data()
    weight[40:] = 0.0
    land = us.NetworkLandscape(CASE.network(us), CASE.loss_function(us), X, y, sample_weight=weight)
    _, theta, opt = start("adam")
    before = theta.copy()
    with pytest.raises(ValueError, match="`batch`"):
        land.train_steps(theta, opt, np.arange(50), 10, np.full(5, 0.1))
    np.testing.assert_array_equal(theta, before)
    assert opt.t == 0
    assert not np.any(opt.slots)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda a: {**a, "theta": a["theta"].astype("f4")}, "theta"),
        (lambda a: {**a, "theta": a["theta"][:-1]}, "theta"),
        (lambda a: {**a, "theta": np.repeat(a["theta"], 2)[::2]}, "theta"),
        (lambda a: {**a, "theta": np.frombuffer(a["theta"].tobytes())}, "theta"),
        (lambda a: {**a, "order": [0.5]}, "batch"),
        (lambda a: {**a, "order": [50]}, "batch"),
        (lambda a: {**a, "order": []}, "batch"),
        (lambda a: {**a, "batch_size": 0}, "batch_size"),
        (lambda a: {**a, "batch_size": -3}, "batch_size"),
        (lambda a: {**a, "lr": [[0.1]]}, "lr"),
    ],
)
def test_bad_arguments_change_nothing(change, name):
    land, theta, opt = start("adam")
    arguments = change({"theta": theta, "opt": opt, "order": np.arange(50), "batch_size": 10, "lr": [0.1, 0.1]})
    before = arguments["theta"].copy()
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        land.train_steps(**arguments)
    np.testing.assert_array_equal(arguments["theta"], before)
    assert opt.t == 0
    assert not np.any(opt.slots)


def test_slots_must_not_share_memory_with_theta():
    land, theta, opt = start("adam")
    opt.slots[0] = theta
    with pytest.raises(ValueError, match="share memory"):
        land.train_steps(theta, opt, None, 50, [0.1])


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_a_signal_ends_training_between_two_steps():
    case = Case("long", chain((64, 128, 128, 10), "tanh"), samples=4096)
    land, theta, X, *_ = case.landscape(us, "float32")
    theta, opt = theta.copy(), us.optim.Adam(lr=1e-3)
    opt.init(land.n, dtype=np.float32)
    order = np.tile(np.arange(4096), 200)
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        record = land.train_steps(theta, opt, order, 64, np.full(12_800, 1e-3))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
    assert isinstance(record.error, KeyboardInterrupt)
    assert 0 < record.done == opt.t < 12_800
    assert len(record.loss) == record.done
    again, other = case.theta("float32"), us.optim.Adam(lr=1e-3)
    other.init(land.n, dtype=np.float32)
    land.train_steps(again, other, order[: 64 * record.done], 64, np.full(record.done, 1e-3))
    np.testing.assert_array_equal(theta, again)
