"""`unstuck train`: what it reports and saves, and how it refuses what it cannot use."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import unstuck as us
from command_line import FAST, assert_one_line, run, table
from test_data import BAD, GOOD

pytest.importorskip("rich_click", reason="needs rich-click")


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
    (tmp_path / "apart.csv").write_text(
        "a,label\n" + "".join(f"{'-' * (i % 4 == 0)}1.7e308,{i % 2}\n" for i in range(40))
    )
    (tmp_path / "one.csv").write_text("a,label\n1,x\n2,y\n3,x\n4,y\n")
    for name, more in [
        ("pipe.csv", []),
        ("folder.csv", []),
        ("t.csv", ["--target", "none"]),
        ("t.csv", ["--drop", "none"]),
        ("t.csv", ["--features", "label"]),
        ("t.csv", ["--task", "regression"]),
        ("apart.csv", []),
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


@pytest.mark.parametrize("scaling", [[], ["--no-standardise"]])
def test_missing_values_are_given_the_training_mean(capsys, tmp_path, scaling):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2)) + [1.0, -2.0]
    y = 3.0 * X[:, 0]
    X[::5, 1] = np.nan
    np.savez(tmp_path / "t.npz", X=X, y=y)
    arguments = ["--target", "y", "--hidden", "8", "--epochs", "40", "--lr", "0.02", "--validation", "0.25", *scaling]
    code, out, err = run(capsys, "train", str(tmp_path / "t.npz"), *arguments)
    assert_one_line(code, out, err)
    assert "row 1: `X_1` has no value" in err
    assert "see the option `missing`" in err
    goal = tmp_path / "net.safetensors"
    arguments += ["--missing", "mean", "--save", str(goal), "--json"]
    code, out, err = run(capsys, "train", str(tmp_path / "t.npz"), *arguments)
    assert code in (0, 1)
    data = json.loads(out)
    (fact,) = (fact for fact in data["details"] if fact["label"] == "missing values")
    rows, held = us.data.split(80, 0.25, 0)
    mean = np.nanmean(X[rows, 1])
    assert fact["data"] == {"X_1": {"missing": 16, "mean": pytest.approx(mean)}}
    fill = data["data"]["saved"]["fill"]
    assert fill == pytest.approx([X[rows, 0].mean(), mean])
    assert "a missing value as `fill` says" in err
    filled = np.where(np.isnan(X), fill, X)
    predicted = us.nn.Network.load(goal).predict(filled[held])[:, 0]
    quality = next(fact["data"] for fact in data["facts"] if "held-out" in fact["label"])
    assert np.sqrt(np.mean((predicted - y[held]) ** 2)) == pytest.approx(quality["rmse"], rel=1e-4)


def test_nothing_is_saved_over_a_pipe_or_after_bad_input(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe.safetensors")
    assert_one_line(
        *run(capsys, "train", table(tmp_path), "--target", "y", "--save", str(tmp_path / "pipe.safetensors"))
    )
    goal = tmp_path / "net.safetensors"
    assert_one_line(*run(capsys, "train", table(tmp_path), "--target", "none", "--save", str(goal)))
    assert not goal.exists()


@pytest.mark.parametrize("scale", [1e-2, 1.0, 30.0])
def test_the_chart_of_a_direction_reaches_to_where_the_model_fails(scale):
    from unstuck.cli.train_report import PARTED, REACH, parting

    # −½t² + ¼t⁴/scale² against its quadratic part: the gap is half the model's change times (t/scale)²
    reach = parting(lambda t: 0.25 * t**4 / scale**2, lambda t: -0.5 * t**2, 10.0)
    expected = scale * (2 * PARTED) ** 0.5
    assert min(expected, 10 * REACH) <= reach * 1.0001 <= 1.26 * min(expected, 10 * REACH)
    assert parting(lambda t: t * np.nan, lambda t: t, 10.0) == 1e-3  # nothing is known: as near as possible
    assert parting(lambda t: 0 * t, lambda t: t, 10.0) == 10 * REACH
