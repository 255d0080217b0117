"""Fact: one measured statement, the unit from which text, JSON and HTML reports are all made."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from ..plain_text import plain

__all__ = ["STATUSES", "Answer", "Fact", "Status", "jsonable", "plain"]

Status = Literal["good", "warn", "bad", "info"]
STATUSES: tuple[str, ...] = get_args(Status)
CHANGE = "What would change it:"

_NON_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def jsonable(value: Any) -> Any:
    """`value` as dicts, lists, strings, finite numbers, booleans and None only.

    NumPy scalars and arrays become numbers and lists, enum members their names, and NaN, infinity and
    -infinity the strings "NaN", "Infinity" and "-Infinity": strict JSON has no such numbers.

    Raises:
        ArgumentTypeError: a part of `value` has no JSON form.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _NON_FINITE[str(value)]
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (bytes, bytearray)):
        return [jsonable(item) for item in value]
    raise ArgumentTypeError(f"`data` must be made of JSON-able values, got {type(value).__name__}")


def _check_status(status: str) -> None:
    if status not in STATUSES:
        raise ArgumentError(f"`status` must be one of {', '.join(STATUSES)}, got {status!r}")


@dataclass(frozen=True)
class Fact:
    """One measured statement about a run, a point or an operator.

    Args:
        label: what was measured, a few words ("lowest eigenvalue").
        value: the result as a reader wants it, with its unit ("−0.0312 ± 1e-5").
        status: "good", "warn" (worth a look), "bad" (the reason of a verdict) or "info".
        sentence: one full sentence that a reader can understand without the rest; may be empty.
        data: the numbers behind it, JSON-able (NumPy values are converted).

    Raises:
        ArgumentError: `status` is none of the four.
        ArgumentTypeError: `label`, `value` or `sentence` is not a string, or `data` has no JSON form.
    """

    label: str
    value: str
    status: Status = "info"
    sentence: str = ""
    data: Any = None

    def __post_init__(self) -> None:
        for name in ("label", "value", "sentence"):
            text = getattr(self, name)
            if not isinstance(text, str):
                raise ArgumentTypeError(f"`{name}` must be a string, got {type(text).__name__}")
        _check_status(self.status)
        object.__setattr__(self, "data", jsonable(self.data))

    def to_dict(self) -> dict[str, Any]:
        """The fact as a JSON-able dict with the keys label, value, status, sentence, data."""
        return {
            "label": self.label,
            "value": self.value,
            "status": self.status,
            "sentence": self.sentence,
            "data": self.data,
        }


@dataclass(frozen=True)
class Answer:
    """One possible answer of several, ranked by its confidence.

    Args:
        label: the answer in a few words ("stuck at a strict saddle").
        name: the same as machines say it ("STRICT_SADDLE").
        confidence: in [0, 1].
        reason: the measurement behind it, one sentence.
        against: what would change it, one sentence; may be empty.
        status: "good", "warn", "bad" or "info"; colours its bar.

    Raises:
        ArgumentError: `confidence` is not within [0, 1], or `status` is none of the four.
        ArgumentTypeError: a text is not a string.
    """

    label: str
    name: str
    confidence: float
    reason: str
    against: str = ""
    status: Status = "info"

    def __post_init__(self) -> None:
        for name in ("label", "name", "reason", "against"):
            if not isinstance(getattr(self, name), str):
                raise ArgumentTypeError(f"`{name}` must be a string, got {type(getattr(self, name)).__name__}")
        if not 0.0 <= self.confidence <= 1.0:
            raise ArgumentError(f"`confidence` must be within [0, 1], got {self.confidence!r}")
        _check_status(self.status)

    @property
    def percent(self) -> int:
        """The confidence in whole percent; 100 only for 1."""
        return int(100 * self.confidence)

    def to_dict(self) -> dict[str, Any]:
        """The answer as a JSON-able dict."""
        return jsonable(vars(self))  # type: ignore[no-any-return]

    def fact(self) -> Fact:
        """The answer as one line with its sentences, for text."""
        doubt = f" {CHANGE} {self.against}" if self.against else ""
        return Fact(self.label, f"{self.percent}%, {self.name}", self.status, f"{self.reason}{doubt}")
