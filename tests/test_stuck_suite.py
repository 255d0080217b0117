"""The suite of stuck runs: its scores, its splits, and that a planted run is made and asked about."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import unstuck as us

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def suite(monkeypatch):
    """Loads a module of bench.stuck from the source tree."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"bench.stuck.{name}")


def test_wilson_interval(suite):
    # Newcombe (1998), table I: 81 of 263 and 0 of 20
    low, high = suite("score").wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    low, high = suite("score").wilson(0, 20)
    assert low == 0.0 and round(high, 4) == 0.1611


def test_splits_share_neither_tasks_nor_seeds(suite):
    tasks, main = suite("tasks"), suite("__main__")
    names = [task.name for task in tasks.TASKS]
    assert len(set(names)) == len(names) and {task.split for task in tasks.TASKS} == {"calibration", "test"}
    assert main.FIRST_SEED["test"] - main.FIRST_SEED["calibration"] >= 1000


def test_every_cause_of_the_suite_exists(suite):
    faults, healthy = suite("faults").FAULTS, suite("healthy").HEALTHY
    for plan in (*faults, *healthy):
        assert all(hasattr(us.Cause, cause) for cause in plan.causes.split()), plan.name
        assert plan.faulty == (plan in faults)


def test_one_of_each_is_made_and_asked(suite, capsys):
    assert suite("__main__").main(["--seeds", "1", "--only", "no update yet", "--budget", "0.5"]) == 0
    text = capsys.readouterr().out
    assert "false alarms (healthy runs)" in text and "0/12" in text
