"""Scores of answers with Wilson intervals: false alarms, recall, causes, confusion, confidences, rivals."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.stuck.rivals import RULES, TOOLS, aims_of

GOOD = ("HEALTHY", "CONVERGED")
ABOUT_INPUTS = {"improper data", "input not normalised"}  # every standardised input offends these
BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


@dataclass(frozen=True)
class Answer:
    """What was said of one run.

    Attributes:
        task: its task.
        plan: its fault or healthy kind.
        seed: of the run.
        severity: of the fault.
        causes: right answers, the strict one first.
        said: the answer; "" of a run that was left out.
        confidence: of the answer.
        seconds: that it took.
        ranked: [(cause, confidence)], all findings.
        sentence: the answer in words.
        truth: what the rule of `truth.py` measured.
        left_out: the run is not what the plan says.
        rivals: {tool: rules that fired}.
    """

    task: str
    plan: str
    seed: int
    severity: float
    causes: tuple[str, ...]
    said: str = ""
    confidence: float = 0.0
    seconds: float = 0.0
    ranked: tuple[tuple[str, float], ...] = ()
    sentence: str = ""
    truth: dict[str, float | None] = field(default_factory=dict)
    left_out: bool = False
    rivals: dict[str, list[str]] = field(default_factory=dict)

    @property
    def faulty(self) -> bool:
        """Whether the run is stuck."""
        return self.causes[0] not in GOOD

    @property
    def alarmed(self) -> bool:
        """Whether the answer names something wrong."""
        return self.said not in (*GOOD, "UNDECIDED")

    @property
    def acceptable(self) -> bool:
        """Whether the answer is one of the right ones."""
        return self.said in self.causes


def wilson(hits: int, of: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (E. Wilson 1927)."""
    if of == 0:
        return 0.0, 1.0
    p = hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return max(0.0, (middle - half) / (1 + z * z / of)), min(1.0, (middle + half) / (1 + z * z / of))


def share(hits: int, of: int) -> str:
    """A proportion with its interval."""
    low, high = wilson(hits, of)
    return f"{hits:4d}/{of:<4d} {hits / max(of, 1):6.1%}  [{low:.1%}, {high:.1%}]" if of else "   -"


def _count(answers: Sequence[Answer], test: Callable[[Answer], bool]) -> str:
    return share(sum(map(test, answers)), len(answers))


def table(answers: Sequence[Answer]) -> str:
    """All scores as text."""
    kept = [answer for answer in answers if not answer.left_out]
    parts = [
        headline(kept),
        by_cause(kept),
        by_task(kept),
        confusion(kept),
        reliability(kept),
        rivals_table(kept),
        left_out(answers),
    ]
    return "\n\n".join(part for part in parts if part)


def headline(answers: Sequence[Answer]) -> str:
    """The figures that the targets are about."""
    faulty, healthy = [a for a in answers if a.faulty], [a for a in answers if not a.faulty]
    lines = [
        f"{'false alarms (healthy runs)':30s} {_count(healthy, lambda a: a.alarmed)}",
        f"{'undecided (healthy runs)':30s} {_count(healthy, lambda a: a.said == 'UNDECIDED')}",
        f"{'recall (faulty runs)':30s} {_count(faulty, lambda a: a.alarmed)}",
        f"{'undecided (faulty runs)':30s} {_count(faulty, lambda a: a.said == 'UNDECIDED')}",
        f"{'strict cause on top':30s} {_count(faulty, lambda a: a.said == a.causes[0])}",
        f"{'acceptable cause on top':30s} {_count(faulty, lambda a: a.acceptable)}",
        f"{'acceptable among the top 3':30s} "
        + _count(faulty, lambda a: any(cause in a.causes for cause, _ in a.ranked[:3])),
    ]
    times = sorted(a.seconds for a in answers)
    if times:
        lines.append(f"seconds: median {times[len(times) // 2]:.2f}, largest {times[-1]:.2f}")
    return "\n".join(lines)


def by_cause(answers: Sequence[Answer]) -> str:
    """One line for each plan: acceptable answers, and what was said."""
    lines = []
    for plan in dict.fromkeys(a.plan for a in answers):
        rows = [a for a in answers if a.plan == plan]
        said = Counter(a.said for a in rows)
        good = sum(a.acceptable for a in rows)
        lines.append(
            f"  {plan:32s} {good:3d}/{len(rows):<3d} " + ", ".join(f"{name} {n}" for name, n in said.most_common())
        )
    return "\n".join(lines)


