"""Rules of other tools, re-implemented with their published thresholds and run on the same traces.

These are re-implementations, not the tools: SageMaker Debugger's built-in rules (AWS developer guide; shipped
configurations in smdebug-rulesconfig), AutoTrainer (Zhang et al., ICSE 2021 and TDSC 2024; its code), DeepDiagnosis
(Wardat et al., ICSE 2022), UMLAUT (Schoop et al., CHI 2021). A rule looks once per epoch, AutoTrainer's every third.
Each is scored only on causes that it aims at; rules that need a choice of the user (thresholds without a default,
improper losses and last activations) are left out. An empty aim is a symptom that names no cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bench.stuck.traces import RELU, STEEP, Look, Trace

TOOLS = ("SageMaker Debugger", "AutoTrainer", "DeepDiagnosis", "UMLAUT")


@dataclass(frozen=True)
class RivalRule:
    """One rule of a tool.

    Attributes:
        tool: whose it is.
        name: what the tool calls it.
        aims: the causes that it is about.
        fires: (trace) -> whether it accuses the run.
    """

    tool: str
    name: str
    aims: str
    fires: Callable[[Trace], bool]


def accusations(trace: Trace) -> dict[str, list[str]]:
    """{tool: names of its rules that fire}; a tool that cannot be run on the trace is missing."""
    found: dict[str, list[str]] = {tool: [] for tool in TOOLS if tool != "AutoTrainer" or trace.classifies}
    with np.errstate(all="ignore"):
        for rule in RULES:
            if rule.tool in found and rule.fires(trace):
                found[rule.tool].append(rule.name)
    return found


def aims_of(tool: str) -> set[str]:
    """All causes that a tool is about."""
    return {cause for rule in RULES if rule.tool == tool for cause in rule.aims.split()}


def _any(test: Callable[[Look], bool]) -> Callable[[Trace], bool]:
    return lambda trace: any(test(look) for look in trace.epochs)


# ---- SageMaker Debugger


def dead_relu(look: Look) -> bool:
    """Over 50 % of a layer's units positive on less than 1 % of the batch."""
    return any(layer.inactive > 0.5 for layer in look.layers if layer.kind in RELU)


def saturated_activation(look: Look) -> bool:
    """Over 50 % of a layer's units with less than 1 % of their inputs inside the steep part."""
    return any(layer.flat > 0.5 for layer in look.layers if layer.kind in STEEP)


def exploding_tensor(trace: Trace) -> bool:
    """Any NaN or infinity."""
    return trace.broke or any(not kernel.finite for look in trace.looks for kernel in look.kernels)


def vanishing_mean(look: Look) -> bool:
    """Mean |g| of a weight below 10⁻⁷; DeepDiagnosis has the same rule."""
    return any(kernel.gradient_mean < 1e-7 for kernel in look.kernels)


def update_ratio(test: Callable[[float], bool]) -> Callable[[Trace], bool]:
    """‖ΔW‖/(‖W‖ + 10⁻⁹) from look to look."""
    return _any(lambda look: any(test(kernel.moved / (kernel.norm + 1e-9)) for kernel in look.kernels))


def poor_weight_initialization(trace: Trace) -> bool:
    """In the first ten looks: variances of the layers' weights a factor 10 apart, or gradients all within 10⁻³."""
    for look in trace.looks[:10]:
        variances = [kernel.variance for kernel in look.kernels]
        if len(variances) > 1 and max(variances) > 10.0 * min(variances):
            return True
        if any(kernel.gradient_spread < 1e-3 for kernel in look.kernels):
            return True
    return False


def loss_not_decreasing(trace: Trace) -> bool:
    """A loss that is not below that of ten looks earlier."""
    losses = np.array([look.loss for look in trace.epochs])
    return len(losses) > 10 and not np.all(losses[10:] < losses[:-10])


# ---- AutoTrainer: every third epoch; b1 1e-3, b2 1e-4, b3 70, gamma 0.7, zeta 0.03, eta 0.2, delta 0.01, theta 0.7

TARGET = 0.7


def _misses_target(trace: Trace) -> bool:
    """Gradient problems are reported only when the accuracy misses its target."""
    accuracies = [look.accuracy for look in trace.epochs]
    return bool(accuracies) and max(accuracies) < TARGET


