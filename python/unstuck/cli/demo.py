"""Train on real digits from a start that gets stuck, say why, escape, train on, write a report.

Takes under half a minute on two cores and writes one self-contained HTML file.

Exit codes: 0 the run got free, 1 it did not, 2 usage or bad input, 130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..atomic_file import check_target
from ..progress import bar
from ..report import ENDINGS
from ..settings import setting
from .output import Output


@dataclass(frozen=True)
class Settings:
    """Settings of the demo."""

    seed: int = setting("of the network and the order of the samples", 0, least=0, most=2**31)
    report: str = setting("where the report goes (.html, .json or .txt)", "unstuck-report.html")


def run(settings: Settings, out: Output) -> int:
    """Run the demo; 1 if the run did not get free."""
    check_target(settings.report, ENDINGS, "--report")
    from ..demo import run as run_demo

    with bar("demo") as progress:
        result = run_demo(seed=settings.seed, progress=progress, report_path=settings.report)
    out.talk(f"Report: {settings.report}")
    out.result(result.report.text(out.width), {**result.report.to_dict(), "outcome": result.outcome})
    return 0 if result.outcome.get("escaped", True) else 1
