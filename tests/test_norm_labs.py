"""The labs about normalisation: the lecture's pictures in numbers, and claims that can fail."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us

pytest.importorskip("matplotlib", reason="needs matplotlib")


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


@pytest.mark.parametrize("settings", [{"steps": 1}, {"ratio": 1e-6}, {"ratio": 1e6, "steps": 50}, {"noise": 100.0}])
def test_odd_settings_give_an_answer(settings, tmp_path):
    run = us.labs.run("feature-scale", **settings, resolution=7, samples=40)
    json.dumps(run.to_dict(), allow_nan=False)
    run.save(tmp_path / "figure.svg")
