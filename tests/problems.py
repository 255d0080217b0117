"""Landscapes with known verdicts: every row carries its truth, tests iterate over the rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import unstuck as us
from surfaces import (
    Laplacian,
    Reflected,
    himmelblau,
    lecture,
    monkey_saddle,
    mostly_zero,
    outliers_and_bulk,
    quadratic,
    rosenbrock,
    separable,
    two_layer_linear,
)

SADDLE, MINIMUM, MAXIMUM = us.Verdict.STRICT_SADDLE, us.Verdict.LOCAL_MINIMUM, us.Verdict.LOCAL_MAXIMUM
DEGENERATE, NOT_CRITICAL = us.Verdict.DEGENERATE, us.Verdict.NOT_CRITICAL


@dataclass(frozen=True)
class Problem:
    """A landscape, a point on it, and what is true there.

    `low` and `high` are the extreme eigenvalues, `index` the number of negative ones (None: not stated);
    `options` go to classify.
    """

    name: str
    make: Callable[[], us.FunctionLandscape]
    theta: Any
    verdict: us.Verdict
    low: float | None = None
    high: float | None = None
    index: int | None = None
    kink: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


# name, surface(hvp=…), point, verdict, λ_min, λ_max, index, kink: each with exact products and without
FEW_VARIABLES: list[tuple] = [
    ("lecture at 0", lecture, (0, 0), SADDLE, -2, 2, 1, False),
    ("lecture at (1, 1)", lecture, (1, 1), DEGENERATE, 0, 4, 0, False),
    ("lecture at (1, 1) with bound", partial(lecture, lower_bound=0.0), (1, 1), DEGENERATE, 0, 4, 0),
    ("lecture on the slope", lecture, (0.5, 0.1), NOT_CRITICAL),
    ("monkey saddle", monkey_saddle, (0, 0), DEGENERATE, 0, 0, 0),
    ("x² − y⁴", partial(separable, "x2", "-x4"), (0, 0), DEGENERATE, 0, 2, 0),
    ("x² + y⁴", partial(separable, "x2", "x4"), (0, 0), DEGENERATE, 0, 2, 0),
    ("−x² + y⁴", partial(separable, "-x2", "x4"), (0, 0), DEGENERATE, -2, 0, 1),
    ("x⁴ − y⁴", partial(separable, "x4", "-x4"), (0, 0), DEGENERATE, 0, 0, 0),
    ("−x² − y²", partial(separable, "-x2", "-x2"), (0, 0), MAXIMUM, -2, -2, 2),
    ("rosenbrock", rosenbrock, (1, 1), MINIMUM, None, None, 0),
    ("zero function", partial(separable, "0", "0", "0"), (1, 1, 1), DEGENERATE, 0, 0, 0),
    ("plane", partial(separable, "x", "0"), (1, 1), NOT_CRITICAL),
    ("n = 1, minimum", partial(separable, "x2"), (0,), MINIMUM, 2, 2, 0),
    ("n = 1, maximum", partial(separable, "-x2"), (0,), MAXIMUM, -2, -2, 1),
    ("n = 1, flat", partial(separable, "x4"), (0,), DEGENERATE, 0, 0, 0),
    ("n = 3, saddle", partial(separable, "x2", "-x2", "x4"), (0, 0, 0), SADDLE, -2, 2, 1),
    ("kink |x|", partial(separable, "|x|"), (0,), DEGENERATE, None, None, None, True),
    ("kink |x| + y²", partial(separable, "|x|", "x2"), (0, 0), DEGENERATE, None, None, None, True),
    ("himmelblau, minimum 1", himmelblau, (3, 2), MINIMUM, None, None, 0),
    ("himmelblau, minimum 2", himmelblau, (-2.8051180869, 3.1313125183), MINIMUM, None, None, 0),
    ("himmelblau, minimum 3", himmelblau, (-3.7793102534, -3.2831859913), MINIMUM, None, None, 0),
    ("himmelblau, minimum 4", himmelblau, (3.5844283403, -1.8481265270), MINIMUM, None, None, 0),
    ("himmelblau, saddle 1", himmelblau, (-3.0730257509, -0.0813530443), SADDLE, None, None, 1),
    ("himmelblau, saddle 2", himmelblau, (0.0866775050, 2.8842547011), SADDLE, None, None, 1),
    ("himmelblau, saddle 3", himmelblau, (3.3851541839, 0.0738518794), SADDLE, None, None, 1),
    ("himmelblau, saddle 4", himmelblau, (-0.1279613469, -1.9537149808), SADDLE, None, None, 1),
    ("himmelblau, maximum", himmelblau, (-0.2708445907, -0.9230385565), MAXIMUM, None, None, 2),
]


def few_variables() -> list[Problem]:
    rows = []
    for name, surface, point, *truth in FEW_VARIABLES:
        theta = np.array(point, dtype=float)
        rows.append(Problem(name, surface, theta, *truth))
        rows.append(Problem(f"{name}, no hvp", partial(surface, hvp=False), theta, *truth))
    single = partial(lecture, dtype="float32")
    rows.append(Problem("lecture at 0, float32", single, np.zeros(2), SADDLE, -2, 2, 1))
    rows.append(Problem("lecture at (1, 1), float32", single, np.ones(2), DEGENERATE, 0, 4, 0))
    one_sided = partial(separable, "relu2", "x2")
    rows.append(Problem("one-sided curvature", one_sided, np.zeros(2), DEGENERATE))
    return rows


def spectrum(
    name: str, values: Any, verdict: us.Verdict, index: int | None, *, rotated: bool = False, **settings: Any
) -> Problem:
    """A quadratic with the eigenvalues `values`, at its critical point."""
    options = {key: settings.pop(key) for key in ("tolerance", "seed") if key in settings}
    scale = settings.get("scale", 1.0)
    operator = Reflected(values) if rotated else values
    low, high = scale * values.min(), scale * values.max()
    make = partial(quadratic, operator, **settings)
    return Problem(name, make, np.zeros(values.size), verdict, low, high, index, None, options)


def many_variables() -> list[Problem]:
    zeros = mostly_zero()
    positive = np.random.default_rng(2).uniform(0.5, 2.0, 1500)
    rows = [
        spectrum("90 % zeros, float32", zeros, DEGENERATE, 0, rotated=True, dtype="float32"),
        spectrum("negative semi-definite", -zeros, DEGENERATE, 200),
        spectrum("positive definite", positive, MINIMUM, 0, rotated=True),
        spectrum("negative definite", -positive, MAXIMUM, 1500),
        spectrum("identity", np.ones(1000), MINIMUM, 0),
        spectrum("zero operator", np.zeros(1000), DEGENERATE, 0),
        spectrum("five-fold negative", np.r_[np.full(5, -0.1), positive], SADDLE, 5, rotated=True),
    ]
    for seed in range(3):
        rows.append(spectrum(f"90 % zeros, seed {seed}", zeros, DEGENERATE, 0, seed=seed))
        rows.append(spectrum(f"90 % zeros, rotated, seed {seed}", zeros, DEGENERATE, 0, rotated=True, seed=seed))
    for g in (1e-2, 1e-3):
        uniform = np.r_[-g, np.random.default_rng(1).uniform(0, 1, 1999)]
        like_network = outliers_and_bulk(4000, -g)
        rows.append(spectrum(f"−{g:g} under uniform bulk", uniform, SADDLE, 1))
        rows.append(spectrum(f"−{g:g} under outliers", like_network, SADDLE, 1, rotated=True, tolerance=g / 4))
        rows.append(spectrum(f"−{g:g} and 90 % zeros", np.r_[-g, zeros], SADDLE, 1))
    for c in (1e-12, 1e-6, 1e6, 1e12):
        tag = f", times {c:g}"
        scaled = partial(lecture, scale=c)
        rows += [
            Problem(f"lecture at 0{tag}", scaled, np.zeros(2), SADDLE, -2 * c, 2 * c, 1),
            Problem(f"lecture at (1, 1){tag}", scaled, np.ones(2), DEGENERATE, 0, 4 * c, 0),
            Problem(f"lecture on the slope{tag}", scaled, np.array([0.5, 0.1]), NOT_CRITICAL),
            spectrum(f"90 % zeros{tag}", zeros, DEGENERATE, 0, scale=c),
            spectrum(f"−0.01 under positive bulk{tag}", np.r_[-1e-2, positive], SADDLE, 1, scale=c),
            spectrum(f"positive definite{tag}", positive, MINIMUM, 0, scale=c),
        ]
    return rows


def structured() -> list[Problem]:
    positive = np.random.default_rng(3).uniform(0.5, 2.0, 1500)
    slope = partial(quadratic, positive, np.ones(1500))
    small, large = partial(quadratic, Laplacian(300)), partial(quadratic, Laplacian(800))
    linear, wide = two_layer_linear()[0], two_layer_linear(8, 40, 9, 3)[0]
    coarse = {"tolerance": 1e-3}
    return [
        Problem("laplacian, n = 300", small, np.zeros(300), DEGENERATE, index=0, options=coarse),
        Problem("laplacian, n = 800", large, np.zeros(800), DEGENERATE, index=0),
        Problem("far from critical, n = 1500", slope, np.zeros(1500), NOT_CRITICAL),
        Problem("two-layer linear network, n = 35", lambda: linear, np.zeros(35), SADDLE, index=5 * 2),
        Problem("two-layer linear network, n = 680", lambda: wide, np.zeros(680), SADDLE, index=40 * 3),
    ]


PROBLEMS = few_variables() + many_variables() + structured()


@dataclass(frozen=True)
class Refusal:
    """A landscape or argument for which classify must raise, and a word of the message."""

    name: str
    make: Callable[[], us.FunctionLandscape]
    theta: Any
    error: type[Exception]
    says: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def bowl(n: int = 3, **parts: Any) -> us.FunctionLandscape:
    """L = ‖θ‖², with parts of it replaced."""
    sound = {"loss": lambda w: float(w @ w), "gradient": lambda w: 2 * w, "hvp": lambda w, v: 2 * v}
    chosen = sound | parts
    return us.FunctionLandscape(chosen["loss"], chosen["gradient"], n=n, hvp=chosen["hvp"])


def refusals() -> list[Refusal]:
    e, origin = us.errors, np.zeros(3)
    dice = np.random.default_rng(5)
    upper = np.triu(dice.standard_normal((30, 30)))
    full = dice.standard_normal((700, 700))
    nan = np.full(3, np.nan)

    def refusal(name: str, error: type[Exception], says: str, n: int = 3, **parts: Any) -> Refusal:
        return Refusal(name, partial(bowl, n, **parts), np.ones(n), error, says)

    random, infinite = e.NonDeterministicError, e.NonFiniteError
    return [
        Refusal("theta with NaN", bowl, np.array([0.0, np.nan, 0.0]), infinite, "theta"),
        Refusal("theta with infinity", bowl, np.array([0.0, 0.0, np.inf]), infinite, "theta"),
        Refusal("theta of wrong size", bowl, np.zeros(4), e.ArgumentError, "theta"),
        Refusal("theta missing", bowl, None, e.ArgumentError, "theta"),
        Refusal("theta of text", bowl, ["a", "b", "c"], e.ArgumentTypeError, "theta"),
        refusal("loss is NaN", infinite, "loss", loss=lambda w: np.nan),
        refusal("gradient has NaN", infinite, "gradient", gradient=lambda w: nan),
        refusal("gradient of wrong size", e.OperatorError, "gradient", gradient=lambda w: np.zeros(2)),
        refusal("product has NaN", infinite, "product", hvp=lambda w, v: nan),
        refusal("product of wrong size", e.OperatorError, "hvp", hvp=lambda w, v: np.zeros(5)),
        refusal("asymmetric", e.OperatorError, "symmetric", 30, hvp=lambda w, v: upper @ v),
        refusal("asymmetric, large", e.OperatorError, "symmetric", 700, hvp=lambda w, v: full @ v),
        refusal("random product", random, "dropout", 30, hvp=lambda w, v: v * dice.uniform(0.9, 1.1, 30)),
        refusal("random loss", random, "dropout", loss=lambda w: float(w @ w) + dice.random()),
        refusal("random gradient", random, "dropout", 30, gradient=lambda w: w * (dice.random(30) < 0.5)),
        refusal("random, no hvp", random, "dropout", 30, gradient=lambda w: w * dice.random(30), hvp=None),
        Refusal("confidence of 1", bowl, origin, e.ArgumentError, "confidence", {"confidence": 1.0}),
        Refusal("negative tolerance", bowl, origin, e.ArgumentError, "tolerance", {"tolerance": -1.0}),
        Refusal("no budget", bowl, origin, e.ArgumentError, "max_products", {"max_products": 0}),
        Refusal("exact and huge", partial(bowl, 5000), np.zeros(5000), e.ArgumentError, "exact", {"exact": True}),
    ]


REFUSALS = refusals()
