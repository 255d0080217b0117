"""Densities against dense eigenvalues of real networks and planted spectra; bands, scales, refusals, pictures."""

from __future__ import annotations

import numpy as np
import pytest

import real_hessians
import spectra
import unstuck as us
from unstuck.curvature.measure import ProbeMeasure


def ends(values, x):
    """(#(λ < x), #(λ ≤ x))/n."""
    values = np.sort(values)
    return np.searchsorted(values, x, "left") / len(values), np.searchsorted(values, x, "right") / len(values)


def grid(values):
    values = np.sort(values)
    middles = 0.5 * (values[1:] + values[:-1])
    picked = np.unique(np.linspace(0, len(middles) - 1, 60).astype(int))
    return np.concatenate([middles[picked], np.linspace(values[0] - 0.1, values[-1] + 0.1, 20), [0.0]])


@pytest.mark.parametrize("name", [*real_hessians.NETWORKS, pytest.param("large", marks=pytest.mark.slow)])
def test_the_distribution_of_a_networks_eigenvalues_lies_in_the_band(name):
    land, values = real_hessians.network(name)
    op = land.hessian(land.theta)
    x, rounding = grid(values), 1e-10 * np.abs(values).max()
    for seed in range(2):
        found = us.curvature.density(op, exact=False, seed=seed)
        assert found.n == len(values)
        assert found.products == found.probes * found.steps + 1
        band = found.cumulative(x, simultaneous=True, confidence=0.99)
        assert (band.lower <= ends(values, x + rounding)[0]).all()
        assert (band.upper >= ends(values, x - rounding)[1]).all()
        assert found.nodes[0] >= values[0] - rounding
        assert found.nodes[-1] <= values[-1] + rounding
        assert found.nodes[-1] == pytest.approx(values[-1], rel=1e-6), "the largest eigenvalue has converged"
    exact = us.curvature.density(op, exact=True)
    np.testing.assert_allclose(exact.nodes, values, atol=rounding)
    assert exact.exact
    below, upto = ends(values, x)
    away = np.abs(x[:, None] - values).min(axis=1) > rounding
    band = exact.cumulative(x)
    np.testing.assert_array_equal(band.lower[away], below[away])
    np.testing.assert_array_equal(band.upper[away], upto[away])


@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_the_pointwise_band_covers_at_its_rate(family):
    rng = np.random.default_rng(11)
    missed = total = 0
    for seed in range(60):
        values = family(rng, 900)
        x = np.quantile(values, [0.02, 0.3, 0.5, 0.9]) + 1e-7
        found = us.curvature.density(spectra.diagonal_operator(values), 40, 2, seed, exact=False, confidence=0.9)
        band = found.cumulative(x)
        below, upto = ends(values, x)
        missed += np.count_nonzero((band.lower > below) | (band.upper < upto))
        total += len(x)
    assert missed <= 0.1 * total + 3 * np.sqrt(0.1 * total), (missed, total)


def test_limits_of_a_known_share_are_exact():
    """Without quadrature error the limits fail as often as they say: a share is Beta(m·p/2, (n − m)·p/2)."""
    rng = np.random.default_rng(12)
    n, m, probes, failed = 60, 7, 3, 0
    for _ in range(600):
        squares = rng.standard_normal((probes, n)) ** 2
        measures = [(np.array([0.0]), np.array([0.0]))] * probes
        measure = ProbeMeasure(n, measures, squares.sum(axis=1))
        share = squares[:, :m].sum() / squares.sum()
        limits = measure._limits(us.curvature.Share(np.array([share]), np.array([share])), 0.9)
        failed += not limits.lower[0] <= m / n <= limits.upper[0]
    assert 25 <= failed <= 80, "10 % less what whole numbers take away"


def test_zeros_are_seen_as_what_they_are():
    """A null cluster of 90 %: the distribution jumps at 0, and no number at 0 itself is given away."""
    values = spectra.zeros(np.random.default_rng(0), 5000, g=0.01)
    found = us.curvature.density(spectra.diagonal_operator(values), seed=1)
    at = found.cumulative([-1e-3, 0.0, 1e-3])
    assert at.upper[0] < 0.01
    assert at.lower[1] < 0.01
    assert at.upper[1] > 0.88
    assert at.lower[2] > 0.88


