"""Normalisation kernels on NumPy arrays: batch, layer, group, instance and RMS, forward and backward.

    y, cache = us.norm.batch_norm_forward(x, gamma, beta)
    d_x, d_gamma, d_beta = us.norm.batch_norm_backward(d_y, cache)

Sums are made in float64 about a value of the channel or row, so a large mean costs no digits; every result has the
same bits for any number of threads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import ArgumentError, ArgumentTypeError
from .ranges import FLAG, NON_NEGATIVE, Count
from .real_array import plain, real_array

__all__ = [
    "Cache",
    "Gradients",
    "batch_norm_backward",
    "batch_norm_forward",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "rms_norm_backward",
    "rms_norm_forward",
]

Array = NDArray[Any]
Extents = tuple[int, int, int]  # N, C and the positions of a channel


@dataclass(frozen=True, eq=False)
class Cache:
    """What a backward pass needs of its forward pass; refers to the arrays, which must not be changed in between.

    Attributes:
        mean: float64, (C,) of batch normalisation, else one per row, (N·groups,); 0 for RMS normalisation.
        variance: biased, (C,); None except for batch normalisation.
        inverse_deviation: 1/√(variance + eps), of mean's shape.
        x: the input; None if the output was written over it.
        gamma: as it was given, flat, or None.
        y: the output if a ReLU was fused, else None.
    """

    mean: Array
    variance: Array | None
    inverse_deviation: Array
    x: Array | None = field(repr=False)
    gamma: Array | None
    y: Array | None = field(repr=False)
    extents: Extents
    parameter_shape: tuple[int, ...]
    groups: int  # per sample; 0: batch normalisation
    centered: bool = True
    of_batch: bool = True  # the statistics are functions of x, not constants
    residual: bool = False


class Gradients(NamedTuple):
    """Derivatives of the loss; `beta` is None for RMS normalisation, which has none."""

    x: Array
    gamma: Array
    beta: Array | None


def batch_norm_forward(
    x: Any,
    gamma: Any = None,
    beta: Any = None,
    *,
    eps: float = 1e-5,
    mean: Any = None,
    variance: Any = None,
    residual: Any = None,
    relu: bool = False,
    out: Array | None = None,
) -> tuple[Array, Cache]:
    """Normalise every channel over the batch: (x − μ)/√(σ² + eps)·γ + β, then + `residual`, then max(0, ·).

    Args:
        x: (N, C) or (N, C, …), float32 or float64 (other real types become float64); copied only if not contiguous.
        gamma: (C,); None is 1.
        beta: (C,); None is 0.
        eps: ≥ 0, added to the variance.
        mean: (C,), used instead of that of `x` (evaluation with running statistics); only together with `variance`.
        variance: (C,), the same.
        residual: of x's shape, added before the ReLU.
        relu: apply max(0, ·) at the end.
        out: C-contiguous array of x's shape and dtype that takes y; if it is `x` itself, no backward pass can follow.

    Returns:
        (y, cache). `cache.mean` and `cache.variance` (biased) are the batch's.

    Raises:
        ArgumentError: wrong shape, or one value per channel without given statistics (its variance is 0 whatever
            it is).
        ArgumentTypeError: wrong type or layout of `out`.

    Source: 1502.03167; agrees with torch.nn.functional.batch_norm.
    """
    a, extents = _channels_first(x)
    eps, rectified = NON_NEGATIVE.check("eps", eps), bool(FLAG.check("relu", relu))
    mu, var, inverse, given = _statistics(mean, variance, eps, a, extents)
    shape = (extents[1],)
    scale, shift = (_parameter(v, n, shape, a.dtype) for v, n in ((gamma, "gamma"), (beta, "beta")))
    other = None if residual is None else _like(residual, "residual", a)
    y = _output(out, x=a, residual=other)
    _core.batch_norm_forward(
        a.reshape(extents),
        given,
        eps,
        mu,
        var,
        inverse,
        scale,
        shift,
        None if other is None else other.reshape(extents),
        rectified,
        y.reshape(extents),
    )
    kept = None if y.ctypes.data == a.ctypes.data else a
    cache = Cache(
        mu,
        var,
        inverse,
        kept,
        scale,
        y if rectified else None,
        extents,
        shape,
        groups=0,
        of_batch=not given,
        residual=other is not None,
    )
    return y, cache


def batch_norm_backward(
    d_y: Any, cache: Cache, *, out: Array | None = None, d_residual: Array | None = None
) -> Gradients:
    """Derivatives of the loss by x, γ and β; through μ and σ too if they are those of the batch.

    Args:
        d_y: ∂L/∂y, of x's shape.
        cache: from `batch_norm_forward`.
        out: takes ∂L/∂x; may be `d_y` itself, which is then lost, or a third array.
        d_residual: takes the derivative by the residual, if there was one.

    Raises:
        ArgumentError: a wrong shape, or the cache's input has been overwritten.
        ArgumentTypeError: wrong type or layout of `out` or `d_residual`, or no cache.

    Source: 1502.03167; agrees with PyTorch's backward.
    """
    a = _kept(cache, batch=True)
    delta = _like(d_y, "d_y", a)
    d_x = _output(out, x=a, d_y=delta, y=cache.y)
    if out is not None and d_x.ctypes.data == a.ctypes.data:
        raise ArgumentError("`out` is the input that the cache refers to; pass `d_y` or separate memory")
    if d_residual is not None:
        if not cache.residual:
            raise ArgumentError("`d_residual` was given, but the forward pass had no residual")
        _output(d_residual, "d_residual", x=a, d_y=delta, y=cache.y, d_x=d_x)
        if any(d_residual.ctypes.data == other.ctypes.data for other in (a, d_x, cache.y) if other is not None):
            raise ArgumentError("`d_residual` must have memory of its own, or be `d_y`")
    d_gamma, d_beta = (np.empty(cache.parameter_shape, a.dtype) for _ in range(2))
    extents = cache.extents
    _core.batch_norm_backward(
        delta.reshape(extents),
        a.reshape(extents),
        None if cache.y is None else cache.y.reshape(extents),
        cache.mean,
        cache.inverse_deviation,
        cache.gamma,
        cache.of_batch,
        d_x.reshape(extents),
        d_gamma,
        d_beta,
        None if d_residual is None else d_residual.reshape(extents),
    )
    return Gradients(d_x, d_gamma, d_beta)


def layer_norm_forward(
    x: Any, gamma: Any = None, beta: Any = None, *, axes: int = 1, eps: float = 1e-5, out: Array | None = None
) -> tuple[Array, Cache]:
    """Layer normalisation over the last `axes` axes, each position with its own γ and β (of those axes' shape).

    Source: 1607.06450; agrees with torch.nn.functional.layer_norm.

    Raises:
        ArgumentError: wrong shape, `axes` not in [1, x.ndim], or one element per position, whose variance is 0
            whatever it is (PyTorch returns β there, and a gradient of 0: a network behind it learns nothing).
        ArgumentTypeError: wrong type or layout of `out`.
    """
    a, extents = _last_axes(x, axes)
    return _rows_forward(a, extents, 1, True, eps, gamma, beta, a.shape[a.ndim - axes :], out)


def layer_norm_backward(d_y: Any, cache: Cache, *, out: Array | None = None) -> Gradients:
    """Derivatives by x, γ and β; arguments and errors as in `batch_norm_backward`."""
    return _rows_backward(d_y, cache, out)


def rms_norm_forward(
    x: Any, gamma: Any = None, *, axes: int = 1, eps: float = 1e-5, out: Array | None = None
) -> tuple[Array, Cache]:
    """Root-mean-square normalisation x/√(mean(x²) + eps)·γ over the last `axes` axes.

    Source: 1910.07467; agrees with torch.nn.functional.rms_norm. Errors as `layer_norm_forward`.
    """
    a, extents = _last_axes(x, axes)
    return _rows_forward(a, extents, 1, False, eps, gamma, None, a.shape[a.ndim - axes :], out)


def rms_norm_backward(d_y: Any, cache: Cache, *, out: Array | None = None) -> Gradients:
    """Derivatives by x and γ; there is no β. Arguments and errors as in `batch_norm_backward`."""
    return _rows_backward(d_y, cache, out)._replace(beta=None)


def group_norm_forward(
    x: Any, groups: int, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5, out: Array | None = None
) -> tuple[Array, Cache]:
    """Normalisation over each group of C/groups neighbouring channels of each sample, γ and β per channel.

    Source: 1803.08494; agrees with torch.nn.functional.group_norm.

    Raises:
        ArgumentError: wrong shape, `groups` does not divide the channels, or one element per group, whose variance
            is 0 whatever it is.
        ArgumentTypeError: wrong type or layout of `out`.
    """
    a, extents = _channels_first(x)
    count = Count(1).check("groups", groups)
    if extents[1] % count:
        raise ArgumentError(f"`groups` must divide the {extents[1]} channels, got {count}")
    return _rows_forward(a, extents, count, True, eps, gamma, beta, (extents[1],), out)


def group_norm_backward(d_y: Any, cache: Cache, *, out: Array | None = None) -> Gradients:
    """Derivatives by x, γ and β; arguments and errors as in `batch_norm_backward`."""
    return _rows_backward(d_y, cache, out)


def instance_norm_forward(
    x: Any, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5, out: Array | None = None
) -> tuple[Array, Cache]:
    """Normalisation over the positions of each channel of each sample: group normalisation with C groups.

    Source: 1607.08022; agrees with torch.nn.functional.instance_norm. Errors as `group_norm_forward`.
    """
    _, extents = _channels_first(x)
    return group_norm_forward(x, extents[1], gamma, beta, eps=eps, out=out)


def instance_norm_backward(d_y: Any, cache: Cache, *, out: Array | None = None) -> Gradients:
    """Derivatives by x, γ and β; arguments and errors as in `batch_norm_backward`."""
    return _rows_backward(d_y, cache, out)


def _floats(x: Any) -> Array:
    a = real_array(x, "x")
    native = a.dtype.newbyteorder("=")
    return plain(a, native if native in (np.float32, np.float64) else np.float64)


def _channels_first(x: Any) -> tuple[Array, Extents]:
    """(x contiguous, its shape as (N, C, S))."""
    a = _floats(x)
    if a.ndim < 2 or a.size == 0:
        raise ArgumentError(f"`x` must have shape (N, C, …) and hold at least one element, got {a.shape}")
    return a, (a.shape[0], a.shape[1], math.prod(a.shape[2:]))


def _last_axes(x: Any, axes: int) -> tuple[Array, Extents]:
    """(x contiguous, its shape as (N, C, 1) with the last axes as C)."""
    a = _floats(x)
    count = Count(1).check("axes", axes)
    if count > a.ndim or a.size == 0:
        raise ArgumentError(f"`x` must have at least {count} axes and one element, got shape {a.shape}")
    return a, (math.prod(a.shape[: a.ndim - count]), math.prod(a.shape[a.ndim - count :]), 1)


def _statistics(mean: Any, variance: Any, eps: float, a: Array, extents: Extents) -> tuple[Array, Array, Array, bool]:
    """(mean, variance, 1/√(variance + eps), whether they were given); if not, memory for them."""
    channels = extents[1]
    if mean is None and variance is None:
        if extents[0] * extents[2] < 2:
            raise ArgumentError(
                f"`x` must hold more than one value per channel to have a variance, got shape {a.shape}; "
                "pass `mean` and `variance`"
            )
        return np.empty(channels), np.empty(channels), np.empty(channels), False
    if mean is None or variance is None:
        raise ArgumentError("`mean` and `variance` must be given together, or neither")
    vectors = [np.array(real_array(v, n), dtype=np.float64) for v, n in ((mean, "mean"), (variance, "variance"))]
    for vector, name in zip(vectors, ("mean", "variance"), strict=True):
        if vector.shape != (channels,):
            raise ArgumentError(f"`{name}` must have shape ({channels},), one value per channel, got {vector.shape}")
    if not np.all(vectors[1] >= 0):
        raise ArgumentError("`variance` must be ≥ 0 in every channel")
    with np.errstate(divide="ignore"):
        return vectors[0], vectors[1], 1.0 / np.sqrt(vectors[1] + eps), True


def _parameter(value: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Array | None:
    if value is None:
        return None
    a = real_array(value, name)
    if a.shape != shape:
        raise ArgumentError(f"`{name}` must have shape {shape}, got {a.shape}")
    return plain(a, dtype).reshape(-1)


def _like(value: Any, name: str, x: Array) -> Array:
    a = real_array(value, name)
    if a.shape != x.shape:
        raise ArgumentError(f"`{name}` must have the shape of `x`, {x.shape}, got {a.shape}")
    return plain(a, x.dtype)


def _output(out: Array | None, name: str = "out", *, x: Array, **others: Array | None) -> Array:
    """`out` if it can take a result like `x` while all of these are read, or a new array."""
    if out is None:
        return np.empty_like(x)
    if not isinstance(out, np.ndarray) or out.dtype != x.dtype:
        found = getattr(out, "dtype", type(out).__name__)
        raise ArgumentTypeError(f"`{name}` must be a {x.dtype} array, got {found}")
    if out.shape != x.shape:
        raise ArgumentError(f"`{name}` must have the shape of `x`, {x.shape}, got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ArgumentTypeError(f"`{name}` must be C-contiguous, aligned and writable, because it is filled in place")
    for other, read in {"x": x, **others}.items():
        if read is not None and out.ctypes.data != read.ctypes.data and np.may_share_memory(out, read):
            raise ArgumentError(f"`{name}` overlaps `{other}` without being it; pass `{other}` or separate memory")
    return out


def _kept(cache: Cache, batch: bool) -> Array:
    """The input of the forward pass."""
    if not isinstance(cache, Cache):
        raise ArgumentTypeError(
            f"`cache` must be that of the forward pass, got {type(cache).__name__}; a forward pass returns (y, cache)"
        )
    if batch != (cache.groups == 0):
        raise ArgumentError("`cache` belongs to another kind of normalisation")
    if cache.x is None:
        raise ArgumentError(
            "the forward pass wrote its output over `x`, which the backward pass needs; pass another `out`"
        )
    return cache.x


def _rows_forward(
    a: Array,
    extents: Extents,
    groups: int,
    centered: bool,
    eps: float,
    gamma: Any,
    beta: Any,
    shape: tuple[int, ...],
    out: Array | None,
) -> tuple[Array, Cache]:
    eps = NON_NEGATIVE.check("eps", eps)
    if centered and extents[1] // groups * extents[2] < 2:
        raise ArgumentError(
            f"`x` must have more than one element to take a mean and a variance of, got shape {a.shape}: the "
            "normalised value of one is 0 whatever it is"
        )
    scale, shift = (_parameter(v, n, shape, a.dtype) for v, n in ((gamma, "gamma"), (beta, "beta")))
    y = _output(out, x=a)
    mean, inverse = _core.row_norm_forward(a.reshape(extents), groups, centered, eps, scale, shift, y.reshape(extents))
    kept = None if y.ctypes.data == a.ctypes.data else a
    return y, Cache(mean, None, inverse, kept, scale, None, extents, shape, groups, centered)


def _rows_backward(d_y: Any, cache: Cache, out: Array | None) -> Gradients:
    a = _kept(cache, batch=False)
    delta = _like(d_y, "d_y", a)
    d_x = _output(out, x=a, d_y=delta)
    if out is not None and d_x.ctypes.data == a.ctypes.data:
        raise ArgumentError("`out` is the input that the cache refers to; pass `d_y` or separate memory")
    d_gamma, d_beta = (np.empty(cache.extents[1], a.dtype) for _ in range(2))
    _core.row_norm_backward(
        delta.reshape(cache.extents),
        a.reshape(cache.extents),
        cache.groups,
        cache.centered,
        cache.mean,
        cache.inverse_deviation,
        cache.gamma,
        d_x.reshape(cache.extents),
        d_gamma,
        d_beta,
    )
    return Gradients(d_x, d_gamma.reshape(cache.parameter_shape), d_beta.reshape(cache.parameter_shape))


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
