"""Lanczos in products: full and bounded bases on uniform and network-like spectra, beside scipy's eigsh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.lanczos_counts import FULL, QUESTIONS, RESTARTED, SIZES, Problem, eigsh_products, medians

SEEDS = 20
VECTORS = (20, 40)
_WORDS = {
    "below_zero": "θ < 0",
    "below_half": "θ < −g/2",
    "converged": "residual ≤ g/100",
    "certified": "λ_min ≥ −2g certified",
}


@dataclass(frozen=True)
class Counts:
    """Median numbers of products on one problem.

    Attributes:
        task: the problem.
        ours: {basis: {question: products}}.
        rivals: {name: products until its own convergence}.
        reference: {basis: {question: products}} of the table to keep to, where it has the problem.
        seeds: random instances.
    """

    task: str
    ours: Mapping[str, Mapping[str, float]]
    rivals: Mapping[str, float]
    reference: Mapping[str, Mapping[str, float]]
    seeds: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "task": self.task,
            "products": {basis: dict(row) for basis, row in self.ours.items()},
            "rivals": dict(self.rivals),
            "reference": {basis: dict(row) for basis, row in self.reference.items()},
            "seeds": self.seeds,
        }

    def __str__(self) -> str:
        lines = [f"{self.task}: products, median of {self.seeds} instances"]
        for basis, row in self.ours.items():
            words = ", ".join(f"{_WORDS[q]} {row[q]:.0f}{self._known(basis, q)}" for q in QUESTIONS)
            lines.append(f"  {basis:<16}{words}")
        converged = self.ours["full basis"]["converged"]
        for name, products in self.rivals.items():
            lines.append(f"  {name:<16}residual ≤ g/100 {products:.0f}  {products / converged:.1f} x ours")
        return "\n".join(lines)

    def _known(self, basis: str, question: str) -> str:
        known = self.reference.get(basis, {}).get(question)
        return "" if known is None else f" ({known:.0f})"


def measure(quick: bool) -> Iterator[Counts]:
    """Every problem of the table; figures in brackets are those to keep to."""
    seeds = 3 if quick else SEEDS
    for kind, g in FULL:
        for n in SIZES[1:2] if quick else SIZES:
            yield _row(Problem(kind, g, n), seeds, quick)


def _row(problem: Problem, seeds: int, quick: bool) -> Counts:
    key = (problem.kind, problem.g)
    ours = {"full basis": medians(problem, seeds)}
    for vectors in VECTORS[:1] if quick else VECTORS:
        ours[f"{vectors} vectors"] = medians(problem, seeds, vectors)
    reference = {"full basis": dict(zip(QUESTIONS, FULL[key][SIZES.index(problem.n)], strict=True))}
    if (problem.kind, problem.g, problem.n) in RESTARTED:
        reference["20 vectors"] = {"converged": RESTARTED[problem.kind, problem.g, problem.n]}
    rivals = {
        f"eigsh, ncv = {ncv}": float(np.median([eigsh_products(problem, seed, ncv) for seed in range(seeds)]))
        for ncv in ((20,) if quick else (20, 60))
    }
    return Counts(str(problem), ours, rivals, reference, seeds)
