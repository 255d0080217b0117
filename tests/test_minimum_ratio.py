"""The minimum ratio against dense eigenvalues: coverage, exact counts, certified few, scales, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import real_hessians
import spectra
import unstuck as us


def truth(values, tau):
    return np.mean(values < -tau), np.mean(np.abs(values) <= tau), np.mean(values > tau)


def covers(found, values):
    shares = truth(values, found.tolerance)
    bins = (found.negative, found.flat, found.positive)
    return all(b.lower - 1e-12 <= share <= b.upper + 1e-12 for b, share in zip(bins, shares, strict=True))


def mixed(rng, n):
    """Three bins of random sizes, the middle one a null cluster, and a few outliers."""
    sizes = rng.dirichlet([1, 1, 1])
    kind = rng.choice(3, n, p=sizes)
    values = np.where(kind == 0, -(10.0 ** rng.uniform(-3, 0, n)), 10.0 ** rng.uniform(-3, 0, n))
    values[kind == 1] = 0.0
    values[: rng.integers(0, 8)] *= 20.0
    return values


def test_bins_cover_the_truth_in_200_random_cases():
    missed, widths, certified = 0, [], 0
    families = [mixed, mixed, *spectra.FAMILIES]
    for case in range(200):
        rng = np.random.default_rng(1000 + case)
        values = families[case % len(families)](rng, int(rng.integers(600, 1500)))
        tau = 10.0 ** rng.uniform(-4, -2)
        found = us.curvature.minimum_ratio(
            spectra.diagonal_operator(values), tau, exact=False, probes=2, max_products=200, seed=case, confidence=0.95
        )
        assert found.products <= 205
        missed += not covers(found, values)
        certified += found.certified
        widths.append(found.negative.upper - found.negative.lower)
    assert missed <= 10, missed  # of 200
    assert certified >= 10
    assert np.median(widths) < 0.12


@pytest.mark.parametrize("name", [*real_hessians.NETWORKS, pytest.param("large", marks=pytest.mark.slow)])
def test_networks(name):
    land, values = real_hessians.network(name)
    op = land.hessian(land.theta)
    exact = us.curvature.minimum_ratio(op, exact=True)
    assert exact.exact
    assert exact.tolerance == pytest.approx(1e-4 * np.abs(values).max())
    assert exact.raw == pytest.approx(np.mean(values > 0), abs=0.35)  # the signs of zeros are rounding
    assert covers(exact, values)
    assert exact.negative.upper - exact.negative.lower < 2 / land.n
    # so tight a tolerance that the quadrature separates hardly anything, and one that it separates well
    for tau in (None, 0.01 * np.abs(values).max()):
        found = us.curvature.minimum_ratio(op, tau, exact=False, probes=2, seed=4)
        assert not found.exact
        assert covers(found, values)
    assert found.positive.upper - found.positive.lower < 0.1
    assert "negative" in str(found)
    assert "%" in str(exact)


def test_known_counts_on_request():
    values = np.repeat([-1.0, -1e-5, 0.0, 1e-5, 2.0], [3, 4, 5, 6, 7])
    found = us.curvature.minimum_ratio(np.diag(values), 1e-3)
    assert found.negative == (3 / 25, 3 / 25)
    assert found.flat == (15 / 25, 15 / 25)
    assert found.positive == (7 / 25, 7 / 25)
    assert found.raw == 13 / 25
    at_the_edge = us.curvature.minimum_ratio(np.diag([-1.0, -0.5, 0.5, 1.0]), 0.5)
    assert at_the_edge.flat.upper == 0.5
    strict = us.curvature.minimum_ratio(np.diag([-1.0, 0.0, 1.0]), 0.0)
    assert strict.negative.lower == 1 / 3
    assert us.curvature.minimum_ratio(np.zeros((4, 4))).flat == (1.0, 1.0)
    for n in (1, 2, 3):
        assert us.curvature.minimum_ratio(np.eye(n)).positive == (1.0, 1.0)


def test_few_negatives_are_counted():
    values = spectra.outliers(np.random.default_rng(2), 20_000, g=0.5)
    values[1:4] = [-0.2, -0.21, -0.9]
    found = us.curvature.minimum_ratio(spectra.diagonal_operator(values), 0.02)
    assert found.certified
    assert found.negative == (4 / 20_000, 4 / 20_000)
    psd = us.curvature.minimum_ratio(spectra.diagonal_operator(np.abs(values)), 0.02)
    assert psd.certified
    assert psd.negative == (0.0, 0.0)
    assert psd.products < found.products


def test_a_budget_is_kept():
    values = spectra.two_sided(np.random.default_rng(3), 4000)
    for most in (3, 10, 50, 300):
        found = us.curvature.minimum_ratio(spectra.diagonal_operator(values), max_products=most)
        assert found.products <= most + 2
        assert covers(found, values)


@pytest.mark.parametrize("c", real_hessians.SCALES)
@pytest.mark.parametrize("exact", [True, False])
def test_answers_do_not_depend_on_the_scale(c, exact):
    values = spectra.two_sided(np.random.default_rng(5), 300)
    reference = us.curvature.minimum_ratio(spectra.diagonal_operator(values), exact=exact, probes=2)
    found = us.curvature.minimum_ratio(spectra.diagonal_operator(c * values), exact=exact, probes=2)
    assert found.tolerance / c == pytest.approx(reference.tolerance, rel=1e-6)
    for name in ("negative", "flat", "positive"):
        np.testing.assert_allclose(getattr(found, name), getattr(reference, name), atol=1.5 / 300)
    assert found.raw == pytest.approx(reference.raw, abs=1e-3)


@pytest.mark.parametrize("name", real_hessians.BROKEN)
def test_operators_that_break_promises_are_refused(name):
    op, error, words = real_hessians.broken()[name]
    for exact in (False, None):
        with pytest.raises(error, match=words):
            us.curvature.minimum_ratio(op, exact=exact)


def test_arguments_are_checked():
    op = spectra.diagonal_operator(np.ones(4000))
    wrongs = {"tolerance": -1.0, "accuracy": np.nan, "confidence": 1.0, "probes": 0, "max_products": 1, "exact": True}
    for name, value in wrongs.items():
        with pytest.raises(us.errors.ArgumentError, match=f"`{name}"):
            us.curvature.minimum_ratio(op, **{name: value})
    with pytest.raises(us.errors.BudgetError):
        us.curvature.minimum_ratio(op, memory_budget=1000)
