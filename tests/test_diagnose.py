"""us.diagnose from end to end: planted faults are named, healthy runs left alone, nothing is changed."""

from __future__ import annotations

import json

import numpy as np
import pytest

import planted
import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from planted import CONTROLS, FAULTS, digits, quadratic, trained
from unstuck.errors import ArgumentError, ArgumentTypeError, OperatorError
from unstuck.report.typeset import typeset

BUDGET = None  # an amount of work, the same on a busy machine


@pytest.mark.parametrize("row", FAULTS, ids=str)
def test_planted_faults_are_named(row):
    run = row.make(0)
    before, theta = run.digest(), run.theta.tobytes()
    found = us.diagnose(run, budget=BUDGET)
    assert found.cause.name in row.causes.split(), f"{found}\n" + "\n".join(f.sentence for f in found.evidence)
    assert not found.healthy
    assert found.remedies
    assert (run.digest(), run.theta.tobytes()) == (before, theta)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("row", CONTROLS, ids=str)
def test_healthy_runs_are_left_alone(row, seed):
    run = row.make(seed)
    before = run.digest()
    found = us.diagnose(run, budget=BUDGET)
    assert found.cause.name in row.causes.split(), f"{found}\n" + "\n".join(f.sentence for f in found.evidence)
    assert found.healthy
    assert run.digest() == before


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 8))
def test_more_seeds(seed):
    wrong = []
    for row in FAULTS + CONTROLS:
        found = us.diagnose(row.make(seed), budget=BUDGET)
        if found.cause.name not in row.causes.split():
            wrong.append(f"{row}: {found}")
    assert len(wrong) <= 1, "\n".join(wrong)


# ---- points without a run


def surface(loss, gradient, n=2, **options):
    return us.FunctionLandscape(loss, gradient, n=n, **options)


def lecture(**options):
    return surface(
        lambda w: (1 - w[0] * w[1]) ** 2,
        lambda w: np.array([-2 * w[1] * (1 - w[0] * w[1]), -2 * w[0] * (1 - w[0] * w[1])]),
        **options,
    )


def deep_linear(depth):
    """The origin of a linear network with `depth` hidden layers on data with zero mean."""
    rng = np.random.default_rng(0)
    A = rng.normal(size=(100, 6))
    A -= A.mean(axis=0)
    net = planted.network("Identity", *(4,) * depth, inputs=6, outputs=2, init="zeros", dtype="float64")
    return us.NetworkLandscape(net, us.nn.MSE(), A, A[:, :2] * 2)


monkey = surface(
    lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2,
    lambda w: np.array([3 * w[0] ** 2 - 3 * w[1] ** 2, -6 * w[0] * w[1]]),
)
POINTS = [
    ("lecture at 0", lecture(), (0, 0), "STRICT_SADDLE"),
    ("lecture at (1, 1)", lecture(), (1, 1), "CONVERGED"),
    ("lecture at its lower bound", lecture(lower_bound=0.0), (1, 1), "CONVERGED"),
    ("on the slope", lecture(), (0.5, 0.1), "UNDECIDED"),
    ("monkey saddle", monkey, (0, 0), "FLAT_SADDLE"),
    ("x² − y⁴", surface(lambda w: w[0] ** 2 - w[1] ** 4, lambda w: np.array([2 * w[0], -4 * w[1] ** 3])), (0, 0),
     "FLAT_SADDLE"),
    ("x² + y⁴", surface(lambda w: w[0] ** 2 + w[1] ** 4, lambda w: np.array([2 * w[0], 4 * w[1] ** 3])), (0, 0),
     "CONVERGED"),
    ("maximum", surface(lambda w: -float(w @ w), lambda w: -2 * w), (0, 0), "STRICT_SADDLE"),
    ("constant", surface(lambda w: 1.0, lambda w: 0.0 * w), (0, 0), "UNDECIDED"),
    ("two-layer linear network at 0", deep_linear(1), None, "STRICT_SADDLE"),
    ("three-layer linear network at 0", deep_linear(2), None, "FLAT_SADDLE"),
    ("four-layer linear network at 0", deep_linear(3), None, "FLAT_SADDLE"),
]  # fmt: skip


@pytest.mark.parametrize(("land", "theta", "cause"), [p[1:] for p in POINTS], ids=[p[0] for p in POINTS])
def test_points(land, theta, cause):
    found = us.diagnose(land, theta)
    assert found.cause.name == cause, str(found)
    assert found.measured.trend is None
    assert found.point is not None


def test_a_minimum_above_the_target():
    run = planted.double_well([1.5, 0.5])
    assert us.diagnose(run.land, run.theta, target=0.0).cause is us.Cause.LOCAL_MINIMUM
    assert us.diagnose(run, target=0.0).cause is us.Cause.LOCAL_MINIMUM
    assert us.diagnose(run, target=0.5).cause is us.Cause.CONVERGED


