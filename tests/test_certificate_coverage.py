"""How often the certificate of the ends is wrong: operators whose ends are known, every stopping time."""

import numpy as np

from unstuck import _core

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
