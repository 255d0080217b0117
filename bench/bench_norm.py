"""Normalisation forward and backward, beside PyTorch's kernels and what the memory gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.timing import Comparison, compare
from unstuck import norm

SHAPES = [(64, 64, 56, 56), (65_536, 512)]  # (N, C, H, W) and (N, C)
SMALL = [(4, 8, 14, 14), (256, 32)]
GROUPS = 8


def measure(quick: bool) -> Iterator[Comparison]:
    """Batch normalisation forward, fused with ReLU, backward; then layer and group normalisation."""
    repeats = 3 if quick else 15
    for shape in SMALL if quick else SHAPES:
        yield from _batch(shape, repeats)
    yield from _rows("layer", (64, 32) if quick else (32_768, 512), repeats)
    yield from _rows("group", (2, 16, 8, 8) if quick else (32, 64, 64, 128), repeats)


def _arrays(shape: tuple[int, ...]) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    channels = shape[1]
    x, d_y = (rng.standard_normal(shape, dtype="f4") for _ in range(2))
    return x, d_y, rng.normal(size=channels).astype("f4"), rng.normal(size=channels).astype("f4")


def _batch(shape: tuple[int, ...], repeats: int) -> Iterator[Comparison]:
    x, d_y, gamma, beta = _arrays(shape)
    y, d_x = np.empty_like(x), np.empty_like(x)
    cache = norm.batch_norm_forward(x, gamma, beta, out=y)[1]
    gradient = norm.batch_norm_backward(d_y, cache, out=d_x).x
    stream = _stream(x.size)
    rivals, checked = {}, [None, None]
    if (theirs := _torch_batch(x, d_y, gamma, beta)) is not None:
        rivals, answers = theirs
        checked = [_difference(a, b) for a, b in zip((y, gradient), answers, strict=True)]
    # the second reading of a channel of images comes from the cache, that of a column of a matrix does not
    forward, backward = (2, 3) if x.ndim > 2 else (3, 5)
    tasks: list[tuple[str, dict[str, Callable[[], Any]], int]] = [
        ("forward", {"unstuck": lambda: norm.batch_norm_forward(x, gamma, beta, out=y)}, forward),
        ("and ReLU", {"unstuck": lambda: norm.batch_norm_forward(x, gamma, beta, relu=True, out=y)}, forward),
        ("backward", {"unstuck": lambda: norm.batch_norm_backward(d_y, cache, out=d_x)}, backward),
    ]
    for name, candidates, passes in tasks:
        if name in rivals:
            candidates["torch"] = rivals[name]
        candidates["stream"] = stream
        yield compare(
            f"batch norm {name}, {shape}, float32",
            candidates,
            checked=checked[name == "backward"],
            bytes_moved=passes * x.nbytes,
            settings={"shape": shape},
            repeats=repeats,
            stream_bytes=3 * x.nbytes,
        )


def _stream(n: int) -> Callable[[], Any]:
    """What the memory gives: θ −= lr·g, two arrays read and one of them written, no more arithmetic than that.

    PyTorch's loop where there is one: where memory gave it 80 to 140 GB/s our SGD step stayed near 70.
    """
    theta, gradient = np.ones(n, "f4"), np.ones(n, "f4")
    try:
        import torch
    except ImportError:
        optimizer = us.optim.SGD(lr=1e-3)
        return lambda: optimizer.step(theta, gradient)
    torch.set_num_threads(us.threads())
    tensor, other = torch.from_numpy(theta), torch.from_numpy(gradient)
    return lambda: tensor.add_(other, alpha=-1e-3)


def _torch_batch(
    x: Any, d_y: Any, gamma: Any, beta: Any
) -> tuple[dict[str, Callable[[], Any]], tuple[Any, Any]] | None:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(us.threads())
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    mean, variance = torch.zeros(len(gamma)), torch.ones(len(gamma))

    def forward() -> Any:
        return torch.nn.functional.batch_norm(leaves[0], mean, variance, leaves[1], leaves[2], True)

    def fused() -> Any:
        with torch.no_grad():
            return torch.relu(forward())

    def alone() -> Any:
        with torch.no_grad():
            return forward()

    out, delta = forward(), torch.from_numpy(d_y)

    def backward() -> Any:
        return torch.autograd.grad(out, leaves, delta, retain_graph=True)

    answers = out.detach().numpy(), backward()[0].numpy()
    return {"forward": alone, "and ReLU": fused, "backward": backward}, answers


def _rows(kind: str, shape: tuple[int, ...], repeats: int) -> Iterator[Comparison]:
    """A row stays in the cache between its statistics and their use: read once forward, with δ once backward."""
    x, d_y, gamma, beta = _arrays(shape)
    y, d_x = np.empty_like(x), np.empty_like(x)

    def forward() -> Any:
        if kind == "layer":
            return norm.layer_norm_forward(x, gamma, beta, out=y)
        return norm.group_norm_forward(x, GROUPS, gamma, beta, out=y)

    cache = forward()[1]
    back = norm.layer_norm_backward if kind == "layer" else norm.group_norm_backward
    ours = {"forward": lambda: forward()[0], "backward": lambda: back(d_y, cache, out=d_x).x}
    theirs = _torch_rows(kind, x, d_y, gamma, beta)
    stream = _stream(x.size)
    for name, passes in (("forward", 2), ("backward", 3)):
        candidates: dict[str, Callable[[], Any]] = {"unstuck": ours[name]}
        checked = None
        if name in theirs:
            candidates["torch"] = theirs[name]
            found = theirs[name]()
            checked = _difference(ours[name](), (found if name == "forward" else found[0]).detach().numpy())
        candidates["stream"] = stream
        yield compare(
            f"{kind} norm {name}, {shape}, float32",
            candidates,
            checked=checked,
            bytes_moved=passes * x.nbytes,
            settings={"shape": shape},
            repeats=repeats,
            stream_bytes=3 * x.nbytes,
        )


def _torch_rows(kind: str, x: Any, d_y: Any, gamma: Any, beta: Any) -> dict[str, Callable[[], Any]]:
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(us.threads())
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    functional = torch.nn.functional

    def graph() -> Any:
        X, G, B = leaves
        return (
            functional.layer_norm(X, (X.shape[1],), G, B) if kind == "layer" else functional.group_norm(X, GROUPS, G, B)
        )

    def forward() -> Any:
        with torch.no_grad():
            return graph()

    out, delta = graph(), torch.from_numpy(d_y)
    return {"forward": forward, "backward": lambda: torch.autograd.grad(out, leaves, delta, retain_graph=True)}


def _difference(found: Any, expected: Any) -> float:
    difference = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    if not difference <= 1e-4:
        raise RuntimeError(f"our answer and PyTorch's differ by {difference:.1e}: nothing is timed")
    return difference
