"""The labs about curvature: minimum ratio, dimension, escape; claims that hold, and claims that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from unstuck.labs import dimension, escape, minimum_ratio
from unstuck.labs.small_networks import bins, curve, eigen

pytest.importorskip("matplotlib", reason="needs matplotlib")

SMALL = {
    "minimum-ratio": {"hidden": (6,), "seeds": 4, "products": 300, "matrices": 20},
    "dimension": {"widths": (2, 4, 8), "seeds": 2, "products": 300, "resolution": 11},
    "escape": {"hidden": 8, "samples": 200, "seeds": 1, "batches": (32,)},
}


@pytest.fixture(scope="module")
def runs():
    return {name: us.labs.run(name, **settings) for name, settings in SMALL.items()}


@pytest.mark.parametrize("name", SMALL)
def test_the_claim_holds_and_the_figure_is_drawn(runs, name, tmp_path):
    run = runs[name]
    assert run.holds, run.sentence
    json.dumps(run.to_dict(), allow_nan=False)
    assert run.save(tmp_path / "figure.png").stat().st_size > 20_000
    assert len(run.figure().axes) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_claim_holds_at_its_defaults(name):
    run = us.labs.run(name)
    assert run.holds, run.sentence


def test_the_signs_of_zeros_are_rounding(runs):
    found = runs["minimum-ratio"].results
    for matrix in found["matrices"]:
        assert matrix["positive"] == 6 / 128
        assert matrix["flat"] == 122 / 128
        assert 0.4 < matrix["raw"] < 0.65
    for point in found["points"]:
        assert point["negative"] + point["flat"] + point["positive"] == pytest.approx(1)
        assert (point["label"] == "local minimum like") == (point["gradient_norm"] < 1e-3 and point["raw"] > 0.5)


def test_bins_of_a_known_spectrum():
    found = bins(np.array([-1.0, -1e-6, 0.0, 1e-6, 0.5, 1.0]), 1e-4)
    assert found == {"negative": 1 / 6, "flat": 0.5, "positive": 1 / 3, "raw": 0.5}
    land = curve((3,), 0)
    values, vectors = eigen(land, land.theta)
    assert len(values) == land.n == 10
    np.testing.assert_allclose(land.hessian(land.theta) @ vectors, vectors * values, atol=1e-12)


def test_rank_correlation():
    assert minimum_ratio._rank_correlation(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1)
    assert minimum_ratio._rank_correlation(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1)
    assert minimum_ratio._rank_correlation(np.arange(5.0), np.ones(5)) == 0.0


def test_slices_are_judged_by_their_own_hessian():
    rng = np.random.default_rng(0)
    assert dimension._minima(np.array([1.0, 2.0, 3.0]), np.eye(3), rng) == 1.0
    assert dimension._minima(np.array([-1.0, -2.0, 3.0]), np.eye(3), rng) == 0.0
    assert 0.1 < dimension._minima(np.array([-1.0, 2.0, 3.0, 4.0]), np.eye(4), rng) < 0.9


def test_the_start_is_a_saddle():
    land, saddle = escape.landscape(escape.Settings())
    assert np.linalg.norm(land.gradient(saddle)[1]) < 1e-12
    point = us.classify(land, saddle)
    assert point.verdict is us.Verdict.STRICT_SADDLE


def test_claims_can_fail(runs):
    found = runs["escape"].results
    ways = [{**way, "escaped": False} for way in found["runs"][escape.CURVATURE]]
    assert not escape.claim({**found, "runs": {**found["runs"], escape.CURVATURE: ways}})[0]
    slow = [{**way, "updates": None} for way in found["runs"][escape.CURVATURE]]
    assert not escape.claim({**found, "runs": {**found["runs"], escape.CURVATURE: slow}})[0]
    assert not escape.claim({**found, "growth": 10 * found["growth"]})[0]
    found = runs["dimension"].results
    assert not dimension.claim({**found, "slice": {**found["slice"], "loss": 1e9}})[0]
    assert not dimension.claim({**found, "rows": [{**row, "below": 0} for row in found["rows"]]})[0]
    found = runs["minimum-ratio"].results
    assert not minimum_ratio.claim({**found, "points": [{**p, "raw": 0.5} for p in found["points"]]})[0]
    matrices = [{**m, "positive": 0.5} for m in found["matrices"]]
    assert not minimum_ratio.claim({**found, "matrices": matrices})[0]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("minimum-ratio", {"hidden": (1,), "seeds": 1, "stops": (0,), "products": 20, "rank": 200, "matrices": 1}),
        ("dimension", {"widths": (1, 1), "seeds": 1, "products": 20, "resolution": 5}),
        ("escape", {"hidden": 1, "samples": 50, "lr": 1e-4, "steps": 10, "seeds": 1, "batches": ()}),
    ],
)
def test_odd_settings_give_an_answer(name, settings, tmp_path):
    run = us.labs.run(name, **settings)
    assert not run.holds
    json.dumps(run.to_dict(), allow_nan=False)
    run.save(tmp_path / "figure.svg")
