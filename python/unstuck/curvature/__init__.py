"""Instruments that read the spectrum of a symmetric operator through its products alone."""

from .density import Density, density
from .eigenpairs import Eigenpairs, eigenpairs
from .measure import Share

__all__ = ["Density", "Eigenpairs", "Share", "density", "eigenpairs"]
