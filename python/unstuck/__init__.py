"""unstuck: it is not getting better: why, and what do I do?"""

from __future__ import annotations

from . import _variant

_core = _variant.load()  # first of all: later imports may load another OpenMP runtime

from . import errors
from .landscape import FunctionLandscape, Landscape
from .operators import HessianOperator
from .threads import threads

__version__ = "0.1.0"

__all__ = [
    "FunctionLandscape",
    "HessianOperator",
    "Landscape",
    "errors",
    "threads",
]
