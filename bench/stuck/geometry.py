"""Exact cases: points whose kind is known from theory, and small networks beside a dense eigendecomposition."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize

import unstuck as us

nn = us.nn


Point = tuple[Any, np.ndarray, np.ndarray]  # landscape, θ (n,), eigenvalues of the Hessian (n,) from elsewhere


@dataclass(frozen=True)
class Case:
    """A point and what is true of it.

    Attributes:
        name: of the case.
        make: () -> (landscape, θ, eigenvalues): chosen, known from theory, or those of PyTorch's dense Hessian.
        verdicts: right verdicts of `us.classify`; "": what the eigenvalues say.
        causes: right causes of `us.diagnose(land, theta)`; "": not asked.
    """

    name: str
    make: Callable[[], Point]
    verdicts: str = ""
    causes: str = ""


def spectrum(*values: float) -> Callable[[], Point]:
    """½wᵀHw at 0, H = Q diag(values) Qᵀ with a random rotation."""

    def make() -> Point:
        n = len(values)
        Q = np.linalg.qr(np.random.default_rng(n).normal(size=(n, n)))[0]
        H = (Q * np.array(values)) @ Q.T
        H = 0.5 * (H + H.T)
        land = us.FunctionLandscape(lambda w: 0.5 * float(w @ H @ w), lambda w: H @ w, n=n, hvp=lambda w, v: H @ v)
        return land, np.zeros(n), np.sort(values)

    return make


def _surface(
    loss: Callable[[Any], float], gradient: Callable[[Any], list[float]], *values: float
) -> Callable[[], Point]:
    return lambda: (
        us.FunctionLandscape(loss, lambda w: np.array(gradient(w)), n=2), np.zeros(2), np.array(values)
    )  # fmt: skip


def deep_linear(hidden: int) -> Callable[[], Point]:
    """The origin of a linear network with that many hidden layers: for two and more the Hessian is exactly 0.

    With one, at W₁ = W₂ = 0 the only second derivatives couple W₂ with W₁ through Σyxᵀ; the constant's is 2/outputs.
    """

    def make() -> Point:
        rng = np.random.default_rng(hidden)
        X = rng.normal(size=(80, 5))
        X -= X.mean(axis=0)
        y = X[:, :3] @ rng.normal(size=(3, 3))
        sizes = [5, *(4,) * hidden, 3]
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
        net = nn.Network(*layers, input_shape=(5,), init="zeros", dtype="float64")
        values = np.zeros(net.theta.size)
        if hidden == 1:
            # ∂²L/∂W₂∂W₁ = −(2/(N·outputs))·yᵀX, once for each hidden unit
            coupled = np.linalg.svd(y.T @ X, compute_uv=False) * 2.0 / y.size
            pairs = np.tile(np.r_[coupled, -coupled], 4)
            values[: pairs.size] = pairs
        values[-3:] = 2.0 / 3.0
        return us.NetworkLandscape(net, nn.MSE(), X, y), net.theta, np.sort(values)

    return make


def network(seed: int, *hidden: int, saddle: bool = False) -> Callable[[], Point]:
    """A tanh network in float64 where L-BFGS has come to rest, or at a critical point near a random start."""

    def make() -> Point:
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(60, 3))
        y = np.sin(2 * X[:, :1]) + X[:, 1:2] * X[:, 2:]
        layers: list[Any] = []
        for a, b in itertools.pairwise((3, *hidden)):
            layers += [nn.Linear(a, b), nn.Tanh()]
        net = nn.Network(*layers, nn.Linear(hidden[-1], 1), input_shape=(3,), seed=seed, dtype="float64")
        land = us.NetworkLandscape(net, nn.MSE(), X, y, l2=PENALTY)
        theta = us.find_critical(land, net.theta).theta if saddle else _descend(land, net.theta)
        return land, theta, np.linalg.eigvalsh(_torch_hessian(net, X, y, theta))

    return make


PENALTY = 1e-2


def _descend(land: us.NetworkLandscape, start: np.ndarray) -> np.ndarray:
    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        loss, g = land.gradient(theta)
        return float(loss), np.asarray(g, dtype=np.float64)

    options = {"maxiter": 20000, "maxfun": 40000, "gtol": 1e-11, "ftol": 0.0, "maxcor": 30}
    return scipy.optimize.minimize(objective, start.copy(), jac=True, method="L-BFGS-B", options=options).x


def _torch_hessian(net: us.nn.Network, X: np.ndarray, y: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """The dense Hessian of the same loss, by PyTorch in float64."""
    import torch

    inputs, targets = torch.tensor(X), torch.tensor(y)

    def loss(flat: Any) -> Any:
        parts = [flat[where].reshape(shape) for _, where, shape in net.blocks]
        z = inputs
        for i, (weight, bias) in enumerate(zip(parts[::2], parts[1::2], strict=True)):
            z = (torch.tanh(z) if i else z) @ weight.T + bias
        return ((z - targets) ** 2).mean() + 0.5 * PENALTY * (flat**2).sum()

    return torch.autograd.functional.hessian(loss, torch.tensor(theta)).numpy()


CASES = (
    Case("40 curvatures from 0.1 to 10", spectrum(*np.geomspace(0.1, 10, 40)), "LOCAL_MINIMUM", "CONVERGED"),
    Case("one of 40 curvatures −0.5", spectrum(-0.5, *np.linspace(1, 5, 39)), "STRICT_SADDLE", "STRICT_SADDLE"),
    Case("one of 600 curvatures −0.01", spectrum(-0.01, *np.linspace(0.1, 5, 599)), "STRICT_SADDLE", "STRICT_SADDLE"),
    Case("one of 40 curvatures −10⁻⁷", spectrum(-1e-7, *np.linspace(1, 5, 39)), "DEGENERATE UNDECIDED",
         "STRICT_SADDLE FLAT_SADDLE CONVERGED UNDECIDED"),
    Case("600 curvatures, nine tenths 0", spectrum(*[0.0] * 540, *np.linspace(0.5, 5, 60)), "DEGENERATE",
         "CONVERGED UNDECIDED"),
    Case("30 curvatures, all negative", spectrum(*np.linspace(-5, -1, 30)), "LOCAL_MAXIMUM", "STRICT_SADDLE"),
    Case("monkey saddle x³ − 3xy²",
         _surface(lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2,
                  lambda w: [3 * w[0] ** 2 - 3 * w[1] ** 2, -6 * w[0] * w[1]], 0.0, 0.0),
         "DEGENERATE", "FLAT_SADDLE UNDECIDED"),
    Case("x² − y⁴", _surface(lambda w: w[0] ** 2 - w[1] ** 4, lambda w: [2 * w[0], -4 * w[1] ** 3], 0.0, 2.0),
         "DEGENERATE", "FLAT_SADDLE UNDECIDED"),
    Case("x² + y⁴", _surface(lambda w: w[0] ** 2 + w[1] ** 4, lambda w: [2 * w[0], 4 * w[1] ** 3], 0.0, 2.0),
         "DEGENERATE", "CONVERGED UNDECIDED"),
    Case("linear network, one hidden layer, at 0", deep_linear(1), "STRICT_SADDLE", "STRICT_SADDLE"),
    *(Case(f"linear network, {h} hidden layers, at 0", deep_linear(h), "DEGENERATE UNDECIDED", "FLAT_SADDLE UNDECIDED")
      for h in (2, 3, 4)),
    *(Case(f"tanh {'-'.join(map(str, hidden))}, seed {seed}, at rest", network(seed, *hidden))
      for seed in range(3) for hidden in ((6,), (12,), (8, 8), (24, 16))),
    *(Case(f"tanh {'-'.join(map(str, hidden))}, seed {seed}, critical", network(seed, *hidden, saddle=True))
      for seed in range(4) for hidden in ((4,), (6,), (5, 5))),
)  # fmt: skip


def examine(case: Case) -> dict[str, Any]:
    """Classifies, diagnoses, and compares the ends of the spectrum with the dense one."""
    land, theta, dense = case.make()
    began = time.perf_counter()
    cp = us.classify(land, theta)
    seconds = time.perf_counter() - began
    scale = max(np.abs(dense).max(), 1e-300)
    verdicts = case.verdicts.split() or _by_spectrum(dense, cp)
    cause = us.diagnose(land, theta).cause.name
    slack = 1e-7 * scale + cp.tolerance * 1e-3
    inside = all(
        bracket.lower - slack <= value <= bracket.upper + slack
        for bracket, value in ((cp.lambda_min, dense[0]), (cp.lambda_max, dense[-1]))
    )
    negative = int((dense < -cp.tolerance).sum())
    return {
        "case": case.name, "n": len(theta), "verdict": cp.verdict.name, "right": cp.verdict.name in verdicts,
        "cause": cause, "cause right": not case.causes or cause in case.causes.split(), "inside": inside,
        "error": abs(cp.lambda_min.upper - dense[0]) / scale, "index": cp.index[0] <= negative
        and (cp.index[1] is None or negative <= cp.index[1]), "products": cp.products, "seconds": seconds,
    }  # fmt: skip


def _by_spectrum(dense: np.ndarray, cp: us.CriticalPoint) -> list[str]:
    """The right verdicts where only the dense spectrum is known."""
    if cp.verdict.name in ("NOT_CRITICAL", "UNDECIDED"):
        return [cp.verdict.name]  # no claim about the kind of point
    if dense[0] < -cp.tolerance:
        return ["STRICT_SADDLE"] if dense[-1] > cp.tolerance else ["LOCAL_MAXIMUM", "DEGENERATE"]
    return ["LOCAL_MINIMUM"] if dense[0] > cp.tolerance else ["DEGENERATE"]


def _rows() -> Iterator[dict[str, Any]]:
    for case in CASES:
        row = examine(case)
        sign = "" if row["right"] and row["cause right"] and row["inside"] and row["index"] else "   <-"
        words = f"{row['verdict']:14s} {row['cause']:14s} λ_min error {row['error']:.1e}"
        print(f"  {row['case']:42s} n {row['n']:4d}  {words}{sign}")
        yield row


def report() -> list[dict[str, Any]]:
    """All cases, printed."""
    print("points of known kind: verdict of classify, cause of diagnose, error of λ_min over ‖H‖")
    rows = list(_rows())
    scored = {"right": "verdicts", "cause right": "causes", "inside": "brackets that hold", "index": "counts that hold"}
    for what, name in scored.items():
        print(f"  {name:20s} {sum(row[what] for row in rows)}/{len(rows)}")
    undecided = sum(row["verdict"] in ("UNDECIDED", "NOT_CRITICAL") for row in rows)
    print(f"  {'without a claim':20s} {undecided}/{len(rows)}")
    return rows
