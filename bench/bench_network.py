"""A training step and a Hessian product of our engine, beside PyTorch's eager step and retained-graph product."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.timing import Comparison, compare

# (widths, activation, batch) of the training steps; (widths, activation, samples) of the products
STEPS = [((64, 128, 128, 10), us.nn.ReLU(), 32), ((64, 512, 512, 10), us.nn.ReLU(), 128)]
PRODUCTS = [((64, 64, 64, 10), us.nn.Tanh(), 256), ((784, 512, 512, 10), us.nn.Tanh(), 1024)]
BATCHES = 20  # mini-batches of one timed call
BLOCK = 8  # vectors of the block product


def measure(quick: bool) -> Iterator[Comparison]:
    """Steps first, then products."""
    repeats = 3 if quick else 25
    for widths, activation, batch in STEPS[:1] if quick else STEPS:
        yield _training(widths, activation, batch, repeats)
    for widths, activation, samples in PRODUCTS[:1] if quick else PRODUCTS:
        yield _product(widths, activation, samples, repeats)


def landscape(widths: tuple[int, ...], activation: us.nn.Layer, samples: int) -> us.NetworkLandscape:
    """Random data, cross-entropy, float32."""
    layers: list[us.nn.Layer] = []
    for a, b in itertools.pairwise(widths):
        layers += [us.nn.Linear(a, b), activation]
    net = us.nn.Network(*layers[:-1], input_shape=(widths[0],), seed=0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, widths[0])).astype("f4")
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, rng.integers(0, widths[-1], samples))


def torch_model(net: us.nn.Network) -> Any:
    """The same network in PyTorch, with the same parameters."""
    import torch

    torch.set_num_threads(us.threads())
    modules = [
        torch.nn.Linear(layer.in_features, layer.out_features)
        if isinstance(layer, us.nn.Linear)
        else getattr(torch.nn, layer.kind)()
        for layer in net.layers
    ]
    model = torch.nn.Sequential(*modules)
    with torch.no_grad():
        for parameter, (_, where, shape) in zip(model.parameters(), net.blocks, strict=True):
            parameter.copy_(torch.from_numpy(net.theta[where].reshape(shape).copy()))
    return model


def _training(widths: tuple[int, ...], activation: us.nn.Layer, batch: int, repeats: int) -> Comparison:
    land = landscape(widths, activation, batch * BATCHES)
    start = land.net.theta.copy()
    optimizer = us.optim.Adam(lr=1e-3)
    optimizer.init(land.n, dtype="float32")
    order, rates = np.arange(batch * BATCHES), np.full(BATCHES, 1e-3)
    candidates: dict[str, Callable[[], Any]] = {
        "unstuck": lambda: land.train_steps(land.net.theta, optimizer, order, batch, rates)
    }
    rivals, checked = _torch_training(land, batch, start), None
    if rivals:
        candidates["unstuck"]()
        checked = 0.0
        for name, (epoch, model) in rivals.items():
            epoch()
            found = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
            moved = float(np.linalg.norm(found - start))
            checked = max(checked, _agree(float(np.linalg.norm(found - land.net.theta)) / moved, 1e-3, name))
            candidates[name] = epoch
    text = f"{BATCHES} Adam steps, {'-'.join(map(str, widths))}, batch {batch}, float32"
    return compare(text, candidates, checked=checked, settings={"batch": batch, "steps": BATCHES}, repeats=repeats)


def _torch_training(land: us.NetworkLandscape, batch: int, start: Any) -> dict[str, tuple[Any, Any]]:
    """{form: (one pass over the batches, its model)} of the eager loop with PyTorch's fused and default Adam."""
    try:
        import torch
    except ImportError:
        return {}
    X, y = torch.from_numpy(land.X), torch.from_numpy(land.y.copy())
    rivals = {}
    land.net.theta[:] = start
    for form, switches in (("torch fused", {"fused": True}), ("torch default", {})):
        model = torch_model(land.net)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **switches)

        def epoch(model: Any = model, optimizer: Any = optimizer) -> None:
            for i in range(BATCHES):
                rows = slice(i * batch, (i + 1) * batch)
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
                optimizer.step()

        rivals[form] = (epoch, model)
    return rivals


def _product(widths: tuple[int, ...], activation: us.nn.Layer, samples: int, repeats: int) -> Comparison:
    land = landscape(widths, activation, samples)
    H = land.hessian(land.net.theta)
    rng = np.random.default_rng(1)
    V = rng.normal(size=(land.n, BLOCK)).astype("f4")
    v = V[:, 0].copy()
    candidates: dict[str, Callable[[], Any]] = {"unstuck": lambda: H @ v}
    checked = None
    theirs = _torch_product(land, v)
    if theirs is not None:
        candidates["torch retained"] = theirs
        expected = np.concatenate([part.numpy().ravel() for part in theirs()])
        difference = float(np.linalg.norm(H @ v - expected) / np.linalg.norm(expected))
        checked = _agree(difference, 2e-5, "torch")
    candidates[f"block of {BLOCK}"] = lambda: H @ V
    text = f"Hessian product, {'-'.join(map(str, widths))}, {samples} samples, float32"
    return compare(text, candidates, checked=checked, settings={"samples": samples, **H.plan}, repeats=repeats)


def _torch_product(land: us.NetworkLandscape, v: Any) -> Callable[[], Any] | None:
    """Double backward through a graph that is kept: PyTorch's fastest exact product."""
    try:
        import torch
    except ImportError:
        return None
    model = torch_model(land.net)
    parameters = list(model.parameters())
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(land.X)), torch.from_numpy(land.y.copy()))
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    parts = [torch.from_numpy(v[where].reshape(shape)) for _, where, shape in land.blocks]
    return lambda: torch.autograd.grad(gradient, parameters, parts, retain_graph=True)


def _agree(difference: float, bound: float, rival: str) -> float:
    if not difference <= bound:
        raise RuntimeError(f"our answer and that of {rival} differ by {difference:.1e}: nothing is timed")
    return difference
