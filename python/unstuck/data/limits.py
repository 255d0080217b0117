"""Limits on what a table may ask of this machine, and how a file is opened so that it cannot hang us."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from ..plain_text import plain


@dataclass(frozen=True)
class Limits:
    """Caps on a table; a file beyond one of them is refused before its memory is taken.

    Attributes:
        file_bytes: size of the file on disk.
        inflated_bytes: what an archive may unpack to.
        rows: data rows.
        columns: columns, the target included.
        cells: rows times columns.
        field_characters: length of one text field or column name.
        line_characters: length of one line.
        members: arrays in an archive.
    """

    file_bytes: int = 2**30
    inflated_bytes: int = 2**29
    rows: int = 20_000_000
    columns: int = 20_000
    cells: int = 2**26
    field_characters: int = 10_000
    line_characters: int = 2**23
    members: int = 1_000


def shown(path: str | os.PathLike[str]) -> str:
    """The file's name as messages show it: without folders and control characters."""
    return plain(Path(path).name, 80) or "the file"


def open_regular(path: str | os.PathLike[str], limits: Limits) -> BinaryIO:
    """Open a regular, readable, not too large file for reading; never waits for a pipe or a device.

    Raises:
        DataError: missing, not a regular file, unreadable, empty, or above `limits.file_bytes`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot open {shown(path)}: {plain(reason)}") from None
    file = os.fdopen(handle, "rb") if stat.S_ISREG(os.fstat(handle).st_mode) else None
    if file is None:
        os.close(handle)
        raise DataError(f"{shown(path)} is not a regular file (a folder, pipe or device)")
    size = os.fstat(handle).st_size
    if size == 0 or size > limits.file_bytes:
        file.close()
        why = "is empty" if size == 0 else f"has {size:,} bytes, more than the limit of {limits.file_bytes:,}"
        raise DataError(f"{shown(path)} {why}")
    return file
