"""Gauss–Newton and empirical Fisher operators of networks against PyTorch's Jacobians."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from torch_modules import module_of

nn = us.nn
NETWORKS = {
    "mlp": ([nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)], (5,)),
    "relu": ([nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)], (5,)),
    "residual": ([nn.Linear(5, 6), nn.Residual(nn.Linear(6, 6), nn.SiLU()), nn.LayerNorm(6), nn.Linear(6, 3)], (5,)),
    "planes": ([nn.Conv2d(1, 2, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)], (1, 6, 6)),
}
LOSSES = {
    "cross_entropy": (nn.CrossEntropy(), lambda torch: torch.nn.CrossEntropyLoss(reduction="none")),
    "mse": (nn.MSE(), lambda torch: lambda z, y: ((z - y) ** 2).mean(dim=1)),
    "bce": (
        nn.BCEWithLogits(),
        lambda torch: lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(z, y, reduction="none").mean(1),
    ),
}


def problem(name, loss, dtype="float64", samples=9, weighted=False, l2=0.0):
    layers, shape = NETWORKS[name]
    net = nn.Network(*layers, input_shape=shape, seed=2, dtype=dtype)
    rng = np.random.default_rng(5)
    X = rng.normal(size=(samples, *shape)).astype(dtype)
    y = rng.integers(0, 3, samples) if loss == "cross_entropy" else rng.uniform(size=(samples, 3)).astype(dtype)
    weight = rng.uniform(0.5, 2.0, samples) if weighted else None
    return us.NetworkLandscape(net, LOSSES[loss][0], X, y, sample_weight=weight, l2=l2)


def jacobians(torch, land, loss):
    """(per-sample Jacobians of the outputs (N, 3, n), H of the loss (N, 3, 3), gradients (N, n)), float64."""
    module = module_of(torch, land.net)
    X = torch.from_numpy(land.X.astype(np.float64).reshape(-1, *land.net.input_shape))
    y = torch.from_numpy(land.y.copy() if loss == "cross_entropy" else land.y.astype(np.float64))
    each = LOSSES[loss][1](torch)
    parameters = list(module.parameters())

    def flat(value, keep):
        grads = torch.autograd.grad(value, parameters, retain_graph=keep, materialize_grads=True)
        return torch.cat([g.reshape(-1) for g in grads])

    J, H, G = [], [], []
    for i in range(len(X)):
        z = module(X[i : i + 1])
        J.append(torch.stack([flat(z[0, k], True) for k in range(3)]))
        G.append(flat(each(z, y[i : i + 1])[0], False))
        H.append(torch.autograd.functional.hessian(lambda q, i=i: each(q[None], y[i : i + 1])[0], z[0].detach()))
    return [torch.stack(x).detach().numpy() for x in (J, H, G)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", NETWORKS)
def test_against_jacobians(torch, name, loss, dtype):
    tolerance = 1e-9 if dtype == "float64" else 5e-5
    for weighted, l2 in ((False, 0.0), (True, 0.3)):
        land = problem(name, loss, dtype, weighted=weighted, l2=l2)
        J, H, G = jacobians(torch, land, loss)
        w = np.ones(len(J)) if land.sample_weight is None else land.sample_weight.astype(np.float64)
        w = w / w.sum()
        V = np.random.default_rng(0).normal(size=(land.n, 3)).astype(dtype)
        expected = {
            "gauss_newton": np.einsum("i,iak,iab,ibl,lm->km", w, J, H, J, V, optimize=True) + l2 * V,
            "fisher": np.einsum("i,ik,il,lm->km", w, G, G, V, optimize=True) + l2 * V,
        }
        for kind, answer in expected.items():
            op = getattr(land, kind)(land.theta)
            assert relative_error(op @ V, answer) <= tolerance, kind
            assert np.array_equal(op @ V[:, 1], (op @ V)[:, 1])


def test_gauss_newton_is_positive_and_the_hessian_where_the_network_is_linear():
    land = problem("mlp", "cross_entropy")
    values = np.linalg.eigvalsh(land.gauss_newton(land.theta) @ np.eye(land.n))
    assert values.min() > -1e-12 and values.max() > 0.01
    net = nn.Network(nn.Linear(5, 3), input_shape=(5,), dtype="float64")
    flat = us.NetworkLandscape(net, nn.CrossEntropy(), land.X, land.y)
    V = np.random.default_rng(0).normal(size=(flat.n, 2))
    assert np.allclose(flat.gauss_newton(flat.theta) @ V, flat.hessian(flat.theta) @ V, rtol=1e-12, atol=1e-14)


def test_through_batch_normalisation(torch):
    net = nn.Network(nn.Linear(4, 6), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 3), input_shape=(4,), dtype="float64")
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(12, 4)), rng.integers(0, 3, 12)
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, y, mode="train")
    module, parameters = module_of(torch, net), None
    parameters = list(module.parameters())
    z = module(torch.from_numpy(X))
    rows = [
        torch.cat(
            [g.reshape(-1) for g in torch.autograd.grad(z[i, k], parameters, retain_graph=True, materialize_grads=True)]
        )
        for i in range(12)
        for k in range(3)
    ]
    J = torch.stack(rows).detach().numpy()
    loss = torch.nn.CrossEntropyLoss()
    H = torch.autograd.functional.hessian(lambda q: loss(q.reshape(12, 3), torch.from_numpy(y)), z.detach().reshape(-1))
    v = rng.normal(size=land.n)
    assert relative_error(land.gauss_newton(land.theta) @ v, J.T @ (H.numpy() @ (J @ v))) <= 1e-10
    with pytest.raises(us.errors.ArgumentError, match="fisher.*in training.*coupled.*use mode"):
        land.fisher(land.theta)


def test_outputs_coupled_in_evaluation_too_are_refused_without_advice_to_evaluate():
    net = nn.Network(nn.Linear(4, 3), nn.BatchNorm(3, track=False), input_shape=(4,), seed=0)
    X = np.random.default_rng(0).normal(size=(6, 4))
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, np.arange(6) % 3, memory_budget=10)
    with pytest.raises(us.errors.ArgumentError, match="fisher.*coupled over the batch; leave `track`"):
        land.fisher(land.theta)
    with pytest.raises(us.errors.BudgetError, match="never cut into chunks; pass a smaller `batch`$"):
        land.hessian(land.theta)


def test_many_samples_threads_and_recomputation():
    land = problem("mlp", "mse", "float32", samples=700)
    v = np.random.default_rng(0).normal(size=land.n).astype("float32")
    small = us.NetworkLandscape(land.net, nn.MSE(), land.X, land.y, memory_budget=60_000)
    for kind in ("gauss_newton", "fisher"):
        expected = getattr(land, kind)(land.theta) @ v
        recomputed = getattr(small, kind)(land.theta)
        assert recomputed.plan["primal_pass"] == "recomputed"
        assert np.array_equal(recomputed @ v, expected)
        try:
            for threads in (1, 3):
                us.threads(threads)
                assert np.array_equal(getattr(land, kind)(land.theta) @ v, expected)
        finally:
            us.threads(2)
