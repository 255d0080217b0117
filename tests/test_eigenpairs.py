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
    full, tight = (eigenpairs(op, 5, tolerance=1e-7, memory_budget=budget) for budget in (None, 1_500_000))
    assert (full.plan.form, tight.plan.form) == ("full basis", "thick restart")
    assert tight.plan.bytes <= 1_500_000
    for result in (full, tight):
        np.testing.assert_allclose(result.values, values[:5], atol=1e-7)
        assert result.complete is True
    assert full.products <= tight.products
    with pytest.raises(us.errors.BudgetError, match="at least"):
        eigenpairs(np.eye(300), 5, memory_budget=100)


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize(("n", "k"), [(300, 1), (300, 5), (500, 3), (40, 8)])
def test_a_small_operator_whose_matrix_does_not_fit_is_searched(n, k, which):
    values = np.linspace(-1, 1, n) ** 3
    budget = n * (32 + 8 * (3 + 2 * k + 26))
    found = eigenpairs(spectra.diagonal_operator(values), k, which, tolerance=1e-6, memory_budget=budget)
    assert found.plan.form != "matrix"
    assert found.plan.bytes <= budget
    np.testing.assert_allclose(found.values, expected(values, k, which), atol=1e-6)
    assert found.complete is True


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_bounded_memory_finds_what_a_full_basis_finds(family, dtype, which):
    values = family(np.random.default_rng(3), 3500)
    op = spectra.diagonal_operator(values, dtype)
    scale = np.abs(values).max()
    k, size = 3, np.dtype(dtype).itemsize
    tolerance = 1e-4 * scale
    budget = 3500 * (32 + size * (3 + 2 * k + 20))
    result = eigenpairs(op, k, which, tolerance=tolerance, memory_budget=budget, seed=1)
    assert result.plan.form == "thick restart"
    assert result.plan.vectors in (20, 21)
    np.testing.assert_allclose(result.values, expected(values, k, which), atol=2 * tolerance)
    assert result.residuals.max() <= tolerance
    assert result.complete is True
    assert result.certificate is None or us.verify(result.certificate)
    assert np.abs(result.vectors.T @ result.vectors - np.eye(k)).max() < (1e-5 if dtype == "float32" else 1e-12)
    for low, high in result.intervals:
        assert ((values >= low - 1e-6 * scale) & (values <= high + 1e-6 * scale)).any()


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_three_vectors_and_a_second_run(which, dtype):
    values = spectra.outliers(np.random.default_rng(4), 4000, g=0.5)
    op = spectra.diagonal_operator(values, dtype)
    budget = 4000 * np.dtype(dtype).itemsize * 10
    result = eigenpairs(op, 1, which, tolerance=1e-2, memory_budget=budget)
    assert result.plan.form == "three vectors"
    np.testing.assert_allclose(result.values, expected(values, 1, which), atol=1e-3)
    assert result.residuals.max() <= 1e-2
    assert result.complete is True
    assert us.verify(result.certificate)
    with pytest.raises(us.errors.BudgetError, match="at least"):
        eigenpairs(op, 2, which, memory_budget=budget)


def test_three_vectors_notice_products_that_change():
    values, count = np.linspace(-1, 1, 4000), iter(range(10**6))
    op = sl.LinearOperator((4000, 4000), matvec=lambda v: values * v.ravel() * (1 + 1e-12 * next(count)), dtype=float)
    with pytest.raises(us.errors.NonDeterministicError, match="second run"):
        eigenpairs(op, 1, tolerance=1e-2, memory_budget=4000 * 80)


def test_a_hundred_million_parameters_are_planned_before_anything_is_made():
    op = us.operators.HessianOperator(10**8, np.float32, lambda v: v)
    with pytest.raises(us.errors.BudgetError, match=r"100,000,000 parameters.*at least [\d,]+ bytes"):
        eigenpairs(op, 1)


def test_a_float64_basis_that_does_not_fit_is_stored_as_float32():
    values = spectra.outliers(np.random.default_rng(4), 4000, g=0.5)
    result = eigenpairs(spectra.diagonal_operator(values), 1, tolerance=1e-3, memory_budget=4000 * (56 + 80))
    assert (result.plan.form, result.plan.dtype) == ("thick restart", "float32")
    np.testing.assert_allclose(result.values, -0.5, atol=1e-5)
    assert result.residuals.max() <= 1e-3


