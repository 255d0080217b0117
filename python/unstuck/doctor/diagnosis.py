"""Diagnosis: the answer of `diagnose`, as an object, a sentence, JSON and a report."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..critical import CriticalPoint
from ..curvature.blame import Blame
from ..report import Answer, Chart, Report
from ..report.facts import Fact
from . import wording
from .causes import Cause
from .costs import Tally
from .evidence import Evidence
from .remedies import Remedy, remedies_for
from .rules import Finding

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """Why a run does not get better, or that it does; `str()` of it is one sentence.

    Attributes:
        findings: the causes with their confidences and reasons, most confident first.
        measured: the evidence as numbers.
        point: the classification of the point, or None if it was not needed.
        theta: the point (n,) that was classified: θ, or the quiet place that a noisy run hovers around.
        costs: [(probe, seconds)].
        notes: probes that could not be made, and why.
        history: (steps, losses, events) of the run, for the report; None without a run.
        blame: which blocks and rows the direction of negative curvature lives in; None without one.
        beyond: a lower place (n,) close to a flat one, from which a copy was trained; None where none was verified.
        work: how many losses, gradients, products and updates were asked for.
    """

    findings: tuple[Finding, ...]
    measured: Evidence = field(repr=False)
    point: CriticalPoint | None = field(repr=False)
    theta: Array = field(repr=False)
    costs: tuple[tuple[str, float], ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)
    history: tuple[Any, Any, list[tuple[float, str]]] | None = field(default=None, repr=False)
    blame: Blame | None = field(default=None, repr=False)
    work: Tally | None = field(default=None, repr=False)
    beyond: Array | None = field(default=None, repr=False)

    @property
    def cause(self) -> Cause:
        """The most likely cause."""
        return self.findings[0].cause

    @property
    def healthy(self) -> bool:
        """Whether the cause is HEALTHY or CONVERGED."""
        return self.cause.healthy

    @property
    def exit_code(self) -> int:
        """For a process that checks: 0 where `healthy`, else 1."""
        return 0 if self.healthy else 1

    @property
    def causes(self) -> list[tuple[Cause, float]]:
        """[(cause, confidence)], most confident first."""
        return [(finding.cause, finding.confidence) for finding in self.findings]

    @property
    def evidence(self) -> list[Fact]:
        """What was measured, one fact each."""
        return wording.facts(self.measured, self.blame)

    @property
    def remedies(self) -> list[Remedy]:
        """What to do, the most promising first; empty when nothing needs to be done."""
        return remedies_for(self.cause, self.measured)

    @property
    def shown_remedies(self) -> list[Fact]:
        """The remedies as facts."""
        return [Fact(remedy.name, "", "info", remedy.text) for remedy in self.remedies]

    @property
    def seconds(self) -> float:
        """Wall-clock time of the examination."""
        return sum(seconds for _, seconds in self.costs)

    @property
    def products(self) -> int:
        """Hessian products that were asked for."""
        return 0 if self.work is None else self.work.products

    def __str__(self) -> str:
        return wording.sentence(self.findings[0])

    def facts(self) -> list[Fact]:
        """The answer and the evidence as one list of facts, the answer first."""
        verdict = Fact(
            "cause",
            wording.title(self.cause),
            wording.status_of(self.cause),
            str(self),
            {cause.name: confidence for cause, confidence in self.causes},
        )
        return [verdict, *self.evidence]

    @property
    def answers(self) -> list[Answer]:
        """The causes as a report ranks them: confidence, measurement, and what would change it."""
        from .showing import answers

        return answers(self)

    def figures(self) -> list[Chart]:
        """The curves of the copies, the losses of the run, the ends of the spectrum, as far as they were measured."""
        from .showing import figures

        return figures(self)

    def report(self) -> Report:
        """The diagnosis as a report with charts."""
        from .showing import diagnosis_report

        return diagnosis_report(self)

    def to_json(self) -> str:
        """The report without its charts, as strict JSON."""
        from .showing import diagnosis_report

        return diagnosis_report(self, drawn=False).json()

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report, whole or not at all; the ending decides: .html, .json or .txt.

        Raises:
            ArgumentError: another ending, or the file cannot be written.
        """
        return self.report().save(path)

    def _repr_html_(self) -> str:
        from ..report.html import fragment
        from .showing import diagnosis_report

        report = diagnosis_report(self, drawn=False)
        return fragment(report.title, str(self), report.facts, report.status)
