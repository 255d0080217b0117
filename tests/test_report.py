"""Facts, and the text, JSON and HTML that are made from them."""

from __future__ import annotations

import enum
import json

import numpy as np
import pytest

import unstuck as us
from unstuck.report.facts import Fact, jsonable, plain


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
