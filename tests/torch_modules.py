"""The torch.nn module of every layer of unstuck.nn, and products of such modules by double backward."""

from __future__ import annotations

from typing import Any

import numpy as np

import unstuck as us

# layer of unstuck.nn: (torch, layer) -> module
BUILDERS: dict[str, Any] = {
    "Linear": lambda torch, x: torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(x.in_features, x.out_features, x.bias)
    ),
    "ReLU": lambda torch, x: torch.nn.ReLU(),
    "LeakyReLU": lambda torch, x: torch.nn.LeakyReLU(x.negative_slope),
    "Tanh": lambda torch, x: torch.nn.Tanh(),
    "Sigmoid": lambda torch, x: torch.nn.Sigmoid(),
    "SiLU": lambda torch, x: torch.nn.SiLU(),
    "GELU": lambda torch, x: torch.nn.GELU(x.approximate),
    "Softplus": lambda torch, x: torch.nn.Softplus(x.beta, x.threshold),
    "Identity": lambda torch, x: torch.nn.Identity(),
    "Flatten": lambda torch, x: torch.nn.Flatten(),
    "Unflatten": lambda torch, x: torch.nn.Unflatten(1, x.shape),
    "Conv1d": lambda torch, x: _convolution(torch.nn.Conv1d, x),
    "Conv2d": lambda torch, x: _convolution(torch.nn.Conv2d, x),
    "MaxPool1d": lambda torch, x: torch.nn.MaxPool1d(x.kernel_size, x.stride, x.padding, x.dilation),
    "AvgPool1d": lambda torch, x: torch.nn.AvgPool1d(
        x.kernel_size, x.stride, x.padding, count_include_pad=x.count_include_pad
    ),
    "MaxPool2d": lambda torch, x: torch.nn.MaxPool2d(x.kernel_size, x.stride, x.padding, x.dilation),
    "AvgPool2d": lambda torch, x: torch.nn.AvgPool2d(
        x.kernel_size, x.stride, x.padding, count_include_pad=x.count_include_pad
    ),
    "GlobalAvgPool2d": lambda torch, x: torch.nn.AdaptiveAvgPool2d(1),
    "LayerNorm": lambda torch, x: torch.nn.LayerNorm(x.features, x.eps, x.affine),
    "GroupNorm": lambda torch, x: torch.nn.GroupNorm(x.groups, x.channels, x.eps, x.affine),
    "Sequential": lambda torch, x: torch.nn.Sequential(*[build(torch, layer) for layer in x.layers]),
    "Residual": lambda torch, x: _residual(torch, x),
    "BatchNorm": lambda torch, x: _batch_norm(torch, x),
}


def build(torch, layer):
    """The float64 module of one layer."""
    return BUILDERS[layer.kind](torch, layer).double()


def _convolution(module, x):
    sizes = (x.in_channels, x.out_channels, x.kernel_size, x.stride, x.padding, x.dilation)
    return module(*sizes, groups=x.groups, bias=x.bias)


def _residual(torch, layer):
    class Residual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(*[build(torch, x) for x in layer.layers])
            self.shortcut = torch.nn.Identity() if layer.shortcut is None else build(torch, layer.shortcut)

        def forward(self, a):
            return self.layers(a) + self.shortcut(a)

    return Residual()


def _batch_norm(torch, layer):
    class AnyShape(torch.nn.modules.batchnorm._BatchNorm):
        def _check_input_dim(self, a):
            pass

    return AnyShape(layer.channels, layer.eps, layer.momentum, layer.affine)


def module_of(torch, net: us.nn.Network, theta=None):
    """A float64 torch module with the network's parameters (or `theta`), in train mode."""
    module = torch.nn.Sequential(*[build(torch, layer) for layer in net.layers])
    values = torch.from_numpy(np.array(net.theta if theta is None else theta, dtype=np.float64))
    torch.nn.utils.vector_to_parameters(values, module.parameters())
    shapes = [tuple(p.shape) for p in module.parameters()]
    assert shapes == [shape for _, _, shape in net.blocks]
    return module


def gradient_and_product(torch, module, loss, X, y, v):
    """(loss, gradient, H·v) by double backward, in float64."""
    parameters = list(module.parameters())
    value = loss(module(torch.from_numpy(np.asarray(X, np.float64))), torch.from_numpy(np.asarray(y)))
    gradients = torch.autograd.grad(value, parameters, create_graph=True)
    gradient = torch.cat([g.reshape(-1) for g in gradients])
    along = gradient @ torch.from_numpy(np.asarray(v, np.float64))
    product = torch.autograd.grad(along, parameters, materialize_grads=True)
    return value.item(), gradient.detach().numpy(), torch.cat([p.reshape(-1) for p in product]).numpy()
