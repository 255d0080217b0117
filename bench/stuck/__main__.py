"""`python -m bench.stuck [--split calibration|test] [--seeds N] [--only WORD] [--json FILE]`: runs the suite."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import unstuck as us
from bench.stuck.faults import FAULTS
from bench.stuck.healthy import HEALTHY
from bench.stuck.plan import Plan
from bench.stuck.score import Answer, table
from bench.stuck.tasks import CALIBRATION, TASKS, TEST, Task
from bench.stuck.truth import measure

FIRST_SEED = {CALIBRATION: 0, TEST: 1000}


def examine(task: Task, plan: Plan, seed: int, severity: float, budget: float | None) -> Answer | None:
    """Makes one run and asks for its diagnosis; None where it is not what the plan says."""
    run = plan.make(task, seed, severity)
    if not measure(task, plan, seed, severity, run).fits(plan):
        return None
    began = time.perf_counter()
    found = us.diagnose(run, budget=budget)
    seconds = time.perf_counter() - began
    return Answer(
        task.name, plan.name, seed, severity, plan.answers(run), found.cause.name, found.causes[0][1], seconds
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs one split and prints its scores."""
    parser = argparse.ArgumentParser(prog="python -m bench.stuck", description=__doc__)
    parser.add_argument("--split", choices=[CALIBRATION, TEST], default=CALIBRATION)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--budget", type=float, default=None)
    parser.add_argument("--only", default="", help="a word of the plans' names")
    parser.add_argument("--json", type=Path, default=None, help="where the answers are written")
    options = parser.parse_args(arguments)
    answers = []
    for task in (task for task in TASKS if task.split == options.split):
        for plan in (plan for plan in (*FAULTS, *HEALTHY) if options.only in plan.name and plan.fits(task)):
            # as many healthy runs as faulty ones
            for i in range(options.seeds):
                for severity in plan.severities:
                    seed = FIRST_SEED[options.split] + i + (0 if plan.faulty else int(100 * severity))
                    answer = examine(task, plan, seed, severity, options.budget)
                    if answer is None:
                        print(f"{task.name:26s} {plan.name:32s} {seed:5d} {severity:8g}  left out", flush=True)
                        continue
                    answers.append(answer)
                    wrong = "" if answer.said in answer.causes else "   <-"
                    print(
                        f"{task.name:26s} {plan.name:32s} {seed:5d} {severity:8g}  {answer.said} "
                        f"{answer.confidence:.2f}{wrong}",
                        flush=True,
                    )
    print(table(answers))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(answer) for answer in answers], indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
