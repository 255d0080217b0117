"""Cases of the rules with trust ratios; θ is one block here."""

from __future__ import annotations

import numpy as np

from optim_cases_adam import moments
from optim_cases_momentum import sgd
from optim_rule import Rule, no_torch

norm = np.linalg.norm


def lars(theta, g, s, lr, t, weight_decay, trust_coefficient, eps, trust_clip, always_adapt, **momentum):
    """timm.optim.Lars."""
    q, w, n = 1.0, norm(theta), norm(g)
    if weight_decay or always_adapt:
        q = trust_coefficient * w / (n + w * weight_decay + eps) if w > 0 and n > 0 else 1.0
        q = min(q / lr, 1.0) if trust_clip else q
    g = q * (g + weight_decay * theta)
    return sgd(theta, g, s, lr, t, weight_decay=0.0, lr_in_buffer=False, dampen_first=False, **momentum)


def lamb(
    theta, g, s, lr, t, beta1, beta2, eps, weight_decay, bias_correction, grad_averaging, norm_limit, trust_clip,
    always_adapt, norm_floor=0.0,
):  # fmt: skip
    """timm.optim.Lamb without its global clip, with φ."""
    m, v = moments(g, s, beta1, beta2)
    if not grad_averaging:  # m ← β₁m + g
        m = s["first_moment"] = m + beta1 * g
    c1, c2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
    u = (m / c1) / (np.sqrt(v / c2) + eps) + weight_decay * theta
    q, w = 1.0, max(norm(theta), norm_floor)
    if (weight_decay or always_adapt) and w > 0 and norm(u) > 0:
        q = (min(w, norm_limit) if norm_limit else w) / norm(u)
        q = min(q, 1.0) if trust_clip else q
    return theta - lr * q * u


RULES = {
    "LARS": Rule(
        oracle=lars,
        torch=no_torch,
        options={
            "momentum": (0.0, 0.9),
            "dampening": (0.0, 0.3),
            "weight_decay": (0.0, 0.01),
            "nesterov": (False, True),
            "trust_coefficient": (0.5,),
            "eps": (1e-8,),
            "trust_clip": (False, True),
            "always_adapt": (False, True),
        },
        allowed=lambda h: not h["nesterov"] or (h["momentum"] > 0 and h["dampening"] == 0),
        refused=[
            ({"trust_coefficient": -1.0}, "`trust_coefficient` must be a finite number ≥ 0, got -1"),
            ({"nesterov": True}, "`nesterov` needs `momentum` > 0"),
            ({"state": "int8"}, "`state` of LARS must be None"),
        ],
        elementwise=False,
    ),
    "LAMB": Rule(
        oracle=lamb,
        torch=no_torch,
        options={
            "beta1": (0.9,),
            "beta2": (0.999,),
            "eps": (1e-6,),
            "weight_decay": (0.0, 0.01),
            "bias_correction": (True, False),
            "grad_averaging": (True, False),
            "norm_limit": (0.3, 0.0),
            "trust_clip": (True, False),
            "always_adapt": (False, True),
            "norm_floor": (0.0, 0.2),
        },
        refused=[
            ({"beta1": 1.0}, "`beta1` must be in [0, 1), got 1"),
            ({"norm_limit": -1.0}, "`norm_limit` must be a finite number ≥ 0, got -1"),
            ({"state": "bfloat16"}, "`state` of LAMB must be None"),
        ],
        elementwise=False,
    ),
}
