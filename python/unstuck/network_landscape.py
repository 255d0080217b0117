"""The error surface of a network of our own engine on a data set."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _core
from .errors import ArgumentError, ArgumentTypeError, BudgetError, NonFiniteError
from .landscape import Block, check_theta
from .nn.layer import Layer
from .nn.losses import Loss
from .nn.network import Network
from .operators import HessianOperator
from .real_array import plain, real_array
from .what_came import what_came

if TYPE_CHECKING:
    from .optim.base import Optimizer

Array = NDArray[Any]

_SMOOTH = {"Linear", "Conv2d", "AvgPool2d", "Flatten", "Identity", "Tanh", "Sigmoid", "Softplus", "GELU", "SiLU"}
_SMOOTH_LOSSES = {"CrossEntropy", "MSE", "BCEWithLogits"}


@dataclass
class StepRecord:
    """What `train_steps` did: loss and gradient norm before each update, both of length `done` (+ 1 when stopped).

    `stop` is "loss" or "gradient" when that was not finite at step `done`, which then changed nothing;
    `error` is the exception that a signal's handler raised (KeyboardInterrupt), else None.
    """

    loss: Array
    gradient_norm: Array
    done: int
    stop: Literal["loss", "gradient"] | None
    error: BaseException | None


class NetworkLandscape:
    """L(θ) = mean loss of a network over data, plus ½·l2·‖θ‖² and ½·spectral_penalty·Σ σ(W)².

    Args:
        net: the network; its `theta` is the current point, and stays untouched by every method but `train_steps`.
        loss: CrossEntropy (y: integer labels (N,)), MSE, BCEWithLogits or Huber (y: (N, out), or (N,) with one output).
        X: samples (N, *input_shape); kept without a copy when already contiguous and of the network's dtype.
        y: targets.
        mode: "eval" or "train"; they differ only for layers that couple samples (BatchNorm), which in "train" use
            the statistics of the batch that is given, all data included. That batch is one function and is never
            cut into chunks.
        l2: weight of the penalty, ≥ 0.
        sample_weight: (N,) non-negative numbers; the mean divides by their sum over the batch.
        memory_budget: bytes that the passes of a Hessian operator may hold; its own copy of theta is not counted.
        spectral_penalty: weight λ ≥ 0 of λ/2·Σ σ(W)² (1705.10941), σ the largest singular value of every layer's
            weight as a matrix (outputs, everything else), of a parametrized one as the layer reads it. Value, gradient
            λσ·uvᵀ and curvature are exact: every evaluation finds σ, u and v anew by a converged Lanczos run. Where σ
            is not simple the gradient is one of several, and `hessian` refuses.

    Raises:
        ArgumentError, ArgumentTypeError: shapes, labels or dtypes do not fit; the message names the argument and row.
        NonFiniteError: X, y or sample_weight holds NaN or infinity; the message names the row.

    Guarantee: every value is the same to the bit for any number of threads.
    """

    def __init__(
        self,
        net: Network,
        loss: Loss,
        X: Any,
        y: Any,
        mode: Literal["eval", "train"] = "eval",
        l2: float = 0.0,
        sample_weight: Any = None,
        memory_budget: int = 2**30,
        spectral_penalty: float = 0.0,
    ) -> None:
        if not isinstance(net, Network):
            raise ArgumentTypeError(f"`net` must be an unstuck.nn.Network, got {what_came(net)}")
        if not isinstance(loss, Loss) or not loss.kind:
            shown = repr(loss) if isinstance(loss, str) else what_came(loss)
            raise ArgumentTypeError(
                f"`loss`, the second argument, must be a loss of unstuck.nn, e.g. CrossEntropy(), got {shown}"
            )
        if mode not in ("eval", "train"):
            raise ArgumentError(f'`mode` must be "eval" or "train", got {mode!r}')
        if isinstance(memory_budget, bool) or not isinstance(memory_budget, (int, np.integer)) or memory_budget <= 0:
            raise ArgumentError(f"`memory_budget` must be a positive number of bytes, got {memory_budget!r}")
        self.net, self.loss_function, self.mode, self.l2 = net, loss, mode, _penalty("l2", l2)
        self.spectral_penalty = _penalty("spectral_penalty", spectral_penalty)
        self.memory_budget = min(int(memory_budget), 2**62)  # 64-bit sizes in the core
        self.n, self.dtype = net.n, net.dtype
        self._own_buffers: Array | None = None
        self.blocks: list[Block] = net.blocks
        self.lower_bound: float | None = 0.0  # every loss is non-negative
        rows = _samples(X, net)
        self.X = rows.reshape(-1, *net.input_shape)
        self.samples: int | None = self.X.shape[0]
        self.y = _targets(y, loss, net, self.X.shape[0])
        self.sample_weight = _weights(sample_weight, self.X.shape[0], net.dtype)
        kind = getattr(_core, "Float32Objective" if net.dtype == np.float32 else "Float64Objective")
        self._core = kind(
            net._core,
            loss.kind,
            loss.options(),
            loss.class_weights(),
            rows,
            self.y,
            self.sample_weight,
            self.l2,
            self.spectral_penalty,
        )

    def __repr__(self) -> str:
        penalty = "".join(f", {x}={getattr(self, x):g}" for x in ("l2", "spectral_penalty") if getattr(self, x))
        return (
            f"NetworkLandscape(n={self.n}, dtype={self.dtype.name}, samples={self.samples}, "
            f"loss={self.loss_function!r}, mode={self.mode!r}{penalty})"
        )

    @property
    def theta(self) -> Array:
        """The network's current point: a live view."""
        return self.net.theta

    @property
    def buffers(self) -> Array:
        """The running statistics that "eval" uses and training moves: the network's own unless detached."""
        return self.net.buffers if self._own_buffers is None else self._own_buffers

    def detached(self) -> NetworkLandscape:
        """The same landscape with running statistics of its own, a copy of these."""
        twin = copy.copy(self)
        twin._own_buffers = self.buffers.copy()
        return twin

    def with_data(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkLandscape:
        """The same network and loss on other data, e.g. a validation set, without the penalties."""
        other = NetworkLandscape(
            self.net,
            self.loss_function,
            X,
            y,
            mode="eval",
            sample_weight=sample_weight,
            memory_budget=self.memory_budget,
        )
        other._own_buffers = self._own_buffers
        return other

    def loss(self, theta: Any, batch: Any = None) -> float:
        """L(θ) on the samples `batch` (integer indices, repeats allowed; None: all); NaN is returned as it is."""
        return float(self._core.loss(check_theta(theta, self.n, self.dtype), *self._how(), _indices(batch)))

    def gradient(self, theta: Any, batch: Any = None) -> tuple[float, Array]:
        """(L(θ), ∇L(θ)), the gradient a new array (n,); NaN is returned as it is."""
        loss, gradient = self._core.gradient(check_theta(theta, self.n, self.dtype), *self._how(), _indices(batch))
        return float(loss), gradient

    def hessian(self, theta: Any, batch: Any = None) -> HessianOperator:
        """The exact Hessian at a copy of θ on `batch`; the primal pass is kept within the memory budget.

        Cost of a product: 6 matrix products per inner layer with the primal pass kept (a gradient takes 3), else 8.
        Method: Pearlmutter, "Fast exact multiplication by the Hessian" (1994).

        Raises:
            BudgetError: not even the uncached product fits `memory_budget`.
            ArgumentError: there is a `spectral_penalty`, and a weight's largest singular value is 0 or within 1e-6
                (relative) of the next, where the penalty has no second derivative; the message names the weight.
        """
        return self._curvature("hessian", theta, batch)

    def gauss_newton(self, theta: Any, batch: Any = None) -> HessianOperator:
        """The generalised Gauss–Newton matrix Σ wᵢ·Jᵢᵀ(∂²ℓ/∂z²)Jᵢ + l2·I at a copy of θ, J = ∂z/∂θ.

        What the Hessian would be if the network were linear in θ: never negative for convex losses, which all of
        `unstuck.nn` are. Cost of a product: 4 matrix products per inner layer with the primal pass kept.
        Source: N. Schraudolph (2002), Fast curvature matrix-vector products for second-order gradient descent.

        Raises:
            ArgumentError: the landscape has a spectral penalty.
            BudgetError: not even the uncached product fits `memory_budget`.
        """
        return self._curvature("gauss_newton", theta, batch)

    def fisher(self, theta: Any, batch: Any = None) -> HessianOperator:
        """The empirical Fisher matrix Σ wᵢ·gᵢgᵢᵀ + l2·I at a copy of θ, gᵢ the gradient of sample i's loss.

        The uncentred second moment of the samples' gradients, not the Fisher matrix itself: labels are those of the
        data (Kunstner et al., arXiv 1905.12558). Cost: as `gauss_newton`.

        Raises:
            ArgumentError: the landscape has a spectral penalty, or couples samples in mode "train".
            BudgetError: not even the uncached product fits `memory_budget`.
        """
        return self._curvature("fisher", theta, batch)

    def _curvature(self, kind: str, theta: Any, batch: Any) -> HessianOperator:
        point = check_theta(theta, self.n, self.dtype)
        try:
            core = self._core.hessian(point, *self._how(), _indices(batch), self.memory_budget, kind)
        except ArgumentError as error:
            if "memory_budget" in str(error):
                raise BudgetError(str(error)) from None
            raise
        return HessianOperator(
            self.n, self.dtype, lambda v: core.apply(v[None])[0], core.apply, plan=core.plan, trusted=True
        )

    def follow_hessian(
        self, theta: Any, batch: Any, ends: list[Any], accuracy: float, most: int
    ) -> tuple[int, list[tuple[float, float, Array, int]]]:
        """Rounds of following ends of the Hessian at θ in one call; what `curvature.tracking` does with an operator."""
        point = check_theta(theta, self.n, self.dtype)
        how = (*self._how(), _indices(batch), self.memory_budget)
        try:
            products, found = self._core.look(point, *how, ends, accuracy, most)
        except ArgumentError as error:
            raise (BudgetError(str(error)) if "memory_budget" in str(error) else error) from None
        return int(products), found

    def check_batch(self, samples: int) -> None:
        """Refuses a batch of so few samples that a layer cannot be trained on it; names the layer."""
        self.net._core.check_batch(samples, True)

    def _how(self) -> tuple[Array, bool]:
        return self.buffers, self.mode == "train"

    @property
    def smooth(self) -> bool:
        """Whether the loss is known to have derivatives of every order at every θ: no kink anywhere."""
        nodes = self.net._wiring.nodes
        plain_weights = all(node.parametrization[0] == "" for node in nodes)
        known = all(node.kind in _SMOOTH for node in nodes) and self.loss_function.kind in _SMOOTH_LOSSES
        return known and plain_weights and self.spectral_penalty == 0.0

    def at_kink(self, theta: Any) -> bool:
        """Whether a unit with a kinked activation (ReLU, LeakyReLU, ELU with alpha ≠ 1) is exactly at 0 somewhere."""
        nodes = self.net._wiring.nodes
        kinked = [node for node in nodes if node.source >= 0 and _has_kink(node.layer)]
        coupled = self.net._core.coupled(self.mode == "train")  # all samples are one batch
        rows = self.X.shape[0] if coupled or self.mode == "train" else 1024
        for start in range(0, self.X.shape[0] if kinked else 0, rows):
            X = self.X[start : start + rows].reshape(-1, *self.net.input_shape)
            outputs = self.net.activations(X, theta, self.mode)
            if any((outputs[node.source][1] == 0).any() for node in kinked):
                return True
        return False

    def train_steps(
        self,
        theta: Array,
        opt: Optimizer,
        order: Any,
        batch_size: int,
        lr: Any,
        clip_norm: float | None = None,
        average: Array | None = None,
        average_decay: float = 0.0,
    ) -> StepRecord:
        """One training step per entry of `lr` on consecutive slices of `order`, in the core.

        Changes `theta`, `buffers`, the optimizer's slots and count and the moving `average` of θ in place, always in
        train mode. A step whose loss
        or gradient norm is not finite changes nothing and ends the run. A signal ends it between two steps; the
        caller raises `error` after booking the steps that were done.
        """
        rates = np.asarray(lr, dtype=np.float64)
        losses, norms, done, stop, error = self._core.train(
            theta,
            self.buffers,
            opt.core(),
            opt.hyper_rows(opt.start + opt.t, rates.size),
            opt.slots,
            opt.t,
            _indices(order),
            batch_size,
            rates,
            clip_norm or 0.0,
            average,
            average_decay,
        )
        opt.t += done
        kept = done + bool(stop)
        return StepRecord(losses[:kept], norms[:kept], done, stop or None, error)


def _has_kink(layer: Layer | None) -> bool:
    return layer is not None and (
        layer.kind in ("ReLU", "LeakyReLU") or (layer.kind == "ELU" and getattr(layer, "alpha", 1.0) != 1.0)
    )


def _penalty(name: str, value: Any) -> float:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 <= value < np.inf:
        raise ArgumentError(f"`{name}` must be a finite number >= 0, got {value!r}")
    return float(value)


def _samples(X: Any, net: Network) -> Array:
    rows = net._rows(X)
    if rows.shape[0] == 0:
        raise ArgumentError("`X` has no rows; a landscape needs at least one sample")
    _require_finite(rows, "X")
    return rows


def _label_cure(y: Array) -> str:
    """How labels in another common form become integers (N,)."""
    if y.ndim == 2 and y.shape[1] > 1:
        return "; of one-hot rows take y.argmax(axis=1)"
    steps = (".ravel()" if y.ndim == 2 else "") + (".astype(int)" if y.dtype.kind not in "iu" else "")
    return f"; take y{steps}" if y.ndim <= 2 and np.isfinite(y).all() and (y == np.floor(y)).all() else ""


def _targets(y: Any, loss: Loss, net: Network, rows: int) -> Array:
    try:
        targets = real_array(y, "y")
    except ArgumentTypeError as error:
        raise ArgumentTypeError(f"{error}; encode class names as 0 … C-1 first") from None
    if targets.shape[:1] != (rows,):
        raise ArgumentError(f"`y` must have {rows} rows like X, got shape {targets.shape}")
    if loss.kind == "CrossEntropy":
        if targets.dtype.kind not in "iu" or targets.ndim != 1:
            raise ArgumentTypeError(
                f"`y` must be integer labels of shape ({rows},) for CrossEntropy, "
                f"got {targets.dtype} of shape {targets.shape}{_label_cure(targets)}"
            )
        _require_int64(targets, "y")
        labels = np.array(targets, dtype=np.int64)
        labels.flags.writeable = False  # the core relies on labels staying in range
        return labels
    if targets.ndim == 1 and net.outputs == 1:
        targets = targets[:, None]
    if targets.shape != (rows, net.outputs):
        raise ArgumentError(f"`y` must have shape ({rows}, {net.outputs}), got {np.shape(y)}")
    targets = plain(targets, net.dtype).copy()
    _require_finite(targets, "y")
    if loss.kind == "BCEWithLogits" and ((targets < 0) | (targets > 1)).any():
        row = int(np.argmax(((targets < 0) | (targets > 1)).any(axis=1)))
        raise ArgumentError(f"`y` must lie in [0, 1] for BCEWithLogits, got {targets[row]} in row {row}")
    return targets


def _weights(weight: Any, rows: int, dtype: np.dtype[Any]) -> Array | None:
    if weight is None:
        return None
    weights = real_array(weight, "sample_weight")
    if weights.shape != (rows,):
        raise ArgumentError(f"`sample_weight` must have shape ({rows},), got {weights.shape}")
    weights = plain(weights, dtype).copy()
    _require_finite(weights[:, None], "sample_weight")
    if (weights < 0).any() or weights.sum(dtype=np.float64) <= 0:
        raise ArgumentError(
            f"`sample_weight` must be non-negative with a positive sum, its smallest is {weights.min()}"
        )
    return weights


def _require_finite(array: Array, name: str) -> None:
    # a finite sum proves every entry finite without a temporary of the array's size
    with np.errstate(all="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if bad.any():
        raise NonFiniteError(
            f"`{name}` holds NaN or infinity in {int(bad.sum())} row(s), first in row {int(np.argmax(bad))}; "
            "clean or drop them"
        )


def _indices(batch: Any) -> Array | None:
    if batch is None:
        return None
    indices = real_array(batch, "batch")
    if indices.dtype.kind not in "iu" or indices.ndim != 1:
        raise ArgumentTypeError(
            f"`batch` must be a 1-D array of integer indices, got {indices.dtype} of shape {indices.shape}"
        )
    _require_int64(indices, "batch")
    return np.array(indices, dtype=np.int64)  # a copy: the core relies on indices staying in range


def _require_int64(values: Array, name: str) -> None:
    """Unsigned integers beyond int64 would come out negative."""
    if values.dtype.kind == "u" and values.size and int(values.max()) > np.iinfo(np.int64).max:
        where = int(np.argmax(values))
        raise ArgumentError(f"`{name}` must hold integers below 2**63, got {int(values[where])} at position {where}")
