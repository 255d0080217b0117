"""unstuck: it is not getting better: why, and what do I do?"""

from __future__ import annotations

from . import _startup

_startup.watch()

from . import _variant

_variant.load()  # first of all: later imports may load another OpenMP runtime

from . import _core as _core
from . import curvature, data, errors, labs, nn, norm, optim, plot, report, schedules
from .certificate import verify
from .critical import Bracket, CriticalPoint, Verdict, classify
from .doctor import Cause, Diagnosis, Outcome, diagnose, unstick
from .escape import Escape, escape
from .landscape import FunctionLandscape, Landscape
from .minimize import Path, minimize
from .network_landscape import NetworkLandscape
from .operators import HessianOperator
from .search import Critical, find_critical
from .standardise import Standardiser
from .threads import threads
from .train import Trainer

_startup.unwatch()

__version__ = "0.1.0"

__all__ = [
    "Bracket",
    "Cause",
    "Critical",
    "CriticalPoint",
    "Diagnosis",
    "Escape",
    "FunctionLandscape",
    "HessianOperator",
    "Landscape",
    "NetworkLandscape",
    "Path",
    "Standardiser",
    "Trainer",
    "Verdict",
    "classify",
    "curvature",
    "data",
    "Outcome",
    "diagnose",
    "unstick",
    "errors",
    "escape",
    "find_critical",
    "labs",
    "minimize",
    "nn",
    "norm",
    "optim",
    "plot",
    "report",
    "schedules",
    "threads",
    "verify",
]


def __dir__() -> list[str]:
    """The public names, for completion; submodules that happen to be imported are left out."""
    return sorted([*__all__, "__all__", "__doc__", "__version__"])
