"""Names that try to become markup, script, a request or a terminal's command; and reports that hold them."""

from __future__ import annotations

import dataclasses
import functools
from html.parser import HTMLParser

import numpy as np

import unstuck as us
from unstuck.report import charts
from unstuck.report.facts import Fact

NAMES = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "--><img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "<iframe src=javascript:alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "</style><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<![CDATA[<script>alert(1)</script>]]>",
    "{{ 7 * 7 }}{% raw %}",
    "{{ config }}{% include '/etc/passwd' %}",
    "${7*7}#{7*7}",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<link rel=stylesheet href=//evil.example>",
    "<style>@import '//evil.example'</style>",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<object data=data:text/html,x>",
    "<details open ontoggle=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "\u2028<script>\u2029alert(1)",
    "\x00<scr\x00ipt>",
    "\ud800<b>",
    "＜script＞alert(1)＜/script＞",
    "$\\frac{1}{0}$ $x^{",
    "%00%3Cscript%3E",
    "\x1b[31mred\x1b]0;title\x07\x9b2J",
    "a\u202eb\u2066c\u200fd\u061ce",
    "line\r\nX-Forged: 1",
    "</svg></figure></main><script>document.title='taken'</script>",
    "<script>document.body.innerHTML='taken'</script>",
    "url(//evil.example/x.png)",
    "<b>" * 3000,
    "\ufffenone\uffff",
    "tag\U000e003cscript\U000e003e",
    "z\u0300" * 200,
]


class Skeleton(HTMLParser):
    """Tags and attributes of a page in order, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    @property
    def shape(self) -> list[tuple[str, ...]]:
        """(tag, names of its attributes) of every element that is not set by words alone."""
        return [(tag, *(name for name, _ in pairs)) for tag, pairs in self.tags if tag not in ("code", "abbr")]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@functools.cache
def drawn(label: str) -> tuple[us.report.Chart, ...]:
    steps, t = np.arange(300), np.linspace(-1, 1, 9)
    loss = 1 / (1.0 + steps)
    return (
        charts.loss_curve(steps, loss, [(20, label)], validation=(steps[::50], loss[::50])),
        charts.gradient_norm(steps, loss),
        charts.spectrum_ends((-2.0, -1.9), (3.0, 3.1), 1e-3),
        charts.along_direction(t, t**2, t, 0.5),
        charts.copies((steps, loss), [charts.Curve(label, steps, loss / 2, True)]),
    )


def sample(text: str, label: str = "escape") -> us.report.Report:
    """A report with `text` in every place that a user's name can reach."""
    facts = [Fact(text, text, "bad", text, {text: text}), Fact("loss", "0.1", "good")]
    figures = [dataclasses.replace(chart, title=text, caption=text) for chart in drawn(label)]
    answers = [us.report.Answer(text, text, 0.9, text, text, "bad")]
    return us.report.build(
        text, text, facts, figures, {text: text}, remedies=facts, details=facts, answers=answers, note=text
    )
