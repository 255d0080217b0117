"""State vectors in memory: in θ's dtype, as bfloat16's bits, or as 8-bit codes with a scale for every 256.

Codes lie in groups of eight words of 32 bits: element 8b + j of a group is part b of word j. The last is padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, ArgumentTypeError

Array = NDArray[Any]
Slot = tuple[str, bool, float]  # name, whether it is never negative, the value it starts at

CODE_BLOCK = 256
CODE_GROUPS = {"bfloat16": 16, "int8": 32}
LAYOUT = 2  # of low-bit state, written beside it
CACHE_LINE, PAGE, STAGGER, LARGE = 64, 4096, 16_384, 1 << 20  # bytes


def checked_format(state: Any, rule: str) -> str | None:
    """The format of the state vectors, None for θ's dtype.

    Raises:
        ArgumentError: no such format, or the rule needs θ's dtype.
    """
    if state is not None and not (isinstance(state, str) and state in ("bfloat16", "int8")):
        raise ArgumentError(f"`state` must be None (theta's dtype), 'bfloat16' or 'int8', got {state!r}")
    if state is not None and _core.optim_layerwise(rule):
        raise ArgumentError(f"`state` of {rule} must be None (theta's dtype): its trust ratios need it, got {state!r}")
    return state


def array_names(slots: Sequence[Slot], state: str | None) -> list[str]:
    """Names of the arrays: a vector's, and with "int8" that of its scales after it."""
    return [name for slot, _, _ in slots for name in ((slot, f"{slot}_scale") if state == "int8" else (slot,))]


def aligned(n: int, dtype: Any, value: Any, place: int = 0) -> Array:
    """A vector that starts on a cache line and is filled with `value`; large ones are kept apart by `place`.

    Large allocations all begin at the start of a page. A load whose address agrees in its last 12 bits with that of
    a store under way waits for it, which costs a step half its speed; a quarter of a page between vectors avoids it.
    """
    kind = np.dtype(dtype)
    size = n * kind.itemsize
    line, apart = (PAGE, (STAGGER + PAGE // 4) * (place + 1)) if size >= LARGE else (CACHE_LINE, 0)
    room = np.empty(size + apart + line, np.uint8)
    start = -room.ctypes.data % line + apart
    vector: Array = room[start : start + size].view(kind)
    vector[:] = value
    return vector


def new_arrays(slots: Sequence[Slot], state: str | None, n: int, dtype: np.dtype[Any]) -> list[Array]:
    """The state vectors at the beginning."""
    arrays: list[Array] = []
    for place, (_, positive, start) in enumerate(slots):
        one = np.full(1, start, np.float32)
        if state == "bfloat16":
            codes = aligned(_padded(n, state), np.uint16, 0, place)
            if start:
                codes[_places(n, state)] = _core.optim_bfloat16(one, True, 0)[0]
            arrays.append(codes)
        elif state == "int8":
            code, scale = _core.optim_encode(one, positive, True, 0)
            codes = aligned(_padded(n, state), np.uint8, 0, place)
            if code[0]:
                codes[_places(n, state)] = code[0]
            arrays += [codes, aligned(-(-n // CODE_BLOCK), np.float32, scale[0])]
        else:
            arrays.append(aligned(n, dtype, start, place))
    return arrays


def _padded(n: int, state: str) -> int:
    return -(-n // CODE_GROUPS[state]) * CODE_GROUPS[state]


def _places(n: int, state: str) -> Array:
    """Positions of the codes of elements 0 … n − 1: part b of word j holds element 8b + j of its group."""
    group = CODE_GROUPS[state]
    element = np.arange(n)
    within = element % group
    return element - within + within % 8 * (group // 8) + within // 8


def numbers(slots: Sequence[Slot], state: str | None, arrays: Sequence[Array], name: str, size: int | None) -> Array:
    """One state vector of `size` elements in float64, a copy; ArgumentError if there is none."""
    known = [slot for slot, _, _ in slots]
    if name not in known:
        raise ArgumentError(
            f"`name` must be one of {', '.join(known) or 'none: this rule keeps no state'}, got {name!r}"
        )
    if not arrays:
        raise ArgumentError("there is no state yet: `init` with a dtype, or the first step, makes it")
    place = array_names(slots, state).index(name)
    n = arrays[place].size if size is None else size
    if state == "bfloat16":
        bits = arrays[place][_places(n, state)].astype(np.uint32) << 16
        return bits.view(np.float32).astype(np.float64)
    if state == "int8":
        positive = {slot: sign for slot, sign, _ in slots}[name]
        return _core.optim_decode(arrays[place], arrays[place + 1], positive)[:n].astype(np.float64)
    return arrays[place].astype(np.float64)


def require_room(given: Any, n: Any) -> None:
    """Refuses a state whose arrays are shorter than its n, before anything of that size is allocated."""
    if not isinstance(given, Mapping):
        raise ArgumentTypeError(f"`state['slots']` must be a mapping of names to arrays, got {type(given).__name__}")
    longest = max((np.size(array) for array in given.values()), default=None)
    if longest is not None and isinstance(n, int) and longest < n:
        raise ArgumentError(f"`state['slots']` must hold arrays of {n} elements, the longest has {longest}")


def require_layout(state: str | None, layout: Any) -> None:
    """Refuses low-bit state in the order of an earlier version."""
    if state is not None and layout != LAYOUT:
        raise ArgumentError(f"`state['layout']` must be {LAYOUT}, got {layout!r}: an earlier version wrote this state")


def copy_into(arrays: Sequence[Array], names: Sequence[str], given: Mapping[str, Array]) -> None:
    """Fills the arrays from {name: array}; ArgumentError if names, shapes or types differ."""
    if set(given) != set(names):
        raise ArgumentError(f"`state['slots']` must hold {list(names)}, got {list(given)}")
    for name, mine in zip(names, arrays, strict=True):
        theirs = np.asarray(given[name])
        if theirs.shape != mine.shape or theirs.dtype != mine.dtype:
            raise ArgumentError(
                f"`state['slots'][{name!r}]` must be {mine.dtype} of shape {mine.shape}, "
                f"got {theirs.dtype} of shape {theirs.shape}"
            )
        mine[:] = theirs
