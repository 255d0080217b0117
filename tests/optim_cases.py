"""The table of update rules, family by family, and runs of an optimizer and of its NumPy oracle."""

from __future__ import annotations

from typing import Any

import numpy as np

import optim_cases_adam
import optim_cases_composed
import optim_cases_layerwise
import optim_cases_momentum
import optim_cases_square
import unstuck as us
from optim_rule import Rule

SIZES = (1, 3, 6, 7, 8, 9, 15, 16, 17, 64, 65, 4096 + 5)
LARGE = 1_000_003
LIMITS = {"float32": 1e-6, "float64": 1e-12}  # largest difference over largest value on the way


RULES: dict[str, Rule] = {
    **optim_cases_momentum.RULES,
    **optim_cases_square.RULES,
    **optim_cases_adam.RULES,
    **optim_cases_layerwise.RULES,
    **optim_cases_composed.RULES,
}

CASES = [(name, hyper) for name, rule in RULES.items() for hyper in rule.combinations()]
FULL = [(name, rule.combinations()[-1]) for name, rule in RULES.items()]  # most options switched on
ELEMENTWISE = [(name, hyper) for name, hyper in CASES if RULES[name].elementwise]
FULL_ELEMENTWISE = [(name, hyper) for name, hyper in FULL if RULES[name].elementwise]


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
        hyper = dict(optimizer.settings)
        theta = RULES[rule].oracle(theta, g.astype(np.float64), state, rate(rule, t), t + 1, **hyper)
        for name, values in {"theta": theta, **state}.items():
            largest[name] = max(largest.get(name, 0.0), float(np.max(np.abs(values))))
    return theta, state, largest
