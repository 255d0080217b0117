"""Fourteen ways in which an array of the right numbers can reach a function."""

from __future__ import annotations

import numpy as np


def _stepped(a):
    wide = np.full((2 * a.shape[0], *a.shape[1:]), 99, a.dtype)
    wide[::2] = a
    return wide[::2]


def _reversed(a):
    return np.ascontiguousarray(a[::-1])[::-1]


def _unaligned(a):
    raw = np.zeros(a.nbytes + 1, np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _read_only(a):
    copy = a.copy()
    copy.flags.writeable = False
    return copy


def _mapped(a, path):
    np.save(path, a)
    return np.load(path, mmap_mode="r")


def _masked(a):
    mask = np.zeros(a.shape, bool)
    mask.flat[a.size // 2] = True
    return np.ma.masked_array(a, mask)


def kinds(values, folder):
    """[(kind, array, the numbers it stands for as float64, or None where only an error is right)]."""
    a = np.asarray(values)
    half = a.astype("f2") if a.dtype.kind == "f" else a.astype("i2")
    whole = np.rint(np.asarray(a, np.float64)).astype("i4")
    truth = whole != 0
    made = [
        ("C", np.ascontiguousarray(a), a),
        ("F", np.asfortranarray(a), a),
        ("step 2", _stepped(a), a),
        ("negative stride", _reversed(a), a),
        ("unaligned", _unaligned(a), a),
        ("read-only", _read_only(a), a),
        ("mmap", _mapped(a, folder / "mapped.npy"), a),
        ("big-endian", a.astype(a.dtype.newbyteorder(">")), a),
        ("half", half, half),
        ("i4", whole, whole),
        ("bool", truth, truth),
        ("object", a.astype(object), a),
        ("masked", _masked(a), None),
        ("0-d", np.asarray(a.flat[0]), None),
    ]
    return [
        (kind, array, None if numbers is None else np.asarray(numbers, np.float64)) for kind, array, numbers in made
    ]
