"""Networks: blocks and order as torch.nn, predictions, seeds and initialisers, the live view, files."""

from __future__ import annotations

import copy
import json
import os

import numpy as np
import pytest

import unstuck as us
from network_cases import CASES, OPTIONS, Case, chain
from oracles import relative_error

SMALL = Case("small", chain((5, 7, 3), "tanh"))


def test_blocks_are_torchs_parameters(torch):
    for case in [*OPTIONS, CASES[0]]:
        net, module = case.network(us), case.module(torch)
        expected = [(name, tuple(p.shape)) for name, p in module.named_parameters()]
        assert [(name, shape) for name, _, shape in net.blocks] == expected, case
        np.testing.assert_array_equal(
            torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy(), case.theta()
        )
        at = 0
        for _, part, shape in net.blocks:
            assert isinstance(part, slice)
            assert (part.start, part.stop) == (at, at + int(np.prod(shape)))
            at = part.stop
        assert at == net.theta.size == case.reference().size()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_predict(dtype, torch):
    for case in CASES[::5] + OPTIONS:
        net, theta = case.network(us, dtype), case.theta(dtype)
        for samples in (1, 33, 700):
            X = case.data(dtype, samples)[0]
            outputs = net.predict(X, theta)
            assert outputs.shape == (samples, case.outputs)
            assert outputs.dtype == dtype
            tolerance = 1e-12 if dtype == "float64" else 2e-6
            assert relative_error(outputs, case.reference().predict(theta, X)) <= tolerance, case
            module = case.module(torch, dtype)
            assert relative_error(outputs, module(torch.from_numpy(X)).detach().numpy()) <= tolerance, case
        net.theta[:] = theta
        np.testing.assert_array_equal(net.predict(X), outputs)


def test_activations_end_in_the_prediction():
    net = SMALL.network(us)
    X = SMALL.data()[0]
    values = net.activations(X)
    assert len(values) == len(net.layers)
    expected = SMALL.reference().forward(net.theta, X)[1:]
    for (name, found), value in zip(values, expected, strict=True):
        assert isinstance(name, str)
        assert relative_error(found, value) <= 1e-13
    np.testing.assert_array_equal(values[-1][1], net.predict(X))


def test_theta_is_a_live_writable_view():
    net = SMALL.network(us)
    X = SMALL.data()[0]
    view = net.theta
    assert view.ndim == 1
    assert view.flags.writeable
    assert view.flags.c_contiguous
    view[:] = 0.0
    assert not np.any(net.predict(X))
    view += SMALL.theta()
    assert relative_error(net.predict(X), SMALL.reference().predict(SMALL.theta(), X)) < 1e-13
    assert np.shares_memory(view, net.theta)
    land = us.NetworkLandscape(net, SMALL.loss_function(us), *SMALL.data()[:2])
    assert np.shares_memory(land.theta, view)
    del net, land
    view[0] = 3.0  # the memory belongs to whoever still looks at it
    assert view[0] == 3.0
    with pytest.raises(AttributeError):
        SMALL.network(us).theta = np.zeros(3)


