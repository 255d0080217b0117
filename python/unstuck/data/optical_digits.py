"""The optical digits: 1,797 real 8×8 images that ship inside the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ATTRIBUTION = (
    "E. Alpaydin, C. Kaynak (1998): Optical Recognition of Handwritten Digits, "
    "UCI Machine Learning Repository, doi:10.24432/C50P49, CC BY 4.0"
)


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The UCI optical digits, the test part of 13 writers (CC BY 4.0; see `ATTRIBUTION`).

    Returns:
        X: (1797, 64) float32, the pixels of 8×8 images row by row, scaled to [0, 1].
        y: (1797,) int64, the digits 0 … 9.

    Both are new arrays at every call.
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as stored:
        pixels: NDArray[Any] = stored["pixels"]
        labels: NDArray[Any] = stored["labels"]
    return pixels.astype(np.float32) / np.float32(16.0), labels.astype(np.int64)
