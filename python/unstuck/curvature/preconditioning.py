"""The Hessian as an adaptive optimizer sees it: P^-½·H·P^-½, P the diagonal that its rule divides the gradient by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..errors import ArgumentError, ArgumentTypeError
from ..operators import HessianOperator, as_operator

if TYPE_CHECKING:
    from ..optim.base import Optimizer

Array = NDArray[Any]

STILL = 1e-7  # of the largest root: below, and where it is not above ε, a parameter does not move


@dataclass(frozen=True)
class Metric:
    """P = root + ε or √(root² + ε), root = √(factor·square); infinite where the root is not above ε.

    Attributes:
        square: (n,) float64, or the optimizer's own float32 or float64 state, which its next step changes.
        factor: of the square, the correction of its start.
        eps: ε.
        inside: whether ε goes under the root.
        rates: (begin, end, factor of the rate) of blocks; P is divided by it.
    """

    square: Array
    factor: float
    eps: float
    inside: bool = False
    rates: tuple[tuple[int, int, float], ...] = ()

    def diagonal(self) -> Array:
        """P (n,) float64."""
        root = np.sqrt(self.square.astype(np.float64) * self.factor)
        least = np.sqrt(self.eps) if self.inside else self.eps
        still = root <= max(least, STILL * float(root.max(initial=0.0)))
        with np.errstate(divide="ignore"):
            diagonal = np.where(still, np.inf, np.sqrt(root**2 + self.eps) if self.inside else root + self.eps)
            for begin, end, rate in self.rates:
                diagonal[begin:end] /= rate
        return np.asarray(diagonal)

    def inverse_roots(self, dtype: Any) -> Array:
        """P^-½ (n,) in float32 or float64."""
        if self.inside or self.rates:
            return np.asarray(1.0 / np.sqrt(self.diagonal()), dtype=dtype)
        return _core.inverse_roots(self.square, self.factor, self.eps, np.dtype(dtype) == np.float32)


def preconditioner(optimizer: Any) -> Array:
    """The diagonal P of an adaptive rule in its present state: its update is θ ← θ − lr·m/P, m a mean of gradients.

    Adam, AdamW, NAdam: √v̂ + ε, v̂ corrected for starting at 0 (AMSGrad: the largest). RAdam: that over its
    rectification, 1 before it begins. AdaBelief: √ŝ + ε. AdaMax: u. RMSProp: √s + ε (centred, or √(s + ε), as set).
    Adagrad: √Σg² + ε, or of the mean. Composed: by its size. A block's own factor of the rate (`per_block`) divides P.

    Args:
        optimizer: an optimizer of `us.optim`, or a `us.Trainer`, whose optimizer is taken.

    Returns:
        (n,) float64, in units of a gradient, all positive. Infinite where the rule's root is not above ε or 1e-7 of the
        largest, and where the rate is 0: such a parameter has had no gradient to speak of and does not move. (Taken
        literally, P = ε would call it the fastest of all; its first real gradient raises the root and ends that.)

    Raises:
        ArgumentError: the rule keeps no second moments (SGD, Lion, LARS), multiplies them by a trust ratio (LAMB) or
            mixes them with SGD (RMSPropWarmup); or no update has been done yet.
        ArgumentTypeError: `optimizer` is neither.

    Source: J. Cohen et al. (2022), Adaptive gradient methods at the edge of stability, arXiv 2207.14484, section 2.
    """
    return metric(optimizer).diagonal()


def metric(optimizer: Any) -> Metric:
    """P of `preconditioner` as what it is made of."""
    opt = _optimizer(optimizer)
    if opt.rule not in _ROOTS:
        why = _WITHOUT.get(opt.rule, "keeps no second moments of the gradient")
        raise ArgumentError(f"`optimizer`: {opt.rule} {why}, so that there is no P; it is there for {_names()}")
    if opt.t == 0 or opt.n is None or not opt.slots:
        raise ArgumentError(f"`optimizer`: {opt.rule} has done no update yet, so that there are no second moments")
    made = _ROOTS[opt.rule](opt, opt.hyper_at(opt.start + opt.t - 1))
    if not opt.per_block:
        return made
    return replace(made, rates=tuple((begin, end, rate) for begin, end, rate, _, _ in _block_rows(opt)))


def preconditioned_operator(op: Any, optimizer: Any) -> HessianOperator:
    """P^-½·H·P^-½, with P of `preconditioner(optimizer)`: what decides whether an adaptive optimizer is stable.

    Its largest eigenvalue stands against (2 + 2β₁)/((1 − β₁)·lr) for Adam and 2/lr for RMSProp, as that of H does
    against 2/lr for gradient descent; `SharpnessTracker` follows it through training.

    Args:
        op: the Hessian at the optimizer's point: HessianOperator, SciPy LinearOperator or matrix (n, n).
        optimizer: as for `preconditioner`, or the diagonal P itself, an array (n,) of positive numbers, infinite for
            parameters that do not move.

    Returns:
        An operator (n, n) of the type of `op`, in units of H over units of P; one product costs one of `op`. Rows and
        columns of parameters that do not move are zero.

    Guarantee: symmetric if `op` is; its inertia is that of `op` on the parameters that move (Sylvester).

    Raises:
        ArgumentError: as `preconditioner`; the sizes differ; P is not positive; `op` is not square.
        ArgumentTypeError: `optimizer` is none of these.
    """
    H = as_operator(op)
    n = int(H.shape[0])
    diagonal = _given(optimizer) if isinstance(optimizer, np.ndarray) else preconditioner(optimizer)
    if diagonal.shape != (n,):
        raise ArgumentError(f"`optimizer` has a state of shape {diagonal.shape}, `op` has {n} rows")
    return scaled(H, diagonal)


def scaled(op: HessianOperator, diagonal: Array) -> HessianOperator:
    """P^-½·H·P^-½ of a checked diagonal P (n,)."""
    scale = 1.0 / np.sqrt(diagonal)
    narrow = scale.astype(op.dtype)

    def block(rows: Array) -> Array:
        images = np.asarray(op.matmat((rows * narrow).T))
        return np.ascontiguousarray(images.T * narrow)

    noise = op.noise * float(scale.max(initial=0.0)) ** 2
    return HessianOperator(
        op.shape[0],
        op.dtype,
        lambda v: block(v[None])[0],
        block,
        exact=op.exact,
        noise=noise,
        plan=op.plan,
        trusted=True,
    )


def _given(diagonal: Array) -> Array:
    if diagonal.dtype.kind not in "fiu" or not (np.asarray(diagonal) > 0).all():
        raise ArgumentError("`optimizer`, as an array, must hold the positive numbers of P, infinity included")
    return np.asarray(diagonal, dtype=np.float64).copy()


def _optimizer(given: Any) -> Optimizer:
    from ..optim.base import Optimizer

    opt = getattr(given, "opt", given)
    if not isinstance(opt, Optimizer):
        raise ArgumentTypeError(
            f"`optimizer` must be an optimizer of us.optim, a us.Trainer or an array, got {type(given).__name__}"
        )
    return opt


def _block_rows(opt: Optimizer) -> list[Any]:
    from ..optim import per_block

    return [row for row in per_block.rows(opt.blocks, opt.per_block) if row[2] != 1.0]


def _adam(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    square = opt.state_vector("largest_second_moment" if hyper.get("amsgrad") else "second_moment")
    return Metric(square, 1.0 / (1.0 - hyper["beta2"] ** opt.t), hyper["eps"])


def _radam(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    left = 1.0 - hyper["beta2"] ** opt.t
    most = 2.0 / (1.0 - hyper["beta2"]) - 1.0
    rho = most - 2.0 * opt.t * (1.0 - left) / left
    if rho <= hyper["threshold"]:
        return Metric(np.full(opt.n or 0, 0.0 if hyper["early"] else 1.0), 1.0, 0.0)  # "skip": nothing moves
    rectified = (rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho) * left
    return Metric(opt.value("second_moment"), 1.0 / rectified, hyper["eps"] / float(np.sqrt(rectified)))


def _adabelief(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    return Metric(opt.value("variance"), 1.0 / (1.0 - hyper["beta2"] ** opt.t), hyper["eps"])


def _adamax(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    return Metric(np.maximum(opt.value("infinity_norm") - hyper["eps"], 0.0) ** 2, 1.0, hyper["eps"])


def _rmsprop(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    square = opt.state_vector("square_average")
    if hyper["centered"]:
        square = np.maximum(opt.value("square_average") - opt.value("gradient_average") ** 2, 0.0)
    return Metric(square, 1.0, hyper["eps"], bool(hyper["eps_inside"]))


def _adagrad(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    return Metric(opt.value("square_sum"), 1.0 / opt.t if hyper["form"] else 1.0, hyper["eps"])


def _composed(opt: Optimizer, hyper: dict[str, float]) -> Metric:
    size: Any = opt.settings["size"]
    if size == "none":
        raise ArgumentError('`optimizer`: Composed with size="none" keeps no second moments of the gradient')
    if size == "largest":
        return Metric(opt.value("infinity_norm") ** 2, 1.0, hyper["eps"])
    factor = 1.0
    if size == "mean":
        factor = 1.0 / opt.t
    elif size == "moving" and hyper["correct"]:
        factor = 1.0 / (1.0 - hyper["alpha"] ** opt.t)
    return Metric(opt.value("squares"), factor, hyper["eps"])


_ROOTS: dict[str, Callable[[Optimizer, dict[str, float]], Metric]] = {
    "Adam": _adam,
    "AdamW": _adam,
    "NAdam": _adam,
    "RAdam": _radam,
    "AdaBelief": _adabelief,
    "AdaMax": _adamax,
    "RMSProp": _rmsprop,
    "Adagrad": _adagrad,
    "Composed": _composed,
}
_WITHOUT = {
    "LAMB": "multiplies its step by a trust ratio that depends on θ",
    "RMSPropWarmup": "mixes its second moments with plain momentum",
}


def _names() -> str:
    return ", ".join(_ROOTS)
