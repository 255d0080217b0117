"""Progress: a bar on a terminal, silence otherwise; anything that is called as progress(done, total, text)."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO, Protocol

from .errors import ArgumentTypeError
from .plain_text import plain


class Progress(Protocol):
    """What long functions call from time to time."""

    def __call__(self, done: int, total: int, text: str = "") -> object:
        """`done` of `total` units are finished; `text` says what is going on."""


def check_progress(progress: object) -> None:
    """Refuses what cannot be called, before the work rather than at its first step.

    Raises:
        ArgumentTypeError: `progress` is neither None nor callable.
    """
    if progress is not None and not callable(progress):
        raise ArgumentTypeError(f"`progress` must be a function or None, got {type(progress).__name__}")


def silent(done: int, total: int, text: str = "") -> None:
    """Progress that nobody sees."""


@contextlib.contextmanager
def bar(title: str, stream: IO[str] | None = None) -> Iterator[Progress]:
    """A progress bar on `stream` (standard error) while the block runs, if that is a terminal.

    A new `total` starts the bar afresh. Nothing is written when the stream is no terminal or TERM is "dumb".
    """
    target = sys.stderr if stream is None else stream
    if not target.isatty() or os.environ.get("TERM") == "dumb":
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", markup=False, style="dim"),
    )
    console = Console(file=target, highlight=False)
    with RichProgress(*columns, console=console, transient=True, redirect_stdout=False) as rich:
        task = rich.add_task(plain(title, 40), total=None, text="")

        def show(done: int, total: int, text: str = "") -> None:
            rich.update(task, completed=done, total=max(total, 1), text=plain(text, 60))

        yield show
