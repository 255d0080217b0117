"""A window that moves over planes: what convolution and pooling share."""

from __future__ import annotations

from typing import Any

from ..errors import ArgumentError, ArgumentTypeError
from .layer import Shape, size

Pair = tuple[int, int]


def pair(name: str, value: Any, low: int = 1) -> Pair:
    """`value`, or (`value`, `value`), as two integers of at least `low`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ArgumentTypeError(f"`{name}` must be an integer or two of them, got {value!r}")
    return size(name, values[0], low), size(name, values[1], low)


def single(name: str, value: Any, low: int = 1) -> int:
    """`value`, or the one element of `value`, as an integer of at least `low`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    if len(values) != 1:
        raise ArgumentTypeError(f"`{name}` must be an integer, got {value!r}")
    return size(name, values[0], low)


def window(
    shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, after: Pair | None = None
) -> tuple[dict[str, float], Pair]:
    """(options for the core, size of an output plane) of a window over samples (C, H, W).

    Output positions along an axis: ⌊(size + padding + after − dilation·(kernel − 1) − 1)/stride⌋ + 1, as PyTorch.

    Args:
        shape: of a sample.
        kernel: positions of the window.
        stride: distance of neighbouring windows.
        padding: positions before the plane, and behind it unless `after` says otherwise.
        dilation: distance of neighbouring positions within the window.
        after: positions behind the plane.

    Raises:
        ArgumentError: samples are not (C, H, W), or too small for the window.
    """
    if len(shape) != 3:
        raise ArgumentError(f"takes samples of shape (channels, height, width), but {shape} arrives")
    options: dict[str, float] = {"channels": shape[0], "height": shape[1], "width": shape[2]}
    behind = padding if after is None else after
    out = []
    for i, axis in enumerate("yx"):
        reach = dilation[i] * (kernel[i] - 1) + 1
        room = shape[1 + i] + padding[i] + behind[i] - reach
        if room < 0:
            raise ArgumentError(
                f"a window that reaches over {reach} positions does not fit samples of shape {shape} "
                f"with padding {padding[i]}"
            )
        out.append(room // stride[i] + 1)
        for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)):
            options[f"{name}_{axis}"] = value[i]
        options[f"after_{axis}"] = behind[i]
    return options, (out[0], out[1])


def as_plane(shape: Shape) -> Shape:
    """(C, L) as (C, 1, L).

    Raises:
        ArgumentError: samples are not (C, L).
    """
    if len(shape) != 2:
        raise ArgumentError(f"takes samples of shape (channels, length), but {shape} arrives")
    return shape[0], 1, shape[1]
