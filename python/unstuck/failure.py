"""Failure: the update of a training run that could not be made, and where its numbers stopped being finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .landscape import Landscape
from .plain_text import plain

Array = NDArray[Any]


@dataclass(frozen=True)
class Failure:
    """The update that could not be made.

    Attributes:
        step: its number, 1 for the first update of the run.
        epoch: epochs completed before it.
        block: the first parameter block with a non-finite gradient or parameter; "loss" if only the loss is
            bad.
        loss: the loss of its batch.
        lr: its learning rate.
        text: one sentence.
    """

    step: int
    epoch: int
    block: str
    loss: float
    lr: float
    text: str


def describe(where: tuple[str, str], loss: float, step: int, epoch: int, lr: float) -> Failure:
    """The failure of update number `step`; `where` is what `first_non_finite` found."""
    block, phrase = where
    what = f"the loss is {loss:.6g}" + (f" and {phrase}" if phrase else "")
    text = (
        f"step {step} (epoch {epoch}, lr {lr:.6g}) was not made: {what}; "
        "the run stands as it was before it: lower `lr`, set `clip_norm`, or look at us.diagnose(run)"
    )
    return Failure(step, epoch, block, loss, lr, text)


def first_non_finite(land: Landscape, theta: Array, gradient: Array) -> tuple[str, str]:
    """(block, phrase) of the first block whose parameters or gradient are not finite."""
    for name, where, _ in land.blocks:
        if not np.isfinite(theta[where]).all():
            return name, f"parameters of `{plain(name, 80)}` are already not finite"
    for name, where, _ in land.blocks:
        if not np.isfinite(gradient[where]).all():
            return name, f"the first non-finite gradient is that of `{plain(name, 80)}`"
    return "loss", ""
