"""The Lanczos state machine and its loop: identities, breakdown, scales, threads, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

import spectra
import unstuck as us
from unstuck import _core

EPS = {"float32": np.finfo(np.float32).eps, "float64": np.finfo(np.float64).eps}


def gaussian(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def steps(matrix, k, dtype="float64", start=None, locked=None, restart=False):
    """k steps on a dense or diagonal matrix; restarts only where nothing is left, or wherever invariant."""
    matrix = np.asarray(matrix, dtype=dtype)
    n = len(matrix)
    rng = np.random.default_rng(5)
    state = _core.Lanczos(n, dtype, k, gaussian(n) if start is None else start, locked)
    while state.k < min(k, state.dimension):
        if state.exhausted or (restart and state.invariant):
            state.restart(rng.standard_normal(n))
        v = state.next()
        state.push(matrix * v if matrix.ndim == 1 else matrix @ v)
    return state


def tridiagonal(state):
    coupling = state.beta[:-1].copy()
    coupling[[step - 1 for step in state.restarts]] = 0.0
    return np.diag(state.alpha) + np.diag(coupling, 1) + np.diag(coupling, -1)


def basis(state):
    return np.stack([state.basis_vector(j) for j in range(state.k)], axis=1).astype(np.float64)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_recurrence_holds(family, dtype):
    n, k = 1300, 40
    d = family(np.random.default_rng(1), n).astype(dtype).astype(np.float64)
    state = steps(d, k, dtype)
    v, t, eps = basis(state), tridiagonal(state), EPS[dtype]
    scale = np.abs(d).max()
    assert np.abs(v.T @ v - np.eye(k)).max() < 16 * eps
    defect = d[:, None] * v - v @ t
    assert np.linalg.norm(defect[:, :-1], axis=0).max() < 4 * eps * scale
    np.testing.assert_allclose(np.linalg.norm(defect[:, -1]), state.beta[-1], rtol=1e-3, atol=4 * eps * scale)
    assert np.abs(v.T @ defect[:, -1]).max() < 4 * eps * scale
    assert state.asymmetry < 4 * eps * scale
    assert state.largest_product <= scale * (1 + 1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ritz_pairs_against_dense(dtype):
    rng = np.random.default_rng(2)
    a = rng.standard_normal((300, 300))
    a = (a + a.T).astype(dtype).astype(np.float64)
    state = steps(a, 60, dtype)
    exact = np.linalg.eigvalsh(tridiagonal(state))
    np.testing.assert_allclose(state.ritz_values(), exact, atol=1e-13 * np.abs(exact).max())
    indices = [0, 1, 30, 59]
    vectors = state.ritz_vectors(indices)
    assert vectors.shape == (300, 4)
    assert vectors.flags.f_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1.0, rtol=1e-14)
    true = np.linalg.norm(a @ vectors - vectors * state.ritz_values()[indices], axis=0)
    np.testing.assert_allclose(state.residuals()[indices], true, rtol=1e-4, atol=100 * EPS[dtype])
    np.testing.assert_array_equal(state.ritz_vector(30), vectors[:, 2])


def test_whole_space_is_the_dense_spectrum():
    rng = np.random.default_rng(3)
    for n in (1, 2, 3, 7, 40):
        a = rng.standard_normal((n, n))
        a = a + a.T
        state = steps(a, n)
        assert state.exhausted
        assert state.invariant
        assert state.beta[-1] == 0.0
        np.testing.assert_allclose(state.ritz_values(), np.linalg.eigvalsh(a), atol=1e-12)
        assert state.residuals().max() == 0.0


def test_counts_follow_every_step():
    d = spectra.two_sided(np.random.default_rng(4), 900)
    state = _core.Lanczos(900, "float64", 50, gaussian(900))
    points = np.linspace(-2, 2, 23)
    for _ in range(50):
        state.push(d * state.next())
        ritz = np.linalg.eigvalsh(tridiagonal(state))
        assert [state.count_below(x) for x in points] == [int((ritz < x).sum()) for x in points]
    assert state.count_below(-np.inf) == 0
    assert state.count_below(np.inf) == 50


def graded(rng, k):
    return 10.0 ** -rng.uniform(0, 12, k), 10.0 ** -rng.uniform(0, 14, k - 1)


def with_zeros(rng, k):
    return rng.choice([0.0, 1.0, -1.0], k), rng.choice([0.0, 0.5, 1e-17], k - 1)


def wilkinson(rng, k):
    return np.abs(np.arange(k) - (k - 1) / 2), np.ones(k - 1)


TRIDIAGONALS = [graded, with_zeros, wilkinson, lambda rng, k: (rng.standard_normal(k), rng.standard_normal(k - 1))]


@pytest.mark.parametrize("make", TRIDIAGONALS)
@pytest.mark.parametrize("k", [1, 2, 3, 21, 160])
def test_tridiagonal_eigenvalues(make, k):
    d, e = make(np.random.default_rng(k), k)
    exact = scipy.linalg.eigvalsh_tridiagonal(d, e) if k > 1 else d
    scale = max(np.abs(d).max(), np.abs(e).max(initial=0.0)) or 1.0
    np.testing.assert_allclose(_core.tridiagonal_eigenvalues(d, e), exact, atol=2e-14 * scale)
    for i in {0, k // 2, k - 1}:
        np.testing.assert_allclose(_core.tridiagonal_eigenvalue(d, e, i), exact[i], atol=2e-14 * scale)
    for x in (-0.3, 0.1, 0.7):
        assert _core.tridiagonal_count(d, e, x) == (exact < x).sum()


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e150, 1e300])
def test_tridiagonal_scales(scale):
    d, e = np.random.default_rng(0).standard_normal((2, 30))
    reference = _core.tridiagonal_eigenvalues(d, e[:-1])
    scaled = _core.tridiagonal_eigenvalues(d * scale, e[:-1] * scale)
    np.testing.assert_allclose(scaled / scale, reference, atol=1e-13)
    assert _core.tridiagonal_count(d * scale, e * scale, 0.25 * scale) == (reference < 0.25).sum()
    np.testing.assert_allclose(_core.tridiagonal_eigenvalue(d * scale, e * scale, 3) / scale, reference[3], atol=1e-13)


def test_zero_is_not_below_zero():
    assert _core.tridiagonal_count(np.zeros(4), np.zeros(3), 0.0) == 0
    assert _core.tridiagonal_eigenvalue(np.zeros(4), np.zeros(3), 2) == 0.0
    assert _core.tridiagonal_count(np.array([0.0, 1.0, 0.0]), np.zeros(2), 0.0) == 0
    assert _core.tridiagonal_count(np.array([0.0, 0.0]), np.ones(1), 0.0) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype, threads):
    n, k = 5003, 12
    d = spectra.outliers(np.random.default_rng(6), n).astype(dtype)
    results = []
    for count in (1, 2, 3, 4, 7, 8):
        threads(count)
        state = steps(d, k, dtype)
        results.append((state.alpha, state.beta, state.ritz_vectors([0, k - 1]), np.array(state.basis_vector(k - 1))))
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(results[0], result, strict=True))


BREAKDOWNS = {
    "identity": (np.ones(600), 1),
    "zero": (np.zeros(600), 1),
    "low rank": (np.concatenate([np.zeros(597), [1.0, 2.0, 3.0]]), 4),
    "two values": (np.repeat([1.0, -1.0], 300), 2),
    "third": (np.full(600, 1.0 / 3.0), 1),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", BREAKDOWNS)
def test_breakdown_and_restart(name, dtype):
    d, distinct = BREAKDOWNS[name]
    d = d.astype(dtype)
    k = 4 * distinct + 2
    state = steps(d, distinct, dtype)
    assert state.invariant
    np.testing.assert_allclose(state.ritz_values(), np.unique(d), atol=8 * EPS[dtype] * 3)
    state = steps(d, k, dtype, restart=True)
    assert state.restarts[0] == distinct
    v, scale = basis(state), np.abs(d).max()
    assert np.abs(v.T @ v - np.eye(k)).max() < 8 * EPS[dtype]
    error = np.linalg.norm(d[:, None] * v - v @ tridiagonal(state), axis=0)
    assert error[:-1].max(initial=0.0) <= 40 * EPS[dtype] * scale
    ritz = state.ritz_values()
    assert np.abs(ritz[:, None] - np.unique(d)[None]).min(axis=1).max() <= 40 * EPS[dtype] * scale
    if distinct > 1:  # further copies of the multiple eigenvalues, never of the simple ones
        assert (np.abs(ritz - d[0]) < 1e-4).sum() > 1
        for value in {1.0, 2.0, 3.0} & set(d) if name == "low rank" else ():
            assert (np.abs(ritz - value) < 1e-4).sum() == 1


def test_continues_through_rounding_without_restart():
    d = np.concatenate([np.zeros(597), [1.0, 2.0, 3.0]])
    state = steps(d, 5)
    assert state.invariant
    assert state.restarts == []
    v = basis(state)
    assert np.abs(v.T @ v - np.eye(5)).max() < 1e-15


def test_disconnected_parts_are_found_after_restart():
    start = gaussian(600)
    start[300:] = 0.0
    d = np.concatenate([np.repeat([1.0, 2.0], 150), np.repeat([-5.0, 7.0], 150)])
    state = _core.Lanczos(600, "float64", 6, start)
    for _ in range(2):
        state.push(d * state.next())
    assert state.invariant
    assert state.ritz_values().min() > 0
    state.restart(gaussian(600, 9))
    for _ in range(4):
        state.push(d * state.next())
    np.testing.assert_allclose(state.ritz_values()[[0, -1]], [-5, 7], atol=1e-12)


@pytest.mark.parametrize("power", [-900, -40, 40, 900])
def test_powers_of_two_scale_every_bit(power):
    d = spectra.two_sided(np.random.default_rng(7), 700)
    c = 2.0**power
    one, other = steps(d, 30), steps(d * c, 30)
    for a, b in (
        (one.alpha, other.alpha),
        (one.beta, other.beta),
        (one.ritz_values(), other.ritz_values()),
        (one.certificate_lower(1e-6), other.certificate_lower(1e-6)),
        (one.certificate_upper(1e-6), other.certificate_upper(1e-6)),
    ):
        np.testing.assert_array_equal(np.asarray(a) * c, b)
    np.testing.assert_array_equal(one.ritz_vector(0), other.ritz_vector(0))


@pytest.mark.parametrize("c", [1e-300, 1e-12, 1e-3, 1e3, 1e12, 1e300])
def test_scale_sweep(c):
    d = spectra.two_sided(np.random.default_rng(8), 700)
    one, other = steps(d, 25), steps(d * c, 25)
    np.testing.assert_allclose(other.alpha / c, one.alpha, atol=1e-12)
    np.testing.assert_allclose(other.certificate_lower(1e-6) / c, one.certificate_lower(1e-6), rtol=1e-10)


def test_locked_vectors_are_projected_out():
    rng = np.random.default_rng(9)
    a = rng.standard_normal((200, 200))
    a = a + a.T
    values, vectors = np.linalg.eigh(a)
    state = steps(a, 197, locked=vectors[:, :3].T)
    assert (state.dimension, state.n) == (197, 200)
    assert state.exhausted
    np.testing.assert_allclose(state.ritz_values(), values[3:], atol=1e-10)
    rough = rng.standard_normal((2, 200))  # orthonormalised inside; T is of P·H·P
    state = steps(a, 30, locked=rough)
    assert np.abs(rough @ basis(state)).max() < 1e-12
    q = np.linalg.qr(rough.T)[0]
    v, p = basis(state), np.eye(200) - q @ q.T
    np.testing.assert_allclose(v.T @ p @ a @ p @ v, tridiagonal(state), atol=1e-12)


def test_asymmetry_is_measured():
    rng = np.random.default_rng(10)
    a = rng.standard_normal((200, 200))
    a = a + a.T
    assert steps(a, 20).asymmetry < 1e-12
    a[3, 7] += 5.0
    assert steps(a, 20).asymmetry > 1e-3


def test_views_are_read_only_and_keep_the_state_alive():
    state = _core.Lanczos(1000, "float32", 4, gaussian(1000))
    v = state.next()
    assert v.dtype == np.float32
    assert state.next().ctypes.data == v.ctypes.data
    with pytest.raises(ValueError, match="read-only"):
        v[0] = 1.0
    copy = v.copy()
    state.push(v * 2)
    del state
    np.testing.assert_array_equal(v, copy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "float64", 3, np.ones(0)), "`n`"),
        ((4, "float16", 3, np.ones(4)), "`dtype`"),
        ((4, "float64", 0, np.ones(4)), "`capacity`"),
        ((4, "float64", 3, np.ones(5)), "`start`"),
        ((4, "float64", 3, np.zeros(4)), "`start`"),
        ((4, "float64", 3, np.array([1.0, np.nan, 0, 0])), "`start`"),
        ((4, "float64", 3, np.array([1.0, np.inf, 0, 0])), "`start`"),
        ((4, "float64", 2**62, np.ones(4)), "`n` x `capacity`"),
        ((4, "float64", 3, np.ones(4), np.ones((1, 5))), "`locked`"),
        ((4, "float64", 3, np.ones(4), np.eye(4)), "`locked`"),
        ((4, "float64", 3, np.ones(4), np.ones((2, 4))), "`locked`"),
    ],
)
def test_bad_construction(arguments, message):
    with pytest.raises(us.errors.ArgumentError, match=message):
        _core.Lanczos(*arguments)


def test_wrong_order_of_calls_changes_nothing():
    error = us.errors.ArgumentError
    state = _core.Lanczos(50, "float64", 2, gaussian(50))
    d = np.linspace(1, 2, 50)
    with pytest.raises(error, match="next"):
        state.push(d)
    with pytest.raises(error, match="invariant"):
        state.restart(gaussian(50))
    v = state.next()
    for bad in (np.ones(49), np.full(50, np.nan), np.full(50, np.inf), np.full(50, 1e308)):
        with pytest.raises(error, match="`w`"):
            state.push(bad)
    with pytest.raises(us.errors.ArgumentTypeError, match="`w`"):
        state.push(np.ones(50, dtype=complex))
    assert state.k == 0
    state.push((d * v)[::-1][::-1])  # any strides
    state.push(d * state.next())
    with pytest.raises(error, match="capacity"):
        state.next()
    state.raise_capacity(3)
    state.push((d * state.next()).astype(np.float32))
    reference = steps(d, 2)
    np.testing.assert_array_equal(state.alpha[:2], reference.alpha)
    for bad in (-1, 3):
        with pytest.raises(error, match="indices"):
            state.ritz_vector(bad)
    with pytest.raises(error, match="basis vector"):
        state.basis_vector(3)
    with pytest.raises(error, match="NaN"):
        state.count_below(np.nan)


def test_exhausted_state_asks_for_a_restart():
    state = _core.Lanczos(50, "float64", 9, gaussian(50))
    state.push(np.zeros(50) * state.next())
    assert state.exhausted
    with pytest.raises(us.errors.ArgumentError, match="restart"):
        state.next()
    with pytest.raises(us.errors.ArgumentError, match="`start`"):
        state.restart(np.array(state.basis_vector(0)))
    state.restart(gaussian(50, 3))
    assert not state.exhausted
    assert not state.invariant
    assert state.restarts == []  # no step of the new run yet
    state.push(0 * state.next())
    assert state.restarts == [1]
