"""Curvature: products until an answer, seconds until a verdict, what tracking adds, orthogonalisation, memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from bench import curvature_counts, curvature_scale, curvature_tracking, curvature_verdicts

# `python -m bench curvature.verdict` measures one of them
PARTS: dict[str, Callable[[bool], Iterator[Any]]] = {
    "counts": curvature_counts.measure,
    "verdict": curvature_verdicts.measure,
    "tracking": curvature_tracking.measure,
    "orthogonalisation": curvature_scale.orthogonalisation,
    "memory": curvature_scale.memory,
}


def measure(quick: bool) -> Iterator[Any]:
    """Every part."""
    for number, (name, part) in enumerate(PARTS.items(), 1):
        print(f"curvature, part {number} of {len(PARTS)}: {name} …", file=sys.stderr, flush=True)
        yield from part(quick)
