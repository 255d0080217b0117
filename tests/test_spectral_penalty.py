"""The spectral-norm regulariser λ/2·Σ σ(W)²: against dense singular values, PyTorch, and the plain training loop."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from same_passes import PlainSteps
from torch_modules import module_of

nn = us.nn
STRENGTH = 0.7


def landscape(layers, shape=(6,), dtype="float64", theta=None, strength=STRENGTH, **options):
    net = nn.Network(*layers, input_shape=shape, seed=3, dtype=dtype)
    rng = np.random.default_rng(7)
    X = rng.normal(size=(30, *shape)).astype(dtype)
    y = rng.integers(0, 3, 30)
    if theta is not None:
        net.theta[:] = theta
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, y, spectral_penalty=strength, **options)


def penalty_alone(land, theta):
    """(value, gradient) of the penalty: what is left without the data."""
    bare = us.NetworkLandscape(land.net, land.loss_function, land.X, land.y, mode=land.mode)
    (whole, gradient), (data, of_data) = land.gradient(theta), bare.gradient(theta)
    return whole - data, gradient - of_data


def dense(land, theta):
    """(value, gradient) by dense singular value decompositions."""
    value, gradient = 0.0, np.zeros(land.n)
    for name, where, shape in land.blocks:
        if name.endswith("weight") and len(shape) > 1 and shape != (4, 3, 4):  # γ of LayerNorm is no matrix
            U, S, Vt = np.linalg.svd(theta[where].reshape(shape[0], -1).astype(float), full_matrices=False)
            value += 0.5 * STRENGTH * S[0] ** 2
            gradient[where] = STRENGTH * S[0] * np.outer(U[:, 0], Vt[0]).ravel()
    return value, gradient


NETWORKS = {
    "square": [nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)],
    "wide_and_tall": [nn.Linear(6, 70), nn.BatchNorm(70), nn.Tanh(), nn.Linear(70, 3, bias=False)],
    "one_row": [nn.Linear(6, 1), nn.Tanh(), nn.Linear(1, 3)],
    "large": [nn.Linear(6, 150), nn.Tanh(), nn.Linear(150, 200), nn.Tanh(), nn.Linear(200, 3)],
    "convolution": [
        nn.Unflatten((2, 1, 3)),
        nn.Conv2d(2, 4, (1, 2), padding=1),
        nn.LayerNorm((4, 3, 4)),
        nn.Tanh(),
        nn.Linear(48, 3),
    ],
    "residual": [nn.Residual(nn.Linear(6, 6), nn.SiLU(), nn.LayerNorm(6)), nn.Linear(6, 3)],
}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_value_and_gradient_against_dense_singular_values(name, dtype):
    land = landscape(NETWORKS[name], dtype=dtype, mode="train")
    theta = land.theta.copy()
    value, gradient = penalty_alone(land, theta)
    expected, expected_gradient = dense(land, theta)
    tolerance = 1e-10 if dtype == "float64" else 5e-6
    assert value == pytest.approx(expected, rel=tolerance)
    assert relative_error(gradient, expected_gradient) <= tolerance
    assert land.loss(theta) == land.gradient(theta)[0]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_products_against_double_backward(torch, name, dtype):
    land = landscape(NETWORKS[name], dtype=dtype, mode="train", l2=0.1)
    theta = (land.theta + 0.05 * np.random.default_rng(1).normal(size=land.n)).astype(dtype)
    v = np.random.default_rng(2).normal(size=(land.n, 2)).astype(dtype)
    module = module_of(torch, land.net, theta)
    parameters = list(module.parameters())
    outputs = module(torch.from_numpy(land.X.astype(np.float64)))
    loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(land.y.copy()))
    for p in parameters:
        loss = loss + 0.05 * (p * p).sum()
        if p.ndim > 1 and p.shape != (
            4,
            3,
            4,
        ):  # σ² as an eigenvalue: PyTorch's norm has no second derivative on the CPU
            W = p.reshape(len(p), -1)
            gram = W @ W.T if W.shape[0] < W.shape[1] else W.T @ W
            loss = loss + 0.5 * STRENGTH * torch.linalg.eigvalsh(gram)[-1]
    gradient = torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    product = torch.autograd.grad(gradient @ torch.from_numpy(v[:, 0].astype(np.float64)), parameters)
    tolerance = 1e-9 if dtype == "float64" else 5e-5
    assert relative_error(land.gradient(theta)[1], gradient.detach().numpy()) <= tolerance
    products = land.hessian(theta) @ v
    assert relative_error(products[:, 0], torch.cat([p.reshape(-1) for p in product]).numpy()) <= tolerance
    assert np.array_equal(products[:, 1], land.hessian(theta) @ v[:, 1])


def planted(singular_values, rows, columns, seed=0):
    rng = np.random.default_rng(seed)
    k = len(singular_values)
    U, V = (np.linalg.qr(rng.normal(size=(m, k)))[0] for m in (rows, columns))
    return U * np.asarray(singular_values) @ V.T


@pytest.mark.parametrize("gap", [1e-1, 1e-3, 1e-5])
def test_close_singular_values(gap):
    S = [2.0, 2.0 * (1 - gap), 2.0 * (1 - 2 * gap), *np.linspace(0.1, 1.5, 30)]
    land = landscape([nn.Linear(40, 60, bias=False), nn.Linear(60, 3, bias=False)], (40,))
    theta = land.theta.copy()
    theta[: 40 * 60] = planted(S, 60, 40).ravel()
    _, gradient = penalty_alone(land, theta)
    assert relative_error(gradient, dense(land, theta)[1]) <= 1e-12 / gap
    v = np.random.default_rng(3).normal(size=land.n)
    v /= np.linalg.norm(v)
    step = 1e-3 * gap
    difference = (land.gradient(theta + step * v)[1] - land.gradient(theta - step * v)[1]) / (2 * step)
    assert relative_error(land.hessian(theta) @ v, difference) <= 1e-5


@pytest.mark.parametrize("twin", [0.0, 1e-8])
def test_a_multiple_singular_value_has_a_gradient_but_no_hessian(twin):
    land = landscape([nn.Linear(8, 5, bias=False), nn.Tanh(), nn.Linear(5, 3)], (8,))
    theta = land.theta.copy()
    W = planted([3.0, 3.0 * (1 - twin), 1.0, 0.5], 5, 8)
    theta[:40] = W.ravel()
    value, gradient = penalty_alone(land, theta)
    assert value == pytest.approx(dense(land, theta)[0], rel=1e-10)
    G = gradient[:40].reshape(5, 8) / STRENGTH
    assert np.linalg.norm(G) == pytest.approx(3.0, rel=1e-6)
    assert np.sum(G * W) == pytest.approx(9.0, rel=1e-6)  # a subgradient: ⟨G, W⟩ = σ²
    with pytest.raises(us.errors.ArgumentError, match=r"0\.weight is not simple.*spectral_penalty=0"):
        land.hessian(theta)


def test_an_orthogonal_weight_and_a_zero_weight():
    land = landscape([nn.Linear(6, 6, init=nn.init.orthogonal(2.0)), nn.Tanh(), nn.Linear(6, 3)])
    theta = land.theta.copy()
    theta[land.blocks[2][1]] = 0.0
    value, gradient = penalty_alone(land, theta)
    assert value == pytest.approx(0.5 * STRENGTH * 4.0, rel=1e-12)
    assert not gradient[land.blocks[2][1]].any()
    with pytest.raises(us.errors.ArgumentError, match="0.weight is not simple"):
        land.hessian(theta)
    theta[land.blocks[0][1]] = np.diag([1.0, 2, 3, 4, 5, 6]).ravel()
    with pytest.raises(us.errors.ArgumentError, match="2.weight is 0"):
        land.hessian(theta)


@pytest.mark.parametrize("scale", [1e-300, 1e150, 1e160])
def test_extreme_weights(scale):
    land = landscape([nn.Linear(6, 3, bias=False)])
    theta = land.theta * scale
    with np.errstate(over="ignore", under="ignore"):
        value = land.loss(theta)
        expected = dense(land, theta)[0]
    assert value == pytest.approx(expected, rel=1e-9) or value > 1e150 or scale < 1
    assert not np.isnan(value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_passed_on(bad):
    land = landscape(NETWORKS["square"])
    theta = land.theta.copy()
    theta[3] = bad
    loss, gradient = land.gradient(theta)
    assert np.isnan(loss) and np.isnan(gradient).any()
    with pytest.raises(us.errors.ArgumentError, match="0.weight is not finite"):
        land.hessian(theta)


def test_the_weight_of_a_parametrized_layer_is_the_one_that_is_read():
    layers = [nn.WeightNorm(nn.Linear(6, 5)), nn.Tanh(), nn.SpectralNorm(nn.Linear(5, 3))]
    land = landscape(layers)
    g, v = land.net.block("0.weight_g"), land.net.block("0.weight_v")
    W = g * v / np.linalg.norm(v, axis=1, keepdims=True)
    V, (u, w) = land.net.block("2.weight_orig"), np.split(land.net.buffers, [3])
    sigma = [np.linalg.svd(W)[1][0], np.linalg.svd(V / (u @ V @ w))[1][0]]
    assert penalty_alone(land, land.theta.copy())[0] == pytest.approx(0.5 * STRENGTH * np.sum(np.square(sigma)))


def test_the_core_trains_with_it_and_makes_the_norm_smaller():
    norms, runs = [], []
    for strength, wrap in ((STRENGTH, lambda x: x), (STRENGTH, PlainSteps), (0.0, lambda x: x)):
        land = landscape(NETWORKS["square"], strength=strength)
        run = us.Trainer(wrap(land), us.optim.Adam(lr=1e-2), 10, seed=2)
        run.fit(steps=60)
        runs.append(run)
        norms.append(np.linalg.svd(land.net.block("0.weight"))[1][0])
    np.testing.assert_allclose(runs[0].theta, runs[1].theta, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-9)
    assert norms[0] < 0.7 * norms[2]


def test_options_and_budget():
    for bad in (-1.0, np.nan, np.inf, True, "1"):
        with pytest.raises(us.errors.ArgumentError, match="`spectral_penalty`"):
            landscape(NETWORKS["square"], strength=bad)
    land = landscape(NETWORKS["large"])
    assert "spectral_penalty=0.7" in repr(land)
    assert land.with_data(land.X, land.y).spectral_penalty == 0.0
    bare = us.NetworkLandscape(land.net, land.loss_function, land.X, land.y).hessian(land.theta).plan["bytes"]
    more = land.hessian(land.theta).plan["bytes"] - bare
    assert more == 8 * sum(a * b + min(a, b) ** 2 for a, b in ((6, 150), (150, 200), (200, 3)))
    with pytest.raises(us.errors.BudgetError, match="memory_budget"):
        landscape(NETWORKS["large"], memory_budget=10_000).hessian(land.theta)
