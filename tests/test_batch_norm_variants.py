"""BatchNorm's options and BatchRenorm: both orders against PyTorch, running statistics, recomputation, refusals."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from oracles import central_difference, relative_error
from same_passes import assert_same_bits
from torch_modules import gradient_and_product, module_of
from unstuck.doctor.moving import recompute

nn = us.nn
TOLERANCE = {"float64": 1e-9, "float32": 5e-5}
RENORM = {"warm_up": 0, "r_end": 0, "d_end": 0}

# layers for 12 features behind a Linear
VARIANTS = {
    "std": nn.BatchNorm(12, average="std"),
    "l1": nn.BatchNorm(12, norm="l1"),
    "l1 positions": nn.BatchNorm(4, norm="l1", eps=0.1),
    "linf": nn.BatchNorm(12, norm="linf"),
    "linf positions": nn.BatchNorm(4, norm="linf", affine=False),
    "mean only": nn.BatchNorm(12, norm="none"),
    "mean only positions": nn.BatchNorm(3, norm="none", affine=False),
    "no statistics": nn.BatchNorm(12, track=False),
    "no statistics, l1": nn.BatchNorm(6, track=False, norm="l1"),
    "frozen": nn.BatchNorm(12, frozen=True),
    "frozen linf": nn.BatchNorm(4, frozen=True, norm="linf"),
    "frozen std": nn.BatchNorm(4, frozen=True, average="std"),
    "renorm": nn.BatchRenorm(12, **RENORM),
    "renorm clipped": nn.BatchRenorm(12, r_max=1.3, d_max=0.4, **RENORM),
    "renorm positions": nn.BatchRenorm(4, eps=1e-3, affine=False, **RENORM),
    "renorm warming up": nn.BatchRenorm(12),
}


def problem(norm, mode, dtype="float64", samples=29, width=12):
    rng = np.random.default_rng(5)
    layers = [nn.Linear(7, width), norm, nn.Tanh(), nn.Linear(width, 3)]
    net = nn.Network(*layers, input_shape=(7,), seed=1, dtype=dtype)
    net.theta[:] += 0.3 * rng.normal(size=net.n).astype(dtype)
    for name, where, _ in net.buffer_blocks:
        if not name.endswith("batches"):
            net.buffers[where] = rng.uniform(0.5, 2, where.stop - where.start).astype(dtype)
    X = rng.normal(1, 2, size=(samples, 7)).astype(dtype)
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 3, samples), mode=mode)
    return land, rng.normal(size=(net.n, 3)).astype(dtype)


def in_torch(torch, net, mode):
    """The network's module with its running statistics."""
    module = module_of(torch, net).train(mode == "train")
    ours = [net.buffers[where] for name, where, _ in net.buffer_blocks if "running" in name]
    with torch.no_grad():
        for theirs, values in zip([b for n, b in module.named_buffers() if "running" in n], ours, strict=True):
            theirs.copy_(torch.from_numpy(values.astype("f8")))
    return module


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", VARIANTS)
def test_against_double_backward(torch, name, mode, dtype):
    norm = VARIANTS[name]
    if name == "renorm warming up":  # the schedule has not begun: plain batch normalisation
        reference = nn.BatchRenorm(12, r_max=1.0, d_max=0.0, **RENORM)
    for samples, width in ((29, 12), (600, 12 * 20)):
        if width > 12 and norm.channels in (12,):
            continue
        land, V = problem(norm, mode, dtype, samples, width)
        module = in_torch(torch, land.net, mode)
        if name == "renorm warming up":
            twin = problem(reference, mode, dtype, samples, width)[0]
            module = in_torch(torch, twin.net, mode)
        for v in V.T[:2]:
            loss, gradient, product = gradient_and_product(
                torch, module, torch.nn.CrossEntropyLoss(), land.X, land.y, v
            )
            value, found = land.gradient(land.theta)
            assert value == pytest.approx(loss, rel=TOLERANCE[dtype])
            assert land.loss(land.theta) == value
            assert relative_error(found, gradient) <= TOLERANCE[dtype]
            assert relative_error(land.hessian(land.theta) @ v, product) <= TOLERANCE[dtype]


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", VARIANTS)
def test_without_torch(name, mode):
    """Finite differences, symmetry, blocks. Renormalisation is only symmetric: r and d are held."""
    land, V = problem(VARIANTS[name], mode)
    H = land.hessian(land.theta)
    if VARIANTS[name].kind == "BatchNorm":
        numeric = central_difference(lambda t: land.gradient(t)[1], land.theta, V[:, 0])
        assert relative_error(H @ V[:, 0], numeric) <= 1e-6
    assert V[:, 1] @ (H @ V[:, 0]) == pytest.approx(V[:, 0] @ (H @ V[:, 1]), rel=1e-8, abs=1e-10)
    np.testing.assert_array_equal(H @ V, np.stack([H @ v for v in V.T], axis=1))
    coupled = VARIANTS[name] != nn.BatchNorm(12, frozen=True) and "frozen" not in name
    coupled = coupled and (mode == "train" or name.startswith("no statistics"))
    with pytest.raises(us.errors.BudgetError) as refusal:
        land.memory_budget = 1000
        land.hessian(land.theta)
    assert ("never cut into chunks" in str(refusal.value)) == coupled


