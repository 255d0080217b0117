"""Jobs: independent pieces of work over several processes, with a progress line, kept as they are done."""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

Job = tuple[Any, ...]  # of JSON values
Row = dict[str, Any]


def run_all(
    work: Callable[[Job], Row], jobs: Sequence[Job], processes: int = 1, kept: Path | None = None, resume: bool = False
) -> list[Row]:
    """[work(job)] in the order of the jobs.

    Args:
        work: a function of a module, so that other processes find it.
        jobs: what it is called with.
        processes: how many work at a time; 1: this one.
        kept: a file that gets one JSON line for each finished job.
        resume: whether the jobs that `kept` holds are taken from there.
    """
    done: dict[str, Row] = {}
    if kept is not None and resume and kept.exists():
        for line in kept.read_text().splitlines():
            entry = json.loads(line)
            done[json.dumps(entry["job"])] = entry["row"]
    elif kept is not None:
        kept.unlink(missing_ok=True)
    left = [job for job in jobs if json.dumps(job) not in done]
    began = time.perf_counter()
    for job, row in _rows(work, left, processes):
        done[json.dumps(job)] = row
        if kept is not None:
            with kept.open("a") as file:
                file.write(json.dumps({"job": job, "row": row}) + "\n")
        _progress(len(done), len(jobs), began, len(done) - (len(jobs) - len(left)))
    if left:
        print(file=sys.stderr)
    return [done[json.dumps(job)] for job in jobs]


def _rows(work: Callable[[Job], Row], jobs: Sequence[Job], processes: int) -> Any:
    if processes <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        open_jobs = {pool.submit(work, job): job for job in jobs}
        try:
            while open_jobs:
                finished, _ = wait(open_jobs, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield open_jobs.pop(future), future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _progress(done: int, of: int, began: float, new: int) -> None:
    passed = time.perf_counter() - began
    left = passed / max(new, 1) * (of - done)
    text = f"{done}/{of} runs, {passed:.0f} s, about {left:.0f} s left"
    print(f"\r{text:60s}", end="", file=sys.stderr, flush=True)
