"""Schedules: exact at their corners, equal to PyTorch's sequences, pure, printable, saved and loaded."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import unstuck as us
from unstuck import schedules

EXAMPLES = [
    schedules.constant(0.3),
    schedules.warmup_cosine(peak=1e-2, warmup=500, total=10_000),
    schedules.warmup_cosine(peak=1.0, warmup=0, total=7, floor=0.25),
    schedules.step_decay(0.1, 0.5, every=3),
]


def test_constant():
    assert {schedules.constant(0.3)(t) for t in (0, 1, 10**12)} == {0.3}


def test_warmup_cosine_at_its_corners():
    value = schedules.warmup_cosine(peak=1e-2, warmup=500, total=10_000, floor=1e-3)
    assert value(0) == 0.0
    assert value(250) == pytest.approx(5e-3, rel=1e-15)
    assert value(500) == pytest.approx(1e-2, rel=1e-15)
    assert value(5250) == pytest.approx((1e-2 + 1e-3) / 2, rel=1e-12)
    assert [value(t) for t in (10_000, 10_001, 10**15)] == pytest.approx([1e-3] * 3, rel=1e-12)
    steps = [value(t) for t in range(12_000)]
    assert np.all(np.diff(steps[:501]) > 0)
    assert np.all(np.diff(steps[500:]) <= 0)
    assert schedules.warmup_cosine(peak=2.0, warmup=0, total=3)(0) == 2.0


def torch_sequence(make, steps, lr):
    torch = pytest.importorskip("torch", reason="needs torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def test_step_decay_is_torch_step_lr():
    ours = schedules.step_decay(0.1, 0.3, every=4)
    theirs = torch_sequence(lambda s, o: s.StepLR(o, step_size=4, gamma=0.3), 30, 0.1)
    assert [ours(t) for t in range(30)] == pytest.approx(theirs, rel=1e-12)


def test_cosine_without_warmup_is_torch_cosine_annealing():
    ours = schedules.warmup_cosine(peak=0.1, warmup=0, total=25, floor=0.02)
    theirs = torch_sequence(lambda s, o: s.CosineAnnealingLR(o, T_max=25, eta_min=0.02), 26, 0.1)
    assert [ours(t) for t in range(26)] == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("schedule", EXAMPLES, ids=repr)
def test_schedules_are_values(schedule):
    description = schedule.describe()
    twins = [
        schedules.from_description(json.loads(json.dumps(description))),
        copy.deepcopy(schedule),
        eval(repr(schedule), vars(schedules)),
    ]
    for twin in twins:
        assert twin == schedule
        assert hash(twin) == hash(schedule)
        assert [twin(t) for t in range(0, 12_000, 97)] == [schedule(t) for t in range(0, 12_000, 97)]
    backwards = [schedule(t) for t in reversed(range(50))]
    assert backwards[::-1] == [schedule(t) for t in range(50)]
    assert len({repr(s) for s in EXAMPLES}) == len(set(EXAMPLES)) == len(EXAMPLES)
    assert all(isinstance(schedule(t), float) and math.isfinite(schedule(t)) for t in (0, 1, 10**9))
    assert schedule(np.int64(3)) == schedule(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: schedules.constant(-1.0), "`value` must be a finite number ≥ 0, got -1"),
        (lambda: schedules.constant("fast"), "`value` must be a finite number ≥ 0, got 'fast'"),
        (lambda: schedules.warmup_cosine(float("nan"), 1, 2), "`peak` must be a finite number ≥ 0, got nan"),
        (lambda: schedules.warmup_cosine(1.0, -1, 2), "`warmup` must be an integer ≥ 0, got -1"),
        (lambda: schedules.warmup_cosine(1.0, 1.5, 2), "`warmup` must be an integer ≥ 0, got 1.5"),
        (lambda: schedules.warmup_cosine(1.0, 5, 5), "`total` must be larger than `warmup` = 5, got 5"),
        (
            lambda: schedules.warmup_cosine(1.0, 0, 5, floor=2.0),
            "`floor` must be in [0, peak] = [0, 1.0], got 2.0",
        ),
        (lambda: schedules.step_decay(1.0, -0.5, 3), "`factor` must be a finite number ≥ 0, got -0.5"),
        (lambda: schedules.step_decay(1.0, 0.5, 0), "`every` must be an integer ≥ 1, got 0"),
        (lambda: EXAMPLES[0](-1), "`step` must be an integer ≥ 0, got -1"),
        (lambda: EXAMPLES[0](1.5), "`step` must be an integer ≥ 0, got 1.5"),
        (lambda: schedules.from_description({}), "must name a schedule out of constant"),
        (
            lambda: schedules.from_description({"schedule": "constant", "x": 1}),
            "does not fit the schedule constant",
        ),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError)) as caught:
        call()
    assert message in str(caught.value)
