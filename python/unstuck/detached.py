"""Detached: a landscape without a point of its own, so that a fork cannot move the one it was made from."""

from __future__ import annotations

from typing import Any

from .landscape import Landscape


class Detached:
    """The same surface, data and training steps as `land`; its `theta` is None.

    Args:
        land: any landscape.
    """

    theta = None

    def __init__(self, land: Landscape) -> None:
        own = getattr(land, "detached", None)
        self._land: Landscape = land if own is None else own()

    def __repr__(self) -> str:
        return f"Detached({self._land!r})"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._land, name)
