"""Seconds until a verdict on a trained network and on saddles of it, beside eigsh on PyTorch's Hessian products."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse.linalg as sl

import unstuck as us
from bench.bench_network import torch_model
from bench.digit_saddles import landscape, saddles, trained
from bench.figures import Figures

UPDATES = 2000


def measure(quick: bool) -> Iterator[Figures]:
    """Three trained points, then the saddles."""
    for seed in (0,) if quick else (0, 1, 2):
        land = landscape(seed=seed)
        theta = trained(land, 100 if quick else UPDATES)
        name = f"Adam 1e-3, {UPDATES} full-batch updates, seed {seed}"
        yield _row(land, theta, name, "0.3 s", quick, rival=not quick and seed == 0)
    land = landscape()
    for number, (name, theta) in enumerate(saddles(quick)):
        yield _row(land, theta.astype("f4"), name, "0.05 s", quick, rival=not quick and number == 0)


def _row(land: us.NetworkLandscape, theta: Any, name: str, limit: str, quick: bool, rival: bool) -> Figures:
    seconds, busy = [], []
    point = us.classify(land, theta)
    for _ in range(1 if quick else 9):
        start, cpu = time.perf_counter(), time.process_time()
        point = us.classify(land, theta)
        seconds.append(time.perf_counter() - start)
        busy.append(time.process_time() - cpu)
    values: dict[str, Any] = {
        "verdict": point.verdict.name,
        "seconds, median": statistics.median(seconds),
        "processor seconds": statistics.median(busy),
        "products": point.products,
        "lowest curvature": float(point.lambda_min.upper),
        "gradient norm": float(point.gradient_norm),
    }
    if rival:
        values |= _rival(land, theta)
    return Figures(f"verdict, 64-64-64-10 tanh, 1797 digits: {name}", values, limit)


def _rival(land: us.NetworkLandscape, theta: Any) -> dict[str, Any]:
    """eigsh(k=1, which="SA") with products by double backward through a graph that is kept."""
    try:
        import torch
    except ImportError:
        return {}
    land.net.theta[:] = theta
    model = torch_model(land.net)
    parameters = list(model.parameters())
    start = time.perf_counter()
    loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(land.X)), torch.from_numpy(land.y.copy()))
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    used = 0

    def product(v: Any) -> Any:
        nonlocal used
        used += 1
        flat = np.ascontiguousarray(v.ravel(), dtype=np.float32)
        parts = [torch.from_numpy(flat[where].reshape(shape)) for _, where, shape in land.blocks]
        images = torch.autograd.grad(gradient, parameters, parts, retain_graph=True)
        return np.concatenate([image.numpy().ravel() for image in images])

    op = sl.LinearOperator((land.n, land.n), matvec=product, dtype=np.float32)
    start_vector = np.random.default_rng(0).standard_normal(land.n).astype("f4")
    try:
        low = float(sl.eigsh(op, 1, which="SA", v0=start_vector, return_eigenvectors=False)[0])
    except sl.ArpackNoConvergence:
        low = float("nan")
    seconds = time.perf_counter() - start
    return {"torch + eigsh: seconds": seconds, "torch + eigsh: products": used, "torch + eigsh: lowest": low}
