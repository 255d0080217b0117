"""us.unstick: a stuck run is freed by what beats doing nothing, any other is left as it is to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import planted
import unstuck as us
from planted import ALL, CONTROLS, FAULTS, INSIDE, Adam, digits, quadratic, trained
from unstuck.doctor.evidence import Fork
from unstuck.doctor.unsticking import lower_on_average

ROWS = {row.name: row for row in [*FAULTS, *CONTROLS, *INSIDE]}
FREED = [
    "all weights zero, one hidden layer, SGD",
    "all weights zero, two hidden layers, Adam",
    "momentum with thirty times the rate",
    "bouncing between the walls",
    "regression that overflows",
    "SGD with a rate of 1e-7",
    "a rate that decays by a tenth every update",
    "all units dead",
    "all units saturated, tanh",
    "five sigmoid layers",
]


@pytest.mark.parametrize("name", FREED)
def test_a_stuck_run_is_freed(name):
    run = ROWS[name].make(0)
    before = run.land.loss(run.theta)
    found = us.unstick(run)
    assert found.applied is not None, found
    assert found.applied in found.tried and found.applied.verified
    assert run.history.events[-1]["kind"] == "treatment"
    run.fit(steps=1500)
    after = run.land.loss(run.theta)
    assert np.isfinite(after) and (not np.isfinite(before) or after < before - 0.01 * abs(before)), found
    assert found.applied.treatment.name in str(found)


@pytest.mark.parametrize("name", ["ReLU, Adam", "trained to the end", "quadratic, done", "convex, to the end"])
def test_a_healthy_run_is_left_alone(name):
    run = ROWS[name].make(0)
    before, events = run.digest(), list(run.history.events)
    found = us.unstick(run)
    assert found.diagnosis.healthy and found.applied is None and found.tried == ()
    assert run.digest() == before and run.history.events == events
    assert "nothing was done" in str(found)


def test_a_run_that_nothing_helps_is_left_as_it_was():
    run = planted.double_well([1.5, 0.5])
    before = run.digest()
    found = us.unstick(run)
    if found.applied is None:
        assert run.digest() == before and not found.diagnosis.healthy
        assert "significantly better" in str(found)


def test_stale_statistics_are_computed_again():
    run = ROWS["running statistics that hardly move"].make(0)
    theta, before = run.theta.copy(), run.land.loss(run.theta)
    found = us.unstick(run)
    assert found.applied is not None and found.applied.treatment.cause is us.Cause.STALE_STATISTICS
    assert np.array_equal(run.theta, theta)
    assert run.land.loss(run.theta) < 0.5 * before
    run.fit(steps=300)  # and they follow from now on, in copies too
    copy = run.fork().fit(steps=300)
    assert max(run.land.loss(run.theta), copy.land.loss(copy.theta)) < 0.5 * before


def test_a_treatment_that_fails_changes_nothing():
    run = trained(digits("Tanh", 16), Adam(lr=1e-3), 20)

    def spoil(subject):
        subject.theta[:] = 7.0
        subject.opt.lr = 9.0
        return False

    treatment = us.doctor.Treatment(us.Cause.UNDECIDED, "spoil", "nothing good", spoil)
    before, events = run.digest(), list(run.history.events)
    assert not treatment.applies_to(run)
    with pytest.raises(us.errors.ArgumentError, match="spoil"):
        treatment.apply(run)
    assert run.digest() == before and run.history.events == events and run.opt.lr == 1e-3


@pytest.mark.parametrize(
    ("arguments", "name"), [((None,), "run"), ((quadratic([1.0], [1.0], us.optim.SGD(lr=0.1), 5), 0), "budget")]
)
def test_misuse_is_named(arguments, name):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError), match=name):
        us.unstick(*arguments)
    assert ALL


def test_a_watched_run_frees_itself():
    land = digits("Tanh", 32, init="zeros")
    run = us.Trainer(land, us.optim.SGD(lr=0.1), seed=0)
    run.fit(steps=3000, unstick=True)
    assert [event["kind"] for event in run.history.events].count("treatment") >= 1
    assert land.loss(run.theta) < 1.0 < 2.2 < run.history["loss"][0]
    assert run.t == 3000 and run.watchers == []


def test_a_watched_run_is_freed_at_the_same_update_every_time():
    runs = []
    for _ in range(2):
        run = us.Trainer(planted.waves(0, lr=None), us.optim.SGD(lr=1e-7), seed=0)
        runs.append(run.fit(steps=700, unstick=True))
    assert runs[0].history.events and runs[0].history.events == runs[1].history.events
    assert runs[0].digest() == runs[1].digest()


def test_new_data_decide_where_they_are_the_trouble():
    rng = np.random.default_rng(0)
    A = rng.normal(size=(500, 8)).astype(np.float32)
    t = (np.sin(A[:, :1]) + 0.5 * A[:, 1:2] * A[:, 2:3]).astype(np.float32)
    large = us.nn.init.Initialiser("torch", gain=8.0)
    land = us.NetworkLandscape(
        planted.network("Tanh", 64, inputs=8, outputs=1, init=large), us.nn.MSE(), A[:100], t[:100]
    )
    run = trained(land, Adam(lr=2e-3), 1500, batch_size=ALL, validation=(A[100:], t[100:]))
    before = run.validation(run.theta)[0]
    found = us.unstick(run)
    assert found.diagnosis.cause is us.Cause.SHARP_MINIMUM, found
    assert found.applied is not None and found.applied.treatment.name == "start again, flatter"
    run.fit(steps=1500)
    assert run.validation(run.theta)[0] < 0.5 * before


def test_a_healthy_run_is_watched_without_a_trace():
    plain, watched = (us.Trainer(digits("ReLU", 32, seed=1), Adam(lr=1e-3), seed=1) for _ in range(2))
    plain.fit(steps=900)
    watched.fit(steps=900, unstick=True)
    assert watched.history.events == [] and watched.digest() == plain.digest()


def test_unstick_must_be_a_flag():
    with pytest.raises(us.errors.ArgumentTypeError, match="unstick"):
        quadratic([1.0], [1.0], us.optim.SGD(lr=0.1), 5).fit(steps=1, unstick="yes")


def test_a_treatment_whose_spikes_undo_its_gain_does_not_help():
    rest = (1.0,) * 25
    calm = Fork(24, 0.01, 1.0, 0.0, 1.0, "a change", course=(1.0, *[0.01] * 24), beside=rest)
    assert lower_on_average(calm)
    spiky = (1.0, *[0.01] * 20, 40.0, *[0.01] * 3)  # the median is 0.01 all the same
    assert not lower_on_average(replace(calm, course=spiky))
    assert lower_on_average(replace(calm, course=spiky, beside=spiky))
    assert lower_on_average(replace(calm, control=np.inf, beside=(1.0, np.inf)))  # the control broke
    assert not lower_on_average(replace(calm, broke=True, course=(1.0, 0.5)))
