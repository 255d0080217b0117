"""Facts, and the text, JSON and HTML that are made from them."""

from __future__ import annotations

import enum
import json
import re
from pathlib import Path

import numpy as np
import pytest

import unstuck as us
from hostile_names import Skeleton, drawn, sample
from unstuck.number_text import apart, number, tidy
from unstuck.report import charts
from unstuck.report.facts import Fact, jsonable, plain
from unstuck.report.glossary import TERMS, meanings
from unstuck.report.typeset import pieces, typeset


def test_a_fact_keeps_numbers_as_strict_json():
    fact = Fact(
        "lowest eigenvalue",
        "−2",
        "bad",
        "It is negative.",
        {"bracket": np.array([-2.0, np.nan]), "n": np.int64(3)},
    )
    assert json.loads(json.dumps(fact.to_dict(), allow_nan=False)) == {
        "label": "lowest eigenvalue",
        "value": "−2",
        "status": "bad",
        "sentence": "It is negative.",
        "data": {"bracket": [-2.0, "NaN"], "n": 3},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (-np.inf, "-Infinity"),
        (enum.Enum("V", "A B").A, "A"),
        ((1, {2: None}), [1, {"2": None}]),
        (np.zeros((2, 0)), [[], []]),
    ],
)
def test_jsonable(value, expected):
    assert jsonable(value) == expected


def test_facts_refuse_what_no_report_can_show():
    with pytest.raises(us.errors.ArgumentError, match="`status`"):
        Fact("a", "b", "great")  # type: ignore[arg-type]
    with pytest.raises(us.errors.ArgumentTypeError, match="`value`"):
        Fact("a", 3)  # type: ignore[arg-type]
    with pytest.raises(us.errors.ArgumentTypeError, match="JSON"):
        Fact("a", "b", data=object())


def test_plain_leaves_nothing_that_moves_a_cursor():
    assert plain("a\x1b[31mb\r\nc\u202ed\x9be") == "a [31mb c d e"
    assert len(plain("x" * 10_000)) == 2000
    assert plain("\ud800") == "?"


# --- numbers, code and words ---


@pytest.mark.parametrize(
    ("x", "digits", "text"),
    [(-0.24491, 4, "−0.2449"), (2.7e-8, 2, "2.7e−8"), (-1.5e22, 3, "−1.5e22"), (-0.0, 4, "0"), (-np.inf, 4, "−∞"),
     (np.nan, 3, "NaN"), (1000000.0, 4, "1e6"), (np.float32(0.5), 4, "0.5")],
)  # fmt: skip
def test_a_number_as_people_write_it(x, digits, text):
    assert number(x, digits) == text


def test_different_numbers_read_differently():
    assert apart(2.30184, 2.30182) == ("2.30184", "2.30182")
    assert apart(2.0, 2.0) == ("2", "2")
    assert apart(1.0, 2.0, 2.00001, digits=2) == ("1", "2", "2.00001")
    assert apart(1.0, 1.0 + 1e-15) == ("1", "1")  # not beyond twelve figures
    assert apart(0.112, 0.11201, digits=3, most=4) == ("0.112", "0.112")


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("from -1.5e-08 to -2, within [-0.25, -.5], ±-3", "from −1.5e−8 to −2, within [−0.25, −.5], ±−3"),
        ("13-32-3 units, a-1, 2026-11-22, well-known", "13-32-3 units, a-1, 2026-11-22, well-known"),
        ("1e+04 and 2.58e+03.", "1e4 and 2.58e3."),
        ("-inf", "−∞"),
        ("1 - 2", "1 - 2"),
    ],
)
def test_numbers_in_prose_get_one_spelling(text, tidied):
    assert tidy(text) == tidied
    assert typeset(text) == tidied


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Leave: e = us.escape(run.land, d.theta); run.move_to(e.theta); in a fork -1.",
         ["e = us.escape(run.land, d.theta); run.move_to(e.theta)"]),
        ("Raise it slowly, us.schedules.warmup_cosine.", ["us.schedules.warmup_cosine"]),
        ("Bound the gradient: us.Trainer(…, clip_norm=1.0).", ["us.Trainer(…, clip_norm=1.0)"]),
        ("lower `lr`, set `clip_norm`, or look at us.diagnose(run)", ["lr", "clip_norm", "us.diagnose(run)"]),
        ("Adam(lr=0.001, eps=1e-08, amsgrad=False)", ["Adam(lr=0.001, eps=1e-08, amsgrad=False)"]),
        ("--lr 1e-4", ["--lr 1e-4"]),
        ("trust us. run it. A (small) net, `", []),
        ("us.f(" * 400, None),
    ],
)  # fmt: skip
def test_code_is_told_from_prose_and_left_alone(text, code):
    found = [piece for kind, piece in pieces(text) if kind == "code"]
    if code is not None:
        assert found == code
    assert all(piece in typeset(text) for piece in found)


