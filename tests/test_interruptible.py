"""One long call that cannot be stopped: its result and its errors come back, and Ctrl-C does not wait for it."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from test_network_interrupt import pytestmark, seconds_to_answer  # noqa: F401
from unstuck.curvature import dense
from unstuck.interrupt import interruptible


def test_results_and_errors_come_back():
    assert interruptible(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0)


def test_a_signal_does_not_wait_for_the_call():
    let_go = threading.Event()
    waited = seconds_to_answer(lambda: interruptible(lambda: let_go.wait(30)))
    let_go.set()
    assert waited is not None
    assert waited < 0.5


@pytest.mark.parametrize("work", [dense.eigenvalues_and_vectors, dense.tridiagonal_form])
def test_linear_algebra_leaves_the_lock_to_others(work):
    matrix = np.random.default_rng(0).standard_normal((700, 700))
    matrix += matrix.T
    began = time.perf_counter()
    work(matrix)
    whole = time.perf_counter() - began
    # the waiting thread sleeps in steps: it must not be held up by the call
    gaps, last, done = [], time.perf_counter(), threading.Event()
    thread = threading.Thread(target=lambda: (work(matrix), done.set()))
    thread.start()
    while not done.is_set():
        time.sleep(0.001)
        gaps.append(time.perf_counter() - last)
        last = time.perf_counter()
    thread.join()
    assert len(gaps) >= 5 or whole < 0.02


def test_large_and_small_matrices_alike():
    for n in (1, 2, 5, 600):
        a = np.random.default_rng(n).standard_normal((n, n))
        a += a.T
        values, vectors = dense.eigenvalues_and_vectors(a)
        np.testing.assert_allclose(a @ vectors, vectors * values, atol=1e-11 * n)
        diagonal, off = dense.tridiagonal_form(a)
        tridiagonal = np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
        np.testing.assert_allclose(np.linalg.eigvalsh(tridiagonal), values, atol=1e-11 * n)
