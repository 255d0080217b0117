"""BatchNorm as a layer: both modes against PyTorch's double backward, running statistics, forks and files."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import central_difference, relative_error
from same_passes import assert_same_bits

nn = us.nn
TOLERANCE = {"float64": 1e-9, "float32": 5e-5}
NETWORKS = {
    "before": [nn.Linear(7, 12), nn.BatchNorm(12), nn.Tanh(), nn.Linear(12, 3)],
    "after": [nn.Linear(7, 12), nn.GELU(), nn.BatchNorm(12, eps=0.1), nn.Linear(12, 3)],
    "positions": [nn.Linear(7, 12), nn.BatchNorm(4), nn.Tanh(), nn.Linear(12, 3)],
    "long positions": [nn.Linear(7, 80), nn.BatchNorm(4), nn.Tanh(), nn.Linear(80, 3)],
    "no affine": [nn.Linear(7, 12), nn.BatchNorm(12, affine=False), nn.SiLU(), nn.Linear(12, 3)],
    "first": [nn.BatchNorm(7), nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)],
    "first, no affine": [nn.BatchNorm(7, affine=False), nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3)],
    "last": [nn.Linear(7, 9), nn.Sigmoid(), nn.Linear(9, 3), nn.BatchNorm(3)],
    "two": [nn.Linear(7, 20), nn.BatchNorm(20), nn.Tanh(), nn.Linear(20, 20), nn.BatchNorm(20), nn.Softplus()]
    + [nn.Linear(20, 3)],
    "wide": [nn.Linear(7, 400), nn.BatchNorm(400), nn.Tanh(), nn.Linear(400, 330), nn.BatchNorm(330), nn.Tanh()]
    + [nn.Linear(330, 3)],
}


def problem(name, mode, dtype="float64", samples=29, seed=5):
    rng = np.random.default_rng(seed)
    net = nn.Network(*NETWORKS[name], input_shape=(7,), seed=1, dtype=dtype)
    net.theta[:] += 0.3 * rng.normal(size=net.n).astype(dtype)
    for block, where, _ in net.buffer_blocks:
        if not block.endswith("batches"):
            net.buffers[where] = rng.uniform(0.5, 2, where.stop - where.start).astype(dtype)
    X = rng.normal(1, 2, size=(samples, 7)).astype(dtype)
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 3, samples), mode=mode)
    return land, rng.normal(size=(net.n, 3)).astype(dtype)


class ChannelNorm:
    """PyTorch's BatchNorm1d on (N, C·S) features."""

    def __new__(cls, torch, layer):
        norm = torch.nn.BatchNorm1d(layer.channels, layer.eps, layer.momentum, layer.affine)
        return torch.nn.Sequential(torch.nn.Unflatten(1, (layer.channels, -1)), norm, torch.nn.Flatten())


def module_of(torch, net, mode):
    """The same network in PyTorch, float64, with the same parameters and running statistics."""
    parts = [
        torch.nn.Linear(layer.in_features, layer.out_features)
        if isinstance(layer, nn.Linear)
        else ChannelNorm(torch, layer)
        if isinstance(layer, nn.BatchNorm)
        else getattr(torch.nn, layer.kind)()
        for layer in net.layers
    ]
    module = torch.nn.Sequential(*parts).double().train(mode == "train")
    with torch.no_grad():
        for parameter, (_, where, shape) in zip(module.parameters(), net.blocks, strict=True):
            parameter.copy_(torch.from_numpy(net.theta[where].reshape(shape).astype("f8")))
        running = [b for name, b in module.named_buffers() if "running" in name]
        ours = [net.buffers[where] for name, where, _ in net.buffer_blocks if "running" in name]
        for theirs, values in zip(running, ours, strict=True):
            theirs.copy_(torch.from_numpy(values.astype("f8")))
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("samples", [3, 29, 1100])
@pytest.mark.parametrize("name", NETWORKS)
def test_against_double_backward(name, mode, samples, dtype):
    torch = pytest.importorskip("torch", reason="needs torch")
    land, V = problem(name, mode, dtype, samples)
    module = module_of(torch, land.net, mode)
    parameters = list(module.parameters())
    X, y = torch.from_numpy(land.X.astype("f8")), torch.from_numpy(np.asarray(land.y))
    loss = torch.nn.functional.cross_entropy(module(X), y)
    flat = torch.cat([g.ravel() for g in torch.autograd.grad(loss, parameters, create_graph=True)])
    before = land.net.buffers.copy()
    value, found = land.gradient(land.theta)
    assert value == pytest.approx(loss.item(), rel=TOLERANCE[dtype])
    assert land.loss(land.theta) == value
    assert relative_error(found, flat.detach().numpy()) <= TOLERANCE[dtype]
    H = land.hessian(land.theta)
    for v in V.T[:2]:
        expected = torch.autograd.grad(
            flat @ torch.from_numpy(v.astype("f8")), parameters, retain_graph=True, materialize_grads=True
        )
        expected = torch.cat([p.ravel() for p in expected]).numpy()
        assert relative_error(H @ v, expected) <= TOLERANCE[dtype]
    np.testing.assert_array_equal(land.net.buffers, before)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", NETWORKS)
def test_without_torch(name, mode):
    """Finite differences, symmetry, blocks, and the primal pass kept or made anew."""
    land, V = problem(name, mode)
    H = land.hessian(land.theta)
    numeric = central_difference(lambda t: land.gradient(t)[1], land.theta, V[:, 0])
    assert relative_error(H @ V[:, 0], numeric) <= 1e-6
    assert V[:, 1] @ (H @ V[:, 0]) == pytest.approx(V[:, 0] @ (H @ V[:, 1]), rel=1e-8, abs=1e-10)
    np.testing.assert_array_equal(H @ V, np.stack([H @ v for v in V.T], axis=1))
    with pytest.raises(us.errors.BudgetError) as refusal:
        land.memory_budget = 1000
        land.hessian(land.theta)
    assert ("never cut into chunks" in str(refusal.value)) == (mode == "train")


