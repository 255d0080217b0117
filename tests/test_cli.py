"""The command line: exit codes, one-line errors, results on standard output, progress only on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unstuck as us
from command_line import FAST, assert_one_line, run, spawn, table
from unstuck.progress import bar

pytest.importorskip("rich_click", reason="needs rich-click")

# --- usage ---


def test_help_and_version(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("demo", "train", "diagnose", "lab", "env"):
        assert name in out
        assert run(capsys, name, "--help") == run(capsys, name, "-h")
    assert run(capsys, "--version") == (0, f"unstuck {us.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["train"],
        ["train", "t.csv"],
        ["train", "t.csv", "--target", "y", "--hidden", "8,x"],
        ["train", "t.csv", "--target", "y", "--hidden", "0"],
        ["train", "t.csv", "--target", "y", "--epochs", "0"],
        ["train", "t.csv", "--target", "y", "--lr", "nan"],
        ["train", "t.csv", "--target", "y", "--activation", "step"],
        ["train", "t.csv", "--target", "y", "--optimizer", "magic"],
        ["train", "t.csv", "--target", "y", "--no-such-option"],
        ["train", "missing.csv", "--target", "y"],
        ["train", "t.csv", "--target", "y", "--report", "r.exe"],
        ["train", "t.csv", "--target", "y", "--report", "no/such/folder/r.html"],
        ["train", "t.csv", "--target", "y", "--save", "net.html"],
        ["train", "t.csv", "--target", "y", "--save", "no/such/folder/net.safetensors"],
        ["demo", "--report", "no/such/folder/r.html"],
        ["demo", "--seed", "-1"],
        ["lab"],
        ["lab", "nonsense"],
        ["lab", "saddle", "--steps", "0"],
        ["lab", "saddle", "--out", "figure.exe"],
        ["diagnose"],
        ["diagnose", "no colon"],
        ["diagnose", "no_such_module_at_all:f"],
        ["env", "surplus"],
    ],
)
def test_bad_usage_is_one_line_and_exit_2(capsys, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_line(*run(capsys, *arguments))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["nonsense"], ["'nonsense'", "demo", "train", "diagnose", "lab", "env"]),
        (["lab", "nonsense"], ["'nonsense'", *us.labs.NAMES]),
        (["lab", "sadle"], ["did you mean saddle?"]),
        (["labs"], ["did you mean lab?"]),
        (["diagnose", "my_runs.py:stuck"], ["did you mean my_runs:stuck?"]),
        (["diagnose", "my_runs"], ["package.module:function", "my_runs:stuck"]),
        (["diagnose", "a:b", "--save", "run.ckpt"], ["`--save`", "`--unstick`"]),
        (["lab"], us.labs.NAMES),
        (["train", "t.csv", "--target", "y", "--save", "net.html"], ["`--save`", ".safetensors"]),
        (["train", "t.csv", "--target", "y", "--report", "r.exe"], ["`--report`", ".html"]),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_ones(capsys, arguments, names):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert [name for name in names if name not in err] == []


@pytest.mark.parametrize("command", ["diagnose", "train", "lab", "demo"])
def test_help_documents_the_exit_codes(capsys, command):
    out = " ".join(run(capsys, command, "--help")[1].replace("│", " ").split())
    assert "Exit codes: 0 " in out
    assert "130 interrupted" in out


def test_no_command_shows_the_help():
    done = spawn()
    assert done.returncode == 2
    assert "diagnose" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


# --- env and lab ---


def test_env(capsys):
    code, out, err = run(capsys, "env")
    assert (code, err) == (0, "")
    assert "CPU variant" in out
    data = json.loads(run(capsys, "env", "--json")[1])
    assert data["unstuck"] == us.__version__
    assert data["threads"] == us.threads()
    assert data["CPU variant"] == us._core.level
    assert str(Path.home()) not in out
    assert "/" not in out.replace("Linux x86_64", "")


def test_lab_list(capsys):
    code, out, _ = run(capsys, "lab", "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(us.labs.NAMES)
    data = json.loads(run(capsys, "lab", "--list", "--json")[1])
    assert [lab["name"] for lab in data["labs"]] == list(us.labs.NAMES)


def test_lab_takes_every_setting(capsys, tmp_path):
    figure = tmp_path / "s.png"
    arguments = ["--x", "2", "--no-exact", "--steps", "50", "--resolution", "7", "--out", str(figure)]
    code, out, err = run(capsys, "lab", "saddle", *arguments)
    assert code == 0, out
    assert out.startswith("The claim holds. At (0, 0)")
    assert "Figure: s.png" in err
    assert figure.read_bytes().startswith(b"\x89PNG")
    data = json.loads(run(capsys, "lab", "saddle", "--json", "--resolution", "5")[1])
    assert data["holds"] is True
    assert data["settings"]["resolution"] == 5


def test_a_failed_claim_is_exit_1(capsys, monkeypatch):
    monkeypatch.setattr("unstuck.labs.saddle.claim", lambda results: (False, "No."))
    code, out, _ = run(capsys, "lab", "saddle", "--resolution", "5")
    assert code == 1
    assert out == "The claim does not hold. No.\n"


# --- diagnose ---

FACTORIES = """
import numpy as np, unstuck as us
print("noise from the module")
def saddle():
    f = lambda w: (1 - w[0] * w[1]) ** 2
    g = lambda w: np.array([-2 * w[1] * (1 - w[0] * w[1]), -2 * w[0] * (1 - w[0] * w[1])])
    print("noise from the factory")
    return us.FunctionLandscape(f, g, n=2), np.zeros(2)
