"""The doctor's smaller probes against NumPy, its budget of work, and rules of one's own."""

from __future__ import annotations

import numpy as np
import pytest

import planted
import unstuck as us
from planted import ALL, digits, quadratic, trained, waves
from unstuck.doctor.costs import costs_of
from unstuck.doctor.data import look_at_features, look_at_labels
from unstuck.doctor.layers import look_at_weights
from unstuck.doctor.newton import descend, try_one_batch
from unstuck.doctor.noise import BATCHES, look_at_noise
from unstuck.doctor.subject import Subject
from unstuck.errors import ArgumentError, ArgumentTypeError


def examined(land, **options):
    run = us.Trainer(land, us.optim.SGD(lr=0.1), **options)
    return Subject(land, land.theta, run, 3.0)


def linear(X, y, classes=3):
    net = us.nn.Network(us.nn.Linear(X.shape[1], classes), input_shape=(X.shape[1],), seed=0, dtype="float64")
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)


def test_noise_scale_is_that_of_the_samples_gradients():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4000, 6)) + 0.5, rng.integers(0, 3, 4000)
    land = linear(X, y)
    each = np.array([land.gradient(land.theta, np.array([i]))[1] for i in range(4000)])
    truth = each.var(axis=0).sum() / float(each.mean(axis=0) @ each.mean(axis=0))
    found = look_at_noise(examined(land, batch_size=64), 64)
    assert found.scale == pytest.approx(truth, rel=0.3)
    assert [name for name, _ in found.blocks] == ["0.weight", "0.bias"]
    assert look_at_noise(examined(land, batch_size=ALL), 4000) is None
    assert BATCHES >= 8


def test_columns_that_repeat_and_correlate_are_counted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6))
    X[:, 3], X[:, 4] = -2.0 * X[:, 1] + 5.0, 7.0
    X[:, 5] = X[:, 0] + 0.01 * X[:, 5]
    found = look_at_features(examined(linear(X, rng.integers(0, 3, 200))))
    assert (found.duplicates, found.constant) == (1, 1)
    kept = np.corrcoef(X[:, [0, 1, 2, 5]].T)
    assert found.condition == pytest.approx(np.linalg.cond(kept), rel=1e-6)


def test_classes_are_counted():
    X, y = np.ones((50, 2)), np.repeat([0, 1], [45, 5])
    found = look_at_labels(examined(linear(X, y)))
    assert (found.classes, found.smallest, found.largest) == (3, 0.0, 0.9)
    assert look_at_labels(examined(waves(0))) is None


def test_entries_without_a_gradient_are_counted():
    X = np.random.default_rng(0).normal(size=(40, 4))
    X[:, 2] = 0.0
    found = look_at_weights(examined(linear(X, np.arange(40) % 3)))
    assert found[0].untouched == pytest.approx(0.25)


def test_a_few_samples_are_learned_by_heart_unless_units_are_dead():
    sound = digits("ReLU", 32, seed=0)
    dead = digits("ReLU", 32, seed=0)
    dead.net.block("0.bias")[:] = -1e4
    assert try_one_batch(examined(sound)).after < 1e-2
    found = try_one_batch(examined(dead))
    assert found.after > 0.5 * found.before and found.samples == 32


def test_descent_with_curvature_solves_a_valley():
    h = np.geomspace(1e-6, 1.0, 30)
    land = us.FunctionLandscape(lambda w: 0.5 * float(w @ (h * w)), lambda w: h * w, n=30)
    start = np.full(30, 10.0)
    loss, used, theta = descend(land, start, 200)
    plain = us.minimize(land, us.optim.SGD(lr=1.0), start, steps=200).losses[-1]
    assert loss < 0.02 * plain and used <= 201 and land.loss(theta) == loss


# ---- the budget of work


def test_the_work_of_a_network_is_counted_not_timed():
    net = us.nn.Network(
        us.nn.Conv2d(1, 3, 3, padding=1), us.nn.ReLU(), us.nn.Flatten(), us.nn.Linear(48, 2), input_shape=(1, 4, 4)
    )
    from unstuck.doctor.costs import work_of

    multiplies, elements = work_of(net)
    assert multiplies == 3 * 9 * 16 + 48 * 2
    assert elements == 48 + 48 + 2  # a view costs nothing
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), np.ones((5, 1, 4, 4), np.float32), np.arange(5) % 2)
    assert costs_of(land, land.theta, 4) == costs_of(land, land.theta, 4)


def test_costs_of_another_surface_are_powers_of_four():
    run = quadratic([1.0, 2.0], [1.0, 1.0], us.optim.SGD(lr=0.1), 5)
    call = costs_of(run.land, run.theta, None).call
    assert np.log(call / 1e-4) / np.log(4.0) == pytest.approx(round(np.log(call / 1e-4) / np.log(4.0)))


@pytest.mark.parametrize("name", ["momentum with thirty times the rate", "all weights zero, two hidden layers, SGD"])
def test_the_same_run_has_the_same_diagnosis(name):
    row = next(row for row in planted.FAULTS if row.name == name)
    first, second = (us.diagnose(row.make(0)) for _ in range(2))
    assert first.findings == second.findings
    assert first.measured.smaller_lr == second.measured.smaller_lr
    assert (first.work.updates, first.work.products) == (second.work.updates, second.work.products)
    assert first.products > 0


# ---- rules of one's own


def large_first_layer(e):
    if e.weights is None or e.weights[0].weight < 1.0:
        return None
    return us.doctor.Finding(us.Cause.BAD_INITIALISATION, 0.999, "the first layer is larger than house rules allow")


def test_a_rule_of_ones_own_is_asked():
    run = trained(digits("Tanh", 16), us.optim.Adam(lr=1e-3), 100)
    assert us.diagnose(run).cause is us.Cause.HEALTHY
    found = us.diagnose(run, rules=[large_first_layer])
    assert found.cause is us.Cause.BAD_INITIALISATION and "house rules" in str(found)
    assert us.diagnose(run, rules=[lambda e: None]).cause is us.Cause.HEALTHY
    assert us.diagnose(run).cause is us.Cause.HEALTHY


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("rule", ArgumentTypeError),
        (lambda e: "bad", ArgumentTypeError),
        (lambda e: us.doctor.Finding("BAD", 0.5, ""), ArgumentTypeError),
        (lambda e: us.doctor.Finding(us.Cause.HEALTHY, 2.0, ""), ArgumentError),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, error):
    run = trained(digits("Tanh", 16), us.optim.Adam(lr=1e-3), 30)
    digest = run.digest()
    with pytest.raises(error, match="rule"):
        us.diagnose(run, rules=[rule])
    assert run.digest() == digest
