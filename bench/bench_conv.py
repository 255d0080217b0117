"""Convolution: gradients of large layers, ordinary and depthwise, and a small network's step and Hessian product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.timing import Comparison, compare

nn = us.nn
CHANNELS = [(8, 16), (16, 32)]  # of the small networks
DEPTHWISE = [(32, 64, 28, 28), (8, 128, 56, 56), (32, 256, 14, 14)]
BATCH, BATCHES = 32, 20  # mini-batches of one timed call
BLOCK = 8  # vectors of the block product


def measure(quick: bool) -> Iterator[Comparison]:
    """Two layers of (32, 64, 28, 28) first, then depthwise; then small networks on planes of 8 x 8."""
    repeats = 3 if quick else 15
    yield _layers((4, 8, 14, 14) if quick else (32, 64, 28, 28), repeats)
    for shape in [(4, 8, 14, 14)] if quick else DEPTHWISE:
        yield _layers(shape, repeats, depthwise=True, forward=True)
        yield _layers(shape, repeats, depthwise=True)
    for channels in CHANNELS[:1] if quick else CHANNELS:
        yield _training(channels, repeats)
        yield _product(channels, 32 if quick else 256, repeats)


def _small(channels: tuple[int, int], activation: us.nn.Layer) -> us.nn.Network:
    a, b = channels
    planes = [nn.Conv2d(1, a, 3, padding=1), activation, nn.MaxPool2d(2)]
    planes += [nn.Conv2d(a, b, 3, padding=1), activation, nn.MaxPool2d(2), nn.Flatten()]
    return nn.Network(*planes, nn.Linear(4 * b, 64), activation, nn.Linear(64, 10), input_shape=(1, 8, 8), seed=0)


def _landscape(net: us.nn.Network, samples: int) -> us.NetworkLandscape:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(samples, *net.input_shape)).astype("f4")
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, net.outputs, samples))


def _torch_model(net: us.nn.Network) -> Any:
    """The same network in PyTorch, or None where PyTorch is missing."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(us.threads())
    modules = []
    for layer in net.layers:
        if isinstance(layer, nn.Conv2d):
            modules.append(
                torch.nn.Conv2d(
                    layer.in_channels, layer.out_channels, layer.kernel_size, padding=1, groups=layer.groups
                )
            )
        elif isinstance(layer, nn.Linear):
            modules.append(torch.nn.Linear(layer.in_features, layer.out_features))
        elif isinstance(layer, nn.GlobalAvgPool2d):
            modules += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
        else:
            modules.append(getattr(torch.nn, layer.kind)(*[2] * (layer.kind == "MaxPool2d")))
    model = torch.nn.Sequential(*modules)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(net.theta.copy()), model.parameters())
    return model


def _data(land: us.NetworkLandscape) -> tuple[Any, Any]:
    import torch

    return torch.from_numpy(land.X.reshape(-1, *land.net.input_shape)), torch.from_numpy(land.y.copy())


def _loss(model: Any, land: us.NetworkLandscape) -> Any:
    import torch

    X, y = _data(land)
    return torch.nn.functional.cross_entropy(model(X), y)


def _flat(parts: Any) -> Any:
    return np.concatenate([part.detach().numpy().ravel() for part in parts])


def _layers(shape: tuple[int, ...], repeats: int, *, depthwise: bool = False, forward: bool = False) -> Comparison:
    """Two passes forward, two to the weights and one to the input; with `forward` the loss alone."""
    channels = shape[1]
    layer = nn.Conv2d(channels, channels, 3, padding=1, groups=channels if depthwise else 1)
    net = nn.Network(layer, nn.ReLU(), layer, nn.GlobalAvgPool2d(), input_shape=shape[1:], seed=0)
    land = _landscape(net, shape[0])
    theta = land.theta.copy()
    ours = (lambda: land.loss(theta)) if forward else (lambda: land.gradient(theta)[1])
    candidates: dict[str, Callable[[], Any]] = {"unstuck": ours}
    checked, model = None, _torch_model(net)
    if model is not None:
        candidates["torch"] = _torch_pass(model, land, forward)
        theirs = candidates["torch"]()
        # PyTorch's own float32 gradient of depthwise layers is up to 9e-5 from the float64 one, ours 3e-6
        checked = _difference(ours(), theirs if forward else _flat(theirs), 3e-4 if depthwise else 1e-4)
    what = "loss" if forward else "gradient"
    name = f"Conv2d({channels}, {channels}, 3{', groups=' + str(channels) if depthwise else ''})"
    text = f"{what} of two {name}, {shape}, float32"
    return compare(text, candidates, checked=checked, settings={"shape": shape}, repeats=repeats)


