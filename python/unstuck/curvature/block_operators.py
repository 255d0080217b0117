"""The part of an operator that belongs to one block of parameters, and the block-diagonal operator of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..operators import HessianOperator, as_operator

Array = NDArray[Any]


def block_operator(op: Any, block: Any) -> HessianOperator:
    """The curvature of one block of parameters alone, as of one layer: P·H·Pᵀ, where P picks the block's entries.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        block: which entries: a slice, an entry (name, slice, shape) of `land.blocks`, an array of different indices, or
            a boolean mask (n,).

    Returns:
        An operator (m, m) of the same type and in the same units, m the number of entries; one product costs one of
        `op`.

    Guarantee: its eigenvalues lie between the smallest and the largest of `op` (Cauchy): a negative one proves that
        `op` has a negative one, too.

    Raises:
        ArgumentError: the block is empty, reaches outside [0, n), or names an entry twice.
        ArgumentTypeError: `block` is none of the above.

    Source: Cauchy's interlacing theorem, e.g. R. A. Horn, C. R. Johnson (2013), Matrix Analysis, section 4.3.
    """
    operator = as_operator(op)
    n = int(operator.shape[0])
    where = _entries(block, n)
    size = where.stop - where.start if isinstance(where, slice) else len(where)

    def product(v: Array) -> Array:
        padded = np.zeros(n, dtype=operator.dtype)
        padded[where] = v
        return np.ascontiguousarray(np.asarray(operator @ padded)[where])

    def products(rows: Array) -> Array:
        padded = np.zeros((n, len(rows)), dtype=operator.dtype)
        padded[where] = rows.T
        return np.ascontiguousarray(np.asarray(operator @ padded)[where].T)

    return HessianOperator(
        size,
        operator.dtype,
        product,
        products,
        exact=operator.exact,
        noise=operator.noise,
        plan=operator.plan,
        trusted=True,
    )


def block_diagonal_operator(op: Any, blocks: Sequence[Any]) -> HessianOperator:
    """The operator without what couples its blocks: Σ PᵢᵀPᵢ·H·PᵢᵀPᵢ; zero outside of them.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        blocks: each as for `block_operator`, without common entries; `land.blocks` as it is.

    Returns:
        An operator (n, n) of the same type and in the same units; one product costs one of `op` for every block, taken
        as one block product.

    Guarantee: its spectrum is that of the blocks one by one (and 0 where they leave entries out).

    Raises:
        ArgumentError: no blocks, a block is out of range, or two blocks share an entry.
        ArgumentTypeError: a block is none of those.
    """
    operator = as_operator(op)
    n = int(operator.shape[0])
    parts = [_entries(block, n) for block in blocks]
    if not parts:
        raise ArgumentError("`blocks` is empty: there is nothing to look at")
    taken = np.zeros(n, dtype=np.int64)
    for where in parts:
        taken[where] += 1
    if taken.max() > 1:
        raise ArgumentError(f"`blocks` must not overlap, but entry {int(taken.argmax())} is in {int(taken.max())}")

    def product(v: Array) -> Array:
        separate = np.zeros((n, len(parts)), dtype=operator.dtype)
        for j, where in enumerate(parts):
            separate[where, j] = v[where]
        images = np.asarray(operator @ separate)
        result = np.zeros(n, dtype=operator.dtype)
        for j, where in enumerate(parts):
            result[where] = images[where, j]
        return result

    return HessianOperator(
        n, operator.dtype, product, exact=operator.exact, noise=operator.noise, plan=operator.plan, trusted=True
    )


def _entries(block: Any, n: int) -> slice | Array:
    """A slice with step 1, or an array of indices."""
    if isinstance(block, tuple) and len(block) == 3 and isinstance(block[1], slice):
        block = block[1]
    if isinstance(block, slice):
        start, stop, step = block.indices(n)
        reaches = block.stop is None or -n <= block.stop <= n
        if step != 1 or not start < stop or not reaches:
            raise ArgumentError(f"`block` must be a slice of step 1 with entries within [0, {n}), got {block}")
        return slice(start, stop)
    if isinstance(block, str) or not hasattr(block, "__len__"):
        raise ArgumentTypeError(
            f"`block` must be a slice, an entry (name, slice, shape) of `land.blocks`, indices or a mask, got {block!r}"
        )
    indices = np.asarray(block)
    if indices.dtype.kind == "b" and indices.shape == (n,):
        indices = np.flatnonzero(indices)
    if indices.ndim != 1 or indices.dtype.kind not in "iu" or indices.size == 0:
        raise ArgumentError(f"`block` must hold at least one index, or be a mask ({n},), got shape {indices.shape}")
    if indices.min() < 0 or indices.max() >= n or len(np.unique(indices)) != len(indices):
        raise ArgumentError(f"`block` must hold different indices within [0, {n})")
    return indices
