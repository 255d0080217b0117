"""Trace, Frobenius norm, diagonal and log-determinant: coverage of the intervals, exactness, scales, refusals."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

import real_hessians
import spectra
import unstuck as us
from unstuck.curvature import diagonal, frobenius, log_determinant, trace

xtrace = functools.partial(trace, method="xtrace")
XSMALL = {"probes": 14}
SMALL = {"sketch": 8, "probes": 12}
FAMILIES = [spectra.uniform, spectra.outliers, spectra.zeros, spectra.two_sided]


def rotated(values, rng):
    """A dense matrix with these eigenvalues."""
    q = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (q * values) @ q.T


def matrices(count, n=60):
    for case in range(count):
        rng = np.random.default_rng(case)
        yield case, rotated(FAMILIES[case % len(FAMILIES)](rng, n), rng)


def test_intervals_cover_at_their_rate():
    """At 90 %: of 240 cases 216 on average, and no fewer than chance allows; of 32-bit products, too."""
    missed = {trace: 0, frobenius: 0}
    for case, a in matrices(240):
        for function, truth in ((trace, np.trace(a)), (frobenius, np.linalg.norm(a))):
            found = function(a.astype("float32") if case % 2 else a, confidence=0.9, seed=case, **SMALL)
            assert not found.exact
            assert found.products == 2 * 8 + 12 + 1
            missed[function] += not found.interval.lower <= truth <= found.interval.upper
    assert max(missed.values()) <= 24 + 3 * np.sqrt(24 * 0.9), missed
    assert min(missed.values()) >= 6, missed


@pytest.mark.parametrize("probes", [8, 14])
def test_xtrace_covers_at_least_at_its_rate(probes):
    """At 90 %, products of both types: the jackknife's interval is not too narrow, and no order too wide."""
    missed, widths, errors = 0, [], []
    for case, a in matrices(200):
        found = xtrace(a.astype("float32") if case % 2 else a, confidence=0.9, seed=case, probes=probes)
        assert not found.exact
        assert found.products == 2 * probes + 3
        missed += not found.interval.lower <= np.trace(a) <= found.interval.upper
        if case % 4 == 0:  # one family: its errors are comparable
            widths.append(found.interval.upper - found.interval.lower)
            errors.append(found.value - np.trace(a))
    assert missed <= 20 + 3 * np.sqrt(18), missed
    assert np.median(widths) / 2 <= 5 * np.sqrt(np.mean(np.square(errors)))


def test_xtrace_is_the_mean_of_estimates_that_leave_one_vector_out():
    """By the definition: for every vector a sketch of the others, and for the error all of that without one."""
    from unstuck.curvature.estimate import Deflation
    from unstuck.curvature.products import Products
    from unstuck.curvature.xtrace import LeaveOneOut

    rng = np.random.default_rng(8)
    n, k = 40, 9
    a = rotated(spectra.two_sided(rng, n), rng)
    known = np.linalg.qr(rng.standard_normal((n, 3)))[0]
    p = np.eye(n) - known @ known.T
    state = LeaveOneOut(Products(a), Deflation(known.T.copy(), (a @ known).T.copy()), rng)
    state.extend(5)
    state.extend(4)
    omega, inner = state._omega.T, p @ a @ p

    def mean(chosen):
        values = []
        for j in chosen:
            q = np.linalg.qr(inner @ omega[:, [i for i in chosen if i != j]])[0]
            w = omega[:, j] - q @ (q.T @ omega[:, j])
            share = (w @ inner @ w) / (w @ w)
            values.append(np.trace(q.T @ inner @ q) + (n - 3 - q.shape[1]) * share)
        return np.mean(values)

    deleted = np.array([mean([i for i in range(k) if i != left]) for left in range(k)])
    value, half = state.estimate(0.9)
    assert value == pytest.approx(mean(range(k)), rel=1e-10)
    student = 1.8595480375  # of 8 degrees, at 95 % on one side
    assert half == pytest.approx(student * np.sqrt(np.sum((deleted - deleted.mean()) ** 2)), rel=1e-8)


def test_xtrace_beats_hutchpp_where_eigenvalues_fall_off_and_equals_it_where_they_do_not():
    """Equal products; root mean square errors over 30 seeds, on 300 rows."""
    for values, most in ((0.8 ** np.arange(300.0), 0.2), (np.linspace(1, 3, 300), 1.6)):
        op = spectra.diagonal_operator(values)
        errors = np.array(
            [
                [
                    xtrace(op, probes=30, seed=s).value - values.sum(),
                    trace(op, sketch=20, probes=20, seed=s).value - values.sum(),
                ]
                for s in range(30)
            ]
        )
        ours, theirs = np.sqrt(np.mean(errors**2, axis=0))
        assert ours <= most * theirs


