"""How many threads the core uses: `us.threads(k)` or the environment variable UNSTUCK_THREADS."""

from __future__ import annotations

import os

from . import _core
from .errors import ArgumentError, ArgumentTypeError


def threads(k: int | None = None) -> int:
    """Set (k ≥ 1), release (k = 0: automatic) or only read (None) the number of threads; returns the number in use.

    Automatic is min(OpenMP's setting, CPU affinity, container quota), read at every call; 1 in a forked child.
    k may exceed the cores. Results are the same to the bit for any k.

    Raises:
        ArgumentError: k is negative or above 4096.
    """
    if k is not None:
        if isinstance(k, bool) or not hasattr(k, "__index__"):
            raise ArgumentTypeError(f"`k` must be an integer or None, got {k!r}")
        if not 0 <= int(k) <= 4096:
            raise ArgumentError(f"`k` must be in [0, 4096] (0: automatic), got {k}")
        _core.set_thread_count(k)
    return int(_core.thread_count())


def _from_environment() -> None:
    text = os.environ.get("UNSTUCK_THREADS", "").strip()
    if not text:
        return
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= 4096):
        raise ArgumentError(f"UNSTUCK_THREADS must be an integer in [1, 4096], got {text[:40]!r}")
    _core.set_thread_count(int(text))


_from_environment()
