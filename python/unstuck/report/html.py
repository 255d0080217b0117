"""A report as one self-contained HTML page, and facts as a fragment for notebooks; everything is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plain_text import plain
from .facts import Fact, Status
from .svg import with_own_ids

if TYPE_CHECKING:
    from . import Report

WORDS = {"good": "good", "warn": "worth a look", "bad": "problem", "info": "measured"}


def page(report: Report) -> str:
    """The report as a page: no script, no request to anywhere, prints, follows dark mode."""
    from markupsafe import Markup

    figures = [
        {
            "title": plain(chart.title),
            "caption": plain(chart.caption),
            "svg": Markup(with_own_ids(chart.svg, f"f{number}")),  # checked by Chart
        }
        for number, chart in enumerate(report.figures)
    ]
    content: dict[str, Any] = {"report": report, "figures": figures, "data": report.to_dict()}
    return str(_environment().get_template("page.html").render(**content, words=WORDS, plain=plain))


def fragment(title: str, sentence: str, facts: Sequence[Fact], status: Status = "info") -> str:
    """A small box with the sentence and a table of the facts, for `_repr_html_` in notebooks."""
    template = _environment().get_template("fragment.html")
    return str(template.render(title=title, sentence=sentence, facts=facts, status=status, words=WORDS, plain=plain))


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
