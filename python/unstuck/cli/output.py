"""What a command says: its result to standard output, as text or JSON; everything else to standard error."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..plain_text import plain
from ..report.facts import Fact, jsonable
from ..report.text import MARKS, facts_text, wrap
from ..report.typeset import typeset

NARROWEST, WIDEST = 40, 100
STYLES = {"good": "green", "warn": "yellow", "bad": "red", "info": "dim"}


@dataclass(frozen=True)
class Output:
    """Where a command writes.

    Attributes:
        json: the result is one JSON object instead of text.
    """

    json: bool = False

    @property
    def width(self) -> int:
        """Characters in a line: the terminal's, at least 40 and at most 100; 100 elsewhere."""
        if not sys.stdout.isatty():
            return WIDEST
        return min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)

    def paragraph(self, text: str, remedies: Sequence[Fact] = ()) -> str:
        """The text in lines of this width, and below it the remedies."""
        lines = wrap(typeset(plain(text, 10_000)), self.width)
        return "\n".join([*lines, *(["", facts_text(remedies, self.width)] if remedies else [])])

    def talk(self, text: str) -> None:
        """One line for people, on standard error."""
        print(plain(text), file=sys.stderr, flush=True)

    def hint(self, text: str) -> None:
        """What else could be asked for: a line on standard error, on a terminal only."""
        if sys.stderr.isatty() and not self.json:
            self.talk(text)

    def result(self, text: str, data: Any) -> None:
        """The result, on standard output: `text`, or `data` as strict JSON. A reader may leave early."""
        try:
            self._write(text, data)
        except BrokenPipeError:
            # nothing more may be written, not even when the interpreter flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _write(self, text: str, data: Any) -> None:
        if self.json:
            print(json.dumps(jsonable(data), indent=2, sort_keys=True, allow_nan=False), flush=True)
            return
        lines = [_safe(line) for line in text.rstrip("\n").split("\n")]
        if sys.stdout.isatty():
            _print_coloured(lines)
        else:
            print("\n".join(lines), flush=True)


def _safe(line: str) -> str:
    """The line without control characters, its indentation kept."""
    body = line.lstrip(" ")
    return " " * (len(line) - len(body)) + plain(body, 10_000)


def _print_coloured(lines: list[str]) -> None:
    """The marks of facts in their colours; NO_COLOR and dumb terminals are respected by rich."""
    from rich.console import Console
    from rich.text import Text

    marks = {mark: STYLES[status] for status, mark in MARKS.items()}
    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        text = Text(line)
        start = line.strip()[:1]
        if line.startswith("  ") and start in marks:
            text.stylize(marks[start], line.index(start), line.index(start) + 1)
        console.print(text)
