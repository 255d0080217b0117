"""Cases of the rules that follow the gradient or its sign."""

from __future__ import annotations

import numpy as np

from optim_rule import Rule, no_torch


def sgd(theta, g, s, lr, t, momentum, dampening, weight_decay, nesterov, lr_in_buffer, dampen_first):
    """torch.optim.SGD: the buffer starts as the first gradient; Keras: the rate within the buffer."""
    g = g + weight_decay * theta
    if not momentum:
        return theta - lr * g
    inner, outer = (lr, 1.0) if lr_in_buffer else (1.0, lr)
    share = 1 - dampening if t > 1 or dampen_first else 1.0
    b = s["momentum_buffer"] = momentum * s.get("momentum_buffer", 0.0) + share * inner * g
    return theta - outer * (inner * g + momentum * b if nesterov else b)


def lion(theta, g, s, lr, t, beta1, beta2, weight_decay):
    """Program 1 of 2302.06675."""
    m = s.get("first_moment", np.zeros_like(g))
    s["first_moment"] = beta2 * m + (1 - beta2) * g
    return theta - lr * (np.sign(beta1 * m + (1 - beta1) * g) + weight_decay * theta)


def torch_sgd(hyper):
    own = {"lr_in_buffer", "dampen_first"}
    if any(hyper.get(name) for name in own):
        return None
    return "SGD", {name: value for name, value in hyper.items() if name not in own}


RULES = {
    "SGD": Rule(
        oracle=sgd,
        torch=torch_sgd,
        options={
            "momentum": (0.0, 0.9),
            "dampening": (0.0, 0.3),
            "weight_decay": (0.0, 0.01),
            "nesterov": (False, True),
            "lr_in_buffer": (False, True),
            "dampen_first": (False, True),
        },
        allowed=lambda h: (
            (not h["nesterov"] or (h["momentum"] > 0 and h["dampening"] == 0))
            and (h["momentum"] > 0 or not (h["lr_in_buffer"] or h["dampen_first"]))
        ),
        refused=[
            ({"momentum": 1.0}, "`momentum` must be in [0, 1), got 1"),
            ({"momentum": -0.1}, "`momentum` must be in [0, 1), got -0.1"),
            ({"dampening": 1.5}, "`dampening` must be in [0, 1], got 1.5"),
            ({"weight_decay": -1.0}, "`weight_decay` must be a finite number ≥ 0, got -1"),
            ({"nesterov": True}, "`nesterov` needs `momentum` > 0"),
            ({"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "`nesterov` needs `momentum` > 0"),
            ({"lr_in_buffer": 3}, "`lr_in_buffer` must be False or True"),
            ({"momentun": 0.9}, "`momentun` is no argument of SGD"),
        ],
    ),
    "Lion": Rule(
        oracle=lion,
        torch=no_torch,
        options={"beta1": (0.9, 0.0), "beta2": (0.99, 0.5), "weight_decay": (0.0, 0.1)},
        refused=[
            ({"beta1": 1.0}, "`beta1` must be in [0, 1), got 1"),
            ({"weight_decay": -1.0}, "`weight_decay` must be a finite number ≥ 0, got -1"),
        ],
    ),
}
