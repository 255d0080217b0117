"""Operators of all kinds at the door of the instruments: what fits is answered, what does not is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse.linalg as sl

import unstuck as us
from unstuck.curvature import density, diagonal, eigenpairs, frobenius, log_determinant, minimum_ratio, trace

INSTRUMENTS = [eigenpairs, density, minimum_ratio, trace, frobenius, diagonal, lambda op: log_determinant(op, 30.0)]
DIAGONAL = np.concatenate([[-1.0, 7.0], np.linspace(0.1, 1.0, 78)])


def rotated(values):
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(len(values), len(values))))[0]
    matrix = (basis * values) @ basis.T
    return 0.5 * (matrix + matrix.T)


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("size", [79, 81])
def test_products_of_a_wrong_size_inside_scipys_operator(instrument, size):
    op = sl.LinearOperator((80, 80), matvec=lambda v: np.ones(size), dtype=float)
    with pytest.raises(us.errors.OperatorError, match="must have shape"):
        instrument(op)


def test_a_value_error_of_the_users_own_stays_what_it_is():
    def product(v):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        eigenpairs(sl.LinearOperator((80, 80), matvec=product, dtype=float))


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("fill", ["a", None])
def test_matrices_that_are_no_numbers(instrument, fill):
    with pytest.raises(us.errors.ArgumentTypeError, match="`op`"):
        instrument(np.full((8, 8), fill))


@pytest.mark.parametrize("instrument", INSTRUMENTS)
def test_asymmetry_of_a_thousandth_of_the_norm(instrument):
    skew = np.random.default_rng(1).normal(size=(80, 80))
    skew -= skew.T
    skew *= 7e-3 / np.linalg.norm(skew, 2)
    with pytest.raises(us.errors.OperatorError, match="not symmetric"):
        instrument(rotated(DIAGONAL) + skew)


@pytest.mark.parametrize("n", [80, 700])
def test_a_product_of_vectors_beside_one_of_blocks_is_given_vectors(n):
    values = np.resize(DIAGONAL, n)

    def product(v):
        assert v.shape == (n,)
        return values * v

    op = sl.LinearOperator((n, n), matvec=product, matmat=lambda block: values[:, None] * block, dtype=float)
    for instrument in INSTRUMENTS:
        instrument(op)
    interval = trace(op).interval
    assert interval.lower - 1e-9 <= values.sum() <= interval.upper + 1e-9


@pytest.mark.parametrize("n", [80, 700])
def test_tiny_operators_are_answered_or_refused_but_never_wrong(n):
    values = np.resize(DIAGONAL, n)
    op = 1e-200 * rotated(values)
    for instrument, true in ((trace, values.sum()), (frobenius, np.linalg.norm(values))):
        lower, upper = (1e200 * end for end in instrument(op, confidence=0.999999).interval)
        assert lower - 1e-9 <= true <= upper + 1e-9
    with pytest.raises(us.errors.NonFiniteError, match="scale the operator up"):
        density(op, exact=False)
    with pytest.raises(us.errors.NonFiniteError, match="scale the operator up"):
        minimum_ratio(op, exact=False)


def test_a_budget_below_a_matrix_is_planned_for():
    values = np.resize(DIAGONAL, 500) + 1e-3 * np.arange(500)
    matrix, budget = rotated(values), 60 * 500 * 8
    found = eigenpairs(matrix, 2, memory_budget=budget)
    np.testing.assert_allclose(found.values, np.sort(values)[:2], atol=1e-4)
    assert found.complete and found.plan.bytes <= budget
    assert not density(matrix, probes=2, memory_budget=budget).exact
    share = minimum_ratio(matrix, 0.01, probes=2, memory_budget=budget).negative
    assert share.lower <= np.mean(values < -0.01) <= share.upper


@pytest.mark.parametrize("wrong", ["x", 0.5, [1, 2], np.zeros((3, 3)), 10**30])
def test_known_pairs_are_looked_at_even_where_they_are_not_needed(wrong):
    for instrument in (trace, frobenius, diagonal):
        with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match="`pairs`"):
            instrument(np.diag(DIAGONAL), pairs=wrong)


def test_arrays_in_place_of_numbers_and_words():
    wrong = np.zeros((2, 2))
    for instrument in (eigenpairs, density, minimum_ratio, trace):
        with pytest.raises(us.errors.ArgumentError, match="`memory_budget`"):
            instrument(np.diag(DIAGONAL), memory_budget=wrong)
    for instrument in (density, minimum_ratio):
        with pytest.raises(us.errors.ArgumentTypeError, match="`exact`"):
            instrument(np.diag(DIAGONAL), exact=wrong)
    with pytest.raises(us.errors.ArgumentError, match="`which`"):
        eigenpairs(np.diag(DIAGONAL), which=wrong)


@pytest.mark.parametrize("which", ["smallest", "largest"])
def test_pairs_of_the_identity_up_to_rounding(which):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        w = rng.normal(size=60)
        w /= np.linalg.norm(w)
        mirror = np.eye(60) - 2.0 * np.outer(w, w)
        matrix = (mirror @ mirror).astype(np.float32)
        found = eigenpairs(0.5 * (matrix + matrix.T), 3, which)
        np.testing.assert_allclose(found.values, np.ones(3), atol=1e-5)
        np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(3), atol=1e-5)
