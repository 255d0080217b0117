"""Optimizers: update rules that change a flat parameter vector in place, one pass over memory each."""

from .base import Optimizer
from .families import adam, composed, layerwise, momentum, square
from .families.adam import *  # noqa: F403  # a new rule is exported by its family's file
from .families.composed import *  # noqa: F403
from .families.layerwise import *  # noqa: F403
from .families.momentum import *  # noqa: F403
from .families.square import *  # noqa: F403
from .per_block import exclude_vectors
from .rules import RULES, from_state
from .saved_optimizer import load, save
from .step_report import StepReport

__all__ = ["RULES", "Optimizer", "StepReport", "exclude_vectors", "from_state", "load", "save"]
__all__ += momentum.__all__ + square.__all__ + adam.__all__ + layerwise.__all__ + composed.__all__


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
