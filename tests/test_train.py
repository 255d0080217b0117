"""Trainer: order of the samples, arithmetic of an update, history, interrupts, non-finite losses."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from unstuck.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from unstuck.sampler import Sampler, epoch_order


def regression(**options):
    return SoftmaxRegression(*blobs(), **options)


def trainer(land=None, opt=None, **options):
    land = regression() if land is None else land
    return us.Trainer(land, us.optim.SGD(lr=0.1) if opt is None else opt, **options)


def bowl(theta=(1.0, 2.0), **options):
    return us.FunctionLandscape(
        lambda w: 0.5 * float(w @ w), lambda w: w, n=2, lower_bound=0.0, theta=np.array(theta), **options
    )


# ---- the order of the samples


def test_every_epoch_visits_every_sample_once_in_a_fresh_order():
    first, second = epoch_order(1000, 7, 0), epoch_order(1000, 7, 1)
    assert sorted(first) == sorted(second) == list(range(1000))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order(1000, 7, 0))
    assert not np.array_equal(first, epoch_order(1000, 8, 0))


def test_the_order_is_the_same_in_every_version():
    # Philox words are fixed by its definition: a saved run must go on alike in a later version
    assert epoch_order(8, 0, 0).tolist() == [0, 2, 1, 5, 4, 3, 6, 7]
    assert epoch_order(8, 3, 2).tolist() == [2, 4, 1, 3, 6, 5, 0, 7]
    assert epoch_order(8, 2**64 - 1, 1).tolist() == [3, 7, 2, 5, 4, 0, 6, 1]


def test_positions_of_samples_are_uniform():
    # mean position of one sample over 2,000 epochs: 49.5 with standard error 29/√2000 = 0.65
    places = [int(np.flatnonzero(epoch_order(100, 1, epoch) == 17)[0]) for epoch in range(2000)]
    assert abs(np.mean(places) - 49.5) < 4 * 0.65


def test_the_last_partial_batch_is_kept():
    sampler = Sampler(10, 4, 0)
    sizes = []
    for _ in range(sampler.steps_per_epoch):
        sizes.append(len(sampler.batch()))
        assert sampler.sizes(1)[0] == sizes[-1]
        sampler.advance(1)
    assert sizes == [4, 4, 2]
    assert (sampler.epoch, sampler.position) == (1, 0)


def test_the_smallest_batch_ahead():
    from unstuck.sampler import Sampler

    sampler = Sampler(21, 20, 0)
    assert [sampler.smallest(steps) for steps in (1, 2, 9)] == [20, 1, 1]
    sampler.advance(1)
    assert sampler.smallest(1) == 1
    assert Sampler(20, 5, 0).smallest(100) == 5
    assert Sampler(7, 20, 0).smallest(3) == 7
    assert Sampler(None, 20, 0).smallest(3) == 0


# ---- the arithmetic


def test_updates_are_those_of_a_plain_loop():
    land, reference = regression(), regression()
    run = trainer(land, us.optim.SGD(lr=0.1, momentum=0.9), batch_size=32, seed=3)
    run.fit(epochs=3)
    theta, buffer, losses = reference.theta.copy(), np.zeros(reference.n), []
    for epoch in range(3):
        order = epoch_order(200, 3, epoch)
        for start in range(0, 200, 32):
            loss, g = reference.gradient(theta, order[start : start + 32])
            buffer = g if not losses else 0.9 * buffer + g
            theta = theta - 0.1 * buffer
            losses.append(loss)
    np.testing.assert_allclose(run.theta, theta, rtol=0, atol=1e-13)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-12)
    assert run.t == run.opt.t == 21
    assert run.epoch == 3


def test_a_batch_as_large_as_the_data_is_all_data_in_natural_order():
    run = trainer(batch_size=200)
    run.fit(steps=5)
    other = trainer(batch_size=10_000, seed=9)
    other.fit(epochs=5)
    assert run.theta.tobytes() == other.theta.tobytes()
    assert run.epoch == 5
    assert run.history["samples"].tolist() == [200] * 5


def test_training_moves_the_landscapes_own_point():
    land = regression()
    run = trainer(land)
    run.fit(steps=1)
    assert run.theta is land.theta
    assert land.theta.any()


def test_the_epoch_loss_weights_batches_by_their_samples():
    run = trainer(opt=us.optim.SGD(lr=0.0), batch_size=64)
    run.fit(epochs=2)
    epochs, losses = run.history.epoch_losses()
    assert epochs.tolist() == [0, 1]
    np.testing.assert_allclose(losses, run.land.loss(run.theta), rtol=1e-12)


def test_clipping_keeps_the_direction():
    land = bowl((3.0, 4.0))
    run = us.Trainer(land, us.optim.SGD(lr=1.0), clip_norm=0.5)
    run.fit(steps=1)
    np.testing.assert_allclose(run.theta, [3.0 - 0.3, 4.0 - 0.4], rtol=1e-12)
    assert run.history["gradient_norm"].tolist() == [5.0]


def test_the_moving_average_follows_every_update():
    run = us.Trainer(bowl(), us.optim.SGD(lr=0.1), ema=0.9)
    run.fit(steps=20)
    theta = average = np.array([1.0, 2.0])
    for _ in range(20):
        theta = theta - 0.1 * theta
        average = 0.9 * average + 0.1 * theta
    np.testing.assert_allclose(run.average, average, rtol=1e-12)


def test_the_learning_rate_may_be_a_schedule_and_may_change_between_fits():
    run = trainer(opt=us.optim.SGD(lr=lambda t: 0.1 / (t + 1)))
    run.fit(steps=4)
    run.opt.lr = 0.5
    run.fit(steps=2)
    np.testing.assert_allclose(run.history["lr"], [0.1, 0.05, 0.1 / 3, 0.025, 0.5, 0.5])
    assert run.history["step"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_surface_without_data():
    run = us.Trainer(bowl(), us.optim.Adam(lr=0.1))
    run.fit(steps=200)
    assert run.history["loss"][-1] < 1e-3 < run.history["loss"][0]
    with pytest.raises(ArgumentError, match="`epochs` has no meaning"):
        run.fit(epochs=1)


def test_validation_follows_every_epoch():
    X, y = blobs(seed=1)
    land = SoftmaxRegression(X[:150], y[:150])
    run = trainer(land, validation=(X[150:], y[150:]), batch_size=50)
    run.fit(epochs=4)
    history = run.history
    assert history["validation_epoch"].tolist() == [1, 2, 3, 4]
    assert history["validation_step"].tolist() == [3, 6, 9, 12]
    assert history["validation_loss"][-1] == land.with_data(X[150:], y[150:]).loss(run.theta)
    assert history["validation_accuracy"][-1] == land.with_data(X[150:], y[150:]).accuracy(run.theta)
    run.fit(steps=2)
    assert len(history["validation_loss"]) == 4


def test_history_arrays_are_read_only_and_named():
    run = trainer()
    run.fit(epochs=1)
    assert set(run.history) >= {"step", "epoch", "loss", "gradient_norm", "lr", "samples"}
    with pytest.raises(ValueError, match="read-only"):
        run.history["loss"][0] = 0.0
    with pytest.raises(KeyError, match="gradient_norm"):
        run.history["grad"]


def test_progress_is_called_at_the_end():
    calls = []
    trainer().fit(steps=7, progress=lambda *call: calls.append(call))
    assert calls[-1][:2] == (7, 7)
    assert "loss" in calls[-1][2]


# ---- arguments


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"batch_size": 0}, ArgumentError, "batch_size"),
        ({"batch_size": 2.5}, ArgumentTypeError, "batch_size"),
        ({"batch_size": True}, ArgumentTypeError, "batch_size"),
        ({"seed": -1}, ArgumentError, "seed"),
        ({"seed": 2**64}, ArgumentError, "seed"),
        ({"clip_norm": 0.0}, ArgumentError, "clip_norm"),
        ({"clip_norm": float("nan")}, ArgumentError, "clip_norm"),
        ({"ema": 1.0}, ArgumentError, "ema"),
        ({"ema": 0.0}, ArgumentError, "ema"),
        ({"validation": 3}, ArgumentTypeError, "validation"),
        ({"theta": np.zeros(3)}, ArgumentError, "theta"),
        ({"theta": np.full(15, np.nan)}, ArgumentError, "theta"),
    ],
)
def test_bad_arguments_are_named(options, error, match):
    with pytest.raises(error, match=match):
        trainer(**options)


def test_wrong_kinds_of_arguments():
    with pytest.raises(ArgumentTypeError, match="`land`"):
        us.Trainer(lambda w: 0.0, us.optim.SGD(lr=0.1))
    with pytest.raises(ArgumentTypeError, match="`opt`"):
        us.Trainer(regression(), 0.1)
    with pytest.raises(ArgumentError, match="`validation` needs"):
        us.Trainer(bowl(), us.optim.SGD(lr=0.1), validation=(1, 2))
    no_start = us.FunctionLandscape(lambda w: 0.0, lambda w: w, n=2)
    with pytest.raises(ArgumentError, match="`theta` must be given"):
        us.Trainer(no_start, us.optim.SGD(lr=0.1))
    run = trainer()
    for bad in ({}, {"epochs": 1, "steps": 1}, {"steps": -1}):
        with pytest.raises(ArgumentError):
            run.fit(**bad)
    with pytest.raises(ArgumentTypeError):
        run.fit(steps=1.5)


def test_a_schedule_that_gives_nonsense_is_named_and_changes_nothing():
    run = trainer(opt=us.optim.SGD(lr=lambda t: 0.1 if t < 2 else float("nan")))
    with pytest.raises(ArgumentError, match="lr"):
        run.fit(steps=5)
    assert run.t == run.opt.t == 2


# ---- state


def test_restoring_a_state_undoes_everything():
    run = trainer(opt=us.optim.Adam(lr=0.05), ema=0.9)
    run.fit(steps=10)
    state, digest = run.state(), run.digest()
    run.fit(steps=13)
    later = run.digest()
    assert later != digest
    run.restore(state)
    assert (run.digest(), run.t) == (digest, 10)
    run.fit(steps=13)
    assert run.digest() == later


def test_a_state_shares_no_memory_with_the_run():
    run = trainer(opt=us.optim.SGD(lr=0.1, momentum=0.9))
    run.fit(steps=3)
    state = run.state()
    digest = state.digest()
    run.fit(steps=3)
    assert state.digest() == digest
    twin = state.copy()
    twin.theta[0] += 1.0
    assert state.digest() == digest != twin.digest()


def test_a_digest_sees_every_part():
    def fresh():
        run = trainer(opt=us.optim.Adam(lr=0.05))
        run.fit(steps=3)
        return run

    digests = [fresh().digest()]
    for change in (
        lambda run: run.theta.__setitem__(0, np.nextafter(run.theta[0], 9.0)),
        lambda run: run.opt.slots[0].__setitem__(0, 1.0),
        lambda run: run.sampler.advance(1),
        lambda run: setattr(run.opt, "lr", 0.06),
        lambda run: setattr(run.opt, "t", 4),
    ):
        run = fresh()
        change(run)
        digests.append(run.digest())
    assert len(set(digests)) == len(digests)


def test_moving_starts_the_optimizer_afresh_but_not_the_schedule():
    run = trainer(opt=us.optim.Adam(lr=lambda t: 1.0 / (t + 1)))
    run.fit(steps=5)
    run.move_to(np.ones(run.land.n), kind="escape", text="along v")
    assert run.history.events == [{"step": 5, "kind": "escape", "text": "along v"}]
    assert not any(slot.any() for slot in run.opt.slots)
    before = run.theta.copy()
    run.fit(steps=1)
    assert run.history["lr"][-1] == pytest.approx(1 / 6)
    # the first step of a fresh Adam has length lr in every coordinate with a gradient
    np.testing.assert_allclose(np.abs(run.theta - before).max(), 1 / 6, rtol=1e-4)
    with pytest.raises(ArgumentError):
        run.move_to(np.full(run.land.n, np.inf))


# ---- losses that are not finite


def test_a_non_finite_loss_names_step_and_block_and_leaves_the_run_usable():
    land = regression()
    run = trainer(land, us.optim.Adam(lr=0.1), batch_size=32, seed=1)
    run.fit(steps=10)
    land.X[epoch_order(200, 1, 1)[3 * 32 + 5]] = np.inf  # in the eleventh update of the second epoch
    digest = run.digest()
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=r"step 11 .*`weight`"):
        run.fit(epochs=1)
    assert run.digest() == digest
    assert (run.failure.step, run.failure.block, run.failure.epoch) == (11, "weight", 1)
    land.X[~np.isfinite(land.X)] = 0.0
    run.fit(steps=20)
    assert run.failure is None
    assert run.t == run.opt.t == run.history.updates == 30


def test_a_bad_loss_with_a_good_gradient_is_named_loss():
    land = us.FunctionLandscape(lambda w: float("inf"), lambda w: w, n=2, theta=np.ones(2))
    run = us.Trainer(land, us.optim.SGD(lr=0.1))
    with pytest.raises(NonFiniteError, match="the loss is inf"):
        run.fit(steps=1)
    assert run.failure.block == "loss"
    assert run.t == 0


def test_divergence_ends_in_an_error_with_finite_parameters():
    # curvature 1, lr 3: |θ| doubles each step until the loss overflows
    run = us.Trainer(bowl(), us.optim.SGD(lr=3.0))
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="lower `lr`"):
        run.fit(steps=5000)
    assert np.isfinite(run.theta).all()
    assert run.history.updates == run.t > 400
