"""Random networks over all layers, modes, strides and groups; a seed makes the same one for ever."""

from __future__ import annotations

import unstuck as us

nn = us.nn
ACTIVATIONS = [
    nn.ReLU(),
    nn.LeakyReLU(0.1),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.SiLU(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.Softplus(),
    nn.ELU(),
    nn.Identity(),
]


def pick(rng, choices):
    return choices[int(rng.integers(len(choices)))]


def coin(rng):
    return bool(rng.integers(2))


def batch_norm(rng, channels):
    """Batch normalisation with one of its options, or batch renormalisation."""
    limits = {"r_max": float(rng.uniform(1, 3)), "d_max": float(rng.uniform(0, 3))}
    options = [
        {},
        {"norm": pick(rng, ["l1", "linf", "none"])},
        {"average": "std"},
        {"affine": False},
        {"frozen": True},
        {"track": False},
    ]
    if rng.integers(7) == 0:
        return nn.BatchRenorm(channels, warm_up=0, r_end=0, d_end=0, **limits)
    return nn.BatchNorm(channels, **pick(rng, options))


def reparametrized(rng, layer):
    kind = rng.integers(6)
    if kind == 0:
        return nn.WeightNorm(layer, dim=pick(rng, [0, 1, None]))
    if kind == 1:
        return nn.SpectralNorm(layer, iterations=int(rng.integers(1, 4)))
    return layer


def groups_of(channels, positions):
    """Numbers of groups with more than one element each."""
    return [g for g in range(1, channels + 1) if channels % g == 0 and channels // g * positions > 1]


def vector_norm(rng, features):
    if features > 1:
        kind = rng.integers(5)
        if kind == 0:
            return nn.LayerNorm(features, affine=coin(rng))
        if kind == 1:
            return nn.RMSNorm(features, eps=1e-5)
        if kind == 2:
            return nn.GroupNorm(pick(rng, groups_of(features, 1)), features)
    return batch_norm(rng, features)


def vectors(rng, features, depth=0):
    """(layers, features that leave them) of a part that works on vectors."""
    layers = []
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.integers(7)
        if kind <= 2:
            width = int(rng.integers(2, 12))
            layers.append(reparametrized(rng, nn.Linear(features, width, bias=coin(rng))))
            features = width
        elif kind == 3:
            layers.append(vector_norm(rng, features))
        elif kind == 4 and depth < 2:
            inner, width = vectors(rng, features, depth + 1)
            shortcut = None if width == features and coin(rng) else nn.Linear(features, width)
            layers.append(nn.Residual(*inner, shortcut=shortcut))
            features = width
        elif kind == 5 and depth < 2:
            inner, features = vectors(rng, features, depth + 1)
            layers.append(nn.Sequential(*inner))
        else:
            layers.append(pick(rng, ACTIVATIONS))
    return layers, features


def extent(size, kernel, stride, padding, dilation=1):
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def convolution(rng, shape):
    """(layer, shape that leaves it), or None where the kernel does not fit."""
    channels, height, width = shape
    groups = pick(rng, groups_of(channels, 2))
    planes = groups * int(rng.integers(1, 4))
    kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    stride, padding, dilation = int(rng.integers(1, 3)), int(rng.integers(0, 2)), int(rng.integers(1, 3))
    out = tuple(extent(s, k, stride, padding, dilation) for s, k in zip((height, width), kernel, strict=True))
    if min(out) < 1:
        return None
    layer = nn.Conv2d(channels, planes, kernel, stride, padding, dilation, groups, bias=coin(rng))
    return reparametrized(rng, layer), (planes, *out)


def plane_norm(rng, shape):
    channels, height, width = shape
    kind = rng.integers(5)
    if kind == 0 and (groups := groups_of(channels, height * width)):
        return nn.GroupNorm(pick(rng, groups), channels, affine=coin(rng))
    if kind == 1 and height * width > 1:
        return nn.InstanceNorm(channels, affine=coin(rng))
    if kind == 2 and width > 1:
        return pick(rng, [nn.LayerNorm(shape), nn.LayerNorm(shape[1:]), nn.RMSNorm(width, eps=1e-5)])
    return batch_norm(rng, channels)


def pool(rng, shape):
    kernel = int(rng.integers(2, min(*shape[1:], 3) + 1))
    stride, padding = int(rng.integers(1, 3)), int(rng.integers(0, kernel // 2 + 1))
    out = (shape[0], *(extent(size, kernel, stride, padding) for size in shape[1:]))
    if coin(rng):
        return nn.MaxPool2d(kernel, stride, padding), out
    return nn.AvgPool2d(kernel, stride, padding, count_include_pad=coin(rng)), out


def planes(rng, shape, depth=0):
    """(layers, shape that leaves them) of a part that works on planes."""
    layers = []
    for _ in range(int(rng.integers(2, 6))):
        kind = rng.integers(8)
        if kind <= 2:
            if (made := convolution(rng, shape)) is not None:
                layer, shape = made
                layers.append(layer)
        elif kind == 3:
            layers.append(plane_norm(rng, shape))
        elif kind == 4 and min(shape[1:]) >= 2:
            layer, shape = pool(rng, shape)
            layers.append(layer)
        elif kind == 5 and depth == 0:
            inner, left = planes(rng, shape, depth + 1)
            if left[1:] == shape[1:]:
                shortcut = None if left == shape else nn.Conv2d(shape[0], left[0], 1)
                layers.append(nn.Residual(*inner, shortcut=shortcut))
            else:
                layers.append(nn.Sequential(*inner))
            shape = left
        else:
            layers.append(pick(rng, ACTIVATIONS))
    return layers or [nn.Tanh()], shape


def random_layers(rng):
    """(layers with 3 outputs, shape of a sample)."""
    if coin(rng):
        shape = (int(rng.integers(2, 9)),)
        first, features = vectors(rng, shape[0])
        rest, features = vectors(rng, features)
        return [*first, *rest, nn.Linear(features, 3)], shape
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 8)), int(rng.integers(3, 8)))
    layers, (channels, height, width) = planes(rng, shape)
    if rng.integers(3) == 0:
        return [*layers, nn.GlobalAvgPool2d(), nn.Flatten(), nn.Linear(channels, 3)], shape
    return [*layers, nn.Flatten(), nn.Linear(channels * height * width, 3)], shape
