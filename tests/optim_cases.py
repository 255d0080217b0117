"""The table of update rules: NumPy oracle, PyTorch's counterpart, options to combine, refused values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import unstuck as us

SIZES = (1, 3, 6, 7, 8, 9, 15, 16, 17, 64, 65, 4096 + 5)
LARGE = 1_000_003
LIMITS = {"float32": 1e-6, "float64": 1e-12}  # largest difference over largest value on the way


def sgd(theta, g, s, lr, t, momentum, dampening, weight_decay, nesterov):
    """torch.optim.SGD: the buffer starts as the first gradient."""
    g = g + weight_decay * theta
    if momentum:
        b = s["momentum_buffer"] = g if t == 1 else momentum * s["momentum_buffer"] + (1 - dampening) * g
        g = g + momentum * b if nesterov else b
    return theta - lr * g


def rmsprop(theta, g, s, lr, t, alpha, eps, weight_decay, momentum, centered):
    """torch.optim.RMSprop: ε outside the root."""
    g = g + weight_decay * theta
    s["square_average"] = alpha * s.get("square_average", 0.0) + (1 - alpha) * g**2
    square = s["square_average"]
    if centered:
        s["gradient_average"] = alpha * s.get("gradient_average", 0.0) + (1 - alpha) * g
        square = np.maximum(square - s["gradient_average"] ** 2, 0.0)
    d = g / (np.sqrt(square) + eps)
    if momentum:
        d = s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + d
    return theta - lr * d


def adam(theta, g, s, lr, t, beta1, beta2, eps, weight_decay, amsgrad):
    """torch.optim.Adam: ε on the scale of √v̂, AMSGrad's maximum over the uncorrected v."""
    g = g + weight_decay * theta
    m = s["first_moment"] = beta1 * s.get("first_moment", 0.0) + (1 - beta1) * g
    v = s["second_moment"] = beta2 * s.get("second_moment", 0.0) + (1 - beta2) * g**2
    if amsgrad:
        v = s["largest_second_moment"] = np.maximum(s.get("largest_second_moment", 0.0), v)
    return theta - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


@dataclass(frozen=True)
class Rule:
    """One update rule.

    oracle: (θ, g, state, lr, t, **hyper) → θ, filling state under the names of the slots.
    torch: our hyper-parameters as PyTorch's class name and arguments; None if PyTorch has no such rule.
    options: values of hyper-parameters, every combination of which is tested, if `allowed`.
    refused: (arguments, part of the message).
    lr: a rate at which 20 steps change θ visibly.
    """

    oracle: Callable[..., Any]
    torch: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]] | None
    options: dict[str, tuple[Any, ...]]
    refused: list[tuple[dict[str, Any], str]]
    lr: float = 0.05
    allowed: Callable[[dict[str, Any]], bool] = field(default=lambda hyper: True)

    def combinations(self) -> list[dict[str, Any]]:
        """Every allowed combination of the options."""
        products = itertools.product(*self.options.values())
        return [h for h in (dict(zip(self.options, values, strict=True)) for values in products) if self.allowed(h)]


def _adam_arguments(hyper):
    rest = {name: value for name, value in hyper.items() if name not in {"beta1", "beta2"}}
    return "Adam", {**rest, "betas": (hyper.get("beta1", 0.9), hyper.get("beta2", 0.999))}


