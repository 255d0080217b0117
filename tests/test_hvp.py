"""Hessian-vector products of networks: exact, symmetric, linear, and the same for blocks and any chunking."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import unstuck as us
from network_cases import ACTIVATIONS, CASES, GRID, LOSSES, Case, chain, linear
from oracles import central_difference, relative_error

TOLERANCE = {"float64": 1e-9, "float32": 2e-5}
TALL_AND_WIDE = Case("tall_and_wide", chain((330, 400, 3), "silu"), samples=1100)
WIDE = Case("wide", chain((784, 512, 512, 10), "tanh"), samples=48)
TALL = [
    Case(f"rows_{n}", chain((6, 9, 8, 3), "gelu"), "smoothed_weighted", n, weighted_samples=True)
    for n in (1, 2, 63, 64, 65, 129, 257, 2051)
]


def products_against_reference(case, dtype, k=2):
    """(found, expected) of k products."""
    land, theta, X, y, weight = case.landscape(us, dtype)
    V = case.vectors(k, dtype)
    return land.hessian(theta) @ V, case.reference().product(theta, V, X, y, weight)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_against_the_reference(dtype):
    for case in [*CASES, *TALL]:
        found, expected = products_against_reference(case, dtype)
        assert found.dtype == dtype
        assert found.shape == expected.shape
        assert relative_error(found, expected) <= TOLERANCE[dtype], case


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_wide_networks(dtype):
    for case in (WIDE, TALL_AND_WIDE):
        found, expected = products_against_reference(case, dtype, k=1)
        assert relative_error(found, expected) <= TOLERANCE[dtype], case


@pytest.mark.filterwarnings("ignore")
def test_against_double_backward(torch):
    for case in (c for c in CASES if not c.weighted_samples):
        land, theta, X, y, _ = case.landscape(us)
        v = case.vectors(1)[:, 0]
        module = case.module(torch)
        parameters = list(module.parameters())
        loss = case.torch_loss(torch)(module(torch.from_numpy(X)), torch.from_numpy(y))
        loss = loss + 0.5 * case.l2 * sum((p**2).sum() for p in parameters)
        gradient = torch.cat([g.ravel() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
        product = torch.autograd.grad(gradient @ torch.from_numpy(v), parameters, materialize_grads=True)
        expected = torch.cat([p.ravel() for p in product]).numpy()
        assert relative_error(land.hessian(theta) @ v, expected) <= 1e-9, case


def test_against_differences_away_from_kinks():
    for case in GRID[::3]:
        reference, theta, (X, y, _) = case.reference(), case.theta(), case.data(samples=120)
        keep = np.flatnonzero(reference.margin(theta, X) > 5e-3) if case.kinked else np.arange(len(X))
        if reference.loss_name == "Huber":
            error = np.abs(np.abs(reference.predict(theta, X) - y) - reference.loss_options.get("delta", 1.0))
            keep = np.intersect1d(keep, np.flatnonzero(error.min(axis=1) > 5e-3))
        assert keep.size >= 5, case
        land = us.NetworkLandscape(case.network(us), case.loss_function(us), X[keep], y[keep])
        v = case.vectors(1)[:, 0]
        found = land.hessian(theta) @ v
        expected = central_difference(lambda t: land.gradient(t)[1], theta, v, step=1e-4)
        assert relative_error(found, expected) <= 1e-6, case


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_symmetric_and_linear(dtype):
    tolerance = {"float64": 1e-12, "float32": 5e-5}[dtype]
    for case in CASES[::3]:
        land, theta, *_ = case.landscape(us, dtype)
        u, v = case.vectors(2).T
        u, v = (u / np.linalg.norm(u)).astype(dtype), (v / np.linalg.norm(v)).astype(dtype)
        H = land.hessian(theta)
        Hu, Hv = (H @ u).astype(float), (H @ v).astype(float)
        scale = np.linalg.norm(Hu) + np.linalg.norm(Hv)
        assert abs(u @ Hv - v @ Hu) <= tolerance * scale, case
        combined = (H @ (2.0 * u - 0.5 * v).astype(dtype)).astype(float)
        assert np.linalg.norm(combined - 2.0 * Hu + 0.5 * Hv) <= tolerance * 3 * scale, case
        np.testing.assert_array_equal(H @ (-4 * u), -4 * (H @ u), err_msg=str(case))  # powers of two are exact


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_block_equals_stacked_singles_bit_for_bit(dtype):
    for case in [*CASES[::5], *TALL, WIDE]:
        land, theta, *_ = case.landscape(us, dtype)
        H = land.hessian(theta)
        for k in (1, 3) if case is WIDE else (1, 2, 3, 8, 17):
            V = case.vectors(k, dtype)
            singles = np.stack([H @ V[:, i] for i in range(k)], axis=1)
            np.testing.assert_array_equal(H @ V, singles, err_msg=f"{case}, block of {k}")


def test_zero_vector_and_zero_columns():
    for case in CASES[::9]:
        land, theta, *_ = case.landscape(us)
        H = land.hessian(theta)
        assert not np.any(H @ np.zeros(land.n))
        V = case.vectors(3)
        V[:, 1] = 0.0
        block = H @ V
        assert not np.any(block[:, 1])
        np.testing.assert_array_equal(block[:, 0], H @ V[:, 0])
        assert (H @ np.zeros((land.n, 0))).shape == (land.n, 0)


def test_scaling_over_many_orders():
    case = GRID[0]
    land, theta, *_ = case.landscape(us)
    v = case.vectors(1)[:, 0]
    H = land.hessian(theta)
    for exponent in (-600, -40, 40, 600):
        np.testing.assert_array_equal(H @ np.ldexp(v, exponent), np.ldexp(H @ v, exponent))


def test_batches_with_repeats():
    for case in CASES[::8]:
        land, theta, X, y, weight = case.landscape(us)
        rng = np.random.default_rng(1)
        for batch in (np.array([0]), rng.integers(0, len(X), 70), np.arange(len(X))[::-1], [0] * 5):
            rows = np.asarray(batch)
            part = None if weight is None else weight[rows]
            v = case.vectors(1)[:, 0]
            expected = case.reference().product(theta, v, X[rows], y[rows], part)
            assert relative_error(land.hessian(theta, batch) @ v, expected) <= 1e-9, case


def test_operator_keeps_its_point_and_its_batch():
    case = GRID[0]
    land, theta, *_ = case.landscape(us)
    v, batch = case.vectors(1)[:, 0], np.arange(7)
    point, rows = theta.copy(), batch.copy()
    H, whole = land.hessian(point, rows), land.hessian(point)
    before, before_whole = H @ v, whole @ v
    point[:] = 7.0
    rows[:] = 0
    land.net.theta[:] = -1.0
    land.gradient(theta * 2)
    land.hessian(theta + 1.0) @ v
    np.testing.assert_array_equal(H @ v, before)
    np.testing.assert_array_equal(whole @ v, before_whole)


def test_products_are_counted_and_plan_is_told():
    case = GRID[0]
    land, theta, *_ = case.landscape(us)
    H = land.hessian(theta)
    assert H.shape == (land.n, land.n)
    assert H.exact
    assert H.noise == 0
    H @ case.vectors(1)[:, 0]
    H @ case.vectors(5)
    assert H.products == 6


def test_small_memory_budget_gives_the_same_products():
    case = Case("budget", chain((6, 40, 40, 3), "tanh"), samples=2051)
    land, theta, X, y, _ = case.landscape(us)
    V = case.vectors(4)
    expected = land.hessian(theta) @ V
    batch = np.arange(2050, -1, -1)
    reversed_ = land.hessian(theta, batch) @ V
    for budget in (2**22, 2**20):
        tight = us.NetworkLandscape(land.net, land.loss_function, X, y, memory_budget=budget)
        np.testing.assert_array_equal(tight.hessian(theta) @ V, expected)
        np.testing.assert_array_equal(tight.hessian(theta, batch) @ V, reversed_)
    none = us.NetworkLandscape(land.net, land.loss_function, X, y, memory_budget=2**12)
    with pytest.raises(us.errors.BudgetError, match="`memory_budget`"):
        none.hessian(theta)
    assert np.isfinite(none.gradient(theta)[0])


def test_chunks_are_weighted_by_their_samples():
    case = Case("chunks", chain((6, 9, 3), "tanh"), "weighted", samples=2051, weighted_samples=True)
    land, theta, X, y, weight = case.landscape(us)
    parts = np.array_split(np.arange(2051), [3, 700, 1999])
    v = case.vectors(1)[:, 0]
    total = weight @ np.asarray(land.loss_function.class_weight)[y]
    expected = sum(
        (weight[p] @ np.asarray(land.loss_function.class_weight)[y[p]]) / total * (land.hessian(theta, p) @ v)
        for p in parts
    )
    assert relative_error(land.hessian(theta) @ v, expected) <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_random_networks(dtype):
    """Random architecture, activations, loss, data and options."""
    rng = np.random.default_rng(7)
    losses = {name: LOSSES[name][3] for name in LOSSES}
    for trial in range(400):
        widths = [int(w) for w in rng.integers(1, 40, rng.integers(2, 6))]
        loss = str(rng.choice(list(losses)))
        widths[-1] = 3 if losses[loss] == "label" else widths[-1]
        layers = []
        for a, b in pairwise(widths):
            layers += [linear(a, b, bool(rng.integers(2)))]
            layers += [ACTIVATIONS[str(rng.choice(list(ACTIVATIONS)))] for _ in range(rng.integers(0, 3))]
        case = Case(
            f"trial {trial}", tuple(layers), loss, int(rng.integers(1, 400)),
            l2=float(rng.choice([0.0, 0.1])), weighted_samples=bool(rng.integers(2)), seed=trial,
        )  # fmt: skip
        found, expected = products_against_reference(case, dtype)
        assert relative_error(found, expected) <= TOLERANCE[dtype], case
