"""The frame of every lab: settings → compute → results → figure and claim.

A lab is a module with

    TITLE    one line
    LECTURE  the statements it shows, e.g. ("A4", "A5")
    Settings a frozen dataclass made of `unstuck.settings.setting` fields
    compute(settings) -> dict of JSON-able values and arrays
    figure(results) -> matplotlib Figure
    claim(results) -> (holds, one sentence with numbers)
"""

from __future__ import annotations

import importlib
import io
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..atomic_file import check_target, write_atomically
from ..errors import ArgumentError
from ..nearest_name import cure
from ..plain_text import plain
from ..report.facts import jsonable
from ..settings import make
from .animation import gif
from .registry import MODULES, NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf", ".gif")
Results = dict[str, Any]


@dataclass(frozen=True)
class Lab:
    """One lab, loaded.

    Attributes:
        name: on the command line.
        title: one line.
        lecture: the statements of the lecture that it shows.
        text: what it does, the module's docstring.
        settings: the class of its settings.
        compute: settings → results.
        figure: results → Figure.
        claim: results → (holds, sentence).
    """

    name: str
    title: str
    lecture: tuple[str, ...]
    text: str
    settings: type
    compute: Callable[[Any], Results]
    figure: Callable[[Results], Figure]
    claim: Callable[[Results], tuple[bool, str]]

    def run(self, **settings: Any) -> LabRun:
        """Compute with the given settings, the others at their defaults.

        Raises:
            ArgumentError: an unknown setting or a value out of range.
        """
        chosen: Any = make(self.settings, settings)
        results = self.compute(chosen)
        holds, sentence = self.claim(results)
        return LabRun(self, chosen, results, bool(holds), plain(sentence))


@dataclass(frozen=True)
class LabRun:
    """What came out of one run of a lab.

    Attributes:
        lab: the lab.
        settings: the settings it ran with.
        results: JSON-able values and arrays.
        holds: whether the claim holds.
        sentence: the claim with the measured numbers.
    """

    lab: Lab
    settings: Any
    results: Results
    holds: bool
    sentence: str

    def figure(self) -> Figure:
        """The figure of these results; never opens a window."""
        return self.lab.figure(self.results)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the figure whole or not at all; the ending decides: .png, .svg, .pdf, or .gif, its paths growing.

        Raises:
            ArgumentError: another ending, the file cannot be written, or a .gif of a figure without paths.
        """
        ending = check_target(path, ENDINGS).suffix.lower()
        if ending == ".gif":
            return write_atomically(path, gif(self.figure()))
        stream = io.BytesIO()
        dateless: dict[str, Any] = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[ending]
        self.figure().savefig(stream, format=ending[1:], dpi=150, metadata=dateless)
        return write_atomically(path, stream.getvalue())

    def to_dict(self) -> dict[str, Any]:
        """Name, settings, claim and results as JSON-able dicts and lists."""
        return {
            "lab": self.lab.name,
            "title": self.lab.title,
            "lecture": list(self.lab.lecture),
            "settings": jsonable(asdict(self.settings)),
            "holds": self.holds,
            "sentence": self.sentence,
            "results": jsonable(self.results),
        }


def load(name: str) -> Lab:
    """The lab with this name.

    Raises:
        ArgumentError: there is none.
    """
    if name not in MODULES:
        raise ArgumentError(f"there is no lab {plain(name, 60)!r}; {cure(name, NAMES)}")
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    text = (module.__doc__ or "").strip()
    return Lab(
        name,
        module.TITLE,
        tuple(module.LECTURE),
        text,
        module.Settings,
        module.compute,
        module.figure,
        module.claim,
    )


def run(name: str, **settings: Any) -> LabRun:
    """Run a lab: `unstuck.labs.run("saddle", resolution=81)`.

    Raises:
        ArgumentError: an unknown lab or setting, or a value out of range.
    """
    return load(name).run(**settings)