def test_seeds():
    first, again, other = (SMALL.network(us, seed=s).theta for s in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.mean(first == other) < 0.05
    single = SMALL.network(us, "float32", seed=3).theta
    np.testing.assert_allclose(single, first, rtol=1e-6, atol=1e-7)
    net = SMALL.network(us, seed=0)
    view = net.theta
    net.reinitialise(3)
    np.testing.assert_array_equal(view, first)
    for bad in (-1, 1.5, "0", None, True):
        with pytest.raises((TypeError, ValueError, OverflowError), match="`seed`"):
            SMALL.network(us, seed=bad)


def test_layers_are_shared_descriptions():
    middle = us.nn.Linear(6, 6)
    act = us.nn.Tanh()
    twice = us.nn.Network(middle, act, middle, act, input_shape=(6,), seed=0)
    assert len(twice.blocks) == 4
    weights = [twice.theta[part] for name, part, _ in twice.blocks if name.endswith("weight")]
    assert not np.any(weights[0] == weights[1])
    other = us.nn.Network(middle, input_shape=(6,), seed=0)
    other.theta[:] = 0.0
    assert np.all(weights[0] != 0.0)


def weight_and_bias(rows, columns, **options):
    """Initial (W, b) of one wide linear layer."""
    net = us.nn.Network(us.nn.Linear(columns, rows), input_shape=(columns,), seed=11, dtype="float64", **options)
    return net.theta[: rows * columns].reshape(rows, columns), net.theta[rows * columns :]


def test_default_is_pytorchs(torch):
    W, b = weight_and_bias(300, 400)
    bound = 1.0 / np.sqrt(400)
    for values in (W, b):
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() >= 0.97 * bound
        assert abs(values.mean()) <= 5 * bound / np.sqrt(3 * values.size)
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=4 / np.sqrt(values.size))
    other = torch.nn.Linear(400, 300).weight.detach().numpy().ravel()
    from scipy.stats import ks_2samp

    assert ks_2samp(W.ravel(), other).pvalue > 1e-4


# variance of a weight, and its largest multiple of the standard deviation (None: unbounded)
VARIANCES = {
    "he": lambda fan_in, fan_out: 2.0 / fan_in,
    "xavier": lambda fan_in, fan_out: 2.0 / (fan_in + fan_out),
    "lecun": lambda fan_in, fan_out: 1.0 / fan_in,
}


@pytest.mark.parametrize("family", VARIANCES)
@pytest.mark.parametrize("shape", ["normal", "uniform"])
def test_scaled_initialisers(family, shape):
    rows, columns = 300, 500
    W, b = weight_and_bias(rows, columns, init=f"{family}_{shape}")
    sigma = np.sqrt(VARIANCES[family](columns, rows))
    assert not np.any(b)
    assert W.std() == pytest.approx(sigma, rel=5 / np.sqrt(W.size))
    assert abs(W.mean()) <= 5 * sigma / np.sqrt(W.size)
    kurtosis = np.mean((W / W.std()) ** 4)
    assert kurtosis == pytest.approx(3.0 if shape == "normal" else 1.8, abs=0.1)
    if shape == "uniform":
        assert np.abs(W).max() <= np.sqrt(3.0) * sigma
    for values in (W.mean(axis=0), W.mean(axis=1)):  # no row or column stands out
        assert np.abs(values).max() <= 6 * sigma / np.sqrt(min(rows, columns))


@pytest.mark.parametrize(("rows", "columns"), [(40, 40), (60, 25), (25, 60), (1, 9), (9, 1)])
def test_orthogonal(rows, columns):
    W, b = weight_and_bias(rows, columns, init="orthogonal")
    product = W @ W.T if rows <= columns else W.T @ W
    np.testing.assert_allclose(product, np.eye(min(rows, columns)), atol=1e-13)
    assert not np.any(b)


def test_constant_and_zeros():
    W, b = weight_and_bias(4, 3, init="zeros")
    assert not np.any(W)
    assert not np.any(b)
    W, b = weight_and_bias(4, 3, init=us.nn.init.constant(0.3))
    assert np.all(W == 0.3)
    assert np.all(b == 0.3)


def test_gain():
    W, _ = weight_and_bias(40, 40, init=us.nn.init.orthogonal(gain=2.5))
    np.testing.assert_allclose(W @ W.T, 6.25 * np.eye(40), atol=1e-12)


