"""Certified Morse index, all negative directions, escape along several, and classify within a memory budget."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from surfaces import Reflected, mostly_zero, outliers_and_bulk, quadratic, two_layer_linear
from unstuck.critical import krylov_process


def classified(values, *, rotate=True, **options):
    n = len(values)
    land = quadratic(Reflected(values) if rotate else values)
    return land, us.classify(land, np.zeros(n), index=True, **options)


POSITIVE = np.random.default_rng(0).uniform(0.2, 1.0, 1500)
NEGATIVE = {
    "one": [-0.1],
    "five-fold": np.full(5, -1e-2),
    "spread": -np.geomspace(1e-3, 0.5, 12),
    "pairs": -np.repeat([0.05, 0.1, 0.2], 2),
    "forty": -np.linspace(0.05, 0.3, 40),
}


@pytest.mark.parametrize("name", NEGATIVE)
def test_index_is_exact(name):
    values = np.r_[NEGATIVE[name], POSITIVE]
    land, cp = classified(values)
    q = len(NEGATIVE[name])
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.index == (q, q)
    assert cp.directions.shape == (land.n, q)
    assert np.abs(cp.directions.T @ cp.directions - np.eye(q)).max() < 1e-12
    quotients = np.sum(cp.directions * (land.hessian(np.zeros(land.n)) @ cp.directions), axis=0)
    assert (quotients < -cp.tolerance).all()
    assert (np.diff(quotients) >= -1e-9).all()
    assert us.verify(json.loads(json.dumps(cp.index_certificate)))
    assert cp.index_certificate["lambda_min_lower"] >= -cp.tolerance
    assert f"{q} of {land.n}" in str(cp) or q == 1


def test_index_of_the_linear_network():
    land, target = two_layer_linear(8, 20, 9, 3)
    cp = us.classify(land, np.zeros(land.n), index=True, exact=False)
    assert cp.index == (60, 60)
    assert np.isclose(-cp.lambda_min.upper, np.linalg.norm(target, 2), rtol=1e-3)


def test_float32():
    values = np.r_[np.full(4, -0.1), POSITIVE]
    land = quadratic(Reflected(values), dtype="float32")
    cp = us.classify(land, np.zeros(land.n, dtype="float32"), index=True)
    assert cp.index == (4, 4)


def test_without_asking_there_is_no_upper_count():
    values = np.r_[np.full(3, -0.1), POSITIVE]
    cp = us.classify(quadratic(Reflected(values)), np.zeros(1503))
    assert cp.index[0] >= 1
    assert cp.index[1] is None
    assert cp.index_certificate is None
    assert cp.directions.shape[1] == cp.index[0]


def test_dense_and_minimum_give_the_index_at_once():
    cp = us.classify(quadratic(np.r_[-1.0, -1.0, np.ones(40)]), np.zeros(42), index=True)
    assert cp.index == (2, 2)
    assert cp.directions.shape == (42, 2)
    cp = us.classify(quadratic(POSITIVE), np.zeros(1500), index=True)
    assert cp.verdict is us.Verdict.LOCAL_MINIMUM
    assert cp.index == (0, 0)
    assert cp.directions.shape == (1500, 0)


def test_budget_leaves_the_question_open():
    values = np.r_[-0.1, np.linspace(0.0, 1.0, 3000)]
    _, cp = classified(values, max_products=45, tolerance=1e-3)
    assert cp.verdict is us.Verdict.STRICT_SADDLE
    assert cp.index == (1, None)
    assert cp.products <= 45


@pytest.mark.parametrize("c", [1e-12, 1e-6, 1e6, 1e12])
def test_scale(c):
    values = np.r_[NEGATIVE["pairs"], POSITIVE]
    land = quadratic(Reflected(values), scale=c)
    cp = us.classify(land, np.zeros(land.n), index=True)
    assert cp.index == (6, 6)
    assert cp.lambda_min.lower <= -0.2 * c <= cp.lambda_min.upper * (1 - 1e-9)


# ---------------------------------------------------------------- memory


MEMORY = {
    "saddle": (np.r_[-1e-2, outliers_and_bulk(4000, 0.5)[1:]], us.Verdict.STRICT_SADDLE, 1e-3),
    "minimum": (np.r_[0.2, np.random.default_rng(1).uniform(0.2, 1.0, 3999)], us.Verdict.LOCAL_MINIMUM, 1e-3),
    "degenerate": (mostly_zero(4000), us.Verdict.DEGENERATE, 1e-2),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", ["thick restart", "three vectors"])
@pytest.mark.parametrize("name", MEMORY)
def test_verdict_within_a_budget(name, form, dtype):
    values, verdict, tolerance = MEMORY[name]
    n, size = len(values), np.dtype(dtype).itemsize
    least = n * (3 * size + 24)
    budget = least if form == "three vectors" else n * (48 + 5 * size + 17 * size)
    land = quadratic(Reflected(values), dtype=dtype)
    cp = us.classify(land, np.zeros(n, dtype=dtype), tolerance=tolerance, memory_budget=budget, max_products=4000)
    assert cp.plan.form == form
    assert cp.plan.bytes <= budget
    assert cp.verdict is verdict, str(cp)
    slack = 10 * float(np.finfo(dtype).eps) * np.abs(values).max()
    assert cp.lambda_min.lower - slack <= values.min() <= cp.lambda_min.upper + slack
    assert cp.lambda_max.lower - slack <= values.max() <= cp.lambda_max.upper + slack
    assert us.verify(json.loads(json.dumps(cp.certificate)))
    if cp.direction is not None:
        assert float(cp.direction @ (land.hessian(np.zeros(n)) @ cp.direction.astype(dtype))) < -tolerance
    with pytest.raises(us.errors.BudgetError, match="memory_budget"):
        us.classify(land, np.zeros(n, dtype=dtype), memory_budget=least - 1)


def test_index_within_a_budget():
    values = np.r_[-np.linspace(0.1, 0.3, 5), np.random.default_rng(1).uniform(0.2, 1.0, 4000)]
    n = len(values)
    cp = us.classify(quadratic(Reflected(values)), np.zeros(n), index=True, memory_budget=n * 8 * 40, max_products=3000)
    assert cp.plan.form == "thick restart"
    assert cp.index == (5, 5)


def test_a_budget_out_of_steps_predicts_the_rest():
    values = mostly_zero(4000)
    land = quadratic(values)
    budget = 4000 * (48 + 27 * 8)
    cp = us.classify(land, np.zeros(4000), memory_budget=budget, max_products=40, tolerance=1e-5)
    assert cp.verdict is us.Verdict.UNDECIDED
    assert cp.plan.form == "thick restart"
    assert cp.further_products > 0


def test_a_roomy_budget_changes_nothing():
    values = MEMORY["saddle"][0]
    land = quadratic(Reflected(values))
    one, two = (us.classify(land, np.zeros(4000), tolerance=1e-3, memory_budget=budget) for budget in (None, 2**33))
    assert one.plan.form == two.plan.form == "full basis"
    assert np.array_equal(one.direction, two.direction)
    assert krylov_process.VERIFIED >= 1


# ---------------------------------------------------------------- escape


def quartic(curvatures, stop=1.0):
    """½Σcᵢwᵢ² + stop·Σwᵢ⁴/24: falls along every negative axis, to −6c²/stop/4 each."""
    c = np.asarray(curvatures, dtype=float)
    return us.FunctionLandscape(
        lambda w: float(0.5 * c @ w**2 + stop * np.sum(w**4) / 24),
        lambda w: c * w + stop * w**3 / 6,
        n=len(c),
        hvp=lambda w, v: (c + stop * w**2 / 2) * v,
    )


def test_escape_combines_directions_where_that_falls_further():
    land = quartic(np.r_[-1.0, -0.8, -0.5, np.linspace(0.5, 1, 20)], stop=1e3)
    cp = us.classify(land, np.zeros(23))
    step = us.escape(land, np.zeros(23), cp)
    assert step.directions == 3
    assert step.succeeded
    single = -1.5 * 1.0**2 / 1e3
    best = -1.5 * (1.0**2 + 0.8**2 + 0.5**2) / 1e3
    assert step.loss_after < 1.4 * single
    assert step.loss_after >= best - 1e-12
    assert step.loss_after == land.loss(step.theta)
    assert step.curvature < 0
    assert "combination of 3 directions" in str(step)


def test_escape_takes_one_direction_where_others_do_not_help():
    land = quartic(np.r_[-1.0, np.linspace(0.5, 1, 20)])
    step = us.escape(land, np.zeros(21), us.classify(land, np.zeros(21)))
    assert step.directions == 1
    assert "the direction" in str(step)
