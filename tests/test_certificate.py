"""The a-posteriori bound: against its definition, its coverage at every stopping time, its price."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg as sl
import scipy.stats

import spectra
import unstuck as us
from unstuck import _core
from unstuck.curvature import lanczos


def run(d, k, *, dtype="float64", seed=0, start=None):
    d = np.asarray(d, dtype=dtype)
    rng = np.random.default_rng(seed)
    state = _core.Lanczos(len(d), dtype, k, rng.standard_normal(len(d)) if start is None else start)
    while state.k < k and not (state.exhausted and state.k == len(d)):
        if state.exhausted:
            state.restart(rng.standard_normal(len(d)))
        state.push(d * state.next())
    return state


@pytest.mark.parametrize("n", [1, 2, 3, 4, 10, 1000])
@pytest.mark.parametrize("delta", [0.3, 0.05, 1e-6])
def test_overlap_is_below_t_with_at_most_delta(n, delta):
    t = math.exp(_core.log_t(n, delta))
    if n == 1:
        assert t == 1.0
        return
    # γ² of a uniform unit vector is Beta(½, (n−1)/2)
    probability = scipy.stats.beta.cdf(min(t, 1.0) ** 2, 0.5, (n - 1) / 2)
    assert probability <= delta * (1 + 1e-12)
    assert probability >= 0.6 * delta
    # the slack that runs after a restart use: see certificate.hpp
    if n >= 3:
        assert probability <= delta * (1 - 1 / (8 * (n - 1)))


@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_bound_is_where_the_polynomial_reaches_one_over_t(family):
    d = family(np.random.default_rng(1), 900)
    for k in (1, 2, 3, 8, 21):
        state = run(d, k)
        theta, log_beta = state.ritz_values(), np.log(state.beta).sum()
        target = -_core.log_t(900, 1e-6)

        def excess(log_gap, theta=theta, log_beta=log_beta, target=target):
            return np.log(theta - theta[0] + math.exp(log_gap)).sum() - log_beta - target

        gap = math.exp(scipy.optimize.brentq(excess, -80, 80, xtol=1e-14))
        expected = theta[0] - gap
        np.testing.assert_allclose(state.certificate_lower(1e-6), expected, rtol=1e-7, atol=1e-12)
        mirrored = -_core.certificate_lower(-state.alpha, state.beta, 900, 1e-6)
        assert state.certificate_upper(1e-6) == mirrored == _core.certificate_upper(state.alpha, state.beta, 900, 1e-6)


def test_polynomial_bounds_the_overlap():
    """Σ γ_i² p_k(λ_i)² = 1, so that |p_k(λ_min)| ≤ 1/|γ_1|: the bound holds whenever |γ_1| ≥ t."""
    rng = np.random.default_rng(2)
    d = spectra.uniform(rng, 400, g=0.02)
    for overlap in (1e-2, 1e-5, 1e-8):
        start = rng.standard_normal(400)
        start[0] = 0.0
        start /= np.linalg.norm(start)
        start[0] = overlap
        delta = overlap / math.exp(_core.log_t(400, 0.5)) * 0.5
        for k in range(1, 60):
            assert run(d, k, start=start).certificate_lower(0.999 * delta) <= d[0] + 1e-14


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_tiny_dimensions(n):
    d = np.arange(n) - 1.0
    for k in range(1, n + 1):
        state = run(d, k)
        lower, upper = state.certificate_lower(1e-3), state.certificate_upper(1e-3)
        assert lower <= -1.0 + 1e-14
        assert upper >= d[-1] - 1e-14
    np.testing.assert_allclose([lower, upper], [-1.0, d[-1]], atol=4e-15)


def test_never_nan():
    rng = np.random.default_rng(3)
    for scale in (1e-300, 1e-12, 1.0, 1e12, 1e300):
        for n in (3, 10**4, 2**62):
            for k in (1, 2, 3):
                alpha, beta = scale * rng.standard_normal(k), scale * rng.uniform(1e-9, 1, k)
                for delta in (5e-324, 1e-300, 1e-6, 0.999):
                    lower = _core.certificate_lower(alpha, beta, n, delta)
                    assert not math.isnan(lower)
                    assert lower <= alpha.min() or (n == 3 and k == 3)
    assert _core.certificate_lower([], [], 5, 0.1) == -math.inf
    assert _core.certificate_upper([], [], 5, 0.1) == math.inf
    assert _core.certificate_lower([0.0], [0.0], 5, 0.1) == 0.0
    assert math.copysign(1.0, _core.certificate_upper([0.0], [0.0], 5, 0.1)) == 1.0


@pytest.mark.parametrize("c", [1e-12, 1e-5, 3.0, 1e12])
def test_bounds_scale_with_the_operator(c):
    state = run(spectra.two_sided(np.random.default_rng(4), 500), 20)
    one = _core.certificate_lower(state.alpha, state.beta, 500, 1e-6)
    other = _core.certificate_lower(c * state.alpha, c * state.beta, 500, 1e-6)
    np.testing.assert_allclose(other / c, one, rtol=1e-12)


def test_bounds_tighten_with_delta_and_steps():
    d = spectra.uniform(np.random.default_rng(5), 2000, g=0.05)
    state = run(d, 40)
    bounds = [state.certificate_lower(delta) for delta in (0.1, 1e-3, 1e-6, 1e-9, 1e-30)]
    assert bounds == sorted(bounds, reverse=True)
    steps = [_core.certificate_lower(state.alpha[:k], state.beta[:k], 2000, 1e-6) for k in range(1, 41)]
    assert steps[-1] > -0.08
    assert np.mean(np.diff(steps) > 0) > 0.9


def false_bounds(d, k, delta, seed, dtype="float64"):
    """Whether the lower, and whether the upper bound of one run was false at any of its k stopping times."""
    d = np.asarray(d, dtype=dtype)
    low, high, slack = float(d.min()), float(d.max()), 40 * float(np.finfo(dtype).eps * np.abs(d).max())
    wrong = np.zeros(2, dtype=bool)

    def look(state):
        wrong[0] |= state.certificate_lower(delta) > low + slack
        wrong[1] |= state.certificate_upper(delta) < high - slack
        return False

    lanczos.run(spectra.diagonal_operator(d, dtype), stop=look, max_products=k, seed=seed)
    return wrong


def coverage(runs, sizes, k, delta, seed):
    rng = np.random.default_rng(seed)
    wrong, total = np.zeros(2, dtype=int), 0
    for index in range(runs):
        n = int(rng.choice(sizes))
        g = 10.0 ** rng.uniform(-4, 0)
        d = spectra.FAMILIES[index % len(spectra.FAMILIES)](rng, n, g)
        wrong += false_bounds(d, k, delta, seed=1000 * seed + index)
        total += 1
    allowed = delta * total + 3 * math.sqrt(delta * total)
    assert wrong.max() <= allowed, f"{wrong} false certificates in {total} runs, at most {allowed:.1f} expected"
    return wrong, total


def test_coverage_at_every_stopping_time():
    coverage(100, [64, 600, 3000], k=35, delta=0.05, seed=1)


@pytest.mark.slow
def test_coverage_of_many_large_operators():
    wrong, total = coverage(500, [50, 1000, 10_000, 10_000, 100_000], k=45, delta=0.05, seed=2)
    print(f"false lower, upper: {wrong} of {total}")
    coverage(300, [20, 300], k=20, delta=0.2, seed=3)


def test_coverage_is_not_vacuous():
    """With δ = 0.9 the bound must fail now and then; with a start that avoids the eigenvector, always."""
    rng = np.random.default_rng(6)
    d = spectra.uniform(rng, 200, g=0.3)
    assert sum(false_bounds(d, 25, 0.9, seed)[0] for seed in range(60)) > 0
    start = rng.standard_normal(200)
    start[0] = 0.0
    assert run(d, 60, start=start).certificate_lower(1e-3) > d[0]


def test_range_forced_start_voids_the_certificate():
    """What ARPACK does to a random start, v ← A·v: coverage is lost. Ours is never touched."""
    rng = np.random.default_rng(7)
    d = spectra.uniform(rng, 500, g=0.002)
    wrong = 0
    for _ in range(40):
        state = run(d, 60, start=d * rng.standard_normal(500))
        bounds = [_core.certificate_lower(state.alpha[:k], state.beta[:k], 500, 0.05) for k in range(5, 61, 5)]
        wrong += max(bounds) > d[0] + 1e-12
    assert wrong > 5


# steps until λ_min ≥ −2g is certified at δ = 1e-6 for n = 1e4, 1e6, 1e8 (facts: a grid of even steps)
PRICES = [
    ("uniform", 0.1, (24, 26, 30)),
    ("uniform", 0.01, (72, 80, 88)),
    ("outliers", 0.1, (22, 22, 24)),
    ("outliers", 0.01, (36, 38, 40)),
    ("outliers", 0.001, (72, 78, 82)),
]


@pytest.mark.parametrize(("family", "g", "expected"), PRICES)
def test_price_of_a_certificate(family, g, expected):
    """Bulk of 2,500 nodes; n enters through the overlaps: the median 0.674/√n with the planted vector."""
    rng = np.random.default_rng(8)
    bulk = rng.uniform(0, 1, 2500) if family == "uniform" else np.minimum(10.0 ** rng.normal(-3, 0.7, 2500), 1.0)
    far = np.linspace(10, 100, 10) if family == "outliers" else np.empty(0)
    d = np.concatenate([[-g], far, bulk])
    for n, steps in zip((10**4, 10**6, 10**8), expected, strict=True):
        start = np.concatenate([[0.674 / math.sqrt(n)], np.full(len(far), 1 / math.sqrt(n)), np.full(2500, 0.02)])
        state = _core.Lanczos(len(d), "float64", 120, start)
        predictions = []
        while _core.certificate_lower(state.alpha, state.beta, n, 1e-6) < -2 * g:
            state.push(d * state.next())
            predictions.append(_core.predicted_steps(state.alpha, state.beta, n, 1e-6, -2 * g))
        assert steps - 4 <= state.k <= steps + 2
        at = 3 * state.k // 4  # the bulk has been reached
        assert 0.5 * (state.k - at) <= predictions[at] <= 3 * (state.k - at)


def test_predicted_steps():
    d = spectra.uniform(np.random.default_rng(9), 4000, g=0.02)
    state = run(d, 25)
    assert state.predicted_steps(1e-6, -1e6) == 0
    assert state.predicted_steps(1e-6, 0.5) == -1  # above the smallest Ritz value
    more = state.predicted_steps(1e-6, -0.1)
    assert more > 0
    assert run(d, 25 + 2 * more).certificate_lower(1e-6) >= -0.1
    assert state.predicted_steps(1e-6, -0.1) == _core.predicted_steps(state.alpha, state.beta, 4000, 1e-6, -0.1)
    with pytest.raises(us.errors.ArgumentError, match="`target`"):
        state.predicted_steps(1e-6, math.nan)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernel_is_seen_where_arpack_does_not(dtype):
    """PSD, 90 % exact zeros, coordinate-aligned: eigsh(which="SA") is wrong without a warning, ours finds 0."""
    n = 2000
    d = spectra.zeros(np.random.default_rng(10), n)
    theirs = sl.eigsh(
        sl.LinearOperator((n, n), matvec=lambda v: d * v.ravel(), dtype=float), k=1, which="SA", v0=np.ones(n)
    )
    assert theirs[0][0] > 0.05
    state = run(d, 55, dtype=dtype)
    scale = np.finfo(dtype).eps
    assert abs(state.ritz_values()[0]) < 4 * scale
    assert -1e-4 < state.certificate_lower(5e-7) <= 4 * scale


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_multiples_of_the_identity(value, dtype):
    state = run(np.full(1000, value), 8, dtype=dtype)
    lower, upper = state.certificate_lower(5e-7), state.certificate_upper(5e-7)
    width = 1e-3 if dtype == "float32" else 1e-11
    assert value - width * abs(value) <= lower <= value + 1e-6 * abs(value)
    assert value - 1e-6 * abs(value) <= upper <= value + width * abs(value)


def test_restarts_combine_by_fishers_rule():
    """Runs of one step each: the bound is where Σ ln⁺(d/β·√(π/(2(n_i−1)))) reaches the gamma quantile."""
    n, delta, b = 1000, 1e-4, 1e-3
    for r in (2, 3, 7):
        level = delta / (8 * (n - 1)) * 2.0 ** (1 - r)
        needed = scipy.stats.gamma.isf(level, r)

        def excess(gap, r=r, needed=needed):
            logs = [math.log(gap / b) + _core.log_t(n - i, 0.5) - math.log(0.5) for i in range(r)]
            return sum(max(0.0, value) for value in logs) - needed

        gap = scipy.optimize.brentq(excess, 1e-9, 1e15)
        found = _core.certificate_lower(np.zeros(r), np.full(r, b), n, delta, list(range(1, r)))
        np.testing.assert_allclose(found, -gap - b * (r - 1), rtol=1e-9)


def test_coverage_across_restarts():
    """Few distinct values, every run exhausted at once: combined bounds stay within δ, and are not vacuous."""
    rng = np.random.default_rng(11)
    wrong = np.zeros(2, dtype=int)
    for seed in range(120):
        d = np.concatenate([[-1.0], np.repeat(rng.choice([0.25, 0.5, 1.0, 2.0], 3, replace=False), 40)])
        wrong += false_bounds(d, 30, 0.1, seed, dtype="float32" if seed % 2 else "float64")
    assert wrong.max() <= 12 + 3 * math.sqrt(12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0], 0, 0.1), "`n`"),
        (([1.0], [1.0], 5, 0.0), "`delta`"),
        (([1.0], [1.0], 5, 1.0), "`delta`"),
        (([1.0], [1.0], 5, math.nan), "`delta`"),
        (([1.0, 2.0], [1.0], 5, 0.1), "same length"),
        (([1.0] * 6, [1.0] * 6, 5, 0.1), "`alpha` has more"),
        (([math.nan], [1.0], 5, 0.1), "finite"),
        (([1.0], [-1.0], 5, 0.1), "non-negative"),
        (([1.0, 1.0], [0.0, 1.0], 5, 0.1), "zero only where"),
        (([1.0, 1.0], [1.0, 1.0], 5, 0.1, [2]), "`restarts`"),
        (([1.0, 1.0], [1.0, 1.0], 5, 0.1, [0]), "`restarts`"),
        (([1.0] * 3, [1.0] * 3, 5, 0.1, [2, 1]), "`restarts`"),
    ],
)
def test_bad_arguments(arguments, message):
    for function in (_core.certificate_lower, _core.certificate_upper):
        with pytest.raises(us.errors.ArgumentError, match=message):
            function(*arguments)
