"""The doctor on data, networks, optimizers and surfaces that no threshold was set on, and on misuse."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import unstuck as us
from planted import trained

SPEEDS = {  # a rate far too small for each rule
    "Adagrad": 1e-6, "NAdam": 1e-8, "AdaMax": 1e-8, "RAdam": 1e-8, "Lion": 1e-9, "LARS": 1e-6, "LAMB": 1e-8,
    "AdaBelief": 1e-8,
}  # fmt: skip


def spirals(seed=0, samples=450):
    """Three arms, two standardised coordinates."""
    rng = np.random.default_rng(seed)
    arm, t = rng.integers(0, 3, samples), rng.uniform(0.3, 1.0, samples)
    angle = 4.0 * t + 2.1 * arm + 0.12 * rng.normal(size=samples)
    X = np.column_stack([t * np.cos(angle), t * np.sin(angle)])
    return ((X - X.mean(0)) / X.std(0)).astype(np.float32), arm


def spiral_land(seed=0, scale=1.0, samples=450, **options):
    X, y = spirals(seed, samples)
    layers = us.nn.Linear(2, 24), us.nn.Tanh(), us.nn.Linear(24, 24), us.nn.Tanh(), us.nn.Linear(24, 3)
    net = us.nn.Network(*layers, input_shape=(2,), seed=seed, **options)
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X * np.float32(scale), y)


def surface(loss, gradient, theta, lr, steps, **options):
    theta = np.asarray(theta, dtype=float)
    land = us.FunctionLandscape(loss, gradient, n=theta.size, **options)
    return trained(land, us.optim.SGD(lr=lr), steps, theta=theta)


def double_well(w0, steps):
    """(w₀² − 1)² + 3w₁²: a saddle at the origin between two minima."""
    return surface(
        lambda w: float((w[0] ** 2 - 1) ** 2 + 3 * w[1] ** 2),
        lambda w: np.array([4 * w[0] * (w[0] ** 2 - 1), 6 * w[1]]),
        [w0, 0.4], 0.01, steps,
    )  # fmt: skip


@pytest.mark.parametrize("rule", SPEEDS)
def test_a_step_that_is_too_small_is_found_for_rules_without_a_known_limit(rule):
    run = trained(spiral_land(), getattr(us.optim, rule)(lr=SPEEDS[rule]), 300)
    assert us.diagnose(run).cause is us.Cause.STEP_TOO_SMALL


@pytest.mark.parametrize("seed", [0, 1])
def test_a_run_amid_a_short_schedule_is_not_accused_of_its_end(seed):
    schedule = us.schedules.cosine(0.1, total=120)
    found = us.diagnose(trained(spiral_land(seed), us.optim.SGD(lr=schedule, momentum=0.9), 60))
    assert found.healthy, str(found)


def test_a_run_that_stands_at_a_saddle_is_told_so_although_it_would_leave_in_the_end():
    run = double_well(1e-9, 150)
    assert us.diagnose(run).cause is us.Cause.STRICT_SADDLE
    assert us.unstick(run).applied.treatment.name == "escape"
    assert us.diagnose(double_well(1e-3, 150)).healthy  # on its way down


def test_a_longer_step_that_only_leaves_a_saddle_sooner_does_not_hide_it():
    h = np.r_[np.ones(10), -0.5, -0.5]
    run = surface(
        lambda w: float(0.5 * h @ (w * w) + 0.25 * np.sum(w**4)),
        lambda w: h * w + w**3,
        np.r_[np.full(10, 0.3), 1e-12, -1e-12], 0.02, 300,
    )  # fmt: skip
    assert us.diagnose(run).cause is us.Cause.STRICT_SADDLE


def test_a_product_of_three_is_pushed_off_the_origin():
    run = surface(
        lambda w: float((1 - w.prod()) ** 2),
        lambda w: -2 * (1 - w.prod()) * np.array([w[1] * w[2], w[0] * w[2], w[0] * w[1]]),
        np.zeros(3), 0.05, 300, lower_bound=0.0,
    )  # fmt: skip
    out = us.unstick(run)
    assert out.diagnosis.cause is us.Cause.FLAT_SADDLE
    assert out.applied.treatment.name == "push off"


def test_a_surface_without_a_lower_bound_has_a_scale():
    h = np.array([1.0, 2.0])
    run = surface(lambda w: float(0.5 * h @ (w * w)), lambda w: h * w, np.ones(2), 1e-8, 200)
    assert us.diagnose(run).cause is us.Cause.STEP_TOO_SMALL


def test_columns_that_are_all_far_too_large():
    A = np.random.default_rng(3).normal(size=(375, 3)).astype(np.float32)
    t = A[:, :1] + 0.5 * A[:, 1:2] * A[:, 2:]
    net = us.nn.Network(us.nn.Linear(3, 24), us.nn.Sigmoid(), us.nn.Linear(24, 1), input_shape=(3,), seed=0)
    land = us.NetworkLandscape(net, us.nn.MSE(), 300.0 * A, (t / t.std()).astype(np.float32))
    found = us.diagnose(trained(land, us.optim.SGD(lr=0.05), 400))
    assert found.measured.features.size == pytest.approx(300.0, rel=0.1)
    assert found.cause.name in ("UNSCALED_FEATURES", "SATURATED_UNITS")


def test_labels_that_are_all_the_same_leave_nothing_to_accuse():
    land = spiral_land()
    land = us.NetworkLandscape(land.net, us.nn.CrossEntropy(), land.X, np.zeros(len(land.X), dtype=int))
    assert us.diagnose(trained(land, us.optim.SGD(lr=0.05), 400)).healthy


def test_targets_that_belong_elsewhere_are_told_from_a_network_that_does_not_learn():
    told = []
    for shuffled in (False, True):
        land = spiral_land(init="zeros")
        y = np.random.default_rng(0).permutation(land.y) if shuffled else land.y
        run = trained(us.NetworkLandscape(land.net, us.nn.CrossEntropy(), land.X, y), us.optim.SGD(lr=0.05), 300)
        told.append(us.diagnose(run).measured.shuffled)
    assert told[0].given < 0.8 * told[0].shuffled
    assert told[1].given > 0.95 * told[1].shuffled


def test_curvature_does_not_learn_small_data_by_heart():
    """Few noisy samples: a remedy that lowers the training loss must not serve new data worse than doing nothing."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(160, 10)).astype(np.float32)
    y = ((X[:, 0] + 1.5 * rng.normal(size=160)) > 0).astype(int)

    def stuck():
        layers = us.nn.Linear(10, 32), us.nn.ReLU(), us.nn.Linear(32, 2)
        net = us.nn.Network(*layers, input_shape=(10,), seed=0)
        land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X[:80], y[:80])
        return trained(land, us.optim.SGD(lr=1e-7), 200, validation=(X[80:], y[80:]))

    freed, left = stuck(), stuck()
    out = us.unstick(freed)
    assert out.diagnosis.cause is us.Cause.STEP_TOO_SMALL
    assert freed.validation(freed.theta)[0] < left.validation(left.theta)[0] + 0.05


