"""The labs about normalisation: the lecture's pictures in numbers, and claims that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from unstuck.labs import (
    batchnorm,
    batchnorm_measures,
    noisy_norm,
    norm_family,
    norm_placement,
    smoothness,
    why_batchnorm,
)
from unstuck.labs.digit_training import deep, digits_in_two, enlarge, learn
from unstuck.labs.passes import backward, batch_normalisation, cross_entropy, forward

pytest.importorskip("matplotlib", reason="needs matplotlib")


def draw(run, settings, tmp_path):
    """Every figure is made, those of runs that may have diverged are rendered."""
    figure = run.figure()
    if {"lr", "rates", "ratio"} & set(settings):
        figure.savefig(tmp_path / "figure.png", dpi=30)


def test_feature_scale(tmp_path):
    run = us.labs.run("feature-scale")
    assert run.holds, run.sentence
    json.dumps(run.to_dict(), allow_nan=False)
    assert run.save(tmp_path / "figure.png").stat().st_size > 20_000
    raw, scaled = (run.results["forms"][name] for name in ("as they are", "standardised"))
    X = np.column_stack([raw["X"], np.ones(len(raw["X"]))])
    np.testing.assert_allclose(raw["curvatures"], np.linalg.eigvalsh(2 * X.T @ X / len(X)), rtol=1e-9)
    assert raw["condition"] > 1e3
    rho = np.corrcoef(scaled["X"].T)[0, 1]
    assert scaled["condition"] == pytest.approx((1 + rho) / (1 - rho), rel=1e-9)
    assert scaled["steps"] <= 20
    assert raw["steps"] > 500 * scaled["steps"]


def test_features_alike_need_no_scaling():
    run = us.labs.run("feature-scale", ratio=1.0, offset=0.0, correlation=0.0)
    assert not run.holds
    assert run.results["forms"]["as they are"]["condition"] < 2.0


# --- what the labs on batch normalisation share ---


@pytest.mark.parametrize("activation", [us.nn.Sigmoid, us.nn.ReLU])
@pytest.mark.parametrize("norm", ["none", "before", "after"])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_traced_passes_are_the_engines(activation, norm, mode):
    rng = np.random.default_rng(3)
    net = us.nn.Network(*deep(2, 7, activation, norm), input_shape=(64,), seed=1, dtype="float64")
    net.theta[:] += 0.1 * rng.standard_normal(net.n)
    for name, where, _ in net.buffer_blocks:
        if "running" in name:
            net.buffers[where] += 0.3 * rng.random(where.stop - where.start)
    X, y = rng.standard_normal((23, 64)), rng.integers(0, 10, 23)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y, mode=mode)
    trace = forward(net, net.theta, X, training=mode == "train")
    loss, d_logits = cross_entropy(trace.values[-1], y)
    gradient, deltas = backward(trace, d_logits)
    wanted = land.gradient(net.theta)
    assert loss == pytest.approx(wanted[0], rel=1e-12)
    np.testing.assert_allclose(gradient, wanted[1], rtol=1e-9, atol=1e-12)
    assert [d.shape for d in deltas] == [v.shape for v in trace.values]
    if mode == "eval":
        for (_, engine), own in zip(net.activations(X), trace.values[1:], strict=True):
            np.testing.assert_allclose(own, engine, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("batch", None),
        ("noisy", lambda net: noisy_norm.noisy(net, np.random.default_rng(7))),
    ],
)
def test_traced_gradients_at_every_layer_are_differences(kind, other):
    rng = np.random.default_rng(4)
    net = us.nn.Network(*deep(2, 5, us.nn.Sigmoid, "before"), input_shape=(64,), seed=1, dtype="float64")
    X, y = rng.standard_normal((6, 64)), rng.integers(0, 10, 6)

    def replaced():
        return batch_normalisation(net, True) if kind == "batch" else other(net)

    def loss(moved, at=net.theta):
        return cross_entropy(forward(net, at, moved, normalise=replaced()).values[-1], y)[0]

    trace = forward(net, net.theta, X, normalise=replaced())
    gradient, deltas = backward(trace, cross_entropy(trace.values[-1], y)[1])
    h = 1e-6
    for i, j in [(0, 3), (5, 60)]:
        step = np.zeros_like(X)
        step[i, j] = h
        assert deltas[0][i, j] == pytest.approx((loss(X + step) - loss(X - step)) / (2 * h), rel=1e-5, abs=1e-9)
    v = rng.standard_normal(net.n)
    slope = (loss(X, net.theta + h * v) - loss(X, net.theta - h * v)) / (2 * h)
    assert gradient @ v == pytest.approx(slope, rel=1e-6)


def test_learning_measures_what_the_network_predicts():
    data = digits_in_two(0)
    assert len(data.X) + len(data.X_rest) == 1797
    np.testing.assert_allclose(data.X.mean(axis=0), 0.0, atol=1e-5)
    found = learn(deep(1, 16, us.nn.ReLU), data, 0.2, seed=0, updates=40, every=20)
    np.testing.assert_array_equal(found.updates, [0, 20, 40])
    assert found.accuracy[-1] == np.mean(found.net.predict(data.X_rest).argmax(axis=1) == data.y_rest)
    assert found.accuracy[-1] > 0.5 > found.accuracy[0]
    assert found.first(found.accuracy[-1]) == 40 or found.accuracy[1] >= found.accuracy[-1]
    assert found.first(1.01) == np.inf
    lost = learn(deep(1, 16, us.nn.ReLU), data, 1e30, seed=0, updates=40, every=20)
    assert not lost.finite
    assert lost.accuracy[-1] == 0.1


def test_enlarging_spares_the_outputs_and_the_norms():
    net = us.nn.Network(*deep(2, 5, us.nn.ReLU, "before"), input_shape=(64,), seed=1)
    before = net.theta.copy()
    enlarge(net, 3.0)
    changed = {name for name, where, _ in net.blocks if (net.theta[where] != before[where]).any()}
    assert changed == {"0.weight", "3.weight"}
    np.testing.assert_allclose(net.block("0.weight").ravel(), 3.0 * before[: 64 * 5], rtol=1e-6)


# --- norm-placement ---


def test_norm_placement(tmp_path):
    run = us.labs.run("norm-placement")
    assert run.holds, run.sentence
    json.dumps(run.to_dict(), allow_nan=False)
    assert run.save(tmp_path / "figure.png").stat().st_size > 20_000
    found = run.results
    for place in norm_placement.PLACES:
        side = found["either_side"][place]
        assert np.all(np.asarray(side["passed"]) <= 0.25)
        assert np.all(np.asarray(side["z"]) > 0)
    # normalised before it, a sigmoid passes the same whatever the weights
    np.testing.assert_allclose(found["passed"]["before"], 0.212, atol=0.005)
    assert found["passed"]["after"][-1] < 0.1
    assert found["saturated"]["after"][-1] > 0.5 > 0.01 > found["saturated"]["before"][-1]
    # without normalisation a quarter passes at every layer, and the gradient shrinks geometrically
    plain, normed = (np.asarray(found["either_side"][place]["z"]) for place in ("none", "before"))
    assert plain[-1] > 20 * plain[0]
    assert normed[-1] < 2 * normed[0]


@pytest.mark.parametrize(
    "settings", [{"depth": 1, "sizes": (1e4,)}, {"rates": (100.0,)}, {"width": 2, "sizes": (1e-3,)}]
)
def test_norm_placement_at_odd_settings(settings, tmp_path):
    run = us.labs.run("norm-placement", **{"rates": (0.1,), "updates": 10, "seeds": 1, **settings})
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    draw(run, settings, tmp_path)


# --- batchnorm ---


@pytest.fixture(scope="module")
def batchnorm_run():
    return us.labs.run("batchnorm")


def test_batchnorm(batchnorm_run, tmp_path):
    run = batchnorm_run
    assert run.holds, run.sentence
    json.dumps(run.to_dict(), allow_nan=False)
    assert run.save(tmp_path / "figure.png").stat().st_size > 20_000


def test_a_batch_is_one_function_in_train_mode_only(batchnorm_run):
    z, found = np.asarray(batchnorm_run.results["z"]), batchnorm_run.results["jacobian"]
    deviation = np.sqrt(z.var() + 1e-5)
    normed = (z - z.mean()) / deviation
    wanted = (np.eye(8) - 1 / 8 - np.outer(normed, normed) / 8) / deviation
    np.testing.assert_allclose(found["train"], wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(found["eval"] != 0, np.eye(8, dtype=bool))
    off = ~np.eye(16, dtype=bool)
    for mode, coupled in (("train", True), ("eval", False)):
        others = np.asarray(batchnorm_run.results["coupling"][mode])[off]
        assert np.all(others > 0) if coupled else np.all(others == 0)


def test_coupling_is_what_another_samples_pixels_do():
    data, net = digits_in_two(0), batchnorm_measures.twin_networks(3, 16, 0)["before"]
    found = batchnorm_measures.sample_coupling(net, data, 6, training=True)
    X = data.X[:6].astype(np.float64)

    def loss_of_first(moved):
        trace = forward(net, net.theta.astype(np.float64), moved)
        return cross_entropy(trace.values[-1][:1], data.y[:1])[0]

    h, slopes = 1e-6, []
    for pixel in range(64):
        step = np.zeros_like(X)
        step[4, pixel] = h
        slopes.append((loss_of_first(X + step) - loss_of_first(X - step)) / (2 * h))
    assert found[0, 4] == pytest.approx(np.linalg.norm(slopes), rel=1e-3)


def test_gamma_and_beta_stay_frozen_and_running_means_follow(batchnorm_run):
    results = batchnorm_run.results
    at = np.asarray(results["measured_at"])
    for found in results["followed"]:
        still = at <= results["frozen"]
        assert np.all(found["gamma"][still] == 1) and np.all(found["beta"][still] == 0)
        assert np.all(found["gamma"][~still] != 1) and np.all(found["beta"][~still] != 0)
    quick, usual, slow = batchnorm.running_errors(results)
    assert usual[-1] < 0.1 < slow[-1]  # 0.99^140 = 0.24 of the start is left
    assert quick[4] < 0.5 * usual[4]  # after 20 updates
    np.testing.assert_array_equal(results["followed"][0]["gamma"], results["followed"][2]["gamma"])


def test_only_speed_is_claimed_for_the_larger_rates(batchnorm_run):
    relu = batchnorm_run.results["learning"]["ReLU"]["before"]
    five, thirty = relu[1], relu[2]
    assert five["arrival"] < thirty["arrival"]
    assert five["final"] == pytest.approx(thirty["final"], abs=0.04)


def test_the_plane_is_the_same_for_both_networks():
    nets = batchnorm_measures.twin_networks(2, 8, 0)
    mine, its = batchnorm_measures.plane(nets["none"], nets["before"], 0)
    np.testing.assert_array_equal(mine[mine != 0], its[its != 0])
    np.testing.assert_allclose(
        np.linalg.norm(mine[0][: 64 * 8].reshape(8, 64), axis=1), np.linalg.norm(nets["none"].block("0.weight"), axis=1)
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 1, "frozen": 0, "factors": (1.0,)},
        {"lr": 100.0, "factors": (1e3, 1e6)},
        {"width": 2, "frozen": 1000, "every": 7},
        {"goal": 1.0, "updates": 20, "every": 50},
    ],
)
def test_batchnorm_at_odd_settings(settings, tmp_path):
    run = us.labs.run("batchnorm", **{"width": 16, "updates": 20, "seeds": 1, "resolution": 5, **settings})
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    draw(run, settings, tmp_path)


# --- why-batchnorm ---


@pytest.fixture(scope="module")
def why_run():
    return us.labs.run("why-batchnorm")


@pytest.mark.slow
def test_why_batchnorm(why_run, tmp_path):
    assert why_run.holds, why_run.sentence
    json.dumps(why_run.to_dict(), allow_nan=False)
    assert why_run.save(tmp_path / "figure.png").stat().st_size > 20_000
    plain, normed = (why_batchnorm.widths(why_run.results["measures"][kind]) for kind in why_batchnorm.KINDS)
    assert plain["loss"] > 5 * normed["loss"]
    assert plain["distance"] > 4 * normed["distance"]
    assert 0.6 < normed["shift"] / plain["shift"] < 1.6
    arms = why_run.results["arms"]
    assert arms["noisy batch norm"]["accuracy"][-1] > 0.85
    assert arms["noisy batch norm"]["unrest"] > 2 * arms["batch norm"]["unrest"]


@pytest.mark.slow
def test_the_inequality_is_an_equality_but_for_eps(why_run):
    found = why_run.results["inequality"]
    left, right = np.asarray(found["left"]), np.asarray(found["right"])
    assert len(left) == 3 * 10 * 64
    live = right > 0
    assert live.mean() > 0.9
    assert np.all(left[live] <= right[live] * (1 + 1e-9))
    np.testing.assert_allclose(left[live], right[live], rtol=1e-3)
    assert np.all(right <= np.asarray(found["unreduced"]))


def test_measures_along_the_step_on_a_quadratic():
    # L = ½θᵀAθ: along −g the gradient changes by ηAg, so β = ‖Ag‖/‖g‖
    A = np.diag([1.0, 4.0])
    land = us.FunctionLandscape(lambda t: 0.5 * t @ A @ t, lambda t: A @ t, n=2)
    theta = np.array([1.0, 1.0])
    g = A @ theta
    found = smoothness.along_the_step(land, theta, g, None, [0.1, 0.2])
    np.testing.assert_allclose(found.losses, [0.5 * (theta - r * g) @ A @ (theta - r * g) for r in (0.1, 0.2)])
    np.testing.assert_allclose(found.distances, [0.1 * np.linalg.norm(A @ g), 0.2 * np.linalg.norm(A @ g)])
    assert found.beta == pytest.approx(np.linalg.norm(A @ g) / np.linalg.norm(g))


def test_covariate_shift_is_that_of_the_layers_before():
    # L = ½(xy)²: after x's own step, y's gradient x²y is smaller by the factor (1 − ηy²)²
    land = us.FunctionLandscape(
        lambda t: 0.5 * (t[0] * t[1]) ** 2, lambda t: np.array([t[0] * t[1] ** 2, t[0] ** 2 * t[1]]), n=2
    )
    theta, rate = np.array([2.0, 0.5]), 0.1
    layers = [[("x", slice(0, 1), (1,))], [("y", slice(1, 2), (1,))]]
    size, cosine = smoothness.covariate_shift(land, theta, land.gradient(theta)[1], None, rate, layers)
    assert size == pytest.approx(1 - (1 - rate * 0.25) ** 2)
    assert cosine == pytest.approx(1.0)


def test_descent_is_the_trainers():
    data, net = digits_in_two(0), us.nn.Network(*deep(2, 8, us.nn.ReLU, "before"), input_shape=(64,), dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), data.X, data.y, mode="train")
    theta = net.theta.copy()
    assert sum(1 for _ in smoothness.descent(land, theta, len(data.X), 128, 0.1, 15, 3)) == 15
    us.Trainer(land, us.optim.SGD(lr=0.1), batch_size=128, seed=3).fit(steps=15)
    np.testing.assert_array_equal(theta, net.theta)
    assert sum(1 for _ in smoothness.descent(land, theta, len(data.X), 128, 1e200, 15, 3)) < 5


@pytest.mark.parametrize(
    "settings", [{"lr": 100.0}, {"depth": 2, "lr": 1e-6}, {"width": 2, "every": 50}, {"steps": (1.0, 1.0)}]
)
def test_why_batchnorm_at_odd_settings(settings, tmp_path):
    run = us.labs.run("why-batchnorm", **{"depth": 3, "width": 8, "updates": 10, **settings})
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    draw(run, settings, tmp_path)


# --- norm-family ---


@pytest.fixture(scope="module")
def family_run():
    return us.labs.run("norm-family")


def test_norm_family(family_run, tmp_path):
    assert family_run.holds, family_run.sentence
    json.dumps(family_run.to_dict(), allow_nan=False)
    assert family_run.save(tmp_path / "figure.png").stat().st_size > 20_000
    accuracy = {name: np.median(found, axis=1) for name, found in family_run.results["accuracy"].items()}
    assert accuracy["batch"][0] < 0.5
    assert min(accuracy[name][0] for name in ("layer", "group", "RMS")) > 0.9
    assert all(row[-1] > 0.8 for row in accuracy.values())


def test_reach_is_the_axes_of_each_norm(family_run):
    n, c, s = norm_family.SHAPE
    at = np.indices(norm_family.SHAPE)
    wanted = {
        "batch": at[1] == 0,
        "layer": at[0] == 0,
        "group": (at[0] == 0) & (at[1] < 3),
        "instance": (at[0] == 0) & (at[1] == 0),
        "RMS": at[0] == 0,
    }
    for name, found in family_run.results["reach"].items():
        np.testing.assert_array_equal(found, wanted[name], err_msg=name)


def test_noise_of_batch_statistics_follows_its_leading_order(family_run):
    noise, expected = family_run.results["noise"], family_run.results["expected"]
    np.testing.assert_allclose(noise["batch"][-2:], expected[-2:], rtol=0.1)
    assert all(noise[name] == [0.0] * len(expected) for name in norm_family.FAMILY if name != "batch")


@pytest.mark.parametrize(
    "settings", [{"batches": (3, 1024)}, {"batches": (1024,), "lr": 100.0}, {"depth": 1, "lr": 1e-6}]
)
def test_norm_family_at_odd_settings(settings, tmp_path):
    run = us.labs.run("norm-family", **{"batches": (8, 64), "draws": 10, "epochs": 1, "seeds": 1, **settings})
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    draw(run, settings, tmp_path)


# --- feature-scale ---


@pytest.mark.parametrize("settings", [{"steps": 1}, {"ratio": 1e-6}, {"ratio": 1e6, "steps": 50}, {"noise": 100.0}])
def test_odd_settings_give_an_answer(settings, tmp_path):
    run = us.labs.run("feature-scale", **settings, resolution=7, samples=40)
    json.dumps(run.to_dict(), allow_nan=False)
    draw(run, settings, tmp_path)
