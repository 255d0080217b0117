"""Pooling: the largest or the mean value in a window that moves over every plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import ArgumentError, ArgumentTypeError
from .layer import Layer, Shape, size

Pair = tuple[int, int]


def pair(name: str, value: Any, low: int = 1) -> Pair:
    """`value`, or (`value`, `value`), as two integers of at least `low`."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(values) != 2:
        raise ArgumentTypeError(f"`{name}` must be an integer or two of them, got {value!r}")
    return size(name, values[0], low), size(name, values[1], low)


def window(shape: Shape, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair) -> tuple[dict[str, float], Pair]:
    """(options for the core, size of an output plane) of a window over samples (C, H, W).

    Output positions along an axis: ⌊(size + 2·padding − dilation·(kernel − 1) − 1)/stride⌋ + 1, as PyTorch.

    Raises:
        ArgumentError: samples are not (C, H, W), or too small for the window.
    """
    if len(shape) != 3:
        raise ArgumentError(f"takes samples of shape (channels, height, width), but {shape} arrives")
    options: dict[str, float] = {"channels": shape[0], "height": shape[1], "width": shape[2]}
    out = []
    for i, axis in enumerate("yx"):
        reach = dilation[i] * (kernel[i] - 1) + 1
        room = shape[1 + i] + 2 * padding[i] - reach
        if room < 0:
            raise ArgumentError(
                f"a window that reaches over {reach} positions does not fit samples of shape {shape} "
                f"with padding {padding[i]}"
            )
        out.append(room // stride[i] + 1)
        for name, value in (("kernel", kernel), ("stride", stride), ("padding", padding), ("dilation", dilation)):
            options[f"{name}_{axis}"] = value[i]
    return options, (out[0], out[1])


def as_plane(shape: Shape) -> Shape:
    """(C, L) as (C, 1, L).

    Raises:
        ArgumentError: samples are not (C, L).
    """
    if len(shape) != 2:
        raise ArgumentError(f"takes samples of shape (channels, length), but {shape} arrives")
    return shape[0], 1, shape[1]


@dataclass(frozen=True)
class MaxPool2d(Layer):
    """The largest value of each window, the first of equals, as torch.nn.MaxPool2d.

    Samples are (C, H, W). The gradient goes to the value that was chosen; NaN is larger than everything.

    Args:
        kernel_size: of the window, one number or (height, width).
        stride: distance of neighbouring windows; None: the kernel size.
        padding: positions that are added around the plane and never chosen; at most half the kernel.
        dilation: distance of neighbouring positions within the window.
    """

    kernel_size: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    dilation: int | Pair = 1
    kind: ClassVar[str] = "MaxPool2d"

    def __post_init__(self) -> None:
        _check_window(self)
        object.__setattr__(self, "dilation", pair("dilation", self.dilation))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, H, W) becomes (C, H', W')."""
        options, out = window(shape, *_window(self), pair("dilation", self.dilation))
        return options, (shape[0], *out)


@dataclass(frozen=True)
class AvgPool2d(Layer):
    """The mean of each window, as torch.nn.AvgPool2d. Samples are (C, H, W).

    Args:
        kernel_size: of the window, one number or (height, width).
        stride: distance of neighbouring windows; None: the kernel size.
        padding: zeros that are added around the plane; at most half the kernel.
        count_include_pad: whether these zeros count in the mean.
    """

    kernel_size: int | Pair
    stride: int | Pair | None = None
    padding: int | Pair = 0
    count_include_pad: bool = True
    kind: ClassVar[str] = "AvgPool2d"

    def __post_init__(self) -> None:
        _check_window(self)
        object.__setattr__(self, "count_include_pad", bool(self.count_include_pad))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, H, W) becomes (C, H', W')."""
        options, out = window(shape, *_window(self), (1, 1))
        return {**options, "count_include_pad": float(self.count_include_pad)}, (shape[0], *out)


@dataclass(frozen=True)
class GlobalAvgPool2d(Layer):
    """The mean of each plane: (C, H, W) becomes (C, 1, 1), as torch.nn.AdaptiveAvgPool2d(1)."""

    kind: ClassVar[str] = "GlobalAvgPool2d"
    core_kind: ClassVar[str] = "AvgPool2d"

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """A window as large as the plane."""
        whole = (shape[1], shape[2]) if len(shape) == 3 else (1, 1)
        options, out = window(shape, whole, whole, (0, 0), (1, 1))
        return {**options, "count_include_pad": 1.0}, (shape[0], *out)


def _check_window(layer: MaxPool2d | AvgPool2d) -> None:
    kernel = pair("kernel_size", layer.kernel_size)
    padding = pair("padding", layer.padding, 0)
    if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        raise ArgumentError(f"`padding` must be at most half of `kernel_size` {kernel}, got {padding}")
    object.__setattr__(layer, "kernel_size", kernel)
    object.__setattr__(layer, "stride", kernel if layer.stride is None else pair("stride", layer.stride))
    object.__setattr__(layer, "padding", padding)


def _window(layer: MaxPool2d | AvgPool2d) -> tuple[Pair, Pair, Pair]:
    kernel, stride, padding = layer.kernel_size, layer.stride, layer.padding
    return pair("kernel_size", kernel), pair("stride", stride), pair("padding", padding, 0)