RULES = {
    "SGD": Rule(
        oracle=sgd,
        torch=lambda hyper: ("SGD", hyper),
        options={
            "momentum": (0.0, 0.9),
            "dampening": (0.0, 0.3),
            "weight_decay": (0.0, 0.01),
            "nesterov": (False, True),
        },
        allowed=lambda h: not h["nesterov"] or (h["momentum"] > 0 and h["dampening"] == 0),
        refused=[
            ({"momentum": 1.0}, "`momentum` must be in [0, 1), got 1"),
            ({"momentum": -0.1}, "`momentum` must be in [0, 1), got -0.1"),
            ({"dampening": 1.5}, "`dampening` must be in [0, 1], got 1.5"),
            ({"weight_decay": -1.0}, "`weight_decay` must be a finite number ≥ 0, got -1"),
            ({"nesterov": True}, "`nesterov` needs `momentum` > 0"),
            ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "`nesterov` needs `momentum` > 0"),
        ],
    ),
    "RMSProp": Rule(
        oracle=rmsprop,
        torch=lambda hyper: ("RMSprop", hyper),
        options={
            "alpha": (0.9,),
            "eps": (1e-6,),
            "weight_decay": (0.0, 0.01),
            "momentum": (0.0, 0.9),
            "centered": (False, True),
        },
        refused=[
            ({"alpha": 1.0}, "`alpha` must be in [0, 1), got 1"),
            ({"eps": -1e-8}, "`eps` must be a finite number ≥ 0, got -1e-08"),
            ({"momentum": 1.2}, "`momentum` must be in [0, 1), got 1.2"),
            ({"weight_decay": float("inf")}, "`weight_decay` must be a finite number ≥ 0, got inf"),
        ],
        lr=0.01,
    ),
    "Adam": Rule(
        oracle=adam,
        torch=_adam_arguments,
        options={
            "beta1": (0.9, 0.0),
            "beta2": (0.999, 0.7),
            "eps": (1e-8, 0.1),
            "weight_decay": (0.0, 0.01),
            "amsgrad": (False, True),
        },
        refused=[
            ({"beta1": 1.2}, "`beta1` must be in [0, 1), got 1.2"),
            ({"beta2": 1.0}, "`beta2` must be in [0, 1), got 1"),
            ({"beta2": float("nan")}, "`beta2` must be in [0, 1), got nan"),
            ({"eps": -1.0}, "`eps` must be a finite number ≥ 0, got -1"),
            ({"state": "int8"}, "`state` must be None"),
            ({"state": "bfloat16"}, "`state` must be None"),
        ],
    ),
}

CASES = [(name, hyper) for name, rule in RULES.items() for hyper in rule.combinations()]
FULL = [(name, rule.combinations()[-1]) for name, rule in RULES.items()]  # most options switched on


def case_id(value: Any) -> str:
    """A readable test name."""
    if isinstance(value, dict):
        return "-".join(f"{name}={setting}" for name, setting in value.items() if setting) or "plain"
    return str(value)


def problem(n: int, dtype: str, steps: int, seed: int = 0) -> tuple[Any, list[Any]]:
    """A start and gradients, exact in `dtype`; no gradient is small enough to cancel against weight decay."""
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-0.5, 1, size=n)
    gradients = [scales * rng.choice([-1, 1], n) * rng.uniform(0.5, 2, n) for _ in range(steps)]
    return rng.normal(size=n).astype(dtype), [g.astype(dtype) for g in gradients]


def rate(rule: str, t: int) -> float:
    """A learning rate that changes on the way."""
    return RULES[rule].lr * (1.0 if t < 3 else 0.3 + 0.05 * t)


def build(rule: str, hyper: dict[str, Any] | None = None) -> us.optim.Optimizer:
    """Our optimizer of that rule at the rate of its row."""
    return us.optim.RULES[rule](lr=RULES[rule].lr, **(hyper or {}))


def run(optimizer: us.optim.Optimizer, theta: Any, gradients: list[Any]) -> Any:
    """θ after all gradients, with the rate changed on the way."""
    theta = theta.copy()
    for t, g in enumerate(gradients):
        optimizer.lr = rate(optimizer.rule, t)
        optimizer.step(theta, g)
    return theta


def oracle_run(
    rule: str, optimizer: us.optim.Optimizer, theta: Any, gradients: list[Any]
) -> tuple[Any, dict[str, Any], dict[str, float]]:
    """θ and state after all gradients in float64, and the largest value of each ("theta" and slots) on the way."""
    theta, state = theta.astype(np.float64), {}
    largest = {"theta": float(np.max(np.abs(theta)))}
    for t, g in enumerate(gradients):
        hyper = dict(optimizer.hyper)
        theta = RULES[rule].oracle(theta, g.astype(np.float64), state, rate(rule, t), t + 1, **hyper)
        for name, values in {"theta": theta, **state}.items():
            largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(values))))
    return theta, state, largest
