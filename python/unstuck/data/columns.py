"""Which columns of a table are features: checks the names, finds the target, suggests near spellings."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..plain_text import plain
from .limits import Limits


@dataclass(frozen=True)
class Selection:
    """Which columns are wanted: the target, the features (None: all others), and those to leave out.

    With `keep_missing` a feature without a value is NaN, else an error.
    """

    target: str
    features: Sequence[str] | None = None
    drop: Sequence[str] = ()
    keep_missing: bool = False


def check_names(file: str, names: Sequence[str], target: str, limits: Limits) -> None:
    """Refuse empty, duplicate, overlong or too many column names, and a first line that holds data.

    Raises:
        DataError: with the first offending column.
    """
    if not names:
        raise DataError(f"{file}: the first line must hold the column names, it is empty")
    if len(names) > limits.columns:
        raise DataError(f"{file} has {len(names):,} columns, more than the limit of {limits.columns:,}")
    if target not in names and all(is_number(name) for name in names):
        raise DataError(
            f"{file}: the first line must hold the column names, but it holds numbers "
            f"('{plain(names[0], 40)}', …); add a header line"
        )
    seen: set[str] = set()
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{file}: column {i + 1} has no name; name it in the header line")
        if len(name) > limits.field_characters:
            raise DataError(f"{file}: the name of column {i + 1} has {len(name):,} characters")
        if name in seen:
            raise DataError(f"{file}: two columns are named `{plain(name, 80)}`; rename one")
        seen.add(name)


def choose_columns(file: str, names: Sequence[str], wanted: Selection) -> tuple[list[int], int]:
    """Indices of the feature columns, in the file's order, and the index of the target.

    Raises:
        DataError: an unknown column, a target among the features, or no feature left.
    """
    index = {name: i for i, name in enumerate(names)}
    asked, target = list(wanted.features or ()), wanted.target
    for name in [target, *asked, *wanted.drop]:
        if name not in index:
            raise DataError(_unknown(file, name, names))
    if target in asked or target in wanted.drop:
        raise DataError(f"{file}: the target `{plain(target, 80)}` cannot also be a feature or be dropped")
    chosen = set(names if wanted.features is None else asked) - set(wanted.drop) - {target}
    if not chosen:
        raise DataError(f"{file} has no feature column left beside the target `{plain(target, 80)}`")
    return [i for i, name in enumerate(names) if name in chosen], index[target]


def _unknown(file: str, name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names[:2000], n=1)
    if close:
        return f"{file} has no column `{plain(name, 80)}`; did you mean `{plain(close[0], 80)}`?"
    listed = ", ".join(f"`{plain(known, 30)}`" for known in names[:8])
    rest = f" and {len(names) - 8:,} more" if len(names) > 8 else ""
    return f"{file} has no column `{plain(name, 80)}`; it has {listed}{rest}"


def unusable(features: NDArray[np.float64], keep_missing: bool) -> NDArray[np.intp]:
    """(row, column) of every feature value that is infinite, or NaN unless that is kept, (k, 2)."""
    bad = np.isinf(features) if keep_missing else ~np.isfinite(features)
    return np.argwhere(bad) if features.size else np.empty((0, 2), np.intp)


def is_number(text: str) -> bool:
    """Whether `text` is a number in a CSV file: what float() reads."""
    try:
        float(text)
    except ValueError:
        return False
    return True
