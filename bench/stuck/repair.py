"""The repair experiment: `us.unstick` on planted faults, beside doing nothing and beside plain habits.

A faulty run of n updates (counted as 300 if it has fewer) stands much worse than a sound run (`truth.py`). The target,
fixed by that rule before anything is repaired: at most S(n) + ¼(B − S(n)), no longer much worse. After the remedy the
run is trained for 2n updates, for what starts again has to learn from nothing, on three orders of its samples, and so
is the untouched run; each is judged by its mean height over the last quarter of 20 checkpoints. Better means: below
the control by more than 1 % of B − S(n) and by more than t = 2.92 standard errors over the orders (one-sided 5 %,
2 degrees of freedom; one order where all data are one batch and nothing is random). Repaired means better, and at the
target. Worse is the mirror of better.

The habits get the same 2n updates and on top those that the seconds of `unstick` would have bought, but no more than
3n unless `equal` is asked for; one order.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import unstuck as us
from bench.stuck.examine import find
from bench.stuck.jobs import Job
from bench.stuck.plan import Plan
from bench.stuck.score import share
from bench.stuck.tasks import TASKS, Task
from bench.stuck.truth import CHECKPOINTS, MUCH_WORSE, Height, follow, height_of, measure
from unstuck.doctor.menu import MENU, menu
from unstuck.sampler import Sampler

ORDERS, FEWEST, MOST_EXTRA = 3, 300, 3
T_QUANTILE, MATERIAL = 2.92, 0.01
HABITS = ("do nothing", "restart", "rate / 10", "rate × 10", "Adam 1e-3", "a random remedy of the menu")


def jobs_of(jobs: Sequence[Job], equal: bool = False) -> list[Job]:
    """The faults among the jobs with a remedy in the menu: one severity for each task, in turns, and one seed."""
    offered: dict[tuple[str, str], list[Job]] = {}
    for job in jobs:
        _, plan = find(*job[:2])
        if plan.faulty and MENU.get(us.Cause[plan.causes.split()[0]]):
            offered.setdefault((job[0], job[1]), []).append(job)
    chosen = []
    for (task_name, _), same in offered.items():
        severities = sorted({job[3] for job in same})
        severity = severities[[task.name for task in TASKS].index(task_name) % len(severities)]
        chosen.append((*next(job for job in same if job[3] == severity), equal))
    return chosen


def attempt(job: Job) -> dict[str, Any]:
    """One run: the truth, `unstick`, its control, the habits."""
    task_name, plan_name, seed, severity, budget, equal = job
    task, plan = find(task_name, plan_name)
    run = plan.make(task, seed, severity)
    truth = measure(task, plan, seed, severity, run)
    row: dict[str, Any] = {"task": task_name, "plan": plan_name, "seed": seed, "severity": severity}
    if not truth.fits(plan):
        return {**row, "left_out": True}
    n, height = max(run.history.updates, FEWEST), height_of(task, plan, seed)
    updates = 2 * n
    orders = 1 if run.sampler.full else ORDERS
    target = truth.sound + MUCH_WORSE * truth.room
    control = [_settles(_ordered(run.fork(), k), updates, height) for k in range(orders)]
    untouched = run.fork()
    began = time.perf_counter()
    outcome = us.unstick(run, budget=budget)
    seconds = time.perf_counter() - began
    treated = control
    if outcome.applied is not None:
        treated = [_settles(_ordered(run.fork(), k), updates, height) for k in range(orders)]
    verdict = compare(control, treated, truth.room)
    each = max(untouched._seconds_per_step, 1e-7)
    longer = updates + min(int(seconds / each), MOST_EXTRA * n if not equal else 2**40)
    rng = np.random.default_rng([seed, len(task_name), len(plan_name)])
    habits = {}
    for name, act in _habits(task, plan, seed, severity, outcome, rng).items():
        loss = _settles(act(untouched.fork()), longer, height)
        habits[name] = {"loss": loss, "verdict": compare(control[:1], [loss], truth.room), "target": loss <= target}
    return {
        **row, "left_out": False, "cause": outcome.diagnosis.cause.name, "seconds": seconds,
        "applied": None if outcome.applied is None else outcome.applied.treatment.name,
        "tried": [str(one) for one in outcome.tried], "target": target, "control": control, "treated": treated,
        "verdict": verdict, "reached": bool(np.mean(treated) <= target), "habits": habits,
    }  # fmt: skip


def compare(control: Sequence[float], treated: Sequence[float], room: float) -> str:
    """The rule above, over orders: better, worse or same."""
    if not np.isfinite(treated).all():
        return "same" if not np.isfinite(control).all() else "worse"
    if not np.isfinite(control).all():
        return "better"
    difference = np.asarray(control) - np.asarray(treated)
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    least = max(MATERIAL * room, T_QUANTILE * error)
    return "better" if difference.mean() > least else "worse" if difference.mean() < -least else "same"


def _settles(run: us.Trainer, updates: int, height: Height) -> float:
    """Mean height over the last quarter of the checkpoints; infinite for a run that cannot be trained."""
    last = follow(run, updates, height)[-CHECKPOINTS // 4 :]
    return float(last.mean()) if np.isfinite(last).all() else np.inf


def _ordered(fork: us.Trainer, k: int) -> us.Trainer:
    """The fork with its samples in the k-th order; 0: its own."""
    if k:
        sampler = Sampler(fork.sampler.samples, fork.batch_size, fork.seed + 7919 * k)
        sampler.epoch, fork.sampler = fork.sampler.epoch, sampler
    return fork


def _habits(
    task: Task, plan: Plan, seed: int, severity: float, outcome: us.doctor.Outcome, rng: np.random.Generator
) -> dict[str, Callable[[us.Trainer], us.Trainer]]:
    def rate(factor: float) -> Callable[[us.Trainer], us.Trainer]:
        def act(fork: us.Trainer) -> us.Trainer:
            lr = fork.opt.lr
            fork.opt.lr = (lambda t: factor * lr(t)) if callable(lr) else factor * lr
            return fork

        return act

    def adam(fork: us.Trainer) -> us.Trainer:
        fork.opt = us.optim.Adam(lr=1e-3)
        return fork

    def restart(fork: us.Trainer) -> us.Trainer:
        """The same recipe from another seed, trained as long as the run was."""
        return plan.make(task, seed + 500, severity).fork()

    def any_remedy(fork: us.Trainer) -> us.Trainer:
        every = [us.doctor.Finding(cause, 0.5, "") for cause in MENU]
        choice = menu(replace(outcome.diagnosis, findings=tuple(every)), fork)
        treatment = choice[rng.integers(len(choice))]
        with contextlib.suppress(us.errors.UnstuckError):  # one that cannot be done leaves the fork as it is
            treatment.apply(fork)
        return fork

    acts = (lambda fork: fork, restart, rate(0.1), rate(10.0), adam, any_remedy)
    return dict(zip(HABITS, acts, strict=True))


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Repaired and made worse, beside the habits; then what failed."""
    kept = [row for row in rows if not row["left_out"]]
    lines = [
        f"repair of {len(kept)} faulty runs ({len(rows) - len(kept)} left out: not stuck by the rule)",
        f"  {'':30s} {'repaired: better and at target':34s} {'better than the control':34s} worse",
    ]
    better = [row["verdict"] == "better" for row in kept]
    repaired = sum(b and row["reached"] for b, row in zip(better, kept, strict=True))
    worse = sum(row["verdict"] == "worse" for row in kept)
    lines.append(f"  {'us.unstick':30s} {share(repaired, len(kept)):34s} {share(sum(better), len(kept)):34s} {worse}")
    for name in HABITS:
        tried = [row["habits"][name] for row in kept]
        hits = sum(h["target"] and (h["verdict"] == "better" or name == "do nothing") for h in tried)
        gains, losses = (sum(h["verdict"] == word for h in tried) for word in ("better", "worse"))
        lines.append(f"  {name:30s} {share(hits, len(kept)):34s} {share(gains, len(kept)):34s} {losses}")
    times = sorted(row["seconds"] for row in kept)
    lines += [f"  seconds of unstick: median {times[len(times) // 2]:.1f}, largest {times[-1]:.1f}"] if times else []
    for row in kept:
        if row["verdict"] != "better" or not row["reached"]:
            lines.append(
                f"  not repaired: {row['task']}, {row['plan']}: {row['cause']}, applied {row['applied']}, "
                f"{np.mean(row['treated']):.4g} beside {np.mean(row['control']):.4g}, target {row['target']:.4g}"
            )
    return "\n".join(lines)