@pytest.mark.parametrize("c", real_hessians.SCALES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_answers_scale_with_the_operator(c, dtype):
    values = spectra.two_sided(np.random.default_rng(1), 800)
    reference = us.curvature.density(spectra.diagonal_operator(values, dtype), 30, 2, exact=False)
    found = us.curvature.density(spectra.diagonal_operator(values * c, dtype), 30, 2, exact=False)
    rounding = 1e-4 if dtype == "float32" else 1e-9
    x = np.linspace(-1.4, 0.9, 15)
    np.testing.assert_allclose(found.nodes[[0, -1]] / c, reference.nodes[[0, -1]], atol=rounding)
    for a, b in zip(found.cumulative(x * c), reference.cumulative(x), strict=True):
        np.testing.assert_allclose(a, b, atol=3 * rounding + 1.5 / 800)
    assert found.width() == pytest.approx(c * reference.width(), rel=10 * rounding)
    np.testing.assert_allclose(found.curve(x * c) * c, reference.curve(x), rtol=0.05 if dtype == "float32" else 1e-6)


def test_the_curve_is_a_density():
    values = spectra.two_sided(np.random.default_rng(2), 3000)
    found = us.curvature.density(spectra.diagonal_operator(values), exact=False)
    x = np.linspace(-2.2, 1.7, 4001)
    assert np.trapezoid(found.curve(x), x) == pytest.approx(1.0, abs=1e-3)
    # Beta(1.5, 1.5) stretched to (−1, 1): the semicircle 2/π·√(1 − x²)
    middle = np.linspace(-0.8, 0.8, 9)
    np.testing.assert_allclose(found.curve(middle, 0.05), 2 / np.pi * np.sqrt(1 - middle**2), rtol=0.15)
    assert found.curve(0.1).shape == ()
    assert found.curve(np.zeros((2, 3))).shape == (2, 3)
    with pytest.raises(us.errors.ArgumentError, match="`width`"):
        found.curve(x, 0.0)


def test_outliers_do_not_widen_the_curve():
    values = spectra.outliers(np.random.default_rng(3), 4000)
    found = us.curvature.density(spectra.diagonal_operator(values), 100)
    assert found.width() < 0.05
    with pytest.raises(us.errors.ArgumentError, match="all eigenvalues are equal"):
        us.curvature.density(np.eye(5)).curve([1.0])


def test_tiny_operators_and_the_zero_one():
    for n in (1, 2, 3):
        found = us.curvature.density(np.diag(np.arange(1.0, n + 1)))
        assert found.exact
        np.testing.assert_allclose(found.nodes, np.arange(1, n + 1))
    for exact in (True, False):
        found = us.curvature.density(np.zeros((40, 40)), exact=exact)
        assert found.cumulative(-1.0).upper == 0.0
        assert found.cumulative(1.0).lower == 1.0
        assert "[0, 0]" in repr(found)


def test_blocks_and_threads_do_not_change_the_answer(threads):
    land, _ = real_hessians.network("trained")
    found = []
    for count in (1, 3):
        threads(count)
        found.append(us.curvature.density(land.hessian(land.theta), 20, 2, 5, exact=False))
    np.testing.assert_array_equal(found[0].nodes, found[1].nodes)
    np.testing.assert_array_equal(found[0].weights, found[1].weights)


@pytest.mark.parametrize("name", real_hessians.BROKEN)
def test_operators_that_break_promises_are_refused(name):
    op, error, words = real_hessians.broken()[name]
    for exact in (False, None):
        with pytest.raises(error, match=words):
            us.curvature.density(op, 20, exact=exact)


def test_arguments_are_checked():
    op = spectra.diagonal_operator(np.ones(4000))
    for wrong in [
        {"steps": 0},
        {"probes": 0},
        {"seed": -1},
        {"confidence": 1.0},
        {"exact": True},
        {"memory_budget": 0},
    ]:
        with pytest.raises(us.errors.ArgumentError, match=f"`{next(iter(wrong))}"):
            us.curvature.density(op, **wrong)
    with pytest.raises(us.errors.BudgetError, match="memory_budget"):
        us.curvature.density(op, memory_budget=1000)
    with pytest.raises(us.errors.ArgumentTypeError, match="progress"):
        us.curvature.density(op, progress=3)
    with pytest.raises(us.errors.ArgumentError, match="`x`"):
        us.curvature.density(np.eye(3)).cumulative(np.nan)


def test_progress_and_plot():
    pytest.importorskip("matplotlib", reason="needs matplotlib")
    land, _ = real_hessians.network("trained")
    seen = []
    found = us.curvature.density(
        land.hessian(land.theta), 30, 2, exact=False, progress=lambda done, total, text="": seen.append((done, total))
    )
    assert seen[0] == (1, 30)
    assert seen[-1] == (30, 30)
    axes = found.plot()
    assert axes.get_xscale() == "symlog"
    assert found.plot(axes) is axes
    assert us.curvature.density(np.eye(4)).plot().get_xscale() == "linear"
