"""What gradients and Hessian products hold in memory, measured in a process of its own for each network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("memory_program.py")


def measured(*arguments):
    command = [sys.executable, str(PROGRAM), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ), timeout=120)
    found = json.loads(run.stdout)
    if "missing" in found:
        pytest.skip(f"needs {found['missing']}")
    return found


@pytest.mark.parametrize("norm", ["norm", "plain"])
@pytest.mark.parametrize("kind", ["planes", "perceptron"])
def test_a_product_takes_little_more_than_a_gradient(kind, norm):
    """With `norm` all samples are one function, and a pass holds all of them; else it holds a chunk."""
    found = measured(kind, norm)
    gradient, kept = found["gradient"], found["kept"]
    assert kept["primal_pass"] == "kept"
    size = found["size"] - found["theta"]  # the operator keeps the point, too
    assert 0.9 * kept["bytes"] <= size <= 1.02 * kept["bytes"] + 100_000  # what the plan says
    if norm == "norm":
        assert kept["bytes"] <= 2.2 * gradient
        return
    again = found["again"]
    assert again["primal_pass"] != "kept"
    assert again["bytes"] <= 2.2 * gradient
    whole = gradient * 600 / kept["chunk_rows"]  # of a gradient that kept all samples, too
    assert kept["bytes"] <= 3.5 * whole


def test_steps_hold_no_more_than_the_first():
    assert measured("steps")["size"] < 4096
