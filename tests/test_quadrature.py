"""Lock-step recurrences of probes, and the quadrature rules and bounds of their measures, against dense measures."""

from __future__ import annotations

import numpy as np
import pytest

import spectra
from unstuck import _core
from unstuck.errors import ArgumentError, ArgumentTypeError

PROBES = {"float32": _core.Float32Probes, "float64": _core.Float64Probes}
EPS = {"float32": np.finfo(np.float32).eps, "float64": np.finfo(np.float64).eps}


def run(d, starts, k, dtype="float64"):
    d = np.asarray(d, dtype)
    state = PROBES[dtype](np.ascontiguousarray(starts, dtype))
    while state.steps < k and not state.exhausted:
        state.push(state.next() * d)
    return state


def distribution(d, start, x):
    """(Ψ(x⁻), Ψ(x)) of the measure of one start vector."""
    w = start.astype(np.float64) ** 2
    w /= w.sum()
    below = np.array([w[d < point].sum() for point in x])
    upto = np.array([w[d <= point].sum() for point in x])
    return below, upto


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_rules_integrate_polynomials(family, dtype):
    rng = np.random.default_rng(1)
    d = family(rng, 700).astype(dtype).astype(np.float64)
    d /= np.abs(d).max()
    starts = rng.standard_normal((3, 700)).astype(dtype)
    k = 6
    state = run(d, starts, k, dtype)
    for p in range(3):
        w = starts[p].astype(np.float64) ** 2
        w /= w.sum()
        t = state.alpha(p), state.beta(p)
        for rule, degree in ((_core.gauss_rule(*t), 2 * k - 1), (_core.gauss_radau_rule(*t, 0.05), 2 * k)):
            nodes, weights = rule
            assert abs(weights.sum() - 1) < 1e-13
            for power in range(degree + 1):
                assert abs(weights @ nodes**power - w @ d**power) < 300 * EPS[dtype], (power, degree)
        assert np.abs(_core.gauss_radau_rule(*t, 0.05)[0] - 0.05).min() < 1e-13


@pytest.mark.parametrize("k", [1, 2, 5, 30, 120])
@pytest.mark.parametrize("family", spectra.FAMILIES, ids=lambda f: f.__name__)
def test_bounds_enclose_the_distribution(family, k):
    rng = np.random.default_rng(2)
    d = np.sort(family(rng, 500))
    start = rng.standard_normal((1, 500))
    state = run(d, start, k)
    alpha, beta = state.alpha(0), state.beta(0)
    nodes = _core.gauss_rule(alpha, beta)[0]
    # between eigenvalues, at the nodes themselves, outside, and at exact zero
    middles = (0.5 * (d[1:] + d[:-1]))[np.diff(d) > 1e-6 * np.abs(d).max()]
    x = np.concatenate([middles, nodes, [0.0, d[0] - 1, d[-1] + 1, -1e6, 1e6]])
    bounds = _core.distribution_bounds(alpha, beta, x)
    below, upto = distribution(d, start[0], x)
    slack = 1e-9 * np.abs(d).max()  # rounding moves eigenvalues
    below_left = distribution(d, start[0], x - slack)[0]
    upto_right = distribution(d, start[0], x + slack)[1]
    assert (bounds[:, 0] <= upto_right + 1e-9).all()
    assert (bounds[:, 1] >= below_left - 1e-9).all()
    inside = slice(0, len(middles))
    assert (bounds[inside, 0] <= below[inside] + 1e-9).all()
    assert (bounds[inside, 1] >= upto[inside] - 1e-9).all()
    apart = np.sort(x[np.abs(x[:, None] - nodes).min(axis=1) > slack])
    assert (np.diff(_core.distribution_bounds(alpha, beta, apart), axis=0) >= -1e-9).all(), "monotone"


def test_bounds_tighten_with_steps():
    d = np.sort(spectra.uniform(np.random.default_rng(3), 3000))
    widths = []
    for k in (5, 10, 20, 40, 80):
        state = run(d, np.random.default_rng(4).standard_normal((1, 3000)), k)
        bounds = _core.distribution_bounds(state.alpha(0), state.beta(0), np.linspace(0.1, 0.9, 17))
        widths.append((bounds[:, 1] - bounds[:, 0]).mean())
    assert (np.diff(widths) < 0).all()
    assert widths[-1] < 0.04


