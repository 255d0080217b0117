"""Splits a sentence of a report into prose, code and words to explain; numbers in prose get one spelling."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from ..number_text import tidy
from .glossary import meanings, pattern

Kind = Literal["prose", "code", "term"]

_CALL = r"\((?:[^()]|\([^()]*\))*\)"
_STATEMENT = rf"(?:\b\w+ = )?\b(?:us|unstuck|run|net|land|opt|np)(?:\.\w+)+(?:{_CALL})?"
_CODE = re.compile(
    r"`(?P<quoted>[^`]+)`"
    rf"|{_STATEMENT}(?:; {_STATEMENT})*"
    rf"|\b[A-Z]\w*\((?=\w+=){_CALL[2:]}"  # Adam(lr=0.001, …)
    r"|(?<![\w-])--[a-z][a-z-]*(?: [\d.e+-]+)?"  # an option of the command line
)


def pieces(text: str) -> Iterator[tuple[Kind, str]]:
    """The text in order as ("prose" | "code" | "term", piece); a term is only named where it comes first."""
    seen: set[str] = set()
    end = 0
    for found in _CODE.finditer(text):
        yield from _prose(text[end : found.start()], seen)
        yield "code", found["quoted"] or found[0]
        end = found.end()
    yield from _prose(text[end:], seen)


def typeset(text: str) -> str:
    """The text for a terminal: numbers in one spelling, code as it is."""
    end, parts = 0, []
    for found in _CODE.finditer(text):
        parts += [tidy(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*parts, tidy(text[end:])])


def terms_in(texts: list[str]) -> dict[str, str]:
    """The explained words that occur in the texts ↦ their meanings, in alphabetical order."""
    words = {piece.lower() for text in texts for kind, piece in pieces(text) if kind == "term"}
    return dict(meanings()[word] for word in sorted(words))


def _prose(text: str, seen: set[str]) -> Iterator[tuple[Kind, str]]:
    text = tidy(text)
    end = 0
    for found in pattern().finditer(text):
        word = found[0].lower()
        if word in seen:
            continue
        seen.add(word)
        if found.start() > end:
            yield "prose", text[end : found.start()]
        yield "term", found[0]
        end = found.end()
    if end < len(text):
        yield "prose", text[end:]
