"""Table: numeric features and a target, by column name; decides between classes and numbers, says why."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError, DataError
from ..plain_text import plain
from ..ranges import BELOW_ONE, Count
from .columns import Selection, is_number
from .csv_file import MISSING, RawTable, read_csv
from .limits import Limits, shown
from .npz_file import read_npz

Task = Literal["classification", "regression"]
MAX_INTEGER_CLASSES = 32
MAX_CLASSES = 1_000


@dataclass(frozen=True)
class Table:
    """Features and target of one file.

    Attributes:
        X: features (N, d), float64, unscaled; finite, or NaN where missing values were asked for.
        y: class codes (N,) int64 for classification, numbers (N,) float64 for regression.
        task: "classification" or "regression".
        reason: one sentence that says how the task was decided.
        features: the d column names.
        target: the target's name.
        classes: for classification the names that the codes 0 … k−1 stand for; else empty.
    """

    X: NDArray[np.float64]
    y: NDArray[Any]
    task: Task
    reason: str
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...] = ()


def load(
    path: str | os.PathLike[str],
    target: str,
    *,
    features: Sequence[str] | None = None,
    drop: Sequence[str] = (),
    task: Task | None = None,
    limits: Limits | None = None,
    missing: Literal["refuse", "keep"] = "refuse",
) -> Table:
    """Load a table from a `.csv` file (UTF-8, header line) or an `.npz` archive (arrays with N rows).

    Text targets are classes. A numeric target is a class label when it takes at most 32 different whole
    values, each on average at least twice; otherwise it is a number to predict. `task` overrules this.

    Args:
        path: the file; its ending decides how it is read.
        target: name of the column (array) to predict.
        features: names of the columns to use; None: all others.
        drop: names of columns to leave out.
        task: "classification" or "regression"; None decides from the target.
        limits: caps on size; None for the defaults.
        missing: a feature without a value (an empty field, "NA", "?", NaN …) is an error ("refuse") or NaN ("keep"),
            which `Standardiser(missing="mean")` understands. A target without a value is always an error.

    Raises:
        DataError: the file cannot be used; the message names the column and the line.
        ArgumentError: `task` or `missing` is none of the two.
        ArgumentTypeError: `path` is no path, or names are no text.
    """
    if task not in (None, "classification", "regression"):
        raise ArgumentError(f"`task` must be 'classification', 'regression' or None, got {task!r}")
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentTypeError(f"`path` must be a path, got {type(path).__name__}")
    readers = {".csv": read_csv, ".npz": read_npz}
    read = readers.get(Path(path).suffix.lower())
    if read is None:
        raise DataError(f"{shown(path)}: the name must end in .csv or .npz")
    if not isinstance(target, str):
        raise ArgumentTypeError(f"`target` must be a column name, got {type(target).__name__}")
    if limits is not None and not isinstance(limits, Limits):
        raise ArgumentTypeError(f"`limits` must be unstuck.data.Limits or None, got {type(limits).__name__}")
    chosen = None if features is None else _names("features", features)
    if missing not in ("refuse", "keep"):
        raise ArgumentError(f"`missing` must be 'refuse' or 'keep', got {missing!r}")
    wanted = Selection(target, chosen, _names("drop", drop), keep_missing=missing == "keep")
    raw = read(path, wanted, limits or Limits())
    if len(raw.target) == 0:
        raise DataError(f"{shown(path)} has column names but no rows")
    return _decide(shown(path), raw, target, task)


def split(n: int, fraction: float, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of a training and a validation part: a random permutation of n samples, cut once.

    Args:
        n: number of samples.
        fraction: share of the validation part, in [0, 1); 0 leaves it empty.
        seed: of the permutation.

    Raises:
        ArgumentError: a part that should have samples would be empty, or a number is out of its range.
        ArgumentTypeError: an argument is no number.
    """
    n, seed = Count(0).check("n", n), Count(0).check("seed", seed)
    fraction = BELOW_ONE.check("fraction", fraction)
    held = round(n * fraction) if fraction > 0 else 0
    if held >= n or (fraction > 0 and held == 0):
        raise ArgumentError(f"`fraction` = {fraction} of {n} samples leaves one part empty")
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[held:]), np.sort(order[:held])


