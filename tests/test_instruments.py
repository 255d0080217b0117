"""One table: every public instrument on operators that break a promise. Each refuses, and says which promise it was."""

from __future__ import annotations

import functools
import threading

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg as sl

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


# ---------------------------------------------------------------- odd operators


def reusing(n=N):
    """Returns the same memory every time, as a SciPy LinearOperator."""
    d, buffer = spectrum(n), np.empty(n)
    return sl.LinearOperator((n, n), matvec=lambda v: np.multiply(d, v.ravel(), out=buffer), dtype=float)


def overwriting(n=N):
    """Works on its argument."""
    d = spectrum(n)
    return sl.LinearOperator((n, n), matvec=lambda v: v.__imul__(d.reshape(v.shape)), dtype=float)


ODD = {
    "matrix": lambda d: np.diag(d),
    "read-only": lambda d: np.broadcast_to(np.diag(d), (len(d), len(d))),
    "Fortran": lambda d: np.asfortranarray(np.diag(d)),
    "sparse": lambda d: scipy.sparse.csr_array(np.diag(d)),
    "masked": lambda d: np.ma.masked_array(np.diag(d), mask=False),
    "reusing": lambda d: reusing(len(d)),
    "reusing, ours": lambda d: us.HessianOperator(len(d), float, reusing(len(d)).matvec),
    "overwriting": lambda d: overwriting(len(d)),
    "overwriting, ours": lambda d: us.HessianOperator(len(d), float, lambda v: v.__imul__(d)),
    "lists": lambda d: us.HessianOperator(len(d), float, lambda v: list(d * v)),
    "columns": lambda d: sl.LinearOperator((len(d), len(d)), matvec=lambda v: d[:, None] * v.reshape(-1, 1)),
}


