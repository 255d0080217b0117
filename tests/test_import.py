"""What `import unstuck` may do to a process: little, quickly, and with exactly one compiled variant."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys

import numpy as np
import pytest

import unstuck as us
from oracles import relative_error
from unstuck import _variant

HEAVY = ("torch", "matplotlib", "jinja2", "rich_click", "safetensors", "sklearn", "mpi4py")


def run(code: str, expect: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """The code in a fresh interpreter."""
    path = os.pathsep.join(p for p in sys.path if p)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("UNSTUCK_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**clean, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


INSPECT = """
import json, os, sys
import numpy, scipy.sparse.linalg
sys.path.insert(0, {tests!r})
threads = lambda: len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1
import ctypes
def state():
    environment = (ctypes.c_uint8 * 64)()
    try:
        ctypes.CDLL("libm.so.6").fegetenv(environment)
    except OSError:
        return None
    return [bytes(environment[0:2]).hex(), int.from_bytes(bytes(environment[28:32]), "little") & ~0x3F]
before = [state(), threads()]
import unstuck
after = [state(), threads()]
denormal = bool(numpy.float64(5e-324) * 1.0 > 0 and (numpy.full(8, 1e-45, "f4") * numpy.float32(1)).min() > 0)
print(json.dumps([before, after, denormal, sorted(set(sys.modules) & set({heavy!r}))]))
"""


def test_import_starts_nothing_and_changes_nothing():
    done = run(INSPECT.format(tests=os.path.dirname(__file__), heavy=HEAVY))
    before, after, denormal, heavy = json.loads(done.stdout)
    assert after[0] == before[0], "import changed the floating-point state"
    assert after[1] == before[1], "import started threads"
    assert denormal, "denormals are flushed to zero"
    assert heavy == [], "import must not load optional packages"
    assert done.stderr == ""


def test_import_time(tmp_path):
    code = (
        "import time, numpy, scipy.sparse.linalg, scipy.linalg, scipy.special\n"
        "t = time.process_time(); import unstuck; print(time.process_time() - t)"  # other load does not count
    )
    bytecode = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(tmp_path)}  # as users have it
    run(code, **bytecode)
    seconds = statistics.median(float(run(code, **bytecode).stdout) for _ in range(5))
    assert seconds <= 0.3, f"import unstuck takes {seconds:.3f} s beyond NumPy and SciPy"


def test_what_is_loaded_later_is_there():
    run(
        "import unstuck as us\n"
        "assert callable(us.diagnose) and us.labs.NAMES and us.plot.surface and us.report.build and us.doctor\n"
        "from unstuck import *\n"
        "assert Cause is us.Cause and set(us.__all__) <= set(dir(us))\n"
        "assert all(hasattr(us, name) for name in us.__all__)"
    )


@pytest.mark.parametrize("order", ["unstuck, torch", "torch, unstuck"])
def test_one_openmp_with_torch(order):
    pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("threadpoolctl", reason="needs threadpoolctl")
    code = (
        "import warnings; warnings.simplefilter('ignore')\n"
        f"import {order}\n"
        "import json, threadpoolctl\n"
        "unstuck.threads(2); torch.ones(300, 300) @ torch.ones(300, 300)\n"
        "print(json.dumps([i['prefix'] for i in threadpoolctl.threadpool_info()]))"
    )
    prefixes = json.loads(run(code).stdout)
    assert prefixes.count("libgomp") <= 1, prefixes


@pytest.mark.parametrize("level", ["v9", "native", "V3", "v", "v3 "])
def test_unknown_variant_is_an_import_error(level):
    code = "try:\n    import unstuck\nexcept ImportError as e:\n    print(e)\nelse:\n    print('imported')"
    done = run(code, UNSTUCK_CPU=level)
    assert "UNSTUCK_CPU" in done.stdout
    assert "v2, v3, v4" in done.stdout
    assert len(done.stdout.splitlines()) == 1


def test_impossible_variant_is_an_import_error():
    missing = [level for level in _variant.LEVELS if level not in _variant.supported()]
    absent = [level for level in _variant.LEVELS if level not in _variant.built()]
    if not missing + absent:
        pytest.skip("this CPU runs and this installation contains every level")
    for level in {*missing, *absent}:
        done = run("import unstuck", expect=1, UNSTUCK_CPU=level)
        last = done.stderr.strip().splitlines()[-1]
        assert last.startswith("ImportError: "), done.stderr
        assert f"UNSTUCK_CPU={level}" in last
        assert "unset" in last


@pytest.mark.parametrize("text", ["many", "0", "-1", "2.5", "1e3", "99999999999999999999", "٣", "4097"])
def test_thread_variable_garbage_is_a_clear_error(text):
    done = run("import unstuck", expect=1, UNSTUCK_THREADS=text)
    last = done.stderr.strip().splitlines()[-1]
    assert "UNSTUCK_THREADS" in last
    assert "integer in [1, 4096]" in last


@pytest.mark.parametrize(("text", "expected"), [("3", 3), (" 5 ", 5), ("", None)])
def test_thread_variable(text, expected):
    found = int(run("import unstuck; print(unstuck.threads())", UNSTUCK_THREADS=text).stdout)
    assert found == expected if expected else found >= 1


def test_the_forced_variant_is_the_loaded_one():
    built = [level for level in _variant.built() if level in _variant.supported()]
    assert us._core.level in built or us._core.level == "portable"
    for level in built:
        done = run("import unstuck; print(unstuck._core.level, unstuck._core.__name__)", UNSTUCK_CPU=level)
        assert done.stdout.split() == [level, "unstuck._core"]


VARIANT = """
import sys; sys.path.insert(0, {tests!r})
import numpy as np, unstuck as us
from network_cases import CASES
results = {{}}
for case in CASES[::{stride}]:
    for dtype in ("float32", "float64"):
        land, theta, *_ = case.landscape(us, dtype)
        results[f"{{case}} {{dtype}} gradient"] = land.gradient(theta)[1]
        results[f"{{case}} {{dtype}} product"] = land.hessian(theta) @ case.vectors(1, dtype)[:, 0]
np.savez({path!r}, **results)
"""


def test_variants_agree_to_rounding(tmp_path):
    """Gradients and Hessian products of every variant that is built and that this CPU runs."""
    levels = [level for level in _variant.built() if level in _variant.supported()]
    if not levels:
        pytest.skip("one portable build: nothing to choose from")
    files = {level: str(tmp_path / f"{level}.npz") for level in levels}
    for level, path in files.items():
        run(VARIANT.format(tests=os.path.dirname(__file__), stride=3, path=path), UNSTUCK_CPU=level)
    lowest = np.load(files[levels[0]])
    for level in levels:
        results = np.load(files[level])
        for name in lowest:
            assert np.all(np.isfinite(results[name])), (level, name)
            tolerance = 1e-12 if "float64" in name else 2e-5
            assert relative_error(results[name], lowest[name]) <= tolerance, (level, name)
