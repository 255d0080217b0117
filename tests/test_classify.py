"""classify: the verdict of every problem in the table, brackets that hold the truth, and what must be refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from problems import PROBLEMS, REFUSALS
from surfaces import Reflected, lecture, mostly_zero, outliers_and_bulk, quadratic, separable, two_layer_linear


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_verdict_brackets_and_index(problem):
    land = problem.make()
    cp = us.classify(land, problem.theta, **problem.options)
    assert cp.verdict is problem.verdict, str(cp)
    rounding = 4 * np.finfo(land.dtype).eps * cp.norm  # of a verified quotient
    for truth, bracket in ((problem.low, cp.lambda_min), (problem.high, cp.lambda_max)):
        assert bracket.lower <= bracket.upper
        if truth is not None:
            assert bracket.lower - rounding <= truth <= bracket.upper + rounding
    least, most = cp.index
    if problem.index is not None:
        assert least <= problem.index <= (land.n if most is None else most)
    if problem.kink is not None:
        assert cp.kink is problem.kink
    assert us.verify(json.loads(json.dumps(cp.certificate)))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_direction_is_a_proof(problem):
    land = problem.make()
    cp = us.classify(land, problem.theta, **problem.options)
    if cp.verdict in (us.Verdict.STRICT_SADDLE, us.Verdict.LOCAL_MAXIMUM):
        assert cp.direction is not None
    if cp.direction is not None:
        assert np.isclose(np.linalg.norm(cp.direction), 1.0, rtol=1e-6)
        product = land.hessian(problem.theta) @ cp.direction.astype(land.dtype)
        assert float(cp.direction @ product) < -cp.tolerance
        assert cp.index[0] >= 1


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_refusal(refusal):
    with pytest.raises(refusal.error, match=refusal.says):
        us.classify(refusal.make(), refusal.theta, **refusal.options)


# ---------------------------------------------------------------- the lecture's example


def test_lecture_to_the_last_digits():
    saddle = us.classify(lecture(), np.zeros(2))
    for number in (saddle.lambda_min.lower, saddle.lambda_min.upper):
        assert abs(number + 2) <= 1e-12
    for number in (saddle.lambda_max.lower, saddle.lambda_max.upper):
        assert abs(number - 2) <= 1e-12
    assert saddle.index == (1, 1)
    valley = us.classify(lecture(lower_bound=0.0), np.ones(2))
    assert abs(valley.lambda_min.upper) <= 1e-12
    assert abs(valley.lambda_max.lower - 4) <= 1e-12
    assert valley.flat == 1
    assert "at its lower bound 0: a minimum, flat along 1 direction" in str(valley)
    assert "lower bound" not in str(us.classify(lecture(), np.ones(2)))


def test_without_products_the_noise_is_stated():
    cp = us.classify(lecture(hvp=False), np.zeros(2))
    assert 0 < cp.noise < 1e-6
    assert abs(cp.lambda_min.upper + 2) < 1e-6


def test_linear_network_has_the_exact_index():
    land, target = two_layer_linear(hidden=5, rank=2)
    cp = us.classify(land, np.zeros(land.n))
    assert cp.index == (10, 10)
    assert np.isclose(cp.lambda_max.lower, np.linalg.norm(target, 2))


# ---------------------------------------------------------------- options


def test_the_landscape_may_have_a_point_of_its_own():
    land = us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w, 2, lambda w, v: 2 * v, theta=np.zeros(2))
    assert us.classify(land).verdict is us.Verdict.LOCAL_MINIMUM


def test_same_seed_same_bits_and_theta_untouched():
    land, point = quadratic(Reflected(outliers_and_bulk(1500, -1e-2))), np.zeros(1500)
    one, two = (us.classify(land, point, seed=3, tolerance=1e-3) for _ in range(2))
    assert np.array_equal(one.direction, two.direction)
    assert (one.lambda_min, one.lambda_max, one.products) == (two.lambda_min, two.lambda_max, two.products)
    assert not point.any()


@pytest.mark.parametrize("verdict", ["STRICT_SADDLE", "DEGENERATE", "LOCAL_MINIMUM"])
def test_lanczos_and_the_whole_spectrum_agree(verdict):
    bulk = np.random.default_rng(0).uniform(0.2, 1.0, 299)
    extra = {"STRICT_SADDLE": -0.05, "DEGENERATE": 0.0, "LOCAL_MINIMUM": 0.1}[verdict]
    values = np.r_[extra, bulk]
    land = quadratic(Reflected(values))
    whole = us.classify(land, np.zeros(300))
    ends = us.classify(land, np.zeros(300), exact=False)
    assert (whole.method, ends.method) == ("dense", "lanczos")
    assert whole.verdict is ends.verdict is us.Verdict[verdict]
    assert whole.confidence == 1.0
    assert ends.confidence == 1 - 1e-6
    for cp in (whole, ends):
        assert cp.lambda_min.lower <= values.min() <= cp.lambda_min.upper + 1e-14
        assert cp.lambda_max.lower - 1e-14 <= values.max() <= cp.lambda_max.upper


@pytest.mark.parametrize("n", [3, 4, 7])
def test_lanczos_on_tiny_problems(n):
    values = np.r_[-1.0, np.arange(1.0, n)]
    cp = us.classify(quadratic(values), np.zeros(n), exact=False)
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.method == "lanczos"


def test_exact_beyond_the_default_size():
    values = np.r_[-0.1, np.linspace(0.5, 1.0, 599)]
    cp = us.classify(quadratic(values), np.zeros(600), exact=True)
    assert cp.method == "dense"
    assert cp.index == (1, 1)


def test_budget_is_kept_and_the_rest_predicted():
    land = quadratic(mostly_zero(3000))
    cp = us.classify(land, np.zeros(3000), max_products=16)
    assert cp.verdict is us.Verdict.UNDECIDED
    assert cp.products <= 16
    assert cp.further_products > 0
    assert f"about {cp.further_products} more products" in str(cp)
    enough = us.classify(land, np.zeros(3000), max_products=16 + 2 * cp.further_products)
    assert enough.verdict is us.Verdict.DEGENERATE


def test_no_curvature_at_all_is_seen_soon():
    cp = us.classify(quadratic(np.zeros(1000)), np.zeros(1000))
    assert cp.verdict is us.Verdict.DEGENERATE
    assert cp.lambda_min.upper == cp.lambda_max.lower == 0.0
    assert cp.products < 20


def test_a_small_budget_leaves_the_dense_way():
    cp = us.classify(quadratic(np.r_[-1.0, np.ones(299)]), np.zeros(300), max_products=20)
    assert cp.products <= 20
    assert cp.verdict is us.Verdict.STRICT_SADDLE


def test_tolerance_is_a_curvature():
    land = quadratic(np.array([-1e-3, 1.0]))
    assert us.classify(land, np.zeros(2)).verdict is us.Verdict.STRICT_SADDLE
    cp = us.classify(land, np.zeros(2), tolerance=1e-2)
    assert cp.verdict is us.Verdict.DEGENERATE
    assert cp.tolerance == 1e-2
    assert cp.direction is None


def test_gate_compares_decreases():
    land = quadratic(np.array([-1.0, 1.0]), np.array([0.0, 1.0]))
    # 1 / (2·1) against ½·1·r², r = 0.01
    cp = us.classify(land, np.zeros(2))
    assert cp.verdict is us.Verdict.NOT_CRITICAL
    assert np.isclose(cp.gate.gradient_decrease, 0.5)
    assert np.isclose(cp.gate.curvature_decrease, 0.5e-4)
    near = quadratic(np.array([-1.0, 1.0]), np.array([0.0, 0.99e-2]))
    assert us.classify(near, np.zeros(2)).verdict is us.Verdict.STRICT_SADDLE


def test_third_derivative_limits_what_curvature_promises():
    # −x²/2·ρ + M·x³/6 + y²/2: beyond 2ρ/M the loss rises again
    rho, m = 0.1, 1000.0
    land = us.FunctionLandscape(
        lambda w: -rho * w[0] ** 2 / 2 + m * w[0] ** 3 / 6 + w[1] ** 2 / 2,
        lambda w: np.array([-rho * w[0] + m * w[0] ** 2 / 2, w[1]]),
        n=2,
        hvp=lambda w, v: np.array([(-rho + m * w[0]) * v[0], v[1]]),
    )
    cp = us.classify(land, np.zeros(2))
    assert np.isclose(cp.gate.third_derivative, m, rtol=1e-3)
    assert np.isclose(cp.gate.curvature_decrease, 2 * rho**3 / (3 * m**2), rtol=1e-2)


def test_progress_and_interrupt():
    seen = []
    land = quadratic(Reflected(mostly_zero()))
    us.classify(land, np.zeros(2000), progress=lambda done, most: seen.append((done, most)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)

    def stop(done, most):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        us.classify(land, np.zeros(2000), progress=stop)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("problem", PROBLEMS[:60], ids=str)
def test_one_sentence(problem):
    cp = us.classify(problem.make(), problem.theta, **problem.options)
    text = str(cp)
    assert "\n" not in text
    assert text.endswith(".")
    assert ". " not in text
    assert f"{cp.products} products" in text
    assert "nan" not in text.lower()


def test_facts_and_html():
    cp = us.classify(lecture(), np.zeros(2))
    facts = cp.facts()
    assert facts[0].value == "STRICT_SADDLE"
    assert {"Lowest curvature", "Highest curvature", "Tolerance", "Cost"} <= {fact.label for fact in facts}
    json.dumps([fact.to_dict() for fact in facts], allow_nan=False)
    page = cp._repr_html_()
    assert page.count("<tr>") == len(facts)
    assert "\u2212" in page


def test_numbers_in_words():
    from unstuck.critical.sentence import number

    assert number(-0.0031234) == "−0.00312"
    assert number(1.5e-7) == "1.5e−7"
    assert number(2e12) == "2e12"
    assert number(-0.0) == "0"
    assert number(float("-inf")) == "−∞"


def test_kink_is_said():
    assert "kink" in str(us.classify(separable("|x|", "x2"), np.zeros(2)))


def kinked(slope, values, crease, hvp=True):
    """Slope·|creaseᵀw| + ½Σλᵢwᵢ², whose product knows nothing of the crease."""
    return us.FunctionLandscape(
        lambda w: slope * abs(float(crease @ w)) + 0.5 * float(w @ (values * w)),
        lambda w: slope * np.sign(crease @ w) * crease + values * w,
        n=len(values),
        hvp=(lambda w, v: values * v) if hvp else None,
    )


@pytest.mark.parametrize("slope", [1.0, -1.0, -1e-3])
@pytest.mark.parametrize("n", [3, 40, 800])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_kink_that_the_two_ends_do_not_cross(slope, n, sign):
    values = sign * np.linspace(1.0, 3.0, n)
    crease = np.zeros(n)
    crease[n // 2] = 1.0  # the ends are the first and the last axis
    cp = us.classify(kinked(slope, values, crease), np.zeros(n))
    assert cp.verdict is us.Verdict.DEGENERATE
    assert cp.kink is True
    assert "kink" in str(cp)
    smooth = us.classify(kinked(0.0, values, crease), np.zeros(n))
    assert smooth.verdict is (us.Verdict.LOCAL_MINIMUM if sign > 0 else us.Verdict.LOCAL_MAXIMUM)
    assert smooth.kink is False


def test_a_wrong_lower_bound_is_said():
    text = str(us.classify(lecture(lower_bound=5.0), np.zeros(2)))
    assert "below its stated lower bound 5" in text
    assert "a minimum" not in text


def test_edge_of_the_domain():
    # no gradient on one side: the kink test cannot be made, the verdict stands
    land = us.FunctionLandscape(
        lambda w: (w[0] - 1) ** 2 - w[1] ** 2,
        lambda w: np.array([2 * (w[0] - 1), -2 * w[1]]) if w[1] <= 0 else np.full(2, np.nan),
        n=2,
        hvp=lambda w, v: np.array([2 * v[0], -2 * v[1]]),
    )
    cp = us.classify(land, np.array([1.0, 0.0]))
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.kink is None


# ---------------------------------------------------------------- networks


def trained_network(dtype, activation=us.nn.Tanh, steps=300):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 8)).astype(dtype)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    net = us.nn.Network(
        us.nn.Linear(8, 24), activation(), us.nn.Linear(24, 24), activation(), us.nn.Linear(24, 2),
        input_shape=(8,), seed=1, dtype=dtype,
    )  # fmt: skip
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=200, seed=0).fit(steps=steps)
    return land


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [0, 40, 300])
def test_network_by_lanczos_and_by_the_whole_spectrum(dtype, steps):
    land = trained_network(dtype, steps=steps)
    assert land.n > 512
    ends = us.classify(land)
    whole = us.classify(land, exact=True)
    assert (ends.method, whole.method) == ("lanczos", "dense")
    assert ends.verdict is whole.verdict
    assert ends.verdict is not us.Verdict.UNDECIDED
    rounding = 4 * (ends.noise + whole.noise)
    assert whole.lambda_min.lower - rounding <= ends.lambda_min.upper
    assert ends.lambda_min.lower <= whole.lambda_min.upper + rounding
    assert np.isclose(ends.lambda_max.lower, whole.lambda_max.lower, rtol=0.1)
    assert ends.index[0] <= whole.index[1]
    assert ends.tolerance <= 1.2e-4 * ends.norm


def test_network_at_zero_weights_is_a_saddle():
    # ½·mean‖W₂W₁x − y‖² without biases: H has the eigenvalues ±σᵢ of the cross-moment, hidden times each
    rng = np.random.default_rng(4)
    X = rng.standard_normal((50, 6))
    y = X @ rng.standard_normal((6, 3))
    net = us.nn.Network(
        us.nn.Linear(6, 4, bias=False), us.nn.Linear(4, 3, bias=False), input_shape=(6,), seed=0, dtype="float64"
    )
    land = us.NetworkLandscape(net, us.nn.MSE(), X, y)
    cp = us.classify(land, np.zeros(land.n))
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.index == (12, 12)
    sigma = np.linalg.norm(2 * y.T @ X / y.size, 2)
    assert np.isclose(-cp.lambda_min.upper, sigma)
    e = us.escape(land, np.zeros(land.n), cp)
    assert e.succeeded
    assert e.loss_before - e.loss_after > 0.1 * e.loss_before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("curvature", [1.0, -1.0])
def test_multiple_of_the_identity_is_settled_by_fresh_starts(dtype, curvature):
    # products without any rounding: one Krylov space says too little in float32
    c = np.dtype(dtype).type(curvature)
    land = us.FunctionLandscape(
        lambda t: float(0.5 * c * (t @ t)), lambda t: c * t, n=1000, hvp=lambda t, v: c * v, dtype=dtype
    )
    cp = us.classify(land, np.zeros(1000, dtype=dtype))
    assert cp.verdict is (us.Verdict.LOCAL_MINIMUM if curvature > 0 else us.Verdict.LOCAL_MAXIMUM)
    assert cp.products < 20
    assert us.verify(cp.certificate)


@pytest.mark.parametrize("c", [1e-160, -1e-160, 1e-300])
@pytest.mark.parametrize("exact", [True, False])
def test_a_slope_with_hardly_any_curvature_is_no_critical_point(c, exact):
    # ‖g‖/‖H‖ beyond 1e154, whose square float64 cannot hold
    land = us.FunctionLandscape(
        lambda w: float(w.sum() + c / 2 * (w @ w)), lambda w: 1 + c * w, n=3, hvp=lambda w, v: c * v
    )
    point = us.classify(land, np.ones(3), exact=exact)
    assert point.verdict is us.Verdict.NOT_CRITICAL
    assert us.verify(point.certificate)
