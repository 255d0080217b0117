"""The name that was meant: the nearest of the known ones, or all of them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def cure(name: str, names: Sequence[str]) -> str:
    """A question, "did you mean x?", where a known name is near, else all of them, "there are a, b, c"."""
    close = difflib.get_close_matches(name[:80], names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(names)}"
