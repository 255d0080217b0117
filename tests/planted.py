"""Training runs whose state is known: planted faults and healthy controls. Every row carries its truth."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import unstuck as us

X, Y = us.data.digits()
Z = ((X - X.mean(axis=0)) / (X.std(axis=0) + 1e-6)).astype(np.float32)
ALL = 10_000  # a batch size that means all data


@dataclass(frozen=True)
class Planted:
    """A run and the causes that are right answers; `make(seed)` trains it."""

    name: str
    causes: str
    make: Callable[[int], us.Trainer]

    def __str__(self) -> str:
        return self.name


def network(activation, *hidden, inputs=64, outputs=10, **options):
    sizes, layers = [inputs, *hidden, outputs], []
    for i in range(len(sizes) - 1):
        layers += ([getattr(us.nn, activation)()] if i else []) + [us.nn.Linear(sizes[i], sizes[i + 1])]
    return us.nn.Network(*layers, input_shape=(inputs,), **options)


def digits(activation, *hidden, data=X, l2=0.0, labels=Y, **options):
    return us.NetworkLandscape(network(activation, *hidden, **options), us.nn.CrossEntropy(), data, labels, l2=l2)


def waves(seed, activation="Tanh", *hidden, lr=None):
    """Regression of a noisy wave on eight features."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(500, 8)).astype(np.float32)
    t = (np.sin(A[:, 0]) + 0.5 * A[:, 1] * A[:, 2] + 0.3 * rng.normal(size=500)).astype(np.float32)
    net = network(activation, *(hidden or (32,)), inputs=8, outputs=1, seed=seed)
    return us.NetworkLandscape(net, us.nn.MSE(), A, t[:, None])


def trained(land, opt, steps, **options):
    run = us.Trainer(land, opt, **options)
    with contextlib.suppress(us.errors.NonFiniteError):
        run.fit(steps=steps)
    return run


def quadratic(curvatures, start, opt, steps, lower_bound=0.0):
    """Gradient descent on ½Σλᵢwᵢ²."""
    h = np.array(curvatures, dtype=float)
    land = us.FunctionLandscape(
        lambda w: 0.5 * float(w @ (h * w)),
        lambda w: h * w,
        n=len(h),
        hvp=lambda w, v: h * v,
        lower_bound=lower_bound,
        theta=np.array(start, dtype=float),
    )
    return trained(land, opt, steps)


def double_well(start):
    """(x² − 1)² + 0.3x + y²: minima near x = −1.04 (loss −0.31) and x = 0.96 (loss 0.29)."""
    land = us.FunctionLandscape(
        lambda w: (w[0] ** 2 - 1) ** 2 + 0.3 * w[0] + w[1] ** 2,
        lambda w: np.array([4 * w[0] * (w[0] ** 2 - 1) + 0.3, 2 * w[1]]),
        n=2,
        theta=np.array(start),
    )
    return trained(land, us.optim.SGD(lr=0.05), 400)


SGD, Adam, RMSProp = us.optim.SGD, us.optim.Adam, us.optim.RMSProp
warm = us.schedules.warmup_cosine

