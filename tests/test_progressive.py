"""classify(progressive=True): few samples find the directions, all of them prove the saddle; the rest is as before."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest

import unstuck as us

SADDLE, MINIMUM = us.Verdict.STRICT_SADDLE, us.Verdict.LOCAL_MINIMUM


@functools.cache
def digits_network(l2=0.0, layers="tanh"):
    X, y = us.data.digits()
    hidden = [us.nn.Linear(64, 8), us.nn.Tanh(), us.nn.Linear(8, 10)]
    parts = {"tanh": hidden, "linear": [us.nn.Linear(64, 10)]}[layers]
    net = us.nn.Network(*parts, input_shape=(64,), seed=7, dtype="float64")
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X.astype(np.float64) / X.max(), y, l2=l2)


@functools.cache
def digits_saddle(kind):
    """(landscape, a saddle, all eigenvalues there): weights 0 and the best constant answer, or a critical point."""
    land = digits_network()
    if kind == "zero weights":
        theta = np.zeros(land.n)
        theta[-10:] = np.log(np.bincount(land.y) / len(land.y))
    else:
        theta = us.find_critical(land, land.theta.copy()).theta
    matrix = land.hessian(theta) @ np.eye(land.n)
    return land, theta, np.linalg.eigvalsh(0.5 * (matrix + matrix.T))


@pytest.mark.parametrize("kind", ["zero weights", "found"])
def test_a_saddle_of_digits_is_proved_with_a_third_of_the_products(kind):
    land, theta, values = digits_saddle(kind)
    plain = us.classify(land, theta, exact=False)
    cp = us.classify(land, theta, progressive=True)
    assert plain.verdict is cp.verdict is SADDLE
    assert plain.products >= 30
    assert cp.products <= 12
    assert cp.sampled_products == {56: sum(cp.sampled_products.values())}
    work = cp.products + sum(samples * count for samples, count in cp.sampled_products.items()) / land.samples
    assert work <= 0.4 * plain.products
    # what is proved is true of all the data
    v = cp.direction
    assert v @ (land.hessian(theta) @ v) == pytest.approx(cp.lambda_min.upper, rel=1e-9)
    assert values[0] <= cp.lambda_min.upper < 0.5 * values[0]
    assert cp.lambda_min.lower <= values[0]
    assert cp.lambda_max.lower <= values[-1] <= cp.lambda_max.upper
    assert 1 <= cp.index[0] <= np.count_nonzero(values < -cp.tolerance)
    quotients = cp.directions.T @ (land.hessian(theta) @ cp.directions)
    assert np.linalg.eigvalsh(quotients)[-1] < -cp.tolerance
    assert us.verify(json.loads(json.dumps(cp.certificate)))
    assert f"{cp.products} products with all the data, {cp.sampled_products[56]} with 56 samples" in str(cp)
    assert us.escape(land, theta, cp).succeeded


def test_the_same_seed_gives_the_same_bits():
    land, theta, _ = digits_saddle("zero weights")
    one, two = (us.classify(land, theta, progressive=True, seed=3) for _ in range(2))
    assert np.array_equal(one.directions, two.directions)
    assert one.certificate == two.certificate
    assert not np.array_equal(one.direction, us.classify(land, theta, progressive=True, seed=4).direction)


def test_the_index_is_still_certified_on_all_data():
    land, theta, values = digits_saddle("zero weights")
    cp = us.classify(land, theta, progressive=True, index=True, tolerance=0.1)
    assert cp.index == (np.count_nonzero(values < -0.1),) * 2


def test_a_minimum_still_takes_the_full_certificate():
    land = digits_network(l2=1e-2, layers="linear")
    theta = us.find_critical(land, land.theta.copy()).theta
    plain, cp = (us.classify(land, theta, exact=False, progressive=p) for p in (False, True))
    assert plain.verdict is cp.verdict is MINIMUM
    assert cp.confidence == plain.confidence
    assert cp.products == plain.products
    assert cp.certificate == plain.certificate
    assert set(cp.sampled_products) == {56, 224}
    assert us.classify(digits_network(l2=1e-2, layers="linear"), theta, progressive=True).verdict is MINIMUM


class Overfitting:
    """Quadratic of n parameters, the mean over samples of A + noise: every sample bends down, their mean does not."""

    lower_bound, theta = None, None

    def __init__(self, low, n=600, samples=256, spread=3.0, seed=0):
        rng = np.random.default_rng(seed)
        self.n, self.samples, self.dtype = n, samples, np.dtype(float)
        self.blocks = [("theta", slice(0, n), (n,))]
        self.base = np.r_[low, np.linspace(0.5, 1.0, n - 1)]
        signs = rng.standard_normal((samples, n))
        self.own = spread * (signs - signs.mean(axis=0))  # no part of it in the mean over all

    def _diagonal(self, batch):
        return self.base + (0.0 if batch is None else self.own[batch].mean(axis=0))

    def loss(self, theta, batch=None):
        return 0.5 * float(theta @ (self._diagonal(batch) * theta))

    def gradient(self, theta, batch=None):
        return self.loss(theta, batch), self._diagonal(batch) * theta

    def hessian(self, theta, batch=None):
        d = self._diagonal(batch)
        return us.HessianOperator(self.n, float, lambda v: d * v, lambda rows: rows * d)


@pytest.mark.parametrize("seed", range(40))
def test_curvature_of_a_sample_alone_is_never_taken_for_that_of_all(seed):
    low = [-0.4, 0.3][seed % 2]
    land = Overfitting(low, seed=seed)
    cp = us.classify(land, np.zeros(land.n), progressive=True, exact=False, seed=seed)
    assert cp.verdict is (SADDLE if low < 0 else MINIMUM)
    assert cp.lambda_min.lower <= low <= cp.lambda_min.upper + 1e-12
    assert cp.lambda_max.lower <= 1.0 + 1e-12 <= cp.lambda_max.upper + 1e-9
    assert cp.sampled_products


def test_budgets_hold():
    land, theta, _ = digits_saddle("zero weights")
    for most in (8, 12, 20, 60):
        cp = us.classify(land, theta, progressive=True, max_products=most)
        work = sum(samples * count for samples, count in cp.sampled_products.items()) / land.samples
        assert cp.products + work <= most + 1
    shown = []
    us.classify(land, theta, progressive=True, progress=lambda done, most: shown.append((done, most)))
    assert shown
    assert all(done <= most for done, most in shown)


def test_samples_without_weight_are_left_out():
    land, theta, _ = digits_saddle("zero weights")
    weight = np.zeros(land.samples)
    weight[:200] = 1.0
    light = us.NetworkLandscape(land.net, land.loss_function, land.X, land.y, sample_weight=weight)
    point = theta.copy()
    point[-10:] = np.log(np.bincount(land.y[:200]) / 200)
    cp = us.classify(light, point, progressive=True)
    assert cp.verdict is SADDLE
    assert cp.sampled_products


def test_few_samples_are_looked_at_whole():
    land = digits_network()
    few = us.NetworkLandscape(land.net, land.loss_function, land.X[:100], land.y[:100])
    theta = np.zeros(land.n)
    theta[-10:] = np.log(np.bincount(few.y) / 100)
    cp = us.classify(few, theta, progressive=True)
    assert cp.sampled_products == {}
    assert cp.verdict is SADDLE


def test_what_cannot_be_sampled_is_refused():
    quadratic = us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w, n=5)
    with pytest.raises(us.errors.ArgumentError, match="no data samples"):
        us.classify(quadratic, np.zeros(5), progressive=True)
    rng = np.random.default_rng(0)
    net = us.nn.Network(us.nn.Linear(4, 6), us.nn.BatchNorm(6), us.nn.Tanh(), us.nn.Linear(6, 3), input_shape=(4,))
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), rng.normal(size=(200, 4)), np.arange(200) % 3, mode="train")
    with pytest.raises(us.errors.ArgumentError, match="couples the samples"):
        us.classify(land, progressive=True)
    land = digits_network()
    with pytest.raises(us.errors.ArgumentError, match="choose one"):
        us.classify(land, progressive=True, exact=True)
    with pytest.raises(us.errors.ArgumentTypeError, match="`progressive`"):
        us.classify(land, progressive=3)
