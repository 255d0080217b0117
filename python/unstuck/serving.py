"""Which run an optimizer serves: one at a time, so that no two runs share momentum and moments."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .errors import BusyError

if TYPE_CHECKING:
    from .train import Trainer

_runs: weakref.WeakValueDictionary[int, Trainer] = weakref.WeakValueDictionary()  # id of an optimizer ↦ its run
_handing_over = threading.Lock()


@contextlib.contextmanager
def handed_over(opt: Any, run: Trainer) -> Iterator[None]:
    """In the body `opt` starts to serve `run`; the run that it served until now has got a copy of it.

    Raises:
        BusyError: that run is being trained by another thread.
    """
    with _handing_over:
        other = _runs.get(id(opt))
        if other is not None and other is not run and other._opt is opt:
            try:
                with other._exclusive.quick("opt"):
                    other._opt = opt.copy()
            except BusyError:
                raise BusyError("`opt` serves another run, which is being trained now; pass `opt.copy()`") from None
            _runs[id(other._opt)] = other
        yield
        _runs[id(opt)] = run
