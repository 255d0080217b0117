"""Which samples each update uses: without replacement, in an order that is a function of (seed, epoch)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def epoch_order(samples: int, seed: int, epoch: int) -> Array:
    """The order (samples,) in which epoch number `epoch` visits the samples.

    Sorts the words of a Philox counter generator with the key (seed, epoch): no state to carry from one epoch
    to the next, so a resumed run sees the same batches, and Philox words are the same in every NumPy version.
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(samples)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)


class Sampler:
    """A position in the stream of mini-batches.

    Args:
        samples: number of data samples, or None for a surface without data (one update is then one epoch).
        batch_size: samples per update; the last batch of an epoch holds what is left. At least `samples`: all
            data in natural order.
        seed: non-negative, below 2⁶⁴.

    Attributes:
        epoch: epochs completed.
        position: updates completed within the current epoch.
        steps_per_epoch: updates per epoch.
    """

    def __init__(self, samples: int | None, batch_size: int, seed: int) -> None:
        self.samples = samples
        self.batch_size = batch_size if samples is None else min(batch_size, samples)
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self.full = samples is None or batch_size >= samples
        self.steps_per_epoch = 1 if samples is None or self.full else -(-samples // batch_size)
        self._order: tuple[int, Array] | None = None

    def copy(self) -> Sampler:
        """An independent sampler at the same position."""
        twin = Sampler(self.samples, self.batch_size, self.seed)
        twin.epoch, twin.position, twin._order = self.epoch, self.position, self._order
        return twin

    def upcoming(self, steps: int) -> Array | None:
        """The indices of the next `steps` updates of this epoch, in slices of `batch_size`; None for all data."""
        if self.full:
            return None
        start = self.position * self.batch_size
        return self._current_order()[start : start + steps * self.batch_size]

    def batch(self) -> Array | None:
        """The indices of the next update; None for all data."""
        return self.upcoming(1)

    def epochs(self, steps: int) -> Array:
        """The epoch of each of the next `steps` updates."""
        ahead = np.arange(steps, dtype=np.int64) if self.full else 0
        return np.full(steps, self.epoch, dtype=np.int64) + ahead

    def sizes(self, steps: int) -> Array:
        """Samples used by each of the next `steps` updates of this epoch; 0 without data."""
        if self.full:
            return np.full(steps, self.samples or 0, dtype=np.int64)
        first = (self.position + np.arange(steps, dtype=np.int64)) * self.batch_size
        return np.minimum(self.batch_size, (self.samples or 0) - first)

    def smallest(self, steps: int) -> int:
        """Samples of the smallest of the next `steps` ≥ 1 batches, epochs after this one included; 0 without data."""
        if self.full or self.samples is None:
            return self.samples or 0
        ends = self.position + steps >= self.steps_per_epoch
        return self.samples % self.batch_size or self.batch_size if ends else self.batch_size

    def advance(self, steps: int) -> None:
        """Moves on by `steps` updates, at most to the end of the epoch unless an update is an epoch."""
        if self.full:
            self.epoch += steps
            return
        self.position += steps
        if self.position >= self.steps_per_epoch:
            self.epoch, self.position = self.epoch + 1, 0

    def _current_order(self) -> Array:
        if self._order is None or self._order[0] != self.epoch:
            order = epoch_order(self.samples or 0, self.seed, self.epoch)
            order.flags.writeable = False
            self._order = (self.epoch, order)
        return self._order[1]
