"""Say why a run or a point of your own is stuck: FACTORY is package.module:function.

The function takes no arguments and returns a Trainer, or a pair (landscape, theta). It is looked up as
`python -m` would: the current folder first. The module's code is run; give only code that you trust.

Exit codes: 0 healthy or converged, 1 stuck or undecided (the cause is printed), 2 usage or bad input,
130 interrupted.
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
from typing import Any

from ..atomic_file import check_target
from ..errors import ArgumentError, ArgumentTypeError, UnstuckError
from ..plain_text import plain
from ..report import ENDINGS
from ..settings import setting
from .output import Output


@dataclass(frozen=True)
class Settings:
    """Settings of the diagnosis."""

    factory: str = setting("package.module:function", positional=True)
    budget: float | None = setting("seconds that the diagnosis may take", None, least=0.0)
    report: str | None = setting("also write a report to this .html, .json or .txt file", None)


def run(settings: Settings, out: Output) -> int:
    """Diagnose what the factory makes; 1 if it is not healthy."""
    if settings.report is not None:
        check_target(settings.report, ENDINGS, "--report")
    with talk_to_stderr():
        made = call(find(settings.factory), settings.factory)
        from .. import diagnose

        where = made if isinstance(made, tuple) else (made,)
        try:
            found = diagnose(*where, budget=settings.budget)
        except UnstuckError:
            raise
        except Exception as error:
            message = f"`{settings.factory}`: its landscape failed: {type(error).__name__}: {plain(error, 300)}"
            raise ArgumentError(message) from error
    if settings.report is not None:
        found.save(settings.report)
        out.talk(f"Report: {settings.report}")
    out.result(str(found), json.loads(found.to_json()))
    return 0 if found.healthy else 1


def find(name: str) -> Callable[[], Any]:
    """The function that `package.module:function` names.

    Raises:
        ArgumentError: no such form, module or function, or the module fails to import.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise ArgumentError(f"`FACTORY` must be package.module:function, got {plain(name, 80)!r}")
    module_name, path = name.split(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        thing: Any = importlib.import_module(module_name)
        for part in path.split("."):
            thing = getattr(thing, part)
    except Exception as error:
        raise ArgumentError(f"cannot import `{name}`: {type(error).__name__}: {plain(error, 300)}") from error
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
