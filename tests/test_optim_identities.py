"""What the lecture and the papers say about the rules, as equations that hold."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from optim_cases import problem


def path(optimizer, theta, gradients):
    """Every point."""
    theta, points = theta.copy(), []
    for g in gradients:
        optimizer.step(theta, g)
        points.append(theta.copy())
    return np.array(points)


def test_the_mean_form_of_adagrad_with_a_root_decay_is_the_sum_form():
    theta, gradients = problem(50, "float64", steps=30)
    mean = us.optim.Adagrad(lr=lambda t: 0.1 / np.sqrt(t + 1), form="mean", eps=0.0)
    total = us.optim.Adagrad(lr=0.1, form="sum", eps=0.0)
    np.testing.assert_allclose(path(mean, theta, gradients), path(total, theta, gradients), rtol=1e-13)


def test_rmsprop_from_the_first_gradient_starts_with_the_sign():
    theta, (g, *_) = problem(50, "float64", steps=1)
    moved = path(us.optim.RMSProp(lr=0.3, initial="first", eps=0.0), theta, [g])[0] - theta
    np.testing.assert_allclose(moved, -0.3 * np.sign(g), rtol=1e-13)


def test_momentum_is_a_weighted_sum_of_all_past_gradients():
    theta, gradients = problem(20, "float64", steps=12)
    rates = [0.1 / (1 + t) for t in range(12)]
    optimizer = us.optim.SGD(lr=lambda t: rates[t], momentum=0.9, lr_in_buffer=True)
    last = path(optimizer, theta, gradients)
    m = -sum(0.9 ** (11 - i) * rates[i] * g for i, g in enumerate(gradients))
    np.testing.assert_allclose(last[-1] - last[-2], m, rtol=1e-12)
    np.testing.assert_allclose(-optimizer.slots[0], m, rtol=1e-12)


@pytest.mark.parametrize(
    ("choice", "twin"),
    [
        ({}, us.optim.Adam(lr=0.05)),
        ({"momentum": "none", "size": "none"}, us.optim.SGD(lr=0.05)),
        ({"momentum": "heavy", "size": "none"}, us.optim.SGD(lr=0.05, momentum=0.9)),
        ({"momentum": "nesterov", "size": "none"}, us.optim.SGD(lr=0.05, momentum=0.9, nesterov=True)),
        ({"momentum": "none", "size": "sum", "eps": 1e-10}, us.optim.Adagrad(lr=0.05)),
        ({"momentum": "none", "size": "mean", "eps": 1e-10}, us.optim.Adagrad(lr=0.05, form="mean")),
        (
            {"momentum": "none", "size": "moving", "alpha": 0.99, "correct": False},
            us.optim.RMSProp(lr=0.05),
        ),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_composition_is_the_rule_that_has_a_name(choice, twin):
    theta, gradients = problem(40, "float64", steps=15)
    composed = us.optim.Composed(lr=0.05, **choice)
    np.testing.assert_allclose(path(composed, theta, gradients), path(twin, theta, gradients), rtol=1e-11)


def test_the_blend_ends_as_sgd_and_its_literal_form_overshoots():
    shares = {}
    for literal in (False, True):
        values = []
        for t in range(0, 180):
            # with no RMSProp rate the first step of a fresh optimizer at epoch e is −lr·p·g
            optimizer = us.optim.RMSPropWarmup(lr=1.0, rms_rate=0.0, steps_per_epoch=10.0, literal=literal)
            optimizer.init(1, "float64")
            optimizer.t = t
            theta = np.zeros(1)
            optimizer.step(theta, np.ones(1))
            values.append(-theta[0])
        shares[literal] = np.array(values)
    smooth = shares[False]
    assert smooth[0] == pytest.approx(0.5 * np.exp(-4))
    assert smooth[100] == pytest.approx(0.5)
    assert np.all(smooth[125:] == 1)
    assert np.max(np.abs(np.diff(smooth))) < 0.025, "continuous"
    assert shares[True].max() > 1.4, "the formula as it is written passes 1"
    assert np.all(shares[True][126:] == 1)


def test_radam_waits_and_then_grows_into_adam():
    theta, g = np.zeros(1), np.ones(1)
    optimizer = us.optim.RAdam(lr=1.0, early="skip")
    steps = np.abs(np.diff(path(optimizer, theta, [g] * 2000)[:, 0], prepend=0.0))
    assert np.all(steps[:5] == 0)
    assert steps[5] == pytest.approx(0.026, abs=2e-3)
    assert steps[99] == pytest.approx(0.215, abs=2e-3)
    assert steps[999] == pytest.approx(0.645, abs=2e-3)
    assert np.all(np.diff(steps[5:]) > 0)


def test_lion_moves_every_parameter_by_the_rate():
    theta, gradients = problem(64, "float64", steps=5)
    points = path(us.optim.Lion(lr=0.01), theta, gradients)
    np.testing.assert_allclose(np.abs(np.diff(points, axis=0, prepend=theta[None])), 0.01, rtol=1e-10)