@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_ties_and_zeros_as_in_torch(torch, norm):
    """Integers of mean 0: values at the mean, and both extremes attained several times."""
    column = np.array([-3.0, -3, 0, 0, 1, -1, 2, -2, 3, 3])
    X = np.stack([column, np.roll(column, 3), np.where(np.abs(column) > 2, 0.0, column)], axis=1)
    layers = [nn.Linear(3, 3), nn.BatchNorm(3, norm=norm, eps=0.5), nn.Tanh(), nn.Linear(3, 2)]
    net = nn.Network(*layers, input_shape=(3,), seed=0, dtype="float64")
    net.block("0.weight")[:] = np.eye(3)
    net.block("0.bias")[:] = 0
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, np.arange(10) % 2, mode="train")
    v = np.random.default_rng(0).normal(size=net.n)
    _, gradient, product = gradient_and_product(torch, module_of(torch, net), torch.nn.CrossEntropyLoss(), X, land.y, v)
    assert relative_error(land.gradient(net.theta)[1], gradient) <= 1e-12
    assert relative_error(land.hessian(net.theta) @ v, product) <= 1e-12


@pytest.mark.parametrize("name", ["std", "l1 positions", "linf", "mean only", "no statistics", "frozen", "renorm"])
def test_same_bits_for_any_thread_count(name, threads):
    land, V = problem(VARIANTS[name], "train", "float32", 700, 480 if "positions" in name else 12)
    assert_same_bits(land, V, threads)


@pytest.mark.parametrize("name", VARIANTS)
def test_saved_and_loaded(name, tmp_path):
    land, _ = problem(VARIANTS[name], "eval", "float32")
    us.Trainer(land, us.optim.SGD(lr=0.01), batch_size=10, seed=0).fit(steps=2)
    land.net.save(tmp_path / "net.safetensors")
    again = nn.Network.load(tmp_path / "net.safetensors")
    assert again.layers == land.net.layers
    np.testing.assert_array_equal(again.buffers, land.net.buffers)
    np.testing.assert_array_equal(again.predict(land.X), land.net.predict(land.X))


def trained(norm, dtype="float64", steps=5):
    """Inputs of the norm in each step, and the net after them; the Linear in front does not move."""
    rng = np.random.default_rng(2)
    net = nn.Network(nn.Linear(6, 8), norm, nn.Linear(8, 2), input_shape=(6,), seed=0, dtype=dtype)
    X = rng.normal(2, 3, size=(20 * steps, 6)).astype(dtype)
    land = us.NetworkLandscape(net, nn.CrossEntropy(), X, rng.integers(0, 2, len(X)))
    inputs = net.activations(X)[0][1].astype("f8").reshape(steps, 20, norm.channels, -1)
    opt = us.optim.SGD(lr=0.0)
    opt.init(net.n, net.dtype)
    land.train_steps(net.theta, opt, np.arange(len(X)), 20, np.zeros(steps))
    return {name.split(".")[1]: net.buffers[where] for name, where, _ in net.buffer_blocks}, inputs


