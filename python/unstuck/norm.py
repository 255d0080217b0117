"""Normalisation kernels on NumPy arrays: batch, layer, group, instance and RMS, forward and backward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import ArgumentError, ArgumentTypeError
from .ranges import NON_NEGATIVE, Count
from .real_array import plain, real_array

__all__ = [
    "Forward",
    "Gradients",
    "Statistics",
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


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a backward pass needs of its forward pass.

    Attributes:
        mean: float64, (C,) of batch normalisation, else one per row, (N·groups,); 0 for RMS normalisation.
        inverse_deviation: 1/√(variance + eps), the same shape.
        variance: biased, (C,); None except for batch normalisation.
        of_batch: the two above are functions of the input (training), not constants (evaluation).
        groups: groups per sample; 0 for batch normalisation.
        relu, residual: what was fused with the normalisation.
    """

    mean: Array
    inverse_deviation: Array
    variance: Array | None = None
    of_batch: bool = True
    groups: int = 0
    relu: bool = False
    residual: bool = False


class Forward(NamedTuple):
    """Output and statistics of a forward pass."""

    y: Array
    statistics: Statistics


class Gradients(NamedTuple):
    """Derivatives of the loss; the parameters' are None where the pass had no such parameter."""

    x: Array
    gamma: Array | None
    beta: Array | None
    residual: Array | None = None


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
) -> Forward:
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
        out: C-contiguous array of x's shape and dtype that takes y; may be `x` itself, which is then lost.

    Returns:
        (y, statistics). The variance is the biased one. Sums are made in float64 about a value of the channel, so a
        large mean costs no digits; same bits for any number of threads.

    Raises:
        ArgumentError: wrong shape, or one value per channel without given statistics (its variance is 0 whatever
            it is).
        ArgumentTypeError: wrong type or layout of `out`.

    Source: 1502.03167; agrees with torch.nn.functional.batch_norm.
    """
    a, shape = _channels_first(x)
    eps = NON_NEGATIVE.check("eps", eps)
    given = mean is not None or variance is not None
    if given and (mean is None or variance is None):
        raise ArgumentError("`mean` and `variance` must be given together, or neither")
    if given:
        mu, var = (_vector(v, n, shape[1], np.float64).copy() for v, n in ((mean, "mean"), (variance, "variance")))
        if not np.all(var >= 0):
            raise ArgumentError("`variance` must be ≥ 0 in every channel")
    else:
        if shape[0] * shape[2] < 2:
            raise ArgumentError(
                f"`x` must hold more than one value per channel to have a variance, got shape {a.shape}; "
                "pass `mean` and `variance`"
            )
        mu, var = np.empty(shape[1]), np.empty(shape[1])
    with np.errstate(divide="ignore"):
        inverse = 1.0 / np.sqrt(var + eps) if given else np.empty(shape[1])
    scale, shift = (_optional_vector(v, n, shape[1], a.dtype) for v, n in ((gamma, "gamma"), (beta, "beta")))
    other = None if residual is None else _like(residual, "residual", a).reshape(shape)
    y = _output(out, x=a, residual=other)
    _core.batch_norm_forward(
        a.reshape(shape), given, eps, mu, var, inverse, scale, shift, other, bool(relu), y.reshape(shape)
    )
    return Forward(y, Statistics(mu, inverse, var, not given, 0, bool(relu), other is not None))


def batch_norm_backward(
    d_y: Any, x: Any, statistics: Statistics, gamma: Any = None, *, y: Any = None, out: Array | None = None
) -> Gradients:
    """Derivatives of the loss by x, γ, β and the residual; through μ and σ too if they are those of the batch.

    Args:
        d_y: ∂L/∂y, of x's shape.
        x: as in the forward pass.
        statistics: from the forward pass.
        gamma: as in the forward pass.
        y: its output, needed only if a ReLU was fused.
        out: takes ∂L/∂x; may be `d_y` itself, which is then lost, or a third array.

    Raises:
        ArgumentError: a wrong shape, or `y` is missing.
        ArgumentTypeError: wrong type or layout of `out`.

    Source: 1502.03167; agrees with PyTorch's backward.
    """
    a, shape = _channels_first(x)
    delta = _like(d_y, "d_y", a)
    _check_statistics(statistics, shape[1], batch=True)
    if statistics.relu and y is None:
        raise ArgumentError("`y` is needed because the forward pass fused a ReLU; pass its output")
    output = _like(y, "y", a).reshape(shape) if statistics.relu else None
    scale = _optional_vector(gamma, "gamma", shape[1], a.dtype)
    d_gamma, d_beta = np.empty(shape[1], a.dtype), np.empty(shape[1], a.dtype)
    d_residual = np.empty_like(a) if statistics.residual else None
    d_x = _output(out, x=a, d_y=delta, y=output)
    _core.batch_norm_backward(
        delta.reshape(shape),
        a.reshape(shape),
        output,
        statistics.mean,
        statistics.inverse_deviation,
        scale,
        statistics.of_batch,
        d_x.reshape(shape),
        d_gamma,
        d_beta,
        None if d_residual is None else d_residual.reshape(shape),
    )
    return Gradients(d_x, d_gamma, d_beta, d_residual)


def layer_norm_forward(
    x: Any, gamma: Any = None, beta: Any = None, *, axes: int = 1, eps: float = 1e-5, out: Array | None = None
) -> Forward:
    """Layer normalisation over the last `axes` axes, each position with its own γ and β (of those axes' shape).

    Statistics in float64 about a value of the row; same bits for any number of threads.
    Source: 1607.06450; agrees with torch.nn.functional.layer_norm.

    Raises:
        ArgumentError: wrong shape, or `axes` is not in [1, x.ndim].
        ArgumentTypeError: wrong type or layout of `out`.
    """
    a, shape = _last_axes(x, axes)
    return _rows_forward(a, shape, 1, True, eps, gamma, beta, a.shape[a.ndim - axes :], out)


def layer_norm_backward(
    d_y: Any, x: Any, statistics: Statistics, gamma: Any = None, *, axes: int = 1, out: Array | None = None
) -> Gradients:
    """Derivatives of a layer normalisation; arguments as in `layer_norm_forward` and `batch_norm_backward`."""
    a, shape = _last_axes(x, axes)
    return _rows_backward(d_y, a, shape, statistics, True, gamma, a.shape[a.ndim - axes :], out)


def rms_norm_forward(
    x: Any, gamma: Any = None, *, axes: int = 1, eps: float = 1e-5, out: Array | None = None
) -> Forward:
    """Root-mean-square normalisation x/√(mean(x²) + eps)·γ over the last `axes` axes.

    Source: 1910.07467; agrees with torch.nn.functional.rms_norm. Errors as `layer_norm_forward`.
    """
    a, shape = _last_axes(x, axes)
    return _rows_forward(a, shape, 1, False, eps, gamma, None, a.shape[a.ndim - axes :], out)


def rms_norm_backward(
    d_y: Any, x: Any, statistics: Statistics, gamma: Any = None, *, axes: int = 1, out: Array | None = None
) -> Gradients:
    """Derivatives of an RMS normalisation; there is no β."""
    a, shape = _last_axes(x, axes)
    found = _rows_backward(d_y, a, shape, statistics, False, gamma, a.shape[a.ndim - axes :], out)
    return found._replace(beta=None)


def group_norm_forward(
    x: Any, groups: int, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5, out: Array | None = None
) -> Forward:
    """Normalisation over each group of C/groups neighbouring channels of each sample, γ and β per channel.

    Source: 1803.08494; agrees with torch.nn.functional.group_norm.

    Raises:
        ArgumentError: wrong shape, or `groups` does not divide the channels.
        ArgumentTypeError: wrong type or layout of `out`.
    """
    a, shape = _channels_first(x)
    return _rows_forward(a, shape, _groups(groups, shape), True, eps, gamma, beta, (shape[1],), out)


def group_norm_backward(
    d_y: Any, x: Any, statistics: Statistics, gamma: Any = None, *, out: Array | None = None
) -> Gradients:
    """Derivatives of a group normalisation; arguments as in `batch_norm_backward`."""
    a, shape = _channels_first(x)
    return _rows_backward(d_y, a, shape, statistics, True, gamma, (shape[1],), out)


def instance_norm_forward(
    x: Any, gamma: Any = None, beta: Any = None, *, eps: float = 1e-5, out: Array | None = None
) -> Forward:
    """Normalisation over the positions of each channel of each sample: group normalisation with C groups.

    Source: 1607.08022; agrees with torch.nn.functional.instance_norm. Errors as `group_norm_forward`, and
    ArgumentError where a channel has one position only, whose variance is 0 whatever it is.
    """
    a, shape = _channels_first(x)
    if shape[2] < 2:
        raise ArgumentError(f"`x` must have more than one position per channel, got shape {a.shape}")
    return group_norm_forward(x, shape[1], gamma, beta, eps=eps, out=out)


instance_norm_backward = group_norm_backward


def _floats(x: Any) -> Array:
    a = real_array(x, "x")
    return plain(a, a.dtype if a.dtype in (np.float32, np.float64) else np.float64)


def _channels_first(x: Any) -> tuple[Array, tuple[int, int, int]]:
    """(x contiguous, its shape as (N, C, S))."""
    a = _floats(x)
    if a.ndim < 2 or a.size == 0:
        raise ArgumentError(f"`x` must have shape (N, C, …) and hold at least one element, got {a.shape}")
    return a, (a.shape[0], a.shape[1], math.prod(a.shape[2:]))


def _last_axes(x: Any, axes: int) -> tuple[Array, tuple[int, int, int]]:
    """(x contiguous, its shape as (N, C, 1) with the last axes as C)."""
    a = _floats(x)
    count = Count(1).check("axes", axes)
    if count > a.ndim or a.size == 0:
        raise ArgumentError(f"`x` must have at least {count} axes and one element, got shape {a.shape}")
    return a, (math.prod(a.shape[: a.ndim - count]), math.prod(a.shape[a.ndim - count :]), 1)


def _groups(groups: int, shape: tuple[int, int, int]) -> int:
    count = Count(1).check("groups", groups)
    if shape[1] % count:
        raise ArgumentError(f"`groups` must divide the {shape[1]} channels, got {count}")
    return count


def _vector(value: Any, name: str, n: int, dtype: Any) -> Array:
    a = real_array(value, name)
    if a.shape != (n,):
        raise ArgumentError(f"`{name}` must have shape ({n},), one value per channel, got {a.shape}")
    return plain(a, dtype)


def _optional_vector(value: Any, name: str, n: int, dtype: Any) -> Array | None:
    return None if value is None else _vector(value, name, n, dtype)


def _like(value: Any, name: str, x: Array) -> Array:
    a = real_array(value, name)
    if a.shape != x.shape:
        raise ArgumentError(f"`{name}` must have the shape of `x`, {x.shape}, got {a.shape}")
    return plain(a, x.dtype)


def _output(out: Array | None, *, x: Array, **others: Array | None) -> Array:
    """`out` if it can take a result like `x` while all of these are read, or a new array."""
    if out is None:
        return np.empty_like(x)
    if not isinstance(out, np.ndarray) or out.dtype != x.dtype:
        raise ArgumentTypeError(f"`out` must be a {x.dtype} array, got {getattr(out, 'dtype', type(out).__name__)}")
    if out.shape != x.shape:
        raise ArgumentError(f"`out` must have the shape of `x`, {x.shape}, got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ArgumentTypeError("`out` must be C-contiguous, aligned and writable, because it is filled in place")
    for name, read in {"x": x, **others}.items():
        if read is not None and out.ctypes.data != read.ctypes.data and np.may_share_memory(out, read):
            raise ArgumentError(f"`out` overlaps `{name}` without being it; pass `{name}` itself or separate memory")
    return out


def _check_statistics(statistics: Statistics, n: int, batch: bool) -> None:
    if not isinstance(statistics, Statistics):
        raise ArgumentTypeError(
            f"`statistics` must be those of the forward pass, got {type(statistics).__name__}; "
            "a forward pass returns (y, statistics)"
        )
    if batch != (statistics.groups == 0) or statistics.mean.shape != (n,):
        raise ArgumentError("`statistics` belong to another kind of normalisation or another shape of `x`")


def _rows_forward(
    a: Array,
    shape: tuple[int, int, int],
    groups: int,
    centered: bool,
    eps: float,
    gamma: Any,
    beta: Any,
    parameter_shape: tuple[int, ...],
    out: Array | None,
) -> Forward:
    eps = NON_NEGATIVE.check("eps", eps)
    scale, shift = (_parameter(v, n, parameter_shape, a.dtype) for v, n in ((gamma, "gamma"), (beta, "beta")))
    y = _output(out, x=a)
    mean, inverse = _core.row_norm_forward(a.reshape(shape), groups, centered, eps, scale, shift, y.reshape(shape))
    return Forward(y, Statistics(mean, inverse, groups=groups))


def _rows_backward(
    d_y: Any,
    a: Array,
    shape: tuple[int, int, int],
    statistics: Statistics,
    centered: bool,
    gamma: Any,
    parameter_shape: tuple[int, ...],
    out: Array | None,
) -> Gradients:
    delta = _like(d_y, "d_y", a)
    _check_statistics(statistics, shape[0] * getattr(statistics, "groups", 0), batch=False)
    scale = _parameter(gamma, "gamma", parameter_shape, a.dtype)
    d_gamma, d_beta = np.empty(shape[1], a.dtype), np.empty(shape[1], a.dtype)
    d_x = _output(out, x=a, d_y=delta)
    _core.row_norm_backward(
        delta.reshape(shape),
        a.reshape(shape),
        statistics.groups,
        centered,
        statistics.mean,
        statistics.inverse_deviation,
        scale,
        d_x.reshape(shape),
        d_gamma,
        d_beta,
    )
    return Gradients(d_x, d_gamma.reshape(parameter_shape), d_beta.reshape(parameter_shape))


def _parameter(value: Any, name: str, shape: tuple[int, ...], dtype: Any) -> Array | None:
    if value is None:
        return None
    a = real_array(value, name)
    if a.shape != shape:
        raise ArgumentError(f"`{name}` must have shape {shape}, got {a.shape}")
    return plain(a, dtype).reshape(-1)
