"""Costs: what a loss, a gradient, a Hessian product and an update cost, and a tally of how many were asked for.

A budget of seconds depends on what else the machine does; an amount of work does not. For the networks of this
package the work is known: a forward pass multiplies every weight once per sample (and position), a gradient costs
three such passes, a product six. Other landscapes are timed once in seconds of CPU time, rounded up to a power of
four, so that only a coarse size counts.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..landscape import Landscape
from ..network_landscape import NetworkLandscape
from ..nn.network import Network
from ..train import Trainer

Array = NDArray[Any]

MULTIPLIES = 2.5e10  # per second: a core with vector units of 256 bits
ELEMENTS = 1e9  # values of activations per second
CALL = 1e-5  # seconds: one call into the core
STEP_OF_PARAMETER = 2e-9  # seconds: one parameter in an optimizer's update
STEP_IN_PYTHON = 5e-5  # seconds: one update outside the core
LEAST_TIMED = 1e-4  # seconds: calls that are cheaper are not told apart


@dataclass(frozen=True)
class Costs:
    """Nominal seconds.

    Attributes:
        call: of a call, whatever its samples.
        sample: of one sample in a loss.
        update: of an update beyond its gradient.
    """

    call: float
    sample: float
    update: float

    def of_loss(self, samples: int) -> float:
        """Seconds of one loss."""
        return self.call + self.sample * samples

    def of_gradient(self, samples: int) -> float:
        """Seconds of one gradient."""
        return self.call + 3.0 * self.sample * samples

    def of_product(self, samples: int) -> float:
        """Seconds of one Hessian product."""
        return self.call + 6.0 * self.sample * samples

    def of_update(self, samples: int) -> float:
        """Seconds of one update on a batch."""
        return self.update + self.of_gradient(samples)


@dataclass
class Tally:
    """How much work was asked for, and what it costs.

    Attributes:
        costs: of one piece.
        losses, gradients, products, updates: how many.
        seconds: nominal, of all of them.
    """

    costs: Costs
    losses: int = 0
    gradients: int = 0
    products: int = 0
    updates: int = 0
    seconds: float = 0.0

    def loss(self, samples: int) -> None:
        """One loss."""
        self.losses += 1
        self.seconds += self.costs.of_loss(samples)

    def gradient(self, samples: int) -> None:
        """One gradient."""
        self.gradients += 1
        self.seconds += self.costs.of_gradient(samples)

    def product(self, samples: int, count: int = 1) -> None:
        """Hessian products."""
        self.products += count
        self.seconds += count * self.costs.of_product(samples)

    def update(self, samples: int, count: int) -> None:
        """Updates of a fork."""
        self.updates += count
        self.seconds += count * self.costs.of_update(samples)


def costs_of(land: Landscape, theta: Array, batch: int | None) -> Costs:
    """The costs of a landscape; `batch`: samples of an update, None without data.

    Cost: nothing for networks, else three gradients of a batch and three of up to 4,096 samples.
    """
    own = getattr(land, "_land", land)
    if isinstance(own, NetworkLandscape):
        multiplies, elements = work_of(own.net)
        return Costs(CALL, multiplies / MULTIPLIES + elements / ELEMENTS, land.n * STEP_OF_PARAMETER)
    if land.samples is None or batch is None:
        return Costs(_timed(land, theta, None), 0.0, land.n * STEP_OF_PARAMETER + STEP_IN_PYTHON)
    few, many = min(batch, land.samples), min(4096, land.samples)
    call = _timed(land, theta, np.arange(few))
    if many <= 2 * few:
        return Costs(0.0, call / (3.0 * few), land.n * STEP_OF_PARAMETER + STEP_IN_PYTHON)
    sample = max(_timed(land, theta, np.arange(many)) - call, 0.0) / (3.0 * (many - few))
    return Costs(call, sample, land.n * STEP_OF_PARAMETER + STEP_IN_PYTHON)


def cost_so_far(run: Trainer, costs: Costs) -> float:
    """Nominal seconds of the updates of a run."""
    return float(run.history["samples"].sum() * 3.0 * costs.sample + run.t * (costs.call + costs.update))


def work_of(net: Network) -> tuple[float, float]:
    """(multiplications, values of activations) of one sample's forward pass."""
    weights = {name: math.prod(shape) for name, _, shape in net.blocks if len(shape) > 1}
    multiplies, elements = 0.0, 0.0
    for node in net._wiring.nodes:
        positions = math.prod(node.shape[1:])
        multiplies += weights.get(f"{node.name}.weight", 0) * positions
        elements += math.prod(node.shape)
    return multiplies, elements


def _timed(land: Landscape, theta: Array, batch: Array | None) -> float:
    """CPU seconds of one gradient, the least of three, rounded up to 10⁻⁴·4ᵏ."""
    least = math.inf
    for _ in range(3):
        began = time.process_time()
        land.gradient(theta, batch)
        least = min(least, time.process_time() - began)
    return float(LEAST_TIMED * 4.0 ** max(0, math.ceil(math.log(max(least, LEAST_TIMED) / LEAST_TIMED, 4.0))))
