"""Any momentum over any size of the gradient, chosen one by one: the general form of the other rules."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from ...ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Choice
from ..base import Optimizer, Options, Rate
from ..hyper import Number

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Composed"]


class Composed(Optimizer):
    """θ ← θ − lrᵗ·mᵗ/(σᵗ + ε): a momentum that keeps direction, a size that forgets it, a schedule.

    momentum m: "none" g; "heavy" b with b ← βb + g; "nesterov" g + βb; "average" a/(1 − βᵗ) with
    a ← βa + (1 − β)g.
    size σ: "none" 1 and ε = 0; "sum" √Σg²; "mean" √(Σg²/t); "moving" √(s/(1 − αᵗ)) with s ← αs + (1 − α)g²;
    "largest" u with u ← max(αu, |g|).
    The defaults are Adam. "none" × "none" is gradient descent, "heavy" × "none" momentum SGD, "none" × "sum"
    Adagrad, "none" × "moving" uncorrected RMSProp, "average" × "largest" AdaMax (but for the place of ε).
    Slots: momentum_buffer, squares, infinity_norm as needed.

    Args:
        lr: learning rate ≥ 0, or a schedule.
        momentum: "none", "heavy", "nesterov" or "average".
        size: "none", "sum", "mean", "moving" or "largest".
        beta: β in [0, 1).
        alpha: α in [0, 1).
        eps: ε ≥ 0. With 0, a parameter whose gradients were all zero does not move.
        weight_decay: λ ≥ 0, added to the gradient as λθ unless decoupled.
        decoupled_weight_decay: θ ← θ·(1 − lr·λ) instead.
        correct: divide "average" and "moving" by 1 − βᵗ and 1 − αᵗ.
        **options: see `Optimizer`.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value is not a number.
    """

    rule = "Composed"
    limits = MappingProxyType(
        {
            "momentum": Choice("none", "heavy", "nesterov", "average"),
            "size": Choice("none", "sum", "mean", "moving", "largest"),
            "beta": BELOW_ONE,
            "alpha": BELOW_ONE,
            "eps": NON_NEGATIVE,
            "weight_decay": NON_NEGATIVE,
            "decoupled_weight_decay": FLAG,
            "correct": FLAG,
        }
    )

    def __init__(
        self,
        lr: Rate = 1e-3,
        *,
        momentum: Literal["none", "heavy", "nesterov", "average"] = "average",
        size: Literal["none", "sum", "mean", "moving", "largest"] = "moving",
        beta: Number = 0.9,
        alpha: Number = 0.999,
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        decoupled_weight_decay: bool = False,
        correct: bool = True,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(
            lr,
            options,
            momentum=momentum,
            size=size,
            beta=beta,
            alpha=alpha,
            eps=eps,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            correct=correct,
        )
