"""Networks of unstuck's own engine: layers, losses, initialisers and the Network itself, named as in torch.nn."""

from __future__ import annotations

from . import init
from .activation import ELU, GELU, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .batch_norm import BatchNorm, BatchRenorm
from .containers import Flatten, Residual, Sequential, Unflatten
from .convolution import Conv1d, Conv2d
from .dropout import Dropout
from .layer import Layer
from .linear import Linear
from .losses import MSE, BCEWithLogits, CrossEntropy, Huber, Loss
from .network import Network
from .normalization import GroupNorm, InstanceNorm, LayerNorm, RMSNorm
from .parametrization import SpectralNorm, WeightNorm, initialise_from_data
from .pooling import AvgPool1d, AvgPool2d, GlobalAvgPool2d, MaxPool1d, MaxPool2d
from .recompute import recompute_statistics

__all__ = [
    "Network",
    "Layer",
    "Sequential",
    "Residual",
    "Flatten",
    "Unflatten",
    "Conv1d",
    "Conv2d",
    "MaxPool1d",
    "MaxPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "GlobalAvgPool2d",
    "Dropout",
    "Linear",
    "BatchNorm",
    "BatchRenorm",
    "LayerNorm",
    "RMSNorm",
    "GroupNorm",
    "InstanceNorm",
    "WeightNorm",
    "SpectralNorm",
    "initialise_from_data",
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
    "recompute_statistics",
]


def __dir__() -> list[str]:
    return sorted([*__all__, "__all__", "__doc__"])
