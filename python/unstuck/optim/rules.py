"""Every update rule by name, and an optimizer from a saved state."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..errors import ArgumentError, ArgumentTypeError
from .base import Optimizer, Rate
from .families import adam, composed, layerwise, momentum, square

RULES: Mapping[str, type[Any]] = MappingProxyType(
    {name: getattr(family, name) for family in (momentum, square, adam, layerwise, composed) for name in family.__all__}
)


def from_state(state: Mapping[str, Any], lr: Rate | None = None, **hyper: Any) -> Optimizer:
    """A new optimizer that continues, to the bit, as the one whose `state()` this is.

    Args:
        state: what `Optimizer.state` returned.
        lr: needed where the state holds none, because the rate was a callable that cannot be saved.
        **hyper: the same for other hyper-parameters.

    Raises:
        ArgumentError: `state` names no rule, is incomplete or inconsistent, or a callable is missing.
    """
    if not isinstance(state, Mapping):
        raise ArgumentTypeError(f"`state` must be what `Optimizer.state` returned, got {type(state).__name__}")
    rule = str(state.get("rule"))
    if rule not in RULES:
        raise ArgumentError(f"`state` must name a rule out of {', '.join(RULES)}, got {rule!r}")
    if lr is None and state.get("lr") is None:
        raise ArgumentError("`lr` must be given: the state's own was a callable, which cannot be saved")
    optimizer: Optimizer = RULES[rule](lr=0.0, **hyper)
    if isinstance(state.get("hyper"), Mapping):  # a number may take the place of a callable, too
        lost = {name: value for name, value in hyper.items() if state["hyper"].get(name, 0) is None}
        numbers = {name: value for name, value in lost.items() if not callable(value)}
        state = {**state, "hyper": {**state["hyper"], **numbers}}
    optimizer.load_state(state)
    if lr is not None:
        optimizer.lr = lr
    return optimizer
