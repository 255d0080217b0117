"""Cases of the rule that puts any momentum over any size."""

from __future__ import annotations

import numpy as np

from optim_rule import Rule, no_torch


def composed(theta, g, s, lr, t, momentum, size, beta, alpha, eps, weight_decay, decoupled_weight_decay, correct):
    """θ ← θ − lr·m/(σ + ε)."""
    theta, g = (theta * (1 - lr * weight_decay), g) if decoupled_weight_decay else (theta, g + weight_decay * theta)
    m = g
    if momentum != "none":
        share = 1 - beta if momentum == "average" else 1.0
        b = s["momentum_buffer"] = beta * s.get("momentum_buffer", 0.0) + share * g
        m = {"heavy": b, "nesterov": g + beta * b, "average": b / (1 - beta**t if correct else 1)}[momentum]
    if size == "none":
        return theta - lr * m
    if size == "largest":
        sigma = s["infinity_norm"] = np.maximum(alpha * s.get("infinity_norm", 0.0), np.abs(g))
    else:
        a, share, count = {
            "sum": (1.0, 1.0, 1.0),
            "mean": (1.0, 1.0, t),
            "moving": (alpha, 1 - alpha, 1 - alpha**t if correct else 1.0),
        }[size]
        s["squares"] = a * s.get("squares", 0.0) + share * g**2
        sigma = np.sqrt(s["squares"] / count)
    return theta - lr * m / (sigma + eps)


RULES = {
    "Composed": Rule(
        oracle=composed,
        torch=no_torch,
        options={
            "momentum": ("none", "heavy", "nesterov", "average"),
            "size": ("none", "sum", "mean", "moving", "largest"),
            "beta": (0.9,),
            "alpha": (0.99,),
            "eps": (1e-8,),
            "weight_decay": (0.01,),
            "decoupled_weight_decay": (False, True),
            "correct": (True, False),
        },
        allowed=lambda h: h["correct"] or (not h["decoupled_weight_decay"] and h["size"] == "moving"),
        refused=[
            ({"momentum": "some"}, "`momentum` must be one of 'none', 'heavy', 'nesterov', 'average', got 'some'"),
            ({"size": "root"}, "`size` must be one of 'none', 'sum', 'mean', 'moving', 'largest', got 'root'"),
            ({"beta": 1.0}, "`beta` must be in [0, 1), got 1"),
            ({"size": abs}, "cannot be a schedule"),
        ],
    )
}
