"""The README: its commands and labs exist, its picture is small, its snippets run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import unstuck as us
from command_line import run
from unstuck.cli import COMMANDS

HOME = Path(__file__).parent.parent
TEXT = (HOME / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.S)


def test_commands_and_their_options_exist(capsys):
    pytest.importorskip("rich_click", reason="needs rich-click")
    lines = re.findall(r"\bbin/unstuck (\w[^#\n]*)", "\n".join(blocks("bash")))
    assert len(lines) > 5
    for line in lines:
        command, *words = line.split()
        assert command in COMMANDS, line
        path = [command, words[0]] if command == "lab" and words and words[0] in us.labs.NAMES else [command]
        known = run(capsys, *path, "--help")[1]
        assert [word for word in words if word.startswith("--") and word not in known] == [], line


def test_labs_that_are_named_exist():
    named = re.findall(r"unstuck\s+lab\s+([a-z][a-z-]+)", TEXT)
    assert len(named) > 4
    assert set(named) <= set(us.labs.NAMES)


def test_the_pictures_exist_and_are_small():
    for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", TEXT):
        assert 10_000 < (HOME / path).stat().st_size < 150_000


def test_every_cause_and_verdict_stands_in_a_table():
    rows = "\n".join(line for line in TEXT.splitlines() if line.startswith("|") or "`HEALTHY`" in line)
    missing = [name for name in us.Verdict.__members__ if f"`{name}`" not in rows]
    missing += [name for name in us.Cause.__members__ if f"`{name}`" not in rows and f"`{name}`" not in TEXT]
    assert set(missing) <= {"SHARP_MINIMUM"}


@pytest.mark.slow
def test_the_snippets_run_in_their_order(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    program = "\n".join(blocks("python"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
