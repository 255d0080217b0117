"""Reads an .npz archive without pickle and without trusting its sizes: arrays are measured before reading."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..errors import DataError
from ..plain_text import plain
from .columns import Selection, check_names, choose_columns, unusable
from .csv_file import CURE, RawTable
from .limits import Limits, open_regular, shown

_HEADER_BYTES = 10_000
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(path: str | os.PathLike[str], wanted: Selection, limits: Limits) -> RawTable:
    """Read `path`: the array named `wanted.target` (N,) and other arrays (N, …) as features."""
    file = shown(path)
    with open_regular(path, limits) as handle:
        try:
            with zipfile.ZipFile(handle) as archive:
                members = _members(file, archive, limits)
                names = list(members)
                check_names(file, names, wanted.target, limits)
                columns, at = choose_columns(file, names, wanted)
                read = {i: _read_array(file, archive, members[names[i]], limits) for i in [at, *columns]}
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
            raise DataError(f"{file} is not a readable .npz archive ({plain(error, 200)})") from None
    labels = _target_array(file, names[at], read[at])
    return _assemble(file, {names[i]: read[i] for i in columns}, labels, limits, wanted.keep_missing)


def _assemble(
    file: str, arrays: dict[str, NDArray[Any]], labels: NDArray[Any], limits: Limits, keep_missing: bool
) -> RawTable:
    columns: list[str] = []
    for name, values in arrays.items():
        _check_feature(file, name, values, len(labels))
        width = math.prod(values.shape[1:])
        columns += [name] if values.ndim == 1 else [f"{name}_{i}" for i in range(min(width, limits.columns + 1))]
        if len(columns) > limits.columns or len(columns) * len(labels) > limits.cells:
            raise DataError(f"{file} is too large: {len(labels):,} rows of more than {limits.columns:,} features")
    if not columns:
        raise DataError(f"{file} has no feature: its arrays have no columns")
    table = np.empty((len(labels), len(columns)))
    start = 0
    for values in arrays.values():
        block = values.reshape(len(labels), -1) if values.size else values.reshape(len(labels), 0)
        with np.errstate(over="ignore"):
            table[:, start : start + block.shape[1]] = block
        start += block.shape[1]
    bad = unusable(table, keep_missing)
    if len(bad):
        row, column = int(bad[0, 0]), columns[int(bad[0, 1])]
        what = "has no value" if np.isnan(table[row, bad[0, 1]]) else "is not finite"
        raise DataError(f"{file}, row {row + 1}: `{plain(column, 80)}` {what}; {CURE}")
    return RawTable(table, tuple(columns), labels)


def _members(file: str, archive: zipfile.ZipFile, limits: Limits) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > limits.members:
        raise DataError(f"{file} holds {len(infos):,} arrays, more than the limit of {limits.members:,}")
    size = sum(info.file_size for info in infos)
    if size > limits.inflated_bytes:
        raise DataError(f"{file} unpacks to {size:,} bytes, more than the limit of {limits.inflated_bytes:,}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if info.flag_bits & 1:
            raise DataError(f"{file}: the array `{plain(name, 80)}` is encrypted")
        if name == info.filename:
            raise DataError(f"{file} holds `{plain(name, 80)}`, which is not a NumPy array")
        if name in members:
            raise DataError(f"{file}: two arrays are named `{plain(name, 80)}`")
        members[name] = info
    return members


def _read_array(file: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> NDArray[Any]:
    place = f"{file}: the array `{plain(info.filename.removesuffix('.npy'), 80)}`"
    with archive.open(info) as stream:
        shape, fortran, dtype = _header(place, stream)
        if dtype.kind not in "fiubUS" or dtype.hasobject:
            raise DataError(f"{place} has dtype {plain(dtype, 60)}; numbers or plain text are needed, never objects")
        needed = math.prod(shape) * dtype.itemsize
        if needed > limits.inflated_bytes or needed > info.file_size:
            raise DataError(f"{place} promises {needed:,} bytes but stores {info.file_size:,}")
        data = stream.read(needed + 1)
    if len(data) != needed:
        raise DataError(
            f"{place} promises {needed:,} bytes of data but has {'more' if len(data) > needed else 'fewer'}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(shape, order="F" if fortran else "C")


def _header(place: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        read = _READERS[npy.read_magic(stream)]
        shape, fortran, dtype = read(stream, max_header_size=_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(f"{place} has a damaged header ({plain(error, 100)})") from None
    if any(size < 0 for size in shape):
        raise DataError(f"{place} has a negative size")
    return shape, fortran, dtype


def _target_array(file: str, name: str, values: NDArray[Any]) -> NDArray[Any]:
    labels = values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values
    if labels.ndim != 1:
        raise DataError(f"{file}: the target `{plain(name, 80)}` must have shape (N,), it has {values.shape}")
    return np.char.decode(labels, "utf-8", "replace") if labels.dtype.kind == "S" else labels


def _check_feature(file: str, name: str, values: NDArray[Any], rows: int) -> None:
    if values.dtype.kind in "US":
        raise DataError(f"{file}: the array `{plain(name, 80)}` holds text; encode it as numbers, or drop it")
    if values.ndim == 0 or values.shape[0] != rows:
        raise DataError(
            f"{file}: the array `{plain(name, 80)}` has shape {values.shape}, the target has {rows:,} rows; drop it"
        )
