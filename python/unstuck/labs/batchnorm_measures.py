"""What the lab on batch normalisation measures: coupling of the samples, the surface, γ and β, running statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from .. import norm
from ..nn import BatchNorm, CrossEntropy, Layer, Network, ReLU
from .digit_training import BATCH, Digits, advance, deep
from .passes import backward, cross_entropy, forward, parameters, running

Array = NDArray[np.float64]


def channel_jacobian(z: Array, gamma: float, training: bool) -> Array:
    """∂aʲ/∂zⁱ (N, N) of one channel z (N,), row j by row j from the backward pass.

    Args:
        z: one value per sample.
        gamma: γ.
        training: with the statistics of z; else with the same numbers as running statistics.
    """
    given = (None, None) if training else (np.array([z.mean()]), np.array([z.var()]))
    _, cache = norm.batch_norm_forward(z[:, None], np.array([gamma]), mean=given[0], variance=given[1])
    unit = np.eye(len(z))
    return np.array([norm.batch_norm_backward(row[:, None], cache).x[:, 0] for row in unit])


def sample_coupling(net: Network, data: Digits, samples: int, training: bool) -> Array:
    """|∂Lʲ/∂xⁱ| (N, N): how much the pixels of sample i act on the loss of sample j through the whole network."""
    X, y = data.X[:samples], data.y[:samples]
    trace = forward(net, net.theta, X, training=training)
    d_logits = cross_entropy(trace.values[-1], y)[1] * samples
    rows = []
    for j in range(samples):
        alone = np.zeros_like(d_logits)
        alone[j] = d_logits[j]
        rows.append(np.linalg.norm(backward(trace, alone)[1][0], axis=1))
    return np.array(rows)


def twin_networks(depth: int, width: int, seed: int) -> dict[str, Network]:
    """A network without normalisation ("none") and one with it ("before"), of equal first weights."""
    nets = {
        kind: Network(*deep(depth, width, ReLU, kind), input_shape=(64,), seed=seed, init="he_normal")
        for kind in ("none", "before")
    }
    for (plain, _), (normed, _) in zip(*(_matrices(nets[kind]) for kind in ("none", "before")), strict=True):
        nets["before"].theta[normed] = nets["none"].theta[plain]
    return nets


def _matrices(net: Network) -> list[tuple[slice, tuple[int, ...]]]:
    return [(where, shape) for _, where, shape in net.blocks if len(shape) == 2]


def plane(net: Network, other: Network, seed: int) -> tuple[Array, Array]:
    """The same two random directions for both networks: every row as long as that weight row of `net` (1712.09913).

    Returns:
        ((2, n) for `net`, (2, n) for `other`).
    """
    rng = np.random.default_rng(seed)
    found = np.zeros((2, net.n)), np.zeros((2, other.n))
    for (mine, shape), (its, _) in zip(_matrices(net), _matrices(other), strict=True):
        draw = rng.standard_normal((2, *shape))
        length = np.linalg.norm(net.theta[mine].astype(np.float64).reshape(shape), axis=1)
        draw *= (length / np.linalg.norm(draw, axis=2))[..., None]
        found[0][:, mine] = found[1][:, its] = draw.reshape(2, -1)
    return found


def surface(net: Network, data: Digits, directions: Array, resolution: int) -> dict[str, Any]:
    """Loss of 256 samples as one batch over θ + a·d₁ + b·d₂, a, b in [−1, 1], and the largest curvature at θ."""
    from ..curvature import eigenpairs
    from ..network_landscape import NetworkLandscape

    land = NetworkLandscape(net, CrossEntropy(), data.X[:256], data.y[:256], mode="train")
    theta, ticks = net.theta.copy(), np.linspace(-1.0, 1.0, resolution)
    points = ((theta + a * directions[0] + b * directions[1]).astype(net.dtype) for b in ticks for a in ticks)
    with np.errstate(over="ignore"):
        heights = np.array([land.loss(point) for point in points]).reshape(resolution, resolution)
    finite = np.isfinite(land.gradient(theta)[1]).all()
    curvature = float(eigenpairs(land.hessian(theta), k=1, which="largest").values[0]) if finite else np.inf
    return {"loss": land.loss(theta), "heights": heights, "curvature": curvature}


class Followed(TypedDict):
    """The last norm of a network over its training: γ, β, means (m, C), deviation (C,) at the end, accuracy (m,)."""

    gamma: Array
    beta: Array
    mean: Array  # over all training samples
    running: Array
    deviation: Array
    accuracy: Array


def followed(layers: Sequence[Layer], data: Digits, lr: float, frozen: int, updates: int, every: int) -> Followed:
    """Trains with γ and β frozen for the first updates, and looks at the last norm every so many updates."""
    from ..network_landscape import NetworkLandscape
    from ..optim import SGD
    from ..train import Trainer

    net = Network(*layers, input_shape=(64,), seed=0, init="he_normal")
    norms = [i for i, layer in enumerate(layers) if isinstance(layer, BatchNorm)]
    still = {f"{i}.{name}": {"lr": 0.0} for i in norms for name in ("weight", "bias")}
    land = NetworkLandscape(net, CrossEntropy(), data.X, data.y)
    run = Trainer(land, SGD(lr=lr, per_block=still if frozen else {}), batch_size=BATCH, seed=0)
    rows: list[list[Array]] = [[], [], [], [], []]
    z = data.X
    for done in range(0, updates + 1, every):
        finite = advance(run, min(done, frozen))
        if frozen and run.t == frozen:
            run.opt = SGD(lr=lr)
        if finite:
            advance(run, done)
        own = parameters(net, net.theta, norms[-1])
        z = forward(net, net.theta, data.X).values[norms[-1]]
        accuracy = np.mean(net.predict(data.X_rest).argmax(axis=1) == data.y_rest)
        found = own["weight"], own["bias"], z.mean(axis=0), running(net, norms[-1])[0], accuracy
        for row, value in zip(rows, found, strict=True):
            row.append(np.array(value, dtype=np.float64))
    gamma, beta, mean, moving, accuracies = (np.array(row) for row in rows)
    return Followed(
        gamma=gamma,
        beta=beta,
        mean=mean,
        running=moving,
        deviation=z.std(axis=0, dtype=np.float64),
        accuracy=accuracies,
    )
