"""Networks of planes, pools and residual blocks: gradients and products against PyTorch's double backward."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from torch_modules import gradient_and_product, module_of

nn = us.nn

# (layers, shape of a sample): the last layer has 3 outputs
NETWORKS = {
    "flat": ([nn.Linear(32, 36), nn.Tanh(), nn.Linear(36, 3)], (2, 4, 4)),
    "max": ([nn.MaxPool2d(2), nn.Linear(8, 3), nn.Tanh(), nn.Linear(3, 3)], (2, 4, 4)),
    "identity_shortcut": ([nn.Linear(5, 6), nn.Residual(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 3)], (5,)),
    "two_layers": (
        [
            nn.Residual(nn.Linear(5, 7), nn.SiLU(), nn.Linear(7, 5)),
            nn.Residual(nn.Tanh(), nn.Linear(5, 5), shortcut=nn.Sigmoid()),
            nn.Linear(5, 3),
        ],
        (5,),
    ),
    "projected": (
        [nn.Residual(nn.Linear(5, 8), nn.Tanh(), shortcut=nn.Linear(5, 8, bias=False)), nn.SiLU(), nn.Linear(8, 3)],
        (5,),
    ),
    "nested": (
        [
            nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 6))),
            nn.Residual(nn.Residual(nn.Linear(6, 6), nn.Tanh()), nn.Linear(6, 6), nn.GELU()),
            nn.Residual(nn.Tanh(), shortcut=nn.Sequential(nn.Linear(6, 6), nn.Residual(nn.SiLU()))),
            nn.Linear(6, 3),
        ],
        (4,),
    ),
    "no_parameters_first": (
        [nn.Residual(nn.Tanh()), nn.Residual(nn.Sigmoid(), shortcut=nn.SiLU()), nn.Linear(4, 3)],
        (4,),
    ),
    "sum_of_live_and_not": ([nn.Residual(nn.Linear(4, 4), nn.Tanh()), nn.Tanh(), nn.Linear(4, 3)], (4,)),
    "output_is_a_sum": ([nn.Linear(4, 3), nn.Residual(nn.Linear(3, 3), nn.Tanh())], (4,)),
    "batch_norm": (
        [nn.Linear(4, 6), nn.Residual(nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 6), nn.BatchNorm(6)), nn.Linear(6, 3)],
        (4,),
    ),
    "planes": (
        [nn.Linear(9, 50), nn.Unflatten((2, 5, 5)), nn.BatchNorm(2), nn.SiLU(), nn.Flatten(), nn.Linear(50, 3)],
        (9,),
    ),
}


def landscape(layers, shape, dtype="float64", samples=11, mode="train"):
    net = nn.Network(*layers, input_shape=shape, seed=3, dtype=dtype)
    rng = np.random.default_rng(7)
    X = rng.normal(size=(samples, *shape)).astype(dtype)
    y = rng.integers(0, 3, samples)
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, y, mode=mode), X, y


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_double_backward(torch, name, dtype):
    layers, shape = NETWORKS[name]
    for samples in (11, 70):
        land, X, y = landscape(layers, shape, dtype, samples)
        theta = (land.theta + 0.1 * np.random.default_rng(1).normal(size=land.n)).astype(dtype)
        v = np.random.default_rng(2).normal(size=(land.n, 2)).astype(dtype)
        module = module_of(torch, land.net, theta)
        loss, gradient, product = gradient_and_product(torch, module, torch.nn.CrossEntropyLoss(), X, y, v[:, 0])
        found_loss, found = land.gradient(theta)
        tolerance = 1e-9 if dtype == "float64" else 5e-5
        assert found_loss == pytest.approx(loss, rel=tolerance)
        assert relative_error(found, gradient) <= tolerance
        products = land.hessian(theta) @ v
        assert relative_error(products[:, 0], product) <= tolerance
        assert np.array_equal(products[:, 1], land.hessian(theta) @ v[:, 1])


POOLS = [
    nn.MaxPool2d(2),
    nn.MaxPool2d(3, stride=2, padding=1),
    nn.MaxPool2d((2, 3), stride=(1, 2), padding=(1, 0)),
    nn.MaxPool2d(2, stride=1, dilation=2),
    nn.AvgPool2d(2),
    nn.AvgPool2d(3, stride=2, padding=1),
    nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
    nn.AvgPool2d((1, 4), stride=(2, 1)),
    nn.GlobalAvgPool2d(),
]


def pooled(pool):
    """A network with parameters on both sides of the pool."""
    planes = [nn.Linear(6, 84), nn.Unflatten((2, 7, 6)), nn.Tanh(), pool]
    width = int(np.prod(nn.Network(*planes, input_shape=(6,)).output_shape))
    return [*planes, nn.Flatten(), nn.Linear(width, 3)], (6,)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("pool", POOLS, ids=repr)
def test_pools(torch, pool, dtype):
    land, X, y = landscape(*pooled(pool), dtype)
    v = np.random.default_rng(2).normal(size=(land.n,)).astype(dtype)
    module = module_of(torch, land.net)
    _, gradient, product = gradient_and_product(torch, module, torch.nn.CrossEntropyLoss(), X, y, v)
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    assert relative_error(land.gradient(land.theta)[1], gradient) <= tolerance
    assert relative_error(land.hessian(land.theta) @ v, product) <= tolerance


@pytest.mark.parametrize("pool", [x for x in POOLS if x.kind == "MaxPool2d"], ids=repr)
def test_ties_go_to_the_first_as_in_torch(torch, pool):
    rng = np.random.default_rng(4)
    X = rng.integers(0, 3, size=(9, 2, 7, 6)).astype(float)
    land, _, y = landscape([nn.GroupNorm(1, 2), pool, nn.Linear(int(np.prod(_width(pool))), 3)], (2, 7, 6))
    theta = land.theta.copy()
    theta[land.blocks[0][1]] = 0.0  # γ = 0: every value of a channel is its β
    land = us.NetworkLandscape(land.net, nn.CrossEntropy(), X, y[:9])
    module = module_of(torch, land.net, theta)
    v = rng.normal(size=land.n)
    _, gradient, product = gradient_and_product(torch, module, torch.nn.CrossEntropyLoss(), X, y[:9], v)
    assert relative_error(land.gradient(theta)[1], gradient) <= 1e-12
    assert relative_error(land.hessian(theta) @ v, product) <= 1e-12


def _width(pool):
    return nn.Network(nn.Linear(1, 84), nn.Unflatten((2, 7, 6)), pool, input_shape=(1,)).output_shape


def test_max_pool_passes_nan_on(torch):
    X = np.zeros((1, 1, 4, 4))
    X[0, 0, 1, 2] = np.nan
    net = nn.Network(nn.MaxPool2d(2), nn.Linear(4, 1), input_shape=(1, 4, 4), dtype="float64")
    assert np.isnan(net.activations(X)[0][1]).tolist() == [[[[False, True], [False, False]]]]


def dropped(p=0.4, dtype="float64", seed=0):
    layers = [
        nn.Linear(5, 40),
        nn.Tanh(),
        nn.Dropout(p, seed),
        nn.Linear(40, 30),
        nn.Dropout(p, seed),
        nn.Linear(30, 3),
    ]
    return landscape(layers, (5,), dtype, samples=200)


def test_dropout_drops_its_share_and_keeps_the_mean():
    land, X, _ = dropped()
    before, after = (dict(land.net.activations(X, mode="train"))[name] for name in ("1.Tanh", "2.Dropout"))
    kept = after != 0.0
    assert abs(kept.mean() - 0.6) < 0.02  # 4 standard deviations of 8,000 draws
    assert np.allclose(after[kept], before[kept] / 0.6, rtol=1e-14)
    rows, columns = kept.mean(axis=1), kept.mean(axis=0)
    assert 0.055 < rows.std() < 0.105 and 0.02 < columns.std() < 0.055  # independent: 0.077 and 0.035
    assert np.array_equal(land.net.activations(X)[2][1], land.net.activations(X)[1][1])  # eval: all pass


def test_dropout_is_one_frozen_function_until_a_step_is_made():
    land, X, y = dropped()
    theta = land.theta.copy()
    loss, gradient = land.gradient(theta)
    assert land.loss(theta) == loss == land.loss(theta)
    v = np.random.default_rng(3).normal(size=land.n)
    step = 1e-5
    difference = (land.gradient(theta + step * v)[1] - land.gradient(theta - step * v)[1]) / (2 * step)
    assert relative_error(land.hessian(theta) @ v, difference) <= 1e-7
    assert land.loss(theta) != us.NetworkLandscape(land.net, nn.CrossEntropy(), X, y).loss(theta)
    run = us.Trainer(land, us.optim.SGD(lr=1e-12), batch_size=50, seed=0)
    run.fit(steps=1)
    assert land.loss(theta) != loss  # the next masks


def test_masks_do_not_depend_on_threads_and_differ_by_layer_and_sample():
    land, X, _ = dropped(dtype="float32")
    theta = land.theta.copy()
    reference = land.gradient(theta)[1]
    try:
        for threads in (1, 3, 8):
            us.threads(threads)
            assert np.array_equal(land.gradient(theta)[1], reference)
    finally:
        us.threads(2)
    outputs = dict(land.net.activations(X, mode="train"))
    first, second = outputs["2.Dropout"] != 0, outputs["4.Dropout"] != 0
    assert not np.array_equal(first[:, :30], second)
    assert not np.array_equal(first[0], first[1])


def test_a_run_with_dropout_repeats():
    thetas = []
    for _ in range(2):
        land, *_ = dropped()
        us.Trainer(land, us.optim.Adam(lr=1e-3), batch_size=32, seed=5).fit(epochs=2)
        thetas.append(land.theta.copy())
    assert np.array_equal(*thetas)


def test_a_saved_network_comes_back_with_its_nesting(tmp_path):
    for name, (layers, shape) in NETWORKS.items():
        net = nn.Network(*layers, input_shape=shape, seed=1)
        net.save(tmp_path / "net.safetensors")
        again = nn.Network.load(tmp_path / "net.safetensors")
        assert again.layers == net.layers, name
        X = np.random.default_rng(0).normal(size=(4, *shape)).astype("float32")
        assert np.array_equal(again.predict(X), net.predict(X))


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([nn.Residual(nn.Linear(4, 5))], (4,), r"layer 0: .*\(5,\).*\(4,\).*shortcut"),
        ([nn.Residual(nn.Linear(4, 4), nn.Linear(5, 4))], (4,), r"layer 0\.1: Linear expects 5"),
        ([nn.Residual(nn.Linear(4, 4), shortcut=nn.Linear(3, 4))], (4,), r"layer 0\.shortcut: Linear expects 3"),
        ([nn.Linear(4, 4), nn.MaxPool2d(2)], (4,), r"layer 1: .*channels, height, width"),
        ([nn.AvgPool2d(5), nn.Linear(1, 1)], (1, 4, 4), r"layer 0: .*5 positions.*does not fit"),
        ([nn.Linear(4, 6), nn.Unflatten((2, 2))], (4,), r"layer 1: Unflatten"),
        ([nn.Flatten()], (2, 2), "at least one layer"),
    ],
)
def test_what_does_not_fit_is_named(layers, shape, message):
    with pytest.raises(us.errors.ArgumentError, match=message):
        nn.Network(*layers, input_shape=shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.MaxPool2d(0), "kernel_size"),
        (lambda: nn.MaxPool2d(2, padding=2), "padding"),
        (lambda: nn.AvgPool2d((2, 2, 2)), "kernel_size"),
        (lambda: nn.AvgPool2d(2, stride=1.5), "stride"),
        (lambda: nn.Dropout(1.0), "`p`"),
        (lambda: nn.Dropout(float("nan")), "`p`"),
        (lambda: nn.Residual(), "at least one"),
        (lambda: nn.Residual(nn.Tanh), "layer 0 of Residual"),
        (lambda: nn.Residual(nn.Tanh(), shortcut="x"), "shortcut"),
        (lambda: nn.Sequential(), "at least one"),
        (lambda: nn.Unflatten(5), "shape"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match=message):
        make()
