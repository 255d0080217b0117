"""Running the command line in tests: in this process or in one of its own, on a small table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from unstuck.cli import main


def table(tmp_path: Path, rows: int = 60, kind: str = "class") -> str:
    """A learnable table: y depends on a + b."""
    rng = np.random.default_rng(0)
    ab = rng.normal(size=(rows, 2))
    score = ab.sum(axis=1)
    y = np.where(score > 0, "up", "down") if kind == "class" else [f"{10 * s + 3:.6f}" for s in score]
    lines = [f"{a:.6f},{b:.6f},{label}" for (a, b), label in zip(ab, y, strict=True)]
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "\n".join(lines) + "\n")
    return str(path)


FAST = ["--hidden", "8", "--epochs", "5", "--activation", "tanh"]


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def spawn(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-m", "unstuck", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
        **more,
    )


def assert_one_line(code: int, out: str, err: str) -> None:
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("unstuck: ")
    assert err.strip().isprintable()
