"""Error surfaces with known geometry: functions of few variables, quadratics of many, a linear network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import unstuck as us

Array = np.ndarray


# ---------------------------------------------------------------- functions of few variables


def lecture(hvp: bool = True, lower_bound: float | None = None, scale: float = 1.0, dtype: Any = float):
    """L = scale·(1 − w₁w₂)²: a saddle at 0, a valley of minima along w₁w₂ = 1."""

    def gradient(w: Array) -> Array:
        return scale * -2 * (1 - w[0] * w[1]) * w[::-1]

    def product(w: Array, v: Array) -> Array:
        cross = 4 * w[0] * w[1] - 2
        return scale * np.array([2 * w[1] ** 2 * v[0] + cross * v[1], cross * v[0] + 2 * w[0] ** 2 * v[1]])

    return us.FunctionLandscape(
        lambda w: scale * (1 - w[0] * w[1]) ** 2,
        gradient,
        n=2,
        hvp=product if hvp else None,
        lower_bound=lower_bound,
        dtype=dtype,
    )


def separable(*terms: str, hvp: bool = True, dtype: Any = float) -> us.FunctionLandscape:
    """Σ of one-dimensional terms, each by name: value, slope and curvature."""
    known: dict[str, tuple[Callable, Callable, Callable]] = {
        "x2": (lambda x: x**2, lambda x: 2 * x, lambda x: 2.0 + 0 * x),
        "-x2": (lambda x: -(x**2), lambda x: -2 * x, lambda x: -2.0 + 0 * x),
        "x3": (lambda x: x**3, lambda x: 3 * x**2, lambda x: 6 * x),
        "x4": (lambda x: x**4, lambda x: 4 * x**3, lambda x: 12 * x**2),
        "-x4": (lambda x: -(x**4), lambda x: -4 * x**3, lambda x: -12 * x**2),
        "|x|": (abs, np.sign, lambda x: 0.0),
        "-|x|": (lambda x: -abs(x), lambda x: -np.sign(x), lambda x: 0.0),
        "relu2": (lambda x: max(x, 0.0) ** 2, lambda x: 2 * max(x, 0.0), lambda x: 2.0 * (x > 0)),
        "x": (lambda x: x, lambda x: 1.0, lambda x: 0.0),
        "0": (lambda x: 0.0, lambda x: 0.0, lambda x: 0.0),
    }
    parts = [known[term] for term in terms]
    return us.FunctionLandscape(
        lambda w: float(sum(f(x) for (f, _, _), x in zip(parts, w, strict=True))),
        lambda w: np.array([g(x) for (_, g, _), x in zip(parts, w, strict=True)], dtype=float),
        n=len(terms),
        hvp=(lambda w, v: np.array([h(x) * u for (_, _, h), x, u in zip(parts, w, v, strict=True)])) if hvp else None,
        dtype=dtype,
    )


def rosenbrock(hvp: bool = True) -> us.FunctionLandscape:
    def gradient(w):
        x, y = w
        return np.array([-2 * (1 - x) - 400 * x * (y - x**2), 200 * (y - x**2)])

    def product(w, v):
        x, y = w
        h = np.array([[2 - 400 * y + 1200 * x**2, -400 * x], [-400 * x, 200.0]])
        return h @ v

    return us.FunctionLandscape(
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, gradient, n=2, hvp=product if hvp else None
    )


def himmelblau(hvp: bool = True) -> us.FunctionLandscape:
    def parts(w):
        return w[0] ** 2 + w[1] - 11, w[0] + w[1] ** 2 - 7

    def gradient(w):
        a, b = parts(w)
        return np.array([4 * w[0] * a + 2 * b, 2 * a + 4 * w[1] * b])

    def product(w, v):
        a, b = parts(w)
        off = 4 * w[0] + 4 * w[1]
        h = np.array([[4 * a + 8 * w[0] ** 2 + 2, off], [off, 4 * b + 8 * w[1] ** 2 + 2]])
        return h @ v

    return us.FunctionLandscape(
        lambda w: float(parts(w)[0] ** 2 + parts(w)[1] ** 2), gradient, n=2, hvp=product if hvp else None
    )


def monkey_saddle(hvp: bool = True) -> us.FunctionLandscape:
    """x³ − 3xy²: H = 0 at the origin."""
    return us.FunctionLandscape(
        lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2,
        lambda w: np.array([3 * w[0] ** 2 - 3 * w[1] ** 2, -6 * w[0] * w[1]]),
        n=2,
        hvp=(lambda w, v: 6 * np.array([w[0] * v[0] - w[1] * v[1], -w[1] * v[0] - w[0] * v[1]])) if hvp else None,
    )


# ---------------------------------------------------------------- quadratics of many variables


def quadratic(matrix: Any, g: Any = None, *, scale: float = 1.0, dtype: Any = float, hvp: bool = True):
    """scale·(½θᵀHθ + gᵀθ) with H a matrix (n, n), a diagonal (n,), or a callable product with attribute n."""
    n = matrix.n if callable(matrix) else len(matrix)
    h = matrix if callable(matrix) else (lambda v: matrix * v) if matrix.ndim == 1 else (lambda v: matrix @ v)
    slope = np.zeros(n) if g is None else np.asarray(g)
    cast = np.dtype(dtype).type

    def gradient(w):
        return (scale * (h(w) + slope)).astype(cast)

    return us.FunctionLandscape(
        lambda w: float(scale * (w @ (0.5 * h(w) + slope))),
        gradient,
        n=n,
        hvp=(lambda w, v: (scale * h(v)).astype(cast)) if hvp else None,
        dtype=dtype,
    )


class Reflected:
    """v ↦ Q·D·Q·v with the Householder reflection Q = I − 2uuᵀ: a dense operator with the spectrum D."""

    def __init__(self, diagonal: Array, seed: int = 0) -> None:
        self.n = diagonal.size
        self.diagonal = diagonal
        u = np.random.default_rng(seed).standard_normal(self.n)
        self.u = u / np.linalg.norm(u)

    def reflect(self, v: Array) -> Array:
        return v - 2 * self.u * (self.u @ v)

    def __call__(self, v: Array) -> Array:
        return self.reflect(self.diagonal * self.reflect(v))


class Laplacian:
    """1-D Laplacian with Dirichlet ends: eigenvalues 2 − 2cos(πj/(n+1))."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __call__(self, v: Array) -> Array:
        w = 2 * v
        w[1:] -= v[:-1]
        w[:-1] -= v[1:]
        return w


