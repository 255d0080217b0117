"""One table: every public instrument on operators that break a promise. Each refuses, and says which promise it was."""

from __future__ import annotations

import functools

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


def test_blocks_of_columns_are_held_to_the_same_promises():
    """An operator that only breaks in products of several vectors."""
    d = spectrum()

    def operator(block):
        return us.HessianOperator(N, np.float64, lambda v: d * v, block)

    for block, words in ((lambda rows: rows[:, :-1], "real, of shape"), (lambda rows: 1j * rows, "real, of shape")):
        for call in (lambda op: c.trace(op), lambda op: c.eigenpairs(op, N - 1), lambda op: c.density(op, exact=True)):
            with pytest.raises(ERRORS.OperatorError, match=words):
                call(operator(block))


# ---------------------------------------------------------------- data


def digits_landscape(dtype, hidden, order=None):
    X, y = us.data.digits()
    X, y = X[:900].astype(dtype) / X.max(), y[:900]
    net = us.nn.Network(
        us.nn.Linear(64, hidden), us.nn.Tanh(), us.nn.Linear(hidden, 10), input_shape=(64,), seed=1, dtype=dtype
    )
    if order is not None:
        X, y = X[order], y[order]
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [4, 20])  # the whole spectrum, and Lanczos
def test_permuted_data_move_the_ends_by_no_more_than_the_noise(hidden, dtype):
    land = digits_landscape(dtype, hidden)
    theta = np.zeros(land.n, dtype)
    rng = np.random.default_rng(0)
    for point in (theta, theta + rng.normal(size=land.n).astype(dtype) / 4):
        plain = us.classify(land, point)
        for seed in range(2):
            order = np.random.default_rng(seed).permutation(land.samples)
            other = us.classify(digits_landscape(dtype, hidden, order), point)
            assert other.verdict is plain.verdict
            noise = max(plain.noise, other.noise)
            assert abs(plain.lambda_min.upper - other.lambda_min.upper) <= 4 * noise
            assert abs(plain.lambda_max.lower - other.lambda_max.lower) <= 4 * noise
            for end in ("lambda_min", "lambda_max"):  # certified bounds hold for both
                one, two = getattr(plain, end), getattr(other, end)
                assert max(one.lower, two.lower) - noise <= min(one.upper, two.upper) + noise


def test_batch_coupling_is_named():
    """Instruments that cut the data refuse a network whose training couples a batch."""
    net = us.nn.Network(us.nn.Linear(4, 6), us.nn.BatchNorm(6), us.nn.Tanh(), us.nn.Linear(6, 3), input_shape=(4,))
    X, y = np.random.default_rng(0).normal(size=(200, 4)), np.arange(200) % 3
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y, mode="train", memory_budget=3000)
    for call in (us.classify, lambda a: us.classify(a, exact=False), lambda a: a.hessian(a.theta)):
        with pytest.raises(ERRORS.BudgetError, match="in training its batch is one function that is never cut"):
            call(land)
    wide = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y, mode="train")
    calls = (c.split_test, c.bootstrap_ends, lambda a: us.classify(a, progressive=True), lambda a: a.fisher(a.theta))
    for call in calls:
        with pytest.raises(ERRORS.ArgumentError, match="couple"):
            call(wide)


# ---------------------------------------------------------------- scale


@functools.cache
def scaled_answers(s, dtype):
    """Everything that the instruments say of s·H, in units of s; counts and shares as they are."""
    d = (s * spectrum(700)).astype(dtype)
    op = us.HessianOperator(700, dtype, lambda v: d * v, lambda rows: rows * d)
    low, high = c.eigenpairs(op, 2), c.eigenpairs(op, 2, "largest")
    density = c.density(op, 40)
    ratio = c.minimum_ratio(op, exact=False)
    trace, other = c.trace(op), c.trace(op, method="xtrace")
    point = us.classify(us.FunctionLandscape(
        lambda w: 0.5 * float(w @ (d * w)), lambda w: d * w, 700, hvp=lambda w, v: d * v, dtype=dtype
    ), np.zeros(700, dtype), index=True)  # fmt: skip
    lengths = [
        low.values, high.values, density.nodes[[0, -1]], ratio.tolerance, trace.value, trace.interval, other.value,
        other.interval, c.frobenius(op).value, c.frobenius(op).interval, c.diagonal(op).value[:5],
        c.preconditioned_operator(op, np.full(700, 2.0)) @ np.ones(700, dtype),
        c.block_operator(op, slice(0, 3)) @ np.ones(3, dtype), point.tolerance, point.lambda_min.upper,
        point.lambda_max.lower, point.lambda_min.lower, point.noise,
    ]  # fmt: skip
    plain = [
        low.multiplicities, low.complete, density.cumulative(s * np.linspace(-1, 4, 9)), ratio.negative, ratio.flat,
        ratio.positive, ratio.raw, point.index,
        c.log_determinant(op, 2.0 * s).value - 700 * np.log(float(s)),
    ]  # fmt: skip
    flat = np.concatenate([np.ravel(np.asarray(x, dtype=np.float64)) for x in lengths])
    return point.verdict, flat / s, np.concatenate([np.ravel(np.asarray(x, dtype=np.float64)) for x in plain])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("s", [1e-12, 1e-6, 1e6, 1e12])
def test_every_answer_scales(s, dtype):
    """From 1e-12 to 1e12: nothing in the instruments knows the size of a curvature."""
    verdict, lengths, plain = scaled_answers(s, dtype)
    expected = scaled_answers(1.0, dtype)
    tight = 1e-9 if dtype == "float64" else 2e-4
    assert verdict is expected[0] is us.Verdict.STRICT_SADDLE
    np.testing.assert_allclose(lengths, expected[1], rtol=tight, atol=tight)
    np.testing.assert_allclose(plain, expected[2], rtol=tight, atol=tight)
