"""What a step does besides its rule, in the same pass: scale, clip, average, zero, refuse, report, schedules."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from optim_cases import FULL, RULES, SIZES, build, case_id, problem, rate

every_full_case = pytest.mark.parametrize(("rule", "hyper"), FULL, ids=case_id)
every_dtype = pytest.mark.parametrize("dtype", ("float32", "float64"))
LARGE = 70_003  # ranges of 8192 and a block beyond the resident size


def bits(optimizer, theta, *more):
    return b"".join(array.tobytes() for array in (theta, *optimizer.slots, *more))


def blocks_of(*sizes):
    ends = np.cumsum(sizes)
    return [(f"b{i}", slice(int(e - s), int(e)), (int(s),)) for i, (s, e) in enumerate(zip(sizes, ends, strict=True))]


@every_full_case
@every_dtype
def test_one_pass_equals_separate_steps(rule, hyper, dtype, threads):
    for n in (*SIZES[::3], LARGE):
        theta, gradients = problem(n, dtype, steps=3)
        plain, fused = build(rule, hyper), build(rule, hyper)
        expected, found = theta.copy(), theta.copy()
        mean_expected, mean = theta.copy(), theta.copy()
        for g in gradients:
            norm = float(np.linalg.norm(0.5 * g.astype("f8")))
            clip = norm / 3
            plain.step(expected, g, scale=0.5 * (clip / norm))
            mean_expected += np.asarray(1 - 0.9, dtype) * (expected - mean_expected)
            given = g.copy()
            fused.step(
                found,
                given,
                scale=0.5,
                clip_norm=clip,
                average=mean,
                average_decay=0.9,
                zero_gradient=True,
                report=True,
            )
            assert not given.any()
        scale = np.max(np.abs(expected))
        assert np.max(np.abs(found - expected)) <= (3e-6 if dtype == "float32" else 1e-13) * scale
        assert np.max(np.abs(mean - mean_expected)) <= (3e-6 if dtype == "float32" else 1e-13) * scale


@every_full_case
@every_dtype
def test_options_that_only_watch_change_no_bit(rule, hyper, dtype):
    theta, gradients = problem(LARGE, dtype, steps=2)
    plain, watched, a, b = build(rule, hyper), build(rule, hyper), theta.copy(), theta.copy()
    for g in gradients:
        plain.step(a, g)
        watched.step(
            b, g, clip_norm=1e30, average=np.zeros_like(theta), zero_gradient=False, report=True, non_finite="raise"
        )
    assert bits(plain, a) == bits(watched, b)


@every_full_case
def test_the_whole_pass_is_bit_equal_for_any_number_of_threads(rule, hyper, threads):
    theta, gradients = problem(150_001, "float32", steps=2)
    blocks = blocks_of(1, 255, 70_000, 3, 8192, 150_001 - 70_000 - 8192 - 259)
    results = set()
    for count in (1, 2, 3, 7):
        threads(count)
        optimizer, point, mean = build(rule, hyper), theta.copy(), theta.copy()
        optimizer.init(blocks)
        for g in gradients:
            report = optimizer.step(point, g, clip_norm=1.0, average=mean, report=True)
        results.add(bits(optimizer, point, mean, report.change_norm, report.gradient_norm, report.trust_ratio))
    assert len(results) == 1


@every_full_case
@every_dtype
def test_the_report_holds_the_norms_of_every_block(rule, hyper, dtype):
    blocks = blocks_of(5, 8192, 3, 20_000, 1, 70_000)
    n = blocks[-1][1].stop
    theta, gradients = problem(n, dtype, steps=2)
    optimizer = build(rule, hyper)
    optimizer.init(blocks)
    for g in gradients:
        before = theta.copy()
        report = optimizer.step(theta, g, scale=0.5, report=True)
    assert report.blocks == tuple(name for name, _, _ in blocks)
    for row, (_, part, _) in enumerate(blocks):
        wide = [a[part].astype("f8") for a in (g, before, theta)]
        expected = [np.linalg.norm(wide[0]), np.linalg.norm(wide[1]), np.linalg.norm(wide[2] - wide[1])]
        found = [report.gradient_norm[row], report.theta_norm[row], report.change_norm[row]]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(report.relative_change, report.change_norm / report.theta_norm)
    np.testing.assert_allclose(report.effective_step, report.change_norm / report.gradient_norm)
    np.testing.assert_allclose(report.total_gradient_norm, np.linalg.norm(g.astype("f8")), rtol=1e-12)
    if RULES[rule].elementwise:
        assert np.all(report.trust_ratio == 1)


def test_a_report_without_blocks_is_of_theta():
    optimizer, theta = us.optim.SGD(lr=0.5), np.array([3.0, 4.0])
    report = optimizer.step(theta, np.array([0.0, 2.0]), report=True)
    assert report.blocks == ("theta",)
    assert (report.theta_norm[0], report.gradient_norm[0], report.change_norm[0]) == (5.0, 2.0, 1.0)
    assert report.effective_step[0] == 0.5
    assert optimizer.step(theta, np.zeros(2), report=True).relative_change[0] == 0.0
    assert optimizer.step(theta, np.ones(2)) is None


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_that_is_not_finite_moves_nothing_if_asked(rule):
    n = 33
    theta, (g, again) = problem(n, "float32", steps=2)
    optimizer = build(rule)
    optimizer.step(theta, g)
    before = bits(optimizer, theta)
    for index in (*range(9), 15, 16, 31, 32):
        for bad in (np.nan, np.inf, -np.inf):
            spoiled = again.copy()
            spoiled[index] = bad
            kept, mean = spoiled.copy(), theta.copy()
            skipped = optimizer.skipped
            asked = {"average": mean, "zero_gradient": True, "report": True, "clip_norm": 1.0}
            assert optimizer.step(theta, spoiled, non_finite="skip", **asked) is None
            assert optimizer.skipped == skipped + 1
            with pytest.raises(us.errors.NonFiniteError, match=f"position {index}"):
                optimizer.step(theta, spoiled, non_finite="raise", **asked)
            assert (bits(optimizer, theta), optimizer.t) == (before, 1)
            assert np.array_equal(mean, theta)
            assert spoiled.tobytes() == kept.tobytes()
    optimizer.step(theta, again, non_finite="raise")
    assert optimizer.t == 2


def test_a_huge_gradient_is_finite_and_can_be_clipped():
    theta = np.zeros(5)
    optimizer = us.optim.SGD(lr=1.0)
    optimizer.step(theta, np.full(5, 1e300), clip_norm=1.0, non_finite="raise")
    np.testing.assert_allclose(theta, -1 / np.sqrt(5))
    theta[:] = 0
    optimizer.step(theta, np.full(5, 3e38, "f8"), gradient_norm=np.sqrt(5) * 3e38, clip_norm=1.0)
    np.testing.assert_allclose(theta, -1 / np.sqrt(5))


@pytest.mark.parametrize("state", (None, "bfloat16", "int8"))
def test_clipping_a_gradient_near_the_largest_float32_keeps_its_direction(state):
    theta, g = np.zeros(700, "f4"), np.full(700, 3e38, "f4")
    g[::7] = -1e38
    exact = g.astype("f8") / np.linalg.norm(g.astype("f8"))
    options = {} if state is None else {"state": state}
    us.optim.SGD(lr=1.0, momentum=0.9, **options).step(theta, g, clip_norm=1.0, non_finite="raise")
    np.testing.assert_allclose(theta, -exact, rtol=1e-6)
    lars, point = us.optim.LARS(lr=1.0), np.zeros(700, "f4")
    lars.step(point, g, clip_norm=1.0)
    np.testing.assert_allclose(point, -exact, rtol=1e-6)
    wide = np.zeros(3)
    us.optim.SGD(lr=1.0).step(wide, np.array([1e308, -1e308, 0.0]), clip_norm=1.0, scale=100.0)
    np.testing.assert_allclose(wide, np.array([-1, 1, 0]) / np.sqrt(2), rtol=1e-12)


def test_a_scale_that_overflows_the_gradient_is_refused_and_a_clipped_one_is_not():
    for kind, large, scale in (("f4", 1e30, 1e20), ("f8", 1e300, 1e20)):
        optimizer, theta, g = us.optim.Adam(), np.ones(9, kind), np.full(9, large, kind)
        assert optimizer.step(theta, g, scale=scale, non_finite="skip") is None
        assert (optimizer.skipped, optimizer.t) == (1, 0)
        assert np.all(theta == 1)
        with pytest.raises(us.errors.NonFiniteError):
            optimizer.step(theta, g, scale=scale, non_finite="raise")
        optimizer.step(theta, g, scale=scale, clip_norm=1.0, non_finite="raise")
        assert np.isfinite(theta).all()
        assert np.all(theta < 1)


def test_a_known_norm_is_used_as_it_is():
    theta = np.zeros(4)
    optimizer = us.optim.SGD(lr=1.0)
    optimizer.step(theta, np.ones(4), clip_norm=1.0, gradient_norm=10.0)
    np.testing.assert_allclose(theta, -0.1)
    optimizer.step(theta, np.ones(4), gradient_norm=np.nan, non_finite="skip")
    assert (optimizer.t, optimizer.skipped) == (1, 1)


def test_the_average_may_be_bfloat16():
    rng = np.random.default_rng(0)
    theta = rng.normal(size=5000).astype("f4")
    mean = np.zeros(theta.size, np.uint16)
    optimizer = us.optim.SGD(lr=0.0)
    for _ in range(400):
        optimizer.step(theta, theta.copy() * 0, average=mean, average_decay=0.99)
    found = (mean.astype(np.uint32) << 16).view("f4")
    expected = theta * (1 - 0.99**400)
    assert np.abs(np.mean(found / expected) - 1) < 2e-3, "rounding to nearest would stop at half"
    assert np.max(np.abs(found - expected) / np.abs(expected)) < 0.06


REFUSED = [
    ({"scale": "x"}, us.errors.ArgumentTypeError, "`scale` must be a finite number"),
    ({"scale": np.nan}, us.errors.ArgumentError, "`scale` must be a finite number"),
    ({"clip_norm": 0.0}, us.errors.ArgumentError, "`clip_norm` must be positive"),
    ({"clip_norm": -1.0}, us.errors.ArgumentError, "`clip_norm` must be a finite number ≥ 0"),
    ({"gradient_norm": -1.0}, us.errors.ArgumentError, "`gradient_norm` must not be negative"),
    ({"average": np.zeros(8, "f"), "average_decay": 1.0}, us.errors.ArgumentError, "`average_decay` must be in [0, 1)"),
    ({"average": np.zeros(7, "f")}, us.errors.ArgumentError, "`average` must have shape (8)"),
    ({"average": np.zeros(8)}, us.errors.ArgumentTypeError, "`average` must be float32"),
    ({"zero_gradient": "yes"}, us.errors.ArgumentTypeError, "`zero_gradient` must be False or True"),
    ({"non_finite": "stop"}, us.errors.ArgumentError, "`non_finite` must be one of"),
    ({"report": 2}, us.errors.ArgumentTypeError, "`report` must be False or True"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), REFUSED, ids=lambda v: str(v)[:40])
def test_refused_options_change_nothing(arguments, error, message):
    optimizer, theta, g = us.optim.Adam(), np.ones(8, "f"), np.ones(8, "f")
    with pytest.raises(error) as caught:
        optimizer.step(theta, g, **arguments)
    assert message.replace("(8)", "(8,)") in str(caught.value)
    assert np.all(theta == 1)
    assert optimizer.t == 0


def test_what_is_written_may_not_overlap_and_must_be_writable():
    optimizer, theta, g = us.optim.SGD(momentum=0.9), np.ones(8), np.ones(8)
    for average, name in ((theta, "theta"), (g, "gradient")):
        with pytest.raises(us.errors.ArgumentError, match=f"`{name}` and `average` share memory"):
            optimizer.step(theta, g, average=average)
    g.flags.writeable = False
    optimizer.step(theta, g)
    with pytest.raises(us.errors.ArgumentTypeError, match="`gradient` is read-only"):
        optimizer.step(theta, g, zero_gradient=True)


@pytest.mark.parametrize("rule", RULES)
def test_every_number_may_be_a_schedule(rule):
    row, limits = RULES[rule], us.optim.RULES[rule].limits
    last = row.combinations()[-1]
    numbers = [n for n in limits if isinstance(last[n], float) and not getattr(limits[n], "fixed", False)]
    values = {n: last[n] if last[n] else 0.25 for n in numbers}
    if last.get("nesterov"):
        numbers.remove("dampening")
    theta, gradients = problem(41, "float64", steps=6)

    def at(name, t):
        return values[name] + t if name in {"threshold", "steps_per_epoch"} else values[name] * (1 - t / 100)

    scheduled = build(rule, {**last, **{n: lambda t, n=n: at(n, t) for n in numbers}})
    state, expected, found = {}, theta.copy(), theta.copy()
    for t, g in enumerate(gradients):
        hyper = {**last, **{n: at(n, t) for n in numbers}}
        expected = row.oracle(expected, g, state, rate(rule, t), t + 1, **hyper)
        scheduled.lr = rate(rule, t)
        assert scheduled.hyper[numbers[0]] == hyper[numbers[0]]
        scheduled.step(found, g)
    assert np.max(np.abs(found - expected)) <= 1e-11 * np.max(np.abs(expected))


def test_a_schedule_of_a_hyper_parameter_is_checked_and_kept_in_the_state():
    optimizer = us.optim.SGD(lr=0.1, momentum=lambda t: 0.5 + t)
    theta = np.ones(3)
    optimizer.step(theta, np.ones(3))
    with pytest.raises(us.errors.ArgumentError, match=r"`momentum\(1\)` must be in \[0, 1\), got 1.5"):
        optimizer.step(theta, np.ones(3))
    assert optimizer.t == 1
    assert optimizer.state()["hyper"]["momentum"] is None
    with pytest.raises(us.errors.ArgumentError, match="`momentum` must be given"):
        us.optim.from_state(optimizer.state())
    assert us.optim.from_state(optimizer.state(), momentum=lambda t: 0.5).t == 1
    named = us.optim.Adam(lr=0.1, beta1=us.schedules.constant(0.8))
    assert us.optim.from_state(named.state()).hyper["beta1"] == 0.8
    with pytest.raises(us.errors.ArgumentTypeError, match="`amsgrad` must be False or True and cannot be a schedule"):
        us.optim.Adam(amsgrad=lambda t: True)


def test_a_momentum_that_starts_at_zero_keeps_its_buffer():
    optimizer, theta = us.optim.SGD(lr=1.0, momentum=lambda t: 0.0 if t < 2 else 0.5), np.zeros(1)
    path = []
    for _ in range(4):
        optimizer.step(theta, np.ones(1))
        path.append(theta[0])
    assert path == [-1.0, -2.0, -3.5, -5.25]
