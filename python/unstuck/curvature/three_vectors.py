"""Lanczos where no basis fits: three vectors, and a second run from the same start for an eigenvector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal

from .. import _core
from ..errors import NonDeterministicError
from ..operators import HessianOperator
from .lanczos import product
from .tall_blocks import panels

Array = NDArray[Any]
Test = Callable[[_core.ThreeTermLanczos], bool]


class ThreeVectorRun:
    """A run of Lanczos whose start is drawn again, not kept, when a vector is wanted.

    Args:
        op: the operator.
        seed: of the Gaussian start.

    Attributes:
        state: α, β, counts and certificates of the steps so far.
    """

    def __init__(self, op: HessianOperator, seed: int) -> None:
        self.op, self.seed = op, seed
        self.state = self._begin()

    def _begin(self) -> _core.ThreeTermLanczos:
        n, dtype = self.op.shape[0], self.op.dtype
        start = np.random.default_rng(self.seed).standard_normal(n, dtype=dtype)
        return _core.ThreeTermLanczos(n, dtype.name, start)

    def step(self) -> None:
        """One product; the state must not be exhausted."""
        self.state.push(product(self.op, self.state.next(), self.state.k))

    def ends(self, steps: int | None = None) -> tuple[float, float]:
        """Smallest and largest Ritz value after so many steps."""
        alpha, beta = self.state.alpha[:steps], self.state.beta[:steps]
        low, high = (_core.tridiagonal_eigenvalue(alpha, beta, i) for i in (0, len(alpha) - 1))
        return float(low), float(high)

    def residual(self, low: bool = True) -> float:
        """Residual norm of the Ritz pair at one end."""
        _, weights = self._eigenvector(self.state.k, low)
        return float(self.state.beta[-1] * abs(weights[-1]))

    def settled_steps(self, low: bool, within: float) -> int:
        """The fewest steps after which that end was as far as now, up to `within`: before copies of it appear."""
        side = 0 if low else 1
        now = self.ends()[side]
        first, last = 1, int(self.state.k)
        while first < last:  # Ritz ends move outwards with every step
            middle = (first + last) // 2
            if abs(self.ends(middle)[side] - now) <= within:
                last = middle
            else:
                first = middle + 1
        return first

    def _eigenvector(self, steps: int, low: bool) -> tuple[float, Array]:
        alpha, beta = self.state.alpha[:steps], self.state.beta[: steps - 1]
        scale = float(max(np.abs(alpha).max(), np.abs(beta).max(initial=0.0))) or 1.0
        index = 0 if low else steps - 1
        values, vectors = eigh_tridiagonal(alpha / scale, beta / scale, select="i", select_range=(index, index))
        return float(values[0]) * scale, vectors[:, 0]

    def vectors(self, ends: list[tuple[bool, int]]) -> list[Array]:
        """Ritz vectors (n,) of the operator's type by a second run: [(lowest?, after how many steps), …].

        Raises:
            NonDeterministicError: the products are not those of the first run.
        """
        weights = [self._eigenvector(steps, low)[1] for low, steps in ends]
        results = [np.zeros(self.op.shape[0], dtype=self.op.dtype) for _ in ends]
        again = self._begin()
        for j in range(max(steps for _, steps in ends)):
            v = again.next()
            for vector, weight in zip(results, weights, strict=True):
                if j < len(weight):
                    factor = self.op.dtype.type(weight[j])
                    for rows in panels(len(vector)):
                        vector[rows] += factor * v[rows]
            again.push(product(self.op, v, j))
            if again.alpha[j] != self.state.alpha[j] or again.beta[j] != self.state.beta[j]:
                raise NonDeterministicError(
                    f"product {j + 1} came out different in the second run, so that no eigenvector can be put together "
                    "without a basis: make the products repeatable, or raise `memory_budget`"
                )
        return [vector / self.op.dtype.type(np.linalg.norm(vector)) for vector in results]