def test_samples_are_coupled_in_training_only():
    """The mean over all samples is the mean of halves in evaluation, and is not in training."""
    halves = [range(3), range(3, 6)]
    for mode, equal in (("eval", True), ("train", False)):
        land, _ = problem("before", mode, samples=6)
        apart = np.mean([land.loss(land.theta, list(half)) for half in halves])
        assert (land.loss(land.theta) == pytest.approx(apart, rel=1e-9)) == equal


def test_same_bits_for_any_thread_count(threads):
    land, V = problem("wide", "train", "float32", 300)
    assert_same_bits(land, V, threads)


@pytest.mark.parametrize("momentum", [0.1, 1.0, None])
def test_running_statistics_are_those_of_torch(momentum):
    torch = pytest.importorskip("torch", reason="needs torch")
    rng = np.random.default_rng(0)
    net = nn.Network(nn.Linear(7, 9), nn.BatchNorm(9, momentum=momentum), nn.Tanh(), nn.Linear(9, 3), input_shape=(7,))
    module = torch.nn.Sequential(
        torch.nn.Linear(7, 9), torch.nn.BatchNorm1d(9, momentum=momentum), torch.nn.Tanh(), torch.nn.Linear(9, 3)
    )
    with torch.no_grad():
        for parameter, (_, where, shape) in zip(module.parameters(), net.blocks, strict=True):
            parameter.copy_(torch.from_numpy(net.theta[where].reshape(shape).copy()))
    X, y = (5 + rng.normal(size=(64, 7))).astype("f4"), rng.integers(0, 3, 64)
    run = us.Trainer(us.NetworkLandscape(net, nn.CrossEntropy(), X, y), us.optim.SGD(lr=0.1), batch_size=64)
    run.fit(steps=10)
    theirs = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(10):
        theirs.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(X)), torch.from_numpy(y)).backward()
        theirs.step()
    module.eval()
    expected = module(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(net.predict(X), expected, atol=2e-5)
    ours = {name: net.buffers[where] for name, where, _ in net.buffer_blocks}
    np.testing.assert_allclose(ours["1.running_mean"], module[1].running_mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours["1.running_var"], module[1].running_var.numpy(), rtol=1e-5)
    assert ours["1.batches"] == 10


def test_runs_forks_and_files_keep_their_statistics(tmp_path):
    def fresh():
        land, _ = problem("two", "eval", "float32", 60)
        return us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=20, seed=1)

    run = fresh()
    run.fit(epochs=3)
    state, digest = run.state(), run.digest()
    fork = run.fork()
    fork.fit(epochs=2)
    assert run.digest() == digest, "a fork leaves the run and its statistics alone"
    assert not np.array_equal(fork.land.buffers, run.land.buffers)
    run.fit(epochs=2)
    np.testing.assert_array_equal(run.land.buffers, fork.land.buffers)
    assert run.land.loss(run.theta) == fork.land.loss(fork.theta)
    run.restore(state)
    assert run.digest() == digest
    run.save(tmp_path / "run")
    run.land.net.save(tmp_path / "net.safetensors")
    again = us.Trainer.load(tmp_path / "run", fresh().land)
    assert again.digest() == digest
    net = nn.Network.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(net.buffers, run.land.net.buffers)
    np.testing.assert_array_equal(net.predict(run.land.X), run.land.net.predict(run.land.X))
    net.reinitialise()
    assert net.buffers[net.buffer_blocks[1][1]].tolist() == [1.0] * 20


def test_training_with_it_gets_somewhere_and_is_classified():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7)).astype("f4")
    net = nn.Network(*NETWORKS["two"][:-1], nn.Linear(20, 2), input_shape=(7,), seed=0)
    for mode in ("eval", "train"):
        net.reinitialise()
        land = us.NetworkLandscape(net, nn.CrossEntropy(), X, (X[:, 0] * X[:, 1] > 0).astype(int), mode=mode)
        start = land.loss(net.theta)
        us.Trainer(land, us.optim.Adam(lr=1e-2), batch_size=50, seed=0).fit(epochs=40)
        assert land.loss(net.theta) < 0.4 * start
        assert us.classify(land).products > 0


def test_a_batch_of_one_value_is_refused_before_anything_changes():
    land, _ = problem("two", "train", samples=21)
    with pytest.raises(us.errors.ArgumentError, match="layer 1 needs a batch of at least 2 samples in training, got 1"):
        land.gradient(land.theta, [0])
    for curvature in (land.hessian, land.gauss_newton):
        with pytest.raises(us.errors.ArgumentError, match="layer 1 needs a batch of at least 2 samples in training"):
            curvature(land.theta, [0])
    run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=20)
    before = run.digest()
    with pytest.raises(us.errors.ArgumentError, match="at least 2 samples"):
        run.fit(epochs=1)
    assert run.digest() == before
    assert np.isfinite(problem("positions", "train", samples=1)[0].gradient(problem("positions", "train")[0].theta)[0])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: nn.BatchNorm(4, momentum=1.5), "`momentum` must be in"),
        (lambda: nn.BatchNorm(0), "`channels` must be in"),
        (lambda: nn.Network(nn.Linear(3, 4), nn.BatchNorm(3), input_shape=(3,)), "BatchNorm expects 3 channels"),
    ],
)
def test_refusals(build, message):
    with pytest.raises(us.errors.UnstuckError, match=message):
        build()
