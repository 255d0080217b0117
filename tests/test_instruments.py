"""One table: every public instrument on operators that break a promise. Each refuses, and says which promise it was."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us

c = us.curvature
ERRORS = us.errors
N = 600


class Surface:
    """½θᵀHθ with data: a landscape whose Hessian products are those of a given function; its loss is another's."""

    lower_bound, theta, samples = None, None, 200

    def __init__(self, product, n=N, dtype=np.float64):
        self.n, self.dtype, self.product = n, np.dtype(dtype), product
        self.blocks = [("a", slice(0, n // 2), (n // 2,)), ("b", slice(n // 2, n), (n - n // 2,))]
        self.d = spectrum(n)

    def loss(self, theta, batch=None):
        return 0.5 * float(theta @ (self.d * theta))

    def gradient(self, theta, batch=None):
        return self.loss(theta), (self.d * theta).astype(self.dtype)

    def hessian(self, theta, batch=None):
        return us.HessianOperator(self.n, self.dtype, self.product)


def spectrum(n=N):
    return np.concatenate([[-0.5, 3.0], np.linspace(0.1, 1.0, n - 2)])


def zero(land):
    return np.zeros(land.n, land.dtype)


# name: how it is called, with a landscape
INSTRUMENTS = {
    "classify": lambda land: us.classify(land, zero(land)),
    "classify, whole": lambda land: us.classify(land, zero(land), exact=True),
    "classify, index": lambda land: us.classify(land, zero(land), index=True),
    "classify, progressive": lambda land: us.classify(land, zero(land), progressive=True),
    "classify, restarts": lambda land: us.classify(land, zero(land), memory_budget=land.n * 8 * 40),
    "find_critical": lambda land: us.find_critical(land, zero(land) + 0.1),
    "eigenpairs": lambda land: c.eigenpairs(land.hessian(zero(land)), 2),
    "eigenpairs, whole": lambda land: c.eigenpairs(land.hessian(zero(land)), land.n - 1),
    "eigenpairs, restarts": lambda land: c.eigenpairs(land.hessian(zero(land)), 1, memory_budget=land.n * 8 * 60),
    "eigenpairs, start": lambda land: c.eigenpairs(land.hessian(zero(land)), 2, start=np.eye(land.n, 3)),
    "density": lambda land: c.density(land.hessian(zero(land)), 30),
    "density, whole": lambda land: c.density(land.hessian(zero(land)), exact=True),
    "minimum_ratio": lambda land: c.minimum_ratio(land.hessian(zero(land)), exact=False),
    "minimum_ratio, whole": lambda land: c.minimum_ratio(land.hessian(zero(land))),
    "trace": lambda land: c.trace(land.hessian(zero(land))),
    "trace, XTrace": lambda land: c.trace(land.hessian(zero(land)), method="xtrace"),
    "trace, whole": lambda land: c.trace(land.hessian(zero(land)), probes=land.n),
    "frobenius": lambda land: c.frobenius(land.hessian(zero(land))),
    "diagonal": lambda land: c.diagonal(land.hessian(zero(land))),
    "log_determinant": lambda land: c.log_determinant(land.hessian(zero(land)), 1e6),
    "block_operator": lambda land: c.trace(c.block_operator(land.hessian(zero(land)), slice(0, 400)), method="xtrace"),
    "block_diagonal_operator": lambda land: c.trace(c.block_diagonal_operator(land.hessian(zero(land)), land.blocks)),
    "preconditioned_operator": lambda land: c.eigenpairs(
        c.preconditioned_operator(land.hessian(zero(land)), np.linspace(1, 2, land.n)), 1
    ),
    "split_test": lambda land: c.split_test(land, zero(land)),
    "bootstrap_ends": lambda land: c.bootstrap_ends(land, zero(land), resamples=10),
    "SharpnessTracker": lambda land: c.SharpnessTracker(land).check(zero(land)),
    "blame": lambda land: c.blame(land.hessian(zero(land)), np.ones(land.n), land.blocks),
}


def broken():
    """name: (product, error, words of the message)."""
    rng = np.random.default_rng(12)
    d, skew = spectrum(), 0.05 * rng.standard_normal((N, N))
    calls = iter(range(10**9))

    def with_entry(value):
        def product(v):
            w = d * v
            w[3] = value
            return w

        return product

    return {
        "asymmetric": (lambda v: d * v + skew @ v, ERRORS.OperatorError, "not symmetric"),
        "non-deterministic": (
            lambda v: d * v + 0.01 * np.linalg.norm(v) * np.random.default_rng(next(calls)).standard_normal(N),
            ERRORS.NonDeterministicError,
            "different",
        ),
        "NaN": (with_entry(np.nan), ERRORS.NonFiniteError, "NaN|finite"),
        "infinite": (with_entry(np.inf), ERRORS.NonFiniteError, "infinit|finite"),
        "short": (lambda v: (d * v)[:-1], ERRORS.OperatorError, "shape"),
        "complex": (lambda v: d * v * 1j, ERRORS.OperatorError, "real|complex"),
    }


@pytest.mark.parametrize("fault", ["asymmetric", "non-deterministic", "NaN", "infinite", "short", "complex"])
@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_broken_promise_is_named(name, fault):
    product, error, words = broken()[fault]
    with pytest.raises(error, match=words):
        INSTRUMENTS[name](Surface(product))
