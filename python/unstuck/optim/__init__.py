"""Optimizers: update rules that change a flat parameter vector in place, one pass over memory each."""

from .base import Optimizer
from .rules import RULES, SGD, Adam, RMSProp, from_state

__all__ = ["RULES", "SGD", "Adam", "Optimizer", "RMSProp", "from_state"]
