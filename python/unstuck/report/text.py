"""A report as plain text for a terminal or a log: the sentence, then one line per fact."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from ..plain_text import plain
from .facts import Fact
from .typeset import typeset

MARKS = {"good": "✓", "warn": "!", "bad": "✗", "info": "·"}


def facts_text(facts: Iterable[Fact], width: int = 100) -> str:
    """Facts as aligned lines "mark label  value", each followed by its sentence, indented."""
    facts = list(facts)
    column = min(max((len(plain(fact.label, 120)) for fact in facts), default=0), 34)
    lines: list[str] = []
    for fact in facts:
        head = f"  {MARKS[fact.status]} {plain(fact.label, 120):<{column}}  "
        values = wrap(typeset(plain(fact.value)), max(width - len(head), 30)) or [""]
        lines.append((head + values[0]).rstrip())
        lines += [" " * len(head) + value for value in values[1:]]
        if fact.sentence:
            lines += wrap(typeset(plain(fact.sentence)), width, indent=6)
    return "\n".join(lines)


def report_text(
    title: str, sentence: str, sections: Sequence[tuple[str, Sequence[Fact]]], width: int = 100, note: str = ""
) -> str:
    """The whole report; sections are (heading, facts), empty ones are left out."""
    lines = [plain(title, 160), "", *wrap(typeset(plain(sentence)), width)]
    lines += wrap(typeset(plain(note)), width)
    for heading, facts in sections:
        if facts:
            lines += ["", plain(heading), facts_text(facts, width)]
    return "\n".join(lines) + "\n"


def wrap(text: str, width: int, indent: int = 0) -> list[str]:
    """`text` in lines of at most `width` characters; long words are not broken."""
    space = " " * indent
    return textwrap.wrap(
        text,
        width,
        initial_indent=space,
        subsequent_indent=space,
        break_long_words=False,
        break_on_hyphens=False,
    )
