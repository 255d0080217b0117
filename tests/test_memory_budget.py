"""Peak memory of eigenpairs within its budget, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("resource", reason="needs getrusage")

SCRIPT = """
import json, resource, sys
import numpy as np
import unstuck as us

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

n, budget = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
d = np.empty(n, dtype=np.float32)
for begin in range(0, n, 10**6):
    size = min(10**6, n - begin)
    d[begin : begin + size] = np.minimum(10.0 ** rng.normal(-3, 0.7, size), 1.0)
d[:10], d[10] = np.linspace(10, 100, 10), -0.1
op = us.operators.HessianOperator(n, np.float32, lambda v: d * v)
before = peak()
pairs = us.curvature.eigenpairs(op, 1, tolerance=1e-2, memory_budget=budget)
print(json.dumps({
    "used": peak() - before, "form": pairs.plan.form, "planned": pairs.plan.bytes,
    "value": pairs.values[0], "complete": pairs.complete, "products": pairs.products,
}))
"""


def measured(n, budget):
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(n), str(budget)],
        capture_output=True, text=True, check=True, env=dict(os.environ), timeout=290,
    )  # fmt: skip
    return json.loads(run.stdout)


def check(n, budget):
    found = measured(n, budget)
    assert found["form"] == "thick restart"
    assert found["planned"] <= budget
    assert found["used"] <= budget + 2**24  # what NumPy, SciPy and the allocator take on their first calls
    assert abs(found["value"] + 0.1) < 1e-3
    assert found["complete"] is True


def test_a_million_parameters():
    check(10**6, 108 * 10**6)


@pytest.mark.slow
def test_ten_million_parameters_within_a_gibibyte():
    check(10**7, 2**30)
