"""Examines one planted run: its truth, our answer, and what the rivals' rules say of its trace."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import unstuck as us
from bench.stuck.faults import FAULTS
from bench.stuck.healthy import HEALTHY
from bench.stuck.plan import Plan
from bench.stuck.rivals import accusations
from bench.stuck.score import Answer
from bench.stuck.tasks import CALIBRATION, TASKS, TEST, Task
from bench.stuck.traces import Recorder
from bench.stuck.truth import measure

FIRST_SEED = {CALIBRATION: 0, TEST: 1000}
PLANS = (*FAULTS, *HEALTHY)


def jobs_of(split: str, seeds: int, only: str, budget: float | None, quick: bool) -> list[tuple[Any, ...]]:
    """(task, plan, seed, severity, budget) of a split; quick: the first severity on two tasks for each plan."""
    tasks = [task for task in TASKS if task.split == split]
    jobs: list[tuple[Any, ...]] = []
    for i, plan in enumerate(plan for plan in PLANS if only in plan.name):
        fitting = [task for task in tasks if plan.fits(task)]
        if quick:
            fitting = [fitting[i % len(fitting)], fitting[(i + len(fitting) // 2) % len(fitting)]]
        for task in fitting:
            for severity in plan.severities[: 1 if quick else None]:
                for k in range(seeds):
                    # no two severities share a seed
                    seed = FIRST_SEED[split] + k + 10 * plan.severities.index(severity)
                    jobs.append((task.name, plan.name, seed, severity, budget))
    return jobs


def find(task_name: str, plan_name: str) -> tuple[Task, Plan]:
    """By their names."""
    task = next(task for task in TASKS if task.name == task_name)
    return task, next(plan for plan in PLANS if plan.name == plan_name)


def examine(job: tuple[Any, ...]) -> dict[str, Any]:
    """The `Answer` to one job, as a dict."""
    task_name, plan_name, seed, severity, budget = job
    task, plan = find(task_name, plan_name)
    recorder = Recorder()
    run = plan.make(task, seed, severity, recorder)
    causes, truth = plan.answers(run), measure(task, plan, seed, severity, run)
    if not truth.fits(plan):
        return asdict(Answer(task.name, plan.name, seed, severity, causes, truth=asdict(truth), left_out=True))
    began = time.perf_counter()
    found = us.diagnose(run, budget=budget)
    seconds = time.perf_counter() - began
    ranked = tuple((cause.name, confidence) for cause, confidence in found.causes)
    return asdict(
        Answer(
            task.name, plan.name, seed, severity, causes, found.cause.name, ranked[0][1], seconds, ranked, str(found),
            asdict(truth), rivals=accusations(recorder.trace(run)),
        )
    )  # fmt: skip


def answer_of(row: dict[str, Any]) -> Answer:
    """The answer back from its dict, or from JSON."""
    ranked = tuple((cause, confidence) for cause, confidence in row["ranked"])
    return Answer(**{**row, "causes": tuple(row["causes"]), "ranked": ranked})
