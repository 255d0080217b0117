"""One search for eigenpairs at the low end of ±H: Lanczos within a plan, warm starts, and what may be missing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from .. import _core
from ..certificate import certifier
from ..errors import BudgetError, NonFiniteError
from ..operators import HessianOperator
from . import lanczos
from .dense import dense_matrix, matrix_bytes, some_eigenvectors
from .plan import FEWEST, Plan, basis_plan, three_vector_plan
from .products import LARGEST_ASYMMETRY, lengths, refuse_asymmetric
from .tall_blocks import combined, gram, orthonormalised, residual_norms
from .three_vectors import ThreeVectorRun

Array = NDArray[Any]
Progress = Callable[[int, int], object]

FAILURE = 1e-6  # probability that a completeness certificate is wrong
SPARE = 6  # vectors that a restarted basis must hold beyond those wanted
BATCH = 8  # Ritz vectors assembled at once
MOST_CYCLED = 50_000  # products of a run that restarts


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        k: pairs.
        sign: 1 for the smallest, −1 for the largest eigenvalues.
        tolerance: largest residual norm, or None.
        memory: bytes.
        max_products: or None.
        seed: of all random vectors.
        progress: called as progress(products, expected total).
    """

    k: int
    sign: float
    tolerance: float | None
    memory: int
    max_products: int | None
    seed: int
    progress: Progress | None


