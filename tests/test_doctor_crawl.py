"""Rules on runs that crawl, carry a flaw, step too far or fit new data badly: evidence in, cause out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import unstuck as us
from test_doctor_inside import ALIKE, EDGE, FADED, SADDLE, SAFE, SLOPE, TINY, WHOLE
from test_doctor_rules import FALLING, FLAT_PLACE, LEVEL, MINIMUM, NOTHING_LOWER, SAME, ahead, fork, run
from unstuck.doctor import doubts, remedies, rules, wording
from unstuck.doctor.symptoms import Generalisation, LayerState, Sharpness, Statistics

SLOW = replace(FALLING, start=2.01, end=2.0, z=-4.0, steady=1.0)
CREEPING = ahead(2.0, 1.98, 0.0)
FAR = replace(WHOLE, jumps=2.0)
SHORT = replace(WHOLE, jumps=1e-6)
NEW = Generalisation(training=0.01, validation=1.5, best=1.4, accuracy=0.6)
LEARNED = replace(LEVEL, loss=0.01)
NOISY = {"stochastic": True, "geometry": SLOPE, "stability": SAFE}

SITUATIONS = [
    # a crawl is excused by nothing but the want of something much better
    ("crawls, a larger rate gains fifty times as much",
     run(trend=SLOW, continuation=CREEPING, geometry=SLOPE, stability=TINY, larger_lr=fork(1.0)), "STEP_TOO_SMALL"),
    ("crawls, a larger rate gains five times as much",
     run(trend=SLOW, continuation=CREEPING, geometry=SLOPE, stability=TINY, larger_lr=fork(0.1)), "HEALTHY"),
    ("crawls, nothing is better", run(trend=SLOW, continuation=CREEPING, geometry=SLOPE, smaller_lr=SAME), "HEALTHY"),
    ("falls well, though a larger rate gains more",
     run(trend=FALLING, continuation=ahead(2.0, 1.5), geometry=SLOPE, stability=TINY, larger_lr=fork(1.0)), "HEALTHY"),
    ("slow because little is left",
     run(level=replace(LEVEL, loss=0.01), trend=replace(SLOW, start=0.011, end=0.01),
         continuation=ahead(0.01, 0.009, 0.0), geometry=SLOPE, stability=TINY, larger_lr=fork(0.0089, control=0.009)),
     "HEALTHY"),
    ("crawls along a valley, and only curvature gets on",
     run(trend=SLOW, continuation=CREEPING, geometry=SLOPE, stability=EDGE, adaptive=fork(0.05), newton=fork(1.9)),
     "ILL_CONDITIONED"),
    # flaws
    ("identical units of a run that falls, another start is much better",
     run(trend=FALLING, continuation=ahead(2.0, 1.8), weights=ALIKE, fresh=fork(1.5, control=1.8)),
     "BAD_INITIALISATION"),
    ("identical units of a run that does as well as another start",
     run(trend=FALLING, continuation=ahead(2.0, 1.0), weights=ALIKE, fresh=fork(0.05, control=1.0)), "HEALTHY"),
    ("identical units are what has saturated",
     run(weights=ALIKE, fresh=fork(1.5), layers=(LayerState("1.Tanh", 8, 0.0, 1.0, 0.1),)), "BAD_INITIALISATION"),
    ("no better than a constant answer, and falling to it",
     run(level=replace(LEVEL, loss=3.0), trend=replace(FALLING, start=4.0, end=3.0), continuation=ahead(3.0, 2.4),
         geometry=SLOPE, layers=(LayerState("1.ReLU", 8, 1.0, 0.0, 0.0),), fresh=fork(2.2, control=2.4)),
     "DEAD_UNITS"),
    # the length of the updates
    ("updates longer than the weights, a gentle start learns",
     run(**NOISY, steps=FAR, smaller_lr=fork(0.0), gentle=fork(1.9), fresh=fork(0.1)), "STEP_TOO_LARGE"),
    ("updates longer than the weights, but the same rate learns from another start",
     run(**NOISY, steps=FAR, smaller_lr=fork(0.0), gentle=fork(1.9), fresh=fork(1.9)), "UNDECIDED"),
    ("usual updates, a gentle start learns",
     run(**NOISY, steps=replace(WHOLE, jumps=0.02), smaller_lr=SAME, gentle=fork(1.9)), "UNDECIDED"),
    ("larger batches help, updates are usual",
     run(**NOISY, steps=replace(WHOLE, jumps=0.02), smaller_lr=fork(1.0), larger_batch=fork(1.0)), "NOISE_FLOOR"),
    ("larger batches help, updates are longer than the weights",
     run(**NOISY, steps=FAR, smaller_lr=fork(1.0), larger_batch=fork(1.0)), "STEP_TOO_LARGE"),
    ("a rate far below what curvature bears, and updates of usual length",
     run(geometry=SLOPE, stability=TINY, steps=replace(WHOLE, jumps=0.02), larger_lr=fork(1.0)), "UNDECIDED"),
    ("a rate far below what curvature bears, and short updates",
     run(geometry=SLOPE, stability=TINY, steps=SHORT, larger_lr=fork(1.0)), "STEP_TOO_SMALL"),
    # schedules
    ("a schedule that ends with the run leaves a tenth",
     run(stochastic=True, geometry=SLOPE, stability=None, smaller_lr=SAME,
         steps=replace(WHOLE, lr=0.0, idle=0.1), full_step=fork(0.25)), "UNDECIDED"),
    ("a schedule that was over for most of the run leaves as much",
     run(stochastic=True, geometry=SLOPE, smaller_lr=SAME, steps=replace(WHOLE, lr=0.0, idle=0.9),
         full_step=fork(0.25)), "EXHAUSTED_STEP"),
    ("the step has run out at a saddle", run(geometry=SADDLE, escape=fork(1.0), full_step=fork(1.0), smaller_lr=SAME,
                                             steps=replace(WHOLE, lr=0.0, idle=0.9)), "EXHAUSTED_STEP"),
    # layers
    ("the signal fades",
     run(geometry=SLOPE, layers=tuple(LayerState(f"{i}.Tanh", 8, 0.0, 0.0, 10.0**-i) for i in (1, 3, 5)),
         weights=FADED[2:] * 3, normalised=fork(1.0)), "VANISHING_GRADIENT"),
    ("the gradient fades because it exploded first",
     run(geometry=SLOPE, weights=FADED, steps=replace(WHOLE, onset=500.0), normalised=fork(1.0)), "EXPLODING_GRADIENT"),
    # minima
    ("a flat but positive curvature, nothing lower close by, other starts are lower",
     run(geometry=replace(FLAT_PLACE, lambda_min=(1e-5, 1.1e-5)), descent=NOTHING_LOWER, smaller_lr=SAME,
         elsewhere=fork(1.0)), "LOCAL_MINIMUM"),
    ("a certified minimum that curvature still descends into",
     run(geometry=MINIMUM, smaller_lr=SAME, newton=fork(1.5), elsewhere=fork(1.5)), "UNDECIDED"),
    # new data
    ("sharp, a flatter place serves new data",
     run(level=LEARNED, trend=FALLING, generalisation=NEW, sharpness=Sharpness(0.05, 0.3),
         flatter=fork(1.2, control=1.5)), "SHARP_MINIMUM"),
    ("new data are served badly everywhere",
     run(level=LEARNED, trend=FALLING, generalisation=NEW, sharpness=Sharpness(0.05, 0.3),
         flatter=fork(0.05, control=1.5)), "HEALTHY"),
    ("as flat as elsewhere",
     run(level=LEARNED, trend=FALLING, generalisation=NEW, sharpness=Sharpness(0.3, 0.3),
         flatter=fork(1.2, control=1.5)), "HEALTHY"),
    ("nothing learned yet, new data are worse",
     run(trend=FALLING, generalisation=Generalisation(2.0, 2.6, 2.6, None), sharpness=Sharpness(0.05, 0.3),
         flatter=fork(1.2, control=2.6)), "HEALTHY"),
    # statistics
    ("evaluation loses what little was learned",
     run(trend=FALLING, level=replace(LEVEL, loss=2.1), statistics=Statistics(2.1, 2.3, 2.1)), "STALE_STATISTICS"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "cause"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_rule(evidence, cause):
    found = rules.judge(evidence)
    assert found[0].cause is us.Cause[cause], found
    assert wording.sentence(found[0]).endswith(").")
    for fact in wording.facts(evidence):
        assert fact.label and fact.sentence.endswith(".")


def test_every_cause_has_its_words_its_doubt_and_its_remedies():
    from unstuck.doctor.menu import MENU

    for cause in us.Cause:
        assert wording.title(cause) and cause.explanation and cause.action
        assert doubts.doubt(cause, run(geometry=SLOPE)), cause
        if not cause.healthy:
            assert remedies.remedies_for(cause, run(geometry=SLOPE)), cause
            assert MENU[cause], cause


def test_a_radius_does_not_see_the_scale_of_the_weights():
    from unstuck.doctor.sharp import radius_at

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 5)), rng.integers(0, 2, 80)
    net = us.nn.Network(us.nn.Linear(5, 8), us.nn.ReLU(), us.nn.Linear(8, 2), input_shape=(5,), seed=0, dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    before, radius = land.loss(net.theta), radius_at(land, net.theta, 0.1)
    scaled = net.theta.copy()
    where = {name: part for name, part, _ in land.blocks}
    for name, factor in (("0.weight", 30.0), ("0.bias", 30.0), ("2.weight", 1.0 / 30.0)):
        scaled[where[name]] *= factor
    assert land.loss(scaled) == pytest.approx(before, rel=1e-12)
    assert radius_at(land, scaled, 0.1) == pytest.approx(radius, rel=1e-9)
    assert 0.01 < radius < 2.56


def test_a_scaled_start_has_units_of_one_size():
    from unstuck.doctor.starts import scaled_theta

    rng = np.random.default_rng(0)
    X, y = (rng.normal(size=(300, 6)) * [1, 50, 1, 1, 0.1, 1]).astype(np.float32), rng.integers(0, 3, 300)
    layers = [us.nn.Linear(6, 12), us.nn.Sigmoid(), us.nn.Linear(12, 12), us.nn.Sigmoid(), us.nn.Linear(12, 3)]
    net = us.nn.Network(*layers, input_shape=(6,), seed=0)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    theta = scaled_theta(land, X)
    outputs = dict(net.activations(X, theta))
    for name in ("0.Linear", "2.Linear"):
        np.testing.assert_allclose(outputs[name].std(axis=0), 1.0, rtol=1e-3)
        np.testing.assert_allclose(outputs[name].mean(axis=0), 0.0, atol=1e-3)
