"""Layers that normalise each sample: gradients and Hessian products against PyTorch's double backward."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import central_difference, relative_error
from torch_modules import gradient_and_product, module_of

nn = us.nn
TOLERANCE = {"float64": 1e-9, "float32": 5e-5}

# layers of unstuck.nn and the name and arguments of torch.nn's for those that are not Linear
NETWORKS = {
    "layer": [nn.Linear(7, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 3)],
    "layer, after the activation, large eps": [
        nn.Linear(7, 12),
        nn.GELU(),
        nn.LayerNorm(12, eps=0.1),
        nn.Linear(12, 3),
    ],
    "layer without affine": [nn.Linear(7, 12), nn.LayerNorm(12, affine=False), nn.SiLU(), nn.Linear(12, 3)],
    "layer first": [nn.LayerNorm(7), nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)],
    "layer last": [nn.Linear(7, 9), nn.Sigmoid(), nn.Linear(9, 3), nn.LayerNorm(3)],
    "rms": [nn.Linear(7, 12), nn.RMSNorm(12), nn.Tanh(), nn.Linear(12, 3)],
    "rms with eps": [nn.Linear(7, 12), nn.RMSNorm(12, eps=0.01, affine=False), nn.Tanh(), nn.Linear(12, 3)],
    "groups": [nn.Linear(7, 12), nn.GroupNorm(3, 6), nn.Tanh(), nn.Linear(12, 3)],
    "instance": [nn.Linear(7, 12), nn.GroupNorm(4, 4), nn.Softplus(), nn.Linear(12, 3)],
    "one group of features": [nn.Linear(7, 12), nn.GroupNorm(2, 12, affine=False), nn.Tanh(), nn.Linear(12, 3)],
    "two": [nn.Linear(7, 20), nn.LayerNorm(20), nn.Tanh(), nn.Linear(20, 20), nn.GroupNorm(5, 10), nn.GELU()]
    + [nn.Linear(20, 3)],
    "wide": [nn.Linear(7, 400), nn.LayerNorm(400), nn.Tanh(), nn.Linear(400, 330), nn.GroupNorm(10, 110), nn.Tanh()]
    + [nn.Linear(330, 3)],
}


def torch_layer(torch, layer):
    if isinstance(layer, nn.Linear):
        return [torch.nn.Linear(layer.in_features, layer.out_features)]
    if isinstance(layer, nn.LayerNorm):
        return [torch.nn.LayerNorm(layer.features, layer.eps, layer.affine)]
    if isinstance(layer, nn.RMSNorm):
        return [torch.nn.RMSNorm(layer.features, layer.eps, layer.affine)]
    if isinstance(layer, nn.GroupNorm):
        norm = torch.nn.GroupNorm(layer.groups, layer.channels, layer.eps, layer.affine)
        return [torch.nn.Unflatten(1, (layer.channels, -1)), norm, torch.nn.Flatten()]
    return [getattr(torch.nn, layer.kind)()]


def problem(name, dtype="float64", samples=23):
    rng = np.random.default_rng(5)
    net = nn.Network(*NETWORKS[name], input_shape=(7,), seed=1, dtype=dtype)
    net.theta[:] += 0.3 * rng.normal(size=net.n).astype(dtype)
    X = rng.normal(1, 2, size=(samples, 7)).astype(dtype)
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 3, samples))
    return land, rng.normal(size=(net.n, 3)).astype(dtype)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("samples", [1, 23, 140])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_double_backward(name, dtype, samples):
    torch = pytest.importorskip("torch", reason="needs torch")
    land, V = problem(name, dtype, samples)
    module = torch.nn.Sequential(*(part for layer in land.net.layers for part in torch_layer(torch, layer))).double()
    if dtype == "float32":  # the default eps of RMSNorm is the dtype's
        for part in module:
            if isinstance(part, torch.nn.RMSNorm) and part.eps is None:
                part.eps = float(np.finfo("f4").eps)
    parameters = list(module.parameters())
    assert [tuple(p.shape) for p in parameters] == [shape for _, _, shape in land.blocks]
    with torch.no_grad():
        for parameter, (_, where, shape) in zip(parameters, land.blocks, strict=True):
            parameter.copy_(torch.from_numpy(land.theta[where].reshape(shape).astype("f8")))
    X, y = torch.from_numpy(land.X.astype("f8")), torch.from_numpy(np.asarray(land.y))
    loss = torch.nn.functional.cross_entropy(module(X), y)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([g.ravel() for g in gradients])
    value, found = land.gradient(land.theta)
    assert value == pytest.approx(loss.item(), rel=TOLERANCE[dtype])
    assert relative_error(found, flat.detach().numpy()) <= TOLERANCE[dtype]
    H = land.hessian(land.theta)
    for v in V.T:
        expected = torch.autograd.grad(
            flat @ torch.from_numpy(v.astype("f8")), parameters, retain_graph=True, materialize_grads=True
        )
        expected = torch.cat([p.ravel() for p in expected]).numpy()
        assert relative_error(H @ v, expected) <= TOLERANCE[dtype]


PLANES = {
    "last axis": nn.LayerNorm(5),
    "last two axes": nn.LayerNorm((4, 5), eps=1e-2),
    "all axes": nn.LayerNorm((3, 4, 5)),
    "last axis, no affine": nn.LayerNorm((5,), affine=False),
    "rms, last axis": nn.RMSNorm(5, eps=1e-3),
    "rms, last two axes": nn.RMSNorm((4, 5), eps=1e-3),
    "instance": nn.InstanceNorm(3),
    "instance, affine": nn.InstanceNorm(3, eps=0.1, affine=True),
    "groups": nn.GroupNorm(1, 3),
}


def on_planes(norm, dtype, samples):
    """A network with `norm` over samples (3, 4, 5) between parameters."""
    layers = [nn.Linear(7, 60), nn.Unflatten((3, 4, 5)), norm, nn.Tanh(), nn.Flatten(), nn.Linear(60, 3)]
    net = nn.Network(*layers, input_shape=(7,), seed=1, dtype=dtype)
    rng = np.random.default_rng(5)
    net.theta[:] += 0.3 * rng.normal(size=net.n).astype(dtype)
    X = rng.normal(1, 2, size=(samples, 7)).astype(dtype)
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 3, samples)), rng


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", PLANES)
def test_on_planes_against_double_backward(torch, name, dtype, tmp_path):
    for samples in (1, 23, 300):
        land, rng = on_planes(PLANES[name], dtype, samples)
        V = rng.normal(size=(land.n, 2)).astype(dtype)
        _, gradient, product = gradient_and_product(
            torch, module_of(torch, land.net), torch.nn.CrossEntropyLoss(), land.X, land.y, V[:, 0]
        )
        assert relative_error(land.gradient(land.theta)[1], gradient) <= TOLERANCE[dtype]
        products = land.hessian(land.theta) @ V
        assert relative_error(products[:, 0], product) <= TOLERANCE[dtype]
        np.testing.assert_array_equal(products[:, 1], land.hessian(land.theta) @ V[:, 1])
    land.net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    assert again.layers == land.net.layers
    np.testing.assert_array_equal(again.predict(land.X), land.net.predict(land.X))


@pytest.mark.parametrize("name", PLANES)
def test_planes_have_the_same_bits_for_any_thread_count(name):
    land, rng = on_planes(PLANES[name], "float32", 300)
    v = rng.normal(size=land.n).astype("f4")
    before = us.threads()
    try:
        found = set()
        for count in (1, 2, 5):
            us.threads(count)
            found.add((land.gradient(land.theta)[1].tobytes(), (land.hessian(land.theta) @ v).tobytes()))
        assert len(found) == 1
    finally:
        us.threads(before)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_torch(name):
    """Finite differences of the gradient, symmetry, blocks, and the primal pass kept or made anew."""
    land, V = problem(name)
    H = land.hessian(land.theta)
    assert relative_error(H @ V[:, 0], central_difference(lambda t: land.gradient(t)[1], land.theta, V[:, 0])) <= 1e-6
    assert V[:, 1] @ (H @ V[:, 0]) == pytest.approx(V[:, 0] @ (H @ V[:, 1]), rel=1e-9, abs=1e-12)
    block = H @ V
    np.testing.assert_array_equal(block, np.stack([H @ v for v in V.T], axis=1))
    shifted = land.loss(land.theta + 1e-6 * V[:, 0]) - land.loss(land.theta - 1e-6 * V[:, 0])
    assert shifted / 2e-6 == pytest.approx(land.gradient(land.theta)[1] @ V[:, 0], rel=1e-4, abs=1e-8)


def test_same_bits_for_any_thread_count():
    land, V = problem("wide", "float32", 300)
    before = us.threads()
    try:
        found = []
        for count in (1, 2, 3, 7):
            us.threads(count)
            found.append((land.gradient(land.theta)[1].tobytes(), (land.hessian(land.theta) @ V).tobytes()))
        assert len(set(found)) == 1
    finally:
        us.threads(before)


def test_large_means_keep_their_digits():
    """The failures of one-pass variances: a row about 2000 with deviation 1, in float32."""
    rng = np.random.default_rng(0)
    X = (2000 + rng.normal(size=(50, 64))).astype("f4")
    for layer, rows in ((nn.LayerNorm(64), X.astype("f8")), (nn.GroupNorm(4, 4), X.astype("f8").reshape(-1, 16))):
        net = nn.Network(layer, input_shape=(64,))
        expected = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(net.predict(X), expected.reshape(X.shape), atol=2e-6)


def test_starts_trains_saves_and_classifies(tmp_path):
    net = nn.Network(*NETWORKS["two"], input_shape=(7,), seed=3)
    np.testing.assert_array_equal(net.block("1.weight"), np.ones(20, "f4"))
    np.testing.assert_array_equal(net.block("4.bias"), np.zeros(10, "f4"))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 7)).astype("f4")
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, (X[:, 0] * X[:, 1] > 0).astype(int))
    start = land.loss(net.theta)
    us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=50, seed=0).fit(epochs=30)
    assert land.loss(net.theta) < 0.3 * start
    net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    assert again.layers == net.layers
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert us.classify(land).products > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.LayerNorm(0), "`features` must be in"),
        (lambda: nn.LayerNorm(4, eps=-1.0), "`eps` must be"),
        (lambda: nn.LayerNorm(()), "`features` must name at least one axis"),
        (lambda: nn.LayerNorm((4, 0)), "`features` must be in"),
        (lambda: nn.LayerNorm(4.5), "`features` must be an integer"),
        (lambda: nn.RMSNorm(4, affine="no"), "`affine` must be False or True"),
        (lambda: nn.InstanceNorm(0), "`channels` must be in"),
        (lambda: nn.Network(nn.LayerNorm((3, 5)), input_shape=(4, 5)), r"expects \(3, 5\) features, but samples of"),
        (lambda: nn.Network(nn.LayerNorm((3, 5)), input_shape=(15,)), r"expects \(3, 5\) features, but 15 arrive"),
        (lambda: nn.Network(nn.InstanceNorm(4), input_shape=(4,)), "InstanceNorm needs more than one position"),
        (lambda: nn.Network(nn.InstanceNorm(4), input_shape=(3, 9)), "InstanceNorm expects 4 channels"),
        (lambda: nn.GroupNorm(3, 4), "`groups` must divide the 4 channels"),
        (lambda: nn.Network(nn.Linear(3, 4), nn.LayerNorm(5), input_shape=(3,)), "layer 1: LayerNorm expects 5"),
        (lambda: nn.Network(nn.Linear(3, 4), nn.GroupNorm(3, 3), input_shape=(3,)), "GroupNorm expects 3 channels"),
        (lambda: nn.Network(nn.GroupNorm(4, 4), input_shape=(4,)), "more than one element per group"),
        (lambda: nn.Network(nn.Linear(3, 1), nn.LayerNorm(1), input_shape=(3,)), "more than one element per group"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(us.errors.UnstuckError, match=message):
        build()
