"""Instruments that read the spectrum of a symmetric operator through its products alone."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .blame import Blame, BlockShare, RowShare, blame
from .block_operators import block_diagonal_operator, block_operator
from .eigenpairs import Eigenpairs, eigenpairs
from .plan import Plan
from .symmetries import Symmetries, Symmetry, symmetries

if TYPE_CHECKING:
    from .estimate import Estimate
    from .hutchinson import Diagonal, diagonal, frobenius, trace
    from .log_det import log_determinant
    from .measure import Share
    from .preconditioning import preconditioned_operator, preconditioner
    from .sampling import BootstrapEnds, SplitTest, bootstrap_ends, split_test
    from .sharpness import Sharpness, SharpnessTracker
    from .spectral_density import Density, density
    from .three_bins import MinimumRatio, minimum_ratio

__all__ = [
    "Blame",
    "BlockShare",
    "BootstrapEnds",
    "Density",
    "Diagonal",
    "Eigenpairs",
    "Estimate",
    "MinimumRatio",
    "Plan",
    "RowShare",
    "Share",
    "Sharpness",
    "SharpnessTracker",
    "SplitTest",
    "Symmetries",
    "Symmetry",
    "blame",
    "block_diagonal_operator",
    "block_operator",
    "bootstrap_ends",
    "density",
    "diagonal",
    "eigenpairs",
    "frobenius",
    "log_determinant",
    "minimum_ratio",
    "preconditioned_operator",
    "preconditioner",
    "split_test",
    "symmetries",
    "trace",
]


# loaded when first asked for: `import unstuck` stays quick; no module may bear the name of a function in it
_MODULES = {
    "estimate": ("Estimate",),
    "hutchinson": ("Diagonal", "diagonal", "frobenius", "trace"),
    "log_det": ("log_determinant",),
    "measure": ("Share",),
    "preconditioning": ("preconditioned_operator", "preconditioner"),
    "sampling": ("BootstrapEnds", "SplitTest", "bootstrap_ends", "split_test"),
    "sharpness": ("Sharpness", "SharpnessTracker"),
    "spectral_density": ("Density", "density"),
    "three_bins": ("MinimumRatio", "minimum_ratio"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
