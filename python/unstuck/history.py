"""The record of a training run: one row per update, one row per validation, and what happened on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError

if TYPE_CHECKING:
    from .train import Trainer

Array = NDArray[Any]

UPDATE_COLUMNS: dict[str, type] = {
    "step": np.int64,
    "epoch": np.int64,
    "loss": np.float64,
    "gradient_norm": np.float64,
    "lr": np.float64,
    "samples": np.int64,
}
VALIDATION_COLUMNS: dict[str, type] = {
    "validation_step": np.int64,
    "validation_epoch": np.int64,
    "validation_loss": np.float64,
    "validation_accuracy": np.float64,
}
# one row per look of a SharpnessTracker that is attached to the run
CURVATURE_COLUMNS: dict[str, type] = {
    "curvature_step": np.int64,
    "curvature_epoch": np.int64,
    "lambda_max": np.float64,
    "lambda_max_upper": np.float64,
    "lambda_min": np.float64,
    "effective_lambda_max": np.float64,
    "stability_threshold": np.float64,
}


class Watcher(Protocol):
    """Looks at a run between two updates of a `fit`."""

    def due_in(self, run: Trainer) -> int:
        """Updates until the next look, at least 1."""

    def observe(self, run: Trainer) -> dict[str, Any] | None:
        """What it sees, as a row of CURVATURE_COLUMNS, where a look is due."""


class History(Mapping[str, Array]):
    """The record of a run; `history["loss"]` is a read-only array.

    One row per update: `step` (1 for the first), `epoch` (0 for the first), `loss` and `gradient_norm` (of
    the update's batch, before the update and before clipping), `lr`, `samples` (in its batch). One row per
    validation: `validation_step`, `validation_epoch` (updates and epochs completed), `validation_loss`,
    `validation_accuracy` (a fraction; NaN where the task has none). One row per look of an attached
    `us.curvature.SharpnessTracker`: `curvature_step`, `curvature_epoch` (updates and epochs completed), `lambda_max`
    (a lower bound), `lambda_max_upper`, `lambda_min`, `effective_lambda_max`, `stability_threshold`.

    Attributes:
        events: what was done to the run besides training: [{"step", "kind", "text"}].
    """

    def __init__(self) -> None:
        self._updates = _Table(UPDATE_COLUMNS)
        self._validations = _Table(VALIDATION_COLUMNS)
        self._curvatures = _Table(CURVATURE_COLUMNS)
        self.events: list[dict[str, Any]] = []
        self._head: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        for table in (self._updates, self._validations, self._curvatures):
            if name in table.columns:
                return table.column(name)
        raise KeyError(f"{name!r}; the history has {', '.join(self)}")

    def __iter__(self) -> Iterator[str]:
        yield from UPDATE_COLUMNS
        yield from VALIDATION_COLUMNS
        yield from CURVATURE_COLUMNS

    def __len__(self) -> int:
        return len(UPDATE_COLUMNS) + len(VALIDATION_COLUMNS) + len(CURVATURE_COLUMNS)

    def __repr__(self) -> str:
        tests = self._validations.rows
        return f"History({self.updates} updates, {tests} validations, {len(self.events)} events)"

    @property
    def updates(self) -> int:
        """Number of updates recorded."""
        return self._updates.rows

    def add_updates(self, **columns: Any) -> None:
        """Appends one row per update; every column of an update is given, all of one length."""
        self._updates.add(columns)

    def add_validation(self, **columns: Any) -> None:
        """Appends one validation."""
        self._validations.append(columns)

    def add_curvature(self, **columns: Any) -> None:
        """Appends one look at the curvature."""
        self._curvatures.append(columns)

    def truncate(self, updates: int) -> None:
        """Forgets everything after the first `updates` updates.

        Raises:
            ArgumentError: fewer updates were recorded.
        """
        if not 0 <= updates <= self.updates:
            raise ArgumentError(f"`updates` must lie within the {self.updates} recorded updates, got {updates}")
        last = int(self["step"][updates - 1]) if updates else 0
        self._updates.rows = updates
        self._validations.rows = int(np.searchsorted(self["validation_step"], last, side="right"))
        self._curvatures.rows = int(np.searchsorted(self["curvature_step"], last, side="right"))
        self.events = [event for event in self.events if event["step"] <= last]

    def epoch_losses(self) -> tuple[Array, Array]:
        """(epochs, mean training loss of each): batch losses weighted by their samples."""
        epoch, weight = self["epoch"], np.maximum(self["samples"], 1).astype(np.float64)
        if not self.updates:
            return np.zeros(0, np.int64), np.zeros(0)
        seen, place = np.unique(epoch, return_inverse=True)
        return seen, np.bincount(place, self["loss"] * weight) / np.bincount(place, weight)

    def last_epoch_loss(self, updates: int) -> float:
        """Mean loss of the last row's epoch, which has at most `updates` updates, weighted by their samples."""
        epoch, loss, samples = (self._with_head(name)[-updates:] for name in ("epoch", "loss", "samples"))
        of_epoch = epoch == epoch[-1]
        return float(np.average(loss[of_epoch], weights=np.maximum(samples, 1)[of_epoch]))

    def begin_within(self, other: History, epoch: int) -> None:
        """Of the epoch that this run begins in the middle, the part that `other` has trained."""
        chosen = other._with_head("epoch") == epoch
        self._head = {name: other._with_head(name)[chosen] for name in ("epoch", "loss", "samples")}

    def _with_head(self, name: str) -> Array:
        return np.concatenate([self._head[name], self[name]]) if self._head else self[name]


class _Table:
    """Columns of equal length that grow in place."""

    def __init__(self, columns: dict[str, type]) -> None:
        self.columns: dict[str, Array] = {name: np.empty(0, dtype) for name, dtype in columns.items()}
        self.rows = 0

    def column(self, name: str) -> Array:
        view = self.columns[name][: self.rows]
        view.flags.writeable = False
        return view

    def add(self, columns: dict[str, Any]) -> None:
        values = {name: np.asarray(columns[name]) for name in self.columns}
        more = len(next(iter(values.values())))
        self._make_room(more)
        for name, value in values.items():
            self.columns[name][self.rows : self.rows + more] = value
        self.rows += more

    def append(self, row: dict[str, Any]) -> None:
        self._make_room(1)
        for name, column in self.columns.items():
            column[self.rows] = row[name]
        self.rows += 1

    def _make_room(self, more: int) -> None:
        if self.rows + more > len(next(iter(self.columns.values()))):
            capacity = max(64, 2 * (self.rows + more))
            # built whole before it replaces the old one: an interrupt leaves one or the other
            self.columns = {name: _grown(old, self.rows, capacity) for name, old in self.columns.items()}


def _grown(old: Array, rows: int, capacity: int) -> Array:
    new = np.empty(capacity, old.dtype)
    new[:rows] = old[:rows]
    return new