def test_initialiser_per_layer_and_network_wide():
    net = us.nn.Network(
        us.nn.Linear(30, 40), us.nn.Tanh(), us.nn.Linear(40, 20, init="zeros"), us.nn.Linear(20, 20, bias=False),
        input_shape=(30,), seed=0, init="orthogonal",
    )  # fmt: skip
    blocks = {name: net.theta[part].reshape(shape) for name, part, shape in net.blocks}
    np.testing.assert_allclose(blocks["0.weight"].T @ blocks["0.weight"], np.eye(30), atol=1e-5)
    assert not np.any(blocks["2.weight"])
    np.testing.assert_allclose(blocks["3.weight"].T @ blocks["3.weight"], np.eye(20), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda nn: nn.Linear(0, 3), "in_features"),
        (lambda nn: nn.Linear(3, -1), "out_features"),
        (lambda nn: nn.Linear(3.0, 2), "in_features"),
        (lambda nn: nn.Linear(3, 2, init="glorot"), "init"),
        (lambda nn: nn.Linear(3, 2, init=3), "init"),
        (lambda nn: nn.LeakyReLU(negative_slope=np.nan), "negative_slope"),
        (lambda nn: nn.ELU(alpha=np.inf), "alpha"),
        (lambda nn: nn.Softplus(beta=0.0), "beta"),
        (lambda nn: nn.Softplus(threshold=np.nan), "threshold"),
        (lambda nn: nn.GELU(approximate="fast"), "approximate"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=(0,)), "input_shape"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=()), "input_shape"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=(3.7,)), "input_shape"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape="3"), "input_shape"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=(True, 3)), "input_shape"),
        (lambda nn: nn.Linear(3, 2, bias="no"), "bias"),
        (lambda nn: nn.Conv2d(3, 2, 1, bias="no"), "bias"),
        (lambda nn: nn.Conv2d(3, 2, 2**30, padding="same"), "kernel_size"),
        (lambda nn: nn.Conv1d(3, 2, 2**20 + 1, padding="same"), "kernel_size"),
        (lambda nn: nn.AvgPool2d(2, count_include_pad="no"), "count_include_pad"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=("3",), dtype="float16"), "dtype"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=(3,), dtype="complex64"), "dtype"),
        (lambda nn: nn.Network(nn.Linear(3, 2), input_shape=(3,), init="best"), "init"),
    ],
)
def test_refused_descriptions(make, name):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        make(us.nn)


def test_refused_networks():
    nn = us.nn
    with pytest.raises(ValueError, match="at least one layer"):
        nn.Network(input_shape=(3,))
    with pytest.raises(ValueError, match="parameters"):
        nn.Network(nn.Tanh(), input_shape=(3,))
    with pytest.raises(ValueError, match="layer 1: .*3.*4"):
        nn.Network(nn.Linear(3, 4), nn.Linear(3, 2), input_shape=(3,))
    largest = 2**31 - 1
    for depth in (1, 2, 3, 4, 5):  # Σ sizes passes 2^63 on the way
        with pytest.raises(ValueError, match="more than 2\\^48 parameters"):
            nn.Network(*[nn.Linear(largest, largest)] * depth, input_shape=(largest,))
    for bad in (nn.Linear, "Linear", None, 3):
        with pytest.raises(TypeError, match="layer 1"):
            nn.Network(nn.Linear(3, 3), bad, input_shape=(3,))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_save_and_load(dtype, tmp_path):
    for case in (CASES[0], *OPTIONS[:9]):
        net = case.network(us, dtype, seed=5)
        net.theta[:] = case.theta(dtype)
        path = tmp_path / "net.safetensors"
        net.save(path)
        back = us.nn.Network.load(path)
        assert back.theta.tobytes() == net.theta.tobytes()
        assert back.blocks == net.blocks
        assert back.layers == net.layers
        assert (back.dtype, back.seed, back.input_shape) == (net.dtype, net.seed, net.input_shape)
        X = case.data(dtype)[0]
        np.testing.assert_array_equal(back.predict(X), net.predict(X))
        back.reinitialise()
        net.reinitialise()
        np.testing.assert_array_equal(back.theta, net.theta)
        back.theta[0] += 1.0
        assert back.theta.flags.writeable


def test_extreme_values_survive_a_file(tmp_path):
    net = SMALL.network(us)
    net.theta[:6] = [np.inf, -np.inf, np.nan, -0.0, 5e-324, 1.7e308]
    net.save(tmp_path / "net")
    assert us.nn.Network.load(tmp_path / "net").theta.tobytes() == net.theta.tobytes()


