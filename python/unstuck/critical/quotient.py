"""Flat directions explained: which are flat by construction, and what the Hessian says of all the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..curvature.symmetries import EXACT, MIXTURES, Symmetries, flat_symmetries
from ..errors import ArgumentError
from ..landscape import Landscape
from ..operators import HessianOperator
from . import dense, lanczos, rules
from .ends import Ends
from .gate import Gate
from .result import Bracket, Quotient, Verdict

if TYPE_CHECKING:
    from ..network_landscape import NetworkLandscape

Array = NDArray[Any]

CHEAP = 0.1  # of the products used so far: what may be spent unasked
FEWEST = 8  # products of a Lanczos run


def require_layers(land: Any) -> NetworkLandscape:
    """The landscape, if its layers are known.

    Raises:
        ArgumentError: they are not.
    """
    from ..network_landscape import NetworkLandscape

    if not isinstance(land, NetworkLandscape):
        raise ArgumentError(
            f"`symmetries=True` needs a NetworkLandscape, whose layers are known; got {type(land).__name__}"
        )
    return land


def known_symmetries(
    land: Any, theta: Array, op: HessianOperator, ends: Ends, tau: float, asked: bool | None, products: int
) -> Symmetries | None:
    """The symmetries of a network; None where nobody asked and they would cost more than a tenth of `products`."""
    from ..network_landscape import NetworkLandscape

    cheap = ends.complete or CHEAP * products >= MIXTURES
    if asked is False or (asked is None and not (cheap and isinstance(land, NetworkLandscape) and land.l2 == 0.0)):
        return None
    if ends.complete:
        return flat_symmetries(require_layers(land), theta, _from_spectrum(ends, op), tau)
    return flat_symmetries(require_layers(land), theta, op, tau, exact=EXACT if asked else 0)


def _from_spectrum(ends: Ends, op: HessianOperator) -> HessianOperator:
    """The operator put together from all of its eigenpairs: no further products."""
    values, vectors = ends.values, np.asarray(ends.vectors, dtype=np.float64)

    def block(rows: Array) -> Array:
        return np.asarray((rows.astype(np.float64) @ vectors * values) @ vectors.T).astype(op.dtype)

    return HessianOperator(
        int(op.shape[0]), op.dtype, lambda v: block(v[None])[0], block, exact=op.exact, noise=op.noise, trusted=True
    )


def judge_the_rest(
    land: Landscape,
    theta: Array,
    op: HessianOperator,
    found: Symmetries,
    ends: Ends,
    goal: lanczos.Goal,
    gate: Gate,
    budget: int,
    memory: int,
    rng: np.random.Generator,
    progress: Any,
) -> Quotient | None:
    """The verdict on the complement of the symmetries; `goal.tolerance` is τ.

    Their own curvature is set to one from amidst the others, so that the ends of the spectrum are those of the rest.
    None where nothing bends by more than τ, or does so both ways, or where products are lacking.
    """
    tau = goal.tolerance or 0.0
    up, down = ends.high > tau, ends.low < -tau
    if up == down or not found.count:
        return None
    far = ends.high if up else ends.low
    shift = float(np.copysign(max(0.5 * abs(far), min(abs(far), 2.0 * tau)), far))
    deflated = found.deflate(op, shift)
    before = op.products
    if land.n <= dense.DEFAULT and budget >= land.n + 2:
        rest = dense.whole_spectrum(land, theta, deflated, ends.noise, progress)
    elif budget < FEWEST:
        return None
    else:
        rest = lanczos.Run(land, theta, deflated, goal, budget, memory, rng).ends(progress)
    tolerance = rules.tolerance_for(tau, rest.norm, rest.noise, rest.error)
    return Quotient(
        verdict=rules.verdict_for(rest, tolerance, gate),
        lambda_min=Bracket(min(rest.lower, rest.low), rest.low + rest.slack),
        lambda_max=Bracket(rest.high - rest.slack, max(rest.upper, rest.high)),
        directions=land.n - found.count,
        products=op.products - before,
    )


def without_kink(quotient: Quotient | None, kink: bool) -> Quotient | None:
    """A minimum or maximum is none where second derivatives hold on one side only."""
    if quotient is None or not kink or quotient.verdict not in (Verdict.LOCAL_MINIMUM, Verdict.LOCAL_MAXIMUM):
        return quotient
    return replace(quotient, verdict=Verdict.DEGENERATE)
