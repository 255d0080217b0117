"""Networks of unstuck's own engine: layers, losses, initialisers and the Network itself, named as in torch.nn."""

from __future__ import annotations

from . import init
from .layers import (
    ELU,
    GELU,
    Identity,
    Layer,
    LeakyReLU,
    Linear,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from .losses import MSE, BCEWithLogits, CrossEntropy, Huber, Loss
from .network import Network

__all__ = [
    "Network",
    "Layer",
    "Linear",
    "ReLU",
    "LeakyReLU",
    "ELU",
    "GELU",
    "SiLU",
    "Tanh",
    "Sigmoid",
    "Softplus",
    "Identity",
    "Loss",
    "CrossEntropy",
    "MSE",
    "BCEWithLogits",
    "Huber",
    "init",
]
