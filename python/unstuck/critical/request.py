"""What classify was asked for: its arguments checked, and the way to go that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ArgumentError, ArgumentTypeError
from ..landscape import Landscape
from ..what_came import what_came
from . import dense, lanczos, probes
from .quotient import require_layers

FEWEST_PRODUCTS = 8


@dataclass(frozen=True)
class Request:
    """The way to go.

    Attributes:
        whole: the whole spectrum, unless samples suffice.
        budget: most products.
        progressive: samples first.
        limited: `budget` was given.
    """

    whole: bool
    budget: int
    progressive: bool
    limited: bool


def checked(
    land: Landscape,
    tolerance: float | None,
    confidence: float,
    max_products: int | None,
    exact: bool | None,
    progress: Any,
    progressive: Any,
    symmetries: Any,
) -> Request:
    """The way to go, from arguments in range.

    Raises:
        ArgumentError: one is out of range, or two contradict each other.
        ArgumentTypeError: one has a wrong type, or `land` is no landscape.
    """
    for name in ("n", "dtype", "loss", "gradient", "hessian"):
        if not hasattr(land, name):
            raise ArgumentTypeError(f"`land` must be a landscape, got {what_came(land)} without `{name}`")
    for name, value in (("tolerance", tolerance), ("confidence", confidence)):
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not number and not (name == "tolerance" and value is None):
            raise ArgumentTypeError(f"`{name}` must be a number, got {value!r}")
    if tolerance is not None and not 0.0 <= tolerance < np.inf:
        raise ArgumentError(f"`tolerance` must be a curvature ≥ 0 or None, got {tolerance!r}")
    if not 0.0 < confidence < 1.0:
        raise ArgumentError(f"`confidence` must lie strictly between 0 and 1, got {confidence!r}")
    if max_products is not None and (
        isinstance(max_products, bool) or not hasattr(max_products, "__index__") or max_products < FEWEST_PRODUCTS
    ):
        raise ArgumentError(f"`max_products` must be an integer ≥ {FEWEST_PRODUCTS} or None, got {max_products!r}")
    if progress is not None and not callable(progress):
        raise ArgumentTypeError(f"`progress` must be callable or None, got {type(progress).__name__}")
    _check_switches(land, exact, progressive, symmetries)
    needed = land.n + probes.PRODUCTS + 2
    if exact and land.n > dense.LARGEST:
        raise ArgumentError(f"`exact=True` needs n ≤ {dense.LARGEST}, this landscape has n = {land.n}")
    if exact and max_products is not None and max_products < needed:
        raise ArgumentError(f"`exact=True` needs {needed} products, `max_products` allows {max_products}")
    affordable = max_products is None or max_products >= needed
    whole = land.n < 3 or (exact if exact is not None else land.n <= dense.DEFAULT and affordable)
    budget = max_products if max_products is not None else lanczos.PRODUCTS
    return Request(whole, budget, bool(progressive) and land.n >= 3, max_products is not None)


def _check_switches(land: Landscape, exact: bool | None, progressive: Any, symmetries: Any) -> None:
    """Each of them by itself, and together."""
    check_switch("exact", exact, (True, False, None))
    check_switch("progressive", progressive, (True, False))
    check_switch("symmetries", symmetries, (True, False, None))
    if symmetries:
        require_layers(land)
    if progressive and exact:
        raise ArgumentError("`exact=True` computes the whole spectrum, `progressive=True` avoids to: choose one")


def check_switch(name: str, value: Any, allowed: tuple[bool | None, ...]) -> None:
    """Refuses what is none of the words True, False, None that are allowed.

    Raises:
        ArgumentTypeError: it is not; the message names it.
    """
    if not any(value is choice for choice in allowed) and not isinstance(value, np.bool_):
        raise ArgumentTypeError(f"`{name}` must be {' or '.join(map(str, allowed))}, got {value!r}")
