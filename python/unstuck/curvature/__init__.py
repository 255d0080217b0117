"""Instruments that read the spectrum of a symmetric operator through its products alone."""

from .blame import Blame, BlockShare, RowShare, blame
from .density import Density, density
from .eigenpairs import Eigenpairs, eigenpairs
from .measure import Share
from .minimum_ratio import MinimumRatio, minimum_ratio
from .symmetries import Symmetries, Symmetry, symmetries

__all__ = [
    "Blame",
    "BlockShare",
    "Density",
    "Eigenpairs",
    "MinimumRatio",
    "RowShare",
    "Share",
    "Symmetries",
    "Symmetry",
    "blame",
    "density",
    "eigenpairs",
    "minimum_ratio",
    "symmetries",
]
