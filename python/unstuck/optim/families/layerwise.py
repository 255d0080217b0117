"""Rules that scale each block's update by a trust ratio of norms: LARS (with LARC), LAMB."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ...ranges import BELOW_ONE, FLAG, FRACTION, NON_NEGATIVE
from ..base import Optimizer, Options, Rate
from ..hyper import Number
from .momentum import require_nesterov

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["LARS", "LAMB"]


class LARS(Optimizer):
    """SGD with a rate for each block: proportional to ‖θ‖/‖g‖.

    For each block q = c‖θ‖/(‖g‖ + λ‖θ‖ + ε), 1 where ‖θ‖ or ‖g‖ is 0; then SGD with the gradient q·(g + λθ).
    LARC is `trust_clip=True`: q ← min(q/lr, 1), so that the block's rate never exceeds lr.
    Without weight decay q = 1 unless always_adapt. `per_block` can exclude blocks (`exclude_vectors`).
    The blocks are those given to `init`; without them θ is one block. Norms are accumulated in float64.
    Slots: momentum_buffer if momentum > 0. Reference: timm.optim.Lars; You et al., arXiv 1708.03888.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        momentum: μ in [0, 1).
        nesterov: look ahead; needs momentum > 0 and dampening 0.
        dampening: in [0, 1]; skipped in the first step.
        weight_decay: λ ≥ 0.
        trust_coefficient: c ≥ 0.
        eps: ε ≥ 0.
        trust_clip: LARC.
        always_adapt: q also without weight decay.
        **options: see `Optimizer`; `state` must be None.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "LARS"
    limits = MappingProxyType(
        {
            "momentum": BELOW_ONE,
            "dampening": FRACTION,
            "weight_decay": NON_NEGATIVE,
            "nesterov": FLAG,
            "trust_coefficient": NON_NEGATIVE,
            "eps": NON_NEGATIVE,
            "trust_clip": FLAG,
            "always_adapt": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1.0,
        *,
        momentum: Number = 0.0,
        nesterov: bool = False,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        trust_coefficient: Number = 1e-3,
        eps: Number = 1e-8,
        trust_clip: bool = False,
        always_adapt: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            momentum=momentum,
            nesterov=nesterov,
            dampening=dampening,
            weight_decay=weight_decay,
            trust_coefficient=trust_coefficient,
            eps=eps,
            trust_clip=trust_clip,
            always_adapt=always_adapt,
        )
        require_nesterov(nesterov, momentum, dampening)


class LAMB(Optimizer):
    """Adam with a rate for each block: proportional to the length of the block over that of its update.

    m ← β₁m + (1 − β₁)g;  v ← β₂v + (1 − β₂)g²;  u = m̂/(√v̂ + ε) + λθ;  θ ← θ − lr·q·u for each block with
    q = φ(‖θ‖)/‖u‖, 1 where ‖u‖ or φ is 0. Without weight decay q = 1 unless always_adapt. `per_block` can exclude
    blocks (`exclude_vectors`). The blocks are those given to `init`; without them θ is one block. Norms are
    accumulated in float64.
    Slots: first_moment, second_moment. Reference: timm.optim.Lamb, whose clipping of the gradient's global norm to
    1 is `clip_norm=1.0` of the step or the Trainer; You et al., arXiv 1904.00962.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        eps: ε ≥ 0, on the scale of √v̂.
        weight_decay: λ ≥ 0, in the update and so in the ratio.
        bias_correction: without it m̂ = m and v̂ = v.
        grad_averaging: without it m ← β₁m + g.
        norm_limit: the γᵤ of the paper's φ(x) = min(max(x, γₗ), γᵤ); 0: no limit, φ(x) = x with the default floor.
        trust_clip: q at most 1.
        always_adapt: q also without weight decay.
        norm_floor: the paper's γₗ ≥ 0, with which a block of zeros moves, too.
        **options: see `Optimizer`; `state` must be None.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "LAMB"
    limits = MappingProxyType(
        {
            "beta1": BELOW_ONE,
            "beta2": BELOW_ONE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "bias_correction": FLAG,
            "grad_averaging": FLAG,
            "norm_limit": NON_NEGATIVE,
            "trust_clip": FLAG,
            "always_adapt": FLAG,
            "norm_floor": NON_NEGATIVE,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.999,
        eps: Number = 1e-6,
        weight_decay: Number = 1e-2,
        bias_correction: bool = True,
        grad_averaging: bool = True,
        norm_limit: Number = 0.0,
        trust_clip: bool = False,
        always_adapt: bool = False,
        norm_floor: Number = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            beta1=beta1,
            beta2=beta2,
            eps=eps,
            weight_decay=weight_decay,
            bias_correction=bias_correction,
            grad_averaging=grad_averaging,
            norm_limit=norm_limit,
            trust_clip=trust_clip,
            always_adapt=always_adapt,
            norm_floor=norm_floor,
        )
