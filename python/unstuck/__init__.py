"""unstuck: it is not getting better: why, and what do I do?"""

from __future__ import annotations

from . import _startup

_startup.watch()

from . import _variant

_variant.load()  # first of all: later imports may load another OpenMP runtime

import importlib
from typing import TYPE_CHECKING, Any

from . import _core as _core
from . import curvature, data, errors, nn, norm, optim, schedules
from .certificate import verify
from .critical import Bracket, CriticalPoint, Verdict, classify
from .escape import Escape, escape
from .landscape import FunctionLandscape, Landscape
from .minimize import Path, minimize
from .network_landscape import NetworkLandscape
from .operators import HessianOperator
from .search import Critical, find_critical
from .standardise import Standardiser
from .threads import threads
from .train import Trainer

if TYPE_CHECKING:
    from . import doctor, labs, plot, report
    from .doctor import Cause, Diagnosis, Outcome, diagnose, unstick

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
    "Outcome",
    "Path",
    "Standardiser",
    "Trainer",
    "Verdict",
    "classify",
    "curvature",
    "data",
    "diagnose",
    "doctor",
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
    "unstick",
    "verify",
]


# half of what an import takes: loaded when first asked for
_LATER = dict.fromkeys(("Cause", "Diagnosis", "Outcome", "diagnose", "unstick"), "doctor")
_LATER_MODULES = ("doctor", "labs", "plot", "report")


def __getattr__(name: str) -> Any:
    if name in _LATER_MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_LATER[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, for completion; submodules that happen to be imported are left out."""
    return sorted([*__all__, "__all__", "__doc__", "__version__"])
