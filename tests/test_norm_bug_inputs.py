"""Inputs that broke other libraries, and layouts: one table for the kernels of unstuck.norm and for the layers."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck import norm

nn = us.nn
EPS = 1e-5


def _draws():
    rng = np.random.default_rng(2)
    ramp = 1e-3 * np.arange(3 * 5_000.0).reshape(500, 3, 10)
    return {
        "constant 100 (caffe 3963)": np.full((8, 3, 20), 100.0),
        "constant 1e10 (pytorch 5410)": np.full((8, 3, 20), 1e10),
        "about 2000 (pytorch 51102)": rng.normal(size=(16, 4, 2)) + 2000,
        "0.01 about 100, 32768 long (pytorch 40302)": 0.01 * rng.normal(size=(32_768, 2, 2)) + 100,
        "0.01 about 100, 32768 positions": 0.01 * rng.normal(size=(2, 2, 32_768)) + 100,
        "40000 to 40003 (onnxruntime 28463)": np.tile([40000.0, 40001, 40002, 40003], (3, 6, 1)).transpose(2, 0, 1),
        "80000 but for one": np.where(np.arange(60).reshape(5, 3, 4) == 7, 80001.0, 80000.0),
        "all 1234 (onnxruntime 21935)": np.full((4, 2, 9), 1234.0),
        "5 or -5 with deviation 0.1 (tt-metal 45968)": rng.choice([-5.0, 5], (1, 4, 1))
        + 0.1 * rng.normal(size=(64, 4, 5)),
        "huge (pytorch 162489)": 1e30 * rng.normal(size=(9, 3, 40)),
        "tiny": 1e-30 * rng.normal(size=(9, 3, 40)),
        "slow ramp (burn 5607)": 1234 + ramp,
        "an outlier first": np.concatenate([np.full((1, 2, 3), 1e6), rng.normal(size=(999, 2, 3))]),
        "one sample": rng.normal(3, 1, size=(1, 4, 30)),
        "one position": rng.normal(3, 1, size=(30, 4, 1)),
    }


DRAWS = _draws()


def _kernel(kind, *arguments):
    """(y, ∂Σ y·d_y/∂x) of a pair of functions of unstuck.norm."""
    forward, backward = (getattr(norm, f"{kind}_norm_{way}") for way in ("forward", "backward"))

    def use(x, d_y):
        options = {"axes": np.ndim(x) - 1} if kind in ("layer", "rms") else {}
        y, cache = forward(x, *arguments, **options)
        return y, backward(d_y, cache).x

    return use


def _layer(layer):
    """y of a layer in training; no network shows the derivative by its input."""

    def use(x, d_y):
        net = nn.Network(layer(x), input_shape=x.shape[1:], dtype=x.dtype)
        return net.activations(x, mode="train")[0][1], None

    return use


# form: (use, axes of its statistics for an array (N, C, S), whether the mean is taken away)
FORMS = {
    "norm.batch": (_kernel("batch"), (0, 2), True),
    "norm.layer": (_kernel("layer"), (1, 2), True),
    "norm.rms": (_kernel("rms"), (1, 2), False),
    "norm.group": (_kernel("group", 1), (1, 2), True),
    "norm.instance": (_kernel("instance"), (2,), True),
    "nn.BatchNorm": (_layer(lambda x: nn.BatchNorm(x.shape[1])), (0, 2), True),
    "nn.LayerNorm": (_layer(lambda x: nn.LayerNorm(x.shape[1:])), (1, 2), True),
    "nn.RMSNorm": (_layer(lambda x: nn.RMSNorm(x.shape[1:], eps=EPS)), (1, 2), False),
    "nn.GroupNorm": (_layer(lambda x: nn.GroupNorm(1, x.shape[1])), (1, 2), True),
    "nn.InstanceNorm": (_layer(lambda x: nn.InstanceNorm(x.shape[1], affine=True)), (2,), True),
}


def reference(x, d_y, axes, centered):
    """(y, ∂Σ y·d_y/∂x) in extended precision."""
    x, d_y = x.astype(np.longdouble), d_y.astype(np.longdouble)
    mean = lambda a: a.mean(axes, keepdims=True)  # noqa: E731
    c = x - mean(x) if centered else x
    r = 1 / np.sqrt(mean(np.square(c)) + np.longdouble(EPS))
    y = c * r
    d_x = r * (d_y - (mean(d_y) if centered else 0) - y * mean(d_y * y))
    return y.astype("f8"), d_x.astype("f8"), float(np.max(r))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", DRAWS)
def test_inputs_that_broke_other_libraries(name, form, dtype):
    """A few units in the last place of the largest result, forward and backward; and N = 1 is a clear error.

    float32 keeps its means in float64; float64 has nothing wider, so the mean's own rounding counts there.
    """
    x = DRAWS[name].astype(dtype)
    use, axes, centered = FORMS[form]
    d_y = np.random.default_rng(0).normal(size=x.shape).astype(dtype)
    if np.prod([x.shape[i] for i in axes]) < 2:
        with pytest.raises(
            us.errors.ArgumentError, match="more than one (value per channel|position per channel|elem)"
        ):
            use(x, d_y)
        return
    expected, gradient, steepest = reference(x, d_y, axes, centered)
    y, d_x = use(x, d_y)
    unit = 8 * float(np.finfo(dtype).eps)
    if dtype == "float64" and centered:
        unit *= max(1.0, steepest * float(np.max(np.abs(x))))
    largest = max(1.0, float(np.max(np.abs(expected))))
    assert np.max(np.abs(y - expected)) <= unit * largest
    if d_x is not None:
        assert np.max(np.abs(d_x - gradient)) <= unit * steepest * np.max(np.abs(d_y)) * largest


def test_one_value_per_channel_is_refused():
    for X in (np.ones((1, 4), "f4"), np.ones((1, 4, 1, 1), "f4")):
        with pytest.raises(us.errors.ArgumentError, match="more than one value per channel"):
            norm.batch_norm_forward(X)
        net = nn.Network(nn.BatchNorm(4), input_shape=X.shape[1:])
        with pytest.raises(us.errors.ArgumentError, match="layer 0 needs a batch of at least 2 samples in training"):
            net.activations(X, mode="train")
        assert np.isfinite(net.predict(X)).all()  # with running statistics it is one like any other


@pytest.mark.slow
def test_a_group_of_38_million_elements():
    """pytorch 54293; float64 as reference."""
    x = np.random.default_rng(3).normal(7, 1e-2, size=(1, 1, 38_000_000)).astype("f4")
    wide = x.astype("f8")
    wide -= wide.mean()
    wide /= np.sqrt(np.square(wide).mean() + EPS)
    for y in (norm.group_norm_forward(x, 1)[0], norm.batch_norm_forward(x)[0]):
        assert np.max(np.abs(y - wide)) <= 8 * np.finfo("f4").eps * np.max(np.abs(wide))


def _layouts(x):
    """The same numbers in every layout that NumPy knows."""
    frozen, misaligned = x.copy(), np.ndarray(x.shape, x.dtype, np.empty(x.nbytes + 1, np.uint8).data, offset=1)
    frozen.flags.writeable = False
    misaligned[...] = x
    return {
        "channels last": np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "columns first": np.asfortranarray(x),
        "every other": np.repeat(x, 2, axis=0)[::2],
        "of a wider array": np.pad(x, [(0, 0)] * (x.ndim - 1) + [(2, 3)])[..., 2:-3],
        "backwards": x[::-1].copy()[::-1],
        "read-only": frozen,
        "foreign bytes": x.astype(x.dtype.newbyteorder()),
        "misaligned": misaligned,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [form for form in FORMS if form.startswith("norm.")])
def test_any_layout_gives_the_same_answer(form, dtype):
    x = np.random.default_rng(0).normal(3, 2, size=(6, 4, 7, 9)).astype(dtype)
    d_y = np.random.default_rng(1).normal(size=x.shape).astype(dtype)
    use = FORMS[form][0]
    expected = use(x, d_y)
    gradients = _layouts(d_y)
    for name, view in _layouts(x).items():
        np.testing.assert_array_equal(view, x, err_msg=name)
        y, d_x = use(view, gradients[name])
        np.testing.assert_array_equal(y, expected[0], err_msg=name)
        np.testing.assert_array_equal(d_x, expected[1], err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("average", ["variance", "std"])
def test_evaluation_after_the_same_steps_equals_torch(torch, dtype, average):
    """Sixty steps of SGD with momentum on planes, the last batches short; running statistics to 1e-6."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(5, 3, size=(70, 2, 3, 3)).astype(dtype), rng.integers(0, 3, 70)
    layers = [nn.BatchNorm(2, average=average), nn.Flatten(), nn.Linear(18, 6), nn.BatchNorm(6), nn.Tanh()]
    net = nn.Network(*layers, nn.Linear(6, 3), input_shape=X.shape[1:], seed=0, dtype=dtype)
    module = torch.nn.Sequential(
        torch.nn.BatchNorm2d(2), torch.nn.Flatten(), torch.nn.Linear(18, 6), torch.nn.BatchNorm1d(6), torch.nn.Tanh()
    )
    module.append(torch.nn.Linear(6, 3)).to(getattr(torch, dtype))
    torch.nn.utils.vector_to_parameters(torch.from_numpy(net.theta.copy()), module.parameters())
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, y)
    opt, theirs = us.optim.SGD(lr=0.05, momentum=0.9), torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    opt.init(net.n, net.dtype)
    land.train_steps(net.theta, opt, np.arange(70), 16, np.full(60, 0.05))
    deviation = torch.ones(2, dtype=torch.float64)
    for t in range(60):
        rows = slice(t % 5 * 16, (t % 5 + 1) * 16)
        batch = torch.from_numpy(X[rows])
        deviation = 0.9 * deviation + 0.1 * batch.double().var((0, 2, 3), correction=0).sqrt()
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(module(batch), torch.from_numpy(y[rows])).backward()
        theirs.step()
    if average == "std":
        module[0].running_var.copy_(deviation.square())
    buffers = {name: net.buffers[where].astype("f8") for name, where, _ in net.buffer_blocks}
    tolerance = 1e-6 if dtype == "float32" else 1e-11
    spread = buffers["0.running_var"] if average == "variance" else np.square(buffers["0.running_std"])
    np.testing.assert_allclose(spread, module[0].running_var, rtol=tolerance)
    np.testing.assert_allclose(buffers["0.running_mean"], module[0].running_mean, rtol=tolerance)
    scale = max(1.0, float(module[3].running_var.max()))
    np.testing.assert_allclose(buffers["3.running_mean"], module[3].running_mean, rtol=0, atol=tolerance * scale)
    np.testing.assert_allclose(buffers["3.running_var"], module[3].running_var, rtol=0, atol=tolerance * scale)
    expected = module.eval()(torch.from_numpy(X)).detach().numpy()
    # θ itself has wandered apart by the rounding of sixty steps
    np.testing.assert_allclose(net.predict(X), expected, rtol=0, atol=10 * tolerance * max(1.0, np.abs(expected).max()))
