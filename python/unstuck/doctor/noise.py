"""Probe: how much of a batch's gradient is signal, in all and for each block of parameters."""

from __future__ import annotations

import math

import numpy as np

from ..plain_text import plain
from .subject import Subject
from .symptoms import Noise

BATCHES = 12


def look_at_noise(subject: Subject, batch_size: int) -> Noise | None:
    """The gradient noise scale and the signal-to-noise ratio of each block at θ; None without data.

    g₁ … g_K are gradients of K = 12 batches of b samples, ḡ their mean, S = Σ‖g_k − ḡ‖²/(K − 1) an estimate of
    tr Σ/b. The scale b·S/(‖ḡ‖² − S/K) is the batch size at which noise and signal are equally large (McCandlish et
    al., arXiv 1812.06162). Batches are drawn without replacement while the samples last, so that the scale is a little
    low where they cover much of the data. Cost: 12 gradients of a batch.
    """
    samples = subject.land.samples
    if samples is None or samples < 2 or batch_size >= samples:
        return None
    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(samples) for _ in range(-(-BATCHES * batch_size // samples))])
    gradients = []
    for k in range(BATCHES):
        batch = np.unique(order[k * batch_size : (k + 1) * batch_size]).astype(np.int64)
        gradients.append(subject.curved.gradient(subject.theta, batch)[1].astype(np.float64))
    rows = np.array(gradients)
    mean, rest = rows.mean(axis=0), rows - rows.mean(axis=0)
    ratios = []
    for name, where, _ in subject.land.blocks:
        noise = math.sqrt(float(np.sum(rest[:, where] ** 2)) / (BATCHES - 1))
        signal = float(np.linalg.norm(mean[where]))
        ratios.append((plain(name, 80), signal / noise if noise > 0.0 else math.inf if signal > 0.0 else 0.0))
    spread = float(np.sum(rest**2)) / (BATCHES - 1)
    signal = float(mean @ mean) - spread / BATCHES
    return Noise(batch_size, batch_size * spread / signal if signal > 0.0 else math.inf, tuple(ratios))
