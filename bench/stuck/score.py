"""Scores of answers: recall, false alarms, strict and acceptable causes, with Wilson intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

GOOD = ("HEALTHY", "CONVERGED")


@dataclass(frozen=True)
class Answer:
    """What was said of one run.

    Attributes:
        task: its task.
        plan: its fault or healthy kind.
        seed: of the run.
        severity: of the fault.
        causes: right answers, the strict one first.
        said: the answer.
        confidence: of the answer.
        seconds: that it took.
    """

    task: str
    plan: str
    seed: int
    severity: float
    causes: tuple[str, ...]
    said: str
    confidence: float
    seconds: float

    @property
    def faulty(self) -> bool:
        """Whether the run is stuck."""
        return self.causes[0] not in GOOD

    @property
    def alarmed(self) -> bool:
        """Whether the answer names something wrong."""
        return self.said not in (*GOOD, "UNDECIDED")


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (E. Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    p = hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def _line(name: str, hits: int, of: int) -> str:
    low, high = wilson(hits, of)
    return f"{name:28s} {hits:4d}/{of:<4d} {hits / max(of, 1):6.1%}  [{low:.1%}, {high:.1%}]"


def table(answers: Sequence[Answer]) -> str:
    """The scores as text: false alarms, recall, causes, what was said of each fault, seconds."""
    faulty, healthy = [a for a in answers if a.faulty], [a for a in answers if not a.faulty]
    lines = [
        _line("false alarms (healthy runs)", sum(a.alarmed for a in healthy), len(healthy)),
        _line("undecided (healthy runs)", sum(a.said == "UNDECIDED" for a in healthy), len(healthy)),
        _line("recall (faulty runs)", sum(a.alarmed for a in faulty), len(faulty)),
        _line("strict cause", sum(a.said == a.causes[0] for a in faulty), len(faulty)),
        _line("acceptable cause", sum(a.said in a.causes for a in faulty), len(faulty)),
    ]
    times = sorted(a.seconds for a in answers)
    if times:
        lines.append(f"seconds: median {times[len(times) // 2]:.2f}, largest {times[-1]:.2f}")
    for plan in dict.fromkeys(a.plan for a in answers):
        said = Counter(a.said for a in answers if a.plan == plan)
        lines.append(f"  {plan:32s} " + ", ".join(f"{name} {count}" for name, count in said.most_common()))
    return "\n".join(lines)
