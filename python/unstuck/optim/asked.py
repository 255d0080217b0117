"""What one step is asked to do besides updating: scale, clip, average, clear, refuse, report; checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from ..ranges import BELOW_ONE, FLAG, NON_NEGATIVE, Choice, Range

_ANY = Range(low=-np.inf)
_NON_FINITE = Choice("propagate", "skip", "raise")


def what_is_asked(
    scale: Any,
    clip_norm: Any,
    gradient_norm: Any,
    average: Any,
    average_decay: Any,
    zero_gradient: Any,
    non_finite: Any,
    report: Any,
) -> dict[str, Any]:
    """The options of a step that are not at their defaults, checked, as the core takes them."""
    chosen: dict[str, Any] = {}
    if scale != 1.0:
        chosen["scale"] = _ANY.check("scale", scale)
    if clip_norm is not None:
        chosen["clip_norm"] = _positive("clip_norm", clip_norm)
    if gradient_norm is not None:
        chosen["gradient_norm"] = _known_norm(gradient_norm)
    if average is not None:
        if not isinstance(average, np.ndarray):
            raise ArgumentTypeError(f"`average` must be a NumPy array, got {type(average).__name__}")
        chosen["average"] = average
        chosen["average_decay"] = BELOW_ONE.check("average_decay", average_decay)
    if zero_gradient is not False:
        chosen["zero_gradient"] = bool(FLAG.check("zero_gradient", zero_gradient))
    if non_finite != "propagate":
        chosen["refuse_non_finite"] = _NON_FINITE.check("non_finite", non_finite) > 0
    if report is not False:
        chosen["report"] = bool(FLAG.check("report", report))
    return chosen


def _positive(name: str, value: Any) -> float:
    number = NON_NEGATIVE.check(name, value)
    if number == 0.0:
        raise ArgumentError(f"`{name}` must be positive, got 0")
    return number


def _known_norm(value: Any) -> float:
    """NaN and infinity are answers too."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentTypeError(f"`gradient_norm` must be a number, got {value!r}") from None
    if number < 0.0:
        raise ArgumentError(f"`gradient_norm` must not be negative, got {number:g}")
    return number
