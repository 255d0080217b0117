"""Convolution: gradients and Hessian products against PyTorch's double backward, bits, initial weights, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from torch_modules import gradient_and_product, module_of

nn = us.nn
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")


def network(layers, shape, first, dtype="float64", seed=3):
    """`layers` as the first of a network, or behind others with parameters; 3 outputs."""
    before = [] if first else [nn.Linear(math.prod(shape), math.prod(shape)), nn.Unflatten(shape), nn.Tanh()]
    width = math.prod(nn.Network(*before, *layers, input_shape=shape).output_shape)
    return nn.Network(*before, *layers, nn.Tanh(), nn.Linear(width, 3), input_shape=shape, dtype=dtype, seed=seed)


def landscape(net, samples, mode="train"):
    rng = np.random.default_rng(7)
    X = rng.normal(size=(samples, *net.input_shape)).astype(net.dtype)
    y = rng.integers(0, 3, samples)
    return us.NetworkLandscape(net, nn.CrossEntropy(), X, y, mode=mode), X, y


def check(torch, net, samples):
    land, X, y = landscape(net, samples)
    v = np.random.default_rng(2).normal(size=land.n).astype(net.dtype)
    loss = torch.nn.CrossEntropyLoss()
    value, gradient, product = gradient_and_product(torch, module_of(torch, net), loss, X, y, v)
    tolerance = 1e-9 if net.dtype == "float64" else 5e-5
    found_value, found = land.gradient(land.theta)
    assert found_value == pytest.approx(value, rel=tolerance)
    assert relative_error(found, gradient) <= tolerance
    assert relative_error(land.hessian(land.theta) @ v, product) <= tolerance


# (layer, shape of a sample)
LAYERS = [
    (nn.Conv2d(1, 8, 3), (1, 8, 8)),
    (nn.Conv2d(3, 7, 3, padding=1), (3, 7, 5)),
    (nn.Conv2d(3, 7, 3, padding="same", dilation=2), (3, 7, 5)),
    (nn.Conv2d(2, 5, (2, 4), padding="same", bias=False), (2, 6, 7)),
    (nn.Conv2d(2, 5, (3, 2), padding="valid"), (2, 6, 7)),
    (nn.Conv2d(4, 20, 1), (4, 5, 9)),  # one tap
    (nn.Conv2d(4, 20, 1, stride=2), (4, 5, 9)),  # phases without a tap
    (nn.Conv2d(2, 3, 1, padding=2), (2, 3, 3)),  # more zeros than plane
    (nn.Conv2d(2, 3, (6, 5)), (2, 6, 5)),  # as large as the plane
    (nn.Conv2d(2, 13, 3, stride=2, padding=1), (2, 9, 10)),
    (nn.Conv2d(2, 3, (3, 5), stride=(3, 2), padding=(2, 1)), (2, 11, 8)),
    (nn.Conv2d(2, 3, 2, stride=5), (2, 13, 9)),  # inputs that no window sees
    (nn.Conv2d(2, 3, 3, stride=(2, 3), padding=3, dilation=(3, 2)), (2, 8, 9)),
    (nn.Conv2d(6, 4, 3, padding=1, groups=2), (6, 6, 6)),
    (nn.Conv2d(5, 5, 3, padding=1, groups=5), (5, 6, 19)),  # depthwise
    (nn.Conv2d(3, 12, 3, stride=2, groups=3), (3, 7, 7)),
    (nn.Conv2d(40, 33, 3, padding=1), (40, 4, 4)),  # two pieces of weights
    (nn.Conv2d(1, 2, (19, 20)), (1, 19, 21)),  # more taps than a piece
    (nn.Conv1d(3, 9, 4, stride=2, padding=1), (3, 17)),
    (nn.Conv1d(4, 6, 3, padding="same", dilation=3, groups=2), (4, 17)),
    (nn.Conv1d(2, 3, 9), (2, 9)),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=repr)
def test_against_double_backward(torch, layer, shape, dtype):
    for first, samples in ((True, 1), (True, 70), (False, 11)):
        check(torch, network([layer], shape, first, dtype), samples)


def random_layer(rng):
    groups = int(rng.choice([1, 1, 2, 3]))
    channels = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 12))

    def two(low, high):
        return tuple(int(x) for x in rng.integers(low, high, 2))

    options = {"stride": two(1, 4), "padding": two(0, 4), "dilation": two(1, 4)}
    return nn.Conv2d(*channels, two(1, 5), groups=groups, bias=bool(rng.integers(2)), **options)


def test_random_layers(torch):
    rng = np.random.default_rng(0)
    done = 0
    for trial in range(60):
        layer = random_layer(rng)
        shape = layer.in_channels, *(int(x) for x in rng.integers(1, 13, 2))
        try:
            net = network([layer], shape, bool(trial % 2), ("float64", "float32")[trial // 2 % 2], seed=trial)
        except us.errors.ArgumentError as error:
            assert "does not fit" in str(error)
            continue
        check(torch, net, int(rng.choice([1, 5, 40])))
        done += 1
    assert done >= 40


def test_planes_longer_than_a_band(torch):
    check(torch, network([nn.Conv1d(2, 3, 5, stride=2, padding=2), nn.MaxPool1d(4)], (2, 4100), True), 2)
    check(torch, network([nn.Conv2d(2, 4, 3, padding=1), nn.AvgPool2d(8)], (2, 40, 37), True), 3)
    check(
        torch,
        network([nn.Conv1d(1, 2, 3, padding=1), nn.Conv1d(2, 2, 7, dilation=3), nn.AvgPool1d(50)], (1, 1300), True),
        2,
    )


def test_small_network_of_planes(torch):
    layers = [
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.BatchNorm(6),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm(6), nn.Tanh(), nn.Conv2d(6, 6, 3, padding="same")),
        nn.Residual(nn.Conv2d(6, 8, 3, stride=2, padding=1), shortcut=nn.Conv2d(6, 8, 1, stride=2)),
        nn.GlobalAvgPool2d(),
    ]
    for dtype in ("float64", "float32"):
        check(torch, network(layers, (1, 8, 8), True, dtype), 40)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("wide", [False, True])
def test_same_bits_for_any_threads_and_block(dtype, wide):
    """`wide`: more parameters than a gradient per group pays for, so that all threads share each layer."""
    layers = [nn.Conv2d(3, 20, 3, padding=1), nn.ReLU(), nn.Conv2d(20, 12, 3, stride=2, groups=4), nn.Tanh()]
    if wide:
        layers += [nn.Conv2d(12, 160, 3, padding=1), nn.Tanh(), nn.Conv2d(160, 96, 3)]
    land, *_ = landscape(network(layers, (3, 12, 11), True, dtype), 35)
    assert (land.n > 131_072) == wide
    V = np.random.default_rng(4).normal(size=(land.n, 3)).astype(dtype)
    results = []
    try:
        for threads in (1, 2, 3, 8):
            us.threads(threads)
            H = land.hessian(land.theta)
            results.append((land.gradient(land.theta)[1], H @ V))
            assert np.array_equal(H @ V[:, 1], results[-1][1][:, 1])
    finally:
        us.threads(2)
    for gradient, products in results[1:]:
        assert np.array_equal(gradient, results[0][0])
        assert np.array_equal(products, results[0][1])


def test_a_coupled_batch_has_the_bits_of_any_threads():
    layers = [nn.Conv2d(3, 18, 3, padding=1), nn.BatchNorm(18), nn.ReLU(), nn.Conv2d(18, 7, 3, dilation=2)]
    land, *_ = landscape(network(layers, (3, 12, 11), True, "float32"), 35)
    v = np.random.default_rng(4).normal(size=land.n).astype("float32")
    results = []
    try:
        for threads in (1, 2, 3, 8):
            us.threads(threads)
            results.append(land.hessian(land.theta) @ v)
    finally:
        us.threads(2)
    assert all(np.array_equal(result, results[0]) for result in results)


def test_predictions_are_those_of_torch(torch):
    for layer, shape in LAYERS:
        net = nn.Network(layer, input_shape=shape, dtype="float64")
        X = np.random.default_rng(1).normal(size=(9, *shape))
        with torch.no_grad():
            expected = module_of(torch, net)(torch.from_numpy(X)).numpy()
        assert net.predict(X).shape == expected.shape
        assert relative_error(net.predict(X), expected) <= 1e-13


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.Conv2d(6, 40, (3, 5), groups=2), (6, 9, 9)), (nn.Conv1d(8, 64, 7), (8, 9))]
)
def test_initial_weights_follow_torch(torch, layer, shape):
    fans = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(nn.Network(layer, input_shape=shape).blocks[0][2]))
    variances = {"torch": 1 / (3 * fans[0]), "he_normal": 2 / fans[0], "xavier_uniform": 2 / sum(fans)}
    for name, variance in variances.items():
        draws = [nn.Network(layer, input_shape=shape, init=name, seed=s, dtype="float64").theta for s in range(8)]
        weights = np.array(draws)[:, : -layer.out_channels]
        assert np.mean(weights**2) == pytest.approx(variance, rel=5 / math.sqrt(weights.size))
        if name == "torch":
            bound = 1 / math.sqrt(fans[0])
            assert 0.99 * bound < np.abs(weights).max() <= bound
            assert 0.9 * bound < np.abs(np.array(draws)[:, -layer.out_channels :]).max() <= bound
        else:
            assert not np.array(draws)[:, -layer.out_channels :].any()


def test_orthogonal_weights():
    net = nn.Network(nn.Conv2d(2, 5, 3, init=nn.init.orthogonal(2.0)), input_shape=(2, 4, 4), dtype="float64")
    weight = net.block("0.weight").reshape(5, -1)
    assert np.allclose(weight @ weight.T, 4 * np.eye(5), atol=1e-12)


def test_save_and_load(tmp_path):
    layers = [nn.Conv2d(1, 4, (3, 2), padding="same"), nn.MaxPool2d(2), nn.Flatten(), nn.Unflatten((4, 16))]
    layers += [nn.Conv1d(4, 2, 3, stride=2, init="he_normal"), nn.AvgPool1d(2), nn.MaxPool1d(2)]
    net = nn.Network(*layers, input_shape=(1, 8, 8), seed=4)
    net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    assert again.layers == net.layers
    X = np.random.default_rng(0).normal(size=(3, 1, 8, 8)).astype("float32")
    assert np.array_equal(again.predict(X), net.predict(X))


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.Conv2d(3, 4, 3), (2, 8, 8), r"layer 0: Conv2d expects 3 channels, but 2 arrive"),
        (
            nn.Conv2d(3, 4, 3),
            (3, 8),
            r"layer 0: Conv2d takes samples of shape \(channels, height, width\), but \(3, 8\)",
        ),
        (nn.Conv2d(3, 4, 5), (3, 8, 4), r"layer 0: .*5 positions does not fit"),
        (nn.Conv1d(3, 4, 3), (3, 8, 8), r"layer 0: .*\(channels, length\)"),
        (nn.Conv1d(3, 4, 3, dilation=4), (3, 8), r"layer 0: .*9 positions does not fit"),
    ],
)
def test_what_does_not_fit_is_named(layer, shape, message):
    with pytest.raises(us.errors.ArgumentError, match=message):
        nn.Network(layer, input_shape=shape)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(0, 4, 3), "in_channels"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "`in_channels` must be a multiple of `groups` 2"),
        (lambda: nn.Conv2d(4, 3, 3, groups=2), "`out_channels` must be a multiple of `groups` 2"),
        (lambda: nn.Conv2d(4, 3, (1, 2, 3)), "kernel_size"),
        (lambda: nn.Conv2d(4, 3, 3, stride=0), "stride"),
        (lambda: nn.Conv2d(4, 3, 3, padding=-1), "padding"),
        (lambda: nn.Conv2d(4, 3, 3, padding="full"), '"same" or "valid"'),
        (lambda: nn.Conv2d(4, 3, 3, padding="same", stride=2), "stride"),
        (lambda: nn.Conv1d(4, 3, 3, padding="same", stride=2), "stride"),
        (lambda: nn.Conv1d(4, 3, (3, 3)), "kernel_size"),
        (lambda: nn.Conv2d(4, 3, 3, dilation=1.5), "dilation"),
        (lambda: nn.Conv2d(4, 3, 3, init="best"), "init"),
        (lambda: nn.MaxPool1d((2, 2)), "kernel_size"),
        (lambda: nn.AvgPool1d(2, padding=2), "padding"),
    ],
)
def test_bad_options_are_named(make, message):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match=message):
        make()
