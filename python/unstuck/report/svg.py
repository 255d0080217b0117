"""SVG that follows the page: same bytes for same data, colours by role, no prolog, no links, own ids."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import ArgumentError
from ..plain_text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn in one of these colours takes the page's colour of that role, in light and dark mode.
ROLES = {
    "ink": "#1b2330",
    "muted": "#667085",
    "grid": "#e3e7ee",
    "paper": "#fefefe",
    "accent": "#2563eb",
    "second": "#c2410c",
    "good": "#15803d",
    "bad": "#be123c",
}
_STYLE = {
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.edgecolor": ROLES["muted"],
    "axes.labelcolor": ROLES["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": ROLES["grid"],
    "grid.linewidth": 0.8,
    "text.color": ROLES["ink"],
    "text.parse_math": False,
    "xtick.color": ROLES["muted"],
    "ytick.color": ROLES["muted"],
    "xtick.labelcolor": ROLES["ink"],
    "ytick.labelcolor": ROLES["ink"],
    "font.size": 10.5,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "unstuck",
    "svg.image_inline": True,
    "path.simplify": True,
}


_SHAPES = ("path", "rect", "circle", "line", "polyline", "polygon", "text", "tspan", "image")
_ELEMENTS = frozenset(("svg", "g", "defs", "use", "clipPath", *_SHAPES))


@dataclass(frozen=True)
class Chart:
    """A finished figure of a report.

    Attributes:
        title: heading.
        caption: what the reader should see in it; one or two sentences.
        svg: an `<svg>` element made by `draw`; the only markup of a report that is not escaped.

    Raises:
        ArgumentError: `svg` holds anything but shapes and text.
    """

    title: str
    caption: str
    svg: str

    def __post_init__(self) -> None:
        check_svg(self.svg)


def draw(paint: Callable[[Axes], None], size: tuple[float, float] = (7.2, 3.4)) -> str:
    """The `<svg>` element that `paint(axes)` draws; `size` in inches. Never opens a window."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.style import context

    with rc_context(), context(["default", _STYLE]), warnings.catch_warnings():
        # the page's own fonts draw the text; only its width is estimated here
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure = Figure(figsize=size, layout="constrained")
        paint(figure.add_subplot())
        return to_svg(figure)


def to_svg(figure: Figure) -> str:
    """A figure as one `<svg>` element without date, metadata, links or script."""
    stream = io.StringIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href=", "href=")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        r'<svg viewBox="\1" role="img" stroke-linejoin="round">',
        text,
        count=1,
    )
    for role, colour in ROLES.items():
        text = text.replace(colour, f"var(--{role}, {colour})")
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def check_svg(svg: str) -> None:
    """Refuse whatever could run or fetch: other elements than shapes and text, handlers, outside links.

    Raises:
        ArgumentError: with the offending element or attribute.
    """
    from xml.etree import ElementTree

    try:
        if "<!" in svg or "<?" in svg:
            raise ArgumentError("`svg` must be a bare <svg> element without declarations")
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ArgumentError(f"`svg` must be one well-formed <svg> element: {error}") from None
    for element in root.iter():
        if element.tag not in _ELEMENTS or (element is root) != (element.tag == "svg"):
            raise ArgumentError(f"`svg` must hold shapes and text only, it holds <{plain(element.tag, 40)}>")
        for name, value in element.attrib.items():
            link = name.endswith("href") and not value.startswith(("#", "data:image/png;base64,"))
            if name.startswith("on") or link or "url(" in value.replace("url(#", ""):
                raise ArgumentError(f"`svg` must not link or run anything: `{plain(name, 40)}` of <{element.tag}>")


def with_own_ids(svg: str, prefix: str) -> str:
    """The element with every id prefixed, so that several can stand in one page."""
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    return re.sub(r'\bhref="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
