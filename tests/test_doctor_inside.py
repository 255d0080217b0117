"""Rules that read symptoms: evidence in, cause out; and such faults planted in real runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import unstuck as us
from planted import ALL, INSIDE, INSIDE_CONTROLS, trained
from test_doctor_rules import SADDLE, SAFE, SAME, SLOPE, fork, run
from unstuck.doctor import rules, wording
from unstuck.doctor.symptoms import BlockState, Features, LayerState, Statistics, StepSize

TINY = replace(SAFE, curvature=1e-4)
EDGE = replace(SAFE, curvature=15.0)
TAME = Features(spread=2.0, offset=1.0, constant=0, columns=8, widest=0)
WILD = replace(TAME, spread=1000.0, widest=3)
WHOLE = StepSize(lr=0.1, peak=0.1, shrunk=1.0)
DECAYED = StepSize(lr=1e-6, peak=0.1, shrunk=1.0)
ALIVE = LayerState("1.ReLU", 64, dead=0.1, saturated=0.0, spread=1.0)
DEAD = replace(ALIVE, dead=0.9)
FLAT = replace(ALIVE, name="1.Tanh", dead=0.0, saturated=0.95)
FADED = (
    BlockState("0.weight", 1.0, 1e-8, 0.0),
    BlockState("2.weight", 1.0, 1e-4, 0.0),
    BlockState("4.weight", 1.0, 0.1, 0.0),
)
GROWN = FADED[::-1]
ALIKE = (BlockState("0.weight", 1.0, 0.1, 1.0), BlockState("2.weight", 1.0, 0.1, 0.0))
STALE = Statistics(training=0.1, evaluation=3.0, recomputed=0.11)

SITUATIONS = [
    ("tiny rate, a larger one helps", run(geometry=SLOPE, stability=TINY, larger_lr=fork(1.0)), "STEP_TOO_SMALL"),
    ("tiny rate, at a saddle", run(geometry=SADDLE, stability=TINY, larger_lr=fork(1.0)), "UNDECIDED"),
    ("rate near the edge, a larger one helps", run(geometry=SLOPE, stability=EDGE, larger_lr=fork(1.0)), "UNDECIDED"),
    ("the schedule has ended", run(geometry=SLOPE, stability=TINY, steps=DECAYED, larger_lr=fork(1.0),
                                   full_step=fork(0.9)), "EXHAUSTED_STEP"),
    ("the schedule has ended, and the work is done", run(geometry=SLOPE, stability=TINY, steps=DECAYED,
                                                         smaller_lr=SAME, full_step=SAME), "UNDECIDED"),
    ("noise", run(stochastic=True, geometry=SLOPE, stability=SAFE, smaller_lr=fork(1.0), larger_batch=fork(1.1)),
     "NOISE_FLOOR"),
    ("at the limit, Adam gets further", run(geometry=SLOPE, stability=EDGE, features=TAME, adaptive=fork(1.0)),
     "ILL_CONDITIONED"),
    ("far from the limit, Adam gets further", run(geometry=SLOPE, stability=TINY, features=TAME, adaptive=fork(1.0)),
     "UNDECIDED"),
    ("columns of all sizes", run(geometry=SLOPE, stability=EDGE, features=WILD, standardised=fork(1.0),
                                 adaptive=fork(1.0)), "UNSCALED_FEATURES"),
    ("columns of all sizes, and no gain", run(geometry=SLOPE, features=WILD, standardised=SAME), "UNDECIDED"),
    ("dead layer", run(geometry=SLOPE, layers=(ALIVE, DEAD), revived=fork(1.0)), "DEAD_UNITS"),
    ("dead layer, reviving gains nothing", run(geometry=SLOPE, layers=(DEAD,), revived=SAME), "UNDECIDED"),
    ("sparse but live", run(geometry=SLOPE, layers=(ALIVE,), revived=fork(1.0)), "UNDECIDED"),
    ("flat units", run(geometry=SLOPE, layers=(FLAT,), fresh=fork(1.0)), "SATURATED_UNITS"),
    ("flat units, normalising helps", run(geometry=SLOPE, layers=(FLAT,), normalised=fork(1.0)), "SATURATED_UNITS"),
    ("the gradient fades", run(geometry=SLOPE, weights=FADED, normalised=fork(1.0)), "VANISHING_GRADIENT"),
    ("the gradient fades at a saddle, and normalisation gains far more than leaving it",
     run(geometry=SADDLE, weights=FADED, escape=fork(0.6), normalised=fork(1.9)), "VANISHING_GRADIENT"),
    ("the gradient fades at a saddle, and leaving it gains far more",
     run(geometry=SADDLE, weights=FADED, escape=fork(1.9), normalised=fork(0.5)), "STRICT_SADDLE"),
    ("the gradient fades, nothing helps", run(geometry=SLOPE, weights=FADED, normalised=SAME), "UNDECIDED"),
    ("the gradient grows", run(geometry=SLOPE, weights=GROWN, clipped=fork(1.0)), "EXPLODING_GRADIENT"),
    ("identical units", run(geometry=SLOPE, weights=ALIKE, fresh=fork(1.0)), "BAD_INITIALISATION"),
    ("a start far above", run(level=replace(run().level, start=30.0), geometry=SLOPE, fresh=fork(20.0, control=25.0)),
     "BAD_INITIALISATION"),
    ("stale statistics", run(geometry=SLOPE, statistics=STALE), "STALE_STATISTICS"),
    ("stale statistics of a run that learns", run(trend=replace(run().trend, end=1.0, z=-4.0, steady=1.0),
                                                  statistics=STALE), "STALE_STATISTICS"),
    ("a run too young for statistics", run(updates=20, geometry=SLOPE, statistics=STALE), "UNDECIDED"),
    ("statistics of other data do not mend it", run(geometry=SLOPE, statistics=replace(STALE, recomputed=2.9)),
     "UNDECIDED"),
    ("another treatment does far better", run(geometry=SLOPE, layers=(DEAD,), revived=fork(0.2), larger_lr=fork(1.5)),
     "UNDECIDED"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "cause"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_rule(evidence, cause):
    found = rules.judge(evidence)
    assert found[0].cause is us.Cause[cause], found
    assert wording.sentence(found[0]).endswith(").")
    for fact in wording.facts(evidence):
        assert fact.label and fact.sentence


@pytest.mark.parametrize("row", INSIDE, ids=str)
def test_planted_faults_are_named(row):
    subject = row.make(0)
    before, theta = subject.digest(), subject.theta.tobytes()
    found = us.diagnose(subject)
    assert found.cause.name in row.causes.split(), f"{found}\n" + "\n".join(f.sentence for f in found.evidence)
    assert not found.healthy and found.remedies
    assert (subject.digest(), subject.theta.tobytes()) == (before, theta)
    assert found.to_json()


@pytest.mark.parametrize("row", INSIDE_CONTROLS, ids=str)
def test_healthy_runs_are_left_alone(row):
    found = us.diagnose(row.make(0))
    assert found.cause.name in row.causes.split(), f"{found}\n" + "\n".join(f.sentence for f in found.evidence)


def test_standardised_twin_is_the_same_function():
    from unstuck.doctor.data import standardised

    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 5)) * [1, 100, 1e-3, 1, 1] + [0, 7, 0, 1e4, 0]
    X[:, 4] = 3.0
    net = us.nn.Network(us.nn.Linear(5, 4), us.nn.Tanh(), us.nn.Linear(4, 2), input_shape=(5,), dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, rng.integers(0, 2, 50))
    twin, theta = standardised(land, net.theta)
    assert twin.loss(theta) == pytest.approx(land.loss(net.theta), rel=1e-12)
    assert np.allclose(twin.X.std(axis=0), [1, 1, 1, 1, 0]) and np.allclose(twin.X.mean(axis=0), 0.0, atol=1e-9)


def test_recomputed_statistics_are_those_of_the_data():
    from unstuck.doctor.moving import recompute

    rng = np.random.default_rng(0)
    net = us.nn.Network(us.nn.BatchNorm(3), us.nn.Linear(3, 2), input_shape=(3,), dtype="float64")
    X = rng.normal(size=(40, 3)) * [1, 5, 9] + 2
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, rng.integers(0, 2, 40)).detached()
    recompute(land, net.theta, np.arange(40))
    assert np.allclose(land.buffers[:3], X.mean(axis=0)) and np.allclose(land.buffers[3:6], X.var(axis=0, ddof=1))
    assert np.array_equal(net.buffers[:6], [0, 0, 0, 1, 1, 1])
    assert trained(land.with_data(X, land.y), us.optim.SGD(lr=0.1), 1, batch_size=ALL).t == 1
