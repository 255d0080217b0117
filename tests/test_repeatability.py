"""The same bits wherever the heap puts the arrays: results must not depend on their alignment."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us

ACTIVATIONS = ["Tanh", "Sigmoid", "SiLU", "GELU", "ELU", "Softplus", "ReLU"]


def shuffled_heap(rng):
    """Allocations of odd sizes, to be kept alive while something else is allocated."""
    return [np.empty(int(size), np.uint8) for size in rng.integers(1, 50_000, size=20)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_bits_do_not_depend_on_the_heap(activation, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(37, 11)).astype(dtype), np.arange(37) % 3
    kept, seen = [], set()
    for _ in range(12):
        kept.append(shuffled_heap(rng))
        layer = getattr(us.nn, activation)
        net = us.nn.Network(
            us.nn.Linear(11, 13), layer(), us.nn.Linear(13, 7), layer(), us.nn.Linear(7, 3),
            input_shape=(11,), seed=0, dtype=dtype,
        )  # fmt: skip
        land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
        opt = us.optim.Adam(lr=0.01)
        opt.init(net.n, net.dtype)
        land.train_steps(net.theta, opt, np.arange(37), 5, np.full(8, 0.01))
        loss, gradient = land.gradient(net.theta, np.arange(5))
        op = land.hessian(net.theta)
        products = op @ np.eye(net.n, 3, dtype=dtype)
        seen.add((loss, gradient.tobytes(), net.theta.tobytes(), products.tobytes(), net.predict(X).tobytes()))
    assert len(seen) == 1
