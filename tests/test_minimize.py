"""minimize: an optimizer's path on any landscape, and what is kept when it leaves the finite world."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from surfaces import lecture, quadratic, rosenbrock


def test_losses_belong_to_the_points():
    land = lecture()
    path = us.minimize(land, us.optim.SGD(lr=0.05), np.array([0.5, 0.1]), steps=50)
    assert path.thetas.shape == (51, 2)
    assert path.losses.shape == path.gradient_norms.shape == (51,)
    assert [land.loss(w) for w in path.thetas] == list(path.losses)
    assert np.array_equal(path.thetas[-1], path.theta)
    assert path.losses[-1] < path.losses[0]
    assert "50 steps" in str(path)


def test_matches_gradient_descent_by_hand():
    h = np.array([1.0, 10.0, 3.0])
    path = us.minimize(quadratic(h), us.optim.SGD(lr=0.05), np.ones(3), steps=20)
    assert np.allclose(path.theta, (1 - 0.05 * h) ** 20, rtol=1e-13)


def test_the_optimizer_and_the_start_stay_as_they_are():
    opt, start = us.optim.Adam(lr=0.1), np.array([-1.0, 1.0])
    opt.init(2, dtype=np.float64)
    first = us.minimize(rosenbrock(), opt, start, steps=30)
    second = us.minimize(rosenbrock(), opt, start, steps=30)
    assert np.array_equal(first.thetas, second.thetas)
    assert opt.t == 0
    assert np.array_equal(start, [-1.0, 1.0])


@pytest.mark.parametrize("rule", ["SGD", "LAMB"])
def test_blocks_have_their_own_settings_and_trust_ratios(rule):
    blocks = [("flat", slice(0, 1), (1,)), ("steep", slice(1, 3), (2,))]
    land = us.FunctionLandscape(lambda w: float(w**4 @ [1, 9, 5]), lambda w: 4 * w**3 * [1, 9, 5], n=3, blocks=blocks)
    opt, start = getattr(us.optim, rule)(lr=0.01, per_block={"steep": {"lr": 0.5}}), np.array([1.0, 2.0, -1.0])
    run = us.Trainer(land, opt.copy(), theta=start).fit(steps=20)
    assert np.array_equal(us.minimize(land, opt, start, steps=20).theta, run.theta)


def test_without_path_only_the_last_point_is_kept():
    path = us.minimize(lecture(), us.optim.SGD(lr=0.05), np.array([0.5, 0.1]), steps=5, record_path=False)
    assert path.thetas is None
    assert path.losses.size == 6


def test_no_steps_give_the_start():
    path = us.minimize(lecture(), us.optim.SGD(lr=0.05), np.array([0.5, 0.1]), steps=0)
    assert path.thetas.tolist() == [[0.5, 0.1]]


def test_float32_stays_float32():
    land = quadratic(np.ones(3), dtype="float32")
    path = us.minimize(land, us.optim.SGD(lr=0.1), np.ones(3), steps=3)
    assert path.thetas.dtype == path.theta.dtype == np.float32


def test_divergence_names_the_update_and_loses_nothing():
    with pytest.raises(us.errors.NonFiniteError, match=r"after update \d+") as caught:
        us.minimize(separable_quartic(), us.optim.SGD(lr=1.0), np.array([3.0]), steps=100)
    path = caught.value.path
    assert 1 < path.losses.size < 100
    assert len(path.thetas) == path.losses.size
    assert f"after update {path.losses.size}" in str(caught.value)
    assert np.isfinite(path.losses).all()
    assert np.isfinite(path.thetas).all()


def test_interrupt_carries_the_path():
    def stop(done, steps):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        us.minimize(lecture(), us.optim.SGD(lr=0.05), np.array([0.5, 0.1]), steps=50, progress=stop)
    assert caught.value.path.losses.size == 7


def test_progress_counts_the_updates():
    seen = []
    us.minimize(
        lecture(),
        us.optim.SGD(lr=0.05),
        np.array([0.5, 0.1]),
        3,
        progress=lambda done, steps: seen.append((done, steps)),
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"steps": -1}, us.errors.ArgumentError, "steps"),
        ({"steps": 2.5}, us.errors.ArgumentError, "steps"),
        ({"steps": True}, us.errors.ArgumentError, "steps"),
        ({"opt": "adam"}, us.errors.ArgumentTypeError, "opt"),
        ({"theta0": np.zeros(3)}, us.errors.ArgumentError, "theta"),
        ({"theta0": np.array([0, np.nan])}, us.errors.NonFiniteError, "theta"),
    ],
)
def test_bad_arguments(change, error, says):
    arguments = {"opt": us.optim.SGD(lr=0.1), "theta0": np.zeros(2), "steps": 3} | change
    with pytest.raises(error, match=says):
        us.minimize(lecture(), **arguments)


def separable_quartic():
    def loss(w):
        with np.errstate(over="ignore"):
            return float(w[0] ** 4)

    def gradient(w):
        with np.errstate(over="ignore"):
            return 4 * w**3

    return us.FunctionLandscape(loss, gradient, n=1)
