"""Cases of the rules that divide by a root of squares."""

from __future__ import annotations

import math

import numpy as np

from optim_rule import Rule, no_torch


def adagrad(theta, g, s, lr, t, form, lr_decay, eps, weight_decay, initial_accumulator):
    """torch.optim.Adagrad; the lecture's mean form divides the sum by t."""
    g = g + weight_decay * theta
    s["square_sum"] = s.get("square_sum", initial_accumulator) + g**2
    r = np.sqrt(s["square_sum"] / (t if form == "mean" else 1))
    return theta - lr / (1 + (t - 1) * lr_decay) * g / (r + eps)


def rmsprop(theta, g, s, lr, t, alpha, eps, weight_decay, momentum, centered, initial, eps_inside, lr_in_buffer):
    """torch.optim.RMSprop, with timm's switches."""
    g = g + weight_decay * theta
    start = {"zero": 0.0, "one": 1.0, "first": g**2}[initial]
    s["square_average"] = alpha * s.get("square_average", start) + (1 - alpha) * g**2
    square = s["square_average"]
    if centered:
        s["gradient_average"] = alpha * s.get("gradient_average", 0.0) + (1 - alpha) * g
        square = np.maximum(square - s["gradient_average"] ** 2, 0.0)
    d = g / (np.sqrt(square + eps) if eps_inside else np.sqrt(square) + eps)
    if not momentum:
        return theta - lr * d
    b = s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + d * (lr if lr_in_buffer else 1.0)
    return theta - b * (1.0 if lr_in_buffer else lr)


def rmsprop_warmup(
    theta, g, s, lr, t, momentum, alpha, eps, weight_decay, rms_rate, center, width, steps_per_epoch, literal
):
    """1711.04325 as transcribed: Δ = μΔ − (a_sgd + a_rms/(√m + ε))·g, θ += ηΔ."""
    g, e = g + weight_decay * theta, (t - 1) / steps_per_epoch
    late = 0.5 + (2 if literal else 1) * (e - center) / width
    p = 0.5 * math.exp(2 * (e - center) / width) if e < center else late
    p = 1.0 if e >= center + width / 2 else p
    m = s["square_average"] = alpha * s.get("square_average", 0.0) + (1 - alpha) * g**2
    a = p + (1 - p) * rms_rate / lr / (np.sqrt(m) + eps)
    s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + a * g
    return theta - lr * s["momentum_buffer"]


def torch_adagrad(hyper):
    if hyper.get("form") == "mean":
        return None
    rest = {k: v for k, v in hyper.items() if k not in {"form", "initial_accumulator"}}
    return "Adagrad", {**rest, "initial_accumulator_value": hyper.get("initial_accumulator", 0.0)}


def torch_rmsprop(hyper):
    if hyper.get("initial", "zero") != "zero" or hyper.get("eps_inside") or hyper.get("lr_in_buffer"):
        return None
    return "RMSprop", {k: v for k, v in hyper.items() if k not in {"initial", "eps_inside", "lr_in_buffer"}}


RULES = {
    "Adagrad": Rule(
        oracle=adagrad,
        torch=torch_adagrad,
        options={
            "form": ("sum", "mean"),
            "lr_decay": (0.0, 0.1),
            "eps": (1e-10, 0.1),
            "weight_decay": (0.0, 0.01),
            "initial_accumulator": (0.0, 0.1),
        },
        refused=[
            ({"form": "median"}, "`form` must be one of 'sum', 'mean', got 'median'"),
            ({"form": 0}, "`form` must be one of 'sum', 'mean', got 0"),
            ({"lr_decay": -1.0}, "`lr_decay` must be a finite number ≥ 0, got -1"),
            ({"initial_accumulator": -1.0}, "`initial_accumulator` must be a finite number ≥ 0, got -1"),
            (
                {"initial_accumulator": abs},
                "`initial_accumulator` must be a finite number ≥ 0 and cannot be a schedule",
            ),
        ],
    ),
    "RMSProp": Rule(
        oracle=rmsprop,
        torch=torch_rmsprop,
        options={
            "alpha": (0.9,),
            "eps": (1e-6,),
            "weight_decay": (0.0, 0.01),
            "momentum": (0.0, 0.9),
            "centered": (False, True),
            "initial": ("zero", "one", "first"),
            "eps_inside": (False, True),
            "lr_in_buffer": (False, True),
        },
        # a centred RMSProp that starts at the first g² has a variance of 0 up to rounding after one step
        allowed=lambda h: (
            (h["momentum"] > 0 or not h["lr_in_buffer"]) and not (h["centered"] and h["initial"] == "first")
        ),
        refused=[
            ({"alpha": 1.0}, "`alpha` must be in [0, 1), got 1"),
            ({"eps": -1e-8}, "`eps` must be a finite number ≥ 0, got -1e-08"),
            ({"momentum": 1.2}, "`momentum` must be in [0, 1), got 1.2"),
            ({"weight_decay": float("inf")}, "`weight_decay` must be a finite number ≥ 0, got inf"),
            ({"initial": "two"}, "`initial` must be one of 'zero', 'one', 'first', got 'two'"),
        ],
        lr=0.01,
    ),
    "RMSPropWarmup": Rule(
        oracle=rmsprop_warmup,
        torch=no_torch,
        options={
            "momentum": (0.9, 0.0),
            "alpha": (0.9,),
            "eps": (1e-6,),
            "weight_decay": (0.0, 0.01),
            "rms_rate": (1e-2,),
            "center": (5.0,),
            "width": (6.0,),
            "steps_per_epoch": (1.0, 1.5),
            "literal": (False, True),
        },
        refused=[
            ({"width": 0.0}, "`width` must be a finite number ≥ 1e-06, got 0"),
            ({"steps_per_epoch": 0}, "`steps_per_epoch` must be a finite number ≥ 1, got 0"),
            ({"rms_rate": -1.0}, "`rms_rate` must be a finite number ≥ 0, got -1"),
        ],
    ),
}
