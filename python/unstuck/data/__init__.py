"""Data: the digits that ship with the package, and tables from `.csv` and `.npz` files."""

from __future__ import annotations

from .limits import Limits
from .optical_digits import ATTRIBUTION, digits
from .table import Table, load, split

__all__ = ["ATTRIBUTION", "Limits", "Table", "digits", "load", "split"]


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
