"""A memory budget in bytes turned into a form of Lanczos, a number of vectors and their precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import ArgumentError

DEFAULT_MEMORY = 2**30  # bytes
FEWEST = 16  # vectors: with fewer, restarts forget faster than they learn
SINGLE = np.dtype(np.float32)
Form = Literal["matrix", "full basis", "thick restart", "three vectors"]


@dataclass(frozen=True)
class Plan:
    """How memory is spent on the vectors of a Lanczos run.

    Attributes:
        form: "matrix": all products as a matrix; "full basis": one vector for every step; "thick restart": a bounded
            basis; "three vectors": no basis, and a second run for an eigenvector.
        vectors: most Lanczos vectors held at once; n for a matrix.
        dtype: that they are stored in; inner products are float64 whatever it is.
        bytes: the most that vectors and work space take, an upper estimate; products of the operator not counted.
        memory_budget: bytes allowed; None: not limited.
    """

    form: Form
    vectors: int
    dtype: str
    bytes: int
    memory_budget: int | None

    def __str__(self) -> str:
        return f"{self.form}, {self.vectors} vectors of {self.dtype}, at most {self.bytes / 2**20:,.1f} MiB"


def checked_budget(memory_budget: Any) -> int:
    """`memory_budget` in bytes, the default for None.

    Raises:
        ArgumentError: it is no positive integer.
    """
    if memory_budget is None:
        return DEFAULT_MEMORY
    number = hasattr(memory_budget, "__index__") and not np.ndim(memory_budget) and not isinstance(memory_budget, bool)
    if not number or memory_budget <= 0:
        raise ArgumentError(f"`memory_budget` must be a positive number of bytes or None, got {memory_budget!r}")
    return int(memory_budget)


def basis_plan(n: int, dtype: Any, budget: int, *, work: int, fewest: int, most: int) -> Plan | None:
    """The largest basis within a budget; None when not even `fewest` vectors fit.

    A float64 basis that does not fit is stored as float32: α, β and all inner products stay float64, the vectors are
    orthogonal to 1e-7, and what is said of the operator is off by as much, relative to its norm.

    Args:
        n: length of a vector.
        dtype: of the operator's products.
        budget: bytes.
        work: bytes that are needed besides the basis.
        fewest: vectors below which restarts make no sense.
        most: steps that the run may take: with as many vectors it never restarts.
    """
    for kind in dict.fromkeys((np.dtype(dtype), SINGLE)):
        size = n * kind.itemsize
        vectors = min((budget - work) // size, most)
        if vectors >= min(fewest, most):
            form: Form = "full basis" if vectors == most else "thick restart"
            return Plan(form, int(vectors), kind.name, int(work + vectors * size), budget)
    return None


def three_vector_plan(n: int, dtype: Any, budget: int, *, work: int) -> Plan | None:
    """Three vectors and `work` bytes of products and results; None when these do not fit."""
    kind = np.dtype(dtype)
    needed = 3 * n * kind.itemsize + work
    return Plan("three vectors", 3, kind.name, needed, budget) if needed <= budget else None
