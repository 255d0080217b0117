"""Instruments that read the spectrum of a symmetric operator through its products alone."""

from .eigenpairs import Eigenpairs, eigenpairs

__all__ = ["Eigenpairs", "eigenpairs"]