def _checked(test: Callable[[Look], bool]) -> Callable[[Trace], bool]:
    return lambda trace: _misses_target(trace) and any(test(look) for look in trace.epochs[2::3])


def vanishing_ratio(look: Look) -> bool:
    """First over last kernel gradient below 10⁻³, and the first below 10⁻⁴."""
    first, last = look.kernels[0].gradient_norm, look.kernels[-1].gradient_norm
    return first < 1e-3 * last and first < 1e-4


def exploding_ratio(look: Look) -> bool:
    """First over last kernel gradient above 70."""
    return look.kernels[0].gradient_norm > 70.0 * look.kernels[-1].gradient_norm


def exploded(trace: Trace) -> bool:
    """NaN weights or gradients together with a loss that is NaN or at least 1,000."""
    return any(
        (trace.broke or any(not kernel.finite for kernel in look.kernels)) and (np.isnan(look.loss) or look.loss >= 1e3)
        for look in trace.epochs
    )


def dying_relu(look: Look) -> bool:
    """70 % of the gradient's entries exactly 0."""
    return any(layer.kind in RELU for layer in look.layers) and any(k.gradient_zeros >= 0.7 for k in look.kernels)


def oscillating(trace: Trace) -> bool:
    """After 30 % of the epochs: pairs of a local maximum and the next minimum 0.03 lower, in a fifth of the epochs."""
    accuracies = [look.accuracy for look in trace.epochs]
    if len(accuracies) < 3:
        return False
    drops, highest = 0, accuracies[0]
    for before, here, after in zip(accuracies, accuracies[1:], accuracies[2:], strict=False):
        if here >= before and here > after:
            highest = here
        if here <= before and here < after and highest - here >= 0.03:
            drops, highest = drops + 1, here
    return drops >= 0.2 * len(accuracies)


def slow_convergence(trace: Trace) -> bool:
    """The biggest gain of accuracy between epochs below 0.01, and the best below the target."""
    accuracies = np.array([look.accuracy for look in trace.epochs])
    return len(accuracies) > 2 and np.diff(accuracies).max() < 0.01 and accuracies.max() < TARGET


def abnormal_data(look: Look) -> bool:
    """Mean |output| of a hidden layer of 10 or more."""
    return any(layer.size >= 10.0 for layer in look.layers)


# ---- DeepDiagnosis


def dead_node(trace: Trace) -> bool:
    """At the last epoch 70 % of a layer's outputs at most 0."""
    last = trace.looks[-1]
    return any(layer.not_positive >= 0.7 for layer in last.layers if layer.kind in RELU)


def saturated(look: Look) -> bool:
    """Over half of a layer's inputs at −5 or below, or at 5 or above."""
    return any(layer.large > 0.5 for layer in look.layers if layer.kind in STEEP)


def poor_weight(look: Look) -> bool:
    """A weight with a variance below 10⁻⁵ or above 10."""
    return any(not 1e-5 <= kernel.variance <= 10.0 for kernel in look.kernels)


def learning_rate(test: Callable[[float], bool]) -> Callable[[Trace], bool]:
    """lr·‖dW‖/‖W‖, dW the gradient."""
    return _any(lambda look: any(test(look.lr * k.gradient_norm / max(k.norm, 1e-300)) for k in look.kernels))


def outside_unit(trace: Trace) -> bool:
    """An input outside [−1, 1]; UMLAUT has the same rule."""
    return trace.inputs[0] < -1.0 or trace.inputs[1] > 1.0


def _unchanged(values: list[float], epochs: int) -> bool:
    runs = [values[i : i + epochs] for i in range(len(values) - epochs + 1)]
    return any(np.ptp(run) == 0.0 for run in runs)


def weights_unchanged(trace: Trace) -> bool:
    """A weight that stays as it is for 5 epochs."""
    for i in range(len(trace.looks[0].kernels)):
        still = [look.kernels[i].moved == 0.0 for look in trace.epochs]
        if any(all(still[j : j + 5]) for j in range(len(still) - 4)):
            return True
    return False


# ---- UMLAUT


