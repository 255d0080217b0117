"""Writes a file whole or not at all: a temporary file beside it, fsync, rename."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path

from .errors import ArgumentError, ArgumentTypeError
from .plain_text import plain


def check_target(path: str | os.PathLike[str], endings: Sequence[str], name: str = "path") -> Path:
    """`path` if a file with one of the endings can go there; asked before long work, so that none is lost.

    Messages call it `name`.

    Raises:
        ArgumentError: another ending, a folder, or a folder that is missing or not writable.
        ArgumentTypeError: `path` is no path.
    """
    goal = as_path(path, name)
    shown = plain(goal.name, 80)
    if goal.suffix.lower() not in endings:
        listed = " or ".join(filter(None, [", ".join(endings[:-1]), endings[-1]]))
        raise ArgumentError(f"`{name}` must end in {listed}, got '{shown}'")
    try:
        folder = goal.parent.is_dir() and os.access(goal.parent, os.W_OK)
        taken = goal.is_dir()
    except ValueError as error:
        raise ArgumentError(f"`{name}`: '{shown}' is no file name: {error}") from None
    if taken:
        raise ArgumentError(f"`{name}` must name a file, '{shown}' is a folder")
    _refuse_special(goal, name)
    if not folder:
        raise ArgumentError(f"`{name}`: the folder for '{shown}' does not exist or is not writable")
    return goal


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path`; after a crash at any moment `path` holds the old bytes or the new ones.

    The temporary file is created new in the same folder, never through a link, with the mode that the umask
    gives. If `path` itself is a symbolic link, the link is replaced and what it points to stays.

    Returns:
        The path written.

    Raises:
        ArgumentError: the folder is missing or not writable, or `path` is a folder; nothing is left behind.
        ArgumentTypeError: `path` is no path.
    """
    goal = as_path(path)
    if goal.is_dir() or goal.name in ("", ".", ".."):
        raise ArgumentError("`path` must name a file, got a folder")
    temporary = goal.with_name(f".{goal.name[:100]}.{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    _refuse_special(goal)
    try:
        handle = os.open(temporary, flags, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, goal)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ArgumentError(f"`path`: cannot write '{plain(goal.name, 80)}': {reason}") from None
    _sync_folder(goal.parent)
    return goal


def as_path(path: str | os.PathLike[str], name: str = "path") -> Path:
    """`path` as a Path, or an ArgumentTypeError that calls it `name`."""
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"`{name}` must be a path, got {type(path).__name__}")
    return Path(path)


def _refuse_special(goal: Path, name: str = "path") -> None:
    """A device, pipe or socket must not be replaced by a file."""
    try:
        kind = goal.lstat().st_mode
    except (OSError, ValueError):
        return
    if not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
        raise ArgumentError(f"`{name}`: '{plain(goal.name, 80)}' is not a regular file")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