@pytest.mark.parametrize("rubbish", [
    42, (us.Cause.HEALTHY, 1.0), us.doctor.Finding(us.Cause.HEALTHY, np.nan, "x"),
    us.doctor.Finding(us.Cause.HEALTHY, "high", "x"), us.doctor.Finding(us.Cause.DEAD_UNITS, 0.9, None),
    us.doctor.Finding(us.Cause.DEAD_UNITS, 0.9, ""),
])  # fmt: skip
def test_what_a_rule_returns_is_looked_at(rubbish):
    run = trained(spiral_land(samples=60), us.optim.SGD(lr=0.1), 30)
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match="rule"):
        us.diagnose(run, rules=[lambda e: rubbish])
    with pytest.raises(us.errors.ArgumentTypeError, match="`rules`"):
        us.diagnose(run, rules=5)
    with pytest.raises(us.errors.ArgumentTypeError, match="`target`"):
        us.diagnose(run, target="low")


def test_a_run_that_is_being_trained_is_refused():
    run = trained(spiral_land(), us.optim.SGD(lr=0.01), 10)
    begun = threading.Event()
    thread = threading.Thread(target=lambda: run.fit(steps=20_000, progress=lambda *_: begun.set()))
    thread.start()
    begun.wait(10.0)
    refused = None
    try:
        us.diagnose(run)
    except us.errors.BusyError as error:
        refused = error
    ended = not thread.is_alive()
    thread.join()
    assert refused is not None or ended


def test_a_copy_that_nearly_overflows_can_be_drawn(tmp_path):
    h = np.array([1.0, 1e3])
    run = surface(lambda w: float(0.5 * h @ (w * w)), lambda w: h * w, np.ones(2), 2.5e-3, 200)
    out = us.unstick(run)
    assert out.diagnosis.cause is us.Cause.STEP_TOO_LARGE
    assert "<svg" in out.save(tmp_path / "report.html").read_text()
