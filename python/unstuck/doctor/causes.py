"""Cause: why a training run does not get better, or that it does; each with its meaning and what to do."""

from __future__ import annotations

import enum


class Cause(enum.Enum):
    """One reason; `explanation` says what it means and `action` what to do about it, each in one sentence."""

    HEALTHY = (
        "the loss is falling, and by more than its own noise",
        "go on training",
    )
    CONVERGED = (
        "the loss no longer falls, and nothing that was tried from here lowers it",
        "stop here; a lower loss needs another model, other data or another objective",
    )
    STRICT_SADDLE = (
        "the gradient has vanished where the loss still curves downwards along a certified direction",
        "step along that direction with us.escape, or break the symmetry of the start",
    )
    FLAT_SADDLE = (
        "gradient and curvature have both vanished, yet a lower loss lies close by",
        "move off the flat place with a perturbation, and start from weights that are not all zero or alike",
    )
    LOCAL_MINIMUM = (
        "the loss curves upwards in every direction, and it is higher than it need be",
        "start again from another seed, or use larger steps or smaller batches to leave the basin",
    )
    STEP_TOO_LARGE = (
        "the learning rate exceeds what the curvature allows, so updates overshoot instead of descending",
        "lower the learning rate below the measured threshold, or warm it up",
    )
    STEP_TOO_SMALL = (
        "the updates are too short to get anywhere at this rate",
        "raise the learning rate towards the measured threshold",
    )
    ILL_CONDITIONED = (
        "some directions are so much steeper than others that one learning rate cannot serve both",
        "use per-parameter rates such as Adam's, momentum, or normalisation",
    )
    NOISE_FLOOR = (
        "the noise of the mini-batches undoes what the gradient gains",
        "lower the learning rate, enlarge the batch, or average the weights",
    )
    VANISHING_GRADIENT = (
        "the gradient shrinks from layer to layer until the first layers hardly move",
        "use other activations, another initialisation, normalisation or skip connections",
    )
    EXPLODING_GRADIENT = (
        "the gradient grows from layer to layer until updates are erratic",
        "clip the gradient, lower the learning rate, or normalise",
    )
    DEAD_UNITS = (
        "many units give zero on all data and receive no gradient",
        "initialise them again, use a leaky activation, and lower the learning rate",
    )
    SATURATED_UNITS = (
        "many units sit on the flat part of their activation",
        "normalise before the activation, or shrink the weights",
    )
    BAD_INITIALISATION = (
        "the start was too large, too small or too symmetric to learn from",
        "initialise again with the scheme that suits the activation",
    )
    UNSCALED_FEATURES = (
        "the features have very different scales, which makes the surface steep one way and flat another",
        "standardise the features on the training part",
    )
    SHARP_MINIMUM = (
        "training has settled in a sharp minimum that serves new data badly",
        "use smaller batches or weight averaging",
    )
    STALE_STATISTICS = (
        "the running statistics do not match the data, so evaluation differs from training",
        "compute them again over the training data",
    )
    EXHAUSTED_STEP = (
        "the effective step has decayed to almost nothing before the work was done",
        "reset the accumulated squares, or lengthen the schedule",
    )
    NON_FINITE = (
        "the loss, the gradient or a parameter is no longer a finite number",
        "lower the learning rate or clip the gradient, and look at the block that is named",
    )
    UNDECIDED = (
        "what was measured does not single out one cause",
        "allow a larger budget, or train on and ask again",
    )

    def __init__(self, explanation: str, action: str) -> None:
        self.explanation = explanation
        self.action = action

    def __repr__(self) -> str:
        return f"Cause.{self.name}"

    @property
    def healthy(self) -> bool:
        """Whether nothing needs to be done: HEALTHY or CONVERGED."""
        return self in (Cause.HEALTHY, Cause.CONVERGED)
