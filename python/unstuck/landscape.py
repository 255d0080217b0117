"""The error surface L(θ): the protocol that every instrument reads, and the surface of any loss with a gradient."""

from __future__ import annotations

import contextlib
import math
import operator
import reprlib
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import ArgumentError, ArgumentTypeError, NonFiniteError, OperatorError, UnstuckError
from .operators import HessianOperator
from .ranges import Range
from .real_array import plain, real_array
from .what_came import what_came

Array = NDArray[Any]
Block = tuple[str, slice, tuple[int, ...]]
_ANY_NUMBER = Range(low=-math.inf)


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


_MEMBERS = ("n", "dtype", "blocks", "lower_bound", "samples", "theta", "loss", "gradient", "hessian")


def check_landscape(land: Any, name: str = "land", expected: str = "a Landscape") -> Landscape:
    """`land` if it has every member of a Landscape, or an error that names what it lacks.

    Raises:
        ArgumentTypeError: it is no landscape.
    """
    lacking = [name for name in _MEMBERS if not hasattr(land, name)]
    if isinstance(land, type) or lacking:
        what = f" without {', '.join(lacking)}" if len(lacking) < len(_MEMBERS) else ""
        raise ArgumentTypeError(f"`{name}` must be {expected}, got {what_came(land)}{what}{_cure(land)}")
    checked: Landscape = land
    return checked


def _cure(land: Any) -> str:
    if hasattr(land, "input_shape") and not isinstance(land, type):  # a network
        return "; make a landscape of it: us.NetworkLandscape(net, loss, X, y)"
    return "; the spectrum of a matrix is read by us.curvature" if isinstance(land, np.ndarray) else ""


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
        self.n = int(n)
        self.dtype = _float_type(dtype)
        self.lower_bound = None if lower_bound is None else _ANY_NUMBER.check("lower_bound", lower_bound)
        self.blocks: list[Block] = [("theta", slice(0, self.n), (self.n,))]
        if blocks is not None:
            self.blocks = _checked_blocks(blocks, self.n)
        self._loss, self._gradient, self._hvp = loss, gradient, hvp
        self._theta = None if theta is None else check_theta(theta, self.n, self.dtype).copy()

    def __repr__(self) -> str:
        products = "exact" if self._hvp is not None else "by differences"
        return f"FunctionLandscape(n={self.n}, dtype={self.dtype.name}, Hessian products {products})"

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
                self.n, self.dtype, lambda v: self._as_vector(hvp(point.copy(), v.copy()), "hvp", point), trusted=True
            )
        return HessianOperator(
            self.n,
            self.dtype,
            lambda v: self._difference(point, v, 1.0),
            exact=False,
            noise=self._difference_noise(point),
            trusted=True,
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
        change = self._gradient_beside(forward, point) - self._gradient_beside(backward, point)
        return (change / taken).astype(self.dtype, copy=False)

    def _gradient_beside(self, moved: Array, point: Array) -> Array:
        """∇L at the end of a difference step from `point`, which may lie where L is not defined.

        Raises:
            NonFiniteError: it is not finite there although it is at `point`.
            OperatorError: the callback fails there although it does not at `point`.
        """
        failure: Exception | None = None
        try:
            gradient = self._gradient_at(moved)
        except UnstuckError:
            raise
        except (ArithmeticError, ValueError) as error:
            failure, gradient = error, np.full_like(moved, np.nan)
        if np.isfinite(gradient).all() or not np.isfinite(self._gradient_at(point)).all():
            return gradient
        place = (
            f"at theta = {_show(moved)}, a difference step of {_norm(moved - point):.3g} from {_show(point)}; "
            "products without `hvp` need the gradient on both sides: pass an exact `hvp`, or a theta further inside"
        )
        if failure is not None:
            raise OperatorError(
                f"the callback `gradient` failed ({type(failure).__name__}: {failure}) {place}"
            ) from failure
        raise NonFiniteError(f"the callback `gradient` is not finite {place}")

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


def _float_type(dtype: Any) -> np.dtype[Any]:
    kind: np.dtype[Any] | None = None
    with contextlib.suppress(TypeError, ValueError):
        kind = np.dtype(dtype)
    if kind is None or kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ArgumentTypeError(f"`dtype` must be float32 or float64, got {dtype!r}")
    return kind


def _checked_blocks(blocks: Any, n: int) -> list[Block]:
    """Blocks that cover θ in order, as [(name, slice, shape)]."""
    checked: list[Block] = []
    end = 0
    try:
        for name, part, shape in blocks:
            extents = tuple(operator.index(extent) for extent in shape)
            start, end = end, end + math.prod(extents)
            if (part.start, part.stop) != (start, end) or part.step not in (None, 1) or min(extents, default=1) < 1:
                raise ArgumentError(
                    f"`blocks` must cover theta in order: after {start} comes {str(name)[:60]!r} "
                    f"with {part} and shape {extents}"
                )
            checked.append((str(name), slice(start, end), extents))
    except (TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentTypeError(f"`blocks` must be [(name, slice, shape)], got {reprlib.repr(blocks)}") from None
    if end != n:
        raise ArgumentError(f"`blocks` must cover all {n} parameters, they cover {end}")
    return checked


def _norm(vector: Array) -> float:
    """‖vector‖ in float64: a float32 sum of squares overflows at 1e19."""
    return float(np.linalg.norm(np.asarray(vector, dtype=np.float64)))


def _show(point: Array) -> str:
    """A point in a message: whole when short, else its first entries."""
    head = ", ".join(f"{x:.6g}" for x in point[:6])
    return f"[{head}{', …' if point.size > 6 else ''}]"