def test_a_small_space_is_known_exactly():
    d = np.repeat([-1.0, 0.0, 2.0], [50, 300, 150])
    start = np.random.default_rng(5).standard_normal((2, 500))
    state = run(d, start, 30)
    assert state.exhausted
    for p in range(2):
        alpha, beta = state.alpha(p), state.beta(p)
        assert len(alpha) == 3
        assert beta[-1] == 0.0
        x = np.array([-2.0, -1.0, -0.5, 0.0, 1.0, 2.0, 3.0])
        np.testing.assert_allclose(
            _core.distribution_bounds(alpha, beta, x), np.stack(distribution(d, start[p], x), axis=1), atol=1e-12
        )


def test_probes_that_end_early_do_not_stop_the_others():
    d = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    starts = np.array([[1.0, 1.0, 0, 0, 0, 0], [1.0] * 6])
    state = run(d, starts, 6)
    assert state.exhausted
    np.testing.assert_allclose(_core.gauss_rule(state.alpha(0), state.beta(0))[0], [1, 2])
    np.testing.assert_allclose(_core.gauss_rule(state.alpha(1), state.beta(1))[0], d, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads(dtype, threads):
    rng = np.random.default_rng(6)
    d = spectra.outliers(rng, 20011)
    starts = rng.standard_normal((2, 20011))
    found = []
    for count in (1, 2, 3, 7):
        threads(count)
        state = run(d, starts, 9, dtype)
        x = np.linspace(-1, 100, 40)
        bounds = _core.distribution_bounds(state.alpha(1), state.beta(1), x)
        found.append((state.alpha(0), state.beta(1), bounds))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("power", [-300, -40, 40, 300])
def test_powers_of_two_scale_every_bit(power):
    rng = np.random.default_rng(7)
    d, starts, c = spectra.two_sided(rng, 600), rng.standard_normal((1, 600)), 2.0**power
    one, other = run(d, starts, 25), run(d * c, starts, 25)
    np.testing.assert_array_equal(one.alpha(0) * c, other.alpha(0))
    np.testing.assert_array_equal(one.beta(0) * c, other.beta(0))
    x = np.linspace(-1.6, 1.1, 30)
    np.testing.assert_array_equal(
        _core.distribution_bounds(one.alpha(0), one.beta(0), x),
        _core.distribution_bounds(other.alpha(0), other.beta(0), x * c),
    )


def test_asymmetry_is_seen():
    rng = np.random.default_rng(8)
    a = rng.standard_normal((200, 200))
    state = _core.Float64Probes(rng.standard_normal((1, 200)))
    for _ in range(4):
        state.push(state.next() @ a.T)
    assert state.asymmetry > 0.1 * state.largest_product
    state = _core.Float64Probes(rng.standard_normal((1, 200)))
    for _ in range(4):
        state.push(state.next() @ (a + a.T))
    assert state.asymmetry < 1e-13 * state.largest_product


def test_refusals():
    with pytest.raises(ArgumentError, match="row 1 of `starts`"):
        _core.Float64Probes(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ArgumentError, match="`starts` must have shape"):
        _core.Float64Probes(np.ones(3))
    with pytest.raises(ArgumentTypeError, match="`starts` must be float32"):
        _core.Float32Probes(np.ones((1, 3)))
    state = _core.Float64Probes(np.ones((1, 3)))
    with pytest.raises(ArgumentError, match="`w`"):
        state.push(np.ones((2, 3)))
    with pytest.raises(ArgumentError, match="finite"):
        state.push(np.array([[1.0, np.nan, 0.0]]))
    assert state.steps == 0
    state.push(np.array([[1.0, 2.0, 3.0]]))
    assert state.steps == 1
    with pytest.raises(ArgumentError, match="`probe`"):
        state.alpha(1)
    with pytest.raises(ArgumentError, match="`coupling`"):
        _core.gauss_radau_rule(np.ones(3), np.ones(2), 0.0)
    with pytest.raises(ArgumentError, match="finite"):
        _core.distribution_bounds(np.array([np.nan]), np.ones(1), np.zeros(1))
    with pytest.raises(ArgumentError, match="NaN"):
        _core.distribution_bounds(np.ones(1), np.ones(1), np.array([np.nan]))
    np.testing.assert_array_equal(
        _core.distribution_bounds(np.ones(1), np.ones(1), [-np.inf, np.inf]), [[0, 0], [1, 1]]
    )
