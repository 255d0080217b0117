"""A program that prints what gradients, Hessian products and steps of one network hold in memory, as JSON."""

from __future__ import annotations

import ctypes
import gc
import json
import sys

import numpy as np

import unstuck as us

nn = us.nn
NAMES = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class Usage(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = [(name, ctypes.c_size_t) for name in NAMES.split()]


mallinfo = getattr(ctypes.CDLL(None), "mallinfo2", None)


def held():
    """Bytes that malloc has given out, in its own memory and by mmap."""
    gc.collect()
    usage = mallinfo()
    return usage.uordblks + usage.hblkhd


def bytes_of(call):
    """(bytes that the result of the call holds, the result)"""
    before = held()
    result = call()
    return held() - before, result


def problem(kind, norm, samples, budget=None):
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
    y = rng.integers(0, 10, samples)
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, y, mode="train", memory_budget=budget or 1 << 30)


def products(kind, norm):
    warm = problem(kind, norm, 600)
    warm.hessian(warm.theta) @ warm.theta  # scratch of the threads
    warm.gradient(warm.theta)
    land = problem(kind, norm, 600)
    theta = land.theta.copy()
    gradient, _ = bytes_of(lambda: land.gradient(theta))

    def operator(budget):
        land = problem(kind, norm, 600, budget)
        held_by_data, H = bytes_of(lambda: land.hessian(theta))
        held_by_product, _ = bytes_of(lambda: H @ theta)
        return held_by_data + held_by_product, H.plan

    size, kept = operator(1 << 30)
    found = {"gradient": gradient, "theta": theta.nbytes, "size": size, "kept": kept}
    if not norm:  # else the batch is one function, and there is no smaller pass to make anew
        found["again"] = operator(kept["bytes"] - 1)[1]
    return found


def steps():
    land = problem("planes", True, 320)
    optimizer = us.optim.Adam(lr=1e-3)
    optimizer.init(land.n, dtype="float32")
    order, rates = np.arange(320), np.full(10, 1e-3)

    def steps(repeats):
        for _ in range(repeats):
            land.train_steps(land.net.theta, optimizer, order, 32, rates)

    steps(2)
    return {"size": bytes_of(lambda: steps(5))[0]}


if __name__ == "__main__":
    us.threads(1)  # arenas of other threads are not counted
    if mallinfo is None:
        found = {"missing": "glibc's mallinfo2"}
    else:
        mallinfo.restype = Usage
        what, *arguments = sys.argv[1:]
        found = steps() if what == "steps" else products(what, *(a == "norm" for a in arguments))
    print(json.dumps(found))
