"""The doctor's rules: evidence in, cause out, nothing measured. One row per situation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import unstuck as us
from unstuck.doctor import remedies, rules, wording
from unstuck.doctor.evidence import (
    Continuation,
    Descent,
    Evidence,
    Fork,
    Geometry,
    Level,
    Stability,
)
from unstuck.doctor.trend import Trend, has_stalled, measure_trend, still_lower, trend_of_levels
from unstuck.train import Failure

CAUSES = (
    "HEALTHY CONVERGED STRICT_SADDLE FLAT_SADDLE LOCAL_MINIMUM STEP_TOO_LARGE STEP_TOO_SMALL ILL_CONDITIONED "
    "NOISE_FLOOR VANISHING_GRADIENT EXPLODING_GRADIENT DEAD_UNITS SATURATED_UNITS BAD_INITIALISATION "
    "UNSCALED_FEATURES SHARP_MINIMUM STALE_STATISTICS EXHAUSTED_STEP NON_FINITE UNDECIDED"
)

FALLING = Trend(updates=300, start=2.0, end=1.5, z=-4.0, steady=1.0, noise=0.01)
FLAT = Trend(updates=300, start=2.0, end=2.0, z=0.3, steady=0.5, noise=0.02)
RISING = Trend(updates=300, start=2.0, end=2.6, z=3.0, steady=0.1, noise=0.02)
RECOVERING = Trend(updates=300, start=8.0, end=5.0, z=-4.0, steady=1.0, noise=0.1)
LEVEL = Level(loss=2.0, lower_bound=0.0, baseline=2.3, start=2.3, samples=100, of_samples=100)
SADDLE = Geometry(
    samples=100,
    distance=0.0,
    loss=2.0,
    verdict=us.Verdict.STRICT_SADDLE,
    lambda_min=(-0.5, -0.49),
    lambda_max=(1.0, 1.1),
    tolerance=1e-4,
    gradient_norm=1e-6,
    gradient_decrease=1e-12,
    curvature_decrease=1e-5,
    downhill=True,
    at_lower_bound=False,
    kink=False,
    confidence=1 - 1e-6,
)
MINIMUM = replace(SADDLE, verdict=us.Verdict.LOCAL_MINIMUM, lambda_min=(0.1, 0.2), downhill=False)
FLAT_PLACE = replace(SADDLE, verdict=us.Verdict.DEGENERATE, lambda_min=(-1e-6, 0.0), downhill=False)
SLOPE = replace(SADDLE, verdict=us.Verdict.NOT_CRITICAL, gradient_norm=1.0, gradient_decrease=0.5, downhill=False)
STEEP_SADDLE = replace(SLOPE, downhill=True)
SAFE = Stability(curvature=1.0, threshold=20.0, lr=0.1, rule="SGD", formula="2/lr")
STEEP = replace(SAFE, curvature=30.0)
LOWER = Descent(decrease=1e-6, radius=0.01, explained=1e-9, error=1e-12)
NOTHING_LOWER = Descent(decrease=1e-10, radius=0.01, explained=1e-9, error=1e-12)


BLOWS_UP = Fork(300, 1.0, np.inf, 0.0, 1.0, "some change")  # the control, that is


def fork(gain, control=2.0, error=0.001, wins=None, **options):
    wins = float(gain > 0) if wins is None else wins
    return Fork(300, control - gain, control, error, wins, "some change", **options)


SAME = fork(0.0)


def ahead(first=2.0, last=2.0, scatter=0.001, **options):
    """A continuation that moves linearly, with a little wiggle."""
    losses = np.linspace(first, last, 25) + scatter * np.tile([1.0, -1.0], 13)[:25]
    return Continuation(300, tuple(losses), trend_of_levels(losses, 300), **options)


def run(**measured):
    """A run at rest, nothing else known."""
    return Evidence(**{"has_run": True, "level": LEVEL, "updates": 900, "trend": FLAT, "stalled": False, **measured})


def point(geometry, **measured):
    return Evidence(has_run=False, level=replace(LEVEL, start=None), geometry=geometry, **measured)


SITUATIONS = [
    # healthy, whatever else there is
    ("falling", run(trend=FALLING), "HEALTHY"),
    ("falling at a saddle", run(trend=FALLING, geometry=SADDLE, escape=fork(1.0)), "HEALTHY"),
    ("falling at the edge of stability", run(trend=FALLING, stability=STEEP, smaller_lr=fork(0.5)), "HEALTHY"),
    ("falls when trained on", run(continuation=ahead(2.0, 1.7)), "HEALTHY"),
    ("settles lower when trained on", run(continuation=ahead(2.0, 2.0, 0.0)), "UNDECIDED"),
    ("no history yet, falls when trained on", run(trend=None, continuation=ahead(2.0, 1.7)), "HEALTHY"),
    # not healthy: the fall has ended, is nothing, or only mends a rise
    ("fell, but no longer", run(trend=FALLING, stalled=True), "UNDECIDED"),
    ("falls by a millionth", run(trend=replace(FALLING, end=2.0 - 2e-6)), "UNDECIDED"),
    ("comes down from a rise", run(trend=RECOVERING), "UNDECIDED"),
    ("falls, then breaks", run(continuation=ahead(2.0, 1.7, broke=True)), "UNDECIDED"),
    # saddles
    ("saddle, escape helps", run(geometry=SADDLE, escape=fork(1.0), smaller_lr=SAME), "STRICT_SADDLE"),
    ("saddle, escape gains nothing", run(geometry=SADDLE, escape=fork(1e-4), smaller_lr=SAME), "CONVERGED"),
    ("saddle, escape within noise", run(geometry=SADDLE, escape=fork(0.1, error=0.2, wins=0.7), smaller_lr=SAME),
     "UNDECIDED"),
    ("saddle, a smaller step helps as much",
     run(geometry=SADDLE, escape=fork(0.5), smaller_lr=fork(0.5)), "STEP_TOO_LARGE"),
    ("saddle, escape not tried", run(geometry=SADDLE), "UNDECIDED"),
    ("slope with negative curvature", run(geometry=STEEP_SADDLE, escape=fork(1.0), smaller_lr=SAME), "UNDECIDED"),
    ("slope that promises nothing, where a larger step only leaves sooner",
     run(geometry=replace(STEEP_SADDLE, gradient_decrease=0.001), escape=fork(0.5), smaller_lr=SAME,
         larger_lr=fork(0.5)),
     "STRICT_SADDLE"),
    ("point at a saddle", point(SADDLE), "STRICT_SADDLE"),
    ("point at a maximum", point(replace(SADDLE, verdict=us.Verdict.LOCAL_MAXIMUM)), "STRICT_SADDLE"),
    ("point down on one side, flat on the other", point(replace(FLAT_PLACE, downhill=True)), "STRICT_SADDLE"),
    ("point on a slope", point(SLOPE), "UNDECIDED"),
    ("point on a slope that curves down", point(STEEP_SADDLE), "UNDECIDED"),
    # flat places
    ("flat, lower close by", run(geometry=FLAT_PLACE, descent=LOWER, push=fork(1.0), smaller_lr=SAME), "FLAT_SADDLE"),
    ("flat, lower, but no gain", run(geometry=FLAT_PLACE, descent=LOWER, push=SAME, smaller_lr=SAME), "CONVERGED"),
    ("flat, nothing lower", run(geometry=FLAT_PLACE, descent=NOTHING_LOWER, smaller_lr=SAME), "CONVERGED"),
    ("flat, but not watched for long",
     run(geometry=FLAT_PLACE, smaller_lr=SAME, continuation=replace(ahead(), steps=24)), "UNDECIDED"),
    ("saddle, but not watched for long",
     run(geometry=SADDLE, escape=fork(1.0), smaller_lr=SAME, continuation=replace(ahead(), steps=24)), "UNDECIDED"),
    ("saddle, watched for long",
     run(geometry=SADDLE, escape=fork(1.0), smaller_lr=SAME, continuation=ahead()), "STRICT_SADDLE"),
    ("saddle, but the run falls as much by itself, under noise",
     run(geometry=SADDLE, escape=fork(0.1), smaller_lr=SAME, continuation=ahead(2.0, 2.0, 0.3)), "UNDECIDED"),
    ("flat, another start helps", run(geometry=FLAT_PLACE, smaller_lr=SAME, restart=fork(1.0)), "UNDECIDED"),
    ("flat, a larger step helps", run(geometry=FLAT_PLACE, smaller_lr=SAME, larger_lr=fork(1.0)), "UNDECIDED"),
    ("flat point, lower close by", point(FLAT_PLACE, descent=LOWER), "FLAT_SADDLE"),
    ("flat point, nothing lower", point(FLAT_PLACE, descent=NOTHING_LOWER), "CONVERGED"),
    ("no curvature at all, nothing lower",
     point(replace(FLAT_PLACE, lambda_max=(0.0, 0.0), tolerance=0.0), descent=NOTHING_LOWER), "UNDECIDED"),
    # minima
    ("minimum", run(geometry=MINIMUM, smaller_lr=SAME), "CONVERGED"),
    ("minimum above the target", run(level=replace(LEVEL, target=1.0), geometry=MINIMUM), "LOCAL_MINIMUM"),
    ("minimum below the target", run(level=replace(LEVEL, target=2.5), geometry=MINIMUM), "CONVERGED"),
    ("minimum, another start is much better",
     run(geometry=MINIMUM, smaller_lr=SAME, restart=fork(1.0)), "LOCAL_MINIMUM"),
    ("minimum, another start is a little better",
     run(geometry=MINIMUM, smaller_lr=SAME, restart=fork(0.03)), "CONVERGED"),
    ("point at a minimum", point(MINIMUM), "CONVERGED"),
    ("point at a minimum above the target",
     replace(point(MINIMUM), level=replace(LEVEL, start=None, target=1.0)), "LOCAL_MINIMUM"),
    ("a minimum that meets the target, and a run that hovers above it",
     run(level=replace(LEVEL, target=1.0), geometry=replace(MINIMUM, loss=0.9, distance=0.1), smaller_lr=SAME),
     "UNDECIDED"),
    ("a minimum above the target, and a run that hovers above it",
     run(level=replace(LEVEL, target=1.0), geometry=replace(MINIMUM, loss=1.1, distance=0.1)), "LOCAL_MINIMUM"),
    ("another start is better than the run, but not than the minimum that it hovers above",
     run(geometry=replace(MINIMUM, loss=1.0, distance=0.1), smaller_lr=SAME, restart=fork(1.0)), "UNDECIDED"),
    ("hovers far above a point at the lower bound",
     run(geometry=replace(MINIMUM, loss=0.0, distance=0.1, at_lower_bound=True)), "UNDECIDED"),
    ("hovers a little above a point at the lower bound",
     run(level=replace(LEVEL, loss=1e-3), geometry=replace(MINIMUM, loss=0.0, distance=1e-3, at_lower_bound=True)),
     "CONVERGED"),
    ("a kink, nothing lower", point(replace(FLAT_PLACE, kink=True), descent=NOTHING_LOWER), "CONVERGED"),
    ("at the lower bound", run(geometry=replace(FLAT_PLACE, at_lower_bound=True), smaller_lr=SAME), "CONVERGED"),
    # steps
    ("steep, a smaller step helps", run(geometry=SLOPE, stability=STEEP, smaller_lr=fork(1.0)), "STEP_TOO_LARGE"),
    ("rising and steep", run(trend=RISING, geometry=SLOPE, stability=STEEP, smaller_lr=fork(1.0)), "STEP_TOO_LARGE"),
    ("steep, a smaller step does not help", run(geometry=SLOPE, stability=STEEP, smaller_lr=SAME), "UNDECIDED"),
    ("steep, noisy gain", run(geometry=SLOPE, stability=STEEP, smaller_lr=fork(0.1, error=0.1, wins=0.6)), "UNDECIDED"),
    ("noise: a larger batch helps as much",
     run(stochastic=True, geometry=SLOPE, stability=SAFE, smaller_lr=fork(1.0), larger_batch=fork(1.0)),
     "NOISE_FLOOR"),
    ("not noise: a larger batch does not help",
     run(stochastic=True, geometry=SLOPE, stability=SAFE, smaller_lr=fork(1.0), larger_batch=SAME), "STEP_TOO_LARGE"),
    ("at the edge, but a larger batch helps as much",
     run(stochastic=True, geometry=SLOPE, stability=replace(SAFE, curvature=24.0), smaller_lr=fork(1.0),
         larger_batch=fork(1.0)), "UNDECIDED"),
    ("far beyond the edge, though a larger batch helps as much",
     run(stochastic=True, geometry=SLOPE, stability=replace(SAFE, curvature=60.0), smaller_lr=fork(1.0),
         larger_batch=fork(1.0)), "STEP_TOO_LARGE"),
    ("above where it began",
     run(stochastic=True, trend=RECOVERING, geometry=SLOPE, stability=SAFE, smaller_lr=fork(4.0, control=6.0),
         larger_batch=fork(4.0, control=6.0)), "STEP_TOO_LARGE"),
    ("the control blows up", run(geometry=SLOPE, stability=STEEP, smaller_lr=BLOWS_UP), "STEP_TOO_LARGE"),
    # not finite
    ("an update failed", run(trend=FALLING, failure=Failure(7, 0, "0.weight", np.nan, 0.1, "text.")), "NON_FINITE"),
    ("the loss is not finite", run(broken="loss"), "NON_FINITE"),
    # nothing measured
    ("nothing known of a run", run(trend=None), "UNDECIDED"),
]  # fmt: skip


@pytest.mark.parametrize(("evidence", "cause"), [s[1:] for s in SITUATIONS], ids=[s[0] for s in SITUATIONS])
def test_rule(evidence, cause):
    found = rules.judge(evidence)
    assert found[0].cause is us.Cause[cause], found
    assert all(0.0 <= f.confidence <= 1.0 for f in found)
    confidences = [f.confidence for f in found]
    assert confidences == sorted(confidences, reverse=True)
    assert us.Cause.UNDECIDED in [f.cause for f in found]
    text = wording.sentence(found[0])
    assert len(text) > 20
    assert text.endswith(").")
    for fact in wording.facts(evidence):
        assert fact.label
        assert fact.sentence.endswith(".")
    assert all(remedy.describe() for remedy in remedies.remedies_for(found[0].cause, evidence))


def test_a_failed_update_beyond_the_threshold_names_the_step_second():
    failed = run(failure=Failure(7, 0, "0.weight", np.nan, 0.1, "text."), geometry=SLOPE, stability=STEEP)
    assert [f.cause.name for f in rules.judge(failed)][:2] == ["NON_FINITE", "STEP_TOO_LARGE"]


def test_confidence_grows_with_the_measurement():
    def confidence(gain):
        return rules.judge(run(geometry=SADDLE, escape=fork(gain), smaller_lr=SAME))[0].confidence

    assert 0.5 <= confidence(0.024) < confidence(0.03) < confidence(0.06) <= 0.99
    assert rules.sure(1.0) == 0.5
    assert rules.sure(0.0) == 0.0


def test_verdicts_do_not_depend_on_the_unit_of_the_loss():
    saddle = run(geometry=SADDLE, escape=fork(1.0), smaller_lr=SAME)
    for c in (1e-12, 1e12):
        level = replace(LEVEL, loss=2.0 * c, baseline=2.3 * c, start=2.3 * c)
        flat = replace(FLAT, start=2.0 * c, end=2.0 * c, noise=0.02 * c)
        scaled = replace(
            saddle,
            level=level,
            trend=flat,
            escape=fork(c, control=2.0 * c, error=0.001 * c),
            smaller_lr=fork(0.0, control=2.0 * c, error=0.001 * c),
        )
        assert rules.judge(scaled)[0].confidence == pytest.approx(rules.judge(saddle)[0].confidence)
        assert rules.judge(scaled)[0].cause is us.Cause.STRICT_SADDLE


def test_a_rule_of_ones_own_can_be_added():
    def bored(evidence):
        return rules.Finding(us.Cause.STEP_TOO_SMALL, 0.999, "I said so") if evidence.updates > 800 else None

    assert rules.judge(run(trend=FALLING), [*rules.RULES, bored])[0].cause is us.Cause.STEP_TOO_SMALL


# ---- causes


def test_every_cause_of_the_contract_has_its_meaning_and_its_remedy():
    assert [cause.name for cause in us.Cause] == CAUSES.split()
    for cause in us.Cause:
        assert cause.explanation[0].islower()
        assert len(cause.action) > 10
        assert not cause.explanation.endswith(".")
    assert [c.name for c in us.Cause if c.healthy] == ["HEALTHY", "CONVERGED"]
    assert len({cause.value for cause in us.Cause}) == len(us.Cause)


# ---- trends


@pytest.mark.parametrize("noise", [0.0, 0.1, 1.0])
def test_flat_series_rarely_look_like_falling(noise):
    # 5 % would be seen in 20 of 400 by chance; the one-sided test at 1 % and the sign test give about 1.6 %
    rng = np.random.default_rng(0)
    alarms = sum(measure_trend(2.0 + noise * rng.standard_normal(200)).falling for _ in range(400))
    assert alarms <= 0.05 * 400


def test_correlated_noise_rarely_looks_like_falling():
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(400):
        shocks, series = rng.standard_normal(240), np.empty(240)
        level = 0.0
        for i, shock in enumerate(shocks):
            level = 0.9 * level + shock
            series[i] = level
        alarms += measure_trend(series).falling
    assert alarms <= 0.1 * 400


@pytest.mark.parametrize("shape", ["line", "decay", "steps"])
@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_falling_series_are_seen(shape, noise):
    t = np.linspace(0, 1, 300)
    curve = {"line": 1 - t, "decay": np.exp(-3 * t), "steps": np.floor(12 * (1 - t)) / 12}[shape]
    rng = np.random.default_rng(2)
    for _ in range(20):
        trend = measure_trend(curve + noise * rng.standard_normal(300))
        assert trend.falling
        assert not trend.rising
        assert trend.drop > 0.3


def test_a_trend_has_no_unit_and_no_zero():
    series = 1 - np.linspace(0, 1, 240) ** 2 + 0.1 * np.random.default_rng(3).standard_normal(240)
    one = measure_trend(series)
    other = measure_trend(7.0 + 1e-8 * series)
    assert other.z == pytest.approx(one.z)
    assert other.drop == pytest.approx(1e-8 * one.drop, rel=1e-6)


def test_rising_and_short_series():
    assert measure_trend(np.linspace(0, 1, 100)).rising
    assert measure_trend(np.ones(23)) is None
    constant = measure_trend(np.ones(100))
    assert not constant.falling
    assert not constant.rising


def test_a_fall_that_has_ended_is_seen():
    rng = np.random.default_rng(4)
    ended = np.r_[np.linspace(2, 1, 300), np.ones(200)] + 0.02 * rng.standard_normal(500)
    going = np.linspace(2, 1, 500) + 0.02 * rng.standard_normal(500)
    for series, goes_on in ((ended, False), (going, True)):
        trend = measure_trend(series)
        assert (trend.falling and not has_stalled(series, trend)) is goes_on
    assert still_lower(going)
    assert not still_lower(np.ones(240) + 0.02 * rng.standard_normal(240))


def test_an_open_question_says_what_was_tried():
    def question(evidence):
        return rules.judge(evidence)[0].reason

    assert "its curvature alone does not tell" in question(run(geometry=SLOPE))
    assert "only a run could be tried out" in question(point(FLAT_PLACE))
    assert "nothing that was tried" in question(run(geometry=SLOPE, smaller_lr=SAME))


def test_a_kink_is_put_into_words():
    at_kink = replace(FLAT_PLACE, kink=True, lambda_min=(0.5, 0.5))
    found = rules.judge(point(at_kink, descent=LOWER))[0]
    assert found.reason.startswith("the loss has a kink")
    (fact,) = [f for f in wording.facts(point(at_kink)) if f.label == "kind of point"]
    assert "kink" in fact.sentence
    assert "flat within the tolerance" not in fact.sentence
    assert fact.data["kink"] is True
    saddle = replace(SADDLE, kink=True)
    assert "kink" in next(f for f in wording.facts(point(saddle)) if f.label == "kind of point").sentence


def test_a_saddle_that_the_run_hovers_around_is_not_where_it_stands():
    near = replace(SADDLE, distance=0.028)
    found = rules.judge(run(geometry=near, escape=fork(1.0), smaller_lr=SAME))[0]
    assert found.cause is us.Cause.STRICT_SADDLE
    assert found.reason.startswith("the run hovers within 0.028 of a point with gradient norm")


def test_numbers_that_differ_read_differently():
    """A loss that creeps from 2.30261 to 2.30259 is not said to go from 2.303 to 2.303."""
    creeping = replace(FLAT, start=2.302612, end=2.302591)
    (fact,) = [f for f in wording.facts(run(trend=creeping)) if f.label == "trend"]
    assert "from 2.30261 to 2.30259" in fact.sentence
