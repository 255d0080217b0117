"""Critical points: what kind of point is this, how sure is the answer, and along which direction does the loss fall?"""

from __future__ import annotations

from .gate import Gate
from .procedure import classify
from .result import Bracket, CriticalPoint, Verdict

__all__ = ["Bracket", "CriticalPoint", "Gate", "Verdict", "classify"]
