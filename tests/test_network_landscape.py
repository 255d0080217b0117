"""NetworkLandscape as an object: the protocol, what it copies and what stays live, other data, both modes."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from array_kinds import kinds
from network_cases import LOSSES, Case, chain

CASE = Case("object", chain((5, 6, 3), "tanh"), "cross_entropy", samples=40, l2=0.25)


def test_protocol():
    for dtype in ("float32", "float64"):
        land, *_ = CASE.landscape(us, dtype)
        assert isinstance(land, us.Landscape)
        assert land.n == land.net.theta.size
        assert land.dtype == np.dtype(dtype)
        assert land.blocks == land.net.blocks
        assert land.samples == 40
        assert np.shares_memory(land.theta, land.net.theta)
        assert isinstance(land.loss(land.theta), float)
        assert isinstance(land.gradient(land.theta)[0], float)


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_falls_below_the_lower_bound(name):
    case = Case(name, chain((5, 6, 3), "tanh"), name, samples=40)
    land, theta, *_ = case.landscape(us)
    assert land.lower_bound == 0.0
    for scale in (0.0, 1.0, 30.0):
        assert land.loss(scale * theta) >= 0.0


def test_what_is_copied_and_what_is_not():
    X, y, _ = CASE.data()
    weight = np.ones(40)
    land = us.NetworkLandscape(CASE.network(us), CASE.loss_function(us), X, y, sample_weight=weight)
    theta = CASE.theta()
    before = land.loss(theta)
    y[:] = 2**40  # out of range: must never reach the core
    weight[:] = np.nan
    assert land.loss(theta) == before
    assert np.shares_memory(land.X, X)
    X[:] *= 2.0
    assert land.loss(theta) != before
    batch = np.arange(40)
    H = land.hessian(theta, batch)
    product = H @ np.ones(land.n)
    batch[:] = 2**40
    np.testing.assert_array_equal(H @ np.ones(land.n), product)


def test_with_data_is_the_same_net_and_loss_without_the_penalty():
    land, theta, X, y, _ = CASE.landscape(us)
    other = land.with_data(X[:10], y[:10])
    assert other.net is land.net
    assert other.samples == 10
    penalty = 0.5 * CASE.l2 * float(theta @ theta)
    assert other.loss(theta) == pytest.approx(land.loss(theta, np.arange(10)) - penalty, rel=1e-12)


def test_both_modes_agree_for_layers_that_do_not_couple_samples():
    X, y, _ = CASE.data()
    theta = CASE.theta()
    one, two = (
        us.NetworkLandscape(CASE.network(us), CASE.loss_function(us), X, y, mode=mode) for mode in ("eval", "train")
    )
    assert one.loss(theta) == two.loss(theta)
    np.testing.assert_array_equal(one.gradient(theta)[1], two.gradient(theta)[1])
    v = CASE.vectors(1)[:, 0]
    np.testing.assert_array_equal(one.hessian(theta) @ v, two.hessian(theta) @ v)


def test_images_are_flattened_in_c_order():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(9, 2, 3))
    net = us.nn.Network(us.nn.Linear(6, 2), input_shape=(2, 3), seed=0, dtype="float64")
    flat = us.nn.Network(us.nn.Linear(6, 2), input_shape=(6,), seed=0, dtype="float64")
    np.testing.assert_array_equal(net.predict(images), flat.predict(images.reshape(9, 6)))
    land = us.NetworkLandscape(net, us.nn.MSE(), images, np.zeros((9, 2)))
    assert land.loss(net.theta) == pytest.approx(np.mean(flat.predict(images.reshape(9, 6)) ** 2), rel=1e-13)
    with pytest.raises(ValueError, match="`X`"):
        net.predict(images.reshape(9, 6))


def test_function_landscape_takes_any_array(tmp_path):
    A = np.diag([3.0, -1.0, 0.5, 2.0])
    land = us.FunctionLandscape(lambda t: 0.5 * t @ A @ t, lambda t: A @ t, n=4, hvp=lambda t, v: A @ v)
    point = np.array([0.5, -2.0, 1.0, 4.0])
    calls = (land.loss, lambda t: land.gradient(t)[1], lambda t: land.hessian(t) @ np.ones(4))
    for kind, array, numbers in kinds(point, tmp_path):
        for call in calls:
            try:
                found = call(array)
            except (TypeError, ValueError) as error:
                assert "`theta`" in str(error), kind
                assert kind in {"object", "masked", "0-d"}, kind
                continue
            assert numbers is not None, f"{kind} must be refused"
            np.testing.assert_allclose(found, call(numbers), rtol=1e-14, err_msg=kind)
