"""escape: the loss falls by what was promised, or the point stays."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from problems import PROBLEMS
from surfaces import Reflected, himmelblau, lecture, quadratic, separable, two_layer_linear

POINTS = [p for p in PROBLEMS if p.verdict in (us.Verdict.STRICT_SADDLE, us.Verdict.LOCAL_MAXIMUM)]


@pytest.mark.parametrize("problem", POINTS, ids=str)
def test_every_saddle_and_maximum_is_left(problem):
    land = problem.make()
    cp = us.classify(land, problem.theta, **problem.options)
    e = us.escape(land, problem.theta, cp)
    assert e.succeeded
    assert e.loss_after < e.loss_before
    assert e.loss_after == land.loss(e.theta)
    assert e.loss_before - e.loss_after >= 0.25 * e.predicted_decrease > 0
    assert np.isclose(e.step, np.linalg.norm(e.theta - problem.theta), rtol=1e-5)
    assert e.step > 0
    assert "Escaped" in str(e)


def test_lecture_steps_to_the_valley():
    land = lecture()
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    # along (1, 1)/√2 the loss is 1 − t² + t⁴/4: the fourth-order model is exact, its lowest point is √2
    assert e.loss_after < 0.3
    assert abs(e.theta[0] - e.theta[1]) < 1e-6


def test_the_downhill_sign_is_taken():
    # x³/6 − x²/2 + y²: from x = 0 only positive x is bounded below nearby; a small slope says which side is lower
    for slope in (1e-3, -1e-3):
        land = us.FunctionLandscape(
            lambda w, s=slope: -(w[0] ** 2) / 2 + w[0] ** 4 / 4 + s * w[0] + w[1] ** 2,
            lambda w, s=slope: np.array([-w[0] + w[0] ** 3 + s, 2 * w[1]]),
            n=2,
            hvp=lambda w, v: np.array([(3 * w[0] ** 2 - 1) * v[0], 2 * v[1]]),
        )
        e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
        assert e.succeeded
        assert np.sign(e.theta[0]) == -np.sign(slope)
        assert e.slope < 0


def test_both_signs_when_the_slope_is_zero():
    # −x²/2 + x³ + x⁴: negative x is lower by far
    land = us.FunctionLandscape(
        lambda w: -(w[0] ** 2) / 2 + w[0] ** 3 + w[0] ** 4 + w[1] ** 2,
        lambda w: np.array([-w[0] + 3 * w[0] ** 2 + 4 * w[0] ** 3, 2 * w[1]]),
        n=2,
        hvp=lambda w, v: np.array([(-1 + 6 * w[0] + 12 * w[0] ** 2) * v[0], 2 * v[1]]),
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    assert e.theta[0] < 0


def test_cubic_model_predicts():
    # −s·x − ρx²/2 + Mx³/6 is the cubic model itself: its lowest point is (ρ + √(ρ² + 2Ms))/M
    rho, m, s = 0.02, 3.0, 1e-4
    land = us.FunctionLandscape(
        lambda w: -s * w[0] - rho * w[0] ** 2 / 2 + m * w[0] ** 3 / 6 + w[1] ** 2,
        lambda w: np.array([-s - rho * w[0] + m * w[0] ** 2 / 2, 2 * w[1]]),
        n=2,
        hvp=lambda w, v: np.array([(-rho + m * w[0]) * v[0], 2 * v[1]]),
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    best = (rho + np.sqrt(rho**2 + 2 * m * s)) / m
    assert np.isclose(e.step, best, rtol=1e-6)
    assert np.isclose(e.predicted_decrease, -land.loss(np.array([best, 0])), rtol=1e-6)
    assert np.isclose(e.loss_before - e.loss_after, e.predicted_decrease, rtol=1e-6)


def test_step_at_a_symmetric_saddle():
    # M = 0: the model's lowest point is √(−6ρ/Q) from the fourth derivative
    land = separable("-x2", "x2")
    quartic = us.FunctionLandscape(
        lambda w: land.loss(w) + w[0] ** 4,
        lambda w: land.gradient(w)[1] + np.array([4 * w[0] ** 3, 0]),
        n=2,
        hvp=lambda w, v: np.array([(12 * w[0] ** 2 - 2) * v[0], 2 * v[1]]),
    )
    e = us.escape(quartic, np.zeros(2), us.classify(quartic, np.zeros(2)))
    assert np.isclose(e.step, np.sqrt(0.5), rtol=1e-4)
    assert np.isclose(e.predicted_decrease, 0.25, rtol=1e-4)


def test_the_step_grows_while_the_loss_falls():
    # the third derivative at 0 promises little; beyond x = 0.1 the slope stays down to x = −1
    land = us.FunctionLandscape(
        lambda w: -0.01 * w[0] ** 2 / 2 - w[0] ** 3 / 6 + w[0] ** 4 / 8 + w[1] ** 2,
        lambda w: np.array([-0.01 * w[0] - w[0] ** 2 / 2 + w[0] ** 3 / 2, 2 * w[1]]),
        n=2,
        hvp=lambda w, v: np.array([(-0.01 - w[0] + 1.5 * w[0] ** 2) * v[0], 2 * v[1]]),
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    assert e.theta[0] > 0.5
    assert e.loss_before - e.loss_after > 100 * e.predicted_decrease


def test_a_kink_is_crossed_by_a_scan():
    # a smooth hilltop, 1e-4 wide, in a groove of slope 0.01: only longer steps gain
    def height(x):
        return 0.01 * min(abs(x), 0.3) - 2 * max(abs(x) - 0.5, 0) - 5 * x * x * (abs(x) < 1e-4)

    def slope(x):
        return np.sign(x) * (0.01 * (abs(x) < 0.3) - 2 * (abs(x) > 0.5)) - 10 * x * (abs(x) < 1e-4)

    land = us.FunctionLandscape(
        lambda w: height(w[0]) + w[1] ** 2,
        lambda w: np.array([slope(w[0]), 2 * w[1]]),
        n=2,
        hvp=lambda w, v: np.array([-10 * v[0], 2 * v[1]]),
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    assert e.succeeded
    assert abs(e.theta[0]) > 0.5


def test_degenerate_with_a_direction_is_left():
    land = separable("-x2", "x4")
    cp = us.classify(land, np.zeros(2))
    assert cp.verdict is us.Verdict.DEGENERATE
    assert us.escape(land, np.zeros(2), cp).succeeded


def test_not_critical_with_a_direction_is_left():
    land, point = lecture(), np.array([0.5, 0.1])
    cp = us.classify(land, point)
    assert cp.verdict is us.Verdict.NOT_CRITICAL
    assert us.escape(land, point, cp).succeeded


def test_roll_back_when_the_loss_does_not_fall():
    # the product promises negative curvature that the loss does not have
    land = us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w, n=2, hvp=lambda w, v: np.array([-v[0], v[1]]))
    point = np.zeros(2)
    e = us.escape(land, point, us.classify(separable("-x2", "x2"), point))
    assert not e.succeeded
    assert e.loss_after == e.loss_before
    assert np.array_equal(e.theta, point)
    assert e.step == 0
    assert "No escape" in str(e)


def test_a_loss_that_turns_nan_is_backed_out_of():
    def loss(w):
        return float("nan") if abs(w[0]) > 0.3 else -(w[0] ** 2) + w[1] ** 2

    land = us.FunctionLandscape(
        loss, lambda w: np.array([-2 * w[0], 2 * w[1]]), n=2, hvp=lambda w, v: np.array([-2 * v[0], 2 * v[1]])
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    assert e.succeeded
    assert abs(e.theta[0]) <= 0.3


def test_one_side_outside_the_domain():
    land = us.FunctionLandscape(
        lambda w: w[0] ** 2 - w[1] ** 2 if w[1] <= 0 else float("nan"),
        lambda w: np.array([2 * w[0], -2 * w[1]]) if w[1] <= 0 else np.full(2, np.nan),
        n=2,
        hvp=lambda w, v: np.array([2 * v[0], -2 * v[1]]),
    )
    e = us.escape(land, np.zeros(2), us.classify(land, np.zeros(2)))
    assert e.succeeded
    assert e.theta[1] < 0


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_scale_of_the_loss_does_not_matter(scale):
    plain, scaled = lecture(), lecture(scale=scale)
    one = us.escape(plain, np.zeros(2), us.classify(plain, np.zeros(2)))
    other = us.escape(scaled, np.zeros(2), us.classify(scaled, np.zeros(2)))
    assert np.isclose(one.step, other.step, rtol=1e-6)
    assert np.isclose(one.predicted_decrease * scale, other.predicted_decrease, rtol=1e-6)


def test_float32():
    land = lecture(dtype="float32")
    e = us.escape(land, np.zeros(2, "f"), us.classify(land, np.zeros(2)))
    assert e.succeeded
    assert e.theta.dtype == np.float32


def test_minimum_has_nothing_to_escape_from():
    land = himmelblau()
    cp = us.classify(land, np.array([3.0, 2.0]))
    with pytest.raises(us.errors.ArgumentError, match="no direction of negative curvature"):
        us.escape(land, np.array([3.0, 2.0]), cp)


def test_another_point_or_landscape_is_refused():
    land = himmelblau()
    saddle = us.find_critical(land, np.array([0.1, 2.9])).theta
    cp = us.classify(land, saddle)
    with pytest.raises(us.errors.ArgumentError, match="does not fit `theta`"):
        us.escape(land, np.array([3.0, 2.0]), cp)
    with pytest.raises(us.errors.ArgumentError, match="another landscape"):
        us.escape(quadratic(Reflected(np.ones(5))), np.zeros(5), cp)
    with pytest.raises(us.errors.ArgumentTypeError, match="cp"):
        us.escape(land, saddle, cp.direction)


def test_theta_is_not_changed():
    land, point = two_layer_linear()[0], np.zeros(35)
    us.escape(land, point, us.classify(land, point))
    assert not point.any()
