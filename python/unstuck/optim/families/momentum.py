"""Rules that follow the gradient or its sign, with momentum: SGD, Lion."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from ...errors import ArgumentError
from ...ranges import BELOW_ONE, FLAG, FRACTION, NON_NEGATIVE
from ..base import Optimizer, Options, Rate
from ..hyper import Number

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["SGD", "Lion"]


class SGD(Optimizer):
    """Gradient descent with momentum (heavy ball) or Nesterov momentum.

    g ← g + λθ;  b ← μb + (1 − dampening)·g, the first time b = g;
    d = b, with Nesterov d = g + μb;  θ ← θ − lr·d.
    With lr_in_buffer the rate enters the buffer: b ← μb + lr·(1 − dampening)·g, d = b, with Nesterov lr·g + μb,
    θ ← θ − d: the lecture's m ← λm − ηg with m = −b, as Keras. The same at a constant rate, not under a schedule.
    Slots: momentum_buffer if momentum > 0. Reference: torch.optim.SGD.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        momentum: μ in [0, 1).
        nesterov: look ahead; needs momentum > 0 and dampening 0.
        dampening: in [0, 1].
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        lr_in_buffer: the rate enters the buffer.
        dampen_first: the first step is dampened too (PyTorch's is not).
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "SGD"
    limits = MappingProxyType(
        {
            "momentum": BELOW_ONE,
            "dampening": FRACTION,
            "weight_decay": NON_NEGATIVE,
            "nesterov": FLAG,
            "lr_in_buffer": FLAG,
            "dampen_first": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        momentum: Number = 0.0,
        nesterov: bool = False,
        dampening: Number = 0.0,
        weight_decay: Number = 0.0,
        lr_in_buffer: bool = False,
        dampen_first: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            momentum=momentum,
            nesterov=nesterov,
            dampening=dampening,
            weight_decay=weight_decay,
            lr_in_buffer=lr_in_buffer,
            dampen_first=dampen_first,
        )
        require_nesterov(nesterov, momentum, dampening)


class Lion(Optimizer):
    """The sign of an interpolation between momentum and gradient.

    θ ← θ·(1 − lr·λ) − lr·sign(β₁m + (1 − β₁)g);  m ← β₂m + (1 − β₂)g;  sign(0) = 0.
    Slots: first_moment. Reference: Chen et al., arXiv 2302.06675, program 1.

    Args:
        lr: learning rate ≥ 0, or a schedule; a third to a tenth of AdamW's.
        beta1: β₁ in [0, 1).
        beta2: β₂ in [0, 1).
        weight_decay: λ ≥ 0, decoupled; three to ten times AdamW's.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "Lion"
    limits = MappingProxyType({"beta1": BELOW_ONE, "beta2": BELOW_ONE, "weight_decay": NON_NEGATIVE})

    def __init__(
        self,
        lr: Rate = 1e-4,
        *,
        beta1: Number = 0.9,
        beta2: Number = 0.99,
        weight_decay: Number = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(lr, options, beta1=beta1, beta2=beta2, weight_decay=weight_decay)


def require_nesterov(nesterov: bool, momentum: Number, dampening: Number) -> None:
    """Nesterov's look-ahead is defined for undampened momentum only."""
    if nesterov and ((not callable(momentum) and momentum == 0.0) or callable(dampening) or dampening != 0.0):
        raise ArgumentError(
            f"`nesterov` needs `momentum` > 0 and `dampening` = 0, got momentum={momentum}, dampening={dampening}"
        )
