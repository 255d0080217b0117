"""Reads a CSV file strictly: one header line, numbers in every feature column, one error otherwise."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..plain_text import plain
from .columns import Selection, check_names, choose_columns, unusable
from .limits import Limits, open_regular, shown

MISSING = frozenset({"", "nan", "na", "n/a", "null", "none", "?", "-nan", "<na>", "#n/a"})
CURE = "fill it in, remove the row, drop the column, or see the option `missing`"
_DELIMITERS = ",;\t|"
_MAGIC = {
    b"\x1f\x8b": "gzip-compressed",
    b"PK": "a zip archive (a spreadsheet?)",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x93NUMPY": "a NumPy file",
    b"%PDF": "a PDF",
    codecs.BOM_UTF32_LE: "UTF-32 text",
    codecs.BOM_UTF32_BE: "UTF-32 text",
    codecs.BOM_UTF16_LE: "UTF-16 text",
    codecs.BOM_UTF16_BE: "UTF-16 text",
}


@dataclass(frozen=True)
class RawTable:
    """Features as numbers and the target as it stands in the file.

    Attributes:
        features: (N, d) float64, finite.
        names: the d feature names.
        target: N stripped strings, or a numeric array (N,).
        where: for messages: data row index ↦ "line 12".
    """

    features: NDArray[np.float64]
    names: tuple[str, ...]
    target: Sequence[str] | NDArray[Any]
    where: Sequence[int] | None = None

    def place(self, row: int) -> str:
        """Where data row `row` (from 0) stands in the file."""
        return f"row {row + 1}" if self.where is None else f"line {self.where[row]}"


def read_csv(path: str | os.PathLike[str], wanted: Selection, limits: Limits) -> RawTable:
    """Read `path` (UTF-8; comma, semicolon, tab or bar; one header line); see `unstuck.data.load`."""
    with open_regular(path, limits) as file:
        _refuse_other_formats(path, file)
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="strict", newline="")
        lines = _Lines(shown(path), text, limits)
        try:
            table = _read_rows(lines, wanted, limits)
        except csv.Error as error:
            raise DataError(f"{lines.place()}: {_not_csv(error)}") from None
        except UnicodeDecodeError:
            raise DataError(f"{shown(path)}, {_first_bad_byte(file)}; save the file as UTF-8") from None
    _check_finite(shown(path), table, wanted.keep_missing)
    return table


def _refuse_other_formats(path: str | os.PathLike[str], file: BinaryIO) -> None:
    start = file.read(8)
    file.seek(0)
    for magic, what in _MAGIC.items():
        if start.startswith(magic):
            raise DataError(f"{shown(path)} is {what}, not a CSV file in UTF-8; convert it first")


def _not_csv(error: csv.Error) -> str:
    if "field limit" in str(error):
        return (
            f"one field goes on for more than {csv.field_size_limit():,} characters; "
            "a quote may be open without its end, or this is no table"
        )
    return f"not valid CSV ({plain(error)}); check the quotes"


def _first_bad_byte(file: BinaryIO) -> str:
    """Place and value of the first byte that is not UTF-8; text is decoded in blocks, so lines read say little."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, before = 1, b""
    file.seek(0)
    for block in iter(lambda: file.read(2**20), b""):
        try:
            decoder.decode(block)
        except UnicodeDecodeError as error:
            # bytes of a character that an earlier block began come first in error.object
            at = error.start - (len(error.object) - len(block))
            line += _breaks(before, block[: max(at, 0)])
            return f"line {line}: the byte 0x{error.object[error.start]:02x} is not UTF-8 text"
        line += _breaks(before, block)
        before = block[-1:]
    return f"line {line}: the text ends in the middle of a character"


def _breaks(before: bytes, block: bytes) -> int:
    r"""Line ends in `block`: \n, \r or \r\n, also when `before` ended in the \r of it."""
    split = int(before == b"\r" and block.startswith(b"\n"))
    return block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n") - split


class _Lines:
    """The file's lines with their caps; `number` counts the lines handed out."""

    def __init__(self, file: str, text: io.TextIOWrapper, limits: Limits) -> None:
        self.file, self._text, self._limit = file, text, limits.line_characters
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._text.readline(self._limit + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > self._limit:
            raise DataError(f"{self.place()}: longer than {self._limit:,} characters")
        if "\0" in line:
            raise DataError(f"{self.place()}: holds NUL bytes; it is binary or UTF-16, not a CSV file in UTF-8")
        return line

    def place(self) -> str:
        return f"{self.file}, line {self.number}"


def _read_rows(lines: _Lines, wanted: Selection, limits: Limits) -> RawTable:
    header = next(lines, "")
    delimiter = max(_DELIMITERS, key=re.sub(r'"[^"]*"', "", header).count)  # outside quotes
    whole = itertools.chain([header], lines)
    reader = csv.reader(whole, delimiter=delimiter, skipinitialspace=True, strict=True)
    names = [name.strip() for name in next(reader, [])]
    check_names(lines.file, names, wanted.target, limits)
    columns, at = choose_columns(lines.file, names, wanted)
    values, labels, where = array("d"), [], array("q")
    known: dict[str, str] = {}
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            raise DataError(f"{lines.place()}: has {len(row)} fields, the header has {len(names)}")
        try:
            values.extend([float(row[i]) for i in columns])
        except ValueError:
            if not wanted.keep_missing:
                raise DataError(f"{lines.place()}: {_bad_cell(names, row, columns)}") from None
            filled = ["nan" if cell.strip().lower() in MISSING else cell for cell in row]
            try:
                values.extend([float(filled[i]) for i in columns])
            except ValueError:
                raise DataError(f"{lines.place()}: {_bad_cell(names, row, columns, True)}") from None
        label = row[at].strip()
        if len(label) > limits.field_characters:
            raise DataError(f"{lines.place()}: the target's text has {len(label):,} characters")
        labels.append(known.setdefault(label, label))
        where.append(lines.number)
        if len(labels) > limits.rows or len(values) > limits.cells:
            raise DataError(f"{lines.file} is too large: over {limits.rows:,} rows or {limits.cells:,} numbers")
    numbers = np.frombuffer(values, dtype=np.float64) if len(values) else np.empty(0)
    table = numbers.reshape(len(labels), len(columns))
    return RawTable(table, tuple(names[i] for i in columns), labels, where)


def _bad_cell(names: list[str], row: list[str], columns: list[int], keep_missing: bool = False) -> str:
    for i in columns:
        cell, column = row[i].strip(), f"column `{plain(names[i], 80)}`"
        if cell.lower() in MISSING:
            if keep_missing:
                continue
            return f"{column} has no value; {CURE}"
        try:
            float(cell)
        except ValueError:
            comma = cell.count(",") == 1 and cell.replace(",", "").lstrip("+-").isdigit()
            cure = "write decimals with a point" if comma else "encode it as numbers, or drop the column"
            return f"{column} holds '{plain(cell, 60)}', which is not a number; {cure}"
    return "a field is not a number"


def _check_finite(file: str, table: RawTable, keep_missing: bool) -> None:
    bad = unusable(table.features, keep_missing)
    if len(bad):
        row, column = int(bad[0, 0]), int(bad[0, 1])
        value = table.features[row, column]
        what = "has no value" if math.isnan(value) else "holds a number too large for a double"
        raise DataError(f"{file}, {table.place(row)}: column `{plain(table.names[column], 80)}` {what}; {CURE}")
