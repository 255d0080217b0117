"""A row of named figures beside the limits that they should keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figures:
    """What was measured on one task.

    Attributes:
        task: what was done, in words.
        values: {name: number or words}.
        limit: what to keep to, in words.
        settings: sizes and options.
    """

    task: str
    values: Mapping[str, Any]
    limit: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"task": self.task, "values": dict(self.values), "limit": self.limit, "settings": dict(self.settings)}

    def __str__(self) -> str:
        head = self.task + (f"   (limit: {self.limit})" if self.limit else "")
        lines = [
            f"  {name:<28}{f'{value:.4g}' if isinstance(value, float) else value}"
            for name, value in self.values.items()
        ]
        return "\n".join([head, *lines])
