"""State: everything that training changes, in one value that can be copied, compared and put back."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class State:
    """Everything that training changes; independent of the run that it was taken from.

    Attributes:
        theta: parameters (n,).
        optimizer: what the optimizer carries from one update to the next, as its `state()` gives it.
        epoch: epochs completed.
        position: updates completed within the current epoch.
        updates: updates in the run's history.
        average: exponential moving average of θ (n,), or None.
        buffers: running statistics of the network's layers (m,), or None.
    """

    theta: Array
    optimizer: dict[str, Any]
    epoch: int
    position: int
    updates: int
    average: Array | None = None
    buffers: Array | None = None

    def copy(self) -> State:
        """A State that shares no memory with this one."""
        return copy.deepcopy(self)

    def digest(self) -> str:
        """SHA-256 of every bit of the state, as 64 hexadecimal digits: equal states, equal digests."""
        hasher = hashlib.sha256()
        for field in fields(self):
            feed(hasher, field.name, getattr(self, field.name))
        return hasher.hexdigest()


def feed(hasher: Any, name: str, value: Any) -> None:
    """Hashes a value with its name, type and shape, so that different states cannot spell the same bytes."""
    if isinstance(value, np.ndarray):
        hasher.update(f"{name}:{value.dtype.str}{value.shape};".encode())
        hasher.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        hasher.update(f"{name}:{{{len(value)};".encode())
        for key in sorted(value):
            feed(hasher, str(key), value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str):
        hasher.update(f"{name}:[{len(value)};".encode())
        for index, item in enumerate(value):
            feed(hasher, str(index), item)
    else:
        plain = value.item() if isinstance(value, np.generic) else value
        hasher.update(f"{name}:{type(plain).__name__}:{plain!r};".encode())