def test_saving_replaces_whole_files_only(tmp_path):
    path = tmp_path / "net.safetensors"
    SMALL.network(us, seed=1).save(path)
    SMALL.network(us, seed=2).save(path)
    assert us.nn.Network.load(path).seed == 2
    assert os.listdir(tmp_path) == ["net.safetensors"]
    with pytest.raises(ValueError, match="`path`"):
        SMALL.network(us).save(tmp_path / "missing" / "net")
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_damaged_files(tmp_path):
    """Every truncation and a flip of every byte: the network, or one clear error; never a crash."""
    path = tmp_path / "net"
    net = Case("tiny", chain((2, 2), "tanh")).network(us, "float32")
    net.save(path)
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [bytes([*whole[:i], whole[i] ^ 0x15, *whole[i + 1 :]]) for i in range(len(whole) - net.theta.nbytes)]
    damaged += [whole + b"more", b"", b"\xff" * 200, b"{}", (2**63 - 1).to_bytes(8, "little") + whole[8:]]
    read = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            found = us.nn.Network.load(path)
            read += 1
            assert found.theta.size == found.n
        except us.errors.CheckpointError as error:
            assert len(str(error)) > 10
    assert read <= 40  # a flip inside the recorded seed or names of options can go unseen
    with pytest.raises(FileNotFoundError):
        us.nn.Network.load(tmp_path / "missing")
    with pytest.raises((us.errors.CheckpointError, OSError)):
        us.nn.Network.load(tmp_path)


def test_headers_that_lie(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "net"
    SMALL.network(us).save(path)
    whole = path.read_bytes()
    header = json.loads(whole[8 : 8 + int.from_bytes(whole[:8], "little")])["__metadata__"]["unstuck"]
    good = json.loads(header)

    def write(changes, theta=None):
        values = {**good, **changes}
        tensor = SMALL.network(us).theta if theta is None else theta
        content = safetensors.save({"theta": tensor}, metadata={"unstuck": json.dumps(values)})
        path.write_bytes(content)

    changes = [
        {"schema": 999}, {"format": "other"}, {"layers": []}, {"layers": None}, {"layers": [{"kind": "Evil"}]},
        {"input_shape": [-1]}, {"input_shape": [2**40]}, {"dtype": "object"}, {"dtype": "float32"},
        {"seed": -1}, {"init": {"name": "none"}}, {"init": 3}, {"layers": good["layers"][:1]},
    ]  # fmt: skip
    for change in changes:
        write(change)
        with pytest.raises(us.errors.CheckpointError):
            pytest.fail(f"{change} was loaded as {us.nn.Network.load(path)}")
    for theta in (np.zeros(3), np.zeros((2, 2)), np.zeros(0), SMALL.theta("float32")):
        write({}, theta)
        with pytest.raises(us.errors.CheckpointError):
            us.nn.Network.load(path)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_deep_copy_shares_nothing_that_training_changes(dtype):
    layers = us.nn.Linear(4, 6), us.nn.BatchNorm(6), us.nn.Tanh(), us.nn.SpectralNorm(us.nn.Linear(6, 3))
    net = us.nn.Network(*layers, input_shape=(4,), seed=3, dtype=dtype)
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(20, 4)).astype(dtype), rng.integers(0, 3, 20)
    theta, buffers, outputs = net.theta.copy(), net.buffers.copy(), net.predict(X)
    twin = copy.deepcopy(net)
    assert np.array_equal(twin.predict(X), outputs)
    us.Trainer(us.NetworkLandscape(twin, us.nn.CrossEntropy(), X, y), us.optim.SGD(lr=0.1), batch_size=5).fit(steps=6)
    assert not np.array_equal(twin.theta, theta) and not np.array_equal(twin.buffers, buffers)
    assert np.array_equal(net.theta, theta) and np.array_equal(net.buffers, buffers)
    assert np.array_equal(net.predict(X), outputs)
