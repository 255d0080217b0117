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

import numpy as np
import pytest

import unstuck as us
from test_data import BAD, GOOD
from unstuck.cli import main
from unstuck.progress import bar

pytest.importorskip("rich_click", reason="needs rich-click")


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


# --- usage ---


def test_help_and_version(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for name in ("demo", "train", "diagnose", "lab", "env"):
        assert name in out
        assert run(capsys, name, "--help")[0] == 0
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


# --- train ---


def test_train_classification(capsys, tmp_path):
    report = tmp_path / "r.html"
    code, out, err = run(capsys, "train", table(tmp_path), "--target", "y", *FAST, "--report", str(report))
    assert code in (0, 1)
    assert "training loss" in out
    assert "held-out rows" in out
    assert "Classification, decided from the target: `y` holds 2 different texts." in err
    page = report.read_text(encoding="utf-8")
    assert "<svg" in page
    assert "accuracy" in page


def test_train_regression_as_json(capsys, tmp_path):
    arguments = ["--target", "y", "--hidden", "8", "--epochs", "40", "--lr", "0.01", "--json", "--validation", "0.25"]
    code, out, err = run(capsys, "train", table(tmp_path, 80, "number"), *arguments)
    assert code in (0, 1)
    data = json.loads(out)
    assert data["facts"][0]["data"]["task"] == "regression"
    quality = data["facts"][1]
    assert "held-out" in quality["label"]
    # in the target's own unit: its deviation is about 14
    assert 10 < quality["data"]["baseline"] < 20
    assert quality["data"]["rmse"] < 5
    assert data["data"]["verdict"] in us.Verdict.__members__
    assert us.verify(data["data"]["certificate"])
    assert "Regression" in err


def test_train_is_reproducible_and_options_matter(capsys, tmp_path):
    path = table(tmp_path)
    results = {}
    for name, more in {"a": [], "b": [], "sgd": ["--optimizer", "sgd"], "seed": ["--seed", "1"]}.items():
        out = run(capsys, "train", path, "--target", "y", *FAST, "--json", *more)[1]
        results[name] = json.loads(out)["data"]["loss"]
    assert results["a"] == results["b"]
    assert len(set(results.values())) == 3


def test_train_on_npz_without_validation_and_scaling(capsys, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    np.savez(tmp_path / "t.npz", X=X, y=(X[:, 0] > 0).astype(int))
    arguments = ["--target", "y", *FAST, "--validation", "0", "--no-standardise", "--hidden", "", "--json"]
    data = json.loads(run(capsys, "train", str(tmp_path / "t.npz"), *arguments)[1])
    assert "training rows" in data["facts"][1]["label"]
    assert data["details"][0]["data"]["sizes"] == [3, 2]


def test_a_loss_that_is_not_finite_is_found_and_reported(capsys, tmp_path):
    report = tmp_path / "r.json"
    arguments = ["--target", "y", *FAST, "--optimizer", "sgd", "--lr", "1e30", "--report", str(report)]
    code, out, _ = run(capsys, "train", table(tmp_path, kind="number"), *arguments)
    assert code == 1
    assert "Training stopped after" in out
    assert json.loads(report.read_text())["data"]["verdict"] == "NON_FINITE"


@pytest.mark.parametrize("case", BAD)
def test_a_hostile_csv_is_one_line_and_exit_2(capsys, tmp_path, case):
    content, _ = BAD[case]
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    report = tmp_path / "r.html"
    assert_one_line(*run(capsys, "train", str(path), "--target", "label", "--report", str(report)))
    assert not report.exists()


def test_other_bad_tables(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "t.csv").write_text(GOOD)
    (tmp_path / "big.csv").write_text("a,label\n" + "".join(f"{i}e300,{i % 2}\n" for i in range(1, 9)))
    (tmp_path / "one.csv").write_text("a,label\n1,x\n2,y\n3,x\n4,y\n")
    for name, more in [
        ("pipe.csv", []),
        ("folder.csv", []),
        ("t.csv", ["--target", "none"]),
        ("t.csv", ["--drop", "none"]),
        ("t.csv", ["--features", "label"]),
        ("t.csv", ["--task", "regression"]),
        ("big.csv", []),
        ("big.csv", ["--no-standardise"]),
        ("one.csv", ["--validation", "0.01"]),
    ]:
        arguments = ["train", str(tmp_path / name), "--target", "label", *more]
        assert_one_line(*run(capsys, *arguments))


def test_names_cannot_move_the_cursor(capsys, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(GOOD.replace("label", "la\x1b[31mbel").replace("a,b", "a\x1b]0;x\x07,[red]b"))
    code, out, err = run(capsys, "train", str(path), "--target", "la\x1b[31mbel", *FAST, "--validation", "0")
    assert code in (0, 1)
    assert "\x1b" not in out + err
    code, out, err = run(capsys, "train", str(path), "--target", "la\x1b[31m")
    assert_one_line(code, out, err)


@pytest.mark.parametrize("kind", ["class", "number"])
@pytest.mark.parametrize("more", [[], ["--no-standardise"], ["--hidden", ""]])
def test_a_saved_network_takes_the_table_as_it_stands(capsys, tmp_path, kind, more):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) * [1e-3, 50.0] + [1.0, 1000.0]
    score = (X[:, 0] - 1.0) * 1e3 + (X[:, 1] - 1000.0) / 50.0
    y = np.where(score > 0, "up", "down") if kind == "class" else 1000 + 7 * score
    np.savez(tmp_path / "t.npz", X=X, y=y)
    if "--no-standardise" in more:
        np.savez(tmp_path / "t.npz", X=(X - [1.0, 1000.0]) * [1e3, 0.02], y=y)
        X = (X - [1.0, 1000.0]) * [1e3, 0.02]
    goal, report = tmp_path / "net.safetensors", tmp_path / "r.html"
    goal.write_bytes(b"an older file")
    arguments = ["--target", "y", "--hidden", "8", "--epochs", "60", "--lr", "0.02", "--validation", "0", *more]
    arguments += ["--save", str(goal), "--report", str(report), "--json"]
    code, out, err = run(capsys, "train", str(tmp_path / "t.npz"), *arguments)
    assert code in (0, 1)
    data = json.loads(out)
    assert data["data"]["saved"] == {
        "file": "net.safetensors",
        "inputs": ["X_0", "X_1"],
        "outputs": ["down", "up"] if kind == "class" else ["y"],
    }
    assert f"Network: {goal}" in err
    assert "X_0, X_1" in err
    assert "saved network" in report.read_text(encoding="utf-8")
    predicted = us.nn.Network.load(goal).predict(X)
    quality = data["facts"][1]["data"]
    if kind == "class":
        assert np.mean(np.array(["down", "up"])[predicted.argmax(axis=1)] == y) == quality["accuracy"]
    else:
        assert np.sqrt(np.mean((predicted[:, 0] - y) ** 2)) == pytest.approx(quality["rmse"], rel=1e-4)
        assert quality["rmse"] < 0.5 * quality["baseline"]


def test_nothing_is_saved_over_a_pipe_or_after_bad_input(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert_one_line(
        *run(capsys, "train", table(tmp_path), "--target", "y", "--save", str(tmp_path / "pipe.safetensors"))
    )
    goal = tmp_path / "net.safetensors"
    assert_one_line(*run(capsys, "train", table(tmp_path), "--target", "none", "--save", str(goal)))
    assert not goal.exists()


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
def wrong(): return 3
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


@pytest.mark.parametrize("name", ["wrong", "fails", "bad_data", "value", "missing"])
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