def test_xtrace_to_a_tolerance():
    missed = 0
    for case, a in matrices(120, 150):
        tolerance = 0.1 * np.linalg.norm(a)
        found = xtrace(a, tolerance, confidence=0.9, seed=case, probes=6)
        assert found.exact or 0.5 * (found.interval.upper - found.interval.lower) <= tolerance * (1 + 1e-6)
        missed += not found.interval.lower <= np.trace(a) <= found.interval.upper
    assert missed <= 12 + 3 * np.sqrt(10.8), missed
    op = spectra.diagonal_operator(np.random.default_rng(0).uniform(1, 2, 3000))
    with pytest.warns(us.errors.ConvergenceWarning, match="not reached by 18 vectors"):
        found = xtrace(op, 1e-6, max_products=40)
    assert found.products <= 40
    assert xtrace(op, 1e-9, max_products=100_000).exact


def test_xtrace_of_known_pairs_and_of_low_rank():
    rng = np.random.default_rng(1)
    values = np.concatenate([[100.0, 50, 30, -20], 0.01 * rng.standard_normal(296)])
    a = rotated(values, rng)
    pairs = us.curvature.eigenpairs(a, 3, "largest")
    plain, known = (xtrace(a, probes=6, pairs=p) for p in (None, pairs))
    widths = [e.interval.upper - e.interval.lower for e in (plain, known)]
    assert widths[1] < 0.1 * widths[0]
    assert known.interval.lower <= values.sum() <= known.interval.upper
    assert known.products == plain.products + 3
    for rank in (0, 1, 5):
        low = rotated(np.r_[np.arange(1.0, rank + 1), np.zeros(200 - rank)], rng)
        found = xtrace(low, probes=12)
        assert found.value == pytest.approx(rank * (rank + 1) / 2, abs=1e-10)
        assert found.interval.upper - found.interval.lower < 1e-8
    for dtype, tight in (("float64", 1e-12), ("float32", 1e-5)):
        assert xtrace(np.eye(300).astype(dtype)).value == pytest.approx(300, rel=tight)


def test_a_tolerance_is_met_with_the_stated_confidence():
    missed = 0
    for case, a in matrices(200):
        tolerance = 0.02 * np.linalg.norm(a)
        found = trace(a, tolerance, confidence=0.9, seed=case, sketch=4, probes=8)
        assert 0.5 * (found.interval.upper - found.interval.lower) <= tolerance * (1 + 1e-6)
        missed += not found.interval.lower <= np.trace(a) <= found.interval.upper
        assert found.products <= 4 * 2 + 8 + len(a) + 8
    assert missed <= 20 + 3 * np.sqrt(18), missed


def test_a_tolerance_beyond_the_budget_is_told():
    a = np.diag(np.ones(500)) + 1e-1
    with pytest.warns(us.errors.ConvergenceWarning, match="max_products"):
        found = trace(a, 1e-9, sketch=0, probes=8, max_products=40)
    assert found.products <= 42


def test_deflation_takes_the_variance_away():
    rng = np.random.default_rng(1)
    values = np.concatenate([[100.0, 50, 30, -20], 0.01 * rng.standard_normal(296)])
    a = rotated(values, rng)
    pairs = us.curvature.eigenpairs(a, 3, "largest")
    plain = trace(a, sketch=0, probes=30)
    known = trace(a, sketch=0, probes=30, pairs=pairs)
    sketched = trace(a, sketch=10, probes=30)
    widths = [e.interval.upper - e.interval.lower for e in (plain, known, sketched)]
    assert widths[1] < 0.3 * widths[0]
    assert widths[2] < 0.01 * widths[0]
    assert trace(a, sketch=0, probes=30, pairs=pairs.vectors).value == known.value


@pytest.mark.parametrize("name", real_hessians.NETWORKS)
def test_networks(name):
    land, values = real_hessians.network(name)
    op = land.hessian(land.theta)
    for function, truth in ((trace, values.sum()), (frobenius, np.linalg.norm(values))):
        found = function(op, confidence=0.999, seed=2)
        assert found.interval.lower <= truth <= found.interval.upper
        assert found.products < 0.35 * land.n
    full = np.diag(op @ np.eye(land.n))
    rough = diagonal(op, seed=3)
    band = rough.interval(0.99)
    inside = (band.lower <= full + 1e-12) & (full - 1e-12 <= band.upper)
    assert inside.mean() > 0.97
    shift = 1.2 * abs(values[0]) + 0.05 * values[-1]
    found = log_determinant(op, shift, confidence=0.999)
    truth = np.log(values + shift).sum()
    assert found.interval.lower <= truth <= found.interval.upper
    assert abs(found.value - truth) < 0.02 * abs(truth)


def test_small_operators_are_exact():
    rng = np.random.default_rng(2)
    for n in (1, 2, 3, 40):
        a = rng.standard_normal((n, n))
        a = a + a.T
        for found, truth in ((trace(a), np.trace(a)), (xtrace(a), np.trace(a)), (frobenius(a), np.linalg.norm(a))):
            assert found.exact
            assert float(found) == pytest.approx(truth, abs=1e-12)
            assert found.interval.lower <= truth + 1e-14
            assert "exact" in str(found)
        np.testing.assert_allclose(diagonal(a).value, np.diag(a), atol=1e-14)
        assert diagonal(a).exact
        shift = 2 * np.abs(np.linalg.eigvalsh(a)).max()
        assert log_determinant(a, shift).value == pytest.approx(np.linalg.slogdet(a + shift * np.eye(n))[1], abs=1e-10)
    assert trace(np.zeros((700, 700))).value == 0.0
    assert frobenius(np.zeros((700, 700))).value == 0.0


