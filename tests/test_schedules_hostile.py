"""Schedules against every kind of wrong argument: named errors only, finite values only, faithful descriptions."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest

from unstuck import schedules
from unstuck.errors import ArgumentError, ArgumentTypeError

GOOD = {
    "constant": {"value": 0.1},
    "step_decay": {"initial": 0.1, "factor": 0.5, "every": 3},
    "multi_step": {"initial": 0.1, "factor": 0.5, "milestones": [3]},
    "exponential": {"initial": 0.1, "factor": 0.5},
    "linear": {"initial": 0.1, "final": 0.2, "total": 3},
    "polynomial": {"initial": 0.1, "total": 3},
    "inverse_sqrt": {"initial": 0.1},
    "cosine": {"initial": 0.1, "total": 3},
    "cosine_restarts": {"initial": 0.1, "period": 3},
    "warmup_cosine": {"peak": 0.1, "warmup": 2, "total": 5},
    "one_cycle": {"peak": 0.1, "total": 5},
    "one_cycle_momentum": {"total": 5},
    "cyclic": {"low": 0.1, "high": 0.2},
    "cyclic_momentum": {},
    "warmup": {"base": 0.1, "steps": 3},
    "noam": {"width": 3, "warmup": 3},
    "warmup_stable_decay": {"peak": 0.1, "warmup": 1, "stable": 1, "decay": 1},
    "slow_start": {"initial": 0.1, "steps_per_epoch": 3},
    "reduce_on_plateau": {"initial": 0.1},
    "warmup_until": {"base": 0.1, "loss": 0.5},
    "join": {"pieces": [0.1, 0.2], "milestones": [3]},
    "scale": {"base": 0.1, "factor": 0.1},
}
NUMBERS = [0, 1, -1, -0.5, math.nan, math.inf, 1e308, 5e-324, 10**400, 2**62, 2**63, 1j, np.float32(0.5), np.int8(3)]
OTHERS = [None, True, "x", "linear", b"x", [], {}, (), object(), float, range(3), [1, 2], [[1]], lambda t: 0.1]
ARRAYS = [np.array([1, 2]), np.array(1.0), np.array("x"), np.array([])]
SCHEDULES = [schedules.constant(1.0), schedules.reduce_on_plateau(0.1), {"schedule": "constant", "value": 1.0}]


def attempts(name):
    for argument in inspect.signature(schedules.MAKERS[name]).parameters:
        for value in (*NUMBERS, *OTHERS, *ARRAYS, *SCHEDULES):
            try:
                made = schedules.MAKERS[name](**{**GOOD[name], argument: value})
            except (ArgumentError, ArgumentTypeError) as error:
                assert "`" in str(error)
                continue
            yield argument, value, made


@pytest.mark.parametrize("name", schedules.MAKERS)
def test_wrong_arguments_are_refused_by_name_or_give_a_usable_schedule(name):
    assert set(GOOD) == set(schedules.MAKERS)
    for argument, value, made in attempts(name):
        for step in (0, 1, 3, 7, 2**31, 2**63 - 1):
            try:
                rate = made(step)
            except ArgumentError as error:
                assert "beyond the range" in str(error)
                continue
            assert isinstance(rate, float), (argument, value)
            assert 0 <= rate < math.inf, (argument, value)
        text = json.dumps(made.describe(), allow_nan=False)
        assert schedules.from_description(json.loads(text)) == made, (argument, value)


@pytest.mark.parametrize("name", schedules.MAKERS)
def test_wrong_observations_are_refused_by_name(name):
    schedule = schedules.MAKERS[name](**GOOD[name])
    for step, loss, accuracy in [(1, 0.5, 0.5), (2**62, math.nan, 0.1), (0, -math.inf, 1.0), (3, 10**400, None)]:
        assert math.isfinite(schedule.observe(step, loss, accuracy)(2**62))
    if schedule.watches:
        for wrong in ("x", None, [1.0], np.array([1.0, 2.0]), object(), 1j):
            with pytest.raises((ArgumentError, ArgumentTypeError), match="`loss`"):
                schedule.observe(1, wrong)


@pytest.mark.parametrize("value", [*OTHERS, *NUMBERS, *ARRAYS])
def test_wrong_descriptions_are_refused(value):
    for description in (value, {"schedule": value}, {"schedule": "scale", "base": value, "factor": {"schedule": "x"}}):
        with pytest.raises((ArgumentError, ArgumentTypeError)):
            schedules.from_description(description)
