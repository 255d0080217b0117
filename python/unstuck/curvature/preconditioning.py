"""The Hessian as an adaptive optimizer sees it: P^-½·H·P^-½, P the diagonal that its rule divides the gradient by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError, ArgumentTypeError
from ..operators import HessianOperator, as_operator

if TYPE_CHECKING:
    from ..optim.base import Optimizer

Array = NDArray[Any]

STILL = 1e-7  # of the largest root: below, and where it is not above ε, a parameter does not move


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

    Guarantee: exact to the rounding of the state, also where it is kept in bfloat16 or int8 (as the rule reads it).

    Raises:
        ArgumentError: the rule keeps no second moments (SGD, Lion, LARS), multiplies them by a trust ratio (LAMB) or
            mixes them with SGD (RMSPropWarmup); or no update has been done yet.
        ArgumentTypeError: `optimizer` is neither.

    Source: J. Cohen et al. (2022), Adaptive gradient methods at the edge of stability, arXiv 2207.14484.
    """
    opt = _optimizer(optimizer)
    if opt.rule not in _ROOTS:
        why = _WITHOUT.get(opt.rule, "keeps no second moments of the gradient")
        raise ArgumentError(f"`optimizer`: {opt.rule} {why}, so that there is no P; it is there for {_names()}")
    if opt.t == 0 or opt.n is None or not opt.slots:
        raise ArgumentError(f"`optimizer`: {opt.rule} has done no update yet, so that there are no second moments")
    root, eps, inside = _ROOTS[opt.rule](opt, dict(opt.hyper_at(opt.start + opt.t - 1)))
    still = root <= max(np.sqrt(eps) if inside else eps, STILL * float(root.max(initial=0.0)))
    with np.errstate(divide="ignore"):
        diagonal = np.where(still, np.inf, np.sqrt(root**2 + eps) if inside else root + eps)
        for begin, end, factor, _, _ in _block_rows(opt):
            diagonal[begin:end] /= factor
    return np.asarray(diagonal)


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

    Source: J. Cohen et al. (2022), arXiv 2207.14484.
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


Root = tuple[Array, float, bool]  # the root, ε, and whether ε goes under it


def _adam(opt: Optimizer, hyper: dict[str, float]) -> Root:
    square = opt.value("largest_second_moment" if hyper.get("amsgrad") else "second_moment")
    return np.sqrt(square / (1.0 - hyper["beta2"] ** opt.t)), hyper["eps"], False


def _radam(opt: Optimizer, hyper: dict[str, float]) -> Root:
    left = 1.0 - hyper["beta2"] ** opt.t
    most = 2.0 / (1.0 - hyper["beta2"]) - 1.0
    rho = most - 2.0 * opt.t * (1.0 - left) / left
    if rho <= hyper["threshold"]:
        return np.full(opt.n or 0, 0.0 if hyper["early"] else 1.0), 0.0, False  # "skip": nothing moves
    rectified = np.sqrt((rho - 4.0) * (rho - 2.0) * most / ((most - 4.0) * (most - 2.0) * rho) * left)
    return np.sqrt(opt.value("second_moment")) / rectified, hyper["eps"] / float(rectified), False


def _adabelief(opt: Optimizer, hyper: dict[str, float]) -> Root:
    return np.sqrt(opt.value("variance") / (1.0 - hyper["beta2"] ** opt.t)), hyper["eps"], False


def _adamax(opt: Optimizer, hyper: dict[str, float]) -> Root:
    return np.asarray(np.maximum(opt.value("infinity_norm") - hyper["eps"], 0.0)), hyper["eps"], False


def _rmsprop(opt: Optimizer, hyper: dict[str, float]) -> Root:
    square = opt.value("square_average")
    if hyper["centered"]:
        square = np.maximum(square - opt.value("gradient_average") ** 2, 0.0)
    return np.sqrt(square), hyper["eps"], bool(hyper["eps_inside"])


def _adagrad(opt: Optimizer, hyper: dict[str, float]) -> Root:
    return np.sqrt(opt.value("square_sum") / (opt.t if hyper["form"] else 1.0)), hyper["eps"], False


def _composed(opt: Optimizer, hyper: dict[str, float]) -> Root:
    size: Any = opt.settings["size"]
    if size == "none":
        raise ArgumentError('`optimizer`: Composed with size="none" keeps no second moments of the gradient')
    if size == "largest":
        return opt.value("infinity_norm"), hyper["eps"], False
    square = opt.value("squares")
    if size == "mean":
        square = square / opt.t
    elif size == "moving" and hyper["correct"]:
        square = square / (1.0 - hyper["alpha"] ** opt.t)
    return np.sqrt(square), hyper["eps"], False


_ROOTS: dict[str, Callable[[Optimizer, dict[str, float]], Root]] = {
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
