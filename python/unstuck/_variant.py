"""Picks the one compiled core that suits this CPU and registers it as `unstuck._core`.

The whole core is compiled once per x86-64 level. Exactly one of them is imported: Eigen picks its vector
width at compile time, so that two levels in one process could run each other's instructions.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from types import ModuleType

LEVELS = ("v2", "v3", "v4")


def built() -> tuple[str, ...]:
    """Names of the variants that this installation contains, lowest first."""
    names = (*LEVELS, "portable")
    return tuple(name for name in names if importlib.util.find_spec(f"unstuck._core_{name}") is not None)


def supported() -> tuple[str, ...]:
    """Names of the x86-64 levels that this machine can run, lowest first."""
    try:
        cpu = importlib.import_module("unstuck._cpu")
    except ImportError as error:
        raise ImportError(
            "unstuck's compiled core is missing. In a source tree, install it with `pip install .`; "
            "to work on it, see 'How it is built' in the README."
        ) from error
    return tuple(cpu.levels())


def choose() -> str:
    """The variant to load: UNSTUCK_CPU if set, else the best one that is built and that this CPU can run."""
    available, runnable = built(), supported()
    forced = os.environ.get("UNSTUCK_CPU")
    if forced:
        if forced not in LEVELS:
            raise ImportError(
                f"UNSTUCK_CPU must be one of {', '.join(LEVELS)}, got {forced[:40]!r}; unset it to choose by itself."
            )
        if forced not in runnable:
            raise ImportError(
                f"UNSTUCK_CPU={forced} asks for instructions that this CPU does not have "
                f"(it can run: {', '.join(runnable) or 'none of them'}); unset UNSTUCK_CPU."
            )
        if forced not in available:
            raise ImportError(
                f"UNSTUCK_CPU={forced}: this installation contains only {', '.join(available) or 'no variant'}; "
                f"reinstall with `pip install . -Ccmake.define.UNSTUCK_VARIANTS={forced}` or unset it."
            )
        return forced
    usable = [name for name in available if name in runnable or name == "portable"]
    if not usable:
        raise ImportError(
            f"no compiled core suits this CPU: built {', '.join(available) or 'none'}, it can run "
            f"{', '.join(runnable) or 'none'}; reinstall with `pip install --no-binary unstuck .` on this machine."
        )
    return usable[-1]


def load() -> ModuleType:
    """Import the chosen variant, once, under the name `unstuck._core`."""
    loaded = sys.modules.get("unstuck._core")
    if loaded is None:
        with _short_spin():
            loaded = importlib.import_module(f"unstuck._core_{choose()}")
        sys.modules["unstuck._core"] = loaded
    return loaded


# About 50 µs. libgomp's default of several milliseconds makes every parallel region wait for its slowest thread
# while burning the CPU that this thread needs: measured on two loaded cores, a training step of 160 µs took 11.7 ms
# with the default and 0.2 to 0.6 ms with a short wait; on idle cores threads meet again well within it.
SPIN_COUNT = "2000"


@contextlib.contextmanager
def _short_spin() -> Iterator[None]:
    """While the OpenMP runtime loads (it reads its settings once), ask it to wait actively only briefly.

    The user's own OMP_WAIT_POLICY or GOMP_SPINCOUNT stands, as does a runtime that is already loaded; the
    environment is left as it was.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]
