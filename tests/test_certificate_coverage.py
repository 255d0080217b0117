"""How often the certificate of the ends is wrong: operators whose ends are known, every stopping time."""

import json

import numpy as np
import pytest
import scipy.sparse.linalg as sl

from unstuck import _core
from unstuck.certificate import lanczos_certificate, verify

DELTA = 0.05


def planted_uniform(rng, n):
    return np.r_[-(10.0 ** rng.uniform(-3, -0.5)), rng.uniform(0, 1, n - 1)]


def outliers_and_bulk(rng, n):
    bulk = np.minimum(10.0 ** rng.normal(-3, 0.7, n - 11), 1.0)
    return np.r_[-(10.0 ** rng.uniform(-3, -1)), np.linspace(10, 100, 10), bulk]


def mostly_zeros(rng, n):
    return np.r_[np.zeros(n - n // 10), rng.uniform(0.1, 1, n // 10)]


def clustered(rng, n):
    centres = rng.normal(size=5)
    return np.repeat(centres, -(-n // 5))[:n] + 1e-9 * rng.normal(size=n)


SPECTRA = [planted_uniform, outliers_and_bulk, mostly_zeros, clustered]


def stopping_times(eigenvalues, rng, steps, looks):
    """(k, lower, upper) of a run on the diagonal operator: a Gaussian start makes its orientation irrelevant."""
    n = eigenvalues.size
    state = _core.Lanczos(n, "float64", steps, rng.standard_normal(n))
    while state.k < steps and not state.exhausted:
        state.push(eigenvalues * state.next())
        if state.k in looks or state.exhausted:
            yield state.k, state.certificate_lower(DELTA), state.certificate_upper(DELTA)


def false_certificates(instances, sizes, steps, seed):
    """Runs in which any bound at any stopping time was wrong, for the lower and the upper end."""
    wrong = np.zeros(2, dtype=int)
    for i in range(instances):
        rng = np.random.default_rng([seed, i])
        d = SPECTRA[i % len(SPECTRA)](rng, int(rng.choice(sizes)))
        looks = set(range(1, steps + 1))
        rounding = 1e-12 * np.abs(d).max()
        failed = np.zeros(2, dtype=bool)
        for _, lower, upper in stopping_times(d, rng, steps, looks):
            failed |= [lower > d.min() + rounding, upper < d.max() - rounding]
        wrong += failed
    return wrong


def allowed(instances):
    return DELTA * instances + 3 * np.sqrt(DELTA * instances)


def test_false_certificates_stay_within_the_stated_probability():
    wrong = false_certificates(400, [50, 300, 1000], steps=40, seed=1)
    assert (wrong <= allowed(400)).all(), wrong


@pytest.mark.slow
def test_false_certificates_on_large_operators():
    wrong = false_certificates(400, [1000, 10_000, 100_000], steps=100, seed=2)
    assert (wrong <= allowed(400)).all(), wrong


def test_the_bounds_are_worth_having():
    """The bound must close in, not only hold: −2g is certified in about as many steps as published."""
    for g, steps in ((0.1, 30), (0.01, 55), (0.001, 110)):
        rng = np.random.default_rng(3)
        bulk = np.minimum(10.0 ** rng.normal(-3, 0.7, 9989), 1.0)
        d = np.r_[-g, np.linspace(10, 100, 10), bulk]
        state = _core.Lanczos(d.size, "float64", steps, rng.standard_normal(d.size))
        while state.k < steps and state.certificate_lower(1e-6) < -2 * g:
            state.push(d * state.next())
        assert state.certificate_lower(1e-6) >= -2 * g, (g, state.k)


def test_scaling_the_operator_scales_the_bounds():
    d = outliers_and_bulk(np.random.default_rng(4), 500)
    found = {}
    for c in (1.0, 2.0**-40, 2.0**40):
        rng = np.random.default_rng(5)
        (_, lower, upper) = list(stopping_times(c * d, rng, 30, {30}))[-1]
        found[c] = (lower / c, upper / c)
    for bounds in found.values():
        np.testing.assert_allclose(bounds, found[1.0], rtol=1e-9)


def test_a_kernel_that_arpack_does_not_see_is_found():
    """eigsh multiplies its start by the operator, which removes the kernel from sight."""
    n = 2000
    d = mostly_zeros(np.random.default_rng(6), n)
    theirs = sl.eigsh(sl.LinearOperator((n, n), matvec=lambda v: d * v, dtype=float), k=1, which="SA", tol=1e-3, rng=1)[
        0
    ][0]
    assert theirs > 0.05  # converged, no warning, wrong: the smallest eigenvalue is 0
    state = _core.Lanczos(n, "float64", 60, np.random.default_rng(7).standard_normal(n))
    for _ in range(60):
        state.push(d * state.next())
    assert abs(state.ritz_values()[0]) < 1e-6
    assert -1e-3 < state.certificate_lower(1e-6) <= 1e-12


def certificate():
    rng = np.random.default_rng(8)
    d = planted_uniform(rng, 1000)
    state = _core.Lanczos(d.size, "float64", 20, rng.standard_normal(d.size))
    for _ in range(20):
        state.push(d * state.next())
    return lanczos_certificate(state.alpha, state.beta, state.n, 5e-7, tolerance=1e-3)


def leaves(value, path=()):
    """Paths to every number, string and boolean of a nested certificate."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, (dict, list)):
        yield path
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def test_a_tampered_certificate_does_not_verify():
    text = json.dumps(certificate())
    assert verify(json.loads(text))
    for path in leaves(json.loads(text)):
        forged = json.loads(text)
        place = forged
        for key in path[:-1]:
            place = place[key]
        old = place[path[-1]]
        place[path[-1]] = old * 1.001 + 1 if isinstance(old, (int, float)) and not isinstance(old, bool) else "x"
        assert verify(forged) is False, path


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, {"schema": 1}, {"alpha": [float("nan")]}, float("inf")])
def test_junk_is_no_certificate(junk):
    assert verify(junk) is False
