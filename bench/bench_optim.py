"""Optimizer steps beside PyTorch's loop, foreach and fused forms: every rule, whole sequences, many small tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.plain_torch_rules import PlainLamb, PlainLars
from bench.timing import Comparison, compare

# (rule, ours, PyTorch's class and arguments, bytes per parameter: θ and slots read and written, g read)
RULES: list[tuple[str, dict[str, Any], str, dict[str, Any], int]] = [
    ("SGD", {"momentum": 0.9}, "SGD", {"momentum": 0.9}, 20),
    ("Adagrad", {}, "Adagrad", {}, 20),
    ("RMSProp", {}, "RMSprop", {}, 20),
    ("Adam", {}, "Adam", {}, 28),
    ("AdamW", {}, "AdamW", {}, 28),
    ("NAdam", {}, "NAdam", {}, 28),
    ("AdaMax", {}, "Adamax", {}, 28),
    ("RAdam", {}, "RAdam", {}, 28),
    ("Adam", {"state": "bfloat16"}, "Adam", {}, 20),
    ("Adam", {"state": "int8"}, "Adam", {}, 16),
]
IN_CACHE, LARGE = 1 << 18, 1 << 25
FORMS = ("loop", "foreach", "fused")
BLOCK = 1 << 16  # parameters: 256 KiB of float32
CLIP, DECAY = 0.5, 0.999


def measure(quick: bool) -> Iterator[Comparison]:
    """The stream first, then every rule in cache and beyond it, then what others do in several passes."""
    sizes, repeats = ((20_000,), 3) if quick else ((IN_CACHE, LARGE), 9)
    yield _stream(sizes[-1], repeats)
    for n in sizes:
        for row in RULES:
            yield _rule(row, n, repeats)
    large = 4 * BLOCK if quick else LARGE
    for block in (BLOCK, large):
        yield from _layerwise(large, block, repeats)
    yield _sequence(sizes[-1], repeats)
    yield _small_tensors(50 if quick else 1000, 256, repeats)


def _stream(n: int, repeats: int) -> Comparison:
    """θ −= lr·g: two arrays read, one of them written in place, 12 bytes a parameter."""
    theta, gradient = _problem(n)
    optimizer = us.optim.SGD(lr=1e-3)
    candidates: dict[str, Callable[[], Any]] = {"unstuck": lambda: optimizer.step(theta, gradient)}
    torch = _torch()
    if torch is not None:
        a, b = torch.from_numpy(theta.copy()), torch.from_numpy(gradient)
        candidates["torch add_"] = lambda: a.add_(b, alpha=-1e-3)
    return compare(f"stream, {n:,} float32", candidates, bytes_moved=12 * n, settings={"n": n}, repeats=repeats)


def _rule(row: tuple[str, dict[str, Any], str, dict[str, Any], int], n: int, repeats: int) -> Comparison:
    rule, options, name, arguments, width = row
    theta, gradient = _problem(n)
    optimizer, ours = getattr(us.optim, rule)(lr=1e-3, **options), theta.copy()
    for _ in range(3):
        optimizer.step(ours, gradient)
    found = ours.copy()
    candidates: dict[str, Callable[[], Any]] = {"unstuck": lambda: optimizer.step(ours, gradient)}
    worst = None
    limit = 2e-2 if "state" in options else 1e-6
    for form, (step, expected) in _forms(name, arguments, theta, gradient).items():
        worst = max(worst or 0.0, _difference(found, expected, f"{name} {form}", limit))
        candidates[f"torch {form}"] = step
    state = f", {options['state']} state" if "state" in options else ""
    return compare(
        f"{rule} step{state}, {n:,} parameters, float32",
        candidates,
        checked=worst,
        bytes_moved=n * width,
        settings={"rule": rule, "n": n, **options},
        repeats=repeats,
    )


def _forms(name: str, arguments: dict[str, Any], theta: Any, gradient: Any) -> dict[str, tuple[Any, Any]]:
    """The step and θ after three of every form of PyTorch's optimizer that its CPU build has; none without it."""
    torch = _torch()
    rivals = {}
    for form in FORMS if torch is not None else ():
        parameter = torch.from_numpy(theta.copy())
        parameter.grad = torch.from_numpy(gradient.copy())
        switches = {"foreach": form == "foreach", **({"fused": True} if form == "fused" else {})}
        try:
            optimizer = getattr(torch.optim, name)([parameter], lr=1e-3, **arguments, **switches)
            for _ in range(3):
                optimizer.step()
        except (TypeError, RuntimeError):  # this optimizer has no fused form
            continue
        rivals[form] = (optimizer.step, parameter.numpy().copy())
    return rivals


