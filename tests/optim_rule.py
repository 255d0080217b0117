"""A row of the table of update rules: oracle, PyTorch's counterpart, options to combine, refused values."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Rule:
    """One update rule.

    oracle: (θ, g, state, lr, t, **hyper) → θ in float64, filling state under the names of the slots; choices are
        words, switches bools.
    torch: our hyper-parameters as PyTorch's class name and arguments; None where PyTorch has no such form.
    options: values of hyper-parameters, every combination of which is tested, if `allowed`.
    refused: (arguments, part of the message).
    lr: a rate at which 20 steps change θ visibly.
    torch_limit: allowed difference to PyTorch in float64, larger where PyTorch keeps a float32 number.
    elementwise: whether parameters do not feel each other.
    """

    oracle: Callable[..., Any]
    torch: Callable[[dict[str, Any]], tuple[str, dict[str, Any]] | None]
    options: dict[str, tuple[Any, ...]]
    refused: list[tuple[dict[str, Any], str]]
    lr: float = 0.05
    allowed: Callable[[dict[str, Any]], bool] = field(default=lambda hyper: True)
    torch_limit: float = 1e-12
    elementwise: bool = True

    def combinations(self) -> list[dict[str, Any]]:
        """Every allowed combination of the options."""
        products = itertools.product(*self.options.values())
        return [h for h in (dict(zip(self.options, values, strict=True)) for values in products) if self.allowed(h)]


def no_torch(hyper: dict[str, Any]) -> None:
    """PyTorch has no such rule."""


def betas(hyper: dict[str, Any]) -> dict[str, Any]:
    """β₁ and β₂ as PyTorch takes them."""
    rest = {name: value for name, value in hyper.items() if name not in {"beta1", "beta2"}}
    return {**rest, "betas": (hyper.get("beta1", 0.9), hyper.get("beta2", 0.999))}
