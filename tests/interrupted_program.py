"""A program that is interrupted with Ctrl-C after it said that it is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time


def interrupted(code: str, delay: float) -> float:
    """Seconds from the signal until the program answered: it prints "ready", at the end the time of its answer."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == "ready"
        time.sleep(delay)
        sent = time.time()
        os.kill(child.pid, signal.SIGINT)
        output, problem = child.communicate(timeout=60)
    assert child.returncode == 0, problem
    return float(output) - sent
