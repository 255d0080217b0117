"""Normalisation kernels: against NumPy and PyTorch, memory, and their refusals."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck import norm

SHAPES = [(5, 3), (64, 7), (700, 513), (4, 3, 5), (6, 4, 7, 9), (3, 9, 40, 41), (2, 2, 200, 200), (1, 1, 40_000)]
TOLERANCE = {"float64": 1e-11, "float32": 3e-6}


def moments(x, axes):
    x = x.astype(np.longdouble)
    mean = x.mean(axes, keepdims=True)
    return x - mean, np.square(x - mean).mean(axes, keepdims=True)


def close(found, expected, dtype):
    expected = np.asarray(expected, np.float64)
    scale = max(1.0, float(np.abs(expected).max()))
    assert float(np.abs(found - expected).max()) <= TOLERANCE[dtype] * scale


def arrays(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, size=shape).astype(dtype)
    return x, *(rng.normal(size=shape[1]).astype(dtype) for _ in range(2)), rng.normal(size=shape).astype(dtype), rng


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("relu", "residual"), [(False, False), (True, False), (False, True), (True, True)])
def test_batch_norm_against_torch(shape, dtype, relu, residual):
    torch = pytest.importorskip("torch", reason="needs torch")
    x, gamma, beta, d_y, rng = arrays(shape, dtype)
    other = rng.normal(size=shape).astype(dtype) if residual else None
    leaves = [None if a is None else torch.tensor(a.astype("f8"), requires_grad=True) for a in (x, gamma, beta, other)]
    expected = torch.nn.functional.batch_norm(leaves[0], None, None, leaves[1], leaves[2], True)
    expected = expected if other is None else expected + leaves[3]
    expected = torch.relu(expected) if relu else expected
    (expected * torch.tensor(d_y.astype("f8"))).sum().backward()
    y, cache = norm.batch_norm_forward(x, gamma, beta, residual=other, relu=relu)
    d_residual = np.empty_like(x) if residual else None
    found = [*norm.batch_norm_backward(d_y, cache, d_residual=d_residual), d_residual]
    close(y, expected.detach().numpy(), dtype)
    for gradient, leaf in zip(found, leaves, strict=True):
        assert (gradient is None) == (leaf is None)
        if leaf is not None:
            close(gradient, leaf.grad.numpy(), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_batch_norm_with_given_statistics(dtype):
    x, gamma, beta, d_y, _ = arrays((6, 4, 7, 9), dtype)
    mean, variance = np.arange(4.0), np.arange(1.0, 5.0)
    y, cache = norm.batch_norm_forward(x, gamma, beta, eps=1e-3, mean=mean, variance=variance)
    shape = (1, 4, 1, 1)
    scale = gamma.astype("f8") / np.sqrt(variance + 1e-3)
    close(y, (x - mean.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape), dtype)
    assert not cache.of_batch
    close(norm.batch_norm_backward(d_y, cache).x, d_y * scale.reshape(shape), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES[3:], ids=str)
@pytest.mark.parametrize("groups", [1, None])
def test_group_norm_against_torch(shape, dtype, groups):
    torch = pytest.importorskip("torch", reason="needs torch")
    groups = groups or shape[1]
    x, gamma, beta, d_y, _ = arrays(shape, dtype)
    leaves = [torch.tensor(a.astype("f8"), requires_grad=True) for a in (x, gamma, beta)]
    expected = torch.nn.functional.group_norm(leaves[0], groups, leaves[1], leaves[2])
    (expected * torch.tensor(d_y.astype("f8"))).sum().backward()
    y, cache = norm.group_norm_forward(x, groups, gamma, beta)
    found = norm.group_norm_backward(d_y, cache)
    close(y, expected.detach().numpy(), dtype)
    for gradient, leaf in zip(found, leaves, strict=False):
        close(gradient, leaf.grad.numpy(), dtype)
    if groups == shape[1]:
        np.testing.assert_array_equal(norm.instance_norm_forward(x, gamma, beta)[0], y)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("centered", [True, False])
@pytest.mark.parametrize(("shape", "axes"), [((33, 17), 1), ((4, 5, 300), 1), ((4, 5, 30), 2), ((7,), 1)])
def test_layer_and_rms_norm_against_torch(shape, axes, dtype, centered):
    torch = pytest.importorskip("torch", reason="needs torch")
    rng = np.random.default_rng(1)
    last = shape[len(shape) - axes :]
    x, d_y = rng.normal(2, 3, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    gamma, beta = (rng.normal(size=last).astype(dtype) for _ in range(2))
    leaves = [torch.tensor(a.astype("f8"), requires_grad=True) for a in (x, gamma, beta)]
    if centered:
        expected = torch.nn.functional.layer_norm(leaves[0], last, leaves[1], leaves[2])
        y, cache = norm.layer_norm_forward(x, gamma, beta, axes=axes)
        found = norm.layer_norm_backward(d_y, cache)
    else:
        expected = torch.nn.functional.rms_norm(leaves[0], last, leaves[1], 1e-5)
        y, cache = norm.rms_norm_forward(x, gamma, axes=axes)
        found = norm.rms_norm_backward(d_y, cache)
    (expected * torch.tensor(d_y.astype("f8"))).sum().backward()
    close(y, expected.detach().numpy(), dtype)
    for gradient, leaf in zip(found, leaves, strict=False):
        if gradient is not None:
            close(gradient, leaf.grad.numpy(), dtype)


def test_long_group():
    x = np.random.default_rng(3).normal(7, 1e-2, size=(1, 1, 3_000_000)).astype("f4")
    deviation, variance = moments(x, (2,))
    expected = (deviation / np.sqrt(variance + 1e-5)).astype("f8")
    assert np.max(np.abs(norm.group_norm_forward(x, 1)[0] - expected)) <= 1e-5
    with pytest.raises(us.errors.ArgumentError, match="`groups` must divide the 1 channels"):
        norm.group_norm_forward(x, 2)


def test_same_bits_for_any_thread_count():
    x, gamma, beta, d_y, _ = arrays((32, 11, 30, 31), "float32")
    flat = x.reshape(-1, 310)[:, :300].copy()

    def results():
        y, s = norm.batch_norm_forward(x, gamma, beta, relu=True)
        z, t = norm.batch_norm_forward(flat)
        w, u = norm.group_norm_forward(x, 11, gamma, beta)
        parts = [y, z, w, *norm.batch_norm_backward(d_y, s)[:3]]
        parts += [*norm.batch_norm_backward(flat, t)[:3], *norm.group_norm_backward(d_y, u)[:3]]
        return [p.tobytes() for p in parts]

    before = us.threads()
    try:
        us.threads(1)
        expected = results()
        for count in (2, 3, 7):
            us.threads(count)
            assert results() == expected
    finally:
        us.threads(before)


def test_layouts_and_reuse_of_memory():
    x, gamma, beta, d_y, _ = arrays((6, 4, 7, 9), "float32")
    expected, cache = norm.batch_norm_forward(x, gamma, beta)
    channels_last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    frozen = x.copy()
    frozen.flags.writeable = False
    for view in (channels_last, frozen, np.repeat(x, 2, axis=0)[::2]):
        np.testing.assert_array_equal(norm.batch_norm_forward(view, gamma, beta)[0], expected)
    out = np.empty_like(x)
    assert norm.batch_norm_forward(x, gamma, beta, out=out)[0] is out
    gradient = norm.batch_norm_backward(d_y, cache).x
    own = d_y.copy()
    assert norm.batch_norm_backward(own, cache, out=own).x is own
    np.testing.assert_array_equal(own, gradient)
    own = x.copy()
    np.testing.assert_array_equal(norm.batch_norm_forward(own, gamma, beta, out=own)[0], expected)


X = np.ones((4, 3), "f4")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: norm.batch_norm_forward(np.ones((1, 3))), "more than one value per channel"),
        (lambda: norm.batch_norm_forward(np.ones(3)), r"`x` must have shape \(N, C"),
        (lambda: norm.batch_norm_forward(np.ones((0, 3))), "at least one element"),
        (lambda: norm.batch_norm_forward(X, np.ones(4)), r"`gamma` must have shape \(3,\)"),
        (lambda: norm.batch_norm_forward(X, mean=np.ones(3)), "given together"),
        (lambda: norm.batch_norm_forward(X, mean=np.ones(3), variance=-np.ones(3)), "`variance` must be ≥ 0"),
        (lambda: norm.batch_norm_forward(X, eps=-1.0), "`eps` must be"),
        (lambda: norm.batch_norm_forward(X, relu="no"), "`relu` must be False or True"),
        (lambda: norm.batch_norm_forward(X, residual=np.ones((3, 4))), "`residual` must have the shape"),
        (lambda: norm.batch_norm_forward(X + 1j), "`x` must hold real numbers"),
        (lambda: norm.batch_norm_forward(X, out=np.empty((4, 3))), "`out` must be a float32 array"),
        (lambda: norm.batch_norm_forward(X, out=np.empty((3, 4), "f4").T), "`out` must be C-contiguous"),
        (lambda: norm.batch_norm_forward(X, out=np.empty((3, 4), "f4")), "`out` must have the shape"),
        (lambda: norm.batch_norm_backward(X, None), "`cache` must be that of the forward pass"),
        (lambda: norm.batch_norm_backward(X, norm.layer_norm_forward(X)[1]), "another kind"),
        (lambda: norm.layer_norm_backward(X, norm.batch_norm_forward(X)[1]), "another kind"),
        (lambda: norm.batch_norm_backward(X[:2], norm.batch_norm_forward(X)[1]), "`d_y` must have the shape"),
        (lambda: norm.batch_norm_backward(X, norm.batch_norm_forward(X)[1], d_residual=X.copy()), "had no residual"),
        (lambda: norm.layer_norm_forward(X, axes=3), "at least 3 axes"),
        (lambda: norm.layer_norm_forward(X, np.ones(4)), r"`gamma` must have shape \(3,\)"),
        (lambda: norm.instance_norm_forward(np.ones((2, 3, 1))), "more than one element"),
        (lambda: norm.group_norm_forward(np.ones((2, 3)), 3), "more than one element"),
        (lambda: norm.layer_norm_forward(np.ones((2, 1))), "more than one element"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(us.errors.UnstuckError, match=message):
        call()


def test_output_may_not_overlap_its_input():
    memory = np.zeros(20, "f4")
    with pytest.raises(us.errors.ArgumentError, match="`out` overlaps `x`"):
        norm.batch_norm_forward(memory[:12].reshape(4, 3), out=memory[3:15].reshape(4, 3))


@pytest.mark.parametrize("kind", ["batch", "layer"])
def test_output_may_be_what_is_read_element_by_element_but_not_overlap_it(kind):
    memory, x = np.random.default_rng(0).normal(size=(5, 3)), np.random.default_rng(1).normal(size=(4, 3))
    forward, backward = getattr(norm, f"{kind}_norm_forward"), getattr(norm, f"{kind}_norm_backward")
    read, shifted, cache = memory[:4], memory[1:], forward(x)[1]
    with pytest.raises(us.errors.ArgumentError, match="`out` overlaps `d_y`"):
        backward(read, cache, out=shifted)
    expected = backward(read, cache).x
    np.testing.assert_array_equal(backward(read, cache, out=read).x, expected)
    if kind == "batch":
        with pytest.raises(us.errors.ArgumentError, match="`out` overlaps `residual`"):
            forward(x, residual=read, out=shifted)
        expected = forward(x, residual=read)[0]
        np.testing.assert_array_equal(forward(x, residual=read, out=read)[0], expected)


def test_a_backward_pass_needs_the_input():
    x = np.random.default_rng(0).normal(size=(4, 3))
    for forward, backward in (
        (norm.batch_norm_forward, norm.batch_norm_backward),
        (norm.layer_norm_forward, norm.layer_norm_backward),
    ):
        with pytest.raises(us.errors.ArgumentError, match="wrote its output over `x`"):
            own = x.copy()
            backward(x, forward(own, out=own)[1])
        with pytest.raises(us.errors.ArgumentError, match="the input that the cache refers to"):
            backward(x.copy(), forward(x)[1], out=x)


def test_nan_stays_in_its_channel():
    x = np.ones((4, 3), "f4") * np.arange(4, dtype="f4")[:, None]
    x[1, 1] = np.nan
    y = norm.batch_norm_forward(x, relu=True)[0]
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()


@pytest.mark.parametrize("shape", [(33, 64, 65, 63), (65_537, 131)], ids=str)
def test_arrays_beyond_the_cache(shape):
    """Written past the cache, at every alignment of a run, also in place."""
    x, gamma, beta, d_y, _ = arrays(shape, "float32")
    axes = (0, *range(2, x.ndim))
    along = (1, -1) + (1,) * (x.ndim - 2)
    deviation, variance = x - x.mean(axes, "f8", keepdims=True), x.var(axes, "f8", keepdims=True)
    scale = gamma.reshape(along) / np.sqrt(variance + 1e-5)
    y, cache = norm.batch_norm_forward(x, gamma, beta)
    close(y, deviation * scale + beta.reshape(along), "float32")
    gradient = norm.batch_norm_backward(d_y, cache).x
    product = (d_y * deviation).mean(axes, "f8", keepdims=True) / (variance + 1e-5)
    close(gradient, scale * (d_y - d_y.mean(axes, "f8", keepdims=True) - deviation * product), "float32")
    norm.batch_norm_backward(d_y, cache, out=d_y)
    np.testing.assert_array_equal(d_y, gradient)
    norm.batch_norm_forward(x, gamma, beta, out=x)
    np.testing.assert_array_equal(x, y)
