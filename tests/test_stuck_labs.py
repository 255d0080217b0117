"""The labs on being stuck: stuck-not-critical and stuckbench; claims that hold, and claims that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from unstuck.labs import stuck_not_critical, stuckbench
from unstuck.labs.stuck_not_critical import CRITICAL, NOISE, WALLS, movement, told

pytest.importorskip("matplotlib", reason="needs matplotlib")

QUICK = ("zero start", "rate too small", "dead layer", "overflow", "healthy: Adam", "healthy: ten updates")


@pytest.fixture(scope="module")
def still():
    return us.labs.run("stuck-not-critical", further=240)


@pytest.fixture(scope="module")
def bench():
    return us.labs.run("stuckbench", only=QUICK, budget=4.0)


def test_three_losses_stand_still_and_are_told_apart(still, tmp_path):
    assert still.holds, still.sentence
    rows = still.results["runs"]
    assert {kind: told(row) for kind, row in rows.items()} == {kind: kind for kind in (WALLS, NOISE, CRITICAL)}
    for row in rows.values():
        assert movement(np.asarray(row["losses"])) < 0.05
    assert rows[CRITICAL]["gradient"] < 1e-6 < 1e-2 < rows[NOISE]["gradient"]
    assert np.median(rows[WALLS]["norms"][-100:]) > 1e-2
    assert rows[WALLS]["edge"] > 1 > rows[NOISE]["edge"]
    assert rows[CRITICAL]["lowest"] < 0 and rows[CRITICAL]["verdict"] == "STRICT_SADDLE"
    assert still.save(tmp_path / "figure.png").stat().st_size > 20_000
    json.dumps(still.to_dict(), allow_nan=False)


def test_an_independent_gradient_says_the_same(still):
    """The gradient norm at the end of the noisy run, in NumPy's float64 from the run's own parameters."""
    settings = stuck_not_critical.Settings(further=240)
    run = stuck_not_critical.start(NOISE, settings)
    run.fit(steps=settings.updates)
    W, b = (run.land.net.block(name).astype(float) for name in ("0.weight", "0.bias"))
    z = run.land.X.astype(float) @ W.T + b
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), run.land.y] -= 1.0
    g = np.concatenate([(p.T @ run.land.X / len(p) + 1e-2 * W).ravel(), p.mean(axis=0) + 1e-2 * b])
    assert np.linalg.norm(g) == pytest.approx(still.results["runs"][NOISE]["gradient"], rel=1e-4)


def test_without_the_faults_the_claim_fails():
    run = us.labs.run("stuck-not-critical", samples=200, steep=1.0, updates=300, further=120)
    assert not run.holds, "a rate within the limit does not bounce"
    assert "undecided" in run.sentence or "told as critical" in run.sentence


def test_the_claim_about_still_losses_can_fail(still):
    rows = still.results["runs"]
    for kind, change in [
        (WALLS, {"verdict": "LOCAL_MINIMUM"}),
        (CRITICAL, {"norms": np.ones(900)}),
        (NOISE, {"losses": np.linspace(2.0, 1.0, 900)}),
        (NOISE, {"copies": {**rows[NOISE]["copies"], "all data": rows[NOISE]["copies"]["unchanged"]}}),
        (WALLS, {"copies": dict.fromkeys(rows[WALLS]["copies"], rows[WALLS]["copies"]["unchanged"])}),
    ]:
        changed = {**rows, kind: {**rows[kind], **change}}
        assert not stuck_not_critical.claim({**still.results, "runs": changed})[0], (kind, change.keys())


def test_the_bench_finds_planted_faults_and_leaves_healthy_runs_alone(bench, tmp_path):
    assert bench.holds, bench.sentence
    rows = {row["run"]: row for row in bench.results["rows"]}
    assert set(rows) == set(QUICK)
    assert rows["overflow"]["said"] == "NON_FINITE"
    assert all(rows[name]["said"] in ("HEALTHY", "CONVERGED") for name in QUICK if name.startswith("healthy"))
    assert stuckbench.scores(bench.results["rows"]) == {"faults": 4, "found": 4, "healthy": 2, "accused": 0}
    assert bench.save(tmp_path / "figure.png").stat().st_size > 20_000
    words = {text.get_text() for text in bench.figure().axes[0].texts}
    assert any(word.startswith("✓") for word in words)
    json.dumps(bench.to_dict(), allow_nan=False)


def test_every_run_of_the_bench_names_causes_that_exist():
    for name, (causes, _) in stuckbench.RUNS.items():
        assert set(causes) <= set(us.Cause.__members__), name
        assert name.startswith("healthy: ") == (causes == stuckbench.FINE)
    healthy = sum(name.startswith("healthy") for name in stuckbench.RUNS)
    assert healthy >= 9 and len(stuckbench.RUNS) - healthy >= 10


def test_the_claim_of_the_bench_can_fail(bench):
    rows = bench.results["rows"]
    accused = [{**row, "accused": True, "right": False} for row in rows]
    missed = [{**row, "right": False} if row["causes"][0] not in stuckbench.FINE else row for row in rows]
    assert not stuckbench.claim({"rows": accused})[0]
    assert not stuckbench.claim({"rows": missed})[0]


def test_an_unknown_run_is_refused_by_name():
    with pytest.raises(us.errors.ArgumentError, match="`only` must"):
        us.labs.run("stuckbench", only=("nonsense",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stuck-not-critical", "stuckbench"])
def test_the_claim_holds_at_its_defaults(name):
    run = us.labs.run(name)
    assert run.holds, run.sentence
