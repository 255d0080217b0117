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


def biased(seed, activation, bias, opt, steps=400):
    """The first layer's biases so large that its units are all dead, or all saturated."""
    land = digits(activation, 48, seed=seed)
    land.net.block("0.bias")[:] = bias
    return trained(land, opt, steps, seed=seed)


def unequal_columns(seed, factor=1e4):
    """Linear regression whose third column is 10⁴ times as large; the rate is half of what that column bears."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(300, 6))
    A[:, 2] *= factor
    net = network("Tanh", inputs=6, outputs=1, seed=seed, dtype="float64")
    land = us.NetworkLandscape(net, us.nn.MSE(), A, (A[:, 0] - 2 * A[:, 1] + 0.5 * A[:, 4])[:, None])
    return trained(land, SGD(lr=0.5 / factor**2), 1500, batch_size=ALL)


def normalised(seed, momentum, steps, data=X):
    layers = us.nn.Linear(64, 32), us.nn.BatchNorm(32, momentum=momentum), us.nn.ReLU(), us.nn.Linear(32, 10)
    net = us.nn.Network(*layers, input_shape=(64,), seed=seed)
    return trained(us.NetworkLandscape(net, us.nn.CrossEntropy(), data, Y), Adam(lr=1e-3), steps, seed=seed)


INSIDE = [
    Planted("SGD with a rate of 1e-7", "STEP_TOO_SMALL",
            lambda s: trained(digits("Tanh", 64, seed=s), SGD(lr=1e-7), 500, seed=s)),
    Planted("Adam with a rate of 1e-8", "STEP_TOO_SMALL",
            lambda s: trained(digits("ReLU", 32, seed=s), Adam(lr=1e-8), 500, seed=s)),
    Planted("RMSProp with a rate of 1e-8", "STEP_TOO_SMALL",
            lambda s: trained(waves(s), RMSProp(lr=1e-8), 800, seed=s)),
    Planted("a rate that decays by a tenth every update", "EXHAUSTED_STEP",
            lambda s: trained(digits("ReLU", 64, seed=s), SGD(lr=us.schedules.exponential(0.1, 0.9)), 500, seed=s)),
    Planted("a rate that falls tenfold every 30 updates", "EXHAUSTED_STEP",
            lambda s: trained(waves(s), Adam(lr=us.schedules.step_decay(1e-2, 0.1, 30)), 800, seed=s)),
    Planted("all units dead", "DEAD_UNITS", lambda s: biased(s, "ReLU", -30.0, SGD(lr=0.05))),
    Planted("all units saturated, tanh", "SATURATED_UNITS", lambda s: biased(s, "Tanh", 30.0, SGD(lr=0.1))),
    Planted("all units saturated, sigmoid", "SATURATED_UNITS", lambda s: biased(s, "Sigmoid", -40.0, SGD(lr=0.1))),
    Planted("five sigmoid layers", "VANISHING_GRADIENT SATURATED_UNITS",
            lambda s: trained(digits("Sigmoid", 32, 32, 32, 32, 32, seed=s), SGD(lr=0.1), 600, seed=s)),
    Planted("columns of very different size", "UNSCALED_FEATURES ILL_CONDITIONED", unequal_columns),
    Planted("running statistics that hardly move", "STALE_STATISTICS",
            lambda s: normalised(s, 1e-4, 600, X * 10 + 5)),
]  # fmt: skip

INSIDE_CONTROLS = [
    Planted("batch normalisation", "HEALTHY", lambda s: normalised(s, 0.1, 400)),
    Planted("batch normalisation, three updates", "HEALTHY", lambda s: normalised(s, 0.1, 3)),
    Planted("nine of ten units dead, and learning", "HEALTHY",
            lambda s: biased(s, "ReLU", np.where(np.arange(48) < 43, -30.0, 0.0), SGD(lr=0.05))),
    Planted("columns of different size, and learning", "HEALTHY", lambda s: unequal_columns(s, 100.0)),
]  # fmt: skip
