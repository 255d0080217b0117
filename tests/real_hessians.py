"""Hessians of real networks, small enough for a dense decomposition in float64, and operators that break promises."""

from __future__ import annotations

import functools

import numpy as np

import unstuck as us


@functools.cache
def network(name):
    """(landscape, all eigenvalues of its Hessian) of a network of 300 to 3000 parameters on digits."""
    X, y = us.data.digits()
    X, y = X[:600].astype(np.float64) / X.max(), y[:600]
    sizes, activation, steps, l2 = {
        "fresh": ((64, 8, 10), us.nn.Tanh, 0, 0.0),
        "trained": ((64, 6, 10), us.nn.Tanh, 300, 0.0),
        "penalised": ((64, 5, 5, 10), us.nn.Tanh, 200, 1e-3),
        "rectified": ((64, 8, 10), us.nn.ReLU, 150, 0.0),
        "large": ((64, 38, 10), us.nn.Tanh, 300, 0.0),
    }[name]
    layers = []
    for i in range(len(sizes) - 1):
        layers += ([activation()] if i else []) + [us.nn.Linear(sizes[i], sizes[i + 1])]
    net = us.nn.Network(*layers, input_shape=(64,), seed=3, dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y, l2=l2)
    if steps:
        us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=100).fit(steps=steps)
    matrix = land.hessian(net.theta) @ np.eye(land.n)
    return land, np.linalg.eigvalsh(0.5 * (matrix + matrix.T))


NETWORKS = ("fresh", "trained", "penalised", "rectified")


def operator(product, n, dtype=np.float64, block=None):
    return us.HessianOperator(n, dtype, product, block)


def broken(n=700):
    """{name: (operator, error, words of its message)}."""
    rng = np.random.default_rng(0)
    skew = rng.standard_normal((n, n))
    d = rng.uniform(0, 1, n)
    calls = iter(range(10**9))

    def jittery(v):
        return d * v + 1e-3 * np.random.default_rng(next(calls)).standard_normal(n)

    def failing(v):
        w = d * v
        w[3] = np.nan
        return w

    return {
        "asymmetric": (operator(lambda v: skew @ v, n), us.errors.OperatorError, "not symmetric"),
        "slightly asymmetric": (
            operator(lambda v: d * v + 0.003 * skew @ v, n),
            us.errors.OperatorError,
            "not symmetric",
        ),
        "noisy": (operator(jittery, n), us.errors.NonDeterministicError, "different twice"),
        "nan": (operator(failing, n), us.errors.NonFiniteError, "NaN"),
        "short": (
            operator(lambda v: v[:-1], n, block=lambda rows: rows[:, :-1]),
            us.errors.OperatorError,
            "must be real, of shape",
        ),
        "rectangular": (np.ones((3, 4)), us.errors.ArgumentError, "square"),
        "complex": (np.eye(3) * 1j, us.errors.ArgumentError, "complex"),
    }


BROKEN = ("asymmetric", "slightly asymmetric", "noisy", "nan", "short", "rectangular", "complex")
SCALES = (1e-12, 1e-6, 1.0, 1e6, 1e12)