@pytest.mark.parametrize("n", [2, 5, N])
@pytest.mark.parametrize("name", ODD)
def test_odd_operators_are_as_good_as_plain_ones(name, n):
    d = spectrum(n)
    op, rows = ODD[name](d), [("all", slice(0, n), (n,))]
    np.testing.assert_allclose(c.eigenpairs(op, 2).values, np.sort(d)[:2], atol=1e-9)
    np.testing.assert_allclose(c.trace(op, method="xtrace", confidence=0.999).interval, d.sum(), rtol=0.2)
    assert c.frobenius(op).value == pytest.approx(np.linalg.norm(d), rel=0.1)
    assert c.minimum_ratio(op, exact=False).negative.lower <= 1 / n <= c.minimum_ratio(op, exact=False).negative.upper
    assert c.blame(op, np.ones(n), rows).value == pytest.approx(d.mean())
    low, high = c.density(op, 30).cumulative(0.0)
    assert low <= 1 / n <= high


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 600])
def test_operators_of_rank_zero_and_one_and_of_one_eigenvalue(n, dtype):
    """Their Krylov spaces end at once, which is not asymmetry."""
    u = np.random.default_rng(n).normal(size=n)
    for matrix, low, high in (
        (np.zeros((n, n)), 0.0, 0.0),
        (np.eye(n), 1.0, 1.0),
        (np.outer(u, u), 0.0 if n > 1 else u @ u, u @ u),
        (np.diag(np.where(np.arange(n) < n // 2, -1.0, 2.0)), -1.0 if n > 1 else 2.0, 2.0),
    ):
        op = matrix.astype(dtype)
        near = {"atol": 1e-4 * max(high, 1.0) if dtype == "float32" else 1e-9 * max(high, 1.0)}
        np.testing.assert_allclose(c.eigenpairs(op, 1).values, low, **near)
        np.testing.assert_allclose(c.eigenpairs(op, 1, "largest").values, high, **near)
        density = c.density(op, 20, exact=False)
        np.testing.assert_allclose([density.nodes[0], density.nodes[-1]], [low, high], rtol=0.2, **near)
        for exact in (True, False):
            least, most = c.minimum_ratio(op, exact=exact).positive
            assert least - 1e-9 <= np.mean(np.linalg.eigvalsh(matrix) > 1e-3) <= most + 1e-9
        for method in ("hutch++", "xtrace"):
            low_end, high_end = c.trace(op, method=method, confidence=0.999).interval
            slack = 1e-4 * max(n, np.trace(matrix)) if dtype == "float32" else 1e-8 * max(n, np.trace(matrix))
            assert low_end - slack <= np.trace(matrix) <= high_end + slack


def test_numbers_at_the_end_of_their_range():
    for scale in (1e-310, 1e-200):
        op = scale * np.diag(spectrum())
        assert c.trace(op).value == pytest.approx(scale * spectrum().sum(), rel=0.1)
        assert c.minimum_ratio(op).negative == (1 / N, 1 / N)
        assert c.eigenpairs(op, 1).values[0] == pytest.approx(-0.5 * scale)
    huge = us.HessianOperator(N, float, lambda v: 1e200 * v)
    for call in (c.trace, c.density, c.frobenius, c.diagonal):
        with pytest.raises(ERRORS.NonFiniteError, match="squares overflow"):
            call(huge)


def test_a_long_argument_that_is_overwritten_is_noticed():
    n = us.operators.COPIED + 1
    op = us.HessianOperator(n, np.float32, lambda v: v.__imul__(2))
    with pytest.raises(ERRORS.OperatorError, match="changed its argument"):
        op @ np.ones(n, np.float32)
    fine = us.HessianOperator(n, np.float32, lambda v: 2 * v)
    assert (fine @ np.ones(n, np.float32) == 2).all()


CALLS = {
    "classify": lambda **k: us.classify(Surface(lambda v: spectrum() * v), np.zeros(N), **k),
    "eigenpairs": lambda **k: c.eigenpairs(np.diag(spectrum()), 1, **k),
    "trace": lambda **k: c.trace(np.diag(spectrum()), **k),
    "frobenius": lambda **k: c.frobenius(np.diag(spectrum()), **k),
    "diagonal": lambda **k: c.diagonal(np.diag(spectrum()), **k),
    "density": lambda **k: c.density(np.diag(spectrum()), **k),
    "minimum_ratio": lambda **k: c.minimum_ratio(np.diag(spectrum()), **k),
    "log_determinant": lambda **k: c.log_determinant(np.diag(spectrum()), 2.0, **k),
}


@pytest.mark.parametrize("name", CALLS)
def test_nonsense_is_named(name):
    wrongs = [("seed", x) for x in (-1, 1.5, "x", None, True)]
    wrongs += [("memory_budget", x) for x in (0, -1, "1G", 1e9, True)]
    wrongs += [("progress", 3)]
    if name == "classify":
        wrongs += [("exact", "maybe"), ("index", 1), ("progressive", None), ("symmetries", 0)]
    if name in ("classify", "eigenpairs", "trace", "minimum_ratio"):
        wrongs += [("tolerance", x) for x in (-1.0, np.nan, np.inf, "x", np.ones(2))]
    for argument, value in wrongs:
        with pytest.raises((ERRORS.ArgumentError, ERRORS.ArgumentTypeError), match=f"`{argument}"):
            CALLS[name](**{argument: value})


@pytest.mark.parametrize("name", CALLS)
def test_what_a_callback_raises_comes_through(name):
    def failing(v):
        raise RuntimeError("no product today")

    calls = {**CALLS, "classify": lambda: us.classify(Surface(failing), np.zeros(N))}
    op = us.HessianOperator(N, float, failing)
    others = {"log_determinant": lambda: c.log_determinant(op, 1.0)}
    with pytest.raises(RuntimeError, match="no product today"):
        calls[name]() if name == "classify" else others.get(name, lambda: getattr(c, name)(op))()


def test_threads_share_an_operator():
    d = spectrum()
    op, found = us.HessianOperator(N, float, lambda v: d * v), []
    threads = [threading.Thread(target=lambda: found.append(c.eigenpairs(op, 2).values.tobytes())) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1
