"""The labs about optimizers: the lecture's pictures in numbers, and claims that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from unstuck.labs import adagrad_burst, braking, convex, momentum, summary, warm_up
from unstuck.labs.surfaces import bumpy, crescent, elongated, flat_steep_flat, product
from unstuck.labs.walk import Walk, walk

pytest.importorskip("matplotlib", reason="needs matplotlib")


@pytest.mark.parametrize(
    ("surface", "point"),
    [
        (elongated(0.3, 7.0), [1.3, -0.4]),
        (product(), [1.3, -0.4]),
        (crescent(2.0, 0.25, 0.2, 3.0), [-1.2, 2.3]),
        (flat_steep_flat(0.1, 10.0, 5.0, 10.0, 0.2), [5.1]),
        (bumpy(0.1, 3.0, 0.6, -3.0, 0.5), [-3.3, 0.7]),
    ],
    ids=["elongated", "product", "crescent", "flat-steep-flat", "bumpy"],
)
def test_surfaces_have_the_gradient_of_their_loss(surface, point):
    theta, h = np.array(point), 1e-6
    slopes = [
        (surface.land.loss(theta + h * e) - surface.land.loss(theta - h * e)) / (2 * h) for e in np.eye(theta.size)
    ]
    _, gradient = surface.land.gradient(theta)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(surface.gradients(np.stack([theta, theta]))[1], gradient)
    if np.isfinite(surface.goal).all():
        assert np.linalg.norm(surface.land.gradient(surface.goal)[1]) < 1e-6


def test_a_walk_is_what_minimize_does():
    valley, opt = elongated(0.1, 10.0), us.optim.SGD(lr=0.05, momentum=0.5)
    found = walk(valley, opt, np.array([1.0, 2.0]), 50)
    np.testing.assert_array_equal(found.thetas, us.minimize(valley.land, opt, np.array([1.0, 2.0]), 50).thetas)
    assert opt.t == 0
    plain = walk(valley, us.optim.SGD(lr=0.05), np.array([1.0, 2.0]), 50)
    np.testing.assert_allclose(plain.rates, 0.05, rtol=1e-9)
    assert len(walk(valley, us.optim.SGD(lr=1e5), np.array([1.0, 2.0]), 10**4).thetas) < 200


def test_arrival_means_staying():
    surface = elongated(1.0, 1.0)
    found = Walk(surface, np.array([[2.0, 0], [0.1, 0], [2.0, 0], [0.1, 0], [0.0, 0]]), np.zeros((4, 2)))
    assert found.arrival(0.5) == 3
    assert found.arrival(0.01) == 4
    assert Walk(surface, found.thetas[:3], np.zeros((2, 2))).arrival(0.5) is None


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("momentum", {"momenta": (0.5,), "batches": (256,), "seeds": 1, "steps": 10, "patience": 10}),
        ("momentum", {"momenta": (0.0, 0.99), "seeds": 1, "lr": 1.0}),
        ("convex", {"large": 1000.0, "small": 1e3, "crawl": 10, "steps": 50}),
        ("convex", {"flat": 200.0, "steep": 0.1, "crawl": 10, "steps": 50}),
        ("braking", {"alphas": (0.0,), "gentle": 1e3, "steep": 1e-6, "steps": 100}),
        ("adagrad-burst", {"flat": 1e3, "steep": 1e-6, "lr": 10.0, "noise": 1.0, "steps": 100}),
        ("warm-up", {"beta2": 0.7, "networks": 0, "steps": 20, "draws": 100}),
        ("warm-up", {"beta2": 0.9999, "networks": 2, "batch_size": 1797, "steps": 20, "draws": 100}),
        ("summary", {"steep": 1e-3, "bump": 10.0, "noise": 0.0, "steps": 200}),
    ],
)
def test_odd_settings_give_an_answer(name, settings, tmp_path):
    small = {} if name == "warm-up" else {"resolution": 7}
    run = us.labs.run(name, **settings, **small)
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    run.save(tmp_path / "figure.svg")


@pytest.fixture(scope="module")
def runs():
    made = {}

    def run(name, **settings):
        key = name, tuple(settings.items())
        if key not in made:
            made[key] = us.labs.run(name, **settings)
        return made[key]

    return run


LABS = ["momentum", "convex", "braking", "adagrad-burst", "warm-up", "summary"]


@pytest.mark.parametrize("name", LABS)
def test_the_claim_holds_and_the_figure_is_drawn(runs, name, tmp_path):
    run = runs(name)
    assert run.holds, run.sentence
    json.dumps(run.to_dict(), allow_nan=False)
    assert run.save(tmp_path / "figure.png").stat().st_size > 20_000
    assert len(run.figure().axes) >= 2


# --- momentum ---


def test_momentum_crosses_and_leaves(runs):
    found = runs("momentum").results
    assert found["ridge_distance"][0] > 3.5
    assert found["ridge_distance"][-1] < 1e-4
    assert found["saddle_steps"][-1] < 0.5 * found["saddle_steps"][0]
    medians = momentum.median_steps(found)
    assert (np.diff(medians[:, 0]) < 0).all(), "more momentum leaves sooner"
    assert (np.diff(medians, axis=1) >= 0).all(), "smaller batches leave sooner"
    assert np.isinf(medians[:, -1]).all(), "without noise nothing leaves"
    assert found["sum_error"] < 1e-13


def test_the_noisy_saddle_has_no_slope_on_average():
    slopes = momentum.noisy_saddle()
    assert slopes.shape == (256, 2)
    assert (slopes.mean(axis=0) == 0.0).all()


# --- a long valley ---


def test_no_fixed_rate_is_right(runs):
    found = runs("convex").results
    assert abs(found["bounce"]["end"][1]) == pytest.approx(1.0, rel=1e-9), "bounces between the walls"
    assert found["crawl_steps"] == 100_000
    assert found["crawl"]["end"][0] < -9.9, "crawls"
    best = convex.best_fixed(found)
    assert best["arrival"] > 4000
    assert {name: row["arrival"] < 1100 for name, row in found["adaptive"].items()} == {
        "Adagrad": True,
        "RMSProp": True,
        "Adam": True,
    }
    rates = np.asarray(found["rates"]["Adagrad"])
    assert rates[0, 0] / rates[0, 1] == pytest.approx(200.0, rel=1e-6)


# --- braking ---


def test_rmsprop_brakes_and_speeds_up_again_and_adagrad_does_not(runs):
    rows = runs("braking").results["profile"]
    for name in ("RMSProp 0.1", "RMSProp 0.9"):
        assert rows[name]["within"] == pytest.approx(0.01 * rows[name]["before"], rel=0.05)
        assert rows[name]["after"] == pytest.approx(rows[name]["before"], rel=0.05)
    assert 0.5 < rows["RMSProp 0.99"]["after"] / rows["RMSProp 0.99"]["before"] < 0.9
    assert rows["Adagrad, mean"]["after"] < 0.11 * rows["Adagrad, mean"]["before"]
    summed = rows["Adagrad"]
    assert (np.diff(summed["rate"]) <= 0).all(), "the sum never lets the rate grow"
    assert summed["after"] < summed["within"]
    assert rows["RMSProp 0.9"]["updates"] < 0.2 * min(summed["updates"], rows["Adagrad, mean"]["updates"])


def test_the_first_step_of_every_rule_is_the_rate():
    from unstuck.settings import make

    for opt in braking.rules(make(braking.Settings, {})).values():
        theta = np.zeros(2)
        opt.step(theta, np.array([3.0, -1e-3]))
        np.testing.assert_allclose(theta, [-0.05, 0.05], rtol=1e-4)


# --- the burst ---


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-6])
def test_the_burst_is_of_the_mean_form_only_and_is_cured(runs, noise):
    walks = runs("adagrad-burst", noise=noise).results["walks"]
    mean = walks[adagrad_burst.PLAIN]
    assert mean["quiet"] < 20
    assert mean["burst"] > 200, "after hundreds of quiet updates"
    assert mean["peak"] > 0.4
    assert mean["x_at_burst"] < -10, "while it is still on its way"
    assert mean["again"] < mean["burst"] + 200, "and recovers"
    # not in the sum form, and decay or warm-up cures it
    for name in (adagrad_burst.SUM, adagrad_burst.DECAY, adagrad_burst.WARM, adagrad_burst.BOTH):
        assert walks[name]["burst"] is None, name
        assert walks[name]["peak"] <= adagrad_burst.QUIET, name
    for name in (adagrad_burst.SUM, adagrad_burst.DECAY, adagrad_burst.BOTH):
        assert walks[name]["unstable"] is None, name
    assert walks[adagrad_burst.SUM]["x"] < -50, "at the same rate the sum form crawls"
    assert abs(walks[adagrad_burst.DECAY]["x"]) < 1e-3


def test_warm_up_alone_puts_the_burst_off_and_decay_ends_it():
    long = us.labs.run("adagrad-burst", steps=8000).results["walks"]
    assert long[adagrad_burst.WARM]["burst"] > 6000
    assert long[adagrad_burst.BOTH]["burst"] is None
    assert long[adagrad_burst.DECAY]["burst"] is None


# --- warm-up ---


@pytest.mark.parametrize("beta2", [0.9, 0.99, 0.999])
def test_rectification_is_the_papers(beta2):
    r = warm_up.rectification(beta2, 3000)
    if beta2 == 0.999:
        assert r[[5, 99, 999, 1999]] == pytest.approx([0.026, 0.215, 0.645, 0.828], abs=6e-4)
    assert np.isnan(r[:4]).all()
    assert (np.diff(r[5:200]) > 0).all()
    assert r[-1] <= 1.0 + 1e-12


def test_radam_takes_the_rectified_step(runs):
    found = runs("warm-up").results
    known = np.isfinite(found["rectification"])
    np.testing.assert_allclose(found["radam"][known], found["rectification"][known], rtol=1e-9)
    assert (found["radam"][~known] == 0).all()


# --- the summary ---


@pytest.mark.parametrize("seed", range(3))
def test_every_ingredient_is_needed(runs, seed):
    found = runs("summary", seed=seed).results
    stages = found["stages"]
    arrivals = {name: row["arrival"] for name, row in stages.items()}
    assert arrivals["descent"] is None
    assert arrivals["σ alone"] is None
    assert arrivals["momentum + σ"] < 0.9 * arrivals["+ momentum"]
    assert stages["momentum + σ + schedule"]["rest"] < 0.3 * stages["momentum + σ"]["rest"]
    assert len(found["table"]) == 12


def test_every_momentum_goes_with_every_size_and_schedule():
    from unstuck.settings import make

    settings = make(summary.Settings, {"steps": 200})
    valley = summary.surface_of(settings)
    for parts in summary.STAGES.values():
        found = walk(valley, summary.optimizer(*parts, settings), summary.START, 200)
        assert found.distances[-1] < found.distances[0]


# --- claims can fail ---


@pytest.mark.parametrize(
    ("name", "module", "change"),
    [
        ("momentum", momentum, {"ridge_distance": [0.0, 0.0, 0.0]}),
        ("momentum", momentum, {"sum_error": 1e-3}),
        ("momentum", momentum, {"saddle_steps": [50, 50, 60]}),
        ("convex", convex, {"bounce": {"end": np.array([0.0, 0.01])}}),
        ("convex", convex, {"crawl": {"end": np.array([0.0, 0.0])}}),
        ("convex", convex, {"adaptive": {"Adam": {"arrival": None}}}),
        ("adagrad-burst", adagrad_burst, {"difference": 1e-3}),
        ("warm-up", warm_up, {"measured": np.ones(1000)}),
        ("warm-up", warm_up, {"radam": np.ones(1000)}),
        ("summary", summary, {"step_share": {"σ alone": 0.5, "momentum + σ": 0.5}}),
    ],
)
def test_claims_can_fail(runs, name, module, change):
    assert not module.claim({**runs(name).results, **change})[0]


def test_claims_about_walks_can_fail(runs):
    burst = runs("adagrad-burst").results
    for name, change in [
        (adagrad_burst.PLAIN, {"burst": None}),
        (adagrad_burst.PLAIN, {"again": None}),
        (adagrad_burst.SUM, {"burst": 500}),
        (adagrad_burst.WARM, {"burst": 500}),
        (adagrad_burst.DECAY, {"unstable": 500}),
    ]:
        walks = {**burst["walks"], name: {**burst["walks"][name], **change}}
        assert not adagrad_burst.claim({**burst, "walks": walks})[0], (name, change)
    brake = runs("braking").results
    for name, change in [
        ("RMSProp 0.1", {"after": 0.1 * brake["profile"]["RMSProp 0.1"]["before"]}),
        ("Adagrad", {"after": brake["profile"]["Adagrad"]["before"], "recovers": True}),
        ("Adagrad, mean", {"within": brake["profile"]["Adagrad, mean"]["before"]}),
    ]:
        rows = {**brake["profile"], name: {**brake["profile"][name], **change}}
        assert not braking.claim({**brake, "profile": rows})[0], (name, change)
