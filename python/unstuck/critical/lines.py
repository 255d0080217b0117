"""The loss along the ends of the spectrum, and along other directions where a minimum hangs on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NonFiniteError
from ..landscape import Landscape
from ..operators import HessianOperator
from .agreement import check_product
from .directional import DirectionalModel, measure
from .ends import Ends
from .gate import radius_at
from .probes import Probe

Array = NDArray[Any]


@dataclass(frozen=True)
class Lines:
    """Models of the loss along lines through θ, made when asked for.

    Attributes:
        land: the landscape.
        theta: the point (n,).
        op: its Hessian.
        probe: what was measured first.
        ends: both ends of the spectrum.
        tolerance: what counts as flat.
    """

    land: Landscape
    theta: Array
    op: HessianOperator
    probe: Probe
    ends: Ends
    tolerance: float

    def lowest(self) -> DirectionalModel | None:
        """Along the vector of the lowest curvature; None at the edge of where the loss is defined.

        Raises:
            OperatorError: the loss settles at another curvature there than its Hessian product says.
        """
        return self._end(self.ends.low_vector, self.ends.low, self.ends.low_product, "lowest")

    def highest(self) -> DirectionalModel | None:
        """The same for the highest curvature."""
        return self._end(self.ends.high_vector, self.ends.high, self.ends.high_product, "highest")

    def kink_between(self) -> bool:
        """Whether there is a kink that the ends do not cross: as the landscape knows, else along a few random lines."""
        at_kink = getattr(self.land, "at_kink", None)
        if at_kink is not None:
            return bool(at_kink(self.theta))
        models = (self._along(vector, curvature) for vector, curvature in self.probe.lines)
        return any(model is not None and model.kink is True for model in models)

    def _end(self, vector: Array, curvature: float, product: Array, name: str) -> DirectionalModel | None:
        model = self._along(vector, curvature)
        if self.op.exact and model is not None and model.kink is None:
            check_product(
                self.land,
                self.theta,
                self.probe.gradient,
                vector,
                product,
                share=0.1,
                floor=0.25 * self.tolerance + 10.0 * self.ends.noise,
                where=f"the vector of the {name} curvature",
            )
        return model

    def _along(self, vector: Array, curvature: float) -> DirectionalModel | None:
        try:
            return measure(
                self.land,
                self.theta,
                np.asarray(vector, dtype=np.float64),
                curvature=curvature,
                gradient=self.probe.gradient,
                norm=self.ends.norm,
                radius=radius_at(self.theta),
                noise=self.op.noise if self.op.exact else self.ends.noise,
                smooth=self.op.exact and bool(getattr(self.land, "smooth", False)),
            )
        except NonFiniteError:
            return None
