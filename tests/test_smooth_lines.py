"""Lines through θ on landscapes that are known to have no kink: fewer gradients, the same model."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck import nn
from unstuck.critical.directional import measure

X, Y = us.data.digits()


def landscape(*layers, loss=None, y=None, **options):
    net = nn.Network(*layers, input_shape=(64,), seed=1, dtype="float64")
    return us.NetworkLandscape(
        net, loss or nn.CrossEntropy(), X[:50].astype("f8"), Y[:50] if y is None else y, **options
    )


def test_only_what_has_no_kink_is_smooth():
    first, last = nn.Linear(64, 8), nn.Linear(8, 10)
    for activation in (nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.GELU(), nn.SiLU()):
        assert landscape(first, activation, last).smooth
    assert landscape(first, nn.Residual(nn.Linear(8, 8), nn.Tanh()), last).smooth
    for activation in (nn.ReLU(), nn.LeakyReLU(), nn.ELU()):
        assert not landscape(first, activation, last).smooth
    assert not landscape(nn.WeightNorm(first), nn.Tanh(), last).smooth
    assert not landscape(first, nn.Tanh(), last, spectral_penalty=0.1).smooth
    assert not landscape(first, nn.Tanh(), last, loss=nn.Huber(), y=np.eye(10)[Y[:50]]).smooth
    pooled = (nn.Unflatten((1, 8, 8)), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 10))
    assert not landscape(*pooled).smooth


@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_the_model_is_that_of_all_steps(scale):
    land = landscape(nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 10))
    calls = 0
    gradient = land.gradient

    def counted(theta):
        nonlocal calls
        calls += 1
        return gradient(theta)

    land.gradient = counted
    rng = np.random.default_rng(0)
    for _ in range(5):
        theta = scale * rng.standard_normal(land.n) / 8
        v = rng.standard_normal(land.n)
        v /= np.linalg.norm(v)
        known = {
            "curvature": float(v @ (land.hessian(theta) @ v)),
            "gradient": gradient(theta)[1],
            "norm": 1.0,
            "radius": 0.01 * max(1.0, float(np.linalg.norm(theta))),
        }
        calls = 0
        full = measure(land, theta, v, **known)
        needed, calls = calls, 0
        quick = measure(land, theta, v, smooth=True, **known)
        assert calls <= needed
        assert quick.kink is full.kink is False
        assert (quick.third, quick.fourth, quick.step) == (full.third, full.fourth, full.step)
    assert calls < needed