SPREADS = {
    "running_var": lambda c: c.shape[0] * c.shape[2] / (c.shape[0] * c.shape[2] - 1) * np.square(c).mean((0, 2)),
    "running_std": lambda c: np.sqrt(np.square(c).mean((0, 2))),
    "l1": lambda c: np.abs(c).mean((0, 2)),
    "linf": lambda c: np.abs(c).max((0, 2)),
    "renorm": lambda c: np.sqrt(np.square(c).mean((0, 2)) + 1e-5),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3}, {"keep": 0.8}, {"momentum": None}, {"momentum": 1.0}])
@pytest.mark.parametrize("kind", ["variance", "std", "l1", "linf", "none", "renorm"])
def test_running_statistics(kind, options, dtype):
    """Both names of the momentum, the average of all, and the last batch, of every statistic that is averaged."""
    if kind == "renorm":
        norm, name, spread = nn.BatchRenorm(4, **options), "running_std", SPREADS["renorm"]
    elif kind in ("variance", "std"):
        name = {"variance": "running_var", "std": "running_std"}[kind]
        norm, spread = nn.BatchNorm(8, average=kind, **options), SPREADS[name]
    else:
        norm, name, spread = nn.BatchNorm(4, norm=kind, **options), "running_scale", SPREADS.get(kind)
    buffers, inputs = trained(norm, dtype)
    assert buffers["batches"] == len(inputs)
    assert set(buffers) == {"running_mean", "batches"} | ({name} if spread else set())
    mean, scale = np.zeros(norm.channels), np.ones(norm.channels)
    for t, a in enumerate(inputs):
        new = a.mean((0, 2))
        if options.get("momentum", 0.0) is None:
            share = 1 / (t + 1)
        else:
            share = 1 - options["keep"] if "keep" in options else options.get("momentum", 0.1)
        mean = (1 - share) * mean + share * new
        if spread:
            scale = (1 - share) * scale + share * spread(a - new[:, None])
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(buffers["running_mean"], mean, rtol=tolerance, atol=tolerance)
    if spread:
        np.testing.assert_allclose(buffers[name], scale, rtol=tolerance)


def test_frozen_and_untracked_statistics_stay():
    for norm in (nn.BatchNorm(12, frozen=True), nn.BatchNorm(12, track=False)):
        land, _ = problem(norm, "train")
        before = land.buffers.copy()
        us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=10, seed=0).fit(steps=3)
        np.testing.assert_array_equal(land.buffers, before)
    assert problem(nn.BatchNorm(12, track=False), "eval")[0].buffers.size == 0


def test_without_running_statistics_prediction_is_of_the_batch():
    land, _ = problem(nn.BatchNorm(12, track=False), "eval", samples=3000)
    train = us.NetworkLandscape(land.net, nn.CrossEntropy(), land.X, land.y, mode="train")
    assert land.loss(land.theta) == train.loss(land.theta)
    whole = land.net.predict(land.X)
    np.testing.assert_array_equal(whole, land.net.activations(land.X)[-1][1])
    assert np.abs(land.net.predict(land.X[:50]) - whole[:50]).max() > 1e-3
    with pytest.raises(us.errors.ArgumentError, match="layer 1 needs a batch of at least 2 samples, got 1"):
        land.net.predict(land.X[:1])
    assert land.net.predict(land.X[:0]).shape == (0, 3)


def test_gamma_and_beta_frozen_until_a_step():
    """Constants at first: no gradient, no curvature, no movement; from that step on like any other parameter."""
    land, V = problem(nn.BatchNorm(12, affine_from=3), "train")
    plain, _ = problem(nn.BatchNorm(12), "train")
    held = np.zeros(land.n, bool)
    for name, where, _ in land.blocks:
        held[where] = name.startswith("1.")
    gradient, expected = land.gradient(land.theta)[1], plain.gradient(land.theta)[1]
    np.testing.assert_allclose(gradient, np.where(held, 0.0, expected), rtol=1e-12)
    product = land.hessian(land.theta) @ V
    expected = plain.hessian(land.theta) @ np.where(held[:, None], 0.0, V)
    np.testing.assert_allclose(product, np.where(held[:, None], 0.0, expected), rtol=1e-9, atol=1e-12)
    start = land.theta.copy()
    run = us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=29, seed=0)
    run.fit(steps=3)
    np.testing.assert_array_equal(land.theta[held], start[held])
    assert not np.array_equal(land.theta[~held], start[~held])
    run.fit(steps=1)
    assert np.all(land.theta[held] != start[held])
    plain.buffers[:] = land.buffers
    np.testing.assert_array_equal(land.gradient(land.theta)[1], plain.gradient(land.theta)[1])


