"""Pooling: the largest or the mean value in a window that moves over every plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ArgumentError
from ..ranges import FLAG
from .layer import Layer, Shape
from .window import Pair, as_plane, pair, single, window


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
        object.__setattr__(self, "count_include_pad", bool(FLAG.check("count_include_pad", self.count_include_pad)))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, H, W) becomes (C, H', W')."""
        options, out = window(shape, *_window(self), (1, 1))
        return {**options, "count_include_pad": float(self.count_include_pad)}, (shape[0], *out)


@dataclass(frozen=True)
class MaxPool1d(Layer):
    """The largest value of each window, the first of equals, as torch.nn.MaxPool1d. Samples are (C, L).

    Args:
        kernel_size: positions of the window.
        stride: distance of neighbouring windows; None: the kernel size.
        padding: positions that are added at both ends and never chosen; at most half the kernel.
        dilation: distance of neighbouring positions within the window.
    """

    kernel_size: int
    stride: int | None = None
    padding: int = 0
    dilation: int = 1
    kind: ClassVar[str] = "MaxPool1d"
    core_kind: ClassVar[str] = "MaxPool2d"

    def __post_init__(self) -> None:
        _check_row(self)
        object.__setattr__(self, "dilation", single("dilation", self.dilation))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, L) becomes (C, L')."""
        options, out = window(as_plane(shape), *_row_window(self), (1, self.dilation))
        return options, (shape[0], out[1])


@dataclass(frozen=True)
class AvgPool1d(Layer):
    """The mean of each window, as torch.nn.AvgPool1d. Samples are (C, L).

    Args:
        kernel_size: positions of the window.
        stride: distance of neighbouring windows; None: the kernel size.
        padding: zeros that are added at both ends; at most half the kernel.
        count_include_pad: whether these zeros count in the mean.
    """

    kernel_size: int
    stride: int | None = None
    padding: int = 0
    count_include_pad: bool = True
    kind: ClassVar[str] = "AvgPool1d"
    core_kind: ClassVar[str] = "AvgPool2d"

    def __post_init__(self) -> None:
        _check_row(self)
        object.__setattr__(self, "count_include_pad", bool(FLAG.check("count_include_pad", self.count_include_pad)))

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, L) becomes (C, L')."""
        options, out = window(as_plane(shape), *_row_window(self), (1, 1))
        return {**options, "count_include_pad": float(self.count_include_pad)}, (shape[0], out[1])


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


def _check_row(layer: MaxPool1d | AvgPool1d) -> None:
    kernel, padding = single("kernel_size", layer.kernel_size), single("padding", layer.padding, 0)
    if 2 * padding > kernel:
        raise ArgumentError(f"`padding` must be at most half of `kernel_size` {kernel}, got {padding}")
    object.__setattr__(layer, "kernel_size", kernel)
    object.__setattr__(layer, "stride", kernel if layer.stride is None else single("stride", layer.stride))
    object.__setattr__(layer, "padding", padding)


def _row_window(layer: MaxPool1d | AvgPool1d) -> tuple[Pair, Pair, Pair]:
    stride = layer.kernel_size if layer.stride is None else layer.stride
    return (1, layer.kernel_size), (1, stride), (0, layer.padding)
