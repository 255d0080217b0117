"""Adam and its family: a moving mean of the gradient over a root of its squares."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ...ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Choice, Range
from ..base import Optimizer, Options, Rate
from ..hyper import Number

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Adam", "AdamW", "NAdam", "AdaMax", "RAdam", "AdaBelief"]

_BASE = {"beta1": BELOW_ONE, "beta2": BELOW_ONE, "eps": NON_NEGATIVE, "weight_decay": NON_NEGATIVE}


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
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "Adam"
    limits = MappingProxyType({**_BASE, "amsgrad": FLAG})

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, options, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


class AdamW(Optimizer):
    """Adam with weight decay beside the gradient instead of within it.

    θ ← θ·(1 − lr·λ), then as Adam.
    Slots: as Adam. Reference: torch.optim.AdamW; Loshchilov & Hutter, arXiv 1711.05101.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, on the scale of √ŵ.
        weight_decay: λ ≥ 0, decoupled.
        amsgrad: keep the largest second moment.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "AdamW"
    limits = MappingProxyType({**_BASE, "amsgrad": FLAG})

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 1e-2,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, options, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)


class NAdam(Optimizer):
    """Adam with Nesterov momentum.

    m, v as Adam;  μₜ = β₁(1 − ½·0.96^(tψ)), Πₜ = μ₁·…·μₜ;
    θ ← θ − lr·((1 − μₜ)/(1 − Πₜ)·g + μₜ₊₁/(1 − Πₜ₊₁)·m)/(√v̂ + ε).
    If β₁ or ψ is a schedule, Πₜ is that of its value at t. Slots: first_moment, second_moment.
    Reference: torch.optim.NAdam, which keeps Πₜ in float32; Dozat 2016.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, on the scale of √v̂.
        weight_decay: λ ≥ 0, added to the gradient as λθ unless decoupled.
        momentum_decay: ψ ≥ 0.
        decoupled_weight_decay: decay θ itself, as AdamW.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "NAdam"
    limits = MappingProxyType({**_BASE, "momentum_decay": NON_NEGATIVE, "decoupled_weight_decay": FLAG})

    def __init__(
        self,
        lr: Rate = 2e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum_decay: Number = 4e-3,
        decoupled_weight_decay: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            momentum_decay=momentum_decay,
            decoupled_weight_decay=decoupled_weight_decay,
        )


class AdaMax(Optimizer):
    """Adam with the largest decayed gradient in the place of the root mean square.

    g ← g + λθ;  m ← β₁m + (1 − β₁)g;  u ← max(β₂u, |g| + ε);  θ ← θ − lr/(1 − β₁ᵗ)·m/u.
    Slots: first_moment, infinity_norm. Reference: torch.optim.Adamax; Kingma & Ba, arXiv 1412.6980, section 7.1.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "AdaMax"
    limits = MappingProxyType(_BASE)

    def __init__(
        self,
        lr: Rate = 2e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, options, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay)


class RAdam(Optimizer):
    """Adam whose adaptive part waits until its variance is known, and grows with it: warm-up by itself.

    m, v as Adam;  ρ∞ = 2/(1 − β₂) − 1, ρ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ). If ρ > threshold:
    θ ← θ − lr·m̂·r·√(1 − β₂ᵗ)/(√v + ε), r = √((ρ − 4)(ρ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρ)).
    Before: θ ← θ − lr·m̂ (early "sgd") or θ stays, decoupled decay included ("skip").
    Slots: first_moment, second_moment. Reference: torch.optim.RAdam (threshold 5, "sgd"); Liu et al.,
    arXiv 1908.03265 (threshold 4; the authors' code skips).

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, on the scale of √v (not corrected).
        weight_decay: λ ≥ 0, added to the gradient as λθ unless decoupled.
        decoupled_weight_decay: decay θ itself, as AdamW.
        threshold: ρ above which the step is rectified, ≥ 4.
        early: what is done before: "sgd" or "skip".
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "RAdam"
    limits = MappingProxyType(
        {
            **_BASE,
            "decoupled_weight_decay": FLAG,
            "threshold": Range(low=4.0),
            "early": Choice("sgd", "skip"),
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = False,
        threshold: Number = 5.0,
        early: Literal["sgd", "skip"] = "sgd",
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            threshold=threshold,
            early=early,
        )


class AdaBelief(Optimizer):
    """Adam that divides by how far the gradient is from its mean: long steps where it came as expected.

    m ← β₁m + (1 − β₁)g;  s ← β₂s + (1 − β₂)(g − m)² + ε;  θ ← θ − lr·m̂/(√ŝ + ε), m̂ = m/(1 − β₁ᵗ),
    ŝ = s/(1 − β₂ᵗ).
    Slots: first_moment, variance. Reference: adabelief_pytorch.AdaBelief with rectify=False; Zhuang et al., arXiv
    2010.07468, algorithm 2.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1). With 0 the gradient is its own mean, and only ε bounds the step.
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, added to s in every step and to √ŝ.
        weight_decay: λ ≥ 0.
        decoupled_weight_decay: θ ← θ·(1 − lr·λ) as AdamW; without it λθ is added to the gradient.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "AdaBelief"
    limits = MappingProxyType({**_BASE, "decoupled_weight_decay": FLAG})

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-16,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
        )
