"""Trainer on networks: the core's steps are those of the plain loop, resumed to the bit, stopped at any moment."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from interrupted_program import interrupted
from same_passes import PlainSteps
from unstuck.errors import NonFiniteError

X, Y = us.data.digits()
OPTIMIZERS = {
    "sgd": lambda: us.optim.SGD(lr=0.1),
    "nesterov": lambda: us.optim.SGD(lr=0.05, momentum=0.9, nesterov=True),
    "rmsprop": lambda: us.optim.RMSProp(lr=1e-3),
    "adam": lambda: us.optim.Adam(lr=1e-3),
    "scheduled": lambda: us.optim.Adam(lr=us.schedules.warmup_cosine(peak=1e-2, warmup=10, total=200)),
}


def landscape(dtype="float32", rows=300, **options):
    net = us.nn.Network(
        us.nn.Linear(64, 12), us.nn.Tanh(), us.nn.Linear(12, 10), input_shape=(64,), seed=0, dtype=dtype
    )
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X[:rows].astype(dtype), Y[:rows], **options)


@pytest.mark.parametrize("batch_size", [32, 300])
@pytest.mark.parametrize("clip_norm", [None, 0.5])
@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_the_core_makes_the_same_updates_as_the_plain_loop(opt, clip_norm, batch_size):
    runs = []
    for wrap in (lambda land: land, PlainSteps):
        land = landscape("float64", l2=1e-3)
        run = us.Trainer(wrap(land), OPTIMIZERS[opt](), batch_size, seed=4, clip_norm=clip_norm)
        run.fit(steps=35)
        runs.append(run)
    fast, plain = runs
    np.testing.assert_allclose(fast.theta, plain.theta, rtol=1e-9, atol=1e-12)
    for name in fast.history:
        np.testing.assert_allclose(fast.history[name], plain.history[name], rtol=1e-9)


def test_training_changes_the_network_itself():
    land = landscape()
    before = land.net.theta.copy()
    run = us.Trainer(land, us.optim.Adam(lr=1e-3))
    run.fit(epochs=1)
    assert run.theta is land.net.theta
    assert not np.array_equal(before, land.net.theta)


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("stop", [1, 7, 10, 16])  # ten updates make an epoch
def test_going_on_after_a_save_equals_not_having_stopped(opt, stop, tmp_path):
    whole = us.Trainer(landscape(), OPTIMIZERS[opt](), 32, seed=2)
    whole.fit(steps=27)
    part = us.Trainer(landscape(), OPTIMIZERS[opt](), 32, seed=2)
    part.fit(steps=stop)
    part.save(tmp_path / "run")
    resumed = us.Trainer.load(tmp_path / "run", landscape())
    for _ in range(27 - stop):
        resumed.fit(steps=1)
    assert resumed.digest() == whole.digest()
    np.testing.assert_array_equal(resumed.history["loss"], whole.history["loss"])


def test_a_fork_leaves_the_run_and_the_network_alone():
    land = landscape()
    run = us.Trainer(land, us.optim.Adam(lr=1e-3), 32, seed=2)
    run.fit(steps=13)
    digest, theta = run.digest(), land.net.theta.tobytes()
    fork = run.fork()
    assert fork.digest().isalnum()
    assert fork.t == 13
    fork.fit(steps=20)
    assert (run.digest(), land.net.theta.tobytes()) == (digest, theta)
    run.fit(steps=20)
    assert run.theta.tobytes() == fork.theta.tobytes()
    np.testing.assert_array_equal(run.history["loss"][13:], fork.history["loss"])
    np.testing.assert_array_equal(run.history["step"][13:], fork.history["step"])


def test_validation_has_the_accuracy_of_the_predictions():
    land = landscape()
    run = us.Trainer(land, us.optim.Adam(lr=1e-2), 32, validation=(X[300:600], Y[300:600]))
    run.fit(epochs=5)
    right = np.mean(land.net.predict(X[300:600]).argmax(axis=1) == Y[300:600])
    assert run.history["validation_accuracy"][-1] == right > 0.5
    assert run.history["validation_loss"][-1] == land.with_data(X[300:600], Y[300:600]).loss(run.theta)


@pytest.mark.parametrize(("loss", "has_accuracy"), [(us.nn.BCEWithLogits(), True), (us.nn.MSE(), False)])
def test_validation_of_other_losses(loss, has_accuracy):
    net = us.nn.Network(us.nn.Linear(64, 1), input_shape=(64,), seed=0)
    y = (Y % 2).astype(np.float32)
    land = us.NetworkLandscape(net, loss, X[:300], y[:300])
    run = us.Trainer(land, us.optim.Adam(lr=1e-2), validation=(X[300:], y[300:]))
    run.fit(epochs=3)
    accuracies = run.history["validation_accuracy"]
    assert np.isfinite(accuracies).all() == has_accuracy
    if has_accuracy:
        assert accuracies[-1] == np.mean((net.predict(X[300:])[:, 0] > 0) == (y[300:] > 0.5)) > 0.6


def test_the_moving_average_follows_a_network_too():
    run = us.Trainer(landscape("float64"), us.optim.SGD(lr=0.1), 32, ema=0.9)
    average = run.theta.copy()
    for _ in range(12):
        run.fit(steps=1)
        average = 0.9 * average + 0.1 * run.theta
    np.testing.assert_allclose(run.average, average, rtol=1e-12)
    plain = us.Trainer(landscape("float64"), us.optim.SGD(lr=0.1), 32)
    plain.fit(steps=12)
    np.testing.assert_allclose(run.theta, plain.theta, rtol=1e-9)


@pytest.mark.parametrize("batch_size", [32, 10_000])
def test_an_overflow_names_step_and_block_and_leaves_the_run_usable(batch_size):
    rng = np.random.default_rng(0)
    net = us.nn.Network(us.nn.Linear(5, 8), us.nn.ReLU(), us.nn.Linear(8, 1), input_shape=(5,), seed=0)
    A = rng.normal(size=(200, 5)).astype(np.float32)
    land = us.NetworkLandscape(net, us.nn.MSE(), A, A[:, :1])
    run = us.Trainer(land, us.optim.SGD(lr=50.0), batch_size)
    with pytest.raises(NonFiniteError, match=r"step \d+ .*`(0|2)\.(weight|bias)`|loss"):
        run.fit(steps=500)
    assert run.failure.step == run.t + 1 == run.history.updates + 1
    assert run.opt.t == run.t
    assert np.isfinite(run.history["loss"]).all()
    digest = run.digest()
    with pytest.raises(NonFiniteError, match=f"step {run.failure.step} "):
        run.fit(steps=1)
    assert run.digest() == digest


def test_all_data_in_one_call_counts_every_epoch():
    run = us.Trainer(landscape(), us.optim.SGD(lr=0.1), batch_size=300)
    run.fit(epochs=40)
    assert run.epoch == 40
    assert run.history["epoch"].tolist() == list(range(40))
    assert run.history["samples"].tolist() == [300] * 40


CTRL_C = """
import os, signal, sys, time
import numpy as np
import unstuck as us
X, Y = us.data.digits()
net = us.nn.Network(us.nn.Linear(64, 32), us.nn.Tanh(), us.nn.Linear(32, 10), input_shape=(64,), seed=0)
land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, Y)
run = us.Trainer(land, us.optim.Adam(lr=1e-3), batch_size={batch_size})
run.fit(steps=3)
print("ready", flush=True)
try:
    run.fit(steps=10**9)
except KeyboardInterrupt:
    stopped = time.time()
assert run.t == run.opt.t == run.history.updates > 3
assert run.sampler.epoch * run.sampler.steps_per_epoch + run.sampler.position == run.t
again = us.Trainer(us.NetworkLandscape(us.nn.Network(*net.layers, input_shape=(64,), seed=0),
                   us.nn.CrossEntropy(), X, Y), us.optim.Adam(lr=1e-3), batch_size={batch_size})
again.fit(steps=run.t)
assert again.digest() == run.digest()
run.fit(steps=5)
print(stopped, flush=True)
"""


@pytest.mark.parametrize(("batch_size", "delay"), [(32, 0.1), (32, 0.33), (5000, 0.2)])
def test_ctrl_c_in_the_core_is_answered_soon_and_nothing_is_lost(batch_size, delay):
    assert interrupted(CTRL_C.format(batch_size=batch_size), delay) < 0.5
