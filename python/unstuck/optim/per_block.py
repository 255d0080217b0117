"""Settings of single blocks of θ: factors of the learning rate and of weight decay, and exclusion from trust ratios."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Block
from ..ranges import FLAG, NON_NEGATIVE, Count, Limit

PerBlock = Mapping[str, Mapping[str, float]]
Row = tuple[int, int, float, float, bool]  # begin, end, factor of lr, factor of weight_decay, trust ratio

_LIMITS: Mapping[str, Limit] = {"lr": NON_NEGATIVE, "weight_decay": NON_NEGATIVE, "trust_ratio": FLAG}


MOST = 2**48  # parameters: sizes in bytes stay far from the end of 64 bits


def exclude_vectors(blocks: Sequence[Block]) -> dict[str, dict[str, float]]:
    """`per_block` settings that spare biases and the scales and shifts of norms: no decay, a trust ratio of 1.

    Blocks with at most one dimension, as in LARS's and LAMB's recipes and in Goyal et al., arXiv 1706.02677.

    Args:
        blocks: of a landscape or network, [(name, slice, shape)].

    Raises:
        ArgumentTypeError: `blocks` are none.
    """
    listed = block_list("blocks", blocks, "blocks")
    return {name: {"weight_decay": 0.0, "trust_ratio": False} for name, _, shape in listed if len(shape) <= 1}


def block_list(name: str, value: Any, expected: str) -> list[Block]:
    """`value` as a list of blocks.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        blocks = list(value)
        good = all(isinstance(part, slice) and isinstance(label, str) for label, part, _ in blocks)
        sizes = [tuple(int(side) for side in shape) for _, _, shape in blocks] if good else []
    except (TypeError, ValueError):
        good, sizes = False, []
    if not good:
        raise ArgumentTypeError(f"`{name}` must be {expected} [(name, slice, shape)], got {reprlib.repr(value)}")
    return [(label, part, size) for (label, part, _), size in zip(blocks, sizes, strict=True)]


def checked(per_block: Any) -> dict[str, dict[str, float]]:
    """`per_block` as a plain dict, its values checked.

    Raises:
        ArgumentError: an unknown setting, or a value out of its range.
        ArgumentTypeError: not a mapping of mappings, or a value that is no number.
    """
    if per_block is None:
        return {}
    if not isinstance(per_block, Mapping) or not all(isinstance(row, Mapping) for row in per_block.values()):
        raise ArgumentTypeError(
            f"`per_block` must map block names or patterns to settings, e.g. {{'*.bias': {{'weight_decay': 0}}}}, "
            f"got {per_block!r}"
        )
    for pattern, row in per_block.items():
        unknown = set(row) - set(_LIMITS)
        if unknown or not isinstance(pattern, str):
            raise ArgumentError(f"`per_block[{pattern!r}]` may hold {', '.join(_LIMITS)}, got {list(row)}")
    return {
        pattern: {name: _LIMITS[name].check(f"per_block[{pattern!r}][{name!r}]", value) for name, value in row.items()}
        for pattern, row in per_block.items()
    }


def rows(blocks: Sequence[Block] | None, per_block: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """What the core is told about the blocks; of several patterns that match a block, the later one counts.

    Raises:
        ArgumentError: there are settings but no blocks, or a pattern matches none.
    """
    if blocks is None:
        if per_block:
            raise ArgumentError("`per_block` needs the blocks of theta: pass them to `init`, as opt.init(land.blocks)")
        return []
    unused = [pattern for pattern in per_block if not any(fnmatchcase(name, pattern) for name, _, _ in blocks)]
    if unused:
        raise ArgumentError(f"`per_block`: {unused[0]!r} matches no block out of {[name for name, _, _ in blocks]}")
    table = []
    for name, part, _ in blocks:
        own: dict[str, float] = {}
        for pattern, row in per_block.items():
            if fnmatchcase(name, pattern):
                own.update(row)
        trust = bool(own.get("trust_ratio", True))
        table.append((int(part.start), int(part.stop), own.get("lr", 1.0), own.get("weight_decay", 1.0), trust))
    return table


def covered(blocks: list[Block]) -> int:
    """Number of parameters of blocks that follow each other from 0 on."""
    end = 0
    for name, part, shape in blocks:
        size = math.prod(shape)
        if (part.start, part.stop, part.step) not in {(end, end + size, None), (end, end + size, 1)}:
            raise ArgumentError(
                f"`size` must be blocks that cover theta in order: after {end} comes {name!r} "
                f"with {part} and shape {shape}"
            )
        end += size
    return Count(1, MOST).check("size", end)


def described(blocks: Sequence[Block] | None) -> list[list[Any]] | None:
    """JSON-able blocks: [name, start, stop, shape]."""
    if blocks is None:
        return None
    return [[name, int(part.start), int(part.stop), [int(side) for side in shape]] for name, part, shape in blocks]


def restored(described_blocks: Any) -> list[Block] | None:
    """The blocks that `described` described.

    Raises:
        ArgumentTypeError: it did not.
    """
    if described_blocks is None:
        return None
    try:
        return [
            (str(name), slice(int(start), int(stop)), tuple(int(side) for side in shape))
            for name, start, stop, shape in described_blocks
        ]
    except (TypeError, ValueError):
        raise ArgumentTypeError("`state['blocks']` must hold [name, start, stop, shape] for each block") from None