def test_warm_start_from_several_vectors():
    values = np.concatenate([np.linspace(-3, -2, 6), np.linspace(-1, 1, 1500)])
    op = rotated(values)
    cold = eigenpairs(op, 6)
    rng = np.random.default_rng(5)
    nearby = cold.vectors + 1e-5 * rng.standard_normal(cold.vectors.shape)
    again = eigenpairs(op, 6, start=cold.vectors)
    warm = eigenpairs(op, 6, start=nearby[:, ::-1])
    part = eigenpairs(op, 6, start=nearby[:, :2])
    for result in (again, warm, part):
        np.testing.assert_allclose(result.values, values[:6], atol=1e-6)
        assert result.complete is True
    finding = [result.products for result in (again, warm, cold)]
    assert finding == sorted(finding)
    single = eigenpairs(op, 1, "largest", start=eigenpairs(op, 1, "largest").vectors[:, 0])
    np.testing.assert_allclose(single.values, 1.0, atol=1e-6)
    useless = eigenpairs(op, 2, start=np.ones((1506, 1)))
    np.testing.assert_allclose(useless.values, values[:2], atol=1e-6)
    for bad, error in ((np.ones(5), "ArgumentError"), (np.full(1506, np.nan), "NonFiniteError"), ("x", "ArgumentTyp")):
        kind = us.errors.ArgumentTypeError if error == "ArgumentTyp" else getattr(us.errors, error)
        with pytest.raises(kind, match="`start`"):
            eigenpairs(op, 2, start=bad)


def test_multiplicities():
    values = np.concatenate([np.full(3, -2.0), [-1.5], np.linspace(0, 1, 900)])
    result = eigenpairs(rotated(values), 5)
    np.testing.assert_array_equal(result.multiplicities, [3, 3, 3, 1, 1])
    small = eigenpairs(np.diag([1.0, 1.0, 2.0]), 3, "largest")
    np.testing.assert_array_equal(small.multiplicities, [1, 2, 2])
    assert (small.confidence, small.plan.form, small.certificate) == (1.0, "matrix", None)


def test_products_that_do_not_suffice():
    values = np.linspace(0, 1, 5000)
    op = spectra.diagonal_operator(values)
    with pytest.warns(us.errors.ConvergenceWarning, match="max_products"):
        result = eigenpairs(op, 2, tolerance=1e-6, max_products=60)
    assert result.products <= 62
    assert (result.converged, result.complete) == (False, None)
    assert result.further_products > 0
    assert (result.intervals[:, 0] <= result.values).all()
    with pytest.raises(us.errors.BudgetError, match="max_products"):
        eigenpairs(op, 5, max_products=2)
    for wrong in (0, 1.5):
        with pytest.raises(us.errors.ArgumentError, match="`max_products`"):
            eigenpairs(op, 1, max_products=wrong)
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(us.errors.ArgumentError, match="`memory_budget`"):
            eigenpairs(op, 1, memory_budget=wrong)


def test_progress_and_interrupt():
    seen = []
    op = spectra.diagonal_operator(spectra.uniform(np.random.default_rng(1), 4000))
    eigenpairs(op, 1, tolerance=1e-3, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert all(done <= total for done, total in seen)

    def stop(done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eigenpairs(op, 1, progress=stop)
    with pytest.raises(us.errors.ArgumentTypeError, match="`progress`"):
        eigenpairs(op, 1, progress=3)


@pytest.mark.parametrize("power", [-40, 40])
def test_powers_of_two_scale_restarted_runs_to_the_bit(power):
    values = spectra.outliers(np.random.default_rng(2), 3500)
    c = 2.0**power
    budget = 3500 * 8 * 32
    one = eigenpairs(spectra.diagonal_operator(values), 2, tolerance=1e-4, memory_budget=budget)
    other = eigenpairs(spectra.diagonal_operator(values * c), 2, tolerance=1e-4 * c, memory_budget=budget)
    assert one.plan.form == "thick restart"
    np.testing.assert_array_equal(one.vectors, other.vectors)
    np.testing.assert_allclose(one.values * c, other.values, rtol=1e-15)
    assert one.products == other.products


def test_functions_with_a_size():
    class Product:
        n = 600

        def __call__(self, v):
            return np.linspace(-1, 1, 600) * v

    np.testing.assert_allclose(eigenpairs(Product(), 2).values, [-1, -1 + 2 / 599], atol=1e-6)
    with pytest.raises(us.errors.ArgumentError, match="attribute `n`"):
        eigenpairs(lambda v: v, 2)


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
