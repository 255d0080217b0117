"""Threads change nothing but the time: same bits, the interpreter lock released, exceptions that cross."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

import unstuck as us
from network_cases import ACTIVATIONS, Case, chain

COUNTS = (1, 2, 3, 4, 7, 8)
ROWS = Case("rows", chain((12, 24, 24, 3), "tanh"), "smoothed_weighted", samples=1500, weighted_samples=True)
TILES = Case("tiles", chain((300, 300, 150, 3), "gelu"), "cross_entropy", samples=48)


def results(land, theta, V):
    """Everything that a landscape computes, as bytes."""
    loss, gradient = land.gradient(theta)
    batch = land.gradient(theta, np.arange(0, land.samples, 3))[1]
    H = land.hessian(theta)
    parts = (np.float64(land.loss(theta)), np.float64(loss), gradient, batch, H @ V[:, 0], H @ V)
    return [np.ascontiguousarray(p).tobytes() for p in parts]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [ROWS, TILES], ids=str)
def test_bits_do_not_depend_on_threads(case, dtype, threads):
    land, theta, *_ = case.landscape(us, dtype)
    V = case.vectors(3, dtype)
    threads(1)
    expected = results(land, theta, V)
    for repeat in range(10):
        for count in COUNTS if repeat < (2 if case is TILES else 10) else COUNTS[repeat % 6 :: 6]:
            threads(count)
            assert results(land, theta, V) == expected, f"{count} threads, repeat {repeat}"


def trained(case, dtype, steps=12):
    """θ, losses and gradient norms after some steps of Adam."""
    land, theta, X, *_ = case.landscape(us, dtype)
    theta = theta.copy()
    opt = us.optim.Adam(lr=1e-2)
    opt.init(land.n, dtype=np.dtype(dtype))
    order = np.random.default_rng(0).permutation(np.arange(steps * 64) % len(X))
    record = land.train_steps(theta, opt, order, 64, np.full(steps, 1e-2), clip_norm=0.5)
    assert record.done == opt.t == steps
    assert record.error is record.stop is None
    return theta.tobytes(), np.asarray(record.loss).tobytes(), np.asarray(record.gradient_norm).tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_bits_do_not_depend_on_threads(dtype, threads):
    for case in (ROWS, TILES):
        threads(1)
        expected = trained(case, dtype)
        for repeat in range(10):
            for count in COUNTS if case is ROWS and repeat < 2 else COUNTS[repeat % 6 :: 6]:
                threads(count)
                assert trained(case, dtype) == expected, f"{case}: {count} threads, repeat {repeat}"


def moved(array, elements):
    """A copy whose first element lies that many elements behind a cache line."""
    raw = np.empty(array.nbytes + 256, np.uint8)
    begin = -raw.ctypes.data % 64 + elements * array.itemsize
    view = raw[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_addresses(dtype, threads):
    """Vectorised loops treat unaligned ends by other formulas: no result may follow where malloc put things."""
    threads(1)
    cases = [Case(a, chain((5, 7, 9, 3), a), "smoothed", samples=37) for a in ACTIVATIONS]
    cases += [Case(f"tiny-{n}", chain((3, 4, 3), "tanh"), "bce", samples=n) for n in (1, 2, 3, 5, 8)]
    for case in cases:
        X, y, _ = case.data(dtype)
        V, expected, kept = case.vectors(3, dtype), None, []
        for shift in range(16):
            kept.append([bytearray(17 + 211 * shift * k) for k in range(5)])
            land = us.NetworkLandscape(case.network(us, dtype), case.loss_function(us), moved(X, shift), y)
            theta = moved(case.theta(dtype), 3 * shift % 16)
            H = land.hessian(theta)
            parts = (land.loss(theta), *land.gradient(theta), H @ moved(V[:, 0], shift), H @ V)
            found = [np.ascontiguousarray(p).tobytes() for p in (*parts, land.net.predict(X, theta))]
            expected = expected or found
            assert found == expected, f"{case}, shifted by {shift} elements"


def test_two_python_threads_share_one_landscape(threads):
    threads(2)
    land, theta, *_ = ROWS.landscape(us)
    points = [theta, 0.5 * theta, -theta, 2.0 * theta]
    V = ROWS.vectors(2)
    H = land.hessian(theta)
    expected = [(land.gradient(p)[1], land.loss(p), land.hessian(p) @ V) for p in points]
    shared = H @ V
    wrong: list[str] = []

    def work(seed):
        try:
            for i in np.random.default_rng(seed).integers(0, 4, 12):
                gradient, loss, product = expected[i]
                checks = (land.gradient(points[i])[1] == gradient, land.loss(points[i]) == loss)
                checks += (land.hessian(points[i]) @ V == product, np.equal(H @ V, shared))
                wrong.extend(f"thread {seed}, point {i}" for c in checks if not np.all(c))
        except BaseException as error:  # reported by the main thread
            wrong.append(repr(error))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
        assert not worker.is_alive(), "deadlock"
    assert not wrong


def ticks_during(call, seconds=0.3):
    """How often another Python thread ran while `call` was repeated for a while, per second."""
    stop, count = threading.Event(), [0]

    def beat():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0.002)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        longest, begin = 0.0, time.perf_counter()
        while time.perf_counter() - begin < seconds:
            at, ticks = time.perf_counter(), count[0]
            call()
            took = time.perf_counter() - at
            if took > 0.02 and count[0] - ticks < 2:
                longest = max(longest, took)
        return longest
    finally:
        stop.set()
        thread.join()


def test_interpreter_lock_is_released(threads):
    threads(1)
    case = Case("long", chain((128, 256, 256, 3), "tanh"), samples=2500)
    land, theta, X, *_ = case.landscape(us, "float32")
    H = land.hessian(theta)
    V = case.vectors(4, "float32")
    H @ V
    calls = {
        "loss": lambda: land.loss(theta),
        "gradient": lambda: land.gradient(theta),
        "product": lambda: H @ V,
    }
    calls["hessian"] = lambda: land.hessian(theta) @ V
    calls["predict"] = lambda: land.net.predict(X)
    for name, call in calls.items():
        assert ticks_during(call) == 0.0, f"{name} ran without letting another Python thread run"


def test_exceptions_cross_a_region(threads):
    for count in (1, 2, 5, 8):
        threads(count)
        for at in (0, 17, 63):
            with pytest.raises(us.errors.ArgumentError, match=f"block {at} failed on purpose"):
                us._core.throw_in_region(64, at)
    us._core.throw_in_region(64, 64)


def test_thread_setting(threads):
    assert threads() >= 1
    assert threads(3) == 3 == us._core.thread_count()
    assert threads() == 3
    assert threads(np.int64(2)) == 2
    assert threads(0) >= 1
    for bad in (-1, 4097, 2**40, -(2**70)):
        with pytest.raises(ValueError, match="`k`"):
            threads(bad)
    for bad in (2.0, "2", True, [2]):
        with pytest.raises(TypeError, match="`k`"):
            threads(bad)


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads through /proc")
def test_no_more_threads_than_asked(threads):
    land, theta, *_ = ROWS.landscape(us)
    threads(1)
    before = len(os.listdir("/proc/self/task"))
    land.gradient(theta)
    assert len(os.listdir("/proc/self/task")) == before


def test_automatic_follows_openmp(torch, threads):
    """PyTorch's setting is OpenMP's: read at every call, unless a number was asked for."""
    torch.set_num_threads(1)
    assert threads(0) == 1
    assert threads(3) == 3
