"""Optimizers: update rules that change a flat parameter vector in place, one pass over memory each."""

from . import rules
from .base import Optimizer
from .rules import *  # noqa: F403  # a new rule is exported by its own file

__all__ = ["Optimizer"]
__all__ += rules.__all__
