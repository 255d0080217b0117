"""`python -m bench.stuck`: the suite of stuck runs. Parts: suite (default), repair, geometry, speed, all."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.stuck import examine, geometry, repair, score, speed
from bench.stuck.jobs import run_all
from bench.stuck.tasks import CALIBRATION, TEST
from bench.timing import machine

PARTS = ("suite", "repair", "geometry", "speed", "all")


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stuck", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, default="suite")
    parser.add_argument("--split", choices=[CALIBRATION, TEST], default=CALIBRATION)
    parser.add_argument("--seeds", type=int, default=1, help="for each task, plan and severity")
    parser.add_argument("--budget", type=float, default=None, help="seconds of a diagnosis; default: its own")
    parser.add_argument("--only", default="", help="a word of the plans' names")
    parser.add_argument("--jobs", type=int, default=1, help="processes; seconds are those of a busy machine then")
    parser.add_argument("--quick", action="store_true", help="the first severity of each plan, on two tasks")
    parser.add_argument("--json", type=Path, default=None, help="gets all rows; FILEl.PART holds them on the way")
    parser.add_argument("--equal", action="store_true", help="repair: habits get all the seconds that unstick took")
    parser.add_argument("--resume", action="store_true", help="take what FILEl.PART holds as done")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Runs the parts asked for, prints their scores, writes the rows."""
    options = _arguments(arguments)
    rows: dict[str, object] = {"machine": machine(), "split": options.split}
    wanted = PARTS[:-1] if options.part == "all" else (options.part,)
    for part in wanted:
        if part == "geometry":
            rows[part] = geometry.report()
        elif part == "speed":
            rows[part] = speed.report(quick=options.quick)
        else:
            rows[part] = _planted(part, options)
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1))
    return 0


def _planted(part: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """Suite and repair: one job for each planted run."""
    jobs = examine.jobs_of(options.split, options.seeds, options.only, options.budget, options.quick)
    kept = None if options.json is None else options.json.with_name(f"{options.json.name}l.{part}")
    if part == "suite":
        found = run_all(examine.examine, jobs, options.jobs, kept, options.resume)
        answers = [examine.answer_of(row) for row in found]
        for a in answers:
            if not a.left_out and not a.acceptable:
                print(f"{a.task:26s} {a.plan:32s} {a.seed:5d} {a.severity:8g}  {a.said} {a.confidence:.2f}")
        print(f"\n{options.split} split\n{score.table(answers)}")
        return found
    found = run_all(repair.attempt, repair.jobs_of(jobs, options.equal), options.jobs, kept, options.resume)
    print(f"\n{options.split} split\n{repair.table(found)}")
    return found


if __name__ == "__main__":
    raise SystemExit(main())