def overconfident(trace: Trace) -> bool:
    """Validation accuracy above 0.95, or 5 % above that of training after the third epoch."""
    seen = [(look.accuracy, look.validation[1]) for look in trace.epochs if look.validation is not None]
    late = [valid > train + 0.05 for train, valid in seen[3:]]
    return any(valid > 0.95 for _, valid in seen) or any(late)


RULES = (
    RivalRule(TOOLS[0], "DeadRelu", "DEAD_UNITS", _any(dead_relu)),
    RivalRule(TOOLS[0], "SaturatedActivation", "SATURATED_UNITS", _any(saturated_activation)),
    RivalRule(TOOLS[0], "ExplodingTensor", "NON_FINITE EXPLODING_GRADIENT", exploding_tensor),
    RivalRule(TOOLS[0], "VanishingGradient", "VANISHING_GRADIENT", _any(vanishing_mean)),
    RivalRule(TOOLS[0], "WeightUpdateRatio, large", "STEP_TOO_LARGE", update_ratio(lambda r: r > 10.0)),
    RivalRule(TOOLS[0], "WeightUpdateRatio, small", "STEP_TOO_SMALL EXHAUSTED_STEP", update_ratio(lambda r: r < 1e-8)),
    RivalRule(TOOLS[0], "PoorWeightInitialization", "BAD_INITIALISATION", poor_weight_initialization),
    RivalRule(TOOLS[0], "LossNotDecreasing", "", loss_not_decreasing),
    RivalRule(TOOLS[1], "gradient vanish", "VANISHING_GRADIENT", _checked(vanishing_ratio)),
    RivalRule(TOOLS[1], "gradient explode", "EXPLODING_GRADIENT NON_FINITE",
              lambda trace: exploded(trace) or _checked(exploding_ratio)(trace)),
    RivalRule(TOOLS[1], "dying ReLU", "DEAD_UNITS", _checked(dying_relu)),
    RivalRule(TOOLS[1], "oscillating loss", "STEP_TOO_LARGE NOISE_FLOOR", oscillating),
    RivalRule(TOOLS[1], "slow convergence", "STEP_TOO_SMALL EXHAUSTED_STEP BAD_INITIALISATION", slow_convergence),
    RivalRule(TOOLS[1], "abnormal data", "UNSCALED_FEATURES", _any(abnormal_data)),
    RivalRule(TOOLS[2], "dead node", "DEAD_UNITS", dead_node),
    RivalRule(TOOLS[2], "saturated activation", "SATURATED_UNITS", _any(saturated)),
    RivalRule(TOOLS[2], "vanishing gradient", "VANISHING_GRADIENT", _any(vanishing_mean)),
    RivalRule(TOOLS[2], "poor weight", "BAD_INITIALISATION", _any(poor_weight)),
    RivalRule(TOOLS[2], "learning rate, high", "STEP_TOO_LARGE", learning_rate(lambda r: r > 1e-1)),
    RivalRule(TOOLS[2], "learning rate, low", "STEP_TOO_SMALL EXHAUSTED_STEP", learning_rate(lambda r: r < 1e-5)),
    RivalRule(TOOLS[2], "improper data", "UNSCALED_FEATURES", outside_unit),
    RivalRule(TOOLS[2], "numerical error", "NON_FINITE", exploding_tensor),
    RivalRule(TOOLS[2], "weights unchanged", "", weights_unchanged),
    RivalRule(TOOLS[2], "accuracy unchanged", "",
              lambda trace: trace.classifies and _unchanged([look.accuracy for look in trace.epochs], 20)),
    RivalRule(TOOLS[2], "loss unchanged", "", lambda trace: _unchanged([look.loss for look in trace.epochs], 5)),
    RivalRule(TOOLS[3], "input not normalised", "UNSCALED_FEATURES", outside_unit),
    RivalRule(TOOLS[3], "learning rate high", "STEP_TOO_LARGE", _any(lambda look: look.lr > 0.01)),
    RivalRule(TOOLS[3], "learning rate low", "STEP_TOO_SMALL EXHAUSTED_STEP", _any(lambda look: look.lr < 1e-7)),
    RivalRule(TOOLS[3], "dropout high", "", lambda trace: trace.dropout > 0.5),
    RivalRule(TOOLS[3], "validation accuracy suspicious", "", overconfident),
)  # fmt: skip
