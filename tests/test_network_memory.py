"""What gradients and Hessian products hold in memory: networks of planes and perceptrons."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest

import unstuck as us

nn = us.nn


class Usage(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks")
        + ("keepcost",)
    ]


@pytest.fixture
def held():
    """A function for the bytes that malloc has given out, in its own memory and by mmap."""
    try:
        usage = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError, TypeError):
        pytest.skip("needs glibc's mallinfo2")
    usage.restype = Usage
    us.threads(1)  # arenas of other threads are not counted
    yield lambda: usage().uordblks + usage().hblkhd
    us.threads(2)


def problem(kind, norm, samples):
    def batch_norm(channels):
        return [nn.BatchNorm(channels)] * norm

    if kind == "planes":
        layers = [nn.Conv2d(1, 8, 3, padding=1), *batch_norm(8), nn.SiLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(8, 16, 3, padding=1), *batch_norm(16), nn.SiLU(), nn.MaxPool2d(2)]
        layers += [nn.Linear(256, 32), nn.SiLU(), nn.Linear(32, 10)]
    else:
        layers = [nn.Flatten(), nn.Linear(256, 128), *batch_norm(128), nn.SiLU()]
        layers += [nn.Linear(128, 128), *batch_norm(128), nn.SiLU(), nn.Linear(128, 10)]
    net = nn.Network(*layers, input_shape=(1, 16, 16), seed=0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, 1, 16, 16)).astype("float32")
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 10, samples), mode="train")


def bytes_of(held, call, calls=3):
    """(bytes that the result of the call holds, the result): the least of the calls, as Python's tables grow, too."""
    sizes = []
    for _ in range(calls):
        result = None
        gc.collect()
        before = held()
        result = call()
        sizes.append(held() - before)
    return min(sizes), result


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("kind", ["planes", "perceptron"])
def test_a_product_takes_little_more_than_a_gradient(held, kind, norm):
    """With `norm` all samples are one function, and a pass holds all of them; else it holds a chunk."""
    warm = problem(kind, norm, 600)
    warm.hessian(warm.theta) @ warm.theta  # scratch of the threads
    warm.gradient(warm.theta)
    land = problem(kind, norm, 600)
    theta, X = land.theta.copy(), land.X.reshape(-1, 1, 16, 16)
    gradient, _ = bytes_of(held, lambda: land.gradient(theta), calls=1)  # its room is kept for the next

    def operator(budget):
        chosen = us.NetworkLandscape(land.net, nn.CrossEntropy(), X, land.y, mode="train", memory_budget=budget)
        H = chosen.hessian(theta)
        H @ theta
        return H

    size, kept = bytes_of(held, lambda: operator(1 << 30))
    assert kept.plan["primal_pass"] == "kept"
    assert size <= 1.02 * kept.plan["bytes"] + 100_000  # what the plan says
    if norm:  # a batch that is one function has no smaller pass to make anew
        assert kept.plan["bytes"] <= 2.2 * gradient
        return
    again = operator(kept.plan["bytes"] - 1)
    assert again.plan["primal_pass"] != "kept"
    assert again.plan["bytes"] <= 2.2 * gradient
    whole = gradient * 600 / kept.plan["chunk_rows"]  # of a gradient that kept all samples, too
    assert kept.plan["bytes"] <= 3.5 * whole


def test_steps_hold_no_more_than_the_first(held):
    land = problem("planes", True, 320)
    optimizer = us.optim.Adam(lr=1e-3)
    optimizer.init(land.n, dtype="float32")
    order, rates = np.arange(320), np.full(10, 1e-3)

    def steps():
        land.train_steps(land.net.theta, optimizer, order, 32, rates)

    steps()
    steps()
    assert bytes_of(held, lambda: [steps() for _ in range(5)] and None)[0] < 4096
