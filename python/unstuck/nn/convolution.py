"""Convolution: every output is a weighted sum of a window that moves over all planes, plus a bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..ranges import FLAG
from .init import Initialiser, as_initialiser
from .layer import Layer, Shape, size
from .window import Pair, as_plane, pair, single, window

MOST_TAPS = 2**20  # the core lists every position of a window


@dataclass(frozen=True)
class Convolution(Layer):
    """What Conv1d and Conv2d share; see there."""

    in_channels: int
    out_channels: int
    kernel_size: Any
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    bias: bool = True
    init: Initialiser | str | None = None
    core_kind: ClassVar[str] = "Conv2d"

    def __post_init__(self) -> None:
        for name in ("in_channels", "out_channels", "groups"):
            object.__setattr__(self, name, size(name, getattr(self, name)))
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ArgumentError(f"`{name}` must be a multiple of `groups` {self.groups}, got {getattr(self, name)}")
        object.__setattr__(self, "bias", bool(FLAG.check("bias", self.bias)))
        if self.init is not None:
            object.__setattr__(self, "init", as_initialiser(self.init))
        for name in ("kernel_size", "stride", "dilation"):
            object.__setattr__(self, name, self._extents(name, getattr(self, name)))
        if math.prod(self._plane(self.kernel_size, 1)) > MOST_TAPS:
            raise ArgumentError(f"`kernel_size` must have at most {MOST_TAPS} positions, got {self.kernel_size}")
        if not isinstance(self.padding, str):
            object.__setattr__(self, "padding", self._extents("padding", self.padding, 0))
        elif self.padding not in ("same", "valid"):
            raise ArgumentError(f'`padding` must be numbers, "same" or "valid", got {self.padding[:60]!r}')
        elif self.padding == "same" and self._plane(self.stride, 1) != (1, 1):
            raise ArgumentError(f'`padding` "same" needs a `stride` of 1, got {self.stride}')

    def _extents(self, name: str, value: Any, low: int = 1) -> int | Pair:
        """A number for every axis of a sample."""
        raise NotImplementedError

    def _plane(self, value: Any, height: int) -> Pair:
        """A checked option as (y, x), where a sequence has `height` along y."""
        return value if isinstance(value, tuple) else (height, value)

    def _window(self, shape: Shape) -> tuple[dict[str, float], Pair]:
        """Options of the core and size of an output plane for samples (C, H, W)."""
        kernel, dilation = self._plane(self.kernel_size, 1), self._plane(self.dilation, 1)
        before = after = (0, 0)
        if self.padding == "same":  # as PyTorch: what is odd stands behind
            reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
            before = (reach[0] // 2, reach[1] // 2)
            after = (reach[0] - before[0], reach[1] - before[1])
        elif self.padding != "valid":
            before = after = self._plane(self.padding, 0)
        if shape[0] != self.in_channels:
            raise ArgumentError(f"{self.kind} expects {self.in_channels} channels, but {shape[0]} arrive")
        options, out = window(shape, kernel, self._plane(self.stride, 1), before, dilation, after)
        own = {"out_channels": self.out_channels, "groups": self.groups, "bias": float(self.bias)}
        return {**options, **own, "sequence": float(self.kind == "Conv1d")}, out

    def start(
        self, shapes: dict[str, Shape], init: Initialiser, rng: np.random.Generator
    ) -> dict[str, NDArray[np.float64]]:
        """W, then b, by the layer's own initialiser or the network's."""
        chosen = init if self.init is None else as_initialiser(self.init)
        weight = chosen.weight(shapes["weight"], rng)
        if not self.bias:
            return {"weight": weight}
        return {"weight": weight, "bias": chosen.bias(self.out_channels, weight[0].size, rng)}


@dataclass(frozen=True)
class Conv2d(Convolution):
    """h(o) = Σ_c W(o, c) ⋆ a(c) + b(o) over samples (C, H, W), as torch.nn.Conv2d (⋆: no kernel is mirrored).

    W is (out_channels, in_channels/groups, height, width) of the kernel, b (out_channels,).

    Args:
        in_channels: planes of a sample.
        out_channels: planes of an output.
        kernel_size: of the window, one number or (height, width); so are the next three.
        stride: distance of neighbouring windows.
        padding: zeros around the plane; "same": as many as keep its size (stride 1), "valid": none.
        dilation: distance of neighbouring positions within the window.
        groups: planes are cut into so many groups, and an output sees those of its own group alone.
        bias: whether there is a b.
        init: how W and b start: a name or Initialiser of `unstuck.nn.init`; None takes the network's.
    """

    kind: ClassVar[str] = "Conv2d"

    def _extents(self, name: str, value: Any, low: int = 1) -> Pair:
        return pair(name, value, low)

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, H, W) becomes (out_channels, H', W')."""
        if len(shape) != 3:
            raise ArgumentError(f"Conv2d takes samples of shape (channels, height, width), but {shape} arrives")
        options, out = self._window(shape)
        return options, (self.out_channels, *out)


@dataclass(frozen=True)
class Conv1d(Convolution):
    """h(o) = Σ_c W(o, c) ⋆ a(c) + b(o) over samples (C, L), as torch.nn.Conv1d (⋆: no kernel is mirrored).

    W is (out_channels, in_channels/groups, kernel_size), b (out_channels,).

    Args:
        in_channels: channels of a sample.
        out_channels: channels of an output.
        kernel_size: positions of the window.
        stride: distance of neighbouring windows.
        padding: zeros at both ends; "same": as many as keep the length (stride 1), "valid": none.
        dilation: distance of neighbouring positions within the window.
        groups: channels are cut into so many groups, and an output sees those of its own group alone.
        bias: whether there is a b.
        init: how W and b start: a name or Initialiser of `unstuck.nn.init`; None takes the network's.
    """

    kind: ClassVar[str] = "Conv1d"

    def _extents(self, name: str, value: Any, low: int = 1) -> int:
        return single(name, value, low)

    def lower(self, shape: Shape) -> tuple[dict[str, float], Shape]:
        """(C, L) becomes (out_channels, L')."""
        options, out = self._window(as_plane(shape))
        return options, (self.out_channels, out[1])
