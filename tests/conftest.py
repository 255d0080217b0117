"""Every test leaves the floating-point state and the number of threads as it found them."""

from __future__ import annotations

import ctypes
import functools
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

import unstuck as us

sys.path.insert(0, str(Path(__file__).parent))


@functools.cache
def _math_library() -> ctypes.CDLL | None:
    linux = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
    return ctypes.CDLL("libm.so.6") if linux else None


def floating_point_state() -> tuple[object, ...]:
    """Rounding mode, flush-to-zero and masks of this thread, without the sticky exception flags."""
    # by behaviour: a flushed denormal is zero
    denormals = tuple(
        bool(np.all(np.full(16, np.finfo(kind).smallest_subnormal) * kind(1.0) > 0))
        for kind in (np.float32, np.float64)
    )
    library = _math_library()
    if library is None:
        return denormals
    environment = (ctypes.c_uint8 * 64)()  # glibc's fenv_t: 28 bytes of x87 state, then MXCSR
    library.fegetenv(environment)
    mxcsr = int.from_bytes(bytes(environment[28:32]), "little") & ~0x3F
    control = int.from_bytes(bytes(environment[0:2]), "little")
    return (*denormals, mxcsr, control)


@pytest.fixture(autouse=True)
def unchanged_process_state():
    """Fails the test that changes the floating-point state or leaves another number of threads behind."""
    before, threads = floating_point_state(), us.threads()
    yield
    after, left = floating_point_state(), us.threads()
    _restore_threads(threads)
    assert after == before, f"the floating-point state changed from {before} to {after}"
    assert left == threads, f"the number of threads changed from {threads} to {left}"


@pytest.fixture
def threads():
    """`us.threads`, to be set freely: the earlier setting is back afterwards."""
    before = us.threads()
    yield us.threads
    _restore_threads(before)


@pytest.fixture
def torch():
    """PyTorch on one thread, whose start would cost more than our small cases; skips without it."""
    module = pytest.importorskip("torch", reason="needs torch")
    before = module.get_num_threads()
    module.set_num_threads(1)
    yield module
    module.set_num_threads(before)


def _restore_threads(count: int) -> None:
    if us.threads() != count and us.threads(0) != count:
        us.threads(count)