def trainer():
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 10), input_shape=(64,), seed=0)
    run = us.Trainer(us.NetworkLandscape(net, us.nn.CrossEntropy(), X[:300], y[:300]), us.optim.Adam(lr=1e-2))
    return run.fit(epochs=3)
def land():
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 16), us.nn.Tanh(), us.nn.Linear(16, 10), input_shape=(64,), init="zeros")
    return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
def stuck():
    return us.Trainer(land(), us.optim.SGD(lr=0.1), batch_size=64).fit(steps=300)
def wrong(): return 3
def wrong_pair(): return 3, np.zeros(2)
def fails(): raise KeyError("column [red]x\\x1b")
def bad_data(): raise us.errors.DataError("line 3: no")
value = 3
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    (tmp_path / "my_factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_factories", None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def test_diagnose_a_point(capsys, factories):
    code, out, err = run(capsys, "diagnose", "my_factories:saddle", "--json", "--report", "d.html")
    assert code == 1
    data = json.loads(out)
    assert "STRICT_SADDLE" in json.dumps(data)
    assert "noise from the factory" in err
    assert "<svg" in (factories / "d.html").read_text() or "STRICT_SADDLE" in (factories / "d.html").read_text()


def test_diagnose_a_run(capsys, factories):
    code, out, _ = run(capsys, "diagnose", "my_factories:trainer")
    assert code in (0, 1)
    assert len(out) > 20
    assert "noise from" not in out


def test_diagnose_says_what_to_do(capsys, factories):
    code, out, _ = run(capsys, "diagnose", "my_factories:stuck")
    assert code == 1
    assert "STRICT_SADDLE" in out
    assert "us.escape(" in out
    assert max(map(len, out.splitlines())) <= 100


def test_diagnose_tries_remedies_and_saves_the_freed_run(capsys, factories):
    arguments = ["diagnose", "my_factories:stuck", "--unstick", "--save", "freed.ckpt", "--report", "o.html"]
    code, out, err = run(capsys, *arguments, "--json")
    assert code == 0, out
    data = json.loads(out)["data"]
    assert data["cause"] == "STRICT_SADDLE" and data["applied"]
    assert [row["name"] for row in data["tried"] if row["verified"]]
    assert "Run: freed.ckpt" in err and "What copies of the run reached" in (factories / "o.html").read_text()
    import my_factories

    fresh = my_factories.stuck()
    freed = us.Trainer.load(factories / "freed.ckpt", my_factories.land())
    assert freed.history.events[-1]["kind"] == "treatment"
    assert freed.fit(steps=400).land.loss(freed.theta) < fresh.fit(steps=400).land.loss(fresh.theta) - 0.5
    code, out, err = run(capsys, "diagnose", "my_factories:saddle", "--unstick")
    assert (code, out) == (2, "") and "needs a run" in err.splitlines()[-1]


def test_a_missing_function_is_answered_with_the_near_one(capsys, factories):
    code, _, err = run(capsys, "diagnose", "my_factories:sadle")
    assert code == 2
    assert "did you mean saddle?" in err


@pytest.mark.parametrize("name", ["wrong", "wrong_pair", "fails", "bad_data", "value", "missing"])
def test_bad_factories(capsys, factories, name):
    code, out, err = run(capsys, "diagnose", f"my_factories:{name}")
    assert code == 2
    assert out == ""
    assert err.splitlines()[-1].startswith("unstuck: ")
    assert "Traceback" not in err
    assert "\x1b" not in err


# --- demo ---


def test_demo_gets_free_and_writes_its_report(capsys, tmp_path):
    report = tmp_path / "r.html"
    code, out, err = run(capsys, "demo", "--json", "--report", str(report))
    assert code == 0
    data = json.loads(out)
    assert data["outcome"]["escaped"] is True
    assert data["sentence"]
    assert err == "Report: " + str(report) + "\n"
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") >= 3
    assert "escape" in page


# --- terminals, pipes, interrupts ---


def test_output_into_a_closed_pipe(tmp_path):
    line = f"{sys.executable} -m unstuck env --json | true; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


def test_output_where_unicode_is_unknown():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "unstuck", "lab", "--list"], capture_output=True, env=environment, check=False
    )
    assert done.returncode == 0
    assert done.stdout.isascii()


