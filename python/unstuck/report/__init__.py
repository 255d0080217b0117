"""Reports: one list of facts that becomes text, JSON or one self-contained HTML file."""

from __future__ import annotations

from .facts import Fact, jsonable, plain

__all__ = ["Fact", "jsonable", "plain"]
