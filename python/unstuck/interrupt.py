"""Ctrl-C: at safe points only during an update, at once during one long call that nothing can stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

Result = TypeVar("Result")


def interruptible(work: Callable[[], Result]) -> Result:
    """The result of `work`, computed in a thread of its own while this one waits and hears signals.

    For one long call that cannot be stopped and leaves the interpreter's lock to others, as LAPACK called by NumPy.
    After Ctrl-C it runs to its end in the background, up to which it keeps its memory; its result is dropped.

    Raises:
        Whatever `work` raises, or the handler of a signal that arrives meanwhile (KeyboardInterrupt).
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="unstuck-linear-algebra", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(0.1)
    if errors:
        raise errors[0]
    return results[0]


class Interrupts:
    """Keeps SIGINT out of the sections that must not be cut in two.

    `with Interrupts() as interrupts:` takes over the signal, `with interrupts.held:` marks a section that
    runs to its end before the previous handler is called (Python's raises KeyboardInterrupt). Outside such
    sections the previous handler is called at once, and a second signal within one section is not held back.

    In other threads than the main one, and where SIGINT is ignored or left to the system, nothing is changed.
    """

    def __init__(self) -> None:
        self.held = _Held(self)
        self._previous: Callable[[int, FrameType | None], Any] | None = None
        self._inside = False
        self._pending = False

    def __enter__(self) -> Interrupts:
        previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is threading.main_thread() and callable(previous):
            self._previous = previous
            signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._inside and not self._pending:
            self._pending = True
        elif self._previous is not None:
            self._previous(number, frame)

    def _enter(self) -> None:
        self._inside = True

    def _leave(self, failed: bool) -> None:
        self._inside = False
        if self._pending:
            self._pending = False
            if not failed and self._previous is not None:
                self._previous(signal.SIGINT, None)


class _Held:
    """The section of an Interrupts in which signals wait."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts

    def __enter__(self) -> None:
        self._interrupts._enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupts._leave(failed=kind is not None)
