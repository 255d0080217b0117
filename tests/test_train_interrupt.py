"""Ctrl-C while a run is trained: answered soon, never within an update, and the run stays usable."""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np
import pytest

import unstuck as us
from interrupted_program import interrupted

CTRL_C = """
import signal, sys, time
import numpy as np
sys.path[:0] = {path!r}
import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
land = SoftmaxRegression(*blobs(20_000, 30, 3))
run = us.Trainer(land, us.optim.Adam(lr=1e-3), batch_size=64)
print("ready", flush=True)
try:
    run.fit(steps=10**9)
except KeyboardInterrupt:
    stopped = time.time()
assert run.t == run.opt.t == run.history.updates > 0
position = run.sampler.epoch * run.sampler.steps_per_epoch + run.sampler.position
assert position == run.t
assert np.isfinite(run.theta).all()
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
done = run.t
run.fit(steps=5)
assert run.t == done + 5
print(stopped, flush=True)
"""


@pytest.mark.parametrize("delay", [0.15, 0.3])
def test_ctrl_c_is_answered_soon_and_leaves_a_usable_run(delay):
    code = CTRL_C.format(path=[p for p in sys.path if p])
    assert interrupted(code, delay) < 0.5


def test_an_interrupt_in_a_callback_applies_nothing_of_the_update():
    calls = []

    def gradient(w):
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return w

    land = us.FunctionLandscape(lambda w: 0.5 * float(w @ w), gradient, n=2, theta=np.ones(2))
    run = us.Trainer(land, us.optim.SGD(lr=0.5))
    with pytest.raises(KeyboardInterrupt):
        run.fit(steps=10)
    assert run.t == run.opt.t == run.history.updates
    np.testing.assert_array_equal(run.theta, np.ones(2) * 0.5**run.t)


def test_a_signal_during_an_update_waits_for_its_end():
    from unstuck.interrupt import Interrupts

    seen = []
    with pytest.raises(KeyboardInterrupt), Interrupts() as interrupts:
        with interrupts.held:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
            seen.append("the section ran to its end")
        seen.append("never here")
    assert seen == ["the section ran to its end"]
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt), interrupts.held:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        seen.append("a second signal is not held back")
    assert len(seen) == 1
