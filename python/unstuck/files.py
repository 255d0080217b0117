"""Writing files so that a crash leaves either the old file or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from .errors import ArgumentError


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to `path` through a temporary file beside it: written, fsynced, renamed, folder fsynced.

    Raises:
        ArgumentError: the folder does not exist, or `path` is a folder.
        OSError: the disk is full or not writable; an older file at `path` is untouched.
    """
    target = Path(path)
    if target.is_dir():
        raise ArgumentError(f"`path` is a folder: {target}")
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder of `path` does not exist: {target.parent}")
    temporary = target.parent / f".{target.name}.{secrets.token_hex(6)}.part"
    # O_EXCL and O_NOFOLLOW: never through a link that somebody else put there
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return target
