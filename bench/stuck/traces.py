"""Traces: what the rivals' tools see of a run once per epoch, recorded while it is trained.

Losses, accuracies, gradients of the first batch, weights, and the outputs of every layer on that batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

import unstuck as us

SMALLEST, LARGEST = 8, 256  # samples of the batch that is looked at
RELU = ("ReLU",)
STEEP = {"Tanh": (-9.4999, 9.4999), "Sigmoid": (-23.0, 16.99999)}  # SageMaker Debugger's thresholds
ACTIVATIONS = (*RELU, *STEEP, "GELU", "Identity")


@dataclass(frozen=True)
class Kernel:
    """One weight at one look.

    Attributes:
        gradient_norm, gradient_mean: ‖g‖ and mean |g|, on the first batch.
        gradient_spread: from the 5th to the 95th percentile of g.
        gradient_zeros: share of entries that are exactly 0.
        variance: of the weights.
        norm: ‖W‖.
        moved: ‖W − W at the look before‖; NaN at the first.
        finite: whether weights and gradients are numbers.
    """

    gradient_norm: float
    gradient_mean: float
    gradient_spread: float
    gradient_zeros: float
    variance: float
    norm: float
    moved: float
    finite: bool = True


@dataclass(frozen=True)
class Layer:
    """One activation at one look.

    Attributes:
        kind: e.g. "ReLU".
        inactive: share of its units that are positive on less than 1 % of the batch.
        not_positive: share of its outputs that are at most 0.
        flat: share of its units with less than 1 % of their inputs on the steep part as SageMaker Debugger draws it.
        large: share of its inputs of size 5 and more.
        size: mean |output|.
    """

    kind: str
    inactive: float
    not_positive: float
    flat: float
    large: float
    size: float

    @classmethod
    def of(cls, kind: str, inputs: np.ndarray, outputs: np.ndarray) -> Layer:
        """From what goes in and what comes out, (samples, units)."""
        low, high = STEEP.get(kind, (-np.inf, np.inf))
        return cls(
            kind,
            float(np.mean(np.mean(outputs > 0.0, axis=0) < 0.01)),
            float(np.mean(outputs <= 0.0)),
            float(np.mean(np.mean((inputs > low) & (inputs < high), axis=0) < 0.01)),
            float(np.mean(np.abs(inputs) >= 5.0)),
            float(np.mean(np.abs(outputs))),
        )


@dataclass(frozen=True)
class Look:
    """The end of an epoch; the first look is before the first update.

    Attributes:
        loss: mean of the epoch's batches; NaN before the first.
        accuracy: on the training data; NaN in a regression.
        lr: of the next update.
        kernels: first to last.
        layers: activations, first to last.
        validation: (loss, accuracy), where the run has such data.
    """

    loss: float
    accuracy: float
    lr: float
    kernels: tuple[Kernel, ...]
    layers: tuple[Layer, ...]
    validation: tuple[float, float] | None = None


@dataclass(frozen=True)
class Trace:
    """All looks at a run.

    Attributes:
        looks: first to last.
        inputs: smallest and largest value of X.
        classifies: whether there is an accuracy.
        dropout: the largest rate of its dropout layers.
        broke: the last update met a number that is not finite.
    """

    looks: tuple[Look, ...]
    inputs: tuple[float, float]
    classifies: bool
    dropout: float = 0.0
    broke: bool = False

    @property
    def epochs(self) -> tuple[Look, ...]:
        """The looks after the start."""
        return self.looks[1:]


@dataclass
class Recorder:
    """A watcher that looks at the end of every epoch; `trace(run)` is what it has seen."""

    looks: list[Look] = field(default_factory=list)
    _last: list[np.ndarray] = field(default_factory=list)
    _seen: int = 0

    def due_in(self, run: us.Trainer) -> int:
        """Updates until the epoch ends."""
        every = run.sampler.steps_per_epoch
        return every - run.t % every

    def observe(self, run: us.Trainer) -> None:
        """Looks, where an epoch has ended."""
        if run.t % run.sampler.steps_per_epoch == 0:
            self._look(run)

    def begin(self, run: us.Trainer) -> None:
        """The look before the first update."""
        self._look(run)

    def trace(self, run: us.Trainer) -> Trace:
        """What was seen, with a last look where the run did not end with an epoch."""
        if run.t != self._seen or run.failure is not None:
            self._look(run)
        X = run.land.X
        dropout = max((layer.p for layer in run.land.net.layers if isinstance(layer, us.nn.Dropout)), default=0.0)
        classifies = isinstance(run.land.loss_function, us.nn.CrossEntropy)
        return Trace(tuple(self.looks), (float(X.min()), float(X.max())), classifies, dropout, run.failure is not None)

    def _look(self, run: us.Trainer) -> None:
        land, theta = run.land, run.theta
        losses = run.history["loss"][self._seen : run.t]
        loss = float(np.mean(losses)) if len(losses) else np.nan
        size = min(max(run.batch_size, SMALLEST), LARGEST, len(land.X))
        X = land.X[:size].reshape(-1, *land.net.input_shape)
        with np.errstate(all="ignore"):
            _, gradient = land.gradient(theta, np.arange(size))
            outputs = land.net.activations(X, theta, "train")
            kernels = self._kernels(run, gradient)
        flat = [X.reshape(size, -1), *(value.reshape(size, -1) for _, value in outputs)]
        kinds = [name.split(".")[-1] for name, _ in outputs]
        layers = [Layer.of(kind, flat[i], flat[i + 1]) for i, kind in enumerate(kinds) if kind in ACTIVATIONS]
        accuracy = np.nan
        if isinstance(land.loss_function, us.nn.CrossEntropy):
            said = land.net.predict(land.X.reshape(-1, *land.net.input_shape), theta=theta).argmax(axis=1)
            accuracy = float(np.mean(said == land.y))
        validation = None
        if len(run.history["validation_loss"]):
            validation = float(run.history["validation_loss"][-1]), float(run.history["validation_accuracy"][-1])
        failed = run.failure is not None
        lr = float(run.opt.rate(run.t))
        self.looks.append(Look(np.nan if failed else loss, accuracy, lr, kernels, tuple(layers), validation))
        self._seen = run.t

    @np.errstate(over="ignore")  # of a run that explodes
    def _kernels(self, run: us.Trainer, gradient: np.ndarray) -> tuple[Kernel, ...]:
        kernels, now = [], []
        for name, where, _ in run.land.blocks:
            if not name.endswith("weight") or len(run.land.net.block(name).shape) < 2:
                continue
            W, g = run.theta[where].astype(np.float64), gradient[where].astype(np.float64)
            before = self._last[len(now)] if self._last else np.full_like(W, np.nan)
            now.append(W)
            low, high = (np.nan, np.nan) if np.isnan(g).all() else np.nanpercentile(g, [5, 95])
            kernels.append(
                Kernel(
                    float(np.linalg.norm(g)), float(np.abs(g).mean()), float(high - low), float(np.mean(g == 0.0)),
                    float(W.var()), float(np.linalg.norm(W)), float(np.linalg.norm(W - before)),
                    bool(np.isfinite(W).all() and np.isfinite(g).all()),
                )
            )  # fmt: skip
        self._last = now
        return tuple(kernels)
