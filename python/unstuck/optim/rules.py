"""The update rules as classes: signature, defaults, ranges and recurrence; computed by the C++ core."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ArgumentError
from ..ranges import BELOW_ONE, FLAG, FRACTION, NON_NEGATIVE
from .base import Optimizer, Rate

__all__ = ["RULES", "SGD", "Adam", "RMSProp", "from_state"]


class SGD(Optimizer):
    """Gradient descent with momentum (heavy ball) or Nesterov momentum.

    g ← g + λθ;  b ← μb + (1 − dampening)·g, the first time b = g;
    d = b, with Nesterov d = g + μb;  θ ← θ − lr·d.
    Slots: momentum_buffer if momentum > 0. Reference: torch.optim.SGD.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        momentum: μ in [0, 1).
        nesterov: look ahead; needs momentum > 0 and dampening 0.
        dampening: in [0, 1]; skipped in the first step.
        weight_decay: λ ≥ 0, added to the gradient as λθ.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "SGD"
    limits = MappingProxyType(
        {"momentum": BELOW_ONE, "dampening": FRACTION, "weight_decay": NON_NEGATIVE, "nesterov": FLAG}
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr, momentum=momentum, nesterov=nesterov, dampening=dampening, weight_decay=weight_decay)
        if nesterov and (momentum == 0.0 or dampening != 0.0):
            raise ArgumentError(
                f"`nesterov` needs `momentum` > 0 and `dampening` = 0, got momentum={momentum}, dampening={dampening}"
            )


class RMSProp(Optimizer):
    """The gradient divided by a moving root mean square of itself.

    g ← g + λθ;  s ← αs + (1 − α)g²;  r = √s + ε, centred r = √max(s − ḡ², 0) + ε with ḡ ← αḡ + (1 − α)g;
    d = g/r, with momentum b ← μb + g/r, d = b;  θ ← θ − lr·d.
    Slots: square_average, gradient_average if centred, momentum_buffer if momentum > 0.
    Reference: torch.optim.RMSprop, where rounding can make s − ḡ² negative and give NaN; clamped at 0 here.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        alpha: α in [0, 1).
        eps: ε ≥ 0, outside the root. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        momentum: μ in [0, 1).
        centered: divide by an estimate of the standard deviation instead.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "RMSProp"
    limits = MappingProxyType(
        {
            "alpha": BELOW_ONE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "momentum": BELOW_ONE,
            "centered": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum, centered=centered)


class Adam(Optimizer):
    """Moving mean of the gradient over the root of its moving mean square, both corrected for starting at 0.

    g ← g + λθ;  m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  w = v, with AMSGrad w ← max(w, v);
    θ ← θ − lr·m̂/(√ŵ + ε), m̂ = m/(1 − β₁ᵗ), ŵ = w/(1 − β₂ᵗ).
    Slots: first_moment, second_moment, largest_second_moment with AMSGrad.
    Reference: torch.optim.Adam; Kingma & Ba, arXiv 1412.6980; Reddi et al., arXiv 1904.09237.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, on the scale of √ŵ. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ (coupled).
        amsgrad: keep the largest second moment.
        state: format of the state vectors; None, theta's dtype, is the one available.

    Raises:
        ArgumentError: a value is out of its range, or the format is not available.
        ArgumentTypeError: a value is not a number.
    """

    rule = "Adam"
    limits = MappingProxyType(
        {
            "beta1": BELOW_ONE,
            "beta2": BELOW_ONE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "amsgrad": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        state: None = None,
    ) -> None:
        super().__init__(lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)
        if state is not None:
            raise ArgumentError(
                f"`state` must be None (theta's dtype), the one format that is available, got {state!r}"
            )


RULES: Mapping[str, type[Optimizer]] = MappingProxyType({cls.rule: cls for cls in (SGD, RMSProp, Adam)})


def from_state(state: Mapping[str, Any], lr: Rate | None = None) -> Optimizer:
    """A new optimizer that continues, to the bit, as the one whose `state()` this is.

    Args:
        state: what `Optimizer.state` returned.
        lr: needed where the state holds none, because the rate was a callable that cannot be saved.

    Raises:
        ArgumentError: `state` names no rule, is incomplete or inconsistent, or `lr` is missing.
    """
    rule = str(state.get("rule"))
    if rule not in RULES:
        raise ArgumentError(f"`state` must name a rule out of {', '.join(RULES)}, got {rule!r}")
    if lr is None and state.get("lr") is None:
        raise ArgumentError("`lr` must be given: the state's own was a callable, which cannot be saved")
    optimizer = RULES[rule](lr=0.0)
    optimizer.load_state(state)
    if lr is not None:
        optimizer.lr = lr
    return optimizer