# ---- what is measured


def test_weight_decay_is_part_of_the_judged_objective():
    # ½(w₀² − 0.5w₁²) is a saddle at 0; with a coupled decay of 0.8 it is the minimum of ½(1.8w₀² + 0.3w₁²)
    run = quadratic([1, -0.5], [1, 0], us.optim.SGD(lr=0.1, weight_decay=0.8), 400, lower_bound=None)
    found = us.diagnose(run)
    assert found.cause is us.Cause.CONVERGED
    np.testing.assert_allclose([*found.measured.geometry.lambda_min], 0.3, rtol=1e-6)
    np.testing.assert_allclose([*found.measured.geometry.lambda_max], 1.8, rtol=1e-6)


def test_the_penalty_of_the_landscape_is_part_of_it_too():
    stuck = us.diagnose(trained(digits("Tanh", 16, init="zeros"), us.optim.SGD(lr=0.1), 300))
    held = us.diagnose(trained(digits("Tanh", 16, init="zeros", l2=1.0), us.optim.SGD(lr=0.1), 300))
    assert stuck.cause is us.Cause.STRICT_SADDLE
    assert held.cause is us.Cause.CONVERGED
    assert held.point.verdict is us.Verdict.LOCAL_MINIMUM


def test_much_data_is_sampled_and_that_is_said():
    X, y = np.tile(planted.X, (4, 1)), np.tile(planted.Y, 4)
    run = trained(digits("Tanh", 16, init="zeros", data=X, labels=y), us.optim.SGD(lr=0.1), 300)
    found = us.diagnose(run)
    assert found.cause is us.Cause.STRICT_SADDLE
    assert (found.measured.level.samples, found.measured.level.of_samples) == (4096, 7188)
    assert "4,096 of 7,188 samples" in found.evidence[0].sentence


@pytest.mark.parametrize(
    ("opt", "threshold"),
    [
        (us.optim.SGD(lr=0.1), 20.0),
        (us.optim.SGD(lr=0.1, momentum=0.9), 38.0),
        (us.optim.SGD(lr=0.1, momentum=0.9, nesterov=True), 3.8 / 0.28),
        (us.optim.SGD(lr=0.1, momentum=0.9, dampening=0.5), 76.0),
        (us.optim.RMSProp(lr=0.1), 20.0),
        (us.optim.RMSProp(lr=0.1, momentum=0.5), 30.0),
        (us.optim.Adam(lr=0.1), 380.0),
    ],
    ids=str,
)
def test_stability_thresholds(opt, threshold):
    from unstuck.curvature.stability import stability_limit

    run = quadratic([1, 2], [1, 1], opt, 400)
    limit = stability_limit(run.opt, 0.1)
    assert limit.threshold == pytest.approx(threshold, rel=1e-6)
    assert limit.formula
    assert (limit.preconditioner is None) == (opt.rule == "SGD")


@pytest.mark.parametrize("share", [0.97, 1.03])
@pytest.mark.parametrize(
    "make",
    [
        lambda lr: us.optim.SGD(lr=lr),
        lambda lr: us.optim.SGD(lr=lr, momentum=0.9),
        lambda lr: us.optim.SGD(lr=lr, momentum=0.9, nesterov=True),
        lambda lr: us.optim.SGD(lr=lr, momentum=0.9, dampening=0.3),
    ],
)
def test_the_thresholds_are_where_descent_turns_into_growth(make, share):
    from unstuck.curvature.stability import stability_limit

    lr = share * stability_limit(make(1.0), 1.0).threshold / 10.0
    losses = quadratic([10.0], [1.0], make(lr), 400).history["loss"]
    assert (losses[-100:].max() > losses[:100].max()) == (share > 1)


def test_the_preconditioned_curvature_is_that_of_the_scaled_hessian():
    from unstuck.curvature.stability import preconditioned, steepest

    rng = np.random.default_rng(0)
    H = rng.normal(size=(30, 30))
    H = H + H.T
    p = rng.uniform(0.5, 2.0, 30)
    op = preconditioned(us.operators.as_operator(H), p)
    scaled = H / np.sqrt(np.outer(p, p))
    np.testing.assert_allclose(op @ np.eye(30), scaled, rtol=1e-12)
    assert steepest(op) == pytest.approx(np.linalg.eigvalsh(scaled)[-1], rel=0.02)


@pytest.mark.parametrize(
    ("loss", "y", "least"),
    [
        (us.nn.CrossEntropy(), np.arange(30) % 3, np.log(3)),
        (us.nn.MSE(), np.r_[np.zeros((15, 3)), np.ones((15, 3))], 0.25),
        (us.nn.BCEWithLogits(), np.r_[np.zeros((15, 3)), np.ones((15, 3))], np.log(2)),
        (us.nn.Huber(delta=1.0), np.r_[np.zeros((15, 3)), np.ones((15, 3))], 0.125),
    ],
    ids=lambda x: type(x).__name__,
)
def test_the_loss_of_the_best_constant_answer(loss, y, least):
    from unstuck.doctor.baseline import constant_answer_loss

    A = np.random.default_rng(0).normal(size=(30, 4))
    net = planted.network("Tanh", inputs=4, outputs=3, init="zeros", dtype="float64")
    land = us.NetworkLandscape(net, loss, A, y)
    assert constant_answer_loss(land) == pytest.approx(least)
    assert constant_answer_loss(lecture()) is None


