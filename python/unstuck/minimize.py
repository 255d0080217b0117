"""An optimizer on any landscape, no data needed: the path it takes and the losses along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .critical.gate import norm_of
from .critical.probes import finite_theta
from .errors import ArgumentError, ArgumentTypeError, BudgetError, NonFiniteError
from .landscape import Landscape, check_landscape
from .number_text import apart
from .progress import check_progress
from .ranges import Count
from .schedules.telling import require_told, tell
from .what_came import what_came

Array = NDArray[Any]


class _Optimizer(Protocol):
    def copy(self) -> Any: ...
    def init(self, size: Any, dtype: Any = None) -> Any: ...
    def step(self, theta: Array, gradient: Array) -> Any: ...


@dataclass(frozen=True, eq=False)
class Path:
    """Answer of `minimize`.

    Attributes:
        theta: the last point, (n,).
        losses: L at every point, float64 (steps + 1,): losses[i] belongs to thetas[i], losses[0] to the start.
        thetas: every point, (steps + 1, n); None with record_path=False.
        gradient_norms: ‖∇L‖ at every point, float64 (steps + 1,).
    """

    theta: Array
    losses: Array
    thetas: Array | None
    gradient_norms: Array

    def __str__(self) -> str:
        losses = apart(*self.losses[[0, -1]].tolist())
        norms = apart(*self.gradient_norms[[0, -1]].tolist(), digits=3)
        return (
            f"{self.losses.size - 1} steps took the loss from {losses[0]} to {losses[1]} "
            f"and the gradient norm from {norms[0]} to {norms[1]}."
        )


def minimize(
    land: Landscape,
    opt: _Optimizer,
    theta0: ArrayLike | None,
    steps: int,
    record_path: bool = True,
    progress: Callable[[int, int], None] | None = None,
    memory_budget: int = 2**30,
) -> Path:
    """Run `opt` for `steps` updates on the whole landscape from `theta0`.

    Args:
        land: the landscape; every step uses its full gradient.
        opt: an optimizer of `unstuck.optim`; a fresh copy of it does the work, so neither its state nor its count
            of updates changes, and the same call gives the same path. It is given the landscape's blocks. A schedule
            that watches the training is told of the loss before every update.
        theta0: the start (n,); it is not changed. None: the landscape's current point.
        steps: number of updates, ≥ 0.
        record_path: keep every point; False keeps only the last one and the losses.
        progress: called as progress(done, steps) after every update.
        memory_budget: bytes that the record may take: 16 for every point, and the point itself if it is kept.

    Returns:
        A `Path` of steps + 1 points, the start included.

    Raises:
        ArgumentError, ArgumentTypeError: an argument of a wrong type, or out of its range.
        BudgetError: the record of so many steps would not fit `memory_budget`; nothing was done.
        NonFiniteError: the loss or gradient at a point is not finite; the message names the update that led there,
            and the exception's attribute `path` holds everything up to the last finite point. An interrupt
            (Ctrl-C) carries the same attribute.
    """
    check_landscape(land)
    if isinstance(steps, bool) or not isinstance(steps, (int, np.integer)) or steps < 0:
        raise ArgumentError(f"`steps` must be an integer ≥ 0, got {steps!r}")
    steps = int(steps)
    check_progress(progress)
    if isinstance(opt, type) or not all(hasattr(opt, name) for name in ("copy", "init", "step")):
        raise ArgumentTypeError(f"`opt` must be an optimizer of unstuck.optim, got {what_came(opt)}")
    require_told(opt, accuracy=False)
    theta = finite_theta(land, theta0)
    _check_budget(steps, theta.nbytes if record_path else 0, Count(1).check("memory_budget", memory_budget))
    worker = opt.copy()
    worker.init(land.blocks, dtype=land.dtype)
    record = _Record(theta, steps, record_path)
    try:
        for done in range(steps + 1):
            gradient = record.visit(land, theta, done)
            if done == steps:
                break
            worker.step(theta, gradient)
            tell(worker, done + 1, record.losses[-1])
            if progress is not None:
                progress(done + 1, steps)
    except (NonFiniteError, KeyboardInterrupt) as stop:
        stop.path = record.path()  # type: ignore[union-attr]
        raise
    return record.path()


def _check_budget(steps: int, point: int, budget: int) -> None:
    """Refuses a record of `steps` + 1 points of `point` bytes, each with its loss and gradient norm."""
    needed = (steps + 1) * (16 + point)
    if needed > budget:
        cure = "pass record_path=False, " if point else ""
        raise BudgetError(
            f"`steps`: the record of {steps:,} steps takes {needed:,} bytes, `memory_budget` allows {budget:,}; "
            f"{cure}take fewer steps, or raise `memory_budget`"
        )


class _Record:
    """Points and losses so far."""

    def __init__(self, theta: Array, steps: int, keep: bool) -> None:
        self.theta = theta.copy()
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.thetas = np.empty((steps + 1, theta.size), theta.dtype) if keep else None

    def visit(self, land: Landscape, theta: Array, done: int) -> Array:
        """Measure `theta`, reached by `done` updates; keep it only if loss and gradient are finite."""
        loss, gradient = land.gradient(theta)
        norm = norm_of(gradient)
        if not (np.isfinite(loss) and np.isfinite(norm)):
            what = f"the loss is {loss}" if not np.isfinite(loss) else "the gradient is not finite"
            where = f"after update {done}" if done else "at `theta0`"
            raise NonFiniteError(
                f"{what} {where}; the path so far is in the attribute `path` of this exception; "
                "a smaller learning rate may help"
            )
        if self.thetas is not None:
            self.thetas[len(self.losses)] = theta
        self.theta[:] = theta
        self.losses.append(float(loss))
        self.norms.append(norm)
        return gradient

    def path(self) -> Path:
        count = len(self.losses)
        thetas = None if self.thetas is None else self.thetas[:count].copy()
        return Path(self.theta.copy(), np.array(self.losses), thetas, np.array(self.norms))
