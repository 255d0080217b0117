"""Evidence: what the probes measured, as plain numbers; None means not measured. Rules read nothing else."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from ..critical import CriticalPoint, Verdict
from ..train import Failure
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
from .trend import Trend


@dataclass(frozen=True)
class Level:
    """Where the loss stands.

    Attributes:
        loss: the objective (penalty and coupled weight decay included) at θ on the examined samples.
        lower_bound: below which it can never fall, or None.
        baseline: loss of the best constant answer, or None.
        start: the run's first loss, of its first batch; None without a history.
        target: what the user asked for, or None.
        samples: how many samples these measurements use; None without data.
        of_samples: how many there are.
    """

    loss: float
    lower_bound: float | None = None
    baseline: float | None = None
    start: float | None = None
    target: float | None = None
    samples: int | None = None
    of_samples: int | None = None


@dataclass(frozen=True)
class Fork:
    """A copy of the run, trained on under one changed condition beside a control without it.

    Attributes:
        steps: updates made in each.
        loss: median loss of the fork over the later half of the checkpoints.
        control: median loss of the control over the same checkpoints.
        error: standard error of the difference, from its scatter over those checkpoints; never below rounding.
        wins: share of those checkpoints at which the fork lies below the control.
        change: what was changed, in words.
        broke: the fork met a non-finite loss.
        course: the fork's objective at equally spaced checkpoints, the first before any update; shorter if it broke.
        beside: the control's, at the same checkpoints.
    """

    steps: int
    loss: float
    control: float
    error: float
    wins: float
    change: str
    broke: bool = False
    course: tuple[float, ...] = ()
    beside: tuple[float, ...] = ()

    @property
    def gain(self) -> float:
        """Control − loss: positive when the change helps."""
        return self.control - self.loss


@dataclass(frozen=True)
class Continuation:
    """The run as it stands, trained on in a copy: the do-nothing control.

    Attributes:
        steps: updates made.
        losses: the objective at equally spaced checkpoints, the first before any update.
        trend: of these losses, or of the history with the copy's own appended, whichever falls more clearly; None
            if the run broke before three of them.
        broke: a non-finite loss ended it.
        shift: by how many standard errors the batch losses of its later half lie below those of the last third of the
            history; None where one of them is too short to say.
        passes: over the data; None without data.
    """

    steps: int
    losses: tuple[float, ...]
    trend: Trend | None
    broke: bool = False
    shift: float | None = None
    passes: float | None = None

    @property
    def later(self) -> float:
        """Mean over the later half of the checkpoints."""
        return statistics.fmean(self.losses[len(self.losses) // 2 + 1 :])

    @property
    def scatter(self) -> float:
        """Standard deviation over the later half of the checkpoints."""
        return statistics.stdev(self.losses[len(self.losses) // 2 + 1 :])

    @property
    def fall(self) -> float:
        """How far the loss falls: from where it stood, or from the first quarter of the checkpoints to the last."""
        quarter = max(1, len(self.losses) // 4)
        ends = statistics.fmean(self.losses[:quarter]) - statistics.fmean(self.losses[-quarter:])
        return max(self.losses[0] - self.later, ends)


@dataclass(frozen=True)
class Geometry:
    """What `classify` says about the point, without its vectors.

    Attributes:
        samples: how many samples the curvature was taken on; None without data.
        distance: from θ to the point; not 0 where a noisy run hovers around it.
        loss: the objective at the point, on the samples of `Level.loss`.
        verdict: its verdict.
        lambda_min: (lower, upper) of the smallest eigenvalue.
        lambda_max: (lower, upper) of the largest.
        tolerance: what counts as flat, in units of curvature.
        gradient_norm: ‖∇L‖.
        gradient_decrease: ‖g‖²/(2‖H‖), what a step along the gradient promises.
        curvature_decrease: what negative curvature promises within the gate's radius.
        downhill: whether a direction of negative curvature was verified.
        at_lower_bound: whether the loss is at the landscape's lower bound.
        kink: whether the loss has a kink there, which curvature does not see; None where rounding hides it.
        confidence: with which the certified ends hold.
    """

    samples: int | None
    distance: float
    loss: float
    verdict: Verdict
    lambda_min: tuple[float, float]
    lambda_max: tuple[float, float]
    tolerance: float
    gradient_norm: float
    gradient_decrease: float
    curvature_decrease: float
    downhill: bool
    at_lower_bound: bool
    kink: bool | None
    confidence: float

    @staticmethod
    def of(cp: CriticalPoint, loss: float, samples: int | None = None, distance: float = 0.0) -> Geometry:
        """The numbers of a classification."""
        return Geometry(
            samples=samples,
            distance=distance,
            loss=loss,
            verdict=cp.verdict,
            lambda_min=(cp.lambda_min.lower, cp.lambda_min.upper),
            lambda_max=(cp.lambda_max.lower, cp.lambda_max.upper),
            tolerance=cp.tolerance,
            gradient_norm=cp.gradient_norm,
            gradient_decrease=cp.gate.gradient_decrease,
            curvature_decrease=cp.gate.curvature_decrease,
            downhill=cp.direction is not None,
            at_lower_bound=cp.at_lower_bound,
            kink=cp.kink,
            confidence=cp.confidence,
        )


@dataclass(frozen=True)
class Descent:
    """A lower loss close to a degenerate point.

    Attributes:
        decrease: by how much the loss falls, the integral of the slope along the path, float32-safe.
        radius: length of the path, at most max(1, ‖θ‖).
        explained: what slope and curvature at the point account for within that radius.
        error: uncertainty of `decrease`.
    """

    decrease: float
    radius: float
    explained: float
    error: float

    @property
    def verified(self) -> bool:
        """A fall that neither the gradient nor the second derivatives at the point explain."""
        return self.decrease > 2 * self.explained + 4 * self.error


@dataclass(frozen=True)
class Stability:
    """The steepest curvature that the optimizer sees against what its learning rate bears.

    Attributes:
        curvature: largest eigenvalue of P^-1/2 H P^-1/2 (P: the optimizer's preconditioner, 1 for SGD).
        threshold: the curvature above which updates along it grow instead of shrinking.
        lr: learning rate of the next update.
        rule: name of the update rule.
        formula: of the threshold.
    """

    curvature: float
    threshold: float
    lr: float
    rule: str
    formula: str

    @property
    def ratio(self) -> float:
        """Curvature / threshold: above 1 the step is too large for the steepest direction."""
        return self.curvature / self.threshold if self.threshold > 0 else 0.0


@dataclass(frozen=True)
class Evidence:
    """Everything measured about one run or point.

    Attributes:
        has_run: whether a run was examined, not just a point.
        level: where the loss stands.
        stochastic: whether an update uses only a part of the data.
        failure: the update that could not be made.
        broken: name of the first block that is not finite, "loss" if only the loss is; None if all is finite.
        updates: updates in the history.
        trend: of the recent part of the history: the last third, or more of it where noise hides a fall.
        stalled: whether the fall within `trend` has ended.
        continuation: the run trained on unchanged.
        held: the learning rate that all copies keep because the schedule would soon end; None where they follow it.
        geometry: the verdict of `classify`.
        stability: curvature against the optimizer's threshold.
        descent: a lower loss close by, looked for at degenerate points.
        smaller_lr: a fork with a fraction of the learning rate.
        larger_lr: a fork with a multiple of it, where the curvature allows one.
        larger_batch: a fork with more samples per update.
        escape: a fork that starts beyond the saddle, along the certified direction; its control starts at it.
        push: a fork that starts from the lower loss found close by; its control starts at the flat place.
        restart: a fork that starts from fresh weights; its control is the present loss.
        elsewhere: the lowest loss that descent with curvature (L-BFGS) reaches from several other starts, looked for
            where a minimum is certified.
        layers: what every activation of a network does on the data.
        weights: every weight with its gradient, first layer first.
        features: the columns of X.
        labels: how often each class occurs.
        noise: how much of a batch's gradient is signal.
        one_batch: whether a few samples can be learned by heart.
        shuffled: what the inputs say about the targets, against shuffled ones; where little has been learned.
        steps: how much the optimizer still moves.
        statistics: running statistics against those of the data.
        generalisation: new data against the training data.
        adaptive: a fork with Adam.
        layerwise: a fork with LAMB, whose rates follow the size of each block.
        newton: descent with curvature (L-BFGS) on the examined samples, from here.
        full_step: a fork with the largest learning rate so far and without accumulated squares.
        clipped: a fork with bounded gradients.
        revived: a fork whose dead units have fresh weights.
        standardised: a fork on standardised features that starts as the same function.
        normalised: a fresh network with BatchNorm behind every hidden Linear, with the run's optimizer.
        fresh: a fresh network with the run's optimizer.
        sharpness: of the place, and of one that a fresh start with smaller batches comes to.
        flatter: the loss on new data of that start; its control is that of the run as it stands.
        gentle: a fresh network with the run's optimizer at a rate that moves its weights by a fiftieth per update.
    """

    has_run: bool
    level: Level
    stochastic: bool = False
    failure: Failure | None = None
    broken: str | None = None
    updates: int = 0
    trend: Trend | None = None
    stalled: bool | None = None
    continuation: Continuation | None = None
    held: float | None = None
    geometry: Geometry | None = None
    stability: Stability | None = None
    descent: Descent | None = None
    smaller_lr: Fork | None = None
    larger_lr: Fork | None = None
    larger_batch: Fork | None = None
    escape: Fork | None = None
    push: Fork | None = None
    restart: Fork | None = None
    elsewhere: Fork | None = None
    layers: tuple[LayerState, ...] | None = None
    weights: tuple[BlockState, ...] | None = None
    features: Features | None = None
    labels: Labels | None = None
    noise: Noise | None = None
    one_batch: OneBatch | None = None
    shuffled: Shuffled | None = None
    steps: StepSize | None = None
    statistics: Statistics | None = None
    generalisation: Generalisation | None = None
    adaptive: Fork | None = None
    layerwise: Fork | None = None
    newton: Fork | None = None
    full_step: Fork | None = None
    clipped: Fork | None = None
    revived: Fork | None = None
    standardised: Fork | None = None
    normalised: Fork | None = None
    fresh: Fork | None = None
    gentle: Fork | None = None
    sharpness: Sharpness | None = None
    flatter: Fork | None = None

    @property
    def treated(self) -> tuple[Fork, ...]:
        """The forks in which a symptom was treated."""
        tried = (
            self.adaptive,
            self.layerwise,
            self.newton,
            self.full_step,
            self.clipped,
            self.revived,
            self.standardised,
        )
        return tuple(fork for fork in (*tried, self.normalised, self.fresh, self.gentle) if fork is not None)

    @property
    def tried(self) -> tuple[Fork, ...]:
        """All forks that had a do-nothing control of their own."""
        first = (self.smaller_lr, self.larger_lr, self.larger_batch, self.escape, self.push)
        return (*(fork for fork in first if fork is not None), *self.treated)

    @property
    def room(self) -> float:
        """From a constant answer's loss, else the first, down to the lower bound; `scale` where one is not known."""
        highest = self._whole
        if highest is None or self.level.lower_bound is None:
            return self.scale
        return max(highest - self.level.lower_bound, 1e-300)

    @property
    def reference(self) -> float | None:
        """The loss that no run should stand above: the larger of its first one and the best constant answer's."""
        known = [x for x in (self.level.start, self.level.baseline) if x is not None]
        return max(known) if self.level.start is not None else None

    @property
    def scale(self) -> float:
        """The loss difference that counts as the whole.

        What is left above the lower bound, but at least what a constant answer or the start has above it; without a
        bound, the fall since the start or within the recent window, or what a step along the gradient promises.
        """
        level = self.level
        start = level.loss if level.start is None else level.start
        if level.lower_bound is None:
            promised = 0.0 if self.geometry is None or self.geometry.distance else self.geometry.gradient_decrease
            fallen = 0.0 if self.trend is None else abs(self.trend.drop)
            return max(abs(start - level.loss), fallen, promised)
        whole = self._whole
        return max(level.loss, level.loss if whole is None else whole) - level.lower_bound

    @property
    def _whole(self) -> float | None:
        """A constant answer's loss, else the first; where a constant answers everything, the first, too."""
        baseline, start = self.level.baseline, self.level.start
        if baseline is None or start is None:
            return start if baseline is None else baseline
        return baseline if baseline > (self.level.lower_bound or 0.0) else start
