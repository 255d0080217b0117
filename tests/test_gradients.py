"""Loss and gradient of networks against the NumPy reference, PyTorch and differences."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from network_cases import CASES, GRID, Case, chain
from oracles import central_difference, relative_error

TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
TALL = [
    Case(f"rows_{n}", chain((6, 9, 8, 3), "gelu"), "smoothed_weighted", n, weighted_samples=True)
    for n in (1, 2, 15, 16, 17, 63, 64, 65, 129, 257, 2051)
]
TALL_AND_WIDE = Case("tall_and_wide", chain((330, 400, 3), "silu"), samples=1100)
WIDE = Case("wide", chain((784, 512, 512, 10), "tanh"), samples=48)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_against_the_reference(dtype):
    for case in [*CASES, *TALL, WIDE, TALL_AND_WIDE]:
        land, theta, X, y, weight = case.landscape(us, dtype)
        reference = case.reference()
        loss, gradient = land.gradient(theta)
        assert gradient.dtype == dtype
        assert gradient.shape == (land.n,) == (reference.size(),)
        expected = reference.loss(theta, X, y, weight)
        assert float(loss) == pytest.approx(expected, rel={"float64": 1e-12, "float32": 2e-6}[dtype]), case
        assert relative_error(gradient, reference.gradient(theta, X, y, weight)) <= TOLERANCE[dtype], case
        assert land.loss(theta) == pytest.approx(float(loss), rel=1e-6 if dtype == "float32" else 1e-14), case


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_against_pytorch(dtype, torch):
    for case in (c for c in CASES if not c.weighted_samples):
        land, theta, X, y, _ = case.landscape(us, dtype)
        module = case.module(torch, dtype)
        parameters = list(module.parameters())
        loss = case.torch_loss(torch, dtype=dtype)(module(torch.from_numpy(X)), torch.from_numpy(y))
        loss = loss + 0.5 * case.l2 * sum((p**2).sum() for p in parameters)
        expected = torch.cat([g.ravel() for g in torch.autograd.grad(loss, parameters)]).numpy()
        found, gradient = land.gradient(theta)
        assert float(found) == pytest.approx(loss.item(), rel=1e-12 if dtype == "float64" else 5e-6), case
        assert relative_error(gradient, expected) <= TOLERANCE[dtype], case


def test_against_differences_of_the_loss():
    for case in GRID[::3]:
        if case.kinked:
            continue
        land, theta, *_ = case.landscape(us)
        v = case.vectors(1)[:, 0]
        slope = float(central_difference(lambda t: np.float64(land.loss(t)), theta, v, step=1e-4))
        assert land.gradient(theta)[1] @ v == pytest.approx(slope, rel=1e-6, abs=1e-8), case


def test_gradient_is_new_and_theta_untouched():
    land, theta, *_ = GRID[0].landscape(us)
    before, current = theta.copy(), land.net.theta.copy()
    _, first = land.gradient(theta)
    kept = first.copy()
    _, second = land.gradient(2.0 * theta)
    np.testing.assert_array_equal(first, kept)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(theta, before)
    np.testing.assert_array_equal(land.net.theta, current)


def test_batches():
    for case in CASES[::4]:
        land, theta, X, y, weight = case.landscape(us)
        rng = np.random.default_rng(2)
        for batch in (np.array([0]), rng.integers(0, len(X), 130), np.arange(len(X))[::-1], [0] * 5):
            rows = np.asarray(batch)
            part = None if weight is None else weight[rows]
            loss, gradient = land.gradient(theta, batch)
            assert float(loss) == pytest.approx(case.reference().loss(theta, X[rows], y[rows], part), rel=1e-12)
            expected = case.reference().gradient(theta, X[rows], y[rows], part)
            assert relative_error(gradient, expected) <= 1e-9, case
            assert float(land.loss(theta, batch)) == pytest.approx(float(loss), rel=1e-14)


def test_whole_batch_and_none_agree():
    case = TALL[-1]
    land, theta, X, *_ = case.landscape(us)
    assert relative_error(land.gradient(theta, np.arange(len(X)))[1], land.gradient(theta)[1]) <= 1e-13


def test_zero_sample_weights_leave_samples_out():
    case = Case("masked", chain((6, 9, 3), "tanh"), "weighted", samples=300)
    X, y, _ = case.data()
    weight = np.zeros(300)
    weight[:40] = 1.0
    theta = case.theta()
    masked = us.NetworkLandscape(case.network(us), case.loss_function(us), X, y, sample_weight=weight)
    cut = us.NetworkLandscape(case.network(us), case.loss_function(us), X[:40], y[:40])
    assert masked.loss(theta) == pytest.approx(cut.loss(theta), rel=1e-13)
    assert relative_error(masked.gradient(theta)[1], cut.gradient(theta)[1]) <= 1e-12
    v = case.vectors(1)[:, 0]
    assert relative_error(masked.hessian(theta) @ v, cut.hessian(theta) @ v) <= 1e-12


def test_scale_of_sample_weights_does_not_matter():
    case = Case("scaled", chain((6, 9, 3), "tanh"), "mse", samples=100)
    X, y, _ = case.data()
    theta = case.theta()
    one, many = (
        us.NetworkLandscape(case.network(us), case.loss_function(us), X, y, sample_weight=np.full(100, s))
        for s in (1.0, 512.0)
    )
    assert one.loss(theta) == pytest.approx(many.loss(theta), rel=1e-14)
    assert relative_error(one.gradient(theta)[1], many.gradient(theta)[1]) <= 1e-14


def test_nonfinite_theta_is_passed_on():
    land, theta, *_ = GRID[0].landscape(us)
    for bad in (np.nan, np.inf, -np.inf):
        for at in (0, land.n // 2, land.n - 1):
            point = theta.copy()
            point[at] = bad
            loss, gradient = land.gradient(point)
            assert not (np.isfinite(loss) and np.all(np.isfinite(gradient)))
    assert np.isnan(land.loss(np.full(land.n, np.nan)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extreme_outputs_stay_finite(dtype):
    for loss in ("cross_entropy", "smoothed", "bce"):
        case = Case(f"extreme-{loss}", chain((4, 3), "identity"), loss, samples=20)
        land, theta, X, y, _ = case.landscape(us, dtype)
        for scale in (50.0, 3e3, 1e6):
            point = (scale * theta).astype(dtype)
            found, gradient = land.gradient(point)
            expected = case.reference().loss(point, X, y)
            assert float(found) == pytest.approx(expected, rel=1e-5 if dtype == "float32" else 1e-12), (
                loss,
                scale,
            )
            assert np.all(np.isfinite(gradient))
            assert np.all(np.isfinite(land.hessian(point) @ case.vectors(1, dtype)[:, 0]))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_certain_predictions_keep_their_digits(dtype):
    """Two classes, logits (θ₀, θ₁): with gap g the loss is ln(1 + e^-g), H = p(1 − p) [[1, −1], [−1, 1]]."""
    case = Case("separated", (("Linear", {"in": 1, "out": 2, "bias": True}),), "cross_entropy", samples=1)
    net, loss = case.network(us, dtype), case.loss_function(us)
    land = us.NetworkLandscape(net, loss, np.ones((1, 1), dtype), np.array([0]))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for gap in (5.0, 12.0, 30.0, 80.0):
        theta = np.array([gap, 0.0, 0.0, 0.0], dtype)
        found, gradient = land.gradient(theta)
        assert float(found) == pytest.approx(np.log1p(np.exp(-gap)), rel=tolerance)
        assert land.loss(theta) == pytest.approx(np.log1p(np.exp(-gap)), rel=tolerance)
        slope = 1.0 / (1.0 + np.exp(gap))
        np.testing.assert_allclose(gradient, [-slope, slope, -slope, slope], rtol=tolerance)
        bend = slope * (1.0 - slope) * np.outer([1, -1, 1, -1], [1, -1, 1, -1])
        np.testing.assert_allclose(land.hessian(theta) @ np.eye(4, dtype=dtype), bend, rtol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_certain_probabilities_keep_their_digits(dtype):
    net = us.nn.Network(us.nn.Linear(1, 1, bias=False), input_shape=(1,), seed=0, dtype=dtype)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    for gap in (5.0, 12.0, 30.0, 80.0):
        for sign in (1.0, -1.0):
            y = np.array([[float(sign > 0)]])
            land = us.NetworkLandscape(net, us.nn.BCEWithLogits(), np.ones((1, 1)), y)
            theta, slope = np.array([sign * gap], dtype), 1.0 / (1.0 + np.exp(gap))
            found, gradient = land.gradient(theta)
            assert float(found) == pytest.approx(np.log1p(np.exp(-gap)), rel=tolerance)
            assert float(gradient[0]) == pytest.approx(-sign * slope, rel=tolerance)
            product = (land.hessian(theta) @ np.ones(1, dtype))[0]
            assert float(product) == pytest.approx(slope * (1.0 - slope), rel=tolerance)
