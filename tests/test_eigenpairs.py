"""Eigenpairs at either end: against dense solvers, multiplicities, completeness, budgets, refusals; the dense path."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg as sl

import spectra
import unstuck as us
from unstuck.curvature import dense, eigenpairs


def rotated(values, seed=0, dtype="float64"):
    """Q·diag(values)·Qᵀ for a product of four Householder reflections: cheap, dense, with known eigenpairs."""
    rng = np.random.default_rng(seed)
    mirrors = [u / np.linalg.norm(u) for u in rng.standard_normal((4, len(values)))]

    def turn(x, order):
        for u in order:
            x = x - np.multiply.outer(2.0 * u, u @ x) if x.ndim == 2 else x - 2.0 * u * (u @ x)
        return x

    def product(v):
        x = turn(np.asarray(v, dtype=np.float64), mirrors[::-1])
        return turn((values * x.T).T, mirrors).astype(dtype)

    n = len(values)
    return sl.LinearOperator((n, n), matvec=lambda v: product(v.ravel()), matmat=product, dtype=np.dtype(dtype))


def expected(values, k, which):
    return np.sort(values)[:k] if which == "smallest" else np.sort(values)[::-1][:k]


def check(op, values, k, which, atol, **options):
    result = eigenpairs(op, k, which, **options)
    np.testing.assert_allclose(result.values, expected(values, k, which), atol=atol)
    assert result.vectors.shape == (len(values), k)
    assert result.vectors.dtype == np.float64
    assert result.residuals.shape == (k,)
    single = op.dtype == np.float32
    assert np.abs(result.vectors.T @ result.vectors - np.eye(k)).max() < (1e-6 if single else 1e-12)
    true = np.linalg.norm(op @ result.vectors.astype(op.dtype) - result.vectors * result.values, axis=0)
    scale = np.abs(values).max()
    np.testing.assert_allclose(result.residuals, true, atol=(1e-5 if single else 1e-12) * scale + 1e-300)
    default = (1.3e-5 if single else 1e-6) * scale
    assert result.residuals.max() <= options.get("tolerance", default)
    return result


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 40, 512, 700])
def test_against_known_spectrum(n, dtype, which):
    values = (
        np.concatenate([np.linspace(-1, 1, n - n // 10), np.linspace(2, 9, n // 10)]) if n > 9 else np.arange(n) - 1.0
    )
    k = min(n, 4)
    result = check(rotated(values, dtype=dtype), values, k, which, 2e-6 if dtype == "float32" else 1e-8)
    assert result.complete is True
    assert result.products >= k


def test_contract_example():
    op = sl.aslinearoperator(np.diag([3.0, -1, 0, 2, 5]))
    result = eigenpairs(op, k=2, which="smallest")
    np.testing.assert_allclose(result.values, [-1, 0], atol=1e-12)
    np.testing.assert_allclose(np.abs(result.vectors), np.eye(5)[:, [1, 2]], atol=1e-12)
    assert us.curvature.eigenpairs is eigenpairs


def test_all_pairs():
    for n in (2, 5, 600):
        values = np.random.default_rng(n).standard_normal(n)
        result = check(rotated(values), values, n, "largest", 1e-12)
        assert result.complete is True


def test_signed_not_by_magnitude():
    values = np.concatenate([[-50.0, -20.0], np.linspace(-1, 1, 800), [3.0, 4.0]])
    check(rotated(values), values, 3, "largest", 1e-8)
    check(rotated(values), values, 3, "smallest", 1e-8)


MULTIPLE = {
    "fivefold": np.concatenate([np.full(5, -1e-3), np.linspace(0.2, 1, 900)]),
    "kernel": np.concatenate([np.zeros(900), np.linspace(0.2, 1, 100)]),
    "identity": np.ones(700),
    "zero": np.zeros(700),
    "low rank": np.concatenate([np.zeros(700), [1.0, 2.0, 2.0]]),
    "pairs": np.repeat(np.concatenate([[-3.0, -2.0, -1.0], np.linspace(0, 1, 300), [2.0, 3.0]]), 2),
}


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("name", MULTIPLE)
def test_multiple_eigenvalues(name, which):
    values = MULTIPLE[name]
    for op in (spectra.diagonal_operator(values), rotated(values)):
        result = check(op, values, 5, which, 1e-8)
        assert result.complete is True


def test_missing_copies_are_noticed_in_float32():
    values = MULTIPLE["fivefold"]
    result = check(rotated(values, dtype="float32"), values, 6, "smallest", 1e-6)
    assert result.complete is True


def test_completeness_is_honest_when_it_cannot_tell():
    """Two eigenvalues closer to each other than anything resolves: never False, values right within the tolerance."""
    values = np.concatenate([-np.ones(3) + 1e-9 * np.arange(3), np.linspace(0, 1, 900)])
    result = eigenpairs(spectra.diagonal_operator(values), 2, "smallest", tolerance=1e-6)
    np.testing.assert_allclose(result.values, -1.0, atol=1e-6)
    assert result.complete is True


def test_tolerance_is_absolute():
    values = 1e6 * np.concatenate([[-2.0, -1.5], np.linspace(-1, 1, 900)])
    loose = check(rotated(values), values, 2, "smallest", 1e3, tolerance=1e3)
    tight = check(rotated(values), values, 2, "smallest", 1e-6, tolerance=1e-3)
    assert loose.products < tight.products


@pytest.mark.parametrize("c", [1e-12, 1e12])
def test_scale(c):
    values = c * np.concatenate([[-2.0], np.linspace(-1, 1, 900)])
    result = check(spectra.diagonal_operator(values), values, 1, "smallest", 1e-9 * c)
    assert result.complete is True


def test_same_seed_same_bits():
    values = spectra.outliers(np.random.default_rng(1), 2000)
    op = spectra.diagonal_operator(values)
    one, two = (eigenpairs(op, 3, "largest", seed=4) for _ in range(2))
    np.testing.assert_array_equal(one.vectors, two.vectors)
    other = eigenpairs(op, 3, "largest", seed=5)
    np.testing.assert_allclose(one.values, other.values, rtol=1e-9)
    assert one.products <= 40


def test_inexact_products_are_said_to_be_so():
    values = np.concatenate([[-2.0], np.linspace(-1, 1, 900)])
    with pytest.warns(us.errors.ConvergenceWarning, match="float64"):
        eigenpairs(rotated(values, dtype="float32"), 1, "smallest", tolerance=1e-10)


def test_memory_budget():
    values = np.sqrt(np.linspace(0, 1, 3100))
    op = spectra.diagonal_operator(values)
    with pytest.raises(us.errors.BudgetError, match=r"at least [\d,]+ bytes") as small:
        eigenpairs(op, 5, memory_budget=10_000)
    assert "10,000" in str(small.value)
    with pytest.raises(us.errors.BudgetError, match=r"they need about ([\d,]+) bytes") as late:
        eigenpairs(op, 5, tolerance=1e-7, memory_budget=1_500_000)
    needed = int(str(late.value).split("need about ")[1].split(" bytes")[0].replace(",", ""))
    assert 1_500_000 < needed < 15_000_000
    result = eigenpairs(op, 5, tolerance=1e-7, memory_budget=2 * needed)
    np.testing.assert_allclose(result.values, values[:5], atol=1e-7)
    with pytest.raises(us.errors.BudgetError, match="dense matrix"):
        eigenpairs(np.eye(300), 5, memory_budget=100)


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"k": 0}, us.errors.ArgumentError, "`k`"),
        ({"k": 6}, us.errors.ArgumentError, "`k`"),
        ({"k": True}, us.errors.ArgumentError, "`k`"),
        ({"k": 2.0}, us.errors.ArgumentTypeError, "`k`"),
        ({"which": "LM"}, us.errors.ArgumentError, "`which`"),
        ({"tolerance": 0.0}, us.errors.ArgumentError, "`tolerance`"),
        ({"tolerance": np.nan}, us.errors.ArgumentError, "`tolerance`"),
    ],
)
def test_bad_arguments(options, error, name):
    with pytest.raises(error, match=name):
        eigenpairs(np.eye(5), **{"k": 2, **options})


@pytest.mark.parametrize("n", [300, 900])
def test_unsymmetric_operators_are_refused(n):
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal((n, n))
    with pytest.raises(us.errors.OperatorError, match="not symmetric"):
        eigenpairs(matrix, 2)


@pytest.mark.parametrize("n", [300, 900])
def test_non_finite_products_are_refused(n):
    d = np.ones(n)
    d[7] = np.nan
    with pytest.raises(us.errors.NonFiniteError, match="`op`"):
        eigenpairs(spectra.diagonal_operator(d), 2)


def test_difference_quotients():
    """A landscape without hvp: products are exact to about 1e-9 only."""
    a = np.diag(np.linspace(-1, 3, 20))
    land = us.FunctionLandscape(lambda t: 0.5 * t @ a @ t, lambda t: a @ t, n=20)
    result = eigenpairs(land.hessian(np.ones(20)), 2, "largest")
    np.testing.assert_allclose(result.values, [3, 3 - 4 / 19], atol=1e-6)


def test_dense_matrix():
    rng = np.random.default_rng(3)
    a = rng.standard_normal((150, 150))
    symmetric = 0.5 * (a + a.T)
    matrix, asymmetry = dense.dense_matrix(a)
    np.testing.assert_allclose(matrix, symmetric, atol=1e-15)
    np.testing.assert_allclose(asymmetry, np.linalg.norm(0.5 * (a - a.T)))
    assert dense.dense_matrix(symmetric).asymmetry == 0.0
    op = us.operators.as_operator(symmetric)
    dense.dense_matrix(op)
    assert op.products in (0, 150)  # counted by operators that count
    with pytest.raises(us.errors.ArgumentError, match="3000"):
        dense.dense_matrix(spectra.diagonal_operator(np.ones(3001)))


@pytest.mark.parametrize("n", [1, 2, 3, 90])
@pytest.mark.parametrize("c", [1e-300, 1.0, 1e300])
def test_tridiagonal_form(n, c):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((n, n))
    a = c * (a + a.T) / 10
    diagonal, off = dense.tridiagonal_form(a)
    assert (diagonal.shape, off.shape) == ((n,), (n - 1,))
    exact = np.linalg.eigvalsh(a / c)
    found = us._core.tridiagonal_eigenvalues(diagonal, off) / c
    np.testing.assert_allclose(found, exact, atol=1e-14 * np.abs(exact).max() * n)
    np.testing.assert_array_equal(dense.tridiagonal_form(np.zeros((n, n)))[0], 0.0)
