"""A training run in one file: arrays as safetensors, the rest as JSON in its header, a checksum over both."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import optim
from .atomic_file import write_atomically
from .errors import ArgumentError, CheckpointError
from .landscape import Landscape
from .report.facts import jsonable
from .saved_run import check_position, require_regular, saved_failure, saved_history
from .state import State, feed
from .train import Trainer

if TYPE_CHECKING:
    from .optim.base import Optimizer

Array = NDArray[Any]

KIND = "unstuck.Trainer"
SCHEMA = 1
OPTIMIZER, HISTORY = "optimizer.", "history."


def save_trainer(run: Trainer, path: Path) -> None:
    """Writes the run to `path`, whole or not at all.

    Raises:
        ArgumentError: the folder is missing or not writable.
    """
    from safetensors.numpy import save

    arrays, record = _pack(run)
    record["sha256"] = _checksum(arrays, record)
    write_atomically(path, save(arrays, metadata={"unstuck": json.dumps(record)}))


def load_trainer(path: Path, land: Landscape, opt: Optimizer | None, validation: Any) -> Trainer:
    """The run that `save_trainer` wrote, on `land`; nothing of `land` is touched when an error is raised.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind or a newer format, or does not fit
            `land`.
    """
    arrays, record = _read(path)
    try:
        _require_fit(record["problem"], _problem(land))
        optimizer = _optimizer(record["optimizer"], arrays, opt)
        state = State(
            theta=arrays["theta"],
            optimizer=optimizer,
            updates=len(arrays[HISTORY + "step"]),
            average=arrays.get("average"),
            buffers=arrays.get("buffers"),
            **record["sampler"],
        )
        history = saved_history(arrays, record, HISTORY)
        check_position(state, record, land)
        failure = None if record["failure"] is None else saved_failure(record["failure"])
        blank = optim.RULES[optimizer["rule"]](lr=0.0) if opt is None else opt.copy()
        blank.load_state(optimizer)
        run = Trainer(land, blank, validation=validation, theta=state.theta, **record["settings"])
        run.history = history
        run._forked_at = record["forked_at"]
        run.restore(state)
        run.failure = failure
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"`path`: {path.name!r} cannot be continued: {error}") from error
    return run


def _pack(run: Trainer) -> tuple[dict[str, Array], dict[str, Any]]:
    """(arrays by name, everything else)."""
    state = run.state()
    arrays = {"theta": state.theta}
    if state.average is not None:
        arrays["average"] = state.average
    if state.buffers is not None:
        arrays["buffers"] = state.buffers
    slots = state.optimizer["slots"]
    arrays.update({OPTIMIZER + name: array for name, array in slots.items()})
    arrays.update({HISTORY + name: np.array(run.history[name]) for name in run.history})
    record = {
        "kind": KIND,
        "schema": SCHEMA,
        "problem": _problem(run.land),
        "settings": {
            "batch_size": run.batch_size,
            "seed": run.seed,
            "clip_norm": run.clip_norm,
            "ema": run.ema,
        },
        "optimizer": {**state.optimizer, "slots": list(slots), "rule": type(run.opt).__name__},
        "sampler": {"epoch": state.epoch, "position": state.position},
        "forked_at": run.t - run.history.updates,
        "events": run.history.events,
        "failure": None if run.failure is None else jsonable(dataclasses.asdict(run.failure)),
    }
    return arrays, record


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the record of a file, checked against its checksum."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    require_regular(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"`path`: cannot read {path.name!r}: {error.strerror}") from None
    try:
        arrays = dict(load(content))
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        record = json.loads(header["__metadata__"]["unstuck"])
        kind, schema = record["kind"], record["schema"]
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise CheckpointError(f"`path`: {path.name!r} is no saved run, or it is damaged: {error}") from None
    if kind != KIND:
        raise CheckpointError(f"`path`: {path.name!r} holds a {kind}, not a run")
    if schema != SCHEMA:
        raise CheckpointError(f"`path`: {path.name!r} has format {schema}; this version reads format {SCHEMA}")
    if record.pop("sha256", None) != _checksum(arrays, record):
        raise CheckpointError(f"`path`: {path.name!r} is damaged: its checksum is wrong")
    return arrays, record


def _checksum(arrays: dict[str, Array], record: dict[str, Any]) -> str:
    hasher = hashlib.sha256()
    feed(hasher, "arrays", arrays)
    hasher.update(json.dumps(record, sort_keys=True).encode())
    return hasher.hexdigest()


def _problem(land: Landscape) -> dict[str, Any]:
    """What must be the same for a run to go on."""
    return {
        "n": land.n,
        "dtype": np.dtype(land.dtype).name,
        "samples": land.samples,
        "blocks": [[name, list(shape)] for name, _, shape in land.blocks],
    }


def _require_fit(saved: dict[str, Any], here: dict[str, Any]) -> None:
    for name, value in here.items():
        if saved[name] != value:
            raise CheckpointError(f"`land` does not fit the saved run: its {name} is {value}, saved was {saved[name]}")


def _optimizer(saved: dict[str, Any], arrays: dict[str, Array], opt: Optimizer | None) -> dict[str, Any]:
    """The optimizer's state, its arrays put back."""
    if saved["lr"] is None and opt is None:
        raise ArgumentError("its learning rate was a function, which a file cannot hold; pass `opt` with that `lr`")
    return {**saved, "slots": {name: arrays[OPTIMIZER + name] for name in saved["slots"]}}
