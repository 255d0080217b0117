"""What a saved run says about itself, checked: a file with the right checksum may still have been forged."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError, CheckpointError
from .failure import Failure
from .history import CURVATURE_COLUMNS, UPDATE_COLUMNS, VALIDATION_COLUMNS, History
from .landscape import Landscape, check_theta
from .plain_text import plain
from .ranges import Count
from .sampler import Sampler
from .state import State

Array = NDArray[Any]

_MOST = 2**62  # of any count: sums of two still fit 64 bits


def require_regular(path: Path) -> None:
    """Refuses what can be opened but never read to its end: pipes, devices, sockets.

    Raises:
        CheckpointError: `path` exists and is no regular file, or is no file name.
    """
    try:
        kind = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"`path`: cannot read {plain(path.name, 80)!r}: {reason}") from None
    if not stat.S_ISREG(kind):
        raise CheckpointError(f"`path`: cannot read {plain(path.name, 80)!r}: it is not a regular file")


def count(value: Any, name: str) -> int:
    """`value` as a count below 2⁶², or an error that names it."""
    number = Count(0).check(name, value)
    if number >= _MOST:
        raise ArgumentError(f"`{name}` must be below 2**62, got {number}")
    return number


def check_position(state: State, record: dict[str, Any], land: Landscape) -> None:
    """Epoch, position, updates and the optimizer's count must be those of one run on `land`.

    Raises:
        ArgumentError, ArgumentTypeError: they contradict each other, or `average` does not fit.
    """
    epoch, position = count(state.epoch, "epoch"), count(state.position, "position")
    done = count(record["forked_at"], "forked_at") + state.updates
    settings = record["settings"]
    batch_size, seed = count(settings["batch_size"], "batch_size"), Count(0).check("seed", settings["seed"])
    count(state.optimizer["t"], "t")
    sampler = Sampler(land.samples, max(batch_size, 1), seed)
    if position >= sampler.steps_per_epoch or epoch * sampler.steps_per_epoch + position != done:
        raise ArgumentError(
            f"`sampler`: epoch {epoch} and position {position} are not those of {done} updates, "
            f"{sampler.steps_per_epoch} per epoch"
        )
    if (state.average is None) != (settings["ema"] is None):
        raise ArgumentError("`average` and `ema` must both be there or both be missing")
    if state.average is not None:
        check_theta(state.average, land.n, land.dtype, "average")


def saved_history(arrays: dict[str, Array], record: dict[str, Any], prefix: str) -> History:
    """The history of a saved run.

    Raises:
        ArgumentError, ArgumentTypeError: its rows are not those of a run.
    """
    updates, tests = (
        {name: _column(arrays[prefix + name], name, kind) for name, kind in columns.items()}
        for columns in (UPDATE_COLUMNS, VALIDATION_COLUMNS)
    )
    looks = {  # absent in files of earlier versions
        name: _column(arrays.get(prefix + name, np.empty(0, kind)), name, kind)
        for name, kind in CURVATURE_COLUMNS.items()
    }
    first, epochs = count(record["forked_at"], "forked_at"), count(record["sampler"]["epoch"], "epoch")
    steps = len(updates["step"])
    for columns, rows in (
        (updates, steps),
        (tests, len(tests["validation_step"])),
        (looks, len(looks["curvature_step"])),
    ):
        for name, column in columns.items():
            if len(column) != rows:
                raise ArgumentError(f"`history`: {name} has {len(column)} rows, others have {rows}")
    if not np.array_equal(updates["step"], np.arange(first + 1, first + steps + 1)):
        raise ArgumentError("`history`: the steps are not consecutive")
    for name, column, most in (
        ("epoch", updates["epoch"], epochs),
        ("validation_epoch", tests["validation_epoch"], epochs),
        ("validation_step", tests["validation_step"], steps),
        ("curvature_epoch", looks["curvature_epoch"], epochs),
        ("curvature_step", looks["curvature_step"], steps),
    ):
        if len(column) and (column[0] < 0 or column[-1] > most or (np.diff(column) < 0).any()):
            raise ArgumentError(f"`history`: {name} must rise from 0 to at most {most}")
    history = History()
    history.add_updates(**updates)
    for row in zip(*tests.values(), strict=True):
        history.add_validation(**dict(zip(tests, row, strict=True)))
    for row in zip(*looks.values(), strict=True):
        history.add_curvature(**dict(zip(looks, row, strict=True)))
    history.events.extend(_event(event, first + steps) for event in record["events"])
    return history


def saved_failure(values: dict[str, Any]) -> Failure:
    """The failure of a saved run; its numbers may be spelled "NaN" or "Infinity"."""
    words = [values[name] for name in ("block", "text")]
    if not all(isinstance(word, str) for word in words):
        raise ArgumentTypeError("`failure`: block and text must be text")
    step, epoch = count(values["step"], "step"), count(values["epoch"], "epoch")
    return Failure(step, epoch, words[0], float(values["loss"]), float(values["lr"]), words[1])


def _column(values: Array, name: str, kind: type) -> Array:
    if values.ndim != 1 or values.dtype != kind:
        raise ArgumentTypeError(
            f"`history`: {name} must be {np.dtype(kind)} of shape (rows,), got {values.dtype} of shape {values.shape}"
        )
    return values


def _event(event: Any, steps: int) -> dict[str, Any]:
    if not isinstance(event, dict) or not all(isinstance(event.get(name), str) for name in ("kind", "text")):
        raise ArgumentTypeError("`events` must hold what was done to the run: step, kind and text")
    if count(event["step"], "events: step") > steps:
        raise ArgumentError(f"`events`: step {event['step']} lies beyond the {steps} updates")
    return event
