"""Schedules: pure functions of the step, so that resuming anywhere gives the same value.

A step is the number of updates done before, 0 for the first. Wherever a schedule is accepted, any callable
step → float is; the ones of this package can also be printed, compared, combined and saved.
"""

from .combine import join, scale
from .cosines import cosine, cosine_restarts, warmup_cosine
from .cycles import cyclic, cyclic_momentum, one_cycle, one_cycle_momentum
from .decay import constant, exponential, inverse_sqrt, linear, multi_step, polynomial, step_decay
from .description import MAKERS, from_description
from .schedule import Schedule
from .warmups import noam, slow_start, warmup, warmup_stable_decay
from .watching import reduce_on_plateau, warmup_until

__all__ = [
    "MAKERS",
    "Schedule",
    "constant",
    "cosine",
    "cosine_restarts",
    "cyclic",
    "cyclic_momentum",
    "exponential",
    "from_description",
    "inverse_sqrt",
    "join",
    "linear",
    "multi_step",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "polynomial",
    "reduce_on_plateau",
    "scale",
    "slow_start",
    "step_decay",
    "warmup",
    "warmup_cosine",
    "warmup_stable_decay",
    "warmup_until",
]


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
