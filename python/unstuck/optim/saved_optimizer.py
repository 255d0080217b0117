"""An optimizer in one file: state vectors as safetensors in their own type, the rest as JSON, a checksum over both."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from ..atomic_file import as_path, write_atomically
from ..errors import ArgumentTypeError, CheckpointError
from ..state import feed
from .rules import from_state

if TYPE_CHECKING:
    from .base import Optimizer, Rate

KIND, SCHEMA = "unstuck.Optimizer", 1


def save(optimizer: Optimizer, path: str | os.PathLike[str]) -> None:
    """Write the optimizer to `path`, whole or not at all; `load` continues to the bit.

    Schedules of `unstuck.schedules` are saved; other callables are not, and are given to `load` again.

    Raises:
        ArgumentError: the folder is missing or not writable.
        ArgumentTypeError: `optimizer` is none, or `path` is no path.
    """
    from safetensors.numpy import save as pack

    if not callable(getattr(optimizer, "state", None)):
        raise ArgumentTypeError(f"`optimizer` must be one of unstuck.optim, got {type(optimizer).__name__}")
    state = optimizer.state()
    slots = state.pop("slots")
    record = {"kind": KIND, "schema": SCHEMA, "optimizer": state, "slots": list(slots)}
    record["sha256"] = _checksum(slots, record)
    write_atomically(as_path(path), pack(slots, metadata={"unstuck": json.dumps(record)}))


def load(path: str | os.PathLike[str], lr: Rate | None = None, **hyper: Any) -> Optimizer:
    """The optimizer that `save` wrote.

    Args:
        path: the file.
        lr: needed only if the learning rate was a callable that cannot be saved.
        **hyper: the same for other hyper-parameters.

    Raises:
        ArgumentError: `lr` or a hyper-parameter is needed and missing.
        ArgumentTypeError: `path` is no path.
        CheckpointError: the file is missing, damaged, of another kind or a newer format.
    """
    from safetensors import SafetensorError, safe_open

    goal = as_path(path)
    if not goal.is_file():
        what = "is not a regular file" if goal.exists() else "does not exist"
        raise CheckpointError(f"`path`: {str(path)!r} {what}")
    try:
        with safe_open(goal, framework="numpy") as file:
            record = json.loads(file.metadata()["unstuck"])
            kind, schema, checksum = record["kind"], record["schema"], record.pop("sha256")
            slots = {name: file.get_tensor(name) for name in record["slots"]} if kind == KIND else {}
    except (SafetensorError, ValueError, KeyError, TypeError, OSError, RecursionError) as error:
        raise CheckpointError(f"`path`: {goal.name!r} is no saved optimizer, or it is damaged: {error}") from None
    if (kind, schema) != (KIND, SCHEMA):
        raise CheckpointError(f"`path`: {goal.name!r} holds a {kind} of format {schema}, not a {KIND} of {SCHEMA}")
    if checksum != _checksum(slots, record):
        raise CheckpointError(f"`path`: {goal.name!r} is damaged: its checksum is wrong")
    return from_state({**record["optimizer"], "slots": slots}, lr, **hyper)


def _checksum(slots: dict[str, Any], record: dict[str, Any]) -> str:
    hasher = hashlib.sha256()
    feed(hasher, "slots", slots)
    hasher.update(json.dumps(record, sort_keys=True).encode())
    return hasher.hexdigest()