def test_code_is_set_in_code_elements():
    remedy = Fact("escape", "--lr 1e-4", "info", "Do `x < 1` or us.escape(land, theta).")
    page = us.report.build("a", "b", [], remedies=[remedy]).html()
    for code in ("--lr 1e-4", "x &lt; 1", "us.escape(land, theta)"):
        assert f"<code>{code}</code>" in page
    assert re.search(r"code \{ font: [^}]*monospace", page)


def test_words_of_the_field_are_explained_where_they_stand_and_at_the_end():
    fact = Fact("kind of point", "STRICT_SADDLE", "bad", "A strict saddle; this strict saddle has a gradient norm.")
    page = us.report.build("a", "b", [fact]).html()
    for word in ("STRICT_SADDLE", "strict saddle", "gradient norm"):
        assert f">{word}</abbr>" in page
        assert f"<dt>{word}</dt><dd>{meanings()[word.lower()][1]}</dd>" in page.replace("&#39;", "'")
    assert page.count(">strict saddle</abbr>") == 1  # once a sentence
    assert f'<abbr title="{TERMS["gradient norm"]}">' in page
    assert "<dt>kink</dt>" not in page
    assert "<abbr" not in us.report.build("a", "kinky unforked wordings", []).html()


def test_every_verdict_and_cause_is_explained():
    names = [*us.Verdict.__members__, *us.Cause.__members__]
    assert [name for name in names if name.lower() not in meanings()] == []


def test_at_most_four_cards_stand_before_the_figures():
    facts = [Fact(f"f{i}", "", "info") for i in range(5)]
    facts += [Fact(f"{status}{i}", "", status) for i in range(2) for status in ("warn", "good", "bad")]
    page = us.report.build("a", "b", facts, drawn("escape")[:1]).html()
    before, after = page.split("<figure>")
    labels = [re.findall(r"<h3><span>(\w+)</span>", part) for part in (before, after)]
    assert labels[0] == ["good0", "bad0", "good1", "bad1"]
    assert labels[1] == ["f0", "f1", "f2", "f3", "f4", "warn0", "warn1"]
    few = us.report.build("a", "b", facts[:3]).html()
    assert "More measurements" not in few


# --- text, JSON, HTML ---


def test_a_page_is_self_contained_and_locked():
    page = sample("name").html()
    assert page.startswith("<!doctype html>")
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not re.search(r"https?:|//[a-z]|javascript:|@import|<link|<iframe", page)
    tags = Skeleton(page).tags
    assert [dict(attrs) for tag, attrs in tags if tag == "script"] == [
        {"type": "application/json", "id": "unstuck-data"}
    ]
    assert not [name for _, attrs in tags for name, _ in attrs if name.startswith("on")]
    ids = [value for _, attrs in tags for name, value in attrs if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value for _, attrs in tags for name, value in attrs if name.endswith("href")}
    assert links <= {f"#{name}" for name in ids}
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_the_same_facts_give_the_same_bytes():
    page = sample("name").html()
    assert sample("name").html() == page
    assert not re.search(r"20\d\d-\d\d-\d\d", page)
    assert str(Path.cwd()) not in page
    matplotlib = pytest.importorskip("matplotlib")
    drawn.cache_clear()
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "axes.grid": False}):
        assert sample("name").html() == page