def test_diagonal_errors_cover_at_their_rate():
    inside = total = 0
    for case, a in matrices(60, 120):
        found = diagonal(a, seed=case, sketch=15, probes=16)
        band = found.interval(0.9)
        inside += np.count_nonzero((band.lower <= np.diag(a)) & (np.diag(a) <= band.upper))
        total += len(a)
    assert 0.87 <= inside / total <= 0.95


def test_log_determinants_cover_at_their_rate():
    missed = 0
    for case in range(200):
        rng = np.random.default_rng(case)
        values = FAMILIES[case % len(FAMILIES)](rng, 600)
        shift = -values.min() + 0.05 * np.ptp(values)
        found = log_determinant(spectra.diagonal_operator(values), shift, confidence=0.9, seed=case, probes=6)
        assert not found.exact
        missed += not found.interval.lower <= np.log(values + shift).sum() <= found.interval.upper
    assert missed <= 20 + 3 * np.sqrt(18), missed


def test_indefinite_sums_are_refused_by_name():
    values = spectra.two_sided(np.random.default_rng(4), 900)
    op = spectra.diagonal_operator(values)
    with pytest.raises(us.errors.OperatorError, match="`shift` = 1: .* H has a Rayleigh quotient"):
        log_determinant(op, 1.0)
    with pytest.raises(us.errors.OperatorError, match="not positive definite"):
        log_determinant(np.diag([1.0, 2.0, -1.0]), 1.0)
    with pytest.raises(us.errors.OperatorError, match="could not be shown"):
        log_determinant(op, 1.5001, steps=15)
    values = np.random.default_rng(5).uniform(0, 1, 900)
    flat = spectra.diagonal_operator(values)
    with pytest.raises(us.errors.OperatorError, match="`lower_bound`"):
        log_determinant(flat, 1e-5, steps=60)
    known = log_determinant(flat, 1e-5, steps=60, lower_bound=0.0, confidence=0.999)
    truth = np.log(values + 1e-5).sum()
    assert known.interval.lower <= truth <= known.interval.upper


@pytest.mark.parametrize("c", real_hessians.SCALES)
def test_answers_scale_with_the_operator(c):
    rng = np.random.default_rng(6)
    a = rotated(spectra.two_sided(rng, 150), rng)
    for kind in ("float32", "float64"):
        tight = 1e-3 if kind == "float32" else 1e-9
        for function, options in ((trace, SMALL), (frobenius, SMALL), (xtrace, XSMALL)):
            one, other = (function((a * s).astype(kind), **options) for s in (1.0, c))
            np.testing.assert_allclose(np.array(other.interval) / c, one.interval, rtol=tight, atol=tight)
        one, other = (diagonal((a * s).astype(kind), **SMALL) for s in (1.0, c))
        np.testing.assert_allclose(other.value / c, one.value, rtol=tight, atol=tight)
        np.testing.assert_allclose(other.standard_error / c, one.standard_error, rtol=tight, atol=tight)
    values = spectra.two_sided(rng, 600)
    one, other = (log_determinant(spectra.diagonal_operator(s * values), 2.0 * s) for s in (1.0, c))
    assert other.value - 600 * np.log(c) == pytest.approx(one.value, abs=1e-6)


@pytest.mark.parametrize("name", real_hessians.BROKEN)
def test_operators_that_break_promises_are_refused(name):
    op, error, words = real_hessians.broken()[name]
    for function in (trace, xtrace, frobenius, diagonal):
        with pytest.raises(error, match=words):
            function(op)
    with pytest.raises(error, match=words):
        log_determinant(op, 1e6)


def test_arguments_are_checked():
    a = np.eye(300)
    wrongs = {"sketch": -1, "probes": 1, "seed": -1, "confidence": 1.0, "pairs": np.ones((3, 2)), "max_products": 2}
    for name, value in wrongs.items():
        with pytest.raises(us.errors.ArgumentError, match=f"`{name}`"):
            trace(a, **{name: value})
    for name, value in {"probes": 3, "sketch": 8, "seed": -1, "confidence": 1.0, "pairs": np.ones((3, 2))}.items():
        with pytest.raises(us.errors.ArgumentError, match=f"`{name}`"):
            xtrace(a, **{name: value})
    with pytest.raises(us.errors.ArgumentError, match="`method`"):
        trace(a, method="hutch")
    for tolerance in (0.0, -1.0, np.nan):
        with pytest.raises(us.errors.ArgumentError, match="`tolerance`"):
            trace(a, tolerance)
    with pytest.raises(us.errors.ArgumentError, match="`shift`"):
        log_determinant(a, np.inf)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trace(a, memory_budget=1000).value == pytest.approx(300)
        assert xtrace(a, memory_budget=1000).value == pytest.approx(300)
