"""Ranges of numeric arguments: what a value must satisfy, and the one message that says so."""

from __future__ import annotations

import math
import operator
import reprlib
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .errors import ArgumentError, ArgumentTypeError


class Limit(Protocol):
    """What a hyper-parameter may be; `str(limit)` completes "must be …"."""

    def check(self, name: str, value: Any) -> float:
        """`value` as a number; ArgumentError or ArgumentTypeError naming `name` if it does not fit."""


@dataclass(frozen=True)
class Range:
    """The finite real numbers from `low` to `high`; `open_high` leaves `high` out.

    `fixed`: decides something once for all, so that no schedule may change it.
    """

    low: float = 0.0
    high: float = math.inf
    open_high: bool = False
    fixed: bool = False

    def __str__(self) -> str:
        if math.isinf(self.low):
            return "a finite number"
        if math.isinf(self.high):
            return f"a finite number ≥ {self.low:g}"
        return f"in [{self.low:g}, {self.high:g}{')' if self.open_high else ']'}"

    def check(self, name: str, value: Any) -> float:
        """`value` as a float."""
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or np.ndim(value):
            raise ArgumentTypeError(f"`{name}` must be {self}, got {reprlib.repr(value)}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        except (TypeError, ValueError):
            raise ArgumentTypeError(f"`{name}` must be {self}, got {reprlib.repr(value)}") from None
        inside = self.low <= number < self.high or (number == self.high and not self.open_high)
        if not (inside and math.isfinite(number)):
            raise ArgumentError(f"`{name}` must be {self}, got {number:g}")
        return number


@dataclass(frozen=True)
class Count:
    """The integers from `least` to `most`."""

    least: int = 0
    most: int | None = None

    def __str__(self) -> str:
        return f"an integer ≥ {self.least}" if self.most is None else f"an integer in [{self.least}, {self.most}]"

    def check(self, name: str, value: Any) -> int:
        """`value` as an int."""
        try:
            number = None if isinstance(value, bool) else operator.index(value)
        except TypeError:  # also arrays, which have __index__
            number = None
        if number is None:
            raise ArgumentTypeError(f"`{name}` must be {self}, got {reprlib.repr(value)}")
        if number < self.least or (self.most is not None and number > self.most):
            raise ArgumentError(f"`{name}` must be {self}, got {reprlib.repr(value)}")
        return number


@dataclass(frozen=True)
class Flag:
    """False or True, or a number that equals one of them."""

    def __str__(self) -> str:
        return "False or True"

    def check(self, name: str, value: Any) -> float:
        """`value` as 0.0 or 1.0."""
        if not isinstance(value, int | float | np.bool_ | np.number) or value not in {0, 1}:
            raise ArgumentTypeError(f"`{name}` must be {self}, got {value!r}")
        return float(value)


class Choice:
    """One of some words; as a number, the place of the word."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __str__(self) -> str:
        return f"one of {', '.join(map(repr, self.words))}"

    def check(self, name: str, value: Any) -> float:
        """The place of the word, 0.0 for the first."""
        if not isinstance(value, str):
            raise ArgumentTypeError(f"`{name}` must be {self}, got {reprlib.repr(value)}")
        if value not in self.words:
            raise ArgumentError(f"`{name}` must be {self}, got {reprlib.repr(value)}")
        return float(self.words.index(value))


NON_NEGATIVE = Range()
FRACTION = Range(high=1.0)
BELOW_ONE = Range(high=1.0, open_high=True)
FLAG = Flag()
