"""Forked children work after a parallel call: no hang, the same bits, and threads again when asked."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

PREPARE = """
import os, sys, signal, warnings
warnings.simplefilter("ignore", DeprecationWarning)
sys.path.insert(0, {tests!r})
import numpy as np, unstuck as us
from network_cases import Case, chain
case = Case("rows", chain((12, 24, 24, 3), "tanh"), samples=1500)
land, theta, *_ = case.landscape(us)
V = case.vectors(2)
def work():
    return land.gradient(theta)[1].tobytes() + (land.hessian(theta) @ V).tobytes()
us.threads(2)
expected = work()
"""

FORKS = """
failures = 0
for i in range(50):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            good = us.threads() == 1 and work() == expected
            us.threads(2)
            good = good and work() == expected
            if i % 10 == 0:  # a grandchild, after the child used threads
                inner = os.fork()
                if inner == 0:
                    signal.alarm(10)
                    us.threads(3)
                    os._exit(0 if work() == expected else 1)
                good = good and os.waitpid(inner, 0)[1] == 0
        except BaseException as error:
            print(repr(error), flush=True)
            good = False
        os._exit(0 if good else 1)
    failures += os.waitpid(pid, 0)[1] != 0
    if i % 5 == 0:
        failures += work() != expected  # the parent goes on with its threads
print("failures", failures)
"""

BUSY = """
import threading
stop = False
def busy():
    while not stop:
        work()
thread = threading.Thread(target=busy)
thread.start()
failures = 0
for i in range(20):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        good = work() == expected
        us.threads(2)
        os._exit(0 if good and work() == expected else 1)
    failures += os.waitpid(pid, 0)[1] != 0
stop = True
thread.join()
print("failures", failures)
"""

POOL = """
import multiprocessing
def child(index):
    us.threads(2 if index % 2 else 0)
    return work()
if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        print("failures", sum(r != expected for r in pool.map(child, range(6))))
"""


def run(code: str, path=None) -> str:
    """Standard output of the code in a fresh interpreter, killed after a minute."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNSTUCK_")}
    clean["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    if path is not None:
        path.write_text(code)
    command = [sys.executable, "-c", code] if path is None else [sys.executable, str(path)]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


TESTS = os.path.dirname(__file__)


def test_fifty_forks_after_a_parallel_call():
    assert run(PREPARE.format(tests=TESTS) + FORKS) == "failures 0"


def test_fork_while_another_thread_computes():
    assert run(PREPARE.format(tests=TESTS) + BUSY) == "failures 0"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method, tmp_path):
    assert run(PREPARE.format(tests=TESTS) + POOL.format(method=method), tmp_path / "pool.py") == "failures 0"
