"""Probes: each measures one thing about the subject, within a share of the budget, and changes nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import optim
from ..critical import CriticalPoint, classify
from ..curvature.stability import preconditioned, stability_limit, steepest
from ..escape import escape as leave
from ..train import Trainer
from . import forks
from .baseline import constant_answer_loss
from .evidence import Continuation, Fork, Level, Stability
from .forks import Course
from .newton import starts_around
from .subject import Clock, Subject, distance
from .symptoms import StepSize
from .treatments import STRIDE
from .trend import Trend, has_stalled, measure_trend, shift_of, still_lower, trend_of_levels

Array = NDArray[Any]

SPENT, RUN_OUT = 0.05, 0.1  # of the largest rate so far; of the present one
FEWEST_PRODUCTS, MOST_PRODUCTS = 60, 1000


def measure_level(subject: Subject, target: float | None) -> Level:
    """Where the loss stands, and what it could be. Cost: one loss."""
    objective, land = subject.objective, subject.land
    return Level(
        loss=float(objective.loss(subject.theta)),
        lower_bound=land.lower_bound,
        baseline=constant_answer_loss(land),
        start=first_loss(subject.run),
        target=target,
        samples=objective.samples,
        of_samples=land.samples,
    )


def first_loss(run: Trainer | None) -> float | None:
    """The loss of the first update's batch; None without one."""
    return None if run is None or not run.history.updates else float(run.history["loss"][0])


def find_broken(subject: Subject) -> str | None:
    """The first block whose parameters or gradient are not finite; "loss" if only the loss is. Cost: one gradient."""
    for name, where, _ in subject.land.blocks:
        if not np.isfinite(subject.theta[where]).all():
            return name
    loss, gradient = subject.curved.gradient(subject.theta)
    for name, where, _ in subject.land.blocks:
        if not np.isfinite(gradient[where]).all():
            return name
    return None if math.isfinite(loss) else "loss"


def losses_since_move(run: Trainer) -> Array:
    """The losses of the history since the last time that θ was put elsewhere."""
    last_event = max((event["step"] for event in run.history.events), default=0)
    return run.history["loss"][int(np.searchsorted(run.history["step"], last_event, side="right")) :]


