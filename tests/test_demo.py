"""The demo: everything it says is measured, it gets free, and its report is whole."""

from __future__ import annotations

import json

import pytest

import unstuck as us
from unstuck import demo
from unstuck.number_text import apart


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    path = tmp_path_factory.mktemp("demo") / "report.html"
    calls = []
    result = demo.run(seed=0, progress=lambda *call: calls.append(call), report_path=path)
    return result, path, calls


def test_it_gets_stuck_says_why_and_gets_free(told):
    outcome = told[0].outcome
    assert outcome["escaped"] is True
    assert outcome["cause"] == "STRICT_SADDLE"
    assert outcome["ending"] in {"HEALTHY", "CONVERGED"}
    assert outcome["stuck_accuracy"] < 0.2
    assert outcome["accuracy"] >= 0.94
    assert outcome["control_loss"] == pytest.approx(outcome["stuck_loss"], rel=1e-3)
    assert outcome["loss"] < 0.1 < outcome["escape_loss"] < outcome["stuck_loss"]
    assert outcome["lambda_min"][1] < 0 < outcome["lambda_max"][0]
    assert us.verify(json.loads(json.dumps(outcome["certificate"])))


def test_it_is_quick(told):
    assert told[0].outcome["seconds"] < 20


def test_the_sentence_holds_the_measured_numbers(told):
    result = told[0]
    for name, form in (("accuracy", ".1%"), ("loss", ".3g"), ("stuck_updates", "d")):
        assert format(result.outcome[name], form) in result.sentence
    stood, stayed = apart(result.outcome["stuck_loss"], result.outcome["control_loss"])
    assert f"stood still at {stood} " in result.sentence
    assert result.sentence.endswith(f"stayed at {stayed}.")
    assert "strict saddle" in result.sentence
    # what is classified is the quiet point that the noisy run hovers around, not where it stands
    assert 0 < result.outcome["saddle_distance"] < 0.1
    assert f"hovered within {result.outcome['saddle_distance']:.2g} of a strict saddle" in result.sentence
    assert result.report.sentence == result.sentence


def test_the_report_shows_the_curve_the_ends_and_the_direction(told):
    page = told[1].read_text()
    assert page == told[0].report.html()
    assert [chart.title for chart in told[0].report.figures] == [
        "Loss over the steps",
        "What copies of the run reached",
        "The two ends of the spectrum",
        "The loss along the escape direction",
    ]
    assert page.count("<svg") >= 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("<script") == page.count('<script type="application/json"') == 1
    assert "CC BY 4.0" in page


def test_progress_is_reported(told):
    calls = told[2]
    assert calls[-1][0] == calls[-1][1] == demo.AFTERWARDS
    assert all(isinstance(text, str) for _, _, text in calls)


def test_another_seed_without_a_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = demo.run(seed=3, report_path=None)
    assert result.outcome["escaped"] is True
    assert result.outcome["accuracy"] >= 0.94
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_is_not_stuck_is_not_called_stuck(monkeypatch):
    def random_weights(seed):
        run = real_start(seed)
        run.land.net.theta[:] = us.nn.Network(*run.land.net.layers, input_shape=(64,), seed=seed).theta
        return run

    real_start = demo.start
    monkeypatch.setattr(demo, "start", random_weights)
    monkeypatch.setattr(demo, "LOOKS", 2)
    result = demo.run(seed=0, report_path=None)
    assert result.outcome["cause"] in {"HEALTHY", "CONVERGED"}
    assert result.outcome["escaped"] is False
    assert "not stuck at a saddle" in result.sentence


def test_bad_arguments(tmp_path):
    with pytest.raises(us.errors.ArgumentError):
        demo.run(seed=-1, report_path=None)
