"""What a diagnosis and an attempt to get free show: ranked causes, doubts, curves against the control, costs."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest

import unstuck as us
from hostile_names import Skeleton
from planted import CONTROLS, FAULTS, INSIDE
from unstuck.doctor import showing, wording
from unstuck.doctor.doubts import doubt
from unstuck.doctor.evidence import Continuation, Descent, Evidence, Fork, Level
from unstuck.doctor.layers import look_at_layers
from unstuck.doctor.subject import Subject
from unstuck.doctor.wording_inside import inside_facts
from unstuck.report import Answer, charts

ROWS = {row.name: row for row in [*FAULTS, *CONTROLS, *INSIDE]}


@pytest.fixture(scope="module")
def stuck():
    return us.diagnose(ROWS["all weights zero, one hidden layer, SGD"].make(0), budget=6.0)


@pytest.fixture(scope="module")
def freed():
    run = ROWS["all units dead"].make(0)
    return us.unstick(run, budget=20.0)


@pytest.mark.parametrize("has_run", [True, False])
def test_every_cause_says_what_would_change_it(has_run):
    bare = Evidence(has_run, Level(1.0))
    full = dataclasses.replace(
        bare,
        level=Level(1.0, lower_bound=0.0, baseline=2.0, start=2.1),
        stochastic=True,
        descent=Descent(0.1, 0.5, 0.0, 0.01),
        smaller_lr=Fork(24, 0.5, 1.0, 0.01, 1.0, "a change"),
    )
    for cause in us.Cause:
        for evidence in (bare, full):
            text = doubt(cause, evidence)
            assert text.endswith(".") and "None" not in text and "nan" not in text, cause
            assert text[0].islower() and text.count(". ") == 0, "one sentence, after a colon"


def test_the_facts_that_carry_a_verdict_exist(stuck):
    labels = {fact.label for fact in stuck.evidence}
    assert {"kind of point", "where it bends down"} <= labels
    shown = wording.weighed(stuck.cause, stuck.evidence)
    assert {fact.label for fact in shown if fact.status == "bad"} == {"kind of point", "where it bends down"}
    assert not [f for f in wording.weighed(us.Cause.HEALTHY, stuck.evidence) if f.status == "bad"]
    assert set(wording.DECISIVE) == {c for c in us.Cause if not c.healthy} - {us.Cause.NOISE_FLOOR,
        us.Cause.BAD_INITIALISATION, us.Cause.UNDECIDED}  # fmt: skip


def test_causes_are_ranked_with_reason_and_doubt(stuck):
    report = stuck.report()
    assert [answer.name for answer in report.answers][0] == "STRICT_SADDLE"
    confidences = [answer.confidence for answer in report.answers]
    assert confidences == sorted(confidences, reverse=True)
    page = report.html()
    for answer in report.answers:
        assert f"width: {int(100 * answer.confidence)}%" in page
        assert answer.against
    assert page.count("What would change it:") == len(report.answers)
    assert "Causes" in report.text() and "What would change it:" in report.text()


def test_the_cost_is_told(stuck):
    report = stuck.report()
    assert re.search(r"in [\d.]+ s and [\d,]+ Hessian products; the run was left as it was", report.note)
    data = json.loads(stuck.to_json())["data"]
    assert data["products"] == stuck.products > 0
    assert data["seconds"] == pytest.approx(sum(seconds for _, seconds in data["seconds_of"]))


def test_blame_names_block_and_rows(stuck):
    fact = next(fact for fact in stuck.evidence if fact.label == "where it bends down")
    assert fact.value in {name for name, _, _ in ROWS["all weights zero, one hidden layer, SGD"].make(0).land.blocks}
    assert sum(fact.data["blocks"].values()) == pytest.approx(1)
    assert {row["block"] for row in fact.data["rows"]} <= set(fact.data["blocks"])


def test_dead_units_are_named():
    land = us.NetworkLandscape(
        us.nn.Network(us.nn.Linear(64, 12), us.nn.ReLU(), us.nn.Linear(12, 10), input_shape=(64,), seed=0),
        us.nn.CrossEntropy(),
        *us.data.digits(),
    )
    land.net.block("0.bias")[:] = 10.0
    land.net.block("0.bias")[[2, 5, 7]] = -1000.0
    layers = look_at_layers(Subject(land, land.theta, None, 1.0))
    fact = inside_facts(Evidence(False, Level(1.0), layers=layers))[0]
    assert "3 of 12 units are 0 on all data (rows 2, 5, 7)" in fact.sentence


def test_remedies_are_shown_with_their_curves_against_the_control(freed):
    report = freed.report()
    assert freed.applied is not None and freed.exit_code == 0 and not freed.diagnosis.healthy
    kept = [fact for fact in report.remedies if fact.value == "kept"]
    assert [fact.label for fact in kept] == [freed.applied.treatment.name]
    fork = freed.applied.fork
    assert len(fork.course) == len(fork.beside) == 25
    assert min(fork.course[13:]) <= fork.loss <= max(fork.course[13:]) < fork.beside[0]
    assert min(fork.beside[13:]) <= fork.control <= max(fork.beside[13:])
    data = json.loads(freed.to_json())
    tried = data["data"]["tried"]
    assert [row["name"] for row in tried] == [attempt.treatment.name for attempt in freed.tried]
    assert tried[0]["fork"]["course"] == pytest.approx(list(freed.tried[0].fork.course))
    figure = report.figures[0]
    assert figure.title == "What copies of the run reached"
    words = Skeleton(figure.svg).texts
    assert "nothing changed" in words
    assert any(text.endswith(": helps") for text in words)
    assert freed.applied.treatment.name in report.title
    assert "seconds" in data["data"] and data["data"]["seconds"] == freed.seconds > 0


def test_an_outcome_is_saved_in_every_form(freed, tmp_path):
    for ending in ("html", "json", "txt"):
        assert freed.save(tmp_path / f"o.{ending}").stat().st_size > 500
    assert freed.applied.treatment.name in freed._repr_html_()


def test_exit_codes():
    healthy = us.unstick(ROWS["ReLU, Adam"].make(0))
    assert healthy.exit_code == healthy.diagnosis.exit_code == 0
    assert "Nothing to do" in healthy.report().title
    land = us.FunctionLandscape(lambda w: w[0] * w[1], lambda w: w[::-1].copy(), n=2, theta=np.zeros(2))
    found = us.diagnose(land)
    assert found.exit_code == 1
    nothing = dataclasses.replace(healthy, diagnosis=found)
    assert nothing.exit_code == 1
    assert "No remedy helped" in nothing.report().title


def test_a_healthy_run_shows_its_copy():
    found = us.diagnose(ROWS["ReLU, Adam"].make(0))
    copy = Continuation(24, (1.0, 0.5), None)
    with_copy = dataclasses.replace(found, measured=dataclasses.replace(found.measured, continuation=copy))
    titles = [figure.title for figure in showing.figures(with_copy)]
    assert titles[0] == "The run, trained on in a copy"


# --- the chart and the answer themselves ---


def test_copies_are_told_apart_without_colour():
    x = np.arange(25) * 10
    curves = [charts.Curve(f"change {i}", x, np.linspace(1, 0.1 * i + 0.1, 25), i < 3) for i in range(7)]
    svg = charts.copies((x, np.ones(25)), curves).svg
    grey = re.sub(r"(stroke|fill): [^;\"]+", r"\1: grey", svg)
    strokes = re.findall(r"stroke-dasharray: ([\d., ]+)", grey)
    assert len(set(strokes)) >= 6
    assert all(f"change {i}: {'helps' if i < 3 else 'no better'}" in svg for i in range(7))


def test_copies_stay_within_the_figure():
    x = np.arange(25)
    wild = charts.Curve("wild", x, np.where(x > 3, 1e30, 1.0), False)
    broke = charts.Curve("broke", x[:2], [1.0, np.inf], False)
    chart = charts.copies((x, np.linspace(1, 0.9, 25)), [wild, broke])
    assert len(chart.svg) < 100_000
    with pytest.raises(us.errors.ArgumentError, match="at most 7"):
        charts.copies((x, x), [wild] * 8)
    with pytest.raises(us.errors.ArgumentError, match="equally long"):
        charts.copies((x, x[:3]), [])


def test_an_answer_checks_its_input():
    with pytest.raises(us.errors.ArgumentError, match="confidence"):
        Answer("a", "A", 1.5, "b")
    with pytest.raises(us.errors.ArgumentTypeError, match="reason"):
        Answer("a", "A", 0.5, 3)  # type: ignore[arg-type]
    with pytest.raises(us.errors.ArgumentError, match="status"):
        Answer("a", "A", 0.5, "b", status="great")  # type: ignore[arg-type]
    assert Answer("a", "A", 0.999, "b").percent == 99


def test_a_control_that_is_not_finite_is_named():
    x = np.arange(25)
    broke = [0.0], [np.inf]
    svg = charts.copies(broke, [charts.Curve("slower", x, np.linspace(1, 0.1, 25), True)]).svg
    assert "nothing changed: not finite" in svg
    with pytest.raises(us.errors.ArgumentError, match="finite"):
        charts.copies(broke, [])


def test_a_run_that_overflowed_has_a_report(tmp_path):
    found = us.unstick(ROWS["regression that overflows"].make(0), budget=10.0)
    assert found.save(tmp_path / "o.html").exists()
    assert found.diagnosis.save(tmp_path / "d.html").exists()


def test_little_is_told_from_nothing():
    little, nothing = Fork(24, 0.99, 1.0, 1e-4, 1.0, "a"), Fork(24, 0.99, 1.0, 1e-4, 0.5, "a")
    assert showing._word(little, False) == "too little"
    assert showing._word(nothing, False) == "no better"
    assert showing._word(nothing, True) == "helps"


def test_every_copy_has_a_name_of_its_own(stuck):
    forks = {field.name for field in dataclasses.fields(Evidence) if "Fork" in str(field.type)}
    assert set(wording.FORKS) <= forks
    labels = [name for name, _ in wording._named_forks(stuck.measured)]
    assert len(labels) == len(set(labels)) == len(wording.forks_of(stuck.measured))
    assert "treatment" not in labels
