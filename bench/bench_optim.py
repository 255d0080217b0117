"""One optimizer step on a flat float32 vector, beside torch.optim's loop, foreach and fused forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import unstuck as us
from bench.timing import Comparison, compare

# (rule, ours, PyTorch's class and arguments, bytes per parameter: θ and slots read and written, g read)
RULES: list[tuple[str, dict[str, Any], str, dict[str, Any], int]] = [
    ("SGD", {"momentum": 0.9}, "SGD", {"momentum": 0.9}, 20),
    ("RMSProp", {}, "RMSprop", {}, 20),
    ("Adam", {}, "Adam", {}, 28),
]
SIZES = (26_122, 1 << 20, 1 << 23)  # the network 64-128-128-10; in the last-level cache; beyond it
FORMS = ("loop", "foreach", "fused")


def measure(quick: bool) -> Iterator[Comparison]:
    """Every rule at every size."""
    for rule, options, name, arguments, width in RULES:
        for n in SIZES[:1] if quick else SIZES:
            rng = np.random.default_rng(0)
            theta, gradient = rng.normal(size=n).astype("f4"), rng.normal(size=n).astype("f4")
            ours, found = _ours(rule, options, theta, gradient)
            candidates, worst = {"unstuck": ours}, None
            for form, (step, expected) in _rivals(name, arguments, theta, gradient).items():
                worst = max(worst or 0.0, _difference(found, expected, f"{name} {form}"))
                candidates[f"torch {form}"] = step
            yield compare(
                f"{rule} step, {n:,} parameters, float32",
                candidates,
                checked=worst,
                bytes_moved=n * width,
                settings={"rule": rule, "n": n, **options},
                repeats=3 if quick else 15,
            )


def _ours(rule: str, options: dict[str, Any], theta: Any, gradient: Any) -> tuple[Callable[[], None], Any]:
    """The step to time, and θ after three steps."""
    theta = theta.copy()
    optimizer = getattr(us.optim, rule)(lr=1e-3, **options)
    for _ in range(3):
        optimizer.step(theta, gradient)
    return lambda: optimizer.step(theta, gradient), theta.copy()


def _rivals(name: str, arguments: dict[str, Any], theta: Any, gradient: Any) -> dict[str, tuple[Any, Any]]:
    """The same of every form of PyTorch's optimizer that its CPU build has; none without PyTorch."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(us.threads())
    rivals = {}
    for form in FORMS:
        parameter = torch.from_numpy(theta.copy())
        parameter.grad = torch.from_numpy(gradient.copy())
        switches = {"foreach": form == "foreach", **({"fused": True} if form == "fused" else {})}
        try:
            optimizer = getattr(torch.optim, name)([parameter], lr=1e-3, **arguments, **switches)
        except TypeError:  # this optimizer has no fused form
            continue
        for _ in range(3):
            optimizer.step()
        rivals[form] = (optimizer.step, parameter.numpy().copy())
    return rivals


def _difference(found: Any, expected: Any, rival: str) -> float:
    """Largest difference over largest value; an error above 1e-6."""
    worst = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    if not worst <= 1e-6:
        raise RuntimeError(f"our answer and that of {rival} differ by {worst:.1e}: nothing is timed")
    return worst