def test_a_report_says_the_same_in_text_and_json():
    report = sample("name")
    text = report.text(width=60)
    assert text.splitlines()[:3] == ["name", "", "name"]
    assert "✗ name" in text
    assert "✓ loss" in text
    assert str(report) == report.text()
    found = json.loads(report.json())
    assert found == report.to_dict()
    assert found["status"] == "bad"
    assert "\x1b" not in sample("a\x1b[31mb").text()


def test_build_checks_its_input():
    for name, wrong in [("facts", ["a"]), ("remedies", [1]), ("details", [None]), ("figures", ["<svg>"])]:
        with pytest.raises(us.errors.ArgumentTypeError, match=f"`{name}`"):
            us.report.build("a", "b", **{"facts": [], name: wrong})
    with pytest.raises(us.errors.ArgumentError, match="`status`"):
        us.report.build("a", "b", [], status="fine")
    assert us.report.build("a", "b", []).status == "info"


@pytest.mark.parametrize(
    "svg",
    [
        "<svg><script>1</script></svg>",
        "<svg onload='x'></svg>",
        "<svg><a href='#x'/></svg>",
        "<svg><image href='//evil.example'/></svg>",
        "<svg><path style='fill: url(//evil.example)'/></svg>",
        "<svg><foreignObject/></svg>",
        "<!DOCTYPE svg [<!ENTITY a 'b'>]><svg>&a;</svg>",
        "<svg></svg><script/>",
        "<p></p>",
        "<svg><svg/></svg>",
    ],
)
def test_a_chart_is_shapes_and_text_only(svg):
    with pytest.raises(us.errors.ArgumentError, match="`svg`"):
        us.report.Chart("a", "b", svg)


def test_charts_refuse_what_they_cannot_draw():
    with pytest.raises(us.errors.ArgumentError, match="equally long"):
        charts.loss_curve([1, 2], [1, 2, 3])
    with pytest.raises(us.errors.ArgumentError, match="finite"):
        charts.gradient_norm([1, 2], [np.nan, np.nan])
    with pytest.raises(us.errors.ArgumentError, match="lowest eigenvalue"):
        charts.spectrum_ends((1.0, -1.0), (2.0, 2.0), 0.1)
    with pytest.raises(us.errors.ArgumentError, match="`tolerance`"):
        charts.spectrum_ends((-1.0, -1.0), (2.0, 2.0), -0.1)
    with pytest.raises(us.errors.ArgumentError, match="highest eigenvalue"):
        charts.spectrum_ends((-1.0, -1.0), (np.nan, 2.0), 0.1)


INFINITE = ((-np.inf, -1.0), (2.0, np.inf), 1e-4)


@pytest.mark.parametrize(
    ("low", "high", "tolerance"),
    [((-2, -2), (2, 2), 0.0), ((0, 0), (4, 4), 1e-4), ((-1e-9, 1e9), (1e9, 1e9), 1.0), ((0, 0), (0, 0), 0.0), INFINITE],
)
def test_spectra_of_every_kind_are_drawn(low, high, tolerance):
    svg = charts.spectrum_ends(low, high, tolerance).svg
    assert "lowest eigenvalue" in svg
    assert "highest eigenvalue" in svg


def test_long_and_broken_curves_stay_small():
    steps = np.arange(200_000)
    loss = np.random.default_rng(0).lognormal(size=steps.size)
    loss[1000:1100] = np.nan
    loss[5000] = np.inf
    assert len(charts.loss_curve(steps, loss).svg) < 150_000
