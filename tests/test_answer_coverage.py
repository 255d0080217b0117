"""How often certified answers are wrong: minima in bounded memory, the index, completeness; at δ = 0.05, not 1e-6."""

from __future__ import annotations

import math

import numpy as np
import pytest

import spectra
from test_certificate_coverage import SPECTRA
from unstuck import _core
from unstuck.critical.morse import certified_index
from unstuck.curvature import eigen_search, eigenpairs
from unstuck.curvature.plan import Plan
from unstuck.operators import as_operator

DELTA = 0.05


def allowed(instances):
    return DELTA * instances + 3 * math.sqrt(DELTA * instances)


# ---------------------------------------------------------------- bounds of runs that restart, or store nothing


def bounds(d, rng, form, dtype):
    """(lower, upper) at every stopping time."""
    n, e = len(d), d.astype(dtype)
    start = rng.standard_normal(n)
    if form == "three vectors":
        state = _core.ThreeTermLanczos(n, dtype, start)
    else:
        state = _core.Lanczos(n, dtype, min(16, n - 1), start)
    for _ in range(60):
        if state.exhausted:
            if form == "three vectors" or state.k == state.dimension:
                return
            state.restart(rng.standard_normal(n))
        if form != "three vectors" and state.k == state.capacity:
            state.compress(*_core.restart_split(state.ritz_values(), 1))
        state.push(e * state.next())
        yield state.certificate_lower(DELTA), state.certificate_upper(DELTA)


def false_bounds(instances, form, seed):
    wrong = np.zeros(2, dtype=int)
    for i in range(instances):
        rng = np.random.default_rng([seed, i])
        dtype = ("float64", "float32")[i // len(SPECTRA) % 2]
        d = SPECTRA[i % len(SPECTRA)](rng, int(rng.choice([50, 300, 1000]))).astype(dtype).astype(float)
        rounding = 60 * float(np.finfo(dtype).eps) * np.abs(d).max()
        failed = np.zeros(2, dtype=bool)
        for lower, upper in bounds(d, rng, form, dtype):
            failed |= [lower > d.min() + rounding, upper < d.max() - rounding]
        wrong += failed
    return wrong


@pytest.mark.parametrize("form", ["thick restart", "three vectors"])
def test_bounds_in_bounded_memory(form):
    assert (false_bounds(80, form, 1) <= allowed(80)).all()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["thick restart", "three vectors"])
def test_bounds_in_bounded_memory_on_many_operators(form):
    wrong = false_bounds(600, form, 2)
    print(f"{form}: false lower, upper bounds {wrong} of 600")
    assert (wrong <= allowed(600)).all()


# ---------------------------------------------------------------- index


def false_counts(instances, seed):
    """(wrong "at most", certified at all) of index certificates that begin with one rough direction."""
    wrong = certified = 0
    for i in range(instances):
        rng = np.random.default_rng([seed, i])
        n, q = int(rng.choice([60, 300, 900])), int(rng.integers(1, 6))
        tau = 0.02
        negative = -tau * (1 + 10.0 ** rng.uniform(-2, 1, q))
        d = np.r_[negative, rng.uniform(0.0, 1.0, n - q)]
        op = as_operator(spectra.diagonal_operator(d))
        first = np.zeros((n, 1))
        first[int(negative.argmin())] = 1.0
        first += 1e-3 * rng.standard_normal((n, 1)) / math.sqrt(n)
        plan = Plan("thick restart", int(rng.choice([20, 60, 400])), "float64", 0, None)
        morse = certified_index(op, first, tau, 0.0, DELTA, budget=400, plan=plan, rng=rng)
        if morse.most is not None:
            certified += 1
            wrong += morse.most < q
            assert np.count_nonzero(morse.values < -tau) <= q
    return wrong, certified


def test_index():
    wrong, certified = false_counts(60, 3)
    assert certified > 40
    assert wrong <= allowed(certified)


@pytest.mark.slow
def test_index_of_many_operators():
    wrong, certified = false_counts(500, 4)
    print(f"false index certificates: {wrong} of {certified}")
    assert certified >= 400
    assert wrong <= allowed(certified)


# ---------------------------------------------------------------- completeness


def false_completeness(instances, seed):
    wrong = complete = 0
    for i in range(instances):
        rng = np.random.default_rng([seed, i])
        n, k, which = int(rng.choice([600, 900])), int(rng.integers(1, 5)), ("smallest", "largest")[i % 2]
        outside = rng.choice([1.1, 1.5, 1.5, 2.0, 3.0], 6) + 0.3 * rng.integers(0, 2, 6)
        d = np.r_[outside, rng.uniform(-1, 1, n - 6)] * (1 if which == "largest" else -1)
        tolerance = 1e-2
        pairs = eigenpairs(spectra.diagonal_operator(d), k, which, tolerance=tolerance, seed=i)
        truth = np.sort(d)[:k] if which == "smallest" else np.sort(d)[::-1][:k]
        if pairs.complete:
            complete += 1
            wrong += bool(np.abs(pairs.values - truth).max() > tolerance)
    return wrong, complete


def test_completeness(monkeypatch):
    monkeypatch.setattr(eigen_search, "FAILURE", DELTA)
    wrong, complete = false_completeness(50, 5)
    assert complete >= 45
    assert wrong <= allowed(complete)


@pytest.mark.slow
def test_completeness_of_many_operators(monkeypatch):
    monkeypatch.setattr(eigen_search, "FAILURE", DELTA)
    wrong, complete = false_completeness(450, 6)
    print(f"false completeness certificates: {wrong} of {complete}")
    assert complete >= 400
    assert wrong <= allowed(complete)
