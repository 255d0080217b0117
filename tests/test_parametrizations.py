"""WeightNorm and SpectralNorm: derivatives and training against PyTorch, initialisation from data, hostile inputs."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from torch_modules import gradient_and_product, module_of, spectral_modules

nn = us.nn

WEIGHT, SPECTRAL = nn.WeightNorm, nn.SpectralNorm


# (layers, shape of a sample): the last layer has 3 outputs
NETWORKS = {
    "weight": ([WEIGHT(nn.Linear(5, 7)), nn.Tanh(), WEIGHT(nn.Linear(7, 3))], (5,)),
    "weight_no_bias": ([WEIGHT(nn.Linear(5, 7, bias=False)), nn.SiLU(), nn.Linear(7, 3)], (5,)),
    "weight_dim_1": ([WEIGHT(nn.Linear(5, 7), dim=1), nn.Tanh(), nn.Linear(7, 3)], (5,)),
    "weight_dim_none": ([nn.Linear(5, 4), WEIGHT(nn.Linear(4, 7), dim=None), nn.Tanh(), nn.Linear(7, 3)], (5,)),
    "spectral": ([SPECTRAL(nn.Linear(5, 7)), nn.Tanh(), SPECTRAL(nn.Linear(7, 3))], (5,)),
    "spectral_no_bias": ([nn.Linear(5, 9), nn.Tanh(), SPECTRAL(nn.Linear(9, 3, bias=False), iterations=3)], (5,)),
    "mixed": ([WEIGHT(nn.Linear(5, 7)), nn.GELU(), nn.Linear(7, 6), nn.Tanh(), SPECTRAL(nn.Linear(6, 3))], (5,)),
    "residual": (
        [
            nn.Residual(WEIGHT(nn.Linear(5, 6)), nn.SiLU(), SPECTRAL(nn.Linear(6, 5))),
            nn.Residual(nn.Tanh(), SPECTRAL(nn.Linear(5, 4)), shortcut=WEIGHT(nn.Linear(5, 4))),
            nn.Linear(4, 3),
        ],
        (5,),
    ),
    "batch_norm": (
        [
            WEIGHT(nn.Linear(5, 6)),
            nn.BatchNorm(6),
            nn.Tanh(),
            nn.Residual(SPECTRAL(nn.Linear(6, 6)), nn.BatchNorm(6)),
            nn.Linear(6, 3),
        ],
        (5,),
    ),
    "convolution": (
        [
            nn.Unflatten((2, 6, 5)),
            WEIGHT(nn.Conv2d(2, 4, 3, padding=1)),
            nn.Tanh(),
            SPECTRAL(nn.Conv2d(4, 6, (3, 2), stride=2, groups=2)),
            nn.BatchNorm(6),
            nn.SiLU(),
            WEIGHT(nn.Conv2d(6, 3, 1, bias=False), dim=1),
            nn.GlobalAvgPool2d(),
            nn.Flatten(),
        ],
        (60,),
    ),
    "wide": ([WEIGHT(nn.Linear(40, 300)), nn.Tanh(), SPECTRAL(nn.Linear(300, 200)), nn.Linear(200, 3)], (40,)),
}


def landscape(name, dtype="float64", samples=40, mode="train", **options):
    layers, shape = NETWORKS[name]
    net = nn.Network(*layers, input_shape=shape, seed=3, dtype=dtype)
    rng = np.random.default_rng(7)
    X = rng.normal(size=(samples, *shape)).astype(dtype)
    y = rng.integers(0, 3, samples)
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, y, mode=mode, **options), X, y


def moved(land, size=0.1):
    """A point near the start where nothing is special: ‖V‖ ≠ g and σ not exact."""
    start = land.theta.astype(np.float64)
    return (start + size * np.random.default_rng(1).normal(size=land.n)).astype(land.dtype)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="needs torch")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_double_backward(torch, name, dtype):
    for samples in (11, 130):
        land, X, y = landscape(name, dtype, samples)
        theta = moved(land)
        v = np.random.default_rng(2).normal(size=(land.n, 3)).astype(dtype)
        module = module_of(torch, land.net, theta)
        loss, gradient, product = gradient_and_product(torch, module, torch.nn.CrossEntropyLoss(), X, y, v[:, 0])
        found_loss, found = land.gradient(theta)
        tolerance = 1e-9 if dtype == "float64" else 5e-5
        assert found_loss == pytest.approx(loss, rel=tolerance)
        assert land.loss(theta) == pytest.approx(found_loss, rel=1e-12 if dtype == "float64" else 1e-6)
        assert relative_error(found, gradient) <= tolerance
        products = land.hessian(theta) @ v
        assert relative_error(products[:, 0], product) <= tolerance
        for j in range(3):
            assert np.array_equal(products[:, j], land.hessian(theta) @ v[:, j])


@pytest.mark.parametrize("dim", [0, 1, None])
def test_names_shapes_and_gradient_are_those_of_torchs_weight_norm(torch, dim):
    net = nn.Network(WEIGHT(nn.Linear(5, 3), dim), input_shape=(5,), dtype="float64")
    module = torch.nn.Linear(5, 3, dtype=torch.float64)
    torch.nn.utils.parametrizations.weight_norm(module, dim=dim)
    theta = np.random.default_rng(0).normal(size=net.n)
    assert [tuple(p.shape) for p in module.parameters()] == [shape for _, _, shape in net.blocks]
    torch.nn.utils.vector_to_parameters(torch.from_numpy(theta), module.parameters())
    X, y = np.random.default_rng(1).normal(size=(9, 5)), np.arange(9) % 3
    torch.nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(y)).backward()
    expected = np.concatenate([p.grad.numpy().ravel() for p in module.parameters()])
    found = us.NetworkLandscape(net, nn.CrossEntropy(), X, y).gradient(theta)[1]
    assert relative_error(found, expected) <= 1e-12


@pytest.mark.parametrize("name", ["mixed", "batch_norm", "convolution", "wide"])
def test_finite_differences_with_penalties_in_both_modes(name):
    for mode in ("eval", "train"):
        land, *_ = landscape(name, mode=mode, l2=0.03, spectral_penalty=0.2)
        theta = moved(land)
        v = np.random.default_rng(3).normal(size=land.n)
        v /= np.linalg.norm(v)
        step = 1e-5
        up, down = land.gradient(theta + step * v), land.gradient(theta - step * v)
        assert land.gradient(theta)[1] @ v == pytest.approx((up[0] - down[0]) / (2 * step), rel=1e-6)
        assert relative_error(land.hessian(theta) @ v, (up[1] - down[1]) / (2 * step)) <= 1e-6


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", ["mixed", "convolution", "wide"])
def test_bits_do_not_depend_on_threads(name, dtype):
    found = []
    try:
        for threads in (1, 2, 5):
            us.threads(threads)
            land, X, _ = landscape(name, dtype, 300, spectral_penalty=0.1)
            theta = moved(land)
            v = np.random.default_rng(2).normal(size=(land.n, 2)).astype(dtype)
            run = us.Trainer(land, us.optim.Adam(lr=1e-3), 100, seed=1)
            values = [land.gradient(theta)[1], land.hessian(theta) @ v, land.net.predict(X, theta)]
            run.fit(steps=4)
            found.append([*values, land.theta.copy(), land.buffers.copy()])
    finally:
        us.threads(2)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            assert np.array_equal(a, b)


def test_a_recomputed_primal_pass_gives_the_same_products():
    land, X, y = landscape("mixed", samples=300)
    theta, v = moved(land), np.random.default_rng(2).normal(size=land.n)
    kept = land.hessian(theta)
    small = us.NetworkLandscape(land.net, nn.CrossEntropy(), X, y, mode="train", memory_budget=kept.plan["bytes"] - 1)
    again = small.hessian(theta)
    assert (kept.plan["primal_pass"], again.plan["primal_pass"]) == ("kept", "recomputed")
    assert np.array_equal(kept @ v, again @ v)


@pytest.mark.parametrize("name", ["mixed", "residual", "convolution"])
def test_gauss_newton_and_fisher_go_through_the_parametrization(name):
    _, X, _ = landscape(name, samples=12)
    net = landscape(name)[0].net
    y = np.random.default_rng(5).normal(size=(12, 3))
    land = us.NetworkLandscape(net, nn.MSE(), X, y, l2=0.01)
    theta, step = moved(land), 1e-6
    away = step * np.eye(land.n)
    J = np.array([(net.predict(X, theta + d) - net.predict(X, theta - d)).ravel() / (2 * step) for d in away]).T
    v = np.random.default_rng(2).normal(size=land.n)
    expected = 2.0 / y.size * (J.T @ (J @ v)) + 0.01 * v
    assert relative_error(land.gauss_newton(theta) @ v, expected) <= 1e-7
    bare = us.NetworkLandscape(net, nn.MSE(), X, y)
    gradients = np.array([bare.gradient(theta, [i])[1] for i in range(12)])
    assert relative_error(bare.fisher(theta) @ v, gradients.T @ (gradients @ v) / 12) <= 1e-12


def test_the_hessian_is_symmetric_and_keeps_its_point():
    land, *_ = landscape("residual", samples=20)
    theta = moved(land)
    operator = land.hessian(theta)
    dense = operator @ np.eye(land.n)
    assert relative_error(dense, dense.T) <= 1e-12
    land.net.buffers[:] = 0.0
    theta[:] = 0.0
    assert np.array_equal(operator @ np.eye(land.n), dense)


@pytest.mark.parametrize("name", ["weight", "spectral", "residual", "batch_norm", "convolution"])
def test_twenty_steps_are_those_of_torch(torch, name):
    land, X, y = landscape(name, samples=30)
    module = module_of(torch, land.net)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.2, momentum=0.9)
    run = us.Trainer(land, us.optim.SGD(lr=0.2, momentum=0.9), batch_size=30)
    losses = []
    for step in range(20):
        if step:  # of the first step u and v are the network's
            module.train()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(y))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    run.fit(steps=20)
    np.testing.assert_allclose(run.history["loss"], losses, rtol=1e-9)
    values = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    assert relative_error(land.theta, values) <= 1e-9
    module.train()
    with torch.no_grad():
        module(torch.from_numpy(X))  # PyTorch makes its power iteration before a pass, not after a step
    vectors = [x.numpy() for part in spectral_modules(module) for x in (part.weight_u, part.weight_v)]
    own = [land.buffers[w] for n, w, _ in land.net.buffer_blocks if n.endswith(("weight_u", "weight_v"))]
    assert len(vectors) == len(own)
    for a, b in zip(own, vectors, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("name", ["weight", "spectral"])
def test_names_and_start(name):
    layers, shape = NETWORKS[name]
    net = nn.Network(*layers, input_shape=shape, seed=5, dtype="float64")
    plain = nn.Network(layers[0].layer, layers[1], layers[2].layer, input_shape=shape, seed=5, dtype="float64")
    own = [n for n, _, _ in net.blocks[: len(net.blocks) // 2]]
    X = np.random.default_rng(0).normal(size=(6, *shape))
    if name == "weight":
        assert own == ["0.bias", "0.weight_g", "0.weight_v"]
        assert relative_error(net.predict(X), plain.predict(X)) <= 1e-14
        assert np.allclose(net.block("0.weight_g")[:, 0], np.linalg.norm(net.block("0.weight_v"), axis=1))
    else:
        assert own == ["0.bias", "0.weight_orig"]
        assert [b[0] for b in net.buffer_blocks[:2]] == ["0.weight_u", "0.weight_v"]
        sigma = [np.linalg.svd(plain.block(f"{i}.weight"))[1][0] for i in (0, 2)]
        h = np.tanh(X @ plain.block("0.weight").T / sigma[0] + plain.block("0.bias"))
        assert relative_error(net.predict(X), h @ plain.block("2.weight").T / sigma[1] + plain.block("2.bias")) <= 1e-3
    assert np.array_equal(net.block("0.bias"), plain.block("0.bias"))
    assert relative_error(net.activations(X)[-1][1], net.predict(X)) <= 1e-14


def test_buffers_move_in_training_only_and_are_saved(tmp_path):
    land, X, y = landscape("spectral", samples=30)
    before = land.buffers.copy()
    theta = moved(land)
    land.gradient(theta), land.loss(theta), land.hessian(theta) @ theta, land.net.activations(X, theta, "train")
    assert np.array_equal(land.buffers, before)
    run = us.Trainer(land, us.optim.SGD(lr=0.5), 10, seed=1)
    fork = run.fork()
    fork.fit(steps=3)
    assert np.array_equal(land.buffers, before)
    state = run.state()
    run.fit(steps=3)
    assert not np.array_equal(land.buffers, before)
    assert np.array_equal(fork.theta, run.theta)
    land.net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    assert again.layers == land.net.layers
    assert np.array_equal(again.buffers, land.buffers)
    assert np.array_equal(again.predict(X), land.net.predict(X))
    run.restore(state)
    assert np.array_equal(land.buffers, before)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_saved_network_comes_back(name, tmp_path):
    layers, shape = NETWORKS[name]
    net = nn.Network(*layers, input_shape=shape, seed=1)
    assert np.array_equal(net.theta, nn.Network(*layers, input_shape=shape, seed=1).theta)
    net.buffers[:] += 0.01
    net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    X = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
    assert again.layers == net.layers
    assert np.array_equal(again.predict(X), net.predict(X))


def test_power_iteration_finds_the_largest_singular_value():
    land, *_ = landscape("spectral", samples=60)
    us.Trainer(land, us.optim.SGD(lr=0.1), 20, seed=1).fit(steps=100)
    net, found = land.net, []
    for iterations in (0, 300):
        for _ in range(iterations):
            net._core.update_buffers(net.theta, net.buffers)
        for i in (0, 2):
            V = net.block(f"{i}.weight_orig")
            u, w = (net.buffers[where] for n, where, _ in net.buffer_blocks if n.startswith(f"{i}.weight_"))
            found.append(u @ V @ w / np.linalg.svd(V)[1][0])
    assert all(0.5 < x <= 1 + 1e-12 for x in found[:2])  # an estimate from below while V moves
    np.testing.assert_allclose(found[2:], 1.0, rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_initialisation_from_data(dtype):
    layers = [
        WEIGHT(nn.Linear(6, 32)),
        nn.ReLU(),
        nn.BatchNorm(32),
        nn.Residual(WEIGHT(nn.Linear(32, 32)), nn.Tanh()),
        nn.Unflatten((2, 4, 4)),
        WEIGHT(nn.Conv2d(2, 3, 3)),
    ]
    net = nn.Network(*layers, input_shape=(6,), seed=0, dtype=dtype)
    directions = [net.block(f"{i}.weight_v").copy() for i in ("0", "3.0", "5")]
    X = (5.0 + 3.0 * np.random.default_rng(0).normal(size=(200, 6))).astype(dtype)
    nn.initialise_from_data(net, X)
    for title, h in net.activations(X, mode="train"):
        if title.endswith("WeightNorm"):
            axes = (0, *range(2, h.ndim))
            assert np.allclose(h.mean(axis=axes), 0.0, atol=1e-12 if dtype == "float64" else 1e-5)
            assert np.allclose(h.std(axis=axes), 1.0, rtol=1e-12 if dtype == "float64" else 1e-5)
    for i, before in zip(("0", "3.0", "5"), directions, strict=True):
        assert np.array_equal(net.block(f"{i}.weight_v"), before)


@pytest.mark.parametrize(
    ("layers", "X", "message"),
    [
        ([nn.Linear(3, 2)], np.eye(3), "no WeightNorm"),
        ([WEIGHT(nn.Linear(3, 2, bias=False))], np.eye(3), "layer 0.*bias"),
        ([nn.Linear(3, 3), WEIGHT(nn.Linear(3, 2), dim=None)], np.eye(3), "layer 1.*dim=0"),
        ([WEIGHT(nn.Linear(3, 2))], np.ones((5, 3)), "layer 0: output 0 is constant"),
        ([WEIGHT(nn.Linear(3, 2))], 1e8 + 1e-12 * np.eye(3), "layer 0: output 0 is constant"),
        ([WEIGHT(nn.Linear(3, 2)), nn.ReLU(), WEIGHT(nn.Linear(2, 2))], np.full((4, 3), np.nan), "output 0 is not fin"),
        ([WEIGHT(nn.Linear(3, 2))], np.eye(4), "`X` must have shape"),
    ],
)
def test_initialisation_names_what_is_wrong(layers, X, message):
    net = nn.Network(*layers, input_shape=(3,), dtype="float64")
    before = net.theta.copy()
    with pytest.raises(us.errors.ArgumentError, match=message):
        nn.initialise_from_data(net, X)
    assert np.array_equal(net.theta, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WEIGHT(3), "`layer` of WeightNorm must be a layer"),
        (lambda: WEIGHT(SPECTRAL(nn.Linear(2, 2))), "WeightNorm of SpectralNorm"),
        (lambda: WEIGHT(nn.Linear(2, 2), dim=-1), "`dim`"),
        (lambda: WEIGHT(nn.Linear(2, 2), dim=True), "`dim`"),
        (lambda: SPECTRAL(nn.Linear(2, 2), iterations=0), "`iterations`"),
        (lambda: SPECTRAL(nn.Linear(2, 2), eps=-1.0), "`eps`"),
        (lambda: nn.Network(WEIGHT(nn.Linear(2, 2), dim=2), input_shape=(2,)), "layer 0: WeightNorm: `dim`"),
        (lambda: nn.Network(nn.Linear(2, 2), WEIGHT(nn.Tanh()), input_shape=(2,)), "layer 1: WeightNorm needs a layer"),
        (
            lambda: nn.Network(SPECTRAL(nn.BatchNorm(2)), input_shape=(2,)),
            "layer 0: SpectralNorm needs a layer with a weight",
        ),
        (
            lambda: nn.Network(WEIGHT(nn.LayerNorm((2, 3))), nn.Linear(6, 2), input_shape=(2, 3)),
            "layer 0: .*LayerNorm has none",
        ),
        (lambda: nn.Network(WEIGHT(nn.Flatten()), nn.Linear(2, 2), input_shape=(2,)), "takes one layer"),
        (
            lambda: nn.Network(WEIGHT(nn.Residual(nn.Linear(2, 2), nn.Tanh())), input_shape=(2,)),
            "WeightNorm takes one layer with a weight, got Residual",
        ),
        (lambda: WEIGHT(nn.Sequential(nn.Linear(2, 2))), "WeightNorm takes one layer with a weight, got Sequential"),
        (lambda: SPECTRAL(nn.Sequential(WEIGHT(nn.Linear(2, 2)))), "SpectralNorm takes one layer with a weight"),
        (lambda: nn.initialise_from_data(None, np.ones((2, 2))), "`net` must be an unstuck.nn.Network, got NoneType"),
        (
            lambda: nn.initialise_from_data(nn.Network(WEIGHT(nn.Linear(2, 2)), input_shape=(2,)), np.ones((0, 2))),
            "`X` has no rows",
        ),
        (lambda: nn.Network(WEIGHT(nn.Linear(2, 2)), input_shape=(2,), init="zeros"), "layer 0: .*direction"),
        (lambda: nn.Network(SPECTRAL(nn.Linear(2, 2)), input_shape=(2,), init="zeros"), "layer 0: .*starts at 0"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match=message):
        make()


@pytest.mark.parametrize(("name", "block"), [("weight", "0.weight_v"), ("spectral", "0.weight_orig")])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_weight_without_direction_is_nan_and_stops_training(name, block, value):
    land, *_ = landscape(name)
    land.net.block(block)[:] = value
    buffers = land.buffers.copy()
    theta = land.theta.copy()
    loss, gradient = land.gradient(theta)
    assert np.isnan(loss) and np.isnan(gradient).any()
    run = us.Trainer(land, us.optim.SGD(lr=0.1), 10) if np.isfinite(theta).all() else None
    if run is not None:
        with pytest.raises(us.errors.NonFiniteError):
            run.fit(steps=2)
    assert np.array_equal(land.buffers, buffers)


def test_instruments_work():
    land, *_ = landscape("mixed", samples=60, mode="eval", l2=1e-3)
    assert us.classify(land, land.theta.copy()).verdict
