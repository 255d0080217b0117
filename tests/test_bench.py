"""The benchmark's frame: turns, medians, ratios, discovery and its JSON; nothing here is a measurement."""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bench(monkeypatch):
    """The package of benchmarks in the source tree."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("bench.__main__")


def test_the_timer_takes_turns_and_reports_ratios(bench):
    timing = sys.modules["bench.timing"]
    turns = []
    candidates = {
        "ours": lambda: (turns.append("ours"), time.sleep(0.011)),
        "rival": lambda: (turns.append("rival"), time.sleep(0.033)),
    }
    comparison = timing.compare("sleep", candidates, checked=1e-9, bytes_moved=1000, repeats=4)
    assert turns[-8:] == ["ours", "ours", "rival", "rival", "rival", "rival", "ours", "ours"]
    assert comparison.timings["ours"].calls == 1
    ratio, low, high = comparison.ratios()["rival"]
    assert 0 < low <= ratio <= high
    document = json.loads(json.dumps(comparison.to_dict()))
    assert document["seconds"]["ours"]["median"] >= 0.011
    assert document["bytes_per_second"]["ours"] <= 1000 / 0.011
    assert "x ours" in str(comparison)
    assert "ms" in str(comparison)


def test_every_benchmark_is_found_and_measures(bench, capsys):
    names = bench.found()
    assert "optim" in names
    assert all(callable(importlib.import_module(f"bench.bench_{name}").measure) for name in names)
    with pytest.raises(SystemExit) as caught:
        bench.main(["no-such-benchmark"])
    assert caught.value.code == 2
    assert "no benchmark 'no-such-benchmark'" in capsys.readouterr().err


def test_the_machine_is_described(bench):
    facts = json.loads(json.dumps(sys.modules["bench.timing"].machine()))
    assert {"cpu", "cpus", "threads", "level", "load_average", "versions"} <= set(facts)
    assert facts["versions"]["numpy"]
