"""Instruments that read the spectrum of a symmetric operator through its products alone."""

from .blame import Blame, BlockShare, RowShare, blame
from .block_operators import block_diagonal_operator, block_operator
from .density import Density, density
from .eigenpairs import Eigenpairs, eigenpairs
from .estimate import Estimate
from .log_determinant import log_determinant
from .measure import Share
from .minimum_ratio import MinimumRatio, minimum_ratio
from .plan import Plan
from .sampling import BootstrapEnds, SplitTest, bootstrap_ends, split_test
from .sharpness import Sharpness, SharpnessTracker
from .symmetries import Symmetries, Symmetry, symmetries
from .trace import Diagonal, diagonal, frobenius, trace

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
    "split_test",
    "symmetries",
    "trace",
]
