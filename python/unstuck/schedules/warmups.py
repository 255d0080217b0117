"""Schedules that begin low: a warm-up before any schedule, Noam's, warm-up–stable–decay, and the slow start."""

from __future__ import annotations

import math

from ..errors import ArgumentError
from ..ranges import FLAG, FRACTION, NON_NEGATIVE
from .cosines import half_cosine
from .schedule import Schedule, below, schedule_of, steps_of, word_of

SLOW_START = ((40, 0.5), (70, 0.075), (85, 0.01))  # (epochs up to here, share of the base rate); then 0.001


def warmup(
    base: Schedule | float, steps: int, start: float = 0.0, shape: str = "linear", delay: bool = True
) -> Schedule:
    """Any schedule, raised slowly at first.

    The factor f(t) is start + (1 − start)·t/steps ("linear", gradual) or start ("constant") for t < steps, then 1.
    With `delay` the schedule begins after the warm-up: value(t) = f(t)·base(0) for t < steps, then base(t − steps)
    (torch's SequentialLR of a LinearLR or ConstantLR and another). Without, it runs from step 0:
    value(t) = f(t)·base(t) (torch's ChainedScheduler; on a constant base torch's LinearLR, ConstantLR).
    P. Goyal et al., arXiv 1706.02677, go from η to kη linearly in 5 epochs and count the decay from step 0:
    start = 1/k, delay=False. K. He et al., arXiv 1512.03385, begin with a constant tenth.

    Args:
        base: the schedule, or a number.
        steps: length of the warm-up, ≥ 0.
        start: first factor, in [0, 1]; not 0 if the shape is constant. With 0 nothing moves at step 0.
        shape: "linear" or "constant".
        delay: whether `base` begins after the warm-up.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    inner, length, first = schedule_of("base", base), steps_of("steps", steps, 0), FRACTION.check("start", start)
    form, later = word_of("shape", shape, ("linear", "constant")), bool(FLAG.check("delay", delay))
    if form == "constant" and first == 0.0:
        raise ArgumentError("`start` must be positive if `shape` is 'constant', got 0: nothing would move")

    def value(step: int) -> float:
        if step >= length:
            return inner(step - length if later else step)
        factor = first + (1.0 - first) * step / length if form == "linear" else first
        return factor * inner(0 if later else step)

    def watch(step: int, loss: float, accuracy: float | None) -> Schedule:
        if later and step <= length:
            return again
        return warmup(inner.observe(step - length if later else step, loss, accuracy), length, first, form, later)

    settings = {"base": inner, "steps": length, "start": first, "shape": form, "delay": later}
    again = Schedule("warmup", settings, value, inner.watches, watch if inner.watches else None)
    return again


def noam(width: int, warmup: int, scale: float = 1.0) -> Schedule:
    """The Transformer's schedule: linear up for `warmup` steps, then falling with 1/√step.

    value(t) = scale·width^(−½)·min((t + 1)^(−½), (t + 1)·warmup^(−³⁄₂)). Largest at step warmup − 1, where it is
    scale/√(width·warmup). The first update has t = 0 here, step number 1 in the paper.
    Source: A. Vaswani et al., Attention is all you need, arXiv 1706.03762, section 5.3 (width 512, warmup 4000).

    Args:
        width: the model's dimension d_model, ≥ 1.
        warmup: steps of the rise, ≥ 1.
        scale: multiplier, ≥ 0.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    size, rise, multiple = steps_of("width", width), steps_of("warmup", warmup), NON_NEGATIVE.check("scale", scale)
    level = multiple / math.sqrt(size)

    def value(step: int) -> float:
        number = float(step + 1)
        return level * min(1.0 / math.sqrt(number), number / rise / math.sqrt(rise))

    return Schedule("noam", {"width": size, "warmup": rise, "scale": multiple}, value)


def warmup_stable_decay(
    peak: float, warmup: int, stable: int, decay: int, floor: float = 0.0, shape: str = "linear"
) -> Schedule:
    """Linear from 0 to `peak`, level, then down to `floor`, and there it stays.

    value(t) = peak·t/warmup for t < warmup; peak for the next `stable` steps; then with
    p = min(1, (t − warmup − stable)/decay): floor + (peak − floor)·(1 − p) "linear", ·½(1 + cos πp) "cosine",
    ·(1 − √p) "root". Source: S. Hu et al., MiniCPM, arXiv 2404.06395; the root: A. Hägele et al., arXiv 2405.18392.

    Args:
        peak: the level, ≥ 0.
        warmup: steps up, ≥ 0.
        stable: steps on the level, ≥ 0.
        decay: steps down, ≥ 1.
        floor: last value, in [0, peak].
        shape: of the decay: "linear", "cosine" or "root".

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    high, rise = NON_NEGATIVE.check("peak", peak), steps_of("warmup", warmup, 0)
    level, fall = steps_of("stable", stable, 0), steps_of("decay", decay)
    low, form = below("floor", floor, NON_NEGATIVE, high, "peak"), word_of("shape", shape, ("linear", "cosine", "root"))

    def value(step: int) -> float:
        if step < rise:
            return high * step / rise
        share = min(1.0, max(0, step - rise - level) / fall)
        if form == "cosine":
            return half_cosine(high, low, share)
        return low + (high - low) * (1.0 - (math.sqrt(share) if form == "root" else share))

    settings = {"peak": high, "warmup": rise, "stable": level, "decay": fall, "floor": low, "shape": form}
    return Schedule("warmup_stable_decay", settings, value)


def slow_start(initial: float, steps_per_epoch: int) -> Schedule:
    """The slow-start schedule of the 15-minute ImageNet training, 90 epochs long.

    ½·initial for 40 epochs, 0.075·initial for 30, 0.01·initial for 15, then 0.001·initial, where initial is
    0.1·batch/256 in the paper. It belongs to momentum SGD that grows out of RMSProp, and makes up for the
    slower begin by a longer first phase.
    Source: T. Akiba, S. Suzuki, K. Fukuda, arXiv 1711.04325; values as in two implementations of it.

    Args:
        initial: base rate, ≥ 0.
        steps_per_epoch: updates per epoch, ≥ 1.

    Raises:
        ArgumentError: an argument is out of its range.
        ArgumentTypeError: an argument has a wrong type.
    """
    start, length = NON_NEGATIVE.check("initial", initial), steps_of("steps_per_epoch", steps_per_epoch)

    def value(step: int) -> float:
        epoch = step // length
        return start * next((share for end, share in SLOW_START if epoch < end), 0.001)

    return Schedule("slow_start", {"initial": start, "steps_per_epoch": length}, value)
