"""The command line: `unstuck demo | train | diagnose | lab | env`.

Exit codes: 0 fine, 1 something found (stuck, not fixed), 2 usage or bad input, 130 interrupted.
Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

from ..errors import UnstuckError
from ..nearest_name import cure
from ..plain_text import plain

FINE, FOUND, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
COMMANDS = ("demo", "train", "diagnose", "lab", "env")
_HELP = """It is not getting better: why, and what do I do?

Trains networks, says with numbers why training is stuck, and finds the way out.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and never shows a traceback for bad input."""
    try:
        return _answered(None if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED)


def _answered(arguments: list[str] | None) -> int:
    """The command's exit code; its errors have become one line."""
    import click

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(arguments)
    except click.exceptions.Abort:
        return _fail("interrupted", INTERRUPTED)
    except click.exceptions.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        return _fail(error.format_message() + hint, BAD_INPUT)
    except UnstuckError as error:
        return _fail(str(error), BAD_INPUT)
    except MemoryError:
        return _fail("not enough memory for this", BAD_INPUT)


def _run(arguments: list[str] | None) -> int:
    """The command's exit code; its errors pass through."""
    try:
        code = _application().main(arguments, prog_name="unstuck", standalone_mode=False)
        return int(code or FINE)
    except SystemExit as stop:
        return int(stop.code) if isinstance(stop.code, int) else BAD_INPUT


def _fail(message: str, code: int) -> int:
    """One line on standard error."""
    print(f"unstuck: {plain(message)}", file=sys.stderr, flush=True)
    return code


def _application() -> Any:
    """The group of all commands; a command's module is imported when it is asked for."""
    import rich_click as click

    from .. import __version__
    from .options import module_command

    class Commands(click.RichGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(COMMANDS)

        def get_command(self, ctx: Any, name: str) -> Any:
            if name not in COMMANDS:
                raise click.UsageError(f"there is no command {name[:80]!r}; {cure(name, COMMANDS)}", ctx)
            module = importlib.import_module(f".{name}", __package__)
            return module.group() if hasattr(module, "group") else module_command(name, module)

    version = click.version_option(__version__, prog_name="unstuck", message="%(prog)s %(version)s")
    settings = {"help_option_names": ["-h", "--help"]}  # of the commands, too
    return version(Commands(name="unstuck", help=_HELP, context_settings=settings))
