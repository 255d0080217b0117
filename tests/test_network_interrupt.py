"""Ctrl-C in long calls of a network: answered in time, whatever the schedule, and everything usable afterwards."""

from __future__ import annotations

import signal
import time

import numpy as np
import pytest

import unstuck as us
from network_cases import Case, chain

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")

CASES = {
    "rows": Case("rows", chain((64, 128, 128, 10), "tanh"), samples=30_000),
    "tiles": Case("tiles", chain((784, 512, 512, 10), "tanh"), samples=2_048),
}
DELAY, ANSWER = 0.1, 0.5  # seconds


def seconds_to_answer(call):
    """How long after the signal the call ended with KeyboardInterrupt; None if it was over before."""
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    begin = time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, DELAY)
    try:
        call()
        return None
    except KeyboardInterrupt:
        return time.perf_counter() - begin - DELAY
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("name", CASES)
def test_long_calls_answer_a_signal(name):
    case = CASES[name]
    land, theta, X, y, _ = case.landscape(us, "float32")
    H = land.hessian(theta, np.arange(1500))
    V = np.asfortranarray(case.vectors(64, "float32"))  # one vector after the other: nothing to transpose
    whole = land.hessian(theta)
    tight = us.NetworkLandscape(land.net, land.loss_function, X, y, memory_budget=100 << 20).hessian(theta)
    many = np.tile(np.arange(len(X)), 8)
    first = H @ V[:, 0]
    loss = land.loss(theta, np.arange(100))
    calls = {
        "block product": lambda: whole @ V,
        "block product without the primal pass": lambda: tight @ V,
        "gradient": lambda: land.gradient(theta, many),
        "loss": lambda: land.loss(theta, many),
        "operator": lambda: land.hessian(theta, many),
    }
    answers = {what: seconds_to_answer(call) for what, call in calls.items()}
    assert answers["block product"] is not None, "too fast to be interrupted: the test needs more vectors"
    assert {what: t for what, t in answers.items() if t is not None and t > ANSWER} == {}
    np.testing.assert_array_equal(H @ V[:, 0], first)
    assert land.loss(theta, np.arange(100)) == loss


def test_the_spectral_penalty_answers_a_signal():
    net = us.nn.Network(us.nn.Linear(2048, 2048, bias=False), input_shape=(2048,), seed=0)
    X = np.zeros((2, 2048), "f4")
    land = us.NetworkLandscape(net, us.nn.MSE(), X, np.zeros((2, 2048), "f4"), spectral_penalty=0.1)
    answers = {
        "gradient": seconds_to_answer(lambda: land.gradient(net.theta)),
        "operator": seconds_to_answer(lambda: land.hessian(net.theta)),
    }
    assert answers["operator"] is not None
    assert {what: t for what, t in answers.items() if t is not None and t > ANSWER} == {}


def test_the_whole_spectrum_answers_a_signal():
    # after the matrix is built comes one call of LAPACK, which nothing can stop
    built = []
    matrix = np.random.default_rng(0).standard_normal((1800, 1800))
    matrix += matrix.T
    land = us.FunctionLandscape(
        lambda w: 0.5 * float(w @ matrix @ w), lambda w: matrix @ w, n=1800, hvp=lambda w, v: matrix @ v
    )

    def arm(done, most):
        if done >= 1800:
            built.append(time.perf_counter())
            signal.setitimer(signal.ITIMER_REAL, DELAY)

    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            us.classify(land, np.zeros(1800), exact=True, progress=arm)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, previous)
    assert time.perf_counter() - built[-1] - DELAY < ANSWER
