"""Reports: one list of facts that becomes text, JSON or one self-contained HTML file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_file import check_target, write_atomically
from ..errors import ArgumentError, ArgumentTypeError
from . import charts
from .facts import STATUSES, Answer, Fact, Status, jsonable, plain
from .svg import Chart
from .text import facts_text, report_text

ENDINGS = (".html", ".json", ".txt")
__all__ = ["ENDINGS", "Answer", "Chart", "Fact", "Report", "build", "charts", "facts_text", "jsonable", "plain"]


@dataclass(frozen=True)
class Report:
    """What was found, ready to be shown; made by `build`.

    Attributes:
        title: a few words.
        sentence: the verdict in one sentence with numbers.
        status: "good", "warn", "bad" or "info"; colours the verdict.
        facts: the evidence.
        remedies: what was tried or should be; facts too.
        details: settings and versions; facts too, shown only in a table.
        figures: charts.
        data: further JSON-able numbers for machines.
        answers: what it may be, the most likely first.
        note: one line on how it was found, e.g. what that cost.
    """

    title: str
    sentence: str
    status: Status
    facts: tuple[Fact, ...]
    remedies: tuple[Fact, ...]
    details: tuple[Fact, ...]
    figures: tuple[Chart, ...]
    data: Any
    answers: tuple[Answer, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-able dicts and lists; figures are left out, their numbers belong in `data`."""
        return {
            "title": self.title,
            "sentence": self.sentence,
            "status": self.status,
            "note": self.note,
            "answers": [answer.to_dict() for answer in self.answers],
            "facts": [fact.to_dict() for fact in self.facts],
            "remedies": [fact.to_dict() for fact in self.remedies],
            "details": [fact.to_dict() for fact in self.details],
            "data": self.data,
        }

    def text(self, width: int = 100) -> str:
        """The report as plain text, at most `width` characters per line where words allow."""
        sections = [
            ("Causes", [answer.fact() for answer in self.answers]),
            ("Evidence", self.facts),
            ("Remedies", self.remedies),
            ("Details", self.details),
        ]
        return report_text(self.title, self.sentence, sections, width, self.note)

    def json(self) -> str:
        """The report as strict JSON with sorted keys."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n"

    def html(self) -> str:
        """The report as one self-contained page."""
        from .html import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report whole or not at all; the ending decides: .html, .json or .txt. Replaces a file.

        Raises:
            ArgumentError: another ending, or the file cannot be written.
            ArgumentTypeError: `path` is no path.
        """
        goal = check_target(path, ENDINGS)
        make = {".json": self.json, ".txt": self.text}.get(goal.suffix.lower(), self.html)
        return write_atomically(goal, make().encode("utf-8"))

    def _repr_html_(self) -> str:
        from .html import fragment

        return fragment(self.title, self.sentence, self.facts, self.status)

    def __str__(self) -> str:
        return self.text()


def build(
    title: str,
    sentence: str,
    facts: Sequence[Fact],
    figures: Sequence[Chart] = (),
    data: Any = None,
    *,
    remedies: Sequence[Fact] = (),
    details: Sequence[Fact] = (),
    status: Status | None = None,
    answers: Sequence[Answer] = (),
    note: str = "",
) -> Report:
    """A report from facts and charts; the same input gives the same bytes.

    Args:
        title: a few words.
        sentence: the verdict in one sentence with numbers.
        facts: the evidence.
        figures: charts of `report.charts`.
        data: further JSON-able numbers; NaN and infinity become the strings "NaN", "Infinity", "-Infinity".
        remedies: what was tried or should be.
        details: settings and versions.
        status: colours the verdict; None takes the worst of the facts.
        answers: what it may be, the most likely first.
        note: one line on how it was found.

    Raises:
        ArgumentTypeError: something is not a Fact, an Answer, a Chart or JSON-able.
        ArgumentError: `status` is none of the four.
    """
    for name, items, kind in (
        ("facts", facts, Fact),
        ("remedies", remedies, Fact),
        ("details", details, Fact),
        ("figures", figures, Chart),
        ("answers", answers, Answer),
    ):
        if not isinstance(items, Sequence):
            raise ArgumentTypeError(f"`{name}` must be a list of {kind.__name__} objects, got {type(items).__name__}")
        wrong = [type(item).__name__ for item in items if not isinstance(item, kind)]
        if wrong:
            raise ArgumentTypeError(f"`{name}` must hold {kind.__name__} objects, got {wrong[0]}")
    if status is None:
        order: tuple[Status, ...] = ("bad", "warn", "good", "info")
        status = next((s for s in order if any(fact.status == s for fact in facts)), "info")
    if status not in STATUSES:
        raise ArgumentError(f"`status` must be one of {', '.join(STATUSES)} or None, got {status!r}")
    groups = tuple(facts), tuple(remedies), tuple(details)
    charts_and_data = tuple(figures), jsonable(data)
    return Report(str(title), str(sentence), status, *groups, *charts_and_data, tuple(answers), str(note))


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
