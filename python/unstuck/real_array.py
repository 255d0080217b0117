"""Arrays that come from outside: real numbers without a hidden mask, or an error that names the argument."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError

Array = NDArray[Any]


def real_array(value: Any, name: str) -> Array:
    """`value` as an array of real numbers, not copied when it already is one.

    Raises:
        ArgumentTypeError: ragged, complex, text, dates or objects.
        ArgumentError: a masked array with masked entries; NumPy would drop the mask silently.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"`{name}` must be an array of real numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        cure = "; convert it first, as by .astype(float)" if array.dtype == object else ""
        raise ArgumentTypeError(f"`{name}` must hold real numbers, got dtype {array.dtype}{cure}")
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ArgumentError(f"`{name}` has masked entries; fill them or leave their rows out")
    return array


def plain(array: Array, dtype: Any) -> Array:
    """`array` C-contiguous, aligned and of `dtype`, not copied when it already is; too large becomes infinite."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned:
        return array
    with np.errstate(over="ignore"):
        return np.require(array, dtype, ["C", "A"])
