"""Symptoms: what a network's layers, data and optimizer look like from inside, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerState:
    """One activation on the examined samples.

    Attributes:
        name: of the node, e.g. "1.ReLU".
        units: features, or channels of planes.
        dead: share of units that are 0 on every sample and pass no gradient on.
        saturated: share of units that sit on a flat part of their activation on 95 % of the samples or more.
        spread: root mean square over units of the standard deviation over samples of the output.
        idle: rows of the first ten dead units, or where none is dead of the saturated ones.
    """

    name: str
    units: int
    dead: float
    saturated: float
    spread: float
    idle: tuple[int, ...] = ()


@dataclass(frozen=True)
class BlockState:
    """One weight (a block of two axes or more).

    Attributes:
        name: of the block.
        weight: ‖W‖.
        gradient: ‖∂L/∂W‖.
        identical: share of rows that equal another row to 1e-6 of their length.
        untouched: share of entries whose gradient is exactly 0 on the examined samples.
    """

    name: str
    weight: float
    gradient: float
    identical: float
    untouched: float = 0.0

    @property
    def relative(self) -> float:
        """Gradient per weight; the gradient itself where the weight is 0."""
        return self.gradient / self.weight if self.weight > 0 else self.gradient


@dataclass(frozen=True)
class Features:
    """The columns of X.

    Attributes:
        spread: largest standard deviation over the lower quartile, constant columns left out.
        offset: largest |mean| over the lower quartile of the standard deviations.
        constant: columns that never change.
        columns: all columns.
        widest: the column of the largest standard deviation or mean.
        size: median over columns of the root mean square, over 1 or under it, whichever is more.
        duplicates: columns that equal an earlier one, or its negative, up to offset and scale.
        condition: of the correlation matrix of the columns that change, duplicates left out; None for more than 512.
    """

    spread: float
    offset: float
    constant: int
    columns: int
    widest: int
    duplicates: int = 0
    condition: float | None = None
    size: float = 1.0

    @property
    def worst(self) -> float:
        """The largest of `spread`, `offset` and `size`."""
        return max(self.spread, self.offset, self.size)


@dataclass(frozen=True)
class StepSize:
    """How much the optimizer still moves.

    Attributes:
        lr: learning rate of the next update.
        peak: the largest that the history holds, or that the schedule had.
        shrunk: median over parameters of the effective step now over that at the start, from accumulated squares; 1
            for rules that forget.
        idle: share of the history's updates that were made at less than a twentieth of the largest rate.
        moves: length of the longest of the next updates over the length of a fresh network's θ; None without a network.
        jumps: the same of the first updates of a fresh network on large batches, so that noise has little part in it;
            infinite where one is not finite.
        onset: the run's first gradient norm over a fresh network's, both on a batch of the run's; None without a
            history.
        soft: the factor on the rate at which the first updates of a fresh network are a fiftieth of it, at most 1.
    """

    lr: float
    peak: float
    shrunk: float
    idle: float = 1.0
    moves: float | None = None
    jumps: float | None = None
    onset: float | None = None
    soft: float | None = None

    @property
    def left(self) -> float:
        """Share of the largest step that is left."""
        return self.shrunk * (self.lr / self.peak if self.peak > 0 else 1.0)

    @property
    def stride(self) -> float:
        """`jumps`; 0 where they are not known."""
        return self.jumps or 0.0


@dataclass(frozen=True)
class Statistics:
    """Running statistics against those of the data.

    Attributes:
        training: loss in train mode, every batch with its own statistics.
        evaluation: loss with the running statistics.
        recomputed: loss with statistics computed again over the data.
    """

    training: float
    evaluation: float
    recomputed: float


@dataclass(frozen=True)
class Generalisation:
    """New data against the data that the run trains on.

    Attributes:
        training: loss on the training data.
        validation: loss on the validation data.
        best: the lowest validation loss in the history.
        accuracy: on the validation data, or None.
    """

    training: float
    validation: float
    best: float
    accuracy: float | None


@dataclass(frozen=True)
class Sharpness:
    """How far every parameter may change, in units of itself and at random, before the training loss is high.

    Attributes:
        here: from θ.
        elsewhere: from where a fresh start with smaller batches comes to; 0 if it broke.
    """

    here: float
    elsewhere: float


@dataclass(frozen=True)
class Labels:
    """Classes of the samples.

    Attributes:
        classes: outputs of the network.
        smallest: share of the rarest class; 0 where one does not occur.
        largest: share of the most frequent one.
    """

    classes: int
    smallest: float
    largest: float


@dataclass(frozen=True)
class Shuffled:
    """What a fresh network learns of unseen samples, with their targets as they are and in another order.

    Attributes:
        samples: half of which were learned, half judged.
        given: lowest loss on the judged half.
        shuffled: the same with shuffled targets, about that of a constant answer.
    """

    samples: int
    given: float
    shuffled: float


@dataclass(frozen=True)
class Noise:
    """Noise of the batches' gradients at θ.

    Attributes:
        batch_size: samples in a batch.
        scale: the batch size at which noise and signal are equally large; infinite where no signal was found.
        blocks: (name, ‖mean gradient‖ over the standard deviation of a batch's) for each block.
    """

    batch_size: int
    scale: float
    blocks: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class OneBatch:
    """Whether the network can learn a few samples by heart from where it stands.

    Attributes:
        samples: how many.
        before: their loss at θ.
        after: their loss after `gradients` gradients of L-BFGS.
        gradients: how many.
    """

    samples: int
    before: float
    after: float
    gradients: int
