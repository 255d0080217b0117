"""Say why a run or a point of your own is stuck: FACTORY is package.module:function.

The function takes no arguments and returns a Trainer, or a pair (landscape, theta). It is looked up as
`python -m` would: the current folder first. The module's code is run; give only code that you trust.

Exit codes: 0 healthy or converged, 1 stuck or undecided (the cause is printed), 2 usage or bad input,
130 interrupted. With --unstick, 0 also where a remedy helped.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..atomic_file import check_target
from ..errors import ArgumentError, ArgumentTypeError, UnstuckError
from ..nearest_name import cure
from ..plain_text import plain
from ..progress import bar
from ..report import ENDINGS
from ..settings import setting
from .output import Output

if TYPE_CHECKING:
    from ..doctor import Diagnosis, Outcome


@dataclass(frozen=True)
class Settings:
    """Settings of the diagnosis."""

    factory: str = setting("package.module:function", positional=True)
    budget: float | None = setting("seconds that it may take, about", None, least=0.0)
    unstick: bool = setting("try remedies in copies of the run, beside doing nothing, and say what helped", False)
    save: str | None = setting("with --unstick: write the run, freed if a remedy helped, to this file", None)
    report: str | None = setting("also write a report to this .html, .json or .txt file", None)


def run(settings: Settings, out: Output) -> int:
    """Diagnose what the factory makes; 1 if it is not healthy, or with `unstick` if nothing helped."""
    if settings.report is not None:
        check_target(settings.report, ENDINGS, "--report")
    if settings.save is not None and not settings.unstick:
        raise ArgumentError("`--save` goes with `--unstick`: a diagnosis alone changes nothing that could be saved")
    with talk_to_stderr(), bar("examining"):
        made = call(find(settings.factory), settings.factory)
        found = _examine(made, settings)
        if settings.save is not None:
            made.save(settings.save)
            out.talk(f"Run: {settings.save}")
    if settings.report is not None:
        found.save(settings.report)
        out.talk(f"Report: {settings.report}")
    out.result(out.paragraph(str(found), found.shown_remedies), json.loads(found.to_json()))
    if settings.report is None:
        out.hint("The evidence and the curves: add --report report.html")
    return found.exit_code


def _examine(made: Any, settings: Settings) -> Diagnosis | Outcome:
    """The diagnosis, or what came of trying remedies; what the user's landscape raises is bad input."""
    from .. import Trainer, diagnose, unstick

    if settings.unstick and not isinstance(made, Trainer):
        raise ArgumentError(f"`--unstick` needs a run to try remedies on; `{settings.factory}` returned a point alone")
    where = made if isinstance(made, tuple) else (made,)
    try:
        return unstick(made, settings.budget) if settings.unstick else diagnose(*where, budget=settings.budget)
    except UnstuckError:
        raise
    except Exception as error:
        message = f"`{settings.factory}`: its landscape failed: {type(error).__name__}: {plain(error, 300)}"
        raise ArgumentError(message) from error


def find(name: str) -> Callable[[], Any]:
    """The function that `package.module:function` names.

    Raises:
        ArgumentError: no such form, module or function, or the module fails to import.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise ArgumentError(
            f"`FACTORY` must be package.module:function, e.g. my_runs:stuck for the function `stuck` of "
            f"my_runs.py, got {plain(name, 80)!r}"
        )
    module_name, path = name.split(":")
    if module_name.endswith(".py"):
        raise ArgumentError(f"`FACTORY` names a module, not a file: did you mean {module_name[:-3]}:{path}?")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        thing: Any = importlib.import_module(module_name)
    except Exception as error:
        raise ArgumentError(f"cannot import `{name}`: {type(error).__name__}: {plain(error, 300)}") from error
    for part in path.split("."):
        if not hasattr(thing, part):
            names = [key for key, value in vars(thing).items() if callable(value) and not key.startswith("_")]
            raise ArgumentError(f"`{name}`: `{module_name}` has no function `{part}`; {cure(part, names[:50])}")
        thing = getattr(thing, part)
    if not callable(thing):
        raise ArgumentError(f"`{name}` must be a function, it is a {type(thing).__name__}")
    function: Callable[[], Any] = thing
    return function


def call(function: Callable[[], Any], name: str) -> Any:
    """What the function returns: a Trainer or (landscape, theta).

    Raises:
        ArgumentError: it fails or returns something else.
    """
    from .. import Trainer
    from ..landscape import check_landscape

    try:
        made = function()
    except UnstuckError:
        raise
    except (Exception, SystemExit) as error:
        raise ArgumentError(f"`{name}` failed: {type(error).__name__}: {plain(error, 300)}") from error
    if isinstance(made, tuple) and len(made) == 2:
        try:
            check_landscape(made[0])
        except ArgumentTypeError as error:
            raise ArgumentError(f"`{name}` must return a Trainer or (landscape, theta): {error}") from None
    elif not isinstance(made, Trainer):
        kind = type(made).__name__
        raise ArgumentError(f"`{name}` must return a Trainer or (landscape, theta), it returned {kind}")
    return made


@contextlib.contextmanager
def talk_to_stderr() -> Iterator[None]:
    """What the user's code prints goes to standard error, so that standard output stays the result."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