def mostly_zero(n: int = 2000, seed: int = 0) -> Array:
    """Positive semi-definite, 90 % exact zeros, the rest uniform in (0.1, 1)."""
    rng = np.random.default_rng(seed)
    d = np.zeros(n)
    d[rng.choice(n, n // 10, replace=False)] = rng.uniform(0.1, 1.0, n // 10)
    return d


def outliers_and_bulk(n: int, planted: float, seed: int = 0) -> Array:
    """What Hessians of networks look like: ten outliers up to 100, a log-normal bulk below 1, one planted value."""
    rng = np.random.default_rng(seed)
    bulk = np.minimum(10.0 ** rng.normal(-3.0, 0.7, n - 11), 1.0)
    return np.concatenate([[planted], np.linspace(10, 100, 10), bulk])


def two_layer_linear(inputs: int = 4, hidden: int = 5, outputs: int = 3, rank: int = 2, seed: int = 0):
    """L = ½‖W₂W₁ − S‖² at W = 0: H has the eigenvalues ±σᵢ(S), each `hidden` times, and zeros; index = hidden·rank."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((outputs, rank)) @ rng.standard_normal((rank, inputs))
    cut = hidden * inputs

    def unpack(w):
        return w[:cut].reshape(hidden, inputs), w[cut:].reshape(outputs, hidden)

    def gradient(w):
        first, second = unpack(w)
        r = second @ first - target
        return np.concatenate([(second.T @ r).ravel(), (r @ first.T).ravel()])

    def product(w, v):
        (first, second), (d1, d2) = unpack(w), unpack(v)
        r, dr = second @ first - target, d2 @ first + second @ d1
        return np.concatenate([(d2.T @ r + second.T @ dr).ravel(), (dr @ first.T + r @ d1.T).ravel()])

    def loss(w):
        first, second = unpack(w)
        return 0.5 * float(np.sum((second @ first - target) ** 2))

    return us.FunctionLandscape(loss, gradient, n=cut + outputs * hidden, hvp=product), target
