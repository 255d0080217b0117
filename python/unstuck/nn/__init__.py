"""Networks of unstuck's own engine: layers, losses, initialisers and the Network itself, named as in torch.nn."""

from __future__ import annotations

from . import init
from .layers import (
    ELU,
    GELU,
    BatchNorm,
    GroupNorm,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    ReLU,
    RMSNorm,
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
    "BatchNorm",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
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