def recent_trend(losses: Array) -> tuple[Trend | None, bool | None]:
    """(the trend of the recent losses, whether a fall in it has ended). Cost: nothing.

    The last third; if it does not fall, two thirds, which show a slow fall under much noise. There the later half
    must lie below the earlier one by itself, or a fall long ago would count.
    """
    third = losses[-max(24, len(losses) // 3) :]
    trend = measure_trend(third)
    if trend is None or (trend.falling and not has_stalled(third, trend)):
        return trend, None if trend is None else False
    longer = losses[-max(24, 2 * len(losses) // 3) :]
    wide = measure_trend(longer)
    if wide is not None and wide.falling and still_lower(longer):
        return wide, False
    return trend, trend.falling


def go_on(subject: Subject, run: Trainer, clock: Clock, seconds: float) -> tuple[Continuation, Course]:
    """The run trained on in a copy, with nothing changed. Cost: `seconds`."""
    steps = forks.affordable_steps(subject, subject.fork(run), clock, seconds)
    copy = subject.fork(run)
    course = forks.follow(subject, copy, steps)
    trend = trend_of_levels(course.losses, steps) if len(course.losses) > 2 else None
    before, after = losses_since_move(run), copy.history["loss"]
    joined, stalled = recent_trend(np.concatenate([before, after]))
    lower = len(course.later) and course.later.mean() < course.losses[: forks.CHECKPOINTS // 2].mean()
    if trend is not None and joined is not None and not trend.falling and joined.falling and not stalled and lower:
        trend = joined
    shift = shift_of(before[-max(24, len(before) // 3) :], after[len(after) // 2 :])
    samples = run.sampler.samples
    passes = None if samples is None else steps * min(run.sampler.batch_size, samples) / samples
    return Continuation(steps, tuple(course.losses.tolist()), trend, course.broke, shift, passes), course


def rate_before_the_end(run: Trainer, steps: int) -> float | None:
    """The rate of the next update, where the schedule has hardly lowered it yet and will, within `steps`, to a tenth.

    Cost: nothing; None otherwise.
    """
    if not callable(run.opt.lr):
        return None
    now = float(run.opt.rate(run.t))
    ahead = [float(run.opt.rate(run.t + i)) for i in range(steps // 2, steps, max(1, steps // 32))]
    alive = now > SPENT * float(run.history["lr"].max(initial=now))
    return now if alive and float(np.mean(ahead)) < RUN_OUT * now else None


def look_at_point(subject: Subject, theta: Array, clock: Clock, seconds: float) -> CriticalPoint:
    """The verdict of `classify` on the objective. Cost: as many products as `seconds` pay for, at most 1,000."""
    op = subject.curved.hessian(theta)
    v = np.random.default_rng(0).standard_normal(op.shape[0]).astype(op.dtype)
    began = clock.elapsed
    op @ v
    per_product = clock.elapsed - began
    most = int(min(max(seconds / max(per_product, 1e-7), FEWEST_PRODUCTS), MOST_PRODUCTS))
    return classify(subject.curved, theta, max_products=most)


def measure_stability(subject: Subject, run: Trainer) -> Stability | None:
    """The steepest curvature that the optimizer sees against its threshold. Cost: at most 40 products."""
    lr = run.opt.rate(run.t) * _left_by_clipping(run)
    limit = stability_limit(run.opt, lr)
    if limit is None:
        return None
    curvature = steepest(preconditioned(subject.curved.hessian(subject.theta), limit.preconditioner))
    return Stability(max(curvature, 0.0), limit.threshold, lr, run.opt.rule, limit.formula)


def _left_by_clipping(run: Trainer) -> float:
    """What clipping leaves of an update of SGD, typically; rules that divide by the gradient do not see it."""
    norms = run.history["gradient_norm"][-100:]
    if run.clip_norm is None or run.opt.rule != "SGD" or not len(norms) or not np.median(norms) > 0.0:
        return 1.0
    return min(1.0, run.clip_norm / float(np.median(norms)))


def try_smaller_lr(
    subject: Subject, run: Trainer, control: Course, ratio: float | None, steps: StepSize | None
) -> Fork:
    """A tenth of the learning rate, less where curvature asks for it; where long updates ask for far less, the better.

    Cost: as the control, twice where the two differ.
    """
    factors = [0.1 if ratio is None or ratio <= 5.0 else 0.5 / ratio]
    if steps is not None and math.isfinite(steps.stride) and steps.stride > 10.0 * STRIDE:
        modest = STRIDE / min(steps.stride, 1e6)
        if modest < factors[0]:
            factors.append(modest)
    tried = []
    for factor in factors:
        course = forks.follow(subject, forks.with_rate(subject.fork(run), factor), control.steps)
        tried.append(forks.compare(subject, course, control, f"the learning rate multiplied by {factor:.3g}"))
    return min(tried, key=lambda fork: (fork.broke, fork.loss))


def try_larger_lr(
    subject: Subject, run: Trainer, control: Course, ratio: float | None, steps: StepSize | None
) -> Fork | None:
    """A quarter of what curvature bears, or ten times the rate, and no more than moves the weights by a fiftieth.

    A tenth of that where it does not help. Cost: as the control, or twice; None if it is hardly more than now.
    """
    length = STRIDE / steps.moves if steps is not None and steps.moves else None
    factor = 10.0 if length is None else length  # where the curvature that it bears is not known
    if ratio is not None and ratio > 0.0:
        factor = 0.25 / ratio if length is None else min(0.25 / ratio, length)
    tried: list[Fork] = []
    for share in (1.0, 0.1):  # a fiftieth at every update is too much for rules whose updates are all of one length
        if factor * share < 2.0 or (tried and not tried[0].broke and tried[0].gain > 3.0 * tried[0].error):
            break
        course = forks.follow(subject, forks.with_rate(subject.fork(run), factor * share), control.steps)
        tried.append(forks.compare(subject, course, control, f"the learning rate multiplied by {factor * share:.3g}"))
    return min(tried, key=lambda fork: (fork.broke, fork.loss), default=None)


def try_larger_batch(subject: Subject, run: Trainer, control: Course) -> Fork:
    """Eight times the batch at the same learning rate. Cost: at most eight times the control."""
    samples = run.sampler.samples or 0
    size = min(8 * run.batch_size, samples)
    course = forks.follow(subject, forks.with_batch(subject.fork(run), size), control.steps)
    return forks.compare(subject, course, control, f"batches of {size} instead of {run.batch_size} samples")


def stay(subject: Subject, run: Trainer, theta: Array, steps: int) -> Course:
    """The control of a start elsewhere: from `theta` itself, the optimizer started afresh as there."""
    return forks.follow(subject, forks.moved(subject.fork(run), theta), steps)


def try_escape(subject: Subject, run: Trainer, rest: Course, theta: Array, cp: CriticalPoint) -> Fork | None:
    """A start beyond the saddle, along the certified direction. Cost: as its control; None if no step was found."""
    step = leave(subject.curved, theta, cp)
    if not step.succeeded:
        return None
    course, slower = _from_there(subject, run, step.theta, rest.steps)
    return forks.compare(subject, course, rest, f"a step of length {step.step:.3g} along the direction{slower}")


def _from_there(subject: Subject, run: Trainer, theta: Array, steps: int) -> tuple[Course, str]:
    """A start at another point; at a lower rate, named, where the ground is too steep for the run's own."""
    for factor in (1.0, 0.1, 0.01):
        course = forks.follow(subject, forks.with_rate(forks.moved(subject.fork(run), theta), factor), steps)
        if not course.broke:
            break
    return course, "" if factor == 1.0 else f" and the learning rate multiplied by {factor:g}"


def try_push(subject: Subject, run: Trainer, rest: Course, theta: Array, start: Array) -> Fork:
    """A start from a lower loss close by. Cost: as its control."""
    course, slower = _from_there(subject, run, start, rest.steps)
    change = f"a push of length {distance(start, theta):.3g} off the flat place{slower}"
    return forks.compare(subject, course, rest, change)


def try_restart(subject: Subject, run: Trainer, level: Level, clock: Clock, seconds: float) -> Fork:
    """Another start, judged against the loss as it stands. Cost: `seconds`.

    Networks: fresh weights and Adam at 1e-3. Other surfaces: eight points up to 2·max(1, ‖θ‖) away, in opposite
    pairs, with the run's own optimizer; the best counts.
    """
    theta = _fresh_weights(subject.land)
    if theta is not None:
        change = "fresh weights and Adam with a learning rate of 0.001"
        return _from_elsewhere(subject, run, level, clock, seconds, (theta, optim.Adam(lr=1e-3), change))
    starts, trials = starts_around(subject.theta), []
    for start in starts:
        change = f"a start at a distance of {distance(start, subject.theta):.3g} from here"
        share = seconds / len(starts)
        trials.append(_from_elsewhere(subject, run, level, clock, share, (start, run.opt.copy(), change)))
    return min(trials, key=lambda fork: fork.loss)


def _from_elsewhere(
    subject: Subject, run: Trainer, level: Level, clock: Clock, seconds: float, start: tuple[Array, Any, str]
) -> Fork:
    theta, opt, change = start

    def fresh() -> Trainer:
        twin = subject.fork(run)
        twin.opt = opt.copy()
        twin.move_to(theta)
        return twin

    steps = forks.affordable_steps(subject, fresh(), clock, seconds)
    course = forks.follow(subject, fresh(), steps)
    stands = Course(np.full(len(course.losses), level.loss), steps, False)
    return forks.compare(subject, course, stands, change)


def _fresh_weights(land: Any) -> Array | None:
    """Another start, uniform within ±1/√inputs as torch.nn.Linear's, whatever the run's was; None without a network."""
    net = getattr(land, "net", None)
    if net is None:
        return None
    theta: Array = net.theta.copy()
    rng, bound = np.random.default_rng(net.seed + 1), 1.0
    for _, where, shape in land.blocks:
        if len(shape) > 1:  # a bias follows its weight
            bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        theta[where] = rng.uniform(-bound, bound, where.stop - where.start)
    return theta
