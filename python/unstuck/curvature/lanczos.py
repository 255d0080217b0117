"""The Lanczos loop: asks the C++ state machine for vectors, the operator for products, and the caller when to stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, NonFiniteError, OperatorError
from ..operators import HessianOperator, as_operator
from .products import LARGEST_ASYMMETRY, refuse_asymmetric

Array = NDArray[Any]
FIRST_CAPACITY = 256  # steps; doubled when used up, storage grows with the steps taken
Test = Callable[[_core.Lanczos], bool]


def run(
    op: Any,
    *,
    stop: Test,
    max_products: int | None = None,
    seed: int | np.random.Generator = 0,
    start: Array | None = None,
    locked: Array | None = None,
    state: _core.Lanczos | None = None,
    restart_invariant: bool = False,
    progress: Callable[[_core.Lanczos], None] | None = None,
    most_vectors: int | None = None,
    wanted: int = 1,
    from_low: bool = True,
    dtype: str | None = None,
) -> _core.Lanczos:
    """Lanczos steps on a symmetric operator until `stop(state)` holds after a step.

    When `most_vectors` are stored, a thick restart keeps the wanted end and the isolated Ritz values of the far one.

    Args:
        op: HessianOperator, SciPy LinearOperator or matrix (n, n).
        stop: asked after every step; the state offers ritz_values(), residuals(), count_below(x),
            certificate_lower(delta), certificate_upper(delta), predicted_steps(delta, target), …
        max_products: most products of this call; None: until the whole space is spanned, as long as that fits.
        seed: of the Gaussian start vectors, or a generator to draw them from.
        start: (n,) start vector instead; certificates then hold only if it is Gaussian.
        locked: (q, n) vectors that the run stays orthogonal to: T is of P·H·P on their complement.
        state: an earlier result to go on with.
        restart_invariant: begin afresh as soon as the Krylov space is invariant to rounding (finds the further copies
            of multiple eigenvalues); otherwise only when nothing is left to continue from.
        progress: called with the state after every step.
        most_vectors: vectors that may be stored besides the locked ones, at least 5; None: one for every step.
        wanted: Ritz pairs that a thick restart must keep.
        from_low: whether they are the lowest or the highest.
        dtype: that the vectors are stored in; None: the operator's.

    Returns:
        The state. When `stop` never held, `state.k` tells how far it came.

    Raises:
        ArgumentError: `op`, `start` or `locked` has a wrong shape, or `max_products` is below 1, or it
            is None where `most_vectors` is not.
        OperatorError: a product has a wrong shape or is complex, or they are not those of a symmetric operator.
        NonDeterministicError: the same product came out different twice.
        NonFiniteError: a product holds NaN or infinity.
        Whatever `op`, `stop` or `progress` raise passes through; a `state` that was given is then usable.
    """
    operator = as_operator(op)
    rng = np.random.default_rng(seed)
    if max_products is not None and max_products < 1:
        raise ArgumentError(f"`max_products` must be at least 1 or None, got {max_products}")
    if most_vectors is not None and max_products is None:
        raise ArgumentError("`max_products` must be given with `most_vectors`: a restarted run has no end of its own")
    if state is None:
        state = _begin(operator, rng if start is None else start, locked, max_products, most_vectors, dtype)
    most = state.dimension if most_vectors is None else min(most_vectors, state.dimension)
    for _ in range(state.dimension if max_products is None else max_products):
        if state.k == state.dimension:
            break
        advance(operator, state, rng, most, wanted, from_low, restart_invariant)
        if progress is not None:
            progress(state)
        if stop(state):
            break
    if locked is None and state.asymmetry > LARGEST_ASYMMETRY * state.largest_product + 10.0 * operator.noise:
        refuse_asymmetric(
            operator,
            f"`op` is not symmetric: products differ from those of a symmetric operator by {state.asymmetry:.3g}, at a "
            f"norm of about {state.largest_product:.3g}",
        )
    return state


def advance(
    operator: HessianOperator,
    state: _core.Lanczos,
    rng: np.random.Generator,
    most_vectors: int,
    wanted: int = 1,
    from_low: bool = True,
    restart_invariant: bool = False,
) -> None:
    """One step, after whatever has to happen first: a fresh start, room for a vector, a thick restart."""
    if state.exhausted or (restart_invariant and state.invariant):
        state.restart(rng.standard_normal(state.n))
    if state.k == state.capacity:
        if state.capacity < most_vectors:
            state.raise_capacity(min(2 * state.capacity, most_vectors))
        else:
            state.compress(*_core.restart_split(state.ritz_values(), wanted, from_low))
    state.push(product(operator, state.next(), state.products))


def product(operator: HessianOperator, v: Array, step: int) -> Array:
    """H·v, checked for shape and finiteness."""
    w = np.asarray(operator @ v)
    if w.shape != v.shape or w.dtype.kind not in "fiu":
        raise OperatorError(
            f"product {step + 1} of `op` must be a real vector of shape {v.shape}, got {w.dtype} of shape {w.shape}"
        )
    if not np.isfinite(w).all():
        raise NonFiniteError(
            f"product {step + 1} of `op` holds NaN or infinity in {int((~np.isfinite(w)).sum())} of {w.size} entries; "
            "the point, the data or the loss is not finite, or the type overflows"
        )
    return w


def _begin(
    operator: HessianOperator,
    start: np.random.Generator | Array,
    locked: Array | None,
    max_products: int | None,
    most_vectors: int | None,
    dtype: str | None,
) -> _core.Lanczos:
    n = operator.shape[0]
    if n < 1:
        raise ArgumentError("`op` must have at least one row, got shape (0, 0)")
    vector = start.standard_normal(n) if isinstance(start, np.random.Generator) else start
    limits = [n - (0 if locked is None else len(locked)), FIRST_CAPACITY, max_products, most_vectors]
    capacity = max(1, min(limit for limit in limits if limit is not None))
    return _core.Lanczos(n, dtype or operator.dtype.name, capacity, vector, locked)
