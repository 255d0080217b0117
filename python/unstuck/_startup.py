"""Ctrl-C while the command `unstuck` is still importing: one line and exit code 130, no traceback."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from types import FrameType


def is_command() -> bool:
    """Whether this process is the command `unstuck` or `python -m unstuck`, not a program that imports the package."""
    if sys.argv[:1] == ["-m"]:  # what Python puts there until it has found the module
        given = getattr(sys, "orig_argv", [])
        return "-munstuck" in given or ("-m", "unstuck") in itertools.pairwise(given)
    return os.path.basename(sys.argv[0] if sys.argv else "") in ("unstuck", "unstuck.exe")


def watch() -> None:
    """From here on Ctrl-C ends the command's process at once: nothing has been begun yet."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        try:
            signal.signal(signal.SIGINT, _leave)
        except ValueError:  # not in the main thread
            return


def unwatch() -> None:
    """Ctrl-C raises KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    """An exception could be swallowed halfway through another package's import."""
    os.write(2, b"unstuck: interrupted\n")
    os._exit(130)
