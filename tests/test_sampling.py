"""Curvature of a sample against that of the population: error rates of the split test, coverage of the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck.curvature import bootstrap_ends, split_test


class Quadratics:
    """L = mean of ½θᵀHᵢθ with a random symmetric Hᵢ for every sample."""

    lower_bound = None
    dtype = np.dtype(np.float64)
    theta = None

    def __init__(self, matrices):
        self.matrices = matrices
        self.samples, self.n = matrices.shape[:2]
        self.blocks = [("theta", slice(0, self.n), (self.n,))]

    def loss(self, theta, batch=None):
        return 0.5 * float(theta @ self._matrix(batch) @ theta)

    def gradient(self, theta, batch=None):
        return self.loss(theta, batch), self._matrix(batch) @ theta

    def hessian(self, theta, batch=None):
        a = self._matrix(batch)
        return us.HessianOperator(self.n, self.dtype, lambda v: a @ v)

    def _matrix(self, batch):
        return (self.matrices if batch is None else self.matrices[batch]).mean(axis=0)


def population(rng, samples, mean, spread=1.0):
    noise = rng.standard_normal((samples, len(mean), len(mean)))
    return Quadratics(np.diag(mean) + spread * (noise + noise.transpose(0, 2, 1)))


def test_the_winners_curse_is_not_believed():
    """The population is exactly flat, every sample has negative curvature: false alarms at the stated 5 %."""
    alarms = naive = 0
    for case in range(200):
        land = population(np.random.default_rng(case), 120, np.zeros(8))
        found = split_test(land, np.zeros(8), seed=case)
        assert found.found < 0
        alarms += found.negative
        naive += found.found < -0.3
    assert naive > 150, "the sample's own curvature looks convincing"
    assert alarms <= 10 + 3 * np.sqrt(9.5), alarms


def test_what_is_there_is_found_and_the_bound_covers():
    shown = covered = 0
    for case in range(100):
        mean = np.array([-1.0, 0, 0, 0, 1, 1, 1, 2])
        land = population(np.random.default_rng(case), 400, mean)
        found = split_test(land, np.zeros(8), seed=case, groups=40)
        assert found.groups == 40
        shown += found.negative
        covered += found.direction @ (mean * found.direction) <= found.upper
    assert shown >= 95
    assert covered >= 95 - 3 * np.sqrt(4.75)


def network(dtype="float64", **options):
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 6), us.nn.Tanh(), us.nn.Linear(6, 10), input_shape=(64,), seed=0, dtype=dtype)
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X[:300] / 16.0, y[:300], **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_network_and_its_weights(dtype):
    weights = np.random.default_rng(0).uniform(0, 2, 300)
    weights[:30] = 0.0
    for land in (network(dtype), network(dtype, sample_weight=weights, l2=0.01)):
        found = split_test(land, groups=50, seed=1)
        on_all = land.hessian(land.theta, found.held_out)
        v = found.direction.astype(dtype)
        assert found.curvature == pytest.approx(float(v @ (on_all @ v)), rel=1e-4)
        assert np.linalg.norm(found.direction) == pytest.approx(1)
        assert found.upper > found.curvature
        assert "held-out" in str(found)
        single = split_test(land, None, found.direction, held_out=found.held_out, groups=10**6)
        assert single.groups == np.count_nonzero(
            np.ones(len(found.held_out)) if land.sample_weight is None else land.sample_weight[found.held_out] > 0
        )
        assert single.curvature == pytest.approx(found.curvature, rel=1e-4)
        assert np.isnan(single.found)


def test_classes_with_weights():
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 10), input_shape=(64,), seed=0, dtype="float64")
    loss = us.nn.CrossEntropy(class_weight=np.arange(1.0, 11.0))
    land = us.NetworkLandscape(net, loss, X[:200] / 16.0, y[:200])
    found = split_test(land, groups=30)
    v = found.direction
    assert found.curvature == pytest.approx(float(v @ (land.hessian(land.theta, found.held_out) @ v)), rel=1e-9)


def test_bootstrap_intervals_cover_the_population():
    """Linear regression: the population's Hessian is the covariance; the sample's ends lie too far out."""
    scale = np.sqrt(np.linspace(0.5, 3.0, 6))
    covered = np.zeros(2)
    cases = 60
    for case in range(cases):
        x = np.random.default_rng(case).standard_normal((150, 6)) * scale
        land = Quadratics(x[:, :, None] * x[:, None, :])
        found = bootstrap_ends(land, np.zeros(6), resamples=60, seed=case)
        for j, (interval, truth) in enumerate(((found.lambda_min_interval, 0.5), (found.lambda_max_interval, 3.0))):
            covered[j] += interval.lower <= truth <= interval.upper
        values = np.linalg.eigvalsh(x.T @ x / 150)
        assert found.lambda_min == pytest.approx(values[0], rel=0.02)
        assert found.lambda_max == pytest.approx(values[-1], rel=0.02)
    assert (covered >= 0.8 * cases).all(), covered


def test_bootstrap_of_a_network():
    land = network()
    seen = []
    found = bootstrap_ends(land, resamples=12, progress=lambda done, total, text="": seen.append(done))
    assert seen == list(range(1, 13))
    assert found.lambda_max_interval.lower < found.lambda_max_interval.upper
    assert found.resamples.shape == (12, 2)
    assert found.products < 61 * 12 + 200
    assert "population" in str(found)
    exact = us.curvature.eigenpairs(land.hessian(land.theta), 1, "largest").values[0]
    assert found.lambda_max == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("c", [1e-12, 1e12])
def test_answers_scale_with_the_loss(c):
    land = population(np.random.default_rng(0), 100, np.linspace(-1, 1, 8))
    scaled = Quadratics(land.matrices * c)
    one, other = split_test(land, np.zeros(8)), split_test(scaled, np.zeros(8))
    assert other.p_value == pytest.approx(one.p_value, rel=1e-6)
    assert other.curvature / c == pytest.approx(one.curvature)
    assert other.upper / c == pytest.approx(one.upper)
    one, other = bootstrap_ends(land, np.zeros(8), resamples=10), bootstrap_ends(scaled, np.zeros(8), resamples=10)
    np.testing.assert_allclose(other.resamples / c, one.resamples)


def test_refusals():
    land = population(np.random.default_rng(0), 20, np.zeros(4))
    zero = np.zeros(4)
    wrongs = [
        ({"share": 0.0}, "`share`"),
        ({"share": 1.0}, "`share`"),
        ({"groups": 1}, "`groups`"),
        ({"confidence": 1.0}, "`confidence`"),
        ({"held_out": [1]}, "`held_out`"),
        ({"held_out": [1, 1]}, "`held_out`"),
        ({"held_out": [1, 20]}, "`held_out`"),
        ({"held_out": np.arange(20)}, "leaves no samples"),
        ({"direction": zero}, "`direction`"),
        ({"direction": np.ones(3)}, "`direction`"),
    ]
    for options, words in wrongs:
        with pytest.raises(us.errors.ArgumentError, match=words):
            split_test(land, zero, **options)
    with pytest.raises(us.errors.ArgumentError, match="`theta`"):
        split_test(land)
    with pytest.raises(us.errors.ArgumentError, match="`resamples`"):
        bootstrap_ends(land, zero, resamples=2)
    function = us.FunctionLandscape(lambda t: t @ t, lambda t: 2 * t, 3)
    with pytest.raises(us.errors.ArgumentError, match="no data"):
        split_test(function, np.zeros(3))
    broken = Quadratics(np.full((20, 4, 4), np.nan))
    with pytest.raises(us.errors.NonFiniteError):
        split_test(broken, zero)
    with pytest.raises(us.errors.NonFiniteError):
        split_test(broken, zero, np.ones(4))
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 6), us.nn.BatchNorm(6), us.nn.Linear(6, 10), input_shape=(64,), seed=0)
    coupled = us.NetworkLandscape(net, us.nn.CrossEntropy(), X[:50], y[:50], mode="train")
    for function in (split_test, bootstrap_ends):
        with pytest.raises(us.errors.ArgumentError, match="couples the samples"):
            function(coupled)
