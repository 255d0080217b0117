"""Things refused or handled since somebody tried them: sizes that overflow, special files, damage, half-made runs."""

import numpy as np
import pytest

import unstuck as us


def landscape(dtype="float32"):
    rng = np.random.default_rng(0)
    net = us.nn.Network(us.nn.Linear(4, 3), input_shape=(4,), dtype=dtype)
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), rng.normal(size=(20, 4)), np.arange(20) % 3)


@pytest.mark.parametrize("batch_size", [21, 2**62, 2**63 - 1, 2**70])
def test_a_batch_beyond_all_samples_is_all_of_them(batch_size):
    land, reference = landscape(), landscape()
    us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=batch_size).fit(epochs=2)
    us.Trainer(reference, us.optim.SGD(lr=0.1), batch_size=20).fit(epochs=2)
    np.testing.assert_array_equal(land.theta, reference.theta)


def test_a_special_file_is_never_replaced(tmp_path):
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(us.errors.ArgumentError, match="not a regular file"):
        landscape().net.save(pipe)
    assert pipe.is_fifo()


def test_every_damaged_bit_of_the_parameters_is_noticed(tmp_path):
    net = landscape().net
    net.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    for back in range(1, 4 * net.n, 7):
        damaged = bytearray(content)
        damaged[-back] ^= 1
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(us.errors.CheckpointError):
            us.nn.Network.load(tmp_path / "damaged")


def test_a_run_that_cannot_be_made_leaves_the_point_alone():
    land = landscape()
    before = land.theta.copy()
    with pytest.raises(ValueError, match="labels"):
        us.Trainer(land, us.optim.SGD(lr=0.1), theta=np.zeros(land.n), validation=(land.X, land.y + 99))
    np.testing.assert_array_equal(land.theta, before)


def test_a_new_optimizer_may_be_assigned():
    run = us.Trainer(landscape(), us.optim.SGD(lr=0.1), batch_size=5)
    run.fit(epochs=1)
    run.opt = us.optim.Adam(lr=1e-2)
    run.fit(epochs=1)
    assert run.t == 8
    with pytest.raises(TypeError, match="opt"):
        run.opt = us.optim.SGD


def test_no_certified_minimum_where_units_sit_at_their_kink():
    """At zero the Hessian of this ReLU network is 2·l2 or more everywhere, yet a pair of weights leads down."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3))
    y = np.abs(X[:, :1]) - np.abs(X[:, :1]).mean()
    net = us.nn.Network(
        us.nn.Linear(3, 8), us.nn.ReLU(), us.nn.Linear(8, 1), input_shape=(3,), init="zeros", dtype="float64"
    )
    land = us.NetworkLandscape(net, us.nn.MSE(), X, y, l2=1e-3)
    down = np.zeros(land.n)
    down[0], down[32] = 1e-3, -1e-3
    assert min(land.loss(down), land.loss(-down)) < land.loss(0 * down)
    point = us.classify(land)
    assert point.verdict is us.Verdict.DEGENERATE
    assert point.kink is True
    assert "kink" in str(point)


@pytest.mark.parametrize("answer", [lambda w: (w @ w, 2 * w), lambda w: np.ma.masked_array(w, [1, 0]), lambda w: "x"])
def test_a_gradient_that_is_no_array_of_numbers_is_named(answer):
    land = us.FunctionLandscape(lambda w: w @ w, answer, 2)
    with pytest.raises(us.errors.OperatorError, match="gradient"):
        us.classify(land, np.zeros(2))
