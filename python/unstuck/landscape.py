"""The error surface L(θ): the protocol that every instrument reads, and the surface of any loss with a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError, OperatorError
from .operators import HessianOperator
from .real_array import plain, real_array

Array = NDArray[Any]
Block = tuple[str, slice, tuple[int, ...]]


@runtime_checkable
class Landscape(Protocol):
    """How high, which way is down, how does it bend, which parameter is which.

    Attributes:
        n: number of parameters.
        dtype: float32 or float64, of θ, gradients and products.
        blocks: [(name, slice into θ, shape)], covering θ in order.
        lower_bound: a number that the loss is known never to fall below, or None.
        samples: number of data samples, or None for a surface without data.
        theta: the current point (a live view for networks), or None.
    """

    n: int
    dtype: np.dtype[Any]
    blocks: list[Block]
    lower_bound: float | None
    samples: int | None

    @property
    def theta(self) -> Array | None:
        """The current point, or None."""

    def loss(self, theta: Array, batch: Array | None = None) -> float:
        """L(θ) on the samples `batch` (integer indices; None: all). NaN and infinity are returned as they are."""

    def gradient(self, theta: Array, batch: Array | None = None) -> tuple[float, Array]:
        """(L(θ), ∇L(θ)); the gradient is a new array (n,)."""

    def hessian(self, theta: Array, batch: Array | None = None) -> HessianOperator:
        """The Hessian at a copy of θ as an operator."""


def check_theta(theta: Any, n: int, dtype: np.dtype[Any], name: str = "theta") -> Array:
    """`theta` as a contiguous array (n,) of `dtype`, or an error that names it."""
    array = real_array(theta, name)
    if array.shape != (n,):
        raise ArgumentError(f"`{name}` must have shape ({n},), got {array.shape}")
    return plain(array, dtype)


class FunctionLandscape:
    """The surface of any loss with a gradient.

    Args:
        loss: θ (n,) ↦ float.
        gradient: θ (n,) ↦ array (n,).
        n: number of parameters.
        hvp: (θ, v) ↦ H(θ)·v, an array (n,). Without it, products are central differences of the gradient with
            step ∛u·(1 + ‖θ‖)/‖v‖ (u: unit round-off), whose error is measured and widens every verdict's tolerance.
        lower_bound: a number below which the loss never falls, e.g. 0 for a sum of squares.
        blocks: [(name, slice, shape)]; one block named "theta" by default.
        theta: a current point; instruments use it when called without one.
        dtype: float64, or float32 when the callbacks compute in float32.

    Guarantee: callbacks get their own copy of θ, and what they return is checked for size.
    """

    samples: int | None = None

    def __init__(
        self,
        loss: Callable[[Array], float],
        gradient: Callable[[Array], Array],
        n: int,
        hvp: Callable[[Array, Array], Array] | None = None,
        lower_bound: float | None = None,
        *,
        blocks: list[Block] | None = None,
        theta: Array | None = None,
        dtype: Any = np.float64,
    ) -> None:
        for name, function in (("loss", loss), ("gradient", gradient)):
            if not callable(function):
                raise ArgumentTypeError(f"`{name}` must be callable, got {type(function).__name__}")
        if hvp is not None and not callable(hvp):
            raise ArgumentTypeError(f"`hvp` must be callable or None, got {type(hvp).__name__}")
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise ArgumentError(f"`n` must be a positive integer, got {n!r}")
        if np.dtype(dtype) not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ArgumentTypeError(f"`dtype` must be float32 or float64, got {dtype}")
        if lower_bound is not None and not np.isfinite(lower_bound):
            raise ArgumentError(f"`lower_bound` must be finite or None, got {lower_bound}")
        self.n = int(n)
        self.dtype = np.dtype(dtype)
        self.lower_bound = None if lower_bound is None else float(lower_bound)
        self.blocks: list[Block] = blocks if blocks is not None else [("theta", slice(0, self.n), (self.n,))]
        self._loss, self._gradient, self._hvp = loss, gradient, hvp
        self._theta = None if theta is None else check_theta(theta, self.n, self.dtype).copy()

    @property
    def theta(self) -> Array | None:
        """The current point given at construction, or None."""
        return self._theta

    def loss(self, theta: Array, batch: Array | None = None) -> float:
        """L(θ); NaN and infinity are returned as they are."""
        self._refuse_batch(batch)
        return self._as_loss(self._loss(check_theta(theta, self.n, self.dtype).copy()))

    def gradient(self, theta: Array, batch: Array | None = None) -> tuple[float, Array]:
        """(L(θ), ∇L(θ)); NaN and infinity are returned as they are."""
        self._refuse_batch(batch)
        point = check_theta(theta, self.n, self.dtype)
        return self._as_loss(self._loss(point.copy())), self._gradient_at(point)

    def hessian(self, theta: Array, batch: Array | None = None) -> HessianOperator:
        """H at a copy of θ: exact with `hvp`, central differences otherwise."""
        self._refuse_batch(batch)
        point = check_theta(theta, self.n, self.dtype).copy()
        if self._hvp is not None:
            hvp = self._hvp
            return HessianOperator(
                self.n, self.dtype, lambda v: self._as_vector(hvp(point.copy(), v.copy()), "hvp", point)
            )
        return HessianOperator(
            self.n,
            self.dtype,
            lambda v: self._difference(point, v, 1.0),
            exact=False,
            noise=self._difference_noise(point),
        )

    def _difference(self, point: Array, v: Array, widen: float) -> Array:
        """(∇L(θ + hv) − ∇L(θ − hv)) / 2h with h = widen·∛u·(1 + ‖θ‖)/‖v‖; error O(h²) + O(u/h)."""
        size = _norm(v)
        if size == 0.0:
            return np.zeros_like(v)
        h = widen * float(np.cbrt(np.finfo(self.dtype).eps)) * (1.0 + _norm(point)) / size
        forward, backward = point + h * v, point - h * v
        # divide by the step really taken: θ + hv is rounded
        taken = float(np.dot(forward - backward, v)) / size**2
        return ((self._gradient_at(forward) - self._gradient_at(backward)) / taken).astype(self.dtype, copy=False)

    def _difference_noise(self, point: Array) -> float:
        """Error of a difference product for a unit vector: how much it moves when its step is doubled."""
        rng = np.random.default_rng(0)
        worst = 0.0
        for _ in range(2):
            v = rng.standard_normal(self.n).astype(self.dtype)
            v /= _norm(v)
            change = self._difference(point, v, 1.0) - self._difference(point, v, 2.0)
            worst = max(worst, _norm(change))
        eps = float(np.finfo(self.dtype).eps)
        # a gradient is rounded to eps·‖g‖ at least, which a lucky pair of steps can hide
        slope = _norm(self._gradient_at(point))
        rounding = eps ** (2.0 / 3.0) * slope / (1.0 + _norm(point))
        return float(worst + rounding)

    def _gradient_at(self, point: Array) -> Array:
        return self._as_vector(self._gradient(point.copy()), "gradient", point)

    def _as_vector(self, value: Any, name: str, point: Array) -> Array:
        try:
            array = real_array(value, name)
        except (ArgumentError, ArgumentTypeError) as error:
            hint = "; `gradient` returns the gradient alone" if isinstance(value, tuple) else ""
            raise OperatorError(f"the callback `{name}` must return {self.n} real numbers: {error}{hint}") from None
        if array.shape != (self.n,):
            raise OperatorError(
                f"the callback `{name}` must return {self.n} real numbers, shape ({self.n},); "
                f"it returned {array.dtype} of shape {array.shape} at theta = {_show(point)}"
            )
        return np.array(array, dtype=self.dtype)

    def _as_loss(self, value: Any) -> float:
        try:
            array = real_array(value, "loss")
        except (ArgumentError, ArgumentTypeError) as error:
            raise OperatorError(f"the callback `loss` must return one real number: {error}") from None
        if array.size != 1:
            raise OperatorError(f"the callback `loss` must return one real number, got shape {array.shape}")
        return float(array.reshape(-1)[0])

    def _refuse_batch(self, batch: Array | None) -> None:
        if batch is not None:
            raise ArgumentError("`batch` must be None: a FunctionLandscape has no data to take a batch of")


def _norm(vector: Array) -> float:
    """‖vector‖ in float64: a float32 sum of squares overflows at 1e19."""
    return float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))


def _show(point: Array) -> str:
    """A point in a message: whole when short, else its first entries."""
    head = ", ".join(f"{x:.6g}" for x in point[:6])
    return f"[{head}{', …' if point.size > 6 else ''}]"
