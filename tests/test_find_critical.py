"""find_critical: points where the gradient vanishes, of any kind; failures are answers too."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from surfaces import Reflected, himmelblau, lecture, quadratic, rosenbrock, separable, two_layer_linear

METHODS = ["newton", "gradient-norm"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hvp", [True, False])
def test_lecture_saddle(method, hvp):
    found = us.find_critical(lecture(hvp), np.array([0.2, 0.1]), method)
    assert found.converged
    assert found.gradient_norm < 1e-5
    assert np.allclose(found.theta, 0, atol=1e-5)
    assert us.classify(lecture(hvp), found.theta).verdict is us.Verdict.STRICT_SADDLE


@pytest.mark.parametrize("method", METHODS)
def test_converged_means_that_classify_agrees(method):
    land, rng = himmelblau(), np.random.default_rng(0)
    verdicts = set()
    for _ in range(20):
        found = us.find_critical(land, rng.uniform(-4, 4, 2), method)
        verdict = us.classify(land, found.theta).verdict
        verdicts.add(verdict)
        if found.converged:
            assert verdict is not us.Verdict.NOT_CRITICAL
            assert np.isclose(found.gradient_norm, np.linalg.norm(land.gradient(found.theta)[1]))
    assert us.Verdict.STRICT_SADDLE in verdicts


@pytest.mark.parametrize("method", METHODS)
def test_indefinite_quadratic_of_many_variables(method):
    rng = np.random.default_rng(1)
    d = np.concatenate([rng.uniform(0.5, 2, 300), -rng.uniform(0.5, 2, 100)])
    land = quadratic(Reflected(d), rng.standard_normal(400))
    found = us.find_critical(land, np.zeros(400), method)
    assert found.converged
    assert found.gradient_norm < 1e-3


def test_newton_is_exact_on_a_quadratic():
    h = np.array([[2.0, 1, 0], [1, -3, 1], [0, 1, 5]])
    g = np.array([1.0, 2, 3])
    found = us.find_critical(quadratic(h, g), np.zeros(3))
    assert np.allclose(found.theta, -np.linalg.solve(h, g), rtol=1e-6)


def test_singular_valley():
    found = us.find_critical(lecture(), np.array([1.3, 0.9]))
    assert found.converged
    assert abs(found.theta[0] * found.theta[1] - 1) < 1e-5


def test_two_layer_linear_network():
    land, _ = two_layer_linear()
    start = 0.05 * np.random.default_rng(2).standard_normal(land.n)
    assert us.find_critical(land, start).converged


def test_float32():
    found = us.find_critical(lecture(dtype="float32"), np.array([0.2, 0.1]))
    assert found.converged
    assert found.theta.dtype == np.float32


@pytest.mark.parametrize("method", METHODS)
def test_a_plane_has_no_critical_point(method):
    found = us.find_critical(separable("x", "0"), np.zeros(2), method)
    assert not found.converged
    assert "No critical point" in str(found)
    assert found.reason


def test_budget_is_kept():
    found = us.find_critical(rosenbrock(), np.array([-1.2, 1.0]), "gradient-norm", max_products=5)
    assert found.products <= 5
    assert not found.converged


def test_one_solve_does_not_take_the_whole_budget():
    # a condition number of 10⁶: the first solve alone could use up any budget
    rng = np.random.default_rng(0)
    curvatures = np.logspace(-6, 0, 600) * np.where(np.arange(600) % 3 == 0, -1, 1)
    solves = []
    land = quadratic(curvatures, rng.standard_normal(600))
    us.find_critical(land, np.zeros(600), max_products=800, progress=lambda done, most: solves.append(done))
    assert max(np.diff([0, *solves])) <= 800 // 8
    assert len(solves) >= 6


def test_the_start_is_returned_when_it_is_critical():
    found = us.find_critical(lecture(), np.zeros(2))
    assert found.converged
    assert found.gradient_norm == 0
    assert found.iterations == 0


def test_tolerance_is_a_gradient_norm():
    found = us.find_critical(rosenbrock(), np.array([1.1, 1.3]), tolerance=1e-10)
    assert found.gradient_norm <= 1e-10


def test_the_gradient_norm_never_grows():
    norms = []
    land = rosenbrock()
    found = us.find_critical(land, np.array([-1.2, 1.0]), progress=lambda done, most: norms.append(done))
    assert norms == sorted(norms)
    assert found.gradient_norm <= np.linalg.norm(land.gradient(np.array([-1.2, 1.0]))[1])


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"method": "magic"}, us.errors.ArgumentError, "method"),
        ({"tolerance": 0.0}, us.errors.ArgumentError, "tolerance"),
        ({"max_products": 0}, us.errors.ArgumentError, "max_products"),
        ({"theta": np.array([np.inf, 0])}, us.errors.NonFiniteError, "theta"),
        ({"theta": None}, us.errors.ArgumentError, "theta"),
    ],
)
def test_bad_arguments(change, error, says):
    with pytest.raises(error, match=says):
        us.find_critical(lecture(), **({"theta": np.zeros(2)} | change))
