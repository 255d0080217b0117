"""Cases of Adam and its family."""

from __future__ import annotations

import math

import numpy as np

from optim_rule import Rule, betas, no_torch


def moments(g, s, beta1, beta2):
    m = s["first_moment"] = beta1 * s.get("first_moment", 0.0) + (1 - beta1) * g
    v = s["second_moment"] = beta2 * s.get("second_moment", 0.0) + (1 - beta2) * g**2
    return m, v


def adam(theta, g, s, lr, t, beta1, beta2, eps, weight_decay, amsgrad):
    """torch.optim.Adam: ε on the scale of √v̂, AMSGrad's maximum over the uncorrected v."""
    m, v = moments(g + weight_decay * theta, s, beta1, beta2)
    if amsgrad:
        v = s["largest_second_moment"] = np.maximum(s.get("largest_second_moment", 0.0), v)
    return theta - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def adamw(theta, g, s, lr, t, weight_decay, **rest):
    """torch.optim.AdamW: the decay first."""
    return adam(theta * (1 - lr * weight_decay), g, s, lr, t, weight_decay=0.0, **rest)


def nadam(theta, g, s, lr, t, beta1, beta2, eps, weight_decay, momentum_decay, decoupled_weight_decay):
    """torch.optim.NAdam with its product in float64."""
    theta, g = (theta * (1 - lr * weight_decay), g) if decoupled_weight_decay else (theta, g + weight_decay * theta)
    m, v = moments(g, s, beta1, beta2)
    mu = [beta1 * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in range(1, t + 2)]
    d = (1 - mu[-2]) / (1 - math.prod(mu[:-1])) * g + mu[-1] / (1 - math.prod(mu)) * m
    return theta - lr * d / (np.sqrt(v / (1 - beta2**t)) + eps)


def adamax(theta, g, s, lr, t, beta1, beta2, eps, weight_decay):
    """torch.optim.Adamax: ε within the maximum."""
    g = g + weight_decay * theta
    m = s["first_moment"] = beta1 * s.get("first_moment", 0.0) + (1 - beta1) * g
    u = s["infinity_norm"] = np.maximum(beta2 * s.get("infinity_norm", 0.0), np.abs(g) + eps)
    return theta - lr / (1 - beta1**t) * m / u


def radam(theta, g, s, lr, t, beta1, beta2, eps, weight_decay, decoupled_weight_decay, threshold, early):
    """torch.optim.RAdam: ε on the uncorrected √v."""
    longest = 2 / (1 - beta2) - 1
    rho = longest - 2 * t * beta2**t / (1 - beta2**t)
    if decoupled_weight_decay and (rho > threshold or early == "sgd"):
        theta = theta * (1 - lr * weight_decay)
    m, v = moments(g if decoupled_weight_decay else g + weight_decay * theta, s, beta1, beta2)
    if rho > threshold:
        r = math.sqrt((rho - 4) * (rho - 2) * longest / ((longest - 4) * (longest - 2) * rho))
        return theta - lr * m / (1 - beta1**t) * r * math.sqrt(1 - beta2**t) / (np.sqrt(v) + eps)
    return theta - lr * m / (1 - beta1**t) if early == "sgd" else theta


def adabelief(theta, g, s, lr, t, beta1, beta2, eps, weight_decay, decoupled_weight_decay):
    """adabelief_pytorch.AdaBelief without rectification."""
    theta, g = (theta * (1 - lr * weight_decay), g) if decoupled_weight_decay else (theta, g + weight_decay * theta)
    m = s["first_moment"] = beta1 * s.get("first_moment", 0.0) + (1 - beta1) * g
    v = s["variance"] = beta2 * s.get("variance", 0.0) + (1 - beta2) * (g - m) ** 2 + eps
    return theta - lr * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps)


def torch_radam(hyper):
    if hyper.get("threshold", 5.0) != 5.0 or hyper.get("early", "sgd") != "sgd":
        return None
    return "RAdam", betas({k: v for k, v in hyper.items() if k not in {"threshold", "early"}})


BETAS = {"beta1": (0.9, 0.0), "beta2": (0.999, 0.7)}
REFUSED = [
    ({"beta1": 1.2}, "`beta1` must be in [0, 1), got 1.2"),
    ({"beta2": 1.0}, "`beta2` must be in [0, 1), got 1"),
    ({"beta2": float("nan")}, "`beta2` must be in [0, 1), got nan"),
    ({"eps": -1.0}, "`eps` must be a finite number ≥ 0, got -1"),
]

RULES = {
    "Adam": Rule(
        oracle=adam,
        torch=lambda hyper: ("Adam", betas(hyper)),
        options={**BETAS, "eps": (1e-8, 0.1), "weight_decay": (0.0, 0.01), "amsgrad": (False, True)},
        refused=[
            *REFUSED,
            ({"state": "int4"}, "`state` must be None (theta's dtype), 'bfloat16' or 'int8', got 'int4'"),
            ({"rounding": "down"}, "`rounding` must be one of 'nearest', 'stochastic', got 'down'"),
        ],
    ),
    "AdamW": Rule(
        oracle=adamw,
        torch=lambda hyper: ("AdamW", betas(hyper)),
        options={**BETAS, "eps": (1e-8,), "weight_decay": (0.0, 0.3), "amsgrad": (False, True)},
        refused=REFUSED,
    ),
    "NAdam": Rule(
        oracle=nadam,
        torch=lambda hyper: ("NAdam", betas(hyper)),
        options={
            **BETAS,
            "eps": (1e-8,),
            "weight_decay": (0.0, 0.01),
            "momentum_decay": (4e-3, 0.5),
            "decoupled_weight_decay": (False, True),
        },
        refused=[*REFUSED, ({"momentum_decay": -1.0}, "`momentum_decay` must be a finite number ≥ 0, got -1")],
        torch_limit=1e-6,
    ),
    "AdaMax": Rule(
        oracle=adamax,
        torch=lambda hyper: ("Adamax", betas(hyper)),
        options={**BETAS, "eps": (1e-8, 0.1), "weight_decay": (0.0, 0.01)},
        refused=REFUSED,
    ),
    "RAdam": Rule(
        oracle=radam,
        torch=torch_radam,
        options={
            "beta1": (0.9, 0.0),
            "beta2": (0.999, 0.9),
            "eps": (1e-6,),
            "weight_decay": (0.0, 0.01),
            "decoupled_weight_decay": (False, True),
            "threshold": (5.0, 4.0),
            "early": ("sgd", "skip"),
        },
        refused=[*REFUSED, ({"threshold": 3.0}, "`threshold` must be a finite number ≥ 4, got 3")],
    ),
    "AdaBelief": Rule(
        oracle=adabelief,
        torch=no_torch,
        options={
            "beta1": (0.9, 0.5),
            "beta2": (0.999, 0.7),
            "eps": (1e-16, 1e-3),
            "weight_decay": (0.0, 0.01),
            "decoupled_weight_decay": (True, False),
        },
        refused=REFUSED,
    ),
}
