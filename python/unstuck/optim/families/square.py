"""Rules that divide the gradient by a root of its squares: Adagrad, RMSProp, RMSPropWarmup."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ...ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Choice, Range
from ..base import Optimizer, Options, Rate
from ..hyper import Number

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Adagrad", "RMSProp", "RMSPropWarmup"]


class Adagrad(Optimizer):
    """The gradient divided by the root of all its past squares, this one included.

    g ← g + λθ;  s ← s + g²;  r = √s (form "sum") or √(s/t) after t updates ("mean", the lecture's σ);
    θ ← θ − lr/(1 + (t − 1)·lr_decay)·g/(r + ε).
    The mean form with the rate η/√t is the sum form with rate η. It can burst: after many small gradients r is
    small, and the next large one is divided by it; the sum never shrinks.
    Slots: square_sum. Reference: torch.optim.Adagrad (sum); Duchi, Hazan & Singer 2011.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        form: "sum" or "mean".
        lr_decay: ≥ 0.
        eps: ε ≥ 0. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        initial_accumulator: s before the first update, ≥ 0.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "Adagrad"
    limits = MappingProxyType(
        {
            "form": Choice("sum", "mean"),
            "lr_decay": NON_NEGATIVE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "initial_accumulator": Range(fixed=True),
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        form: Literal["sum", "mean"] = "sum",
        lr_decay: Number = 0.0,
        eps: Number = 1e-10,
        weight_decay: Number = 0.0,
        initial_accumulator: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            form=form,
            lr_decay=lr_decay,
            eps=eps,
            weight_decay=weight_decay,
            initial_accumulator=initial_accumulator,
        )


class RMSProp(Optimizer):
    """The gradient divided by a moving root mean square of itself.

    g ← g + λθ;  s ← αs + (1 − α)g²;  q = s, centred q = max(s − ḡ², 0) with ḡ ← αḡ + (1 − α)g;
    r = √q + ε, or √(q + ε) with eps_inside;  d = g/r, with momentum b ← μb + g/r, d = b;  θ ← θ − lr·d,
    or with lr_in_buffer b ← μb + lr·g/r, θ ← θ − b.
    Slots: square_average, gradient_average if centred, momentum_buffer if momentum > 0.
    Reference: torch.optim.RMSprop, where rounding can make s − ḡ² negative and give NaN; clamped at 0 here.
    timm's RMSpropTF is eps_inside, initial "one", lr_in_buffer, eps 1e-10.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        alpha: α in [0, 1).
        eps: ε ≥ 0. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        momentum: μ in [0, 1).
        centered: divide by an estimate of the standard deviation instead.
        initial: s before the first update: "zero" (PyTorch), "one" (TensorFlow), or "first" (the lecture: s is the
            first g², so that the first step is lr·sign g).
        eps_inside: ε under the root.
        lr_in_buffer: the rate enters the momentum buffer; no effect without momentum.
        **options: see `Optimizer`.

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
            "initial": Choice("zero", "one", "first"),
            "eps_inside": FLAG,
            "lr_in_buffer": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-2,
        *,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        momentum: Number = 0.0,
        centered: bool = False,
        initial: Literal["zero", "one", "first"] = "zero",
        eps_inside: bool = False,
        lr_in_buffer: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            momentum=momentum,
            centered=centered,
            initial=initial,
            eps_inside=eps_inside,
            lr_in_buffer=lr_in_buffer,
        )


class RMSPropWarmup(Optimizer):
    """RMSProp that turns into momentum SGD over the first epochs, for very large batches.

    g ← g + λθ;  s ← αs + (1 − α)g²;  Δ ← μΔ − (p + (1 − p)·(rms_rate/lr)/(√s + ε))·g;  θ ← θ + lr·Δ.
    At epoch e = (t − 1)/steps_per_epoch the share of SGD is p = ½·exp(2(e − center)/width) before the center, then
    ½ + (e − center)/width up to 1, continuous with its slope. The rate of the RMSProp share, rms_rate, does not
    depend on lr.
    Slots: square_average, momentum_buffer (−Δ). Reference: Akiba, Suzuki & Fukuda, arXiv 1711.04325.

    Args:
        lr: learning rate ≥ 0, or a schedule (`schedules.slow_start`).
        momentum: μ in [0, 1).
        alpha: α in [0, 1).
        eps: ε ≥ 0.
        weight_decay: λ ≥ 0, added to the gradient as λθ.
        rms_rate: ≥ 0.
        center: epoch at which p = ½, ≥ 0.
        width: epochs, > 0.
        steps_per_epoch: updates per epoch, ≥ 1.
        literal: the paper's formula as it is written, ½ + 2(e − center)/width until e = center + width/2, which
            exceeds 1 on the way, so that the share of RMSProp becomes negative.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "RMSPropWarmup"
    limits = MappingProxyType(
        {
            "momentum": BELOW_ONE,
            "alpha": BELOW_ONE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "rms_rate": NON_NEGATIVE,
            "center": NON_NEGATIVE,
            "width": Range(low=1e-6),
            "steps_per_epoch": Range(low=1.0),
            "literal": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 0.1,
        *,
        momentum: Number = 0.9,
        alpha: Number = 0.99,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        rms_rate: Number = 3e-4,
        center: Number = 10.0,
        width: Number = 5.0,
        steps_per_epoch: Number = 1.0,
        literal: bool = False,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            momentum=momentum,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            rms_rate=rms_rate,
            center=center,
            width=width,
            steps_per_epoch=steps_per_epoch,
            literal=literal,
        )
