"""The registry of labs: the one list of their names; each name belongs to a module of this folder."""

from __future__ import annotations

# name on the command line -> module
MODULES: dict[str, str] = {
    "saddle": "saddle",
    "taylor": "taylor",
}
NAMES: tuple[str, ...] = tuple(MODULES)
