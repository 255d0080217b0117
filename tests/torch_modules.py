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
    "ELU": lambda torch, x: torch.nn.ELU(x.alpha),
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
    "RMSNorm": lambda torch, x: torch.nn.RMSNorm(x.features, x.eps, x.affine),
    "InstanceNorm": lambda torch, x: _instance_norm(torch, x),
    "GroupNorm": lambda torch, x: torch.nn.GroupNorm(x.groups, x.channels, x.eps, x.affine),
    "Sequential": lambda torch, x: torch.nn.Sequential(*[build(torch, layer) for layer in x.layers]),
    "Residual": lambda torch, x: _residual(torch, x),
    "BatchNorm": lambda torch, x: _batch_norm(torch, x),
    "BatchRenorm": lambda torch, x: _batch_formula(torch, x),
    "WeightNorm": lambda torch, x: _parametrized(torch, x, lambda module: _weight_norm(torch, module, x.dim)),
    "SpectralNorm": lambda torch, x: _parametrized(
        torch, x, lambda module: torch.nn.utils.spectral_norm(module, n_power_iterations=x.iterations, eps=x.eps)
    ),
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


def _instance_norm(torch, layer):
    class AnyShape(torch.nn.modules.instancenorm._InstanceNorm):
        def forward(self, a):
            return self._apply_instance_norm(a)

    return AnyShape(layer.channels, layer.eps, affine=layer.affine)


def _batch_norm(torch, layer):
    if layer.norm != "l2" or layer.average != "variance" or layer.frozen:
        return _batch_formula(torch, layer)

    class AnyShape(torch.nn.modules.batchnorm._BatchNorm):
        def _check_input_dim(self, a):
            pass

    return AnyShape(layer.channels, layer.eps, layer.momentum, layer.affine, layer.track)


def _batch_formula(torch, layer):
    """What torch.nn lacks, written down: the other norms, frozen statistics, batch renormalisation."""

    class Formula(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.renorm = layer.kind == "BatchRenorm"
            self.norm = "l2" if self.renorm else layer.norm
            parameter = lambda x: torch.nn.Parameter(torch.full((layer.channels,), x))  # noqa: E731
            self.weight = parameter(1.0) if layer.affine and self.norm != "none" else None
            self.bias = parameter(0.0) if layer.affine else None
            self.tracks = getattr(layer, "track", True)
            if self.tracks:
                self.register_buffer("running_mean", torch.zeros(layer.channels))
            if self.tracks and self.norm != "none":
                self.register_buffer("running_spread", torch.ones(layer.channels))

        def forward(self, a):
            x = a.reshape(len(a), layer.channels, -1)
            if not self.tracks or (self.training and not getattr(layer, "frozen", False)):
                x = self.of_batch(x)
            else:
                x = (x - self.running_mean[:, None]) / self.running()[:, None]
            x = x if self.weight is None else x * self.weight[:, None]
            return (x if self.bias is None else x + self.bias[:, None]).reshape(a.shape)

        def of_batch(self, x):
            mean = x.mean((0, 2))
            c = x - mean[:, None]
            spread = {
                "l2": lambda: (c.square().mean((0, 2)) + layer.eps).sqrt(),
                "l1": lambda: c.abs().mean((0, 2)) + layer.eps,
                "linf": lambda: c.abs().amax((0, 2)) + layer.eps,
                "none": lambda: torch.ones_like(mean),
            }[self.norm]()
            x = c / spread[:, None]
            if self.renorm:
                far = layer.d_max
                r = (spread / self.running_spread).detach().clamp(1 / layer.r_max, layer.r_max)
                d = ((mean - self.running_mean) / self.running_spread).detach().clamp(-far, far)
                x = x * r[:, None] + d[:, None]
            return x

        def running(self):
            if self.norm == "none":
                return torch.ones_like(self.running_mean)
            if self.renorm:
                return self.running_spread
            if self.norm != "l2":
                return self.running_spread + layer.eps
            power = 2 if layer.average == "std" else 1
            return (self.running_spread**power + layer.eps).sqrt()

    return Formula()


def _parametrized(torch, layer, parametrize):
    module = build(torch, layer.layer)
    parametrize(next(part for part in module.modules() if hasattr(part, "weight")))
    return module


def _weight_norm(torch, module, dim):
    """torch.nn.utils.parametrizations.weight_norm in plain operations.

    PyTorch 2.13's own takes ‖V‖ for a constant when its backward pass is differentiated (gradgradcheck fails).
    """

    class WeightNorm(torch.nn.Module):
        def forward(self, g, v):
            axes = [axis for axis in range(v.ndim) if axis != dim]
            return g * v / (v * v).sum(axes, keepdim=dim is not None).sqrt()

        def right_inverse(self, weight):
            axes = [axis for axis in range(weight.ndim) if axis != dim]
            return (weight * weight).sum(axes, keepdim=dim is not None).sqrt(), weight

    torch.nn.utils.parametrize.register_parametrization(module, "weight", WeightNorm())


def spectral_modules(module):
    """The modules with a spectral_norm, in the order of their parameters."""
    return [part for part in module.modules() if hasattr(part, "weight_orig")]


def _hold_spectral_norms(torch, net, module):
    """The network's u and v, held as constants."""
    vectors = [net.buffers[where] for name, where, _ in net.buffer_blocks if name.endswith(("weight_u", "weight_v"))]
    for i, part in enumerate(spectral_modules(module)):
        part.weight_u, part.weight_v = (torch.from_numpy(x.astype(np.float64)) for x in vectors[2 * i : 2 * i + 2])
        part.eval()


def module_of(torch, net: us.nn.Network, theta=None):
    """A float64 torch module with the network's parameters (or `theta`), in train mode."""
    module = torch.nn.Sequential(*[build(torch, layer) for layer in net.layers])
    values = torch.from_numpy(np.array(net.theta if theta is None else theta, dtype=np.float64))
    torch.nn.utils.vector_to_parameters(values, module.parameters())
    shapes = [tuple(p.shape) for p in module.parameters()]
    assert shapes == [shape for _, _, shape in net.blocks]
    _hold_spectral_norms(torch, net, module)
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
