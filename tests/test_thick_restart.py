"""Thick restarts of the Lanczos state: identities, the polynomial of the residual, the split, invariance, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import spectra
import unstuck as us
from unstuck import _core

EPS = {"float32": np.finfo(np.float32).eps, "float64": np.finfo(np.float64).eps}


def restarted(
    d, vectors, products, *, dtype="float64", seed=0, wanted=1, from_low=True, locked=None, start=None, afresh=False
):
    """Lanczos on diag(d) with at most `vectors` stored; fresh starts where exhausted, or wherever invariant."""
    d = np.asarray(d, dtype=dtype)
    rng = np.random.default_rng(seed)
    first = rng.standard_normal(len(d)) if start is None else start
    state = _core.Lanczos(len(d), dtype, vectors, first, locked)
    while state.products < products and state.k < state.dimension:
        if state.k == state.capacity:
            state.compress(*_core.restart_split(state.ritz_values(), wanted, from_low))
        if state.exhausted or (afresh and state.invariant):
            state.restart(rng.standard_normal(len(d)))
        state.push(d * state.next())
    return state


def basis(state):
    return np.stack([state.basis_vector(j) for j in range(state.k)], axis=1).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_ritz_pairs_after_many_restarts(family, dtype):
    d = family(np.random.default_rng(1), 1500).astype(dtype).astype(np.float64)
    state = restarted(d, 20, 95, dtype=dtype)
    assert state.compressions > 3
    assert (state.products, state.n) == (95, 1500)
    assert state.k <= 20
    v, eps, scale = basis(state), EPS[dtype], np.abs(d).max()
    assert np.abs(v.T @ v - np.eye(state.k)).max() < 40 * eps
    np.testing.assert_allclose(state.ritz_values(), np.linalg.eigvalsh(v.T @ (d[:, None] * v)), atol=60 * eps * scale)
    every = list(range(state.k))
    vectors, ritz = state.ritz_vectors(every), state.ritz_values()
    true = np.linalg.norm(d[:, None] * vectors - vectors * ritz, axis=0)
    np.testing.assert_allclose(state.residuals(), true, rtol=1e-2, atol=60 * eps * scale)
    assert state.asymmetry < 60 * eps * scale
    assert ritz[0] >= d.min() - 60 * eps * scale
    points = np.linspace(-1.2, 1.23, 31) * scale  # at none of the eigenvalues, where rounding decides
    assert [state.count_below(x) for x in points] == [int((ritz < x).sum()) for x in points]


def test_residuals_right_after_a_compression():
    d = spectra.outliers(np.random.default_rng(2), 900)
    state = restarted(d, 20, 20)
    before, residuals = state.ritz_values(), state.residuals()
    state.compress(4, 10)
    assert state.k == 14
    np.testing.assert_allclose(state.ritz_values(), before[[*range(4), *range(10, 20)]], atol=1e-12)
    np.testing.assert_allclose(state.residuals(), residuals[[*range(4), *range(10, 20)]], atol=1e-12)
    vectors = state.ritz_vectors(list(range(14)))
    true = np.linalg.norm(d[:, None] * vectors - vectors * state.ritz_values(), axis=0)
    np.testing.assert_allclose(state.residuals(), true, atol=1e-11)
    state.compress(1, 1)  # twice in a row
    np.testing.assert_allclose(state.ritz_values(), before[[0, -1]], atol=1e-12)
    np.testing.assert_allclose(state.residuals(), residuals[[0, -1]], atol=1e-11)


@pytest.mark.parametrize("family", [spectra.uniform, spectra.outliers, spectra.two_sided])
def test_the_residual_is_the_stated_polynomial_of_the_start(family):
    """v_next = p(H)·v₁, with the roots given up and those of today, and 1/∏β as leading coefficient."""
    rng = np.random.default_rng(3)
    d, start = family(rng, 300), rng.standard_normal(300)
    state = restarted(d, 20, 60, start=start)
    ((roots, beta, dimension),) = state.polynomials
    assert (len(roots), len(beta), dimension) == (60, 60, 300)
    expected = np.log(np.abs(start / np.linalg.norm(start))) - np.log(beta).sum()
    expected += np.log(np.abs(d[:, None] - roots[None]) + 1e-300).sum(axis=1)
    state.raise_capacity(21)
    found = np.array(state.next())
    # the rest is the cancellation of what has converged
    large = (np.abs(found) > 1e-4) & (np.abs(d[:, None] - roots[None]).min(axis=1) > 1e-7)
    assert large.sum() > 50
    np.testing.assert_allclose(np.log(np.abs(found[large])), expected[large], atol=1e-5)


def test_bound_is_that_of_the_recurrence_before_and_of_the_roots_after():
    d = spectra.uniform(np.random.default_rng(4), 2000, g=0.05)
    full, state = restarted(d, 60, 40), restarted(d, 16, 40)
    for delta in (1e-2, 1e-6):
        from_roots = _core.restarted_certificate_lower(full.polynomials, delta)
        np.testing.assert_allclose(from_roots, full.certificate_lower(delta), rtol=1e-9)
        np.testing.assert_allclose(
            _core.restarted_certificate_upper(full.polynomials, delta), full.certificate_upper(delta), rtol=1e-9
        )
        assert state.certificate_lower(delta) == _core.restarted_certificate_lower(state.polynomials, delta)
        assert full.certificate_lower(delta) - 0.05 < state.certificate_lower(delta) <= d[0]
        assert state.certificate_upper(delta) >= d.max()


def test_both_ends_are_kept():
    d = spectra.two_sided(np.random.default_rng(5), 4000)
    low, high = restarted(d, 16, 200), restarted(d, 16, 400, from_low=False, wanted=3)
    np.testing.assert_allclose(low.ritz_values()[0], d.min(), atol=1e-10)
    np.testing.assert_allclose(high.ritz_values()[[-1, -2, -3]], np.sort(d)[[-1, -2, -3]], atol=1e-3)


def test_split_follows_the_gaps():
    bulk = np.sort(np.cos(np.pi * (np.arange(20) + 0.5) / 20))  # as Ritz values of a bulk lie
    assert _core.restart_split(bulk, 1) == (7, 1)
    assert _core.restart_split(bulk, 1, False) == (1, 7)
    outliers = np.r_[np.sort(np.cos(np.pi * (np.arange(14) + 0.5) / 14)), 10.0, 20, 30, 40, 50, 60]
    assert _core.restart_split(outliers, 1) == (5, 6)
    assert _core.restart_split(-outliers[::-1], 1, False) == (6, 5)
    many = np.r_[0.0, np.linspace(0.5, 1, 5), 2.0 ** np.arange(1, 15)]
    assert _core.restart_split(many, 1) == (3, 12)
    assert _core.restart_split(many, 9) == (9, 8)
    assert _core.restart_split(many, 16) == (16, 1)
    assert _core.restart_split(np.zeros(5), 1) == (1, 1)
    for values, wanted in ((np.zeros(4), 1), (many, 0), (many, 17)):
        with pytest.raises(us.errors.ArgumentError):
            _core.restart_split(values, wanted)


@pytest.mark.parametrize("power", [-900, -40, 40, 900])
def test_powers_of_two_scale_every_bit(power):
    d = spectra.outliers(np.random.default_rng(7), 700)
    c = 2.0**power
    one, other = restarted(d, 18, 70), restarted(d * c, 18, 70)
    np.testing.assert_array_equal(one.ritz_values() * c, other.ritz_values())
    np.testing.assert_array_equal(one.ritz_vector(0), other.ritz_vector(0))
    assert one.certificate_lower(1e-6) * c == other.certificate_lower(1e-6)
    assert one.certificate_upper(1e-6) * c == other.certificate_upper(1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype, threads):
    d = spectra.outliers(np.random.default_rng(6), 5003)
    results = []
    for count in (1, 2, 3, 7):
        threads(count)
        state = restarted(d, 16, 45, dtype=dtype)
        results.append((state.ritz_values(), state.ritz_vectors([0, state.k - 1]), np.array(state.basis_vector(3))))
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], result, strict=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("value", [0.0, 1.0, -2.5])
def test_multiples_of_the_identity(value, dtype):
    """Every run is exhausted at once: kept pairs belong to runs that have ended."""
    state = restarted(np.full(900, value), 8, 30, dtype=dtype)
    assert state.compressions > 3
    np.testing.assert_allclose(state.ritz_values(), value, atol=4 * EPS[dtype] * abs(value))
    lower, upper = state.certificate_lower(5e-7), state.certificate_upper(5e-7)
    width = 1e-3 if dtype == "float32" else 1e-11
    assert value - width * abs(value) <= lower <= value + 1e-6 * abs(value)
    assert value - 1e-6 * abs(value) <= upper <= value + width * abs(value)
    assert sum(len(beta) for _, beta, _ in state.polynomials) == 30


def test_runs_that_end_within_cycles():
    """Five distinct values: the first run ends after five steps, the next ones lose what they had."""
    d = np.repeat([-1.0, 0.25, 0.5, 1.0, 2.0], 80)
    state = restarted(d, 8, 60, afresh=True)
    assert len(state.polynomials) > 1
    assert sum(len(roots) for roots, _, _ in state.polynomials) == 60
    v = basis(state)
    assert np.abs(v.T @ v - np.eye(state.k)).max() < 1e-13
    np.testing.assert_allclose(state.ritz_values()[[0, -1]], [-1, 2], atol=1e-12)
    assert -1 - 1e-3 < state.certificate_lower(1e-3) <= -1 + 1e-12


def test_locked_vectors_stay_locked():
    values = np.r_[-3.0, -2.0, np.linspace(-1, 1, 700)]
    locked = np.eye(702)[:2]
    state = restarted(values, 12, 90, locked=locked)
    assert state.dimension == 700
    assert np.abs(locked @ basis(state)).max() < 1e-14
    np.testing.assert_allclose(state.ritz_values()[0], -1.0, atol=1e-3)
    assert -1.1 < state.certificate_lower(1e-6) <= -1.0


def test_whole_space_is_the_dense_spectrum():
    d = np.linspace(-1, 1, 9) ** 3
    state = restarted(d, 8, 40)  # 8 of 9 vectors: never spanned
    assert state.products == 40 or state.exhausted
    state.raise_capacity(9)
    rng = np.random.default_rng(1)
    while state.k < 9:
        if state.exhausted:
            state.restart(rng.standard_normal(9))
        state.push(d * state.next())
    np.testing.assert_allclose(state.ritz_values(), d, atol=1e-13)
    assert state.residuals().max() == 0.0
    np.testing.assert_allclose(state.certificate_lower(1e-6), d[0], atol=1e-12)


def test_predicted_steps_within_a_factor():
    d = spectra.uniform(np.random.default_rng(9), 20_000, g=0.01)
    state = restarted(d, 20, 60)
    more = state.predicted_steps(1e-6, -0.013)
    assert more > 0
    needed = 0
    while state.certificate_lower(1e-6) < -0.013:
        if state.k == state.capacity:
            state.compress(*_core.restart_split(state.ritz_values(), 1))
        state.push(d * state.next())
        needed += 1
    assert needed / 3 <= more <= 3 * needed
    assert state.predicted_steps(1e-6, -0.013) == 0
    assert state.predicted_steps(1e-6, 0.5) == -1


def test_refusals_change_nothing():
    d = np.linspace(0, 1, 50)
    state = restarted(d, 9, 9)
    for low, high in ((0, 0), (-1, 3), (5, 5), (10, 0)):
        with pytest.raises(us.errors.ArgumentError, match="`low`"):
            state.compress(low, high)
    with pytest.raises(us.errors.ArgumentError, match="compress"):
        state.next()
    assert state.k == 9
    state.compress(2, 1)
    state.next()
    with pytest.raises(us.errors.ArgumentError, match="pushed first"):
        state.compress(1, 1)
    state.push(d * state.next())
    assert (state.k, state.products) == (4, 10)
    for runs, delta in (([([0.0], [], 5)], 0.1), ([([0.0], [-1.0], 5)], 0.1), ([([0.0], [1.0], 5)], 0.0)):
        with pytest.raises(us.errors.ArgumentError):
            _core.restarted_certificate_lower(runs, delta)
    assert _core.restarted_certificate_lower([], 0.1) == -np.inf


def test_three_vectors_follow_the_same_recurrence():
    d = spectra.two_sided(np.random.default_rng(8), 3000)
    start = np.random.default_rng(0).standard_normal(3000)
    for dtype, eps in EPS.items():
        e = d.astype(dtype)
        full, short = _core.Lanczos(3000, dtype, 12, start), _core.ThreeTermLanczos(3000, dtype, start)
        for _ in range(12):
            full.push(e * full.next())
            short.push(e * short.next())
        np.testing.assert_allclose(short.alpha, full.alpha, atol=2e4 * eps)
        np.testing.assert_allclose(short.beta, full.beta, atol=2e4 * eps)
        np.testing.assert_allclose(short.certificate_lower(1e-6), full.certificate_lower(1e-6), rtol=1e-2)
        weights = short.weights([0, 11])
        again = _core.ThreeTermLanczos(3000, dtype, start)
        vectors = np.zeros((2, 3000))
        for j in range(12):
            v = np.array(again.next())
            vectors += weights[:, j : j + 1] * v
            again.push(e * v)
        overlap = np.abs(np.sum(vectors.T * full.ritz_vectors([0, 11]), axis=0))
        np.testing.assert_allclose(overlap, 1.0, atol=1e-3 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("c", [1e-300, 1e-30, 1e-12, 1e12, 1e30, 1e300])
def test_three_vectors_at_any_scale(c):
    d = spectra.two_sided(np.random.default_rng(8), 700)
    one, other = (_core.ThreeTermLanczos(700, "float64", np.ones(700) + np.arange(700) % 3) for _ in range(2))
    for _ in range(15):
        one.push(d * one.next())
        other.push(c * d * other.next())
    np.testing.assert_allclose(other.alpha / c, one.alpha, atol=1e-9)
    np.testing.assert_allclose(other.certificate_lower(1e-6) / c, one.certificate_lower(1e-6), rtol=1e-9)


def test_three_vectors_refuse_what_is_no_product():
    state = _core.ThreeTermLanczos(50, "float32", np.ones(50) + np.arange(50))
    with pytest.raises(us.errors.ArgumentError, match="next"):
        state.push(np.ones(50))
    v = state.next()
    assert not v.flags.writeable
    for bad in (np.ones(49), np.full(50, np.nan), np.full(50, np.inf)):
        with pytest.raises(us.errors.ArgumentError, match="`w`"):
            state.push(bad)
    assert state.k == 0
    state.push(2 * v)
    assert state.exhausted
    np.testing.assert_allclose(state.alpha, 2.0, rtol=1e-6)
    with pytest.raises(us.errors.ArgumentError, match="exhausted"):
        state.next()
    for arguments in ((0, "float32", np.ones(0)), (3, "float16", np.ones(3)), (3, "float32", np.zeros(3))):
        with pytest.raises(us.errors.ArgumentError):
            _core.ThreeTermLanczos(*arguments)