def by_task(answers: Sequence[Answer]) -> str:
    """One line for each task: no task alone should carry the scores."""
    lines = [f"  {'':28s} {'false alarms':31s} acceptable cause"]
    for task in dict.fromkeys(a.task for a in answers):
        faulty = [a for a in answers if a.task == task and a.faulty]
        healthy = [a for a in answers if a.task == task and not a.faulty]
        alarms, good = _count(healthy, lambda a: a.alarmed), _count(faulty, lambda a: a.acceptable)
        lines.append(f"  {task:28s} {alarms:31s} {good}")
    return "\n".join(lines)


def confusion(answers: Sequence[Answer]) -> str:
    """Rows: the strict cause; columns: what was said."""
    rows = dict.fromkeys(a.causes[0] for a in answers)
    columns = sorted({a.said for a in answers})
    if not columns:
        return ""
    heads = [f"{i:>4d}" for i in range(1, len(columns) + 1)]
    lines = ["confusion (row: strict cause, column: said)", " " * 22 + "".join(heads)]
    for cause in rows:
        said = Counter(a.said for a in answers if a.causes[0] == cause)
        lines.append(f"  {cause:20s}" + "".join(f"{said[name] or '.':>4}" for name in columns))
    lines.append("  " + ", ".join(f"{i} {name}" for i, name in enumerate(columns, 1)))
    return "\n".join(lines)


def reliability(answers: Sequence[Answer]) -> str:
    """Confidence against the share of acceptable answers; UNDECIDED is none."""
    lines = ["confidence     mean  right"]
    decided = [a for a in answers if a.said != "UNDECIDED"]
    for i, (low, high) in enumerate(itertools.pairwise(BINS)):
        rows = [a for a in decided if low <= a.confidence < high or (i == len(BINS) - 2 and a.confidence == high)]
        if rows:
            mean = sum(a.confidence for a in rows) / len(rows)
            lines.append(f"  {low:.2f} - {high:.2f}  {mean:.2f}  {_count(rows, lambda a: a.acceptable)}")
    return "\n".join(lines)


def rivals_table(answers: Sequence[Answer]) -> str:
    """Each tool's rules beside ours, on the causes it aims at and the runs it can be run on."""
    lines = [
        "rivals' rules, re-implemented, each on the faults that it aims at (right: one of the rules that fired aims at "
        "an acceptable cause)",
        f"  {'':20s} {'recall':31s} {'right':31s} {'false alarms':31s} without the rule about inputs outside [-1, 1]",
    ]
    for tool in TOOLS:
        seen = [a for a in answers if tool in a.rivals]
        aimed = [a for a in seen if a.faulty and a.causes[0] in aims_of(tool)]
        healthy = [a for a in seen if not a.faulty]
        if not aimed or not healthy:
            continue
        cells = [
            share(sum(bool(a.rivals[tool]) for a in aimed), len(aimed)),
            share(sum(_right(a, tool) for a in aimed), len(aimed)),
            share(sum(bool(a.rivals[tool]) for a in healthy), len(healthy)),
            share(sum(bool(set(a.rivals[tool]) - ABOUT_INPUTS) for a in healthy), len(healthy)),
        ]
        ours = [
            _count(aimed, lambda a: a.alarmed),
            _count(aimed, lambda a: a.acceptable),
            _count(healthy, lambda a: a.alarmed),
        ]
        lines += [f"  {tool:20s} " + " ".join(f"{cell:31s}" for cell in cells)]
        lines += [f"  {'  unstuck, there':20s} " + " ".join(f"{cell:31s}" for cell in ours)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _right(answer: Answer, tool: str) -> bool:
    fired = answer.rivals[tool]
    aims = {cause for rule in RULES if rule.tool == tool and rule.name in fired for cause in rule.aims.split()}
    return bool(aims & set(answer.causes))


def left_out(answers: Sequence[Answer]) -> str:
    """How many runs of each plan are not what it says."""
    out = Counter(a.plan for a in answers if a.left_out)
    of = Counter(a.plan for a in answers)
    if not out:
        return ""
    listed = ", ".join(f"{plan} {count}/{of[plan]}" for plan, count in out.items())
    return f"left out, {sum(out.values())} of {len(answers)} (not stuck, or not healthy, by the rule): {listed}"
