"""The sharpness of training runs against dense Hessians: bounds, thresholds, the record, what attaching changes."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck.curvature import SharpnessTracker
from unstuck.curvature.stability import stability_limit
from unstuck.curvature.tracking import FollowedEnd, follow

X, Y = us.data.digits()
X = X[:300].astype(np.float64) / 16


def landscape(seed=0, dtype="float64", hidden=4):
    net = us.nn.Network(
        us.nn.Linear(64, hidden), us.nn.Tanh(), us.nn.Linear(hidden, 10), input_shape=(64,), seed=seed, dtype=dtype
    )
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, Y[:300])


def matrix(land, theta, batch=None):
    a = np.asarray(land.hessian(theta, batch) @ np.eye(land.n), dtype=np.float64)
    return 0.5 * (a + a.T)


def test_bounds_hold_and_the_ends_are_followed():
    land = landscape()
    batch = np.arange(0, 300, 3)
    run = us.Trainer(land, us.optim.SGD(lr=0.2, momentum=0.5), batch_size=50)
    tracker = SharpnessTracker(land, batch, smallest=True, vectors=3, certify_every=4)
    errors = []
    for look in range(16):
        run.fit(steps=25)
        found = tracker.check(run.theta, run.opt)
        values = np.linalg.eigvalsh(matrix(land, run.theta, batch))
        rounding = 1e-9 * values[-1]
        assert found.lambda_max <= values[-1] + rounding
        assert found.lambda_min >= values[0] - rounding
        assert np.abs(values - found.lambda_max).min() <= found.residual + rounding
        assert found.step == run.t
        if look % 4 == 0:
            assert found.lambda_max_upper >= values[-1] - rounding
            assert found.lambda_min_lower <= values[0] + rounding
            assert found.lambda_max_upper <= 1.2 * values[-1]
            assert found.products <= 62
        else:
            assert np.isnan(found.lambda_max_upper)
            assert 2 <= found.products <= 6
        errors.append(1 - found.lambda_max / values[-1])
    assert np.median(errors) < 0.01
    assert max(errors) < 0.2
    assert len(tracker.looks) == 16
    assert "λ_max ≥" in str(found)


def test_full_batch_descent_rises_to_its_threshold():
    """Cohen et al. 2021: the sharpness rises until it hovers about 2/lr."""
    net = us.nn.Network(
        us.nn.Linear(64, 20), us.nn.Tanh(), us.nn.Linear(20, 10), input_shape=(64,), seed=1, dtype="float64"
    )
    land = us.NetworkLandscape(net, us.nn.MSE(), X, np.eye(10)[Y[:300]])
    run = us.Trainer(land, us.optim.SGD(lr=2.0), batch_size=300)
    tracker = SharpnessTracker(land, None, every=50, certify_every=20).attach(run)
    run.fit(steps=1500)
    ratios = np.array([look.ratio for look in tracker.looks])
    assert tracker.looks[-1].formula == "2/lr"
    assert tracker.looks[-1].threshold == pytest.approx(1.0)
    assert ratios[0] < 0.7
    assert 0.9 < np.median(ratios[-15:]) < 1.2


@pytest.mark.parametrize(
    ("opt", "threshold"),
    [
        (us.optim.SGD(lr=0.1), 2 / 0.1),
        (us.optim.SGD(lr=0.1, momentum=0.9), (2 + 1.8) / 0.1),
        (us.optim.SGD(lr=0.1, momentum=0.9, nesterov=True), (2 + 1.8) / (0.1 * 2.8)),
        (us.optim.RMSProp(lr=0.01, momentum=0.5), (2 + 1.0) / 0.01),
        (us.optim.Adam(lr=0.01), (2 + 1.8) / (0.1 * 0.01)),
        (us.optim.AdamW(lr=0.01, beta1=0.5), (2 + 1.0) / (0.5 * 0.01)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_thresholds_on_the_operator_that_the_optimizer_sees(opt, threshold):
    land = landscape(seed=2)
    run = us.Trainer(land, opt, batch_size=30)
    tracker = SharpnessTracker(land, None, every=40, certify_every=5).attach(run)
    run.fit(steps=400)
    # Adam's first steps are longer by 1/(1 − β₁ᵗ): none of that is left
    assert tracker.looks[-1].threshold == pytest.approx(threshold, rel=0.01)
    limit = stability_limit(run.opt, run.opt.rate(run.t))
    a = matrix(land, run.theta)
    if limit.preconditioner is not None:
        scale = 1 / np.sqrt(limit.preconditioner)
        a = a * scale[:, None] * scale
    largest = np.linalg.eigvalsh(a)[-1]
    assert 0.8 * largest <= tracker.looks[-1].effective <= largest * (1 + 1e-9)
    fresh = SharpnessTracker(land).check(run.theta, run.opt)
    assert fresh.effective == pytest.approx(largest, rel=1e-2)


def test_an_overtaking_eigenvalue_is_found_by_the_next_fresh_run():
    d = np.linspace(0.1, 1.0, 400)
    d[0], d[1] = 5.0, 0.5

    def hvp(theta, v):
        scaled = d.copy()
        scaled[1] = 0.5 + 10 * theta[0]
        return scaled * v

    land = us.FunctionLandscape(lambda t: 0.0, lambda t: np.zeros(400), 400, hvp=hvp)
    tracker = SharpnessTracker(land, certify_every=6)
    values = []
    for look in range(13):
        values.append(tracker.check(np.full(400, look / 12)).lambda_max)
    assert values[:6] == pytest.approx([5.0] * 6)
    assert values[6] == pytest.approx(0.5 + 10 * 6 / 12, rel=1e-6)
    assert values[12] == pytest.approx(10.5, rel=1e-6)


def test_attaching_changes_nothing_and_the_history_has_the_looks(tmp_path):
    runs = []
    for attached in (False, True):
        land = landscape(dtype="float32")
        run = us.Trainer(land, us.optim.Adam(lr=1e-3), batch_size=64)
        if attached:
            tracker = SharpnessTracker(land, np.arange(40), every=7, smallest=True)
            assert tracker.attach(run).attach(run) is tracker
        run.fit(steps=9)
        state = run.state()
        run.fit(steps=30)
        runs.append(run)
    assert runs[0].digest() == runs[1].digest()
    history = runs[1].history
    np.testing.assert_array_equal(history["curvature_step"], [7, 14, 21, 28, 35])
    np.testing.assert_array_equal(history["curvature_epoch"], [1, 2, 4, 5, 7])
    np.testing.assert_array_equal(history["lambda_max"], [look.lambda_max for look in tracker.looks])
    assert np.isfinite(history["lambda_max_upper"][0])
    assert np.isfinite(history["effective_lambda_max"]).all()
    assert (history["lambda_min"] < 0.1).all()
    assert len(runs[0].history["lambda_max"]) == 0
    run.save(tmp_path / "run")
    loaded = us.Trainer.load(tmp_path / "run", landscape(dtype="float32"))
    for name in history:
        np.testing.assert_array_equal(loaded.history[name], history[name])
    run.restore(state)
    np.testing.assert_array_equal(run.history["curvature_step"], [7])


def test_one_look_per_epoch():
    land = landscape()
    run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=70)
    SharpnessTracker(land, every=None).attach(run)
    run.fit(epochs=3)
    run.fit(steps=2)
    np.testing.assert_array_equal(run.history["curvature_epoch"], [1, 2, 3])
    np.testing.assert_array_equal(run.history["curvature_step"], [5, 10, 15])


@pytest.mark.parametrize("c", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_scale_with_the_loss(c, dtype):
    d = np.linspace(-0.3, 2.0, 300).astype(dtype)

    def land(s):
        return us.FunctionLandscape(
            lambda t: 0.0,
            lambda t: np.zeros(300, dtype),
            300,
            hvp=lambda t, v: (d * (s * (1 + t[0]))).astype(dtype) * v,
            dtype=dtype,
        )

    one, other = (SharpnessTracker(land(s), smallest=True) for s in (1.0, c))
    for look in range(4):
        theta = np.full(300, 0.1 * look, dtype)
        a, b = one.check(theta), other.check(theta)
        for name in ("lambda_max", "lambda_min", "lambda_max_upper", "lambda_min_lower"):
            assert getattr(b, name) / c == pytest.approx(getattr(a, name), rel=1e-4, nan_ok=True)


def test_a_zero_hessian_and_one_parameter():
    for n in (1, 2, 5):
        land = us.FunctionLandscape(lambda t: 0.0, np.zeros_like, n, hvp=lambda t, v: 0 * v)
        tracker = SharpnessTracker(land, smallest=True, vectors=3)
        for _ in range(3):
            found = tracker.check(np.zeros(n))
            assert found.lambda_max == found.lambda_min == 0.0
    land = us.FunctionLandscape(lambda t: 1.5 * t @ t, lambda t: 3 * t, 1, hvp=lambda t, v: 3 * v)
    assert SharpnessTracker(land).check(np.zeros(1)).lambda_max == pytest.approx(3.0)


def test_what_is_not_finite_does_not_end_the_training():
    land = landscape()
    run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=100)
    broken = landscape()
    broken.hessian = lambda theta, batch=None: us.HessianOperator(broken.n, "float64", lambda v: v * np.nan)
    SharpnessTracker(broken, every=2).attach(run)
    run.fit(steps=4)
    assert np.isnan(run.history["lambda_max"]).all()
    with pytest.raises(us.errors.NonFiniteError):
        SharpnessTracker(broken).check(broken.theta)


def test_arguments_are_checked():
    land = landscape()
    for name, value in {"every": 0, "vectors": 0, "accuracy": -1.0, "certify_every": 0, "confidence": 1.0}.items():
        with pytest.raises(us.errors.ArgumentError, match=f"`{name}`"):
            SharpnessTracker(land, **{name: value})
    with pytest.raises(us.errors.ArgumentTypeError, match="`land`"):
        SharpnessTracker(3)
    with pytest.raises(us.errors.ArgumentTypeError, match="`run`"):
        SharpnessTracker(land).attach(land)
    with pytest.raises(us.errors.ArgumentError, match="parameters"):
        SharpnessTracker(land).attach(us.Trainer(landscape(hidden=3), us.optim.SGD(lr=0.1)))
    function = us.FunctionLandscape(lambda t: t @ t, lambda t: 2 * t, 3)
    with pytest.raises(us.errors.ArgumentError, match="`theta`"):
        SharpnessTracker(function).check()
    with pytest.raises(us.errors.ArgumentError, match="`every`"):
        SharpnessTracker(function, every=None).attach(us.Trainer(function, us.optim.SGD(lr=0.1), theta=np.ones(3)))
    assert "looks" in repr(SharpnessTracker(land))


def test_the_subspace_climbs_on_a_fixed_operator():
    rng = np.random.default_rng(0)
    d = np.sort(rng.uniform(-1, 1, 500))
    for sign, end in ((1.0, d[-1]), (-1.0, d[0])):
        values = {}
        for size in (1, 2, 3):
            followed = FollowedEnd(sign, size)
            followed.shift = 1.0
            u = rng.standard_normal(500)
            u /= np.linalg.norm(u)
            looks = [followed.begin(u, d * u)]
            looks += [followed.absorb(followed.rows * d) for _ in range(40)]
            quotients = sign * np.array([look.value for look in looks])
            assert (np.diff(quotients) >= -1e-12).all(), "never worse"
            values[size] = quotients[-1]
            np.testing.assert_allclose(followed.rows @ followed.rows.T, np.eye(len(followed.rows)), atol=1e-12)
        assert values[3] > values[2] > values[1] > 0.8
        assert values[3] == pytest.approx(sign * end, abs=6e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("sizes", "scaled"), [((2,), False), ((1, 1), True), ((3, 2), True)])
def test_a_look_in_the_core_is_the_look_at_the_operator(dtype, sizes, scaled):
    land, rng, rounds = landscape(dtype=dtype), np.random.default_rng(3), 4
    batch, scale = np.arange(5, 90, 2), rng.uniform(0.5, 2.0, land.n).astype(dtype)

    def ends():
        made = []
        for number, size in enumerate(sizes):
            end = FollowedEnd(1.0 if number == 0 else -1.0 if size > 1 else 1.0, size)
            end.shift, end.scale = 0.1, scale if scaled and number else None
            u = np.random.default_rng(number).standard_normal(land.n).astype(dtype)
            end.rows = (u / np.linalg.norm(u))[None]
            made.append(end)
        return made

    class Plain:
        hessian = staticmethod(land.hessian)

    in_core, plain = ends(), ends()
    tight = 1e-9 if dtype == "float64" else 1e-3
    for accuracy in (1e9, 0.0) * (rounds // 2):
        theta = land.theta + dtype_step(rng, land.n, dtype)
        one, products = follow(land, theta, batch, in_core, accuracy, 5)
        other, counted = follow(Plain, theta, batch, plain, accuracy, 5)
        assert products == counted <= 6
        for a, b in zip(one, other, strict=True):
            assert a.value == pytest.approx(b.value, rel=tight)
            assert a.residual == pytest.approx(b.residual, rel=10 * tight)
    dense = matrix(land, theta, batch)
    for end, look in zip(in_core, one, strict=True):
        a = dense if end.scale is None else dense * end.scale[:, None] * end.scale
        values = np.linalg.eigvalsh(np.asarray(a, dtype=np.float64))
        assert values[0] - tight <= look.value <= values[-1] + tight
        assert np.abs(values - look.value).min() <= look.residual * (1 + tight) + tight


def dtype_step(rng, n, dtype):
    return (1e-3 * rng.standard_normal(n)).astype(dtype)


def test_a_product_that_is_not_finite_leaves_the_ends_alone():
    land = landscape()
    end = FollowedEnd(1.0, 2)
    end.rows = np.eye(1, land.n)
    rows = end.rows
    with pytest.raises(us.errors.NonFiniteError):
        follow(land, np.full(land.n, np.inf), None, [end], 0.1, 5)
    assert end.rows is rows


def test_the_samples_are_those_that_the_overhead_allows():
    net = us.nn.Network(us.nn.Linear(64, 32), us.nn.Tanh(), us.nn.Linear(32, 10), input_shape=(64,), seed=0)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), *us.data.digits())
    sizes = {}
    for overhead in (1e-6, 0.05, 0.1, 0.9):
        run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=2000)
        tracker = SharpnessTracker(land, overhead=overhead).attach(run)
        sizes[overhead] = land.samples if tracker.batch is None else len(tracker.batch)
        again = SharpnessTracker(land, overhead=overhead).attach(run)
        np.testing.assert_array_equal(tracker.batch, again.batch)
    assert sizes[1e-6] == 8
    assert 8 < sizes[0.05] < sizes[0.1] < sizes[0.9] == land.samples
    run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=2000)
    tracker = SharpnessTracker(land).attach(run)
    assert len(np.unique(tracker.batch)) == len(tracker.batch)
    run.fit(steps=100)
    assert [look.samples for look in tracker.looks] == [len(tracker.batch)] * 2
    assert f"products of {len(tracker.batch)} samples" in str(tracker.looks[-1])
    values = np.linalg.eigvalsh(matrix(land, run.theta, tracker.batch))
    assert 0.5 * values[-1] <= tracker.looks[-1].lambda_max <= values[-1] * (1 + 1e-5), "of those samples"
    assert SharpnessTracker(land).check().samples == land.samples, "not attached: all"
    assert SharpnessTracker(land, None).attach(run).batch is None
    with pytest.raises(us.errors.ArgumentError, match="`batch`"):
        SharpnessTracker(land, "all")
    with pytest.raises(us.errors.ArgumentError, match="`overhead`"):
        SharpnessTracker(land, overhead=1.5)


def test_a_look_that_does_not_fit_the_budget():
    land = landscape()
    small = us.NetworkLandscape(land.net, land.loss_function, land.X, land.y, memory_budget=1000)
    end = FollowedEnd(1.0, 2)
    end.rows = np.eye(1, land.n)
    with pytest.raises(us.errors.BudgetError, match="memory_budget"):
        follow(small, land.theta, None, [end], 0.1, 5)