def test_a_landscape_of_ones_own():
    run = us.Trainer(SoftmaxRegression(*blobs(), l2=0.1), us.optim.SGD(lr=0.3), batch_size=200)
    run.fit(steps=20)
    assert us.diagnose(run).cause is us.Cause.HEALTHY
    run.fit(steps=400)
    found = us.diagnose(run)
    assert found.cause is us.Cause.CONVERGED
    assert found.point.verdict is us.Verdict.LOCAL_MINIMUM


def test_a_surface_that_cannot_be_classified_is_noted():
    class Crooked(SoftmaxRegression):
        def hessian(self, theta, batch=None):
            raise OperatorError("no Hessian today")

    run = us.Trainer(Crooked(*blobs(), l2=0.1), us.optim.SGD(lr=0.3), batch_size=200)
    run.fit(steps=400)
    found = us.diagnose(run)
    assert found.cause is us.Cause.UNDECIDED
    assert any("no Hessian today" in note for note in found.notes)


def test_an_interrupt_during_the_examination_leaves_the_run_alone():
    land = SoftmaxRegression(*blobs(), l2=0.1)
    run = us.Trainer(land, us.optim.SGD(lr=0.3), batch_size=64)
    run.fit(steps=400)
    digest, calls = run.digest(), []
    honest = land.gradient

    def interrupted(theta, batch=None):
        calls.append(1)
        if len(calls) == 100:
            raise KeyboardInterrupt
        return honest(theta, batch)

    land.gradient = interrupted
    with pytest.raises(KeyboardInterrupt):
        us.diagnose(run)
    del land.gradient
    assert run.digest() == digest
    run.fit(steps=3)


def test_a_saved_run_has_the_same_diagnosis(tmp_path):
    run = trained(digits("Tanh", 16, init="zeros"), us.optim.SGD(lr=0.1), 300)
    run.save(tmp_path / "run")
    again = us.Trainer.load(tmp_path / "run", digits("Tanh", 16))
    assert us.diagnose(again).cause is us.diagnose(run).cause is us.Cause.STRICT_SADDLE


def test_the_budget_is_kept():
    run = trained(digits("Tanh", 64, seed=0, l2=1e-2), us.optim.SGD(lr=0.2, momentum=0.9), 1000, batch_size=256)
    for budget in (0.3, 1.0):
        found = us.diagnose(run, budget=budget)
        assert found.seconds < 3 * budget + 2.0  # other work on the machine included


# ---- the answer


@pytest.fixture(scope="module")
def stuck():
    return us.diagnose(trained(digits("Tanh", 16, init="zeros"), us.optim.SGD(lr=0.1), 300))


def test_the_answer_in_all_its_forms(stuck, tmp_path):
    assert stuck.causes[0] == (us.Cause.STRICT_SADDLE, stuck.findings[0].confidence)
    assert sum(1 for cause, _ in stuck.causes if cause is us.Cause.UNDECIDED) == 1
    assert str(stuck).startswith("The run hovers within 0.0")
    assert "STRICT_SADDLE" in str(stuck)
    record = json.loads(stuck.to_json())
    assert record["data"]["cause"] == "STRICT_SADDLE"
    assert record["data"]["healthy"] is False
    assert [fact.label for fact in stuck.facts()][:2] == ["cause", "loss"]
    assert stuck.products > 0
    assert stuck.seconds > 0
    assert "escape" in stuck.remedies[0].describe()
    page = stuck.save(tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 2
    assert stuck.save(tmp_path / "report.json").read_text() == stuck.to_json()
    assert typeset(str(stuck)) in stuck._repr_html_().replace("&#39;", "'").replace("&#34;", '"')


def test_bad_arguments():
    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.SGD(lr=0.3))
    for options, match in (
        ({"budget": 0.0}, "budget"),
        ({"budget": -1.0}, "budget"),
        ({"budget": float("nan")}, "budget"),
        ({"target": float("nan")}, "target"),
        ({"theta": np.zeros(15)}, "theta"),
    ):
        with pytest.raises(ArgumentError, match=match):
            us.diagnose(run, **options)
    with pytest.raises(ArgumentTypeError, match="subject"):
        us.diagnose("run")
    with pytest.raises(ArgumentError, match="theta"):
        us.diagnose(lecture())
    with pytest.raises(ArgumentError, match="theta"):
        us.diagnose(lecture(), np.zeros(3))
