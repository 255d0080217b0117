"""Numbers for people: a true minus sign, no padded exponent, and as many digits as tell different values apart."""

from __future__ import annotations

import math
import re

_EXPONENT = re.compile(r"(?<=[\d.])e([+-]?)0*(\d+)(?!\w)")
_MINUS = re.compile(r"(?<![\w.)\]’'-])-(?=\.?\d|inf\b)")


def number(x: float, digits: int = 4) -> str:
    """`x` with `digits` figures, e.g. "−0.2449" or "2.7e−8"."""
    if not math.isfinite(x):
        return {"inf": "∞", "-inf": "−∞"}.get(str(float(x)), "NaN")
    return "0" if x == 0 else tidy(f"{x:.{digits}g}")


def apart(*values: float, digits: int = 4, most: int = 12) -> tuple[str, ...]:
    """The values with `digits` figures, or with as many more as it takes that different ones read differently."""
    different = len(set(values))
    for figures in range(digits, most + 1):
        texts = tuple(number(x, figures) for x in values)
        if len(set(texts)) == different:
            break
    return texts


def tidy(text: str) -> str:
    """Prose with its numbers in that spelling: "-1.5e-08" becomes "−1.5e−8"; hyphens between words stay."""
    text = _EXPONENT.sub(lambda found: f"e{found[1].replace('-', '−').replace('+', '')}{found[2]}", text)
    return _MINUS.sub("−", text).replace("−inf", "−∞")