def test_ctrl_c_is_exit_130_and_leaves_nothing(tmp_path):
    path = table(tmp_path, 400)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    arguments = ["train", path, "--target", "y", "--epochs", "1000000", "--report", str(tmp_path / "r.html")]
    with subprocess.Popen(
        [sys.executable, "-m", "unstuck", *arguments], stdout=-1, stderr=-1, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the task is stated when training starts
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        start = time.perf_counter()
        out, err = process.communicate(timeout=60)
    assert time.perf_counter() - start < 5
    assert process.returncode == 130
    assert out == ""
    assert err.strip().endswith("unstuck: interrupted")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize("arguments", [["env"], ["train", "t.csv", "--target", "y"]])
def test_ctrl_c_during_the_imports_is_exit_130_without_a_traceback(tmp_path, arguments):
    # a SciPy that is interrupted while it is imported, in a place where other packages would swallow the exception
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(1)\n"
        "except BaseException as error:\n"
        "    raise ImportError('half imported') from error\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *(p for p in sys.path if p)])}
    done = subprocess.run(
        [sys.executable, "-m", "unstuck", *arguments], capture_output=True, text=True, env=environment, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "unstuck: interrupted\n")
    # a program that imports the package keeps its own answer to Ctrl-C
    program = "try:\n import unstuck\nexcept ImportError as error:\n print(type(error.__cause__).__name__)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "KeyboardInterrupt\n", "")


def test_the_package_leaves_the_handler_of_ctrl_c_alone():
    import signal as signals

    assert signals.getsignal(signals.SIGINT) is signals.default_int_handler


def on_terminal(arguments: list[str], **environment: str) -> str:
    """Everything a command writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"TERM": "xterm", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **environment})
        os.execv(sys.executable, [sys.executable, "-m", "unstuck", *arguments])
    chunks = []
    while True:
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.waitpid(pid, 0)
    os.close(terminal)
    return b"".join(chunks).decode("utf-8", "replace")


def test_a_bar_on_a_terminal_and_no_colour_if_asked(tmp_path):
    arguments = ["train", table(tmp_path, 400), "--target", "y", "--hidden", "8", "--epochs", "15"]
    shown = on_terminal(arguments)
    assert "training" in shown
    assert "━" in shown
    assert re.search(r"\x1b\[[\d;]*3[1-7]m|\x1b\[38", shown)
    bare = on_terminal(arguments, NO_COLOR="1")
    assert not re.search(r"\x1b\[[\d;]*3[0-8][;m]", bare)
    assert "━" not in on_terminal(arguments, TERM="dumb")


def test_no_bar_without_a_terminal(tmp_path):
    done = spawn("train", table(tmp_path), "--target", "y", *FAST)
    assert done.returncode in (0, 1)
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    with bar("x") as progress:
        assert progress(1, 2, "text") is None
