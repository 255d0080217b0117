"""Schedules that watch the training, in the trainer: what they are told and when, saved, forked, interrupted."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from unstuck import schedules
from unstuck.doctor.forks import with_rate
from unstuck.errors import ArgumentError


def plateau(**options):
    return schedules.reduce_on_plateau(0.5, 0.5, **{"patience": 1, "threshold": 0.05, **options})


def trainer(lr, *, landscape=None, **options):
    land = SoftmaxRegression(*blobs()) if landscape is None else landscape
    return us.Trainer(land, us.optim.SGD(lr=lr), **{"batch_size": 48, "seed": 5, **options})


def network():
    X, y = blobs()
    net = us.nn.Network(us.nn.Linear(5, 8), us.nn.Tanh(), us.nn.Linear(8, 3), input_shape=(5,), seed=0, dtype="float64")
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)


def replay(schedule, losses, per_epoch, accuracies=None):
    """The rate of every update, had the schedule been told these at the ends of the epochs."""
    rates = []
    for epoch, loss in enumerate(losses):
        rates += [schedule(per_epoch * epoch + i) for i in range(per_epoch)]
        share = None if accuracies is None else accuracies[epoch]
        schedule = schedule.observe(per_epoch * (epoch + 1), loss, share)
    return rates, schedule


@pytest.mark.parametrize("landscape", [None, network], ids=["numpy", "engine"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_training_loss_of_each_epoch_is_told(landscape, ema):
    run = trainer(plateau(), landscape=landscape and landscape(), ema=ema)
    run.fit(epochs=30)
    epochs, losses = run.history.epoch_losses()
    rates, last = replay(plateau(), losses, 5)
    np.testing.assert_allclose(run.history["lr"], rates, rtol=1e-15)
    assert run.history["lr"][-1] < 0.1, "the rate has fallen"
    assert run.opt.lr.settings["level"] == pytest.approx(last.settings["level"])
    assert len(epochs) == 30


def test_the_validation_is_told_where_there_is_one():
    for watch in ("loss", "accuracy"):
        run = trainer(plateau(watch=watch), validation=blobs(seed=2))
        run.fit(epochs=20)
        seen = run.history["validation_loss"], run.history["validation_accuracy"]
        rates, last = replay(plateau(watch=watch), seen[0], 5, seen[1])
        assert run.history["lr"].tolist() == rates
        assert run.opt.lr == last
        assert rates[-1] < 0.5


@pytest.mark.parametrize("samples", [None, 200])
def test_full_batches_are_told_of_every_update(samples):
    bowl = us.FunctionLandscape(lambda w: 0.5 * float(w @ w), lambda w: w, n=2, theta=np.array([1.0, 2.0]))
    strict = plateau(threshold=0.9, patience=0)
    run = trainer(strict, landscape=None if samples else bowl, batch_size=10**6)
    run.fit(steps=20)
    assert run.history["lr"].tolist() == replay(strict, run.history["loss"], 1)[0]
    assert run.history["lr"][-1] < 0.5


def test_minimize_tells_what_the_trainer_does():
    land = us.FunctionLandscape(lambda w: 0.5 * float(w @ w), lambda w: w, n=2)
    opt, start = us.optim.SGD(lr=plateau(threshold=0.9, patience=0)), np.array([1.0, 2.0])
    path = us.minimize(land, opt, start, 20)
    run = us.Trainer(land, opt.copy(), batch_size=1, seed=0, theta=start)
    run.fit(steps=20)
    np.testing.assert_array_equal(run.theta, path.theta)
    assert opt.lr(0) == 0.5, "the caller's optimizer is left as it was"


def test_warm_up_ends_when_the_goal_is_reached():
    base = schedules.exponential(0.2, 0.9)
    run = trainer(schedules.warmup_until(base, start=0.05, loss=1.0), landscape=network())
    run.fit(epochs=40)
    _, losses = run.history.epoch_losses()
    since = 5 * (1 + int(np.flatnonzero(losses <= 1.0)[0]))
    assert 5 < since < 150
    assert run.opt.lr.settings["since"] == since
    np.testing.assert_allclose(run.history["lr"][:since], 0.01, rtol=1e-12)
    np.testing.assert_allclose(run.history["lr"][since:], [base(t) for t in range(200 - since)], rtol=1e-12)


@pytest.mark.parametrize("stop", [1, 23, 50, 99])
def test_going_on_equals_not_having_stopped(stop, tmp_path):
    whole, part = trainer(plateau()), trainer(plateau())
    whole.fit(steps=120)
    part.fit(steps=stop)
    part.save(tmp_path / "run")
    resumed = us.Trainer.load(tmp_path / "run", SoftmaxRegression(*blobs()))
    assert resumed.opt.lr == part.opt.lr
    resumed.fit(steps=120 - stop)
    assert resumed.digest() == whole.digest()
    assert resumed.history["lr"].tolist() == whole.history["lr"].tolist()


def test_a_state_carries_the_schedule_and_a_fork_has_its_own():
    run = trainer(plateau())
    run.fit(epochs=5)
    before, digest = run.state(), run.digest()
    fork, faster = run.fork(), with_rate(run.fork(), 0.5)
    for twin in (fork, faster):
        twin.fit(epochs=20)
    assert run.digest() == digest
    assert fork.opt.lr != run.opt.lr
    assert faster.history["lr"][0] == 0.5 * run.opt.rate(run.t)
    assert faster.opt.rate(faster.t) < faster.history["lr"][0], "a scaled schedule goes on watching"
    run.fit(epochs=20)
    assert run.opt.lr == fork.opt.lr
    run.restore(before)
    assert run.digest() == digest


@pytest.mark.parametrize("watch", ["loss", "accuracy"])
def test_a_fork_is_told_of_the_validation_too(watch):
    run = trainer(plateau(watch=watch), validation=blobs(seed=2))
    run.fit(steps=17)
    fork = run.fork()
    fork.fit(epochs=15)
    run.fit(epochs=15)
    np.testing.assert_array_equal(fork.theta, run.theta)
    assert fork.opt.lr == run.opt.lr
    assert us.diagnose(run).notes == ()


def test_accuracy_needs_validation():
    run = trainer(plateau(watch="accuracy"))
    with pytest.raises(ArgumentError, match="`validation` is needed: the schedule reduce_on_plateau"):
        run.fit(epochs=1)
    assert run.t == 0


def test_only_the_learning_rate_can_watch():
    momentum = schedules.reduce_on_plateau(0.9)
    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.SGD(lr=0.1, momentum=momentum), batch_size=48, seed=5)
    with pytest.raises(ArgumentError, match="`momentum` cannot be reduce_on_plateau"):
        run.fit(epochs=1)


class Interrupting(SoftmaxRegression):
    """A second Ctrl-C arrives while the validation of epoch 2 is measured."""

    calls = 0

    def loss(self, theta, batch=None):
        Interrupting.calls += 1
        if Interrupting.calls == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return super().loss(theta, batch)


class Validated(SoftmaxRegression):
    def with_data(self, X, y):
        return Interrupting(X, y, self.theta, self.l2, self.dtype)


def test_an_interrupted_validation_is_made_up_for():
    Interrupting.calls = 0
    run = trainer(plateau(), landscape=Validated(*blobs()), validation=blobs(seed=2))
    with pytest.raises(KeyboardInterrupt):
        run.fit(epochs=20)
    assert run.epoch == 2
    assert len(run.history["validation_loss"]) == 1
    run.fit(epochs=18)
    whole = trainer(plateau(), validation=blobs(seed=2))
    whole.fit(epochs=20)
    assert run.digest() == whole.digest()
    assert run.history["validation_step"].tolist() == whole.history["validation_step"].tolist()
    assert run.history["lr"].tolist() == whole.history["lr"].tolist()


@pytest.mark.parametrize("stop", [3, 17, 40])
def test_a_fork_begun_in_mid_epoch_tells_the_whole_epoch(stop):
    whole, part = trainer(plateau(patience=0, threshold=0.2)), trainer(plateau(patience=0, threshold=0.2))
    whole.fit(steps=stop + 60)
    part.fit(steps=stop)
    fork = part.fork()
    fork.fit(steps=1)
    twice = fork.fork()  # of a fork, still within the epoch or just beyond
    twice.fit(steps=59)
    assert twice.theta.tobytes() == whole.theta.tobytes()
    assert twice.opt.rate(twice.t) == whole.opt.rate(whole.t)