def _layerwise(n: int, block: int, repeats: int) -> Iterator[Comparison]:
    """LARS and LAMB (clipping included) over blocks of one size, beside plain loops over tensors."""
    theta, gradient = _problem(n)
    blocks = [(str(i), slice(i, min(i + block, n)), (min(block, n - i),)) for i in range(0, n, block)]
    torch = _torch()
    for rule, options, asked, width in (
        ("LARS", {"momentum": 0.9, "weight_decay": 1e-4}, {}, 20 if block == BLOCK else 28),
        ("LAMB", {"weight_decay": 1e-2}, {"clip_norm": 1.0}, 32 if block == BLOCK else 44),
    ):
        optimizer, ours = getattr(us.optim, rule)(lr=1e-3, **options), theta.copy()
        optimizer.init(blocks)
        for _ in range(3):
            optimizer.step(ours, gradient, **asked)
        found, checked = ours.copy(), None
        candidates: dict[str, Callable[[], Any]] = {
            "unstuck": lambda optimizer=optimizer, ours=ours, asked=asked: optimizer.step(ours, gradient, **asked)
        }
        if torch is not None:
            flat = torch.from_numpy(theta.copy())
            tensors = [flat[part] for _, part, _ in blocks]
            for tensor, (_, part, _) in zip(tensors, blocks, strict=True):
                tensor.grad = torch.from_numpy(gradient[part])
            rival: Any = (PlainLars if rule == "LARS" else PlainLamb)(tensors, 1e-3, **options)
            for _ in range(3):
                rival.step()
            checked = _difference(found, flat.numpy(), rule, 1e-5)
            candidates["plain torch"] = rival.step
        yield compare(
            f"{rule} step, {n:,} parameters in {len(blocks)} blocks, float32",
            candidates,
            checked=checked,
            bytes_moved=n * width,
            settings={"rule": rule, "n": n, "blocks": len(blocks)},
            repeats=repeats,
        )


def _sequence(n: int, repeats: int) -> Comparison:
    """Clip by the global norm, AdamW, moving average of θ, zero the gradient."""
    theta, gradient = _problem(n)
    ours, mean, g = theta.copy(), theta.copy(), gradient.copy()
    optimizer = us.optim.AdamW(lr=1e-3)

    def step() -> None:
        optimizer.step(ours, g, clip_norm=CLIP, average=mean, average_decay=DECAY, zero_gradient=True)

    step()
    candidates: dict[str, Callable[[], Any]] = {"unstuck": step}
    checked = None
    for name, (call, point, average) in _torch_sequences(theta, gradient).items():
        call()
        checked = max(checked or 0.0, _difference(ours, point.numpy(), name, 1e-6))
        checked = max(checked, _difference(mean, average.numpy(), name, 1e-6))
        candidates[name] = call
    return compare(
        f"AdamW + clip + average + zero, {n:,} parameters, float32",
        candidates,
        checked=checked,
        bytes_moved=44 * n,
        settings={"n": n},
        repeats=repeats,
    )


def _torch_sequences(theta: Any, gradient: Any) -> dict[str, tuple[Callable[[], None], Any, Any]]:
    torch = _torch()
    sequences = {}
    for name, switches in () if torch is None else (("torch best", {"fused": True}), ("torch default", {})):
        point, average = torch.from_numpy(theta.copy()).requires_grad_(), torch.from_numpy(theta.copy())
        point.grad = torch.from_numpy(gradient.copy())
        optimizer = torch.optim.AdamW([point], lr=1e-3, **switches)
        best = bool(switches)

        def step(point: Any = point, average: Any = average, optimizer: Any = optimizer, best: bool = best) -> None:
            torch.nn.utils.clip_grad_norm_([point], CLIP, foreach=best)
            optimizer.step()
            with torch.no_grad():
                if best:
                    torch._foreach_lerp_([average], [point], 1 - DECAY)
                else:  # as torch.optim.swa_utils.AveragedModel with its averaging function on a CPU
                    average.copy_(DECAY * average + (1 - DECAY) * point)
            point.grad.zero_()

        sequences[name] = (step, point.detach(), average)
    return sequences


def _small_tensors(count: int, size: int, repeats: int) -> Comparison:
    """Adam on many small tensors: one arena here, a list of tensors there."""
    n = count * size
    theta, gradient = _problem(n)
    optimizer, ours = us.optim.Adam(lr=1e-3), theta.copy()
    optimizer.init([(str(i), slice(i, i + size), (size,)) for i in range(0, n, size)])
    for _ in range(3):
        optimizer.step(ours, gradient)
    found, checked = ours.copy(), None
    candidates: dict[str, Callable[[], Any]] = {"unstuck": lambda: optimizer.step(ours, gradient)}
    torch = _torch()
    for form in FORMS if torch is not None else ():
        tensors = [torch.from_numpy(part.copy()) for part in theta.reshape(count, size)]
        for tensor, g in zip(tensors, gradient.reshape(count, size), strict=True):
            tensor.grad = torch.from_numpy(g.copy())
        switches = {"foreach": form == "foreach", **({"fused": True} if form == "fused" else {})}
        rival = torch.optim.Adam(tensors, lr=1e-3, **switches)
        for _ in range(3):
            rival.step()
        checked = _difference(found, torch.cat(tensors).numpy(), form, 1e-6)
        candidates[f"torch {form}"] = rival.step
    return compare(
        f"Adam step, {count} tensors of {size}, float32",
        candidates,
        checked=checked,
        bytes_moved=28 * n,
        settings={"tensors": count, "size": size},
        repeats=repeats,
    )


def _problem(n: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal(n, "f4"), rng.standard_normal(n, "f4")


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(us.threads())
    return torch


def _difference(found: Any, expected: Any, rival: str, limit: float) -> float:
    """Largest difference over largest value; an error above the limit."""
    worst = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    if not worst <= limit:
        raise RuntimeError(f"our answer and that of {rival} differ by {worst:.1e}: nothing is timed")
    return worst