class Search:
    """The state of one call of `eigenpairs`. Its inner values are those of sign·H, whose smallest end is wanted.

    Attributes:
        plan: how the memory is spent.
        vectors: found so far (n, q), orthonormal, of the operator's type.
        images: sign·H·vectors.
        complete: see `Eigenpairs`.
        certificate: of the last run on the complement, or None.
        further_products: predicted until the open question is settled, or None.
    """

    def __init__(self, op: HessianOperator, request: Request) -> None:
        self.op, self.request = op, request
        self.n, self.k = int(op.shape[0]), request.k
        self.rng = np.random.default_rng(request.seed)
        self.norm = 0.0  # largest norm of a product with a unit vector: ≤ ‖H‖
        self.before = op.products
        sign, kind = request.sign, op.dtype
        self.signed = HessianOperator(
            self.n, kind, lambda v: np.asarray(op @ v) * kind.type(sign), exact=op.exact, noise=op.noise, trusted=True
        )
        self.vectors = np.empty((self.n, 0), dtype=kind, order="F")
        self.images = np.empty((self.n, 0), dtype=kind, order="F")
        self.complete: bool | None = None
        self.certificate: dict[str, Any] | None = None
        self.further_products: int | None = None
        self.trend: list[tuple[int, float]] = []  # (products, worst residual / limit)
        self.plan = Plan("matrix", self.n, "float64", matrix_bytes(self.n), request.memory)

    # ------------------------------------------------------------ what it may use

    @property
    def products(self) -> int:
        """Matrix-vector products so far."""
        return int(self.op.products - self.before)

    def _left(self) -> int:
        """Products that may still be used."""
        limit = self.request.max_products
        return MOST_CYCLED if limit is None else max(limit - self.products, 0)

    def _work(self, found: int) -> int:
        """Bytes besides the basis: residual and one Ritz vector in float64, products, what was found and its images."""
        size = int(self.op.dtype.itemsize)
        return self.n * (8 + 8 * min(BATCH, self.k) + 3 * size + 2 * size * found)

    def make_plan(self, most: int) -> None:
        """Raises BudgetError when nothing fits."""
        kind, budget = self.op.dtype, self.request.memory
        fewest = max(FEWEST, self.k + SPARE)
        plan = basis_plan(self.n, kind, budget, work=self._work(self.k), fewest=fewest, most=most)
        if plan is None and self.k == 1:
            plan = three_vector_plan(self.n, kind, budget, work=self._work(1) - 8 * self.n)
        if plan is None:
            vectors = 3 if self.k == 1 else min(fewest, most)
            width = int(kind.itemsize) if self.k == 1 else 4  # a basis may be float32
            needed = self._work(self.k) - 8 * self.n * (self.k == 1) + vectors * self.n * width
            pairs = "an eigenpair" if self.k == 1 else f"{self.k} eigenpairs"
            raise BudgetError(
                f"{pairs} of {self.n:,} parameters: the vectors take at least {needed:,} bytes, "
                f"`memory_budget` is {budget:,}"
            )
        self.plan = plan

    def absolute_tolerance(self) -> float:
        """The largest residual allowed."""
        if self.request.tolerance is not None:
            return self.request.tolerance
        eps = float(np.finfo(self.op.dtype).eps)
        if self.plan.dtype == "float32":
            eps = float(np.finfo(np.float32).eps)
        return max(2.0**-20, 100.0 * eps) * self.norm + 10.0 * self.op.noise

    # ------------------------------------------------------------ ways to find them

    def dense(self) -> None:
        """All of the spectrum from a matrix."""
        self.plan = Plan("matrix", self.n, "float64", matrix_bytes(self.n), self.request.memory)
        progress = self.request.progress
        matrix, asymmetry = dense_matrix(self.op, self.request.memory, progress)
        self.norm = float(lengths(matrix).max())
        self._check_symmetry(asymmetry)
        subset = (0, self.k - 1) if self.request.sign > 0 else (self.n - self.k, self.n - 1)
        self.vectors, self.images = self.vectors[:, :0], self.images[:, :0]
        self._add(some_eigenvectors(matrix, *subset))
        self.complete = True

    def warm_start(self, start: Array) -> Array | None:
        """Rayleigh–Ritz on given vectors: keeps those that have converged; a start for the run that finds the rest."""
        self._add_independent(start)
        if self.vectors.shape[1] == 0:
            return None
        values, rotation = self._rayleigh_ritz()
        rotation = rotation[:, : self.k]
        guesses, images = combined(self.vectors, rotation), combined(self.images, rotation)
        self.norm = float(np.linalg.norm(images, axis=0).max())
        residuals = residual_norms(guesses, images, values[: self.k])
        good = residuals <= 0.5 * self.absolute_tolerance()
        self.vectors = np.asfortranarray(guesses[:, good], dtype=self.op.dtype)
        self.images = np.asfortranarray(images[:, good], dtype=self.op.dtype)
        if self.vectors.shape[1] == self.k:
            return None
        # what is not converged, all at once; a Gaussian part of the size of the residuals reaches the rest
        missing = self.k - guesses.shape[1]
        share = float(residuals.max()) / self.norm if self.norm > 0 else 1.0
        noise = self.rng.standard_normal(self.n) / math.sqrt(self.n)
        mixed: Array = guesses[:, ~good].sum(axis=1) + max(share, missing**0.5) * noise
        return mixed

    def krylov(self, start: Array | None) -> bool:
        """Lanczos until the k wanted pairs have converged; False: the products allowed did not suffice."""
        if self.vectors.shape[1] >= self.k:
            return True
        if self.plan.form == "three vectors":
            return self._without_basis()
        wanted = self.k - self.vectors.shape[1]
        state = self._run(lambda s: self._has_converged(s, wanted), self._most(), wanted, start)
        converged = self._has_converged(state, wanted)
        if not converged and (state.k < wanted or state.products == 0):
            raise BudgetError(
                f"`max_products` = {self.request.max_products} does not suffice for {self.k} pairs of {self.n} rows"
            )
        if self.plan.form == "full basis" and state.k == state.dimension:
            self.complete = True
        self._check_symmetry(state.asymmetry)
        if not converged:
            self.further_products = self._predicted_convergence()
        elif self.k == 1 and start is None and self.complete is None:
            self._settle_by(state)
        self._take(state, wanted)
        return converged

    def _settle_by(self, state: Any) -> None:
        """A Gaussian start's own certificate may already say that nothing lies below the only pair wanted."""
        target = float(state.ritz_values()[0]) - self.absolute_tolerance()
        if state.certificate_lower(FAILURE) >= target:
            self.complete = True
            self.certificate = certifier(state, FAILURE, dtype=self.plan.dtype)()

    def _most(self) -> int:
        """Steps of a run: the whole space for a full basis."""
        return min(self._left(), self.plan.vectors if self.plan.form == "full basis" else MOST_CYCLED)

    def _without_basis(self) -> bool:
        """The lowest pair by a run that stores nothing, and its vector by a second one."""
        run = ThreeVectorRun(self.signed, self.request.seed)
        state, reached = run.state, 0
        half = self._left() // 2 - 1
        while not (state.exhausted or state.k >= min(half, 4 * self.n)):
            run.step()
            self.norm = max(self.norm, state.largest_product)
            if state.k % max(5, state.k // 20) == 0 or state.exhausted:
                limit = 0.5 * self.absolute_tolerance()
                residual = run.residual()
                self._note(state.k, residual, limit)
                if not reached and residual <= limit:
                    reached = state.k
                # one Gaussian start serves both: go on until nothing lower can be left
                low = run.ends()[0]
                if reached and state.certificate_lower(FAILURE) >= low - self.absolute_tolerance():
                    self.complete = True
                    break
        if state.k == 0:
            raise BudgetError("`max_products` allows no run of three-vector Lanczos and its repetition")
        if not reached:
            self.further_products = 2 * (self._predicted_convergence() or state.k)
        self.certificate = certifier(state, FAILURE, dtype=self.plan.dtype)()
        # from the first steps that suffice: later T holds copies of the eigenvalue
        (vector,) = run.vectors([(True, reached or state.k)])
        self._add(vector[:, None])
        return reached > 0

    # ------------------------------------------------------------ what may be missing

    def settle(self) -> None:
        """Fresh runs on the complement of what was found until the certificate excludes a missing eigenvalue."""
        if self.complete is not None or self.plan.form == "three vectors":
            return
        most = 3 * self.products + 100
        for attempt in range(2 * self.k + 3):
            if self.vectors.shape[1] == self.n or self.norm == 0.0:
                self.complete = True
                return
            steps = min(self._left(), most)
            if steps < 2:
                return
            if not self._settle_once(FAILURE / 2.0 ** (attempt + 1), steps):
                return

    def _settle_once(self, delta: float, steps: int) -> bool:
        """One fresh run; True when it found what was missing, so that the question is open again."""
        last = float(self._rayleigh_ritz()[0][self.k - 1])
        check = Completeness(self, last - self.absolute_tolerance(), delta)
        state = self._run(check, steps, 1)
        missing = int(state.count_below(check.target))
        if missing == 0:
            self.certificate = certifier(state, delta, dtype=self.plan.dtype)()
            if check.certified or state.k == state.dimension:
                self.complete = True
            else:
                more = state.predicted_steps(delta, check.target)
                self.further_products = int(more) if more > 0 else None
            return False
        if not check.settled:
            self.complete = False
            return False
        self._take(state, missing)
        return True

    # ------------------------------------------------------------ pieces

    def pairs(self) -> tuple[Array, Array, Array]:
        """Rayleigh–Ritz on the vectors found: the k wanted values of H, vectors and true residuals."""
        values, rotation = self._rayleigh_ritz()
        values, rotation = values[: self.k], rotation[:, : self.k]
        vectors = combined(self.vectors, rotation)
        residuals = residual_norms(vectors, combined(self.images, rotation, self.op.dtype), values)
        if self.op.dtype == np.float64:
            residuals = residual_norms(vectors, combined(self.images, rotation), values)
        return self.request.sign * values, vectors, residuals

    def _rayleigh_ritz(self) -> tuple[Array, Array]:
        small = gram(self.vectors, self.images)
        values, rotation = eigh(0.5 * (small + small.T))
        return values, rotation

    def _take(self, state: _core.Lanczos, count: int) -> None:
        """Adds the vectors of the lowest Ritz values of a run."""
        for begin in range(0, count, BATCH):
            self._add_independent(state.ritz_vectors(list(range(begin, min(begin + BATCH, count)))))

    def _add_independent(self, columns: Array) -> None:
        """Adds what the columns span beyond the vectors found so far."""
        fresh = np.empty((self.n, 0))
        for column in columns.T:
            x = np.array(column, dtype=np.float64)
            for block in (self.vectors, fresh, self.vectors):
                y = orthonormalised(x, block)
                if y is None:
                    break
            else:
                fresh = x[:, None] if fresh.shape[1] == 0 else np.column_stack([fresh, x])
        if fresh.shape[1]:
            self._add(fresh)

    def _add(self, block: Array) -> None:
        """Adds orthonormal columns and their products."""
        # as the operator sees them: the residuals are then those of its type
        rounded = np.asfortranarray(block, dtype=self.op.dtype)
        images = np.asarray(self.op @ (rounded if rounded.shape[1] > 1 else rounded[:, 0]))
        if not np.isfinite(images).all():
            raise NonFiniteError("a product of `op` holds NaN or infinity")
        images = images.reshape(rounded.shape) * self.op.dtype.type(self.request.sign)
        if self.vectors.shape[1] == 0:
            self.vectors, self.images = rounded, images
        else:
            self.vectors = np.asfortranarray(np.hstack([self.vectors, rounded]))
            self.images = np.asfortranarray(np.hstack([self.images, images]))

    def _run(
        self, stop: Callable[[_core.Lanczos], bool], steps: int, wanted: int, start: Array | None = None
    ) -> _core.Lanczos:
        found = self.vectors.shape[1]
        locked = self.vectors.T.astype(np.float64) if found else None
        room = max(self.plan.vectors - found, wanted + SPARE, 8)
        state = lanczos.run(
            self.signed,
            stop=lambda s: self._watched(s, stop),
            max_products=max(steps, 1),
            seed=self.rng,
            start=None if start is None else orthonormalised(start.copy(), self.vectors),
            locked=locked,
            restart_invariant=True,
            most_vectors=room,
            wanted=wanted,
            dtype=self.plan.dtype,
        )
        self.norm = max(self.norm, state.largest_product)
        return state

    def _watched(self, state: _core.Lanczos, stop: Callable[[_core.Lanczos], bool]) -> bool:
        self.norm = max(self.norm, state.largest_product)
        over = stop(state)
        if self.request.progress is not None:
            more = 0 if over else self._predicted_convergence() or state.products
            self.request.progress(self.products, self.products + more)
        return over

    def _has_converged(self, state: _core.Lanczos, wanted: int) -> bool:
        if state.k < wanted or not (is_checkpoint(state) or state.k == state.capacity):
            return False
        self._check_symmetry(state.asymmetry)
        limit = 0.5 * self.absolute_tolerance()
        worst = float(state.residuals()[:wanted].max())
        self._note(int(state.products), worst, limit)
        return worst <= limit

    def _note(self, products: int, worst: float, limit: float) -> None:
        self.trend.append((products, worst / limit if limit > 0 else 0.0))

    def _predicted_convergence(self) -> int | None:
        """Further products until the worst residual falls to its limit, from its fall over the second half so far."""
        if len(self.trend) < 2:
            return None
        (first, before), (last, now) = self.trend[len(self.trend) // 2], self.trend[-1]
        if not (last > first and before > now > 1.0):
            return None
        return math.ceil(math.log(now) * (last - first) / math.log(before / now))

    def _check_symmetry(self, asymmetry: float) -> None:
        if asymmetry > LARGEST_ASYMMETRY * self.norm + 10.0 * self.op.noise:
            refuse_asymmetric(
                self.op,
                f"`op` is not symmetric: products differ from those of a symmetric operator by {asymmetry:.3g}, "
                f"at a norm of about {self.norm:.3g}",
            )


class Completeness:
    """Stops a run on the complement once nothing below `target` can be left, or once what is there has converged."""

    def __init__(self, search: Search, target: float, delta: float) -> None:
        self.search, self.target, self.delta = search, target, delta
        self.certified = False
        self.settled = False

    def __call__(self, state: _core.Lanczos) -> bool:
        """Whether to stop."""
        below = int(state.count_below(self.target))
        if below == 0:
            self.certified = bool(state.certificate_lower(self.delta) >= self.target)
            return self.certified
        if not is_checkpoint(state):
            return False
        limit = 0.5 * self.search.absolute_tolerance()
        self.settled = bool(state.residuals()[:below].max() <= limit)
        return self.settled


def is_checkpoint(state: _core.Lanczos) -> bool:
    """Whether to solve the projected eigenproblem, O(k²) and more, now: at about every twentieth part of the steps."""
    return bool(state.k % max(1, state.k // 20) == 0 or state.exhausted or state.invariant)
