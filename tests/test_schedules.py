"""Schedules: exact at their corners, equal to PyTorch's sequences, pure, printable, saved and loaded."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import unstuck as us
from unstuck import schedules

FALL = schedules.exponential(0.1, 0.999)
PLATEAU = schedules.reduce_on_plateau(0.1, 0.5, patience=1)

EXAMPLES = [
    schedules.constant(0.3),
    schedules.warmup_cosine(peak=1e-2, warmup=500, total=10_000),
    schedules.warmup_cosine(peak=1.0, warmup=0, total=7, floor=0.25),
    schedules.step_decay(0.1, 0.5, every=3),
    schedules.multi_step(0.1, 0.5, milestones=[10, 20]),
    schedules.multi_step(0.1, 0.5, milestones=(10, 21)),
    FALL,
    schedules.linear(0.1, 0.9, 30),
    schedules.polynomial(0.1, 30, 2.0, 0.01),
    schedules.inverse_sqrt(0.1, 100),
    schedules.cosine(0.1, 30),
    schedules.cosine(0.1, 30, periodic=True),
    schedules.cosine_restarts(0.1, 10, growth=2, floor=0.01),
    schedules.one_cycle(0.1, 50),
    schedules.one_cycle(0.1, 50, shape="linear", phases=3),
    schedules.one_cycle_momentum(50),
    schedules.cyclic(0.1, 0.2, 10, mode="exp_range", factor=0.9),
    schedules.cyclic_momentum(up=10, down=5),
    schedules.warmup(FALL, 10),
    schedules.warmup(0.1, 10, start=0.5, shape="constant", delay=False),
    schedules.noam(64, 100),
    schedules.warmup_stable_decay(0.1, 10, 20, 30, shape="root"),
    schedules.slow_start(0.1, 10),
    PLATEAU,
    PLATEAU.observe(1, 0.5).observe(2, 0.6),
    schedules.warmup_until(FALL, loss=0.5),
    schedules.warmup_until(FALL, loss=0.5).observe(40, 0.4),
    schedules.warmup_until(PLATEAU, accuracy=0.9),
    schedules.join([0.1, FALL, schedules.warmup(FALL, 3)], [10, 20]),
    schedules.scale(FALL, 0.5),
    schedules.scale(FALL, PLATEAU),
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


def test_corners_of_the_others():
    assert schedules.multi_step(1.0, 0.5, [2, 5])(4) == 0.5
    assert schedules.linear(0.1, 0.9, 4)(2) == pytest.approx(0.5, rel=1e-15)
    assert schedules.polynomial(1.0, 10, exponent=2.0, floor=0.2)(5) == pytest.approx(0.2 + 0.8 / 4, rel=1e-15)
    root = schedules.inverse_sqrt(0.3)
    assert [root(t) for t in range(50)] == pytest.approx([0.3 / math.sqrt(t + 1) for t in range(50)], rel=1e-15)
    after = schedules.warmup(schedules.inverse_sqrt(1.0, 16), 16)
    assert [after(t) for t in (0, 4, 16, 64, 1600)] == pytest.approx([0.0, 0.25, 1.0, 0.5, 0.1], rel=1e-14)
    half = schedules.cosine(1.0, 10)
    assert [half(t) for t in (0, 5, 10, 99)] == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=1e-15)


def test_noam_is_the_papers():
    value = schedules.noam(width=512, warmup=4000)
    numbers = np.arange(1, 20_001, dtype=np.float64)
    paper = 512**-0.5 * np.minimum(numbers**-0.5, numbers * 4000**-1.5)
    np.testing.assert_allclose([value(t) for t in range(20_000)], paper, rtol=1e-14)
    assert max(range(20_000), key=value) == 3999
    assert value(3999) == pytest.approx(1 / math.sqrt(512 * 4000), rel=1e-14)


def test_gradual_warmup_is_goyals():
    # 0.1 to 0.1·32 in 5 epochs, a tenth at 30, 60, 80 of 90, counted from the start
    per_epoch, k = 157, 32
    steps = schedules.multi_step(0.1 * k, 0.1, [per_epoch * e for e in (30, 60, 80)])
    value = schedules.warmup(steps, 5 * per_epoch, start=1 / k, delay=False)
    for t in range(0, 90 * per_epoch, 31):
        epoch = t / per_epoch
        wanted = (
            0.1 + (0.1 * k - 0.1) * epoch / 5 if epoch < 5 else 0.1 * k * 0.1 ** sum(epoch >= e for e in (30, 60, 80))
        )
        assert value(t) == pytest.approx(wanted, rel=1e-12)


def test_warmup_stable_decay_at_its_corners():
    for shape, middle in (("linear", 0.5), ("cosine", 0.5), ("root", 1 - math.sqrt(0.5))):
        value = schedules.warmup_stable_decay(2.0, 10, 100, 20, floor=0.4, shape=shape)
        assert [value(t) for t in (0, 5, 10, 60, 110)] == pytest.approx([0.0, 1.0, 2.0, 2.0, 2.0], rel=1e-15)
        assert value(120) == pytest.approx(0.4 + 1.6 * middle, rel=1e-12)
        assert [value(t) for t in (130, 10**9)] == pytest.approx([0.4, 0.4], rel=1e-12)


def test_slow_start_is_the_papers():
    value = schedules.slow_start(12.8, steps_per_epoch=40)
    shares = [0.5] * 40 + [0.075] * 30 + [0.01] * 15 + [0.001] * 5
    assert [value(40 * e) / 12.8 for e in range(90)] == pytest.approx(shares, rel=1e-12)
    assert [value(40 * e + 39) / 12.8 for e in range(90)] == pytest.approx(shares, rel=1e-12)


def test_growth_beyond_float64_is_an_error():
    for grower in (schedules.exponential(1.0, 2.0), schedules.step_decay(1.0, 2.0, 1)):
        assert grower(1000) == 2.0**1000
        with pytest.raises(us.errors.ArgumentError, match="`step` = 5000 is beyond the range of"):
            grower(5000)
    assert schedules.cyclic(0.1, 0.2, 5, mode="triangular2")(2**62) >= 0.1


def test_every_maker_has_an_example():
    assert {schedule.name for schedule in EXAMPLES} == set(schedules.MAKERS)
    assert set(schedules.MAKERS) <= set(schedules.__all__)


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


def test_pure_schedules_watch_nothing():
    assert FALL.observe(3, math.nan) is FALL
    assert not FALL.watches
    watching = {schedule.name for schedule in EXAMPLES if schedule.watches}
    assert watching == {"reduce_on_plateau", "warmup_until", "scale"}
    assert not schedules.warmup_until(FALL, loss=0.5).observe(40, 0.4).watches, "the goal is reached"


def test_a_plateau_is_reduced_and_remembered_in_the_description():
    value = schedules.reduce_on_plateau(1.0, 0.5, patience=1, cooldown=1, floor=0.2)
    levels = []
    for t, loss in enumerate([3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0, math.nan, math.inf, 1.0, 1.0, 1.0], 1):
        value = schedules.from_description(json.loads(json.dumps(value.describe()))).observe(t, loss)
        levels.append(value(t))
    assert levels == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]
    assert PLATEAU(0) == 0.1, "observing makes another schedule"


def test_warmup_until_begins_its_schedule_when_the_goal_is_reached():
    value = schedules.warmup_until(schedules.step_decay(1.0, 0.5, 10), start=0.1, accuracy=0.2)
    assert (value(0), value(999)) == (0.1, 0.1)
    value = value.observe(50, 2.0, accuracy=0.19).observe(100, 2.0, accuracy=0.2)
    assert [value(t) for t in (100, 109, 110, 125)] == [1.0, 1.0, 0.5, 0.25]
    assert value.observe(150, 2.0) is value


def test_only_the_piece_in_force_is_told():
    value = schedules.join([PLATEAU, PLATEAU], [10])
    for t in range(1, 5):
        value = value.observe(t, 1.0)
    assert (value(9), value(10)) == (0.05, 0.1)
    for t in range(11, 16):
        value = value.observe(t, 1.0)
    assert (value(9), value(10)) == (0.05, 0.025)
    warm = schedules.warmup(PLATEAU, 3)
    for t in range(1, 4):
        assert warm.observe(t, 1.0) is warm
    for t in range(4, 8):
        warm = warm.observe(t, 1.0)
    assert warm(8) == 0.05
    both = schedules.scale(PLATEAU, schedules.warmup(1.0, 4))
    for t in range(1, 4):
        both = both.observe(t, 1.0)
    assert both(2) == pytest.approx(0.025)


def nested(times):
    schedule = FALL
    for _ in range(times):
        schedule = schedules.scale(schedule, 1.0)
    return schedule


def deep(times):
    description = FALL.describe()
    for _ in range(times):
        description = {"schedule": "scale", "base": description, "factor": 1.0}
    return description


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
        (
            lambda: schedules.multi_step(1.0, 0.5, [3, 3]),
            "`milestones` must be at least 1 increasing steps, got (3, 3)",
        ),
        (lambda: schedules.multi_step(1.0, 0.5, []), "`milestones` must be at least 1 increasing steps, got ()"),
        (lambda: schedules.multi_step(1.0, 0.5, 3), "`milestones` must be a sequence of steps, got 3"),
        (lambda: schedules.multi_step(1.0, 0.5, "30"), "`milestones` must be a sequence of steps, got '30'"),
        (lambda: schedules.multi_step(1.0, 0.5, [0, 3]), "`milestones[0]` must be an integer ≥ 1, got 0"),
        (lambda: schedules.exponential(math.inf, 0.5), "`initial` must be a finite number ≥ 0, got inf"),
        (lambda: schedules.linear(1.0, 0.5, 0), "`total` must be an integer ≥ 1, got 0"),
        (lambda: schedules.linear(1.0, -0.5, 3), "`final` must be a finite number ≥ 0, got -0.5"),
        (lambda: schedules.linear(1.0, 0.5, 2**63), "`total` must be below 2**63"),
        (lambda: schedules.polynomial(1.0, 5, exponent=0), "`exponent` must be positive, got 0"),
        (lambda: schedules.polynomial(1.0, 5, floor=1.5), "`floor` must be in [0, initial] = [0, 1.0], got 1.5"),
        (lambda: schedules.inverse_sqrt(1.0, 0), "`timescale` must be an integer ≥ 1, got 0"),
        (lambda: schedules.cosine(1.0, True), "`total` must be an integer ≥ 1, got True"),
        (lambda: schedules.cosine(1.0, 5, periodic=2), "`periodic` must be False or True, got 2"),
        (lambda: schedules.cosine_restarts(1.0, 5, growth=1.5), "`growth` must be an integer ≥ 1, got 1.5"),
        (lambda: schedules.one_cycle(1.0, 5, rise=1.5), "`rise` must be in [0, 1], got 1.5"),
        (lambda: schedules.one_cycle(1.0, 5, rise=0.6, phases=3), "`rise` must be in [0, 0.5] with three phases"),
        (lambda: schedules.one_cycle(1.0, 5, phases=4), "`phases` must be 2 or 3, got 4"),
        (lambda: schedules.one_cycle(1.0, 5, shape="cos"), "`shape` must be one of 'cosine', 'linear', got 'cos'"),
        (lambda: schedules.one_cycle(1.0, 5, final_divisor=0), "`final_divisor` must be a finite number ≥ 1, got 0"),
        (lambda: schedules.one_cycle_momentum(5, high=0.5, low=0.6), "`low` must be at most `high` = 0.5, got 0.6"),
        (lambda: schedules.one_cycle_momentum(5, high=1.5), "`high` must be in [0, 1], got 1.5"),
        (lambda: schedules.cyclic(0.2, 0.1), "`low` must be at most `high` = 0.1, got 0.2"),
        (lambda: schedules.cyclic(0.1, 0.2, down=0), "`down` must be an integer ≥ 1, got 0"),
        (
            lambda: schedules.cyclic(0.1, 0.2, mode="up"),
            "`mode` must be one of 'triangular', 'triangular2', 'exp_range'",
        ),
        (lambda: schedules.cyclic(0.1, 0.2, factor=1.1), "`factor` must be in [0, 1], got 1.1"),
        (lambda: schedules.warmup(0.1, -1), "`steps` must be an integer ≥ 0, got -1"),
        (lambda: schedules.warmup(0.1, 5, start=2.0), "`start` must be in [0, 1], got 2"),
        (lambda: schedules.warmup(0.1, 5, shape="constant"), "`start` must be positive if `shape` is 'constant'"),
        (lambda: schedules.warmup(lambda t: 0.1, 5), "`base` must be a number or a schedule of unstuck.schedules"),
        (lambda: schedules.warmup("x", 5), "`base` must be a finite number ≥ 0, got 'x'"),
        (lambda: schedules.noam(0, 10), "`width` must be an integer ≥ 1, got 0"),
        (lambda: schedules.noam(512, 0), "`warmup` must be an integer ≥ 1, got 0"),
        (lambda: schedules.warmup_stable_decay(0.1, 1, 1, 0), "`decay` must be an integer ≥ 1, got 0"),
        (lambda: schedules.slow_start(0.1, 0), "`steps_per_epoch` must be an integer ≥ 1, got 0"),
        (lambda: schedules.reduce_on_plateau(0.1, factor=1.0), "`factor` must be in [0, 1), got 1"),
        (lambda: schedules.reduce_on_plateau(0.1, patience=-1), "`patience` must be an integer ≥ 0, got -1"),
        (lambda: schedules.reduce_on_plateau(0.1, floor=0.2), "`floor` must be in [0, initial] = [0, 0.1], got 0.2"),
        (lambda: schedules.reduce_on_plateau(0.1, watch="f1"), "`watch` must be one of 'loss', 'accuracy', got 'f1'"),
        (lambda: schedules.reduce_on_plateau(0.1, best=math.nan), "`best` must be a finite number, got nan"),
        (lambda: schedules.reduce_on_plateau(0.1, watch="accuracy").observe(1, 0.5), "`accuracy` is needed by"),
        (lambda: PLATEAU.observe(1, "low"), "`loss` must be a number, got 'low'"),
        (lambda: PLATEAU.observe(-1, 0.5), "`step` must be an integer ≥ 0, got -1"),
        (lambda: schedules.warmup_until(0.1), "`loss` or `accuracy` must be given as the goal, and not both"),
        (lambda: schedules.warmup_until(0.1, loss=1.0, accuracy=0.5), "must be given as the goal, and not both"),
        (lambda: schedules.warmup_until(0.1, start=0.0, loss=1.0), "`start` must be positive, got 0"),
        (lambda: schedules.join([0.1, 0.2], []), "`milestones` must be one fewer than the 2 `pieces`, got 0"),
        (lambda: schedules.join(0.1, [1]), "`pieces` must be a sequence of schedules, got 0.1"),
        (lambda: schedules.join([0.1, "x"], [1]), "`pieces[1]` must be a finite number ≥ 0, got 'x'"),
        (lambda: schedules.scale(FALL, -1.0), "`factor` must be a finite number ≥ 0, got -1"),
        (lambda: nested(50), "`base` must hold at most 15 schedules within each other"),
        (lambda: EXAMPLES[0](2**63), "`step` must be below 2**63"),
        (
            lambda: schedules.from_description(deep(50)),
            "`description` must hold at most 16 schedules within each other",
        ),
        (
            lambda: schedules.from_description({"schedule": "warmup", "base": {}, "steps": 3}),
            "must name a schedule out of",
        ),
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
