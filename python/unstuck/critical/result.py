"""What classify answers: the verdict, the bracketed ends of the spectrum, and how sure it is."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..curvature.plan import Plan
from .gate import Gate

if TYPE_CHECKING:
    from ..curvature.symmetries import Symmetries
    from ..report.facts import Fact

Array = NDArray[Any]


class Verdict(enum.Enum):
    """What kind of point it is; the value is the meaning in words."""

    STRICT_SADDLE = "the loss curves down along one direction and up along another: both are proved"
    LOCAL_MINIMUM = "the loss curves up in every direction"
    LOCAL_MAXIMUM = "the loss curves down in every direction"
    DEGENERATE = "a direction is flat within the tolerance, so second derivatives cannot decide"
    NOT_CRITICAL = "the gradient is not small: descending along it gains more than curvature could"
    UNDECIDED = "the allowed number of products did not suffice; the brackets say what is known"


@dataclass(frozen=True)
class Bracket:
    """An interval that holds one eigenvalue.

    Attributes:
        lower: for λ_min, holds with the stated confidence; for λ_max, a verified Rayleigh quotient.
        upper: for λ_min, a verified Rayleigh quotient; for λ_max, holds with the stated confidence.

    Where products are difference quotients, the verified ends are moved outwards by their measured noise.
    """

    lower: float
    upper: float

    def __contains__(self, value: float) -> bool:
        return self.lower <= value <= self.upper

    @property
    def width(self) -> float:
        """Upper − lower."""
        return self.upper - self.lower


@dataclass(frozen=True)
class Quotient:
    """What the Hessian says of all directions but those that are flat by construction.

    Attributes:
        verdict: LOCAL_MINIMUM if every one of them curves up by τ or more: the loss then has a minimum here, one of a
            whole surface of equal ones that the symmetries make (Morse–Bott); LOCAL_MAXIMUM in the same way;
            DEGENERATE if another direction is flat, or there is a kink; UNDECIDED if products did not suffice.
        lambda_min: bracket of the smallest curvature among them, or a number below it.
        lambda_max: bracket of the largest, or a number above it.
        directions: how many there are.
        products: Hessian-vector products that it took.
    """

    verdict: Verdict
    lambda_min: Bracket
    lambda_max: Bracket
    directions: int
    products: int


@dataclass(frozen=True, eq=False)
class CriticalPoint:
    """Answer of `classify`; `str()` of it is one sentence with numbers.

    Attributes:
        verdict: one of `Verdict`.
        lambda_min: bracket of the smallest eigenvalue of the Hessian.
        lambda_max: bracket of the largest.
        direction: unit vector (n,) with verified negative curvature below −tolerance, or None.
        directions: (n, q) orthonormal, all negative directions found, the most negative first: Rayleigh–Ritz values
            below −tolerance by fresh products; q = 0 without one. `classify(index=True)` looks for all there are.
        index: (at_least, at_most) number of eigenvalues below −tolerance; at_most is None if not certified, and holds
            with probability `confidence` where it is.
        tolerance: τ, in units of curvature: what lies within ±τ counts as flat; never below the measured noise.
        gradient_norm: ‖∇L(θ)‖.
        products: Hessian-vector products used, on all the data.
        sampled_products: {samples: products with so many of them} of a progressive search; empty otherwise.
        seconds: wall-clock time used.
        kink: True when the loss has a kink along an end of the spectrum (no second derivative there), or, where a
            minimum or maximum would be stated, along another direction that was tried; False when not, None when
            rounding hides it or the loss bends otherwise than its Hessian product says.
        confidence: probability with which the certified ends of the brackets hold; 1.0 when the whole spectrum
            was computed. Rounding is a widening of the brackets, never part of this probability.
        certificate: JSON-able record that `unstuck.verify` re-checks: the bounds of the run on all the data. The two
            signs of a saddle are proved by `direction`, whose quotient anyone can compute.
        loss: L(θ).
        n: number of parameters.
        method: "dense" (whole spectrum) or "lanczos" (both ends).
        noise: measured error of vᵀHv for a unit vector v.
        flat: number of eigenvalues within ±tolerance; None when only the ends are known.
        gate: the numbers behind "critical or not".
        lower_bound: the landscape's stated lower bound of its loss, or None.
        at_lower_bound: True when the loss equals that bound within rounding.
        further_products: for UNDECIDED, how many more products are predicted to decide; None if unpredictable.
        plan: how the memory was spent on vectors.
        index_certificate: JSON-able record of the run on the complement of `directions` that certified at_most, for
            `unstuck.verify`; None without one.
        symmetries: the directions that are flat by construction (within the tolerance, at this point), and why; None
            where they were not looked for.
        quotient: what holds for all other directions, where `classify(symmetries=True)` found the point DEGENERATE.
    """

    verdict: Verdict
    lambda_min: Bracket
    lambda_max: Bracket
    direction: Array | None
    directions: Array = field(repr=False)
    index: tuple[int, int | None]
    tolerance: float
    gradient_norm: float
    products: int
    seconds: float
    kink: bool | None
    confidence: float
    certificate: dict[str, Any] = field(repr=False)
    loss: float
    n: int
    method: str
    noise: float
    flat: int | None
    gate: Gate
    lower_bound: float | None = None
    at_lower_bound: bool = False
    further_products: int | None = None
    plan: Plan | None = None
    index_certificate: dict[str, Any] | None = field(default=None, repr=False)
    sampled_products: dict[int, int] = field(default_factory=dict)
    symmetries: Symmetries | None = field(default=None, repr=False)
    quotient: Quotient | None = None

    @property
    def norm(self) -> float:
        """‖H‖ = max(|λ_min|, |λ_max|) from the verified ends."""
        return max(abs(self.lambda_min.upper), abs(self.lambda_max.lower))

    def __str__(self) -> str:
        from .sentence import sentence

        return sentence(self)

    def facts(self) -> list[Fact]:
        """The answer as a list of facts, the verdict first."""
        from .sentence import facts

        return facts(self)

    def _repr_html_(self) -> str:
        from .sentence import as_html

        return as_html(self)
