"""unstuck: it is not getting better: why, and what do I do?"""

from __future__ import annotations

from . import _variant

_variant.load()  # first of all: later imports may load another OpenMP runtime

from . import _core as _core
from . import data, errors, nn, optim, plot, report, schedules
from .certificate import verify
from .landscape import FunctionLandscape, Landscape
from .network_landscape import NetworkLandscape
from .operators import HessianOperator
from .standardise import Standardiser
from .threads import threads
from .train import Trainer

__version__ = "0.1.0"

__all__ = [
    "FunctionLandscape",
    "HessianOperator",
    "Landscape",
    "NetworkLandscape",
    "Standardiser",
    "Trainer",
    "data",
    "errors",
    "nn",
    "optim",
    "plot",
    "report",
    "schedules",
    "threads",
    "verify",
]
