"""Twenty problems whose answer is known: verdicts, indices, values and refusals, one test for each.

Ranks (part of the 19th) are tested where several processes are.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse.linalg as sl

import spectra
import unstuck as us
from surfaces import (
    Laplacian,
    Reflected,
    himmelblau,
    monkey_saddle,
    mostly_zero,
    outliers_and_bulk,
    quadratic,
    rosenbrock,
    separable,
    two_layer_linear,
)
from unstuck import _core

SADDLE, MINIMUM, MAXIMUM = us.Verdict.STRICT_SADDLE, us.Verdict.LOCAL_MINIMUM, us.Verdict.LOCAL_MAXIMUM
DEGENERATE = us.Verdict.DEGENERATE


def verdict_of(values, *, rotate=False, theta=None, **options):
    land = quadratic(Reflected(values) if rotate else values)
    return us.classify(land, np.zeros(land.n) if theta is None else theta, **options)


@pytest.mark.parametrize("g", [1e-1, 1e-2, 1e-3])
def test_01_planted_below_a_uniform_bulk(g):
    values = np.r_[-g, np.random.default_rng(1).uniform(0, 1, 9999)]
    cp = verdict_of(values, tolerance=g / 4, max_products=4000)
    assert cp.verdict is SADDLE
    assert cp.lambda_min.lower - 1e-12 <= -g <= cp.lambda_min.upper + 1e-12
    assert cp.lambda_min.upper < -g / 2


@pytest.mark.parametrize("two_sided", [False, True])
@pytest.mark.parametrize("g", [1e-1, 1e-2, 1e-3])
def test_02_planted_below_a_network_like_bulk(g, two_sided):
    rng = np.random.default_rng(2)
    values = outliers_and_bulk(10_000, -g)
    if two_sided:
        values[11:] *= rng.choice([-1.0, 1.0], 9989) * 0.5 * g
    cp = verdict_of(values, tolerance=g / 4)
    assert cp.verdict is SADDLE
    assert -g - 1e-9 <= cp.lambda_min.upper < -g / 2


@pytest.mark.parametrize("rotate", [False, True])
def test_03_semidefinite_with_ninety_percent_zeros(rotate):
    cp = verdict_of(mostly_zero(4000), rotate=rotate)
    assert cp.verdict is DEGENERATE
    assert cp.index == (0, 0)
    assert abs(cp.lambda_min.upper) < 1e-9 or cp.lambda_min.upper < cp.tolerance
    assert cp.lambda_min.lower <= 0.0 <= cp.lambda_min.upper + 1e-9


def test_03_where_a_start_forced_into_the_range_sees_no_kernel():
    """The same operator by ARPACK: converged, and far from the smallest eigenvalue, which is 0."""
    wrong = sl.eigsh(spectra.diagonal_operator(mostly_zero(4000)), k=1, which="SA", return_eigenvectors=False)
    assert wrong[0] > 0.05


@pytest.mark.parametrize(("g", "steps"), [(1e-2, 14), (1e-4, 22), (1e-6, 35)])
def test_04_planted_below_ninety_percent_zeros(g, steps):
    values = np.r_[-g, mostly_zero(4000)]
    cp = verdict_of(values, tolerance=g / 4, max_products=3000)
    assert cp.verdict is SADDLE
    assert math.isclose(cp.lambda_min.upper, -g, rel_tol=0.2)
    seen = []
    for seed in range(9):
        state = _core.Lanczos(4001, "float64", 80, np.random.default_rng(seed).standard_normal(4001))
        while not state.count_below(-g / 2):
            state.push(values * state.next())
        seen.append(state.k)
    assert np.median(seen) <= 1.3 * steps + 4


def test_05_five_fold_eigenvalue():
    values = np.r_[np.full(5, -1e-3), np.random.default_rng(3).uniform(0.2, 1, 3000)]
    cp = verdict_of(values, rotate=True, tolerance=1e-4, index=True)
    assert cp.index == (5, 5)
    pairs = us.curvature.eigenpairs(spectra.diagonal_operator(values), 6, tolerance=1e-6)
    np.testing.assert_array_equal(pairs.multiplicities[:5], 5)
    assert pairs.complete is True


def test_06_close_triple_as_in_pwtk():
    """The triple of Boeing/pwtk, 1.00589219/283/290e8, whose wrong members eigsh has returned."""
    top = np.array([1.00589219e8, 1.00589283e8, 1.00589290e8])
    values = np.r_[top, np.random.default_rng(4).uniform(0, 9.9e7, 4000)]
    pairs = us.curvature.eigenpairs(spectra.diagonal_operator(values), 3, "largest", tolerance=1.0)
    np.testing.assert_allclose(pairs.values, np.sort(top)[::-1], rtol=1e-12)
    assert pairs.complete is True


def test_07_wilkinson():
    n = 21
    matrix = np.diag(np.abs(np.arange(n) - 10.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    pairs = us.curvature.eigenpairs(matrix, 2, "largest")
    exact = np.linalg.eigvalsh(matrix)[::-1][:2]
    np.testing.assert_allclose(pairs.values, exact, rtol=1e-13)
    np.testing.assert_allclose(pairs.values, [10.746194182903393, 10.746194182903322], rtol=3e-15)
    many = spectra.diagonal_operator(np.repeat(np.linalg.eigvalsh(matrix), 40))  # each forty times, and no ghosts
    found = us.curvature.eigenpairs(many, 5, "largest")
    np.testing.assert_allclose(found.values, exact[0], atol=1e-6)
    np.testing.assert_array_equal(found.multiplicities, 5)


def test_08_graded_spectrum_is_honest_about_its_floor():
    i = np.arange(49)
    values = np.concatenate([10.0 ** (-i / 4), -(10.0 ** (-i / 4 - 0.1))])
    cp = verdict_of(values)
    assert cp.verdict is SADDLE
    assert cp.index == ((values < -cp.tolerance).sum(),) * 2
    fine = verdict_of(values, tolerance=1e-14)
    assert fine.tolerance >= fine.noise > 0


@pytest.mark.parametrize("n", [300, 5000])
def test_09_laplacian_is_degenerate_and_never_a_saddle(n):
    cp = us.classify(quadratic(Laplacian(n)), np.zeros(n), tolerance=1e-2, max_products=2000)
    assert cp.verdict is DEGENERATE
    assert cp.index[0] == 0
    assert cp.lambda_min.lower <= (math.pi / (n + 1)) ** 2


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("n", "runs"), [(10**6, 1), (10**7, 2)])  # where three vectors fit, the run is made twice
def test_09_laplacian_of_many(n, runs):
    cp = us.classify(quadratic(Laplacian(n)), np.zeros(n), tolerance=1e-2, max_products=300 * runs)
    assert cp.verdict is DEGENERATE
    assert cp.index == (0, 0)


def test_10_spiked_covariance():
    rng = np.random.default_rng(5)
    n, samples, spike = 900, 300, 30.0
    ratio = n / samples
    x = rng.standard_normal((samples, n))
    x[:, 0] *= math.sqrt(spike)
    h = x.T @ x / samples
    cp = us.classify(quadratic(h), np.zeros(n), tolerance=1e-3)
    assert cp.verdict is DEGENERATE
    expected = spike * (1 + ratio / (spike - 1))
    assert abs(cp.lambda_max.lower - expected) < 0.25 * expected
    pairs = us.curvature.eigenpairs(h, 2, "largest")
    assert abs(pairs.values[1] - (1 + math.sqrt(ratio)) ** 2) < 0.3
    zeros = us.curvature.minimum_ratio(h, 1e-6)
    assert zeros.negative == (0.0, 0.0)
    assert zeros.flat == (600 / 900, 600 / 900)  # exactly 1 − N/n
    above = us.curvature.eigenpairs(h, 601)
    assert abs(above.values[600] - (1 - math.sqrt(ratio)) ** 2) < 0.1
    noise = rng.standard_normal((n, n))
    h += 0.05 * (noise + noise.T) / math.sqrt(2 * n)
    cp = us.classify(quadratic(h), np.zeros(n), tolerance=1e-3)
    assert cp.verdict is SADDLE
    assert cp.lambda_min.upper < -0.05
    # the edge of ε·GOE is −2ε, of its part on the kernel −2ε·√(1 − N/n)
    edge = us.curvature.eigenpairs(h, 1).values[0]
    assert -2 * 0.05 * 1.05 < edge < -2 * 0.05 * math.sqrt(2 / 3) * 0.95


def test_11_linear_network_at_zero():
    land, target = two_layer_linear(6, 12, 5, 3)
    sigma = np.linalg.svd(target, compute_uv=False)[:3]
    cp = us.classify(land, np.zeros(land.n), index=True, exact=False)
    assert cp.index == (36, 36)
    assert math.isclose(cp.lambda_max.lower, sigma[0], rel_tol=1e-2)
    pairs = us.curvature.eigenpairs(land.hessian(np.zeros(land.n)), 13)
    np.testing.assert_allclose(pairs.values, -np.r_[np.full(12, sigma[0]), sigma[1]], atol=1e-6 * sigma[0])


def test_12_regressions_have_closed_forms():
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((80, 7)), rng.integers(0, 3, 80)
    line = us.nn.Network(us.nn.Linear(7, 1, bias=False), input_shape=(7,), seed=0, dtype="float64")
    land = us.NetworkLandscape(line, us.nn.MSE(), X, X @ np.ones((7, 1)))
    np.testing.assert_allclose(land.hessian(line.theta) @ np.eye(7), 2 * X.T @ X / 80, rtol=1e-12, atol=1e-12)
    cp = us.classify(land, np.ones(7))
    assert cp.verdict is MINIMUM
    yes = (y > 0).astype(float)[:, None]
    land = us.NetworkLandscape(line, us.nn.BCEWithLogits(), X, yes)
    q = 1 / (1 + np.exp(-line.predict(X)[:, 0]))
    np.testing.assert_allclose(
        land.hessian(line.theta) @ np.eye(7), X.T @ ((q * (1 - q))[:, None] * X) / 80, rtol=1e-12, atol=1e-12
    )
    assert us.classify(land, us.find_critical(land, np.zeros(7)).theta).verdict is MINIMUM
    logits = us.nn.Network(us.nn.Linear(7, 3, bias=False), input_shape=(7,), seed=0, dtype="float64")
    land = us.NetworkLandscape(logits, us.nn.CrossEntropy(), X, y)
    z = logits.predict(X)
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    kronecker = sum(np.kron(np.diag(q) - np.outer(q, q), np.outer(x, x)) for q, x in zip(p, X, strict=True)) / 80
    np.testing.assert_allclose(land.hessian(logits.theta) @ np.eye(21), kronecker, atol=1e-12)


LOW = [
    *[(himmelblau, p, MINIMUM) for p in ((3, 2), (-2.8051180869, 3.1313125183))],
    *[(himmelblau, p, MINIMUM) for p in ((-3.7793102534, -3.2831859913), (3.5844283403, -1.8481265270))],
    *[(himmelblau, p, SADDLE) for p in ((-3.0730257509, -0.0813530443), (0.0866775050, 2.8842547011))],
    *[(himmelblau, p, SADDLE) for p in ((3.3851541839, 0.0738518794), (-0.1279613469, -1.9537149808))],
    (himmelblau, (-0.2708445907, -0.9230385565), MAXIMUM),
    (rosenbrock, (1, 1), MINIMUM),
    (monkey_saddle, (0, 0), DEGENERATE),
    (lambda: separable("x2", "-x4"), (0, 0), DEGENERATE),
]


@pytest.mark.parametrize(("make", "point", "verdict"), LOW)
def test_13_functions_of_two_variables(make, point, verdict):
    assert us.classify(make(), np.array(point, dtype=float)).verdict is verdict


@pytest.mark.parametrize("form", ["full basis", "thick restart"])
def test_14_every_answer_scales(form):
    values = outliers_and_bulk(2000, -0.5)
    budget = 2000 * 8 * 32 if form == "thick restart" else None
    answers = []
    for exponent in (-40, 0, 40):
        c = 2.0**exponent
        land = quadratic(values, scale=c)
        cp = us.classify(land, np.zeros(2000), tolerance=0.1 * c, memory_budget=budget, index=True)
        assert cp.plan.form == form
        numbers = (*vars(cp.lambda_min).values(), *vars(cp.lambda_max).values(), cp.tolerance, cp.noise)
        answers.append(([x / c for x in numbers], cp.verdict, cp.index, cp.products))
    for other in (answers[0], answers[2]):
        np.testing.assert_allclose(other[0], answers[1][0], rtol=1e-13)
        assert other[1:] == answers[1][1:]
    for c in (1e-12, 1e12):
        cp = us.classify(quadratic(values, scale=c), np.zeros(2000), tolerance=0.1 * c)
        assert cp.verdict is SADDLE
        np.testing.assert_allclose(cp.lambda_min.upper / c, -0.5, rtol=1e-2)


def test_15_noise_is_measured_and_nonsense_refused():
    values = np.r_[-1e-6, np.linspace(0.5, 1, 999)].astype(np.float32)
    land = quadratic(values, dtype="float32")
    cp = us.classify(land, np.zeros(1000, dtype="float32"), tolerance=1e-9)
    assert cp.tolerance >= 4 * cp.noise > 0
    dice = np.random.default_rng(7)
    eta = 1e-6 * dice.standard_normal((300, 300)) / math.sqrt(300)  # an asymmetry of ±η is noise, and widens τ
    tilted = np.diag(np.r_[-0.1, np.linspace(0.5, 1, 299)]) + eta
    cp = us.classify(quadratic(tilted), np.zeros(300), tolerance=1e-12, exact=False)
    assert cp.verdict is SADDLE
    assert 1e-8 < cp.noise < 1e-5
    assert cp.tolerance >= 4 * cp.noise

    def bowl(**parts):
        sound = {"loss": lambda w: float(w @ w), "gradient": lambda w: 2 * w, "hvp": lambda w, v: 2 * v} | parts
        return us.FunctionLandscape(sound["loss"], sound["gradient"], n=30, hvp=sound["hvp"])

    skew = np.triu(dice.standard_normal((30, 30)))
    with pytest.raises(us.errors.OperatorError, match="symmetric"):
        us.classify(bowl(hvp=lambda w, v: skew @ v), np.zeros(30))
    with pytest.raises(us.errors.NonDeterministicError, match="dropout"):
        us.classify(bowl(hvp=lambda w, v: 2 * v * dice.uniform(0.9, 1.1, 30)), np.zeros(30))
    with pytest.raises(us.errors.NonFiniteError):
        us.classify(bowl(hvp=lambda w, v: np.full(30, np.nan)), np.zeros(30))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_16_tiny(n):
    values = np.arange(1.0, n + 1)
    assert verdict_of(values).verdict is MINIMUM
    assert verdict_of(-values).verdict is MAXIMUM
    pairs = us.curvature.eigenpairs(np.diag(values), n, "largest")
    np.testing.assert_allclose(pairs.values, values[::-1])
    assert pairs.complete is True


@pytest.mark.parametrize("threads_used", [1, 2, 4])
def test_19_threads_change_no_bit(threads_used, threads):
    values = outliers_and_bulk(6000, -0.5)
    budget = 6000 * 8 * 32
    threads(1)
    one = us.classify(quadratic(values), np.zeros(6000), tolerance=0.1, memory_budget=budget)
    threads(threads_used)
    other = us.classify(quadratic(values), np.zeros(6000), tolerance=0.1, memory_budget=budget)
    assert np.array_equal(one.direction, other.direction)
    assert (one.lambda_min, one.lambda_max, one.certificate) == (other.lambda_min, other.lambda_max, other.certificate)


def test_20_products_against_differences_and_the_matrix():
    rng = np.random.default_rng(8)
    net = us.nn.Network(us.nn.Linear(5, 6), us.nn.Tanh(), us.nn.Linear(6, 3), input_shape=(5,), seed=0, dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), rng.standard_normal((30, 5)), rng.integers(0, 3, 30))
    theta, op = net.theta.copy(), land.hessian(net.theta)
    matrix = op @ np.eye(land.n)
    scale = np.linalg.norm(matrix, 2)
    assert np.abs(matrix - matrix.T).max() < 1e-14 * scale
    block = rng.standard_normal((land.n, 5))
    v, h = block[:, 0], 2e-3
    wide, near = ((land.gradient(theta + t * v)[1] - land.gradient(theta - t * v)[1]) / (2 * t) for t in (2 * h, h))
    finer = ((land.gradient(theta + h / 2 * v)[1]) - land.gradient(theta - h / 2 * v)[1]) / h
    fourth, again = (4 * near - wide) / 3, (4 * finer - near) / 3  # Richardson: errors h⁴, then h⁶
    np.testing.assert_allclose(op @ v, (16 * again - fourth) / 15, atol=1e-9 * scale)
    np.testing.assert_allclose(op @ block, matrix @ block, atol=1e-13 * scale)
    np.testing.assert_allclose(op @ (2 * v - block[:, 1]), 2 * (op @ v) - op @ block[:, 1], atol=1e-13 * scale)
    stacked = np.stack([op @ column for column in block.T], axis=1)
    np.testing.assert_array_equal(op @ block, stacked)