def _torch_pass(model: Any, land: us.NetworkLandscape, forward: bool) -> Callable[[], Any]:
    import torch

    parameters = list(model.parameters())

    def loss() -> Any:
        with torch.no_grad():
            return _loss(model, land).numpy()

    return loss if forward else lambda: torch.autograd.grad(_loss(model, land), parameters)


def _training(channels: tuple[int, int], repeats: int) -> Comparison:
    net = _small(channels, nn.ReLU())
    land = _landscape(net, BATCH * BATCHES)
    start = net.theta.copy()
    optimizer = us.optim.Adam(lr=1e-3)
    optimizer.init(land.n, dtype="float32")
    order, rates = np.arange(BATCH * BATCHES), np.full(BATCHES, 1e-3)
    candidates: dict[str, Callable[[], Any]] = {
        "unstuck": lambda: land.train_steps(net.theta, optimizer, order, BATCH, rates)
    }
    rivals, checked = _torch_training(land), None
    candidates["unstuck"]()
    for name, (epoch, model) in rivals.items():
        epoch()
        moved = np.linalg.norm(net.theta - start) / np.linalg.norm(start)
        checked = _difference(net.theta, _flat(model.parameters()), 1e-3 * float(moved))
        candidates[name] = epoch
    text = f"{BATCHES} Adam steps, conv {channels[0]}-{channels[1]} and two linear on 8 x 8, batch {BATCH}, float32"
    return compare(text, candidates, checked=checked, settings={"parameters": land.n}, repeats=repeats)


def _torch_training(land: us.NetworkLandscape) -> dict[str, tuple[Callable[[], None], Any]]:
    """{form: (one pass over the batches, its model)} of the eager loop with PyTorch's fused and default Adam."""
    rivals: dict[str, tuple[Callable[[], None], Any]] = {}
    for form, switches in (("torch fused", {"fused": True}), ("torch default", {})):
        model = _torch_model(land.net)
        if model is None:
            break
        rivals[form] = _epoch(model, switches, land), model
    return rivals


def _epoch(model: Any, switches: dict[str, bool], land: us.NetworkLandscape) -> Callable[[], None]:
    import torch

    X, y = _data(land)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, **switches)

    def epoch() -> None:
        for i in range(BATCHES):
            rows = slice(i * BATCH, (i + 1) * BATCH)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()

    return epoch


def _product(channels: tuple[int, int], samples: int, repeats: int) -> Comparison:
    """Beside double backward through a graph that is kept: PyTorch's fastest exact product."""
    net = _small(channels, nn.Tanh())
    land = _landscape(net, samples)
    H = land.hessian(net.theta)
    V = np.random.default_rng(1).normal(size=(land.n, BLOCK)).astype("f4")
    v = V[:, 0].copy()
    candidates: dict[str, Callable[[], Any]] = {"unstuck": lambda: H @ v}
    checked, model = None, _torch_model(net)
    if model is not None:
        import torch

        parameters = list(model.parameters())
        gradient = torch.autograd.grad(_loss(model, land), parameters, create_graph=True)
        parts = [torch.from_numpy(v[where].reshape(shape)) for _, where, shape in land.blocks]
        candidates["torch retained"] = lambda: torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        checked = _difference(H @ v, _flat(candidates["torch retained"]()), 2e-5)
    candidates[f"block of {BLOCK}"] = lambda: H @ V
    text = f"Hessian product, conv {channels[0]}-{channels[1]} and two linear, {samples} samples, float32"
    return compare(text, candidates, checked=checked, settings={"samples": samples, **H.plan}, repeats=repeats)


def _difference(found: Any, expected: Any, bound: float) -> float:
    difference = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    if not difference <= bound:
        raise RuntimeError(f"our answer and PyTorch's differ by {difference:.1e}: nothing is timed")
    return difference
