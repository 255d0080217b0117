"""Spectra with known ends, and diagonal operators that have them: as good as rotated ones for a Gaussian start."""

from __future__ import annotations

import numpy as np
import scipy.sparse.linalg as sl


def diagonal_operator(values, dtype="float64"):
    """diag(values) as a SciPy LinearOperator."""
    d = np.asarray(values, dtype=dtype)
    return sl.LinearOperator(
        (len(d), len(d)), matvec=lambda v: d * v.ravel(), matmat=lambda block: d[:, None] * block, dtype=d.dtype
    )


def uniform(rng, n, g=0.01):
    """{−g} and a uniform bulk on (0, 1)."""
    return np.concatenate([[-g], rng.uniform(0, 1, n - 1)])


def outliers(rng, n, g=0.01):
    """{−g}, ten outliers in [10, 100] and a heavy-tailed positive bulk: like the Hessian of a network."""
    bulk = np.minimum(10.0 ** rng.normal(-3, 0.7, n - 11), 1.0)
    return np.concatenate([[-g], np.linspace(10, 100, 10), bulk])


def zeros(rng, n, g=0.0):
    """90 % exact zeros, the rest in (0.1, 1), and −g if that is not 0."""
    values = np.zeros(n)
    values[: n // 10] = rng.uniform(0.1, 1, n // 10)
    values[-1] = -g
    return values


def clustered(rng, n, g=0.05):
    """{−g} and three clusters of width 1e-6."""
    values = rng.choice([0.2, 0.5, 1.0], n) + 1e-6 * rng.standard_normal(n)
    values[0] = -g
    return values


def two_sided(rng, n, g=0.5):
    """A semicircle-like bulk on both sides of 0 with one eigenvalue −1 − g outside."""
    return np.concatenate([[-1.0 - g], 2.0 * rng.beta(1.5, 1.5, n - 1) - 1.0])


FAMILIES = (uniform, outliers, zeros, clustered, two_sided)
