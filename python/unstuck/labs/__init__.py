"""Labs: experiments that show what the lecture claims, each with a figure and a claim that can fail."""

from __future__ import annotations

from .frame import Lab, LabRun, load, run
from .registry import NAMES

__all__ = ["NAMES", "Lab", "LabRun", "load", "run"]


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