FAULTS = [
    Planted("all weights zero, one hidden layer, SGD", "STRICT_SADDLE",
            lambda s: trained(digits("Tanh", 32, init="zeros"), SGD(lr=0.1), 300, seed=s)),
    Planted("all weights zero, one hidden layer, Adam", "STRICT_SADDLE",
            lambda s: trained(digits("Tanh", 32, init="zeros"), Adam(lr=1e-3), 600, seed=s)),
    Planted("all weights zero, GELU", "STRICT_SADDLE",
            lambda s: trained(digits("GELU", 24, init="zeros"), SGD(lr=0.1), 500, seed=s)),
    Planted("all weights zero, all data", "STRICT_SADDLE",
            lambda s: trained(digits("Tanh", 16, init="zeros"), SGD(lr=0.5), 200, batch_size=ALL)),
    Planted("start on the ridge of a saddle", "STRICT_SADDLE",
            lambda s: quadratic([1, -0.5], [1, 0], SGD(lr=0.1), 400, lower_bound=None)),
    Planted("all weights zero, two hidden layers, SGD", "FLAT_SADDLE",
            lambda s: trained(digits("Tanh", 32, 32, init="zeros"), SGD(lr=0.1), 500, seed=s)),
    Planted("all weights zero, two hidden layers, Adam", "FLAT_SADDLE",
            lambda s: trained(digits("Tanh", 32, 16, init="zeros"), Adam(lr=1e-3), 800, seed=s)),
    Planted("all weights zero, three hidden layers", "FLAT_SADDLE",
            lambda s: trained(digits("Tanh", 16, 16, 16, init="zeros"), SGD(lr=0.1), 500, seed=s)),
    Planted("the higher of two wells", "LOCAL_MINIMUM", lambda s: double_well([1.5, 0.5])),
    Planted("momentum with thirty times the rate", "STEP_TOO_LARGE",
            lambda s: trained(digits("Tanh", 64, data=Z, seed=s), SGD(lr=3.0, momentum=0.9), 300, seed=s)),
    Planted("Adam with five hundred times the rate", "STEP_TOO_LARGE",
            lambda s: trained(digits("Tanh", 64, seed=s), Adam(lr=0.5), 500, seed=s)),
    Planted("logistic regression beyond the edge", "STEP_TOO_LARGE",
            lambda s: trained(digits("Tanh", data=Z, l2=1e-3, seed=s), SGD(lr=30.0), 300, batch_size=ALL)),
    Planted("bouncing between the walls", "STEP_TOO_LARGE", lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.2), 100)),
    Planted("heavy ball beyond (2 + 2β)/lr", "STEP_TOO_LARGE",
            lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.39, momentum=0.9), 60)),
    Planted("Nesterov beyond its threshold", "STEP_TOO_LARGE",
            lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.15, momentum=0.9, nesterov=True), 60)),
    Planted("regression that overflows", "NON_FINITE", lambda s: trained(waves(s, "ReLU", 64), SGD(lr=5.0), 500)),
    Planted("divergence to overflow", "NON_FINITE", lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.4), 3000)),
]  # fmt: skip

CONTROLS = [
    Planted("ReLU, Adam", "HEALTHY", lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=1e-3), 600, seed=s)),
    Planted("tanh, SGD", "HEALTHY", lambda s: trained(digits("Tanh", 64, seed=s), SGD(lr=0.1), 600, seed=s)),
    Planted("small noisy batches, momentum", "HEALTHY",
            lambda s: trained(digits("ReLU", 32, 32, seed=s), SGD(lr=0.02, momentum=0.9), 300, seed=s, batch_size=8)),
    Planted("all data", "HEALTHY", lambda s: trained(digits("Tanh", 32, seed=s), SGD(lr=0.3), 100, batch_size=ALL)),
    Planted("edge of stability", "HEALTHY",
            lambda s: trained(digits("Tanh", 32, data=Z, seed=s), SGD(lr=0.5), 200, batch_size=ALL)),
    Planted("ten updates only", "HEALTHY", lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=1e-3), 10, seed=s)),
    Planted("no update yet", "HEALTHY", lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=1e-3), 0, seed=s)),
    Planted("in the middle of warm-up", "HEALTHY",
            lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=warm(peak=1e-3, warmup=200, total=900)), 40, seed=s)),
    Planted("rate spikes", "HEALTHY CONVERGED",
            lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=lambda t: 1e-2 if t % 100 < 5 else 1e-3), 800)),
    Planted("regression", "HEALTHY", lambda s: trained(waves(s), Adam(lr=1e-3), 800, seed=s)),
    Planted("random labels", "HEALTHY CONVERGED",
            lambda s: trained(digits("ReLU", 64, seed=s, labels=np.random.default_rng(s).permutation(Y)),
                              Adam(lr=1e-3), 1500, seed=s, batch_size=64)),
    Planted("trained to the end", "HEALTHY CONVERGED",
            lambda s: trained(digits("ReLU", 64, seed=s), Adam(lr=1e-3), 5000, seed=s)),
    Planted("strong but correct penalty", "HEALTHY CONVERGED",
            lambda s: trained(digits("Tanh", 32, seed=s, l2=1e-2), Adam(lr=warm(peak=1e-2, warmup=10, total=2000)),
                              2000, seed=s)),
    Planted("convex, to the end", "HEALTHY CONVERGED",
            lambda s: trained(digits("Tanh", seed=s, l2=1e-2), SGD(lr=0.5), 600, batch_size=ALL)),
    Planted("the lower of two wells", "CONVERGED", lambda s: double_well([-1.5, 0.5])),
    Planted("quadratic, under way", "HEALTHY", lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.1), 50)),
    Planted("quadratic, done", "CONVERGED", lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.1), 3000)),
    Planted("heavy ball below its threshold", "HEALTHY",
            lambda s: quadratic([1, 10], [1, 1], SGD(lr=0.3, momentum=0.9), 60)),
]  # fmt: skip
