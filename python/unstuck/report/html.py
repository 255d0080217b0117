"""A report as one self-contained HTML page, and facts as a fragment for notebooks; everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plain_text import plain
from .facts import CHANGE, Fact, Status
from .glossary import meanings
from .svg import with_own_ids
from .text import MARKS
from .typeset import pieces, terms_in, typeset

if TYPE_CHECKING:
    from markupsafe import Markup

    from . import Report

WORDS = {"good": "good", "warn": "worth a look", "bad": "problem", "info": "measured"}
FIRST = 4  # cards before the figures


def page(report: Report) -> str:
    """The report as a page: no script, no request to anywhere, prints, follows dark mode."""
    from markupsafe import Markup

    figures = [
        {
            "title": plain(chart.title, 160),
            "caption": plain(chart.caption),
            "svg": Markup(with_own_ids(chart.svg, f"f{number}")),  # checked by Chart
        }
        for number, chart in enumerate(report.figures)
    ]
    first, more = foremost(report.facts)
    shown = [
        report.sentence,
        report.note,
        *(text for fact in (*report.facts, *report.remedies) for text in _texts(fact)),
    ]
    shown += [text for answer in report.answers for text in (answer.name, answer.reason, answer.against)]
    content: dict[str, Any] = {
        "report": report,
        "figures": figures,
        "first": first,
        "more": more,
        "glossary": terms_in([plain(text) for text in shown]),
        "data": report.to_dict(),
    }
    tools: dict[str, Any] = {"words": WORDS, "change": CHANGE, "plain": plain, "rich": rich}
    return str(_environment().get_template("page.html").render(**content, **tools))


def foremost(facts: Sequence[Fact], most: int = FIRST) -> tuple[list[Fact], list[Fact]]:
    """(the `most` facts that carry the verdict, the others), both in their order: the reasons first, then the rest."""
    weight = {"bad": 0, "good": 1, "warn": 2, "info": 3}
    chosen = sorted(range(len(facts)), key=lambda i: (weight[facts[i].status], i))[:most]
    first = [fact for i, fact in enumerate(facts) if i in chosen]
    return first, [fact for i, fact in enumerate(facts) if i not in chosen]


def rich(text: str, limit: int = 2000) -> Markup:
    """Escaped text, cut at `limit`, with code in <code> and words of the field in <abbr>, explained by their title."""
    from markupsafe import Markup

    parts = []
    for kind, piece in pieces(plain(text, limit)):
        if kind == "code":
            parts.append(Markup("<code>{}</code>").format(piece))
        elif kind == "term":
            parts.append(Markup('<abbr title="{}">{}</abbr>').format(meanings()[piece.lower()][1], piece))
        else:
            parts.append(Markup.escape(piece))
    return Markup("").join(parts)


def _texts(fact: Fact) -> tuple[str, str, str]:
    return fact.label, fact.value, fact.sentence


def fragment(title: str, sentence: str, facts: Sequence[Fact], status: Status = "info") -> str:
    """A small box with the sentence and a table of the facts, for `_repr_html_` in notebooks."""
    template = _environment().get_template("fragment.html")
    shown = {"title": title, "sentence": sentence, "facts": facts, "status": status}
    return str(template.render(**shown, marks=MARKS, shown=_shown))


def _shown(text: str) -> str:
    return typeset(plain(text))


@lru_cache(maxsize=1)
def _environment() -> Any:
    """Templates of this package only; autoescape for every one of them."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = Path(__file__).parent
    templates = {name: (folder / name).read_text(encoding="utf-8") for name in ("page.html", "fragment.html")}
    environment = Environment(
        loader=DictLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "allow_nan": False}
    return environment
