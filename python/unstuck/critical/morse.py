"""Exact Morse index: deflate the negative directions found, and certify that their complement has no other."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from .. import _core
from ..certificate import certifier
from ..curvature import lanczos
from ..curvature.plan import Plan
from ..curvature.tall_blocks import combined, gram, orthonormalised
from ..operators import HessianOperator

Array = NDArray[Any]

_ROUNDS = 40  # complement runs at most
_PATIENCE = 5  # of them without a further negative value
_BATCH = 4  # Ritz vectors assembled at once


@dataclass(frozen=True)
class Morse:
    """What the complement runs found.

    Attributes:
        values: verified Rayleigh–Ritz values, ascending.
        vectors: (n, q) theirs, orthonormal, of the operator's type.
        most: how many eigenvalues below −τ there are at most; None when that stayed open.
        certificate: of the last run, on the complement of the vectors it was given; None without one.
    """

    values: Array
    vectors: Array
    most: int | None
    certificate: dict[str, Any] | None


def certified_index(
    op: HessianOperator,
    vectors: Array,
    tau: float,
    noise: float,
    delta: float,
    *,
    budget: int,
    plan: Plan,
    rng: np.random.Generator,
    progress: Callable[[], None] | None = None,
) -> Morse:
    """All negative directions, and how many there are at most.

    With X the q directions found, a fresh Gaussian run on their complement bounds λ_min(P·H·P) from below. Once that
    bound reaches −τ, λ_{q+1}(H) ≥ min over x ⊥ X of the Rayleigh quotient ≥ −τ (Courant–Fischer): at most q
    eigenvalues lie below. That there are at least as many follows from the verified values. A run that finds further
    ones adds them.

    Args:
        op: the Hessian.
        vectors: (n, q) negative directions, roughly orthonormal.
        tau: τ; what lies below −τ counts.
        noise: error of vᵀHv for unit v.
        delta: probability with which `most` may be wrong, all runs together.
        budget: most products.
        plan: how many vectors of which type a run may store.
        rng: for the Gaussian starts.
        progress: called after every product.
    """
    found = _Found(op, vectors)
    last = op.products + budget
    certificate, unchanged = None, 0
    for round_ in range(_ROUNDS):
        left = last - op.products - 1
        if left < 3:
            break
        level = delta / 2.0 ** (round_ + 1)
        run = _Complement(op, found, tau, noise, level, plan)
        state = run.go(left, rng, progress)
        missing = int(state.count_below(-tau))
        if missing == 0:
            certificate = certifier(state, level, run.error(state), dtype=plan.dtype)(tolerance=tau)
            certified = run.certified or state.k == state.dimension
            return Morse(found.values, found.vectors, found.count(tau) if certified else None, certificate)
        before = found.count(tau)
        found.take(state, min(missing, max(last - op.products, 0)))
        # rough directions couple to the rest, and every round makes them better; values at −τ never settle
        unchanged = unchanged + 1 if found.count(tau) == before else 0
        if unchanged == _PATIENCE:
            break
    return Morse(found.values, found.vectors, None, certificate)


class _Found:
    """Directions so far and their verified Rayleigh–Ritz values."""

    def __init__(self, op: HessianOperator, vectors: Array) -> None:
        self.op = op
        self.vectors = np.empty((int(op.shape[0]), 0), dtype=op.dtype, order="F")
        self.images = self.vectors
        self.values = np.empty(0)
        self._add(vectors)

    def negative(self, tau: float) -> Array:
        return self.vectors[:, : self.count(tau)]

    def count(self, tau: float) -> int:
        return int(np.count_nonzero(self.values < -tau))

    def take(self, state: _core.Lanczos, count: int) -> None:
        for begin in range(0, count, _BATCH):
            self._add(state.ritz_vectors(list(range(begin, min(begin + _BATCH, count)))))

    def _add(self, columns: Array) -> None:
        fresh: list[Array] = []
        for column in columns.T:
            x = orthonormalised(np.array(column, dtype=np.float64), self.vectors)
            for other in fresh:
                x = None if x is None else orthonormalised(x, other[:, None])
            if x is not None:
                fresh.append(x.astype(self.op.dtype))
        if not fresh:
            return
        block = np.asfortranarray(np.stack(fresh, axis=1))
        images = np.asarray(self.op @ block)
        vectors, images = np.hstack([self.vectors, block]), np.hstack([self.images, images])
        projected, metric = gram(vectors, images), gram(vectors, vectors)
        self.values, weights = scipy.linalg.eigh((projected + projected.T) / 2, metric)
        self.vectors = combined(vectors, weights, self.op.dtype)
        self.images = combined(images, weights, self.op.dtype)


class _Complement:
    """A fresh run on the complement of what was found, until nothing more can be there or what is there has settled."""

    def __init__(self, op: HessianOperator, found: _Found, tau: float, noise: float, delta: float, plan: Plan) -> None:
        self.op, self.found, self.tau, self.noise, self.delta, self.plan = op, found, tau, noise, delta, plan
        self.certified = False

    def go(self, left: int, rng: np.random.Generator, progress: Callable[[], None] | None) -> _core.Lanczos:
        locked = self.found.negative(self.tau)
        room = max(self.plan.vectors - locked.shape[1], 16)
        return lanczos.run(
            self.op,
            stop=self._settled,
            max_products=left,
            seed=rng,
            locked=locked.T.astype(np.float64),
            restart_invariant=True,
            most_vectors=room,
            wanted=1,
            dtype=self.plan.dtype,
            progress=None if progress is None else lambda state: progress(),
        )

    def error(self, state: _core.Lanczos) -> float:
        """Rounding of products and basis: noise per column, u·‖H‖ for storing it."""
        norm = max(float(state.largest_product), -float(self.found.values[0]))
        return (self.noise + float(np.finfo(self.plan.dtype).eps) * norm) * math.sqrt(state.roundings)

    def _settled(self, state: _core.Lanczos) -> bool:
        below = int(state.count_below(-self.tau))
        if below == 0:
            self.certified = bool(state.certificate_lower(self.delta) - self.error(state) >= -self.tau)
            return self.certified
        if state.k % max(1, state.k // 20) and not state.exhausted:
            return False
        # what a rough direction hides of the others is r²/|θ|: a hundredth of τ
        values, residuals = state.ritz_values()[:below], state.residuals()[:below]
        return bool((residuals <= 0.1 * np.sqrt(self.tau * np.abs(values))).all())
