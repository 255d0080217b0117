"""Points of known kind: classify and diagnose beside chosen spectra, theory, and PyTorch's dense Hessian."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

import unstuck as us

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
geometry = importlib.import_module("bench.stuck.geometry")
sys.path.pop(0)


@pytest.mark.parametrize("case", geometry.CASES, ids=[case.name for case in geometry.CASES])
def test_known_points(case):
    if case.name.startswith("tanh"):
        pytest.importorskip("torch")
    row = geometry.examine(case)
    assert row["right"], row
    assert row["cause right"], row
    assert row["inside"] and row["index"], row
    assert row["error"] < 1e-4, row


@pytest.mark.parametrize("hidden", [2, 3, 4])
def test_the_origin_of_a_deep_linear_network_is_never_called_a_minimum(hidden):
    land, theta, dense = geometry.deep_linear(hidden)()
    # all that bends is the constant; each of its three directions by 2/outputs
    np.testing.assert_allclose(
        land.hessian(theta) @ np.eye(len(theta)), np.diag(np.r_[np.zeros(len(theta) - 3), dense[-3:]]), atol=1e-14
    )
    assert us.classify(land, theta).verdict is us.Verdict.DEGENERATE
    found = us.diagnose(land, theta)
    assert found.cause in (us.Cause.FLAT_SADDLE, us.Cause.UNDECIDED)
    assert us.Cause.LOCAL_MINIMUM not in [cause for cause, _ in found.causes]
    assert us.Cause.CONVERGED not in [cause for cause, _ in found.causes]


def test_most_cases_are_decided():
    rows = [geometry.examine(case) for case in geometry.CASES if "critical" in case.name]
    assert sum(row["verdict"] == "STRICT_SADDLE" for row in rows) >= 5