def test_gamma_zero_starts_a_residual_branch_as_the_identity():
    block = nn.Residual(nn.Linear(6, 6), nn.BatchNorm(6), nn.Tanh(), nn.Linear(6, 6), nn.BatchNorm(6, gamma=0))
    net = nn.Network(nn.Linear(4, 6), block, nn.Linear(6, 2), input_shape=(4,), dtype="float64")
    X = np.random.default_rng(0).normal(size=(9, 4))
    outputs = dict(net.activations(X, mode="train"))
    np.testing.assert_array_equal(outputs["0.Linear"], outputs["1.Sum"])
    np.testing.assert_array_equal(net.block("1.4.weight"), np.zeros(6))


def test_renormalisation_follows_its_schedule():
    """r and d from the output itself, at steps before, within and after the schedule."""
    norm = nn.BatchRenorm(1, r_max=3, d_max=5, warm_up=10, r_end=30, d_end=20, eps=0.0)
    net = nn.Network(norm, nn.Linear(1, 1), input_shape=(1,), dtype="float64")
    X = np.random.default_rng(1).normal(100, 10, size=(50, 1))
    places = {name: where for name, where, _ in net.buffer_blocks}
    for t, r, d in ((0, 1, 0), (10, 1, 0), (15, 1.5, 2.5), (20, 2, 5), (30, 3, 5), (999, 3, 5)):
        net.buffers[places["0.batches"]] = t
        y = net.activations(X, mode="train")[0][1]
        assert y.std() == pytest.approx(r) and y.mean() == pytest.approx(d, abs=1e-12)
    net.buffers[places["0.running_mean"]] = 99.0
    net.buffers[places["0.running_std"]] = 9.0
    y = net.activations(X, mode="train")[0][1]
    np.testing.assert_allclose(y, (X - 99) / 9, rtol=1e-12, atol=1e-12)  # within the limits: the running statistics
    np.testing.assert_allclose(net.activations(X)[0][1], (X - 99) / 9, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_recomputed_statistics(torch, dtype):
    """As torch.optim.swa_utils.update_bn, and exact moments of the population."""
    layers = [nn.Linear(7, 12), nn.BatchNorm(12), nn.Tanh(), nn.Linear(12, 6), nn.BatchNorm(3), nn.Linear(6, 3)]
    net = nn.Network(*layers, input_shape=(7,), seed=1, dtype=dtype)
    X = np.random.default_rng(3).normal(5, 2, size=(90, 7)).astype(dtype)
    theta, count = net.theta.copy(), {n: w for n, w, _ in net.buffer_blocks}["1.batches"]
    net.buffers[count] = 7
    places = {name: where for name, where, _ in net.buffer_blocks}

    def found(name):
        return net.buffers[places[name]].astype("f8")

    nn.recompute_statistics(net, X, batch_size=30)
    module = module_of(torch, net)
    module[4] = torch.nn.Sequential(torch.nn.Unflatten(1, (3, 2)), module[4], torch.nn.Flatten())
    torch.optim.swa_utils.update_bn([torch.from_numpy(b.astype("f8")) for b in np.split(X, 3)], module)
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    for name, theirs in (("1", module[1]), ("4", module[4][1])):
        np.testing.assert_allclose(found(name + ".running_mean"), theirs.running_mean, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(found(name + ".running_var"), theirs.running_var, rtol=10 * tolerance)
    assert net.buffers[count] == 7
    nn.recompute_statistics(net, X, batch_size=32, method="population")
    a = net.activations(X)[0][1].astype("f8")
    np.testing.assert_allclose(found("1.running_mean"), a.mean(0), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(found("1.running_var"), a.var(0, ddof=1), rtol=10 * tolerance)
    np.testing.assert_array_equal(net.theta, theta)


@pytest.mark.parametrize(
    ("norm", "spread"),
    [
        (nn.BatchNorm(4, average="std"), SPREADS["running_std"]),
        (nn.BatchNorm(4, norm="l1"), SPREADS["l1"]),
        (nn.BatchNorm(4, norm="linf"), SPREADS["linf"]),
        (nn.BatchNorm(4, norm="none"), None),
        (nn.BatchRenorm(4), SPREADS["renorm"]),
    ],
    ids=repr,
)
def test_recomputed_variants(norm, spread):
    net = nn.Network(nn.Linear(7, 8), norm, nn.Linear(8, 2), input_shape=(7,), dtype="float64")
    X = np.random.default_rng(3).normal(5, 2, size=(60, 7))
    nn.recompute_statistics(net, X)
    a = net.activations(X)[0][1].reshape(60, 4, 2)
    buffers = {name: net.buffers[where] for name, where, _ in net.buffer_blocks}
    np.testing.assert_allclose(buffers["1.running_mean"], a.mean((0, 2)), rtol=1e-12)
    if spread:
        expected = spread(a - a.mean((0, 2))[:, None])
        np.testing.assert_allclose(next(v for k, v in buffers.items() if "_s" in k), expected, rtol=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_doctor_recomputes_every_kind(name):
    land, _ = problem(VARIANTS[name], "eval")
    fresh, before = land.detached(), land.buffers.copy()
    recompute(fresh, land.theta, np.arange(20))
    np.testing.assert_array_equal(land.buffers, before)
    twin, _ = problem(VARIANTS[name], "eval")
    nn.recompute_statistics(twin.net, land.X[:20])
    np.testing.assert_array_equal(fresh.buffers, twin.net.buffers)


def test_what_cannot_be_recomputed_changes_nothing():
    net = nn.Network(nn.Linear(7, 4), nn.BatchNorm(4, norm="l1"), input_shape=(7,))
    X, before = np.ones((6, 7), "f4"), net.buffers.copy()
    cases = [
        (lambda: nn.recompute_statistics(net, X, method="population"), "layer 1 with norm 'l1'"),
        (lambda: nn.recompute_statistics(net, X, method="mean"), "`method`"),
        (lambda: nn.recompute_statistics(net, X, batch_size=0), "`batch_size`"),
        (lambda: nn.recompute_statistics(net, X, batch_size=1), "layer 1 needs a batch of at least 2"),
        (lambda: nn.recompute_statistics(net, X[:0]), "`X` has no rows"),
        (lambda: nn.recompute_statistics(net, X * np.nan), "layer 1 holds NaN"),
        (lambda: nn.recompute_statistics("net", X), "`net` must be"),
    ]
    for call, message in cases:
        with pytest.raises(us.errors.UnstuckError, match=message):
            call()
    np.testing.assert_array_equal(net.buffers, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.BatchNorm(4, keep=0.9, momentum=0.2), "`keep` and `momentum` name the same choice"),
        (lambda: nn.BatchNorm(4, keep=1.5), "`keep` must be in"),
        (lambda: nn.BatchNorm(4, average="mean"), "`average` must be one of"),
        (lambda: nn.BatchNorm(4, norm="l3"), "`norm` must be one of"),
        (lambda: nn.BatchNorm(4, norm="l1", average="std"), "`average` is a choice for norm 'l2' only"),
        (lambda: nn.BatchNorm(4, track=False, frozen=True), "`frozen` needs running statistics"),
        (lambda: nn.BatchNorm(4, track=False, affine_from=3), "`affine_from` needs running statistics"),
        (lambda: nn.BatchNorm(4, affine_from=-1), "`affine_from` must be in"),
        (lambda: nn.BatchNorm(4, affine="no"), "`affine` must be False or True"),
        (lambda: nn.BatchNorm(4, frozen="yes"), "`frozen` must be False or True"),
        (lambda: nn.BatchNorm(4, gamma=float("nan")), "`gamma` must be finite"),
        (lambda: nn.BatchRenorm(4, r_max=0.5), "`r_max` must be"),
        (lambda: nn.BatchRenorm(4, d_max=-1), "`d_max` must be"),
        (lambda: nn.BatchRenorm(4, r_end=100), "`r_end` must not lie before `warm_up`, step 5000"),
        (lambda: nn.Network(nn.Linear(3, 4), nn.BatchRenorm(3), input_shape=(3,)), "layer 1: BatchRenorm expects 3"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(us.errors.UnstuckError, match=message):
        make()
