"""Wording of what a run looks like from inside: layers, weights, features, steps, statistics."""

from __future__ import annotations

import math
from dataclasses import asdict

from ..number_text import apart, number
from ..report.facts import Fact
from .evidence import Evidence, Fork
from .symptoms import (
    BlockState,
    Features,
    Generalisation,
    Labels,
    LayerState,
    Noise,
    OneBatch,
    Sharpness,
    Shuffled,
    Statistics,
    StepSize,
)


def inside_facts(e: Evidence) -> list[Fact]:
    """One fact for each kind of symptom that was looked at."""
    found = []
    if e.layers:
        found.append(_layers(e.layers))
    if e.weights is not None and len(e.weights) > 1:
        found.append(_weights(e.weights))
    if e.features is not None:
        found.append(_features(e.features))
    if e.labels is not None:
        found.append(_labels(e.labels))
    if e.noise is not None:
        found.append(_noise(e.noise))
    if e.one_batch is not None:
        found.append(_one_batch(e.one_batch))
    if e.shuffled is not None:
        found.append(_shuffled(e.shuffled))
    if e.steps is not None:
        found.append(_steps(e.steps))
    if e.statistics is not None:
        found.append(_statistics(e.statistics))
    if e.generalisation is not None:
        found.append(_generalisation(e.generalisation))
    if e.sharpness is not None and e.flatter is not None:
        found.append(_sharpness(e.sharpness, e.flatter))
    return found


def _layers(layers: tuple[LayerState, ...]) -> Fact:
    dead, flat = max(layers, key=lambda x: x.dead), max(layers, key=lambda x: x.saturated)
    idle = _idle(dead, dead.dead, dead.dead > 0, "are 0 on all data")
    text = f"{idle} {_idle(flat, flat.saturated, flat.dead == 0, 'sit on a flat part on nearly all data')}"
    bad = dead.dead >= 0.5 or flat.saturated >= 0.5
    value = f"{max(dead.dead, flat.saturated):.0%} at worst"
    return Fact("units without slope", value, "warn" if bad else "info", text, [asdict(x) for x in layers])


def _idle(layer: LayerState, share: float, named: bool, what: str) -> str:
    """How many units of a layer do something, and which if `named`; the layer is the one in which most do."""
    many = round(share * layer.units)
    if many == 0:
        return f"No units {what}."
    rest = ", …" if many > len(layer.idle) else ""
    which = f" (rows {', '.join(map(str, layer.idle))}{rest})" if named and layer.idle and many < layer.units else ""
    return f"Most of all in {layer.name}: {many} of {layer.units} units {what}{which}."


def _weights(weights: tuple[BlockState, ...]) -> Fact:
    first, last = weights[0], weights[-1]
    value = f"{first.relative / last.relative:.3g}" if last.relative > 0 else "both 0" if first.relative == 0 else "∞"
    text = (
        f"Relative to the weights, the gradient is {first.relative:.3g} in {first.name} and {last.relative:.3g} in "
        f"{last.name}."
    )
    idle = [block for block in weights if block.untouched > 0.0]
    if idle:
        most = max(idle, key=lambda block: block.untouched)
        text += f" {most.untouched:.0%} of {most.name} never receive one."
    return Fact("gradient from last to first", value, "info", text, [asdict(x) for x in weights])


def _features(f: Features) -> Fact:
    worst = f.worst
    text = (
        f"Column {f.widest} of X is the largest of {f.columns}: its deviation or mean is "
        f"{max(f.spread, f.offset):.3g} times a typical deviation; a typical column is {f.size:.3g} times larger or "
        f"smaller than 1; {f.constant} columns never change, {f.duplicates} repeat another."
    )
    if f.condition is not None:
        text += f" The condition number of their correlations is {number(f.condition, 3)}."
    return Fact("scale of features", f"{worst:.3g}", "warn" if worst >= 20 else "info", text, asdict(f))


def _steps(s: StepSize) -> Fact:
    text = f"The learning rate is {s.lr:.3g}, the largest so far was {s.peak:.3g}"
    if s.shrunk < 1.0:
        text += f"; accumulated squares shorten an update to {s.shrunk:.2g} of it"
    return Fact("step left", f"{s.left:.2g}", "warn" if s.left < 0.05 else "info", text + ".", asdict(s))


def _statistics(s: Statistics) -> Fact:
    training, evaluation = apart(s.training, s.evaluation)
    text = (
        f"On the same samples the loss is {training} in training and {evaluation} in evaluation; with statistics of "
        f"these samples it would be {s.recomputed:.4g}."
    )
    bad = s.evaluation > 1.25 * s.training + 1e-12
    return Fact(
        "evaluation against training", f"{s.evaluation - s.training:+.3g}", "warn" if bad else "info", text, asdict(s)
    )


def _generalisation(g: Generalisation) -> Fact:
    text = f"The loss is {g.training:.4g} on the training data and {g.validation:.4g} on new data (best: {g.best:.4g})."
    return Fact("new data", f"{g.validation:.4g}", "info", text, asdict(g))


def _sharpness(s: Sharpness, flatter: Fork) -> Fact:
    text = (
        f"Every parameter may change by {s.here:.1%} of itself at random before the training loss is high; with "
        f"{flatter.change}, where that comes to {number(flatter.loss)} instead of {number(flatter.control)}, by "
        f"{s.elsewhere:.1%}."
    )
    bad = flatter.gain > 0 and s.elsewhere > 1.25 * s.here
    return Fact(
        "sharpness", f"{s.here:.1%}", "warn" if bad else "info", text, {**asdict(s), "flatter": asdict(flatter)}
    )


def _labels(x: Labels) -> Fact:
    text = (
        f"Of {x.classes} classes the rarest has {x.smallest:.2%} of the samples and the most frequent {x.largest:.2%}."
    )
    return Fact("classes", f"{x.smallest:.2%}", "warn" if x.smallest * x.classes < 0.1 else "info", text, asdict(x))


def _noise(x: Noise) -> Fact:
    name, least = min(x.blocks, key=lambda block: block[1], default=("", 0.0))
    text = (
        f"Noise and signal of a batch are equally large at {number(x.scale, 3)} samples, batches hold {x.batch_size}; "
        f"the signal is weakest in {name}, {number(least, 2)} times the noise."
    )
    plain = {**asdict(x), "scale": x.scale if math.isfinite(x.scale) else None}
    return Fact("noise of a batch", number(x.scale, 3), "info", text, plain)


def _shuffled(x: Shuffled) -> Fact:
    given, shuffled = apart(x.given, x.shuffled)
    learned = x.given < 0.95 * x.shuffled
    told = "tell something" if learned else "hardly tell anything"
    text = (
        f"Of samples that it does not learn, a fresh network brings the loss to {given}, and with shuffled targets to "
        f"{shuffled}: the inputs {told} about the targets."
    )
    text += "" if learned else " Do they belong together?"
    return Fact("against shuffled targets", given, "info" if learned else "warn", text, asdict(x))


def _one_batch(x: OneBatch) -> Fact:
    before, after = apart(x.before, x.after)
    text = f"On {x.samples} samples alone, {x.gradients} gradients of L-BFGS bring their loss from {before} to {after}."
    return Fact(
        "few samples by heart", number(x.after), "warn" if x.after > 0.5 * x.before else "info", text, asdict(x)
    )