def _names(argument: str, names: Any) -> tuple[str, ...]:
    """Column names as a tuple; one name alone would be taken letter by letter."""
    listed = tuple(names) if isinstance(names, Iterable) and not isinstance(names, (str, bytes)) else (None,)
    if not all(isinstance(name, str) for name in listed):
        raise ArgumentTypeError(
            f"`{argument}` must be a list of column names such as ['a', 'b'], got {reprlib.repr(names)}"
        )
    return listed


def _decide(file: str, raw: RawTable, target: str, task: Task | None) -> Table:
    numbers = _numbers(file, raw, target)
    if numbers is None:
        return _text_classes(file, raw, target, task)
    place = f"{file}: the target `{plain(target, 80)}`"
    distinct = np.unique(numbers)
    if len(distinct) < 2:
        raise DataError(f"{place} is {distinct[0]:g} in every row; there is nothing to learn")
    whole = bool(np.all(distinct == np.floor(distinct)) and np.abs(distinct).max() < 2**53)
    what = f"{len(distinct):,} different {'whole numbers' if whole else 'numbers, not all whole'}"
    if task == "classification" and not (whole and len(distinct) <= MAX_CLASSES):
        raise DataError(f"{place} holds {what}: no classes; predict it by regression")
    few = len(distinct) <= MAX_INTEGER_CLASSES and len(numbers) >= 2 * len(distinct)
    decided: Task = task or ("classification" if whole and few else "regression")
    reason = _reason(decided, task, target, what)
    if decided == "regression":
        return Table(raw.features, numbers, decided, reason, raw.names, target)
    codes = np.searchsorted(distinct, numbers).astype(np.int64)
    classes = tuple(str(int(value)) for value in distinct)
    return Table(raw.features, codes, decided, reason, raw.names, target, classes)


def _text_classes(file: str, raw: RawTable, target: str, task: Task | None) -> Table:
    distinct, codes = np.unique(np.asarray(raw.target, dtype=object), return_inverse=True)
    classes = tuple(str(value) for value in distinct)
    place = f"{file}: the target `{plain(target, 80)}`"
    if len(classes) < 2:
        raise DataError(f"{place} is '{plain(classes[0], 60)}' in every row; there is nothing to learn")
    what = f"{len(classes):,} different texts"
    if task == "regression" or len(classes) > MAX_CLASSES or 2 * len(classes) > len(codes):
        row, text = next((i, text) for i, text in enumerate(raw.target) if not is_number(text))
        culprit = f"{raw.place(row)} holds '{plain(text, 60)}'"
        if task == "regression":
            raise DataError(f"{place} is not numeric ({culprit}); regression needs numbers")
        raise DataError(f"{place} is neither numeric ({culprit}) nor a set of classes ({what} in {len(codes):,} rows)")
    reason = _reason("classification", task, target, what)
    return Table(raw.features, codes.astype(np.int64), "classification", reason, raw.names, target, classes)


def _reason(decided: Task, asked: Task | None, target: str, what: str) -> str:
    because = "as asked" if asked else "decided from the target"
    return f"{decided.capitalize()}, {because}: `{plain(target, 80)}` holds {what}."


def _numbers(file: str, raw: RawTable, target: str) -> NDArray[np.float64] | None:
    """The target as finite float64, or None when it is text."""
    if isinstance(raw.target, np.ndarray) and raw.target.dtype.kind != "U":
        numbers = raw.target.astype(np.float64)
    else:
        for row, text in enumerate(raw.target):
            if text.strip().lower() in MISSING:
                raise DataError(f"{file}, {raw.place(row)}: the target `{plain(target, 80)}` has no value")
        try:
            numbers = np.array([float(text) for text in raw.target])
        except ValueError:
            return None
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise DataError(f"{file}, {raw.place(int(bad[0]))}: the target `{plain(target, 80)}` is not a finite number")
    return numbers
