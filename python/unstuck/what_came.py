"""What came instead, for the end of an error message: short for any value, with the cure for a class."""

from __future__ import annotations

from typing import Any

import numpy as np


def what_came(value: Any) -> str:
    """An array by dtype and shape, a class with how to make one of it, anything else by its type."""
    if isinstance(value, type):
        return f"the class {value.__name__}; make one of it with {value.__name__}(…)"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}, shape {value.shape}"
    return type(value).__name__
