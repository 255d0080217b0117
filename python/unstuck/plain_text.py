"""Plain text: names and messages of others as one line that cannot move a cursor or forge a log."""

from __future__ import annotations

import re
from typing import Any

# C0, C1, line and paragraph separators, direction marks and overrides move cursors and reorder text, tags are unseen;
# U+FFFE and U+FFFF cannot stand in XML
_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff"
    r"\U000e0000-\U000e007f]+"
)


def plain(text: Any, limit: int = 2000) -> str:
    """`text` as one line without control characters, at most `limit` long; safe in a terminal and a log."""
    line = _CONTROL.sub(" ", str(text)).encode("utf-8", "replace").decode("utf-8").strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"
