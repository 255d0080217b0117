"""One thread at a time: what one thread is changing in a long call is refused to every other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray

from .errors import BusyError

_PATIENCE = 0.5  # seconds that a quick access waits for another quick one
_moved: set[int] = set()  # addresses of the points that runs are moving
_choosing = threading.Lock()


@contextlib.contextmanager
def moving(theta: NDArray[Any], call: str) -> Iterator[None]:
    """Marks the body in which the run that calls `call` moves the point `theta`.

    Raises:
        BusyError: another run is moving it.
    """
    address = int(theta.ctypes.data)
    with _choosing:
        if address in _moved:
            raise BusyError(
                f"`{call}`: another run is training the same network now; wait for it, or train a fork() or another "
                "network"
            )
        _moved.add(address)
    try:
        yield
    finally:
        with _choosing:
            _moved.discard(address)


class Exclusive:
    """Guards an object that is changed in long calls and read or changed in quick ones.

    A long call holds the object until it ends; other threads, and calls from within it that would train too,
    are refused with BusyError at once. Quick accesses by the thread of the long call pass: its callbacks run
    between two updates.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: int | None = None  # the thread of the long call

    @contextlib.contextmanager
    def long(self, call: str) -> Iterator[None]:
        """Marks the body of the long call `call`, e.g. "fit"."""
        if self._holder is not None:
            raise BusyError(f"`{call}` is already running on this run; wait for it, or train another run or a fork()")
        with self._acquired(call):
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None

    @contextlib.contextmanager
    def quick(self, call: str) -> Iterator[None]:
        """Marks the body of a quick access `call`, e.g. "state"."""
        if self._holder not in (None, threading.get_ident()):
            raise BusyError(f"`{call}` must wait: another thread is training this run")
        with self._acquired(call):
            yield

    @contextlib.contextmanager
    def _acquired(self, call: str) -> Iterator[None]:
        if not self._lock.acquire(timeout=_PATIENCE):
            raise BusyError(f"`{call}` must wait: another thread is using this run")
        try:
            yield
        finally:
            self._lock.release()
