"""Update rules against a NumPy oracle and PyTorch, bit-equal for any thread count, strict at the boundary."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import unstuck as us
from optim_cases import (
    CASES,
    FULL,
    LARGE,
    LIMITS,
    RULES,
    SIZES,
    build,
    case_id,
    oracle_run,
    problem,
    rate,
    run,
)
from unstuck import _core, _variant

DTYPES = ("float32", "float64")
every_case = pytest.mark.parametrize(("rule", "hyper"), CASES, ids=case_id)
every_full_case = pytest.mark.parametrize(("rule", "hyper"), FULL, ids=case_id)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def difference(found, expected, scale):
    """Largest difference, relative to `scale`."""
    return np.max(np.abs(found - expected)) / scale


def assert_matches_oracle(rule, hyper, n, dtype, steps):
    theta, gradients = problem(n, dtype, steps)
    optimizer = build(rule, hyper)
    found = run(optimizer, theta, gradients)
    expected, state, largest = oracle_run(rule, optimizer, theta, gradients)
    assert found.dtype == dtype
    assert difference(found, expected, largest["theta"]) <= LIMITS[dtype]
    assert optimizer.slot_names == list(state)
    for name, slot in zip(state, optimizer.slots, strict=True):
        assert difference(slot, state[name], largest[name]) <= LIMITS[dtype], name
    assert difference(found, theta, largest["theta"]) > 1e-3, "the steps must be visible"


def test_names_agree_everywhere():
    core = _core.optim_rules()
    assert list(core) == list(RULES) == list(us.optim.RULES)
    for name, fields in core.items():
        rule = us.optim.RULES[name]
        assert getattr(us.optim, name) is rule
        assert rule.rule == rule.__name__ == name
        assert list(rule.limits) == list(fields)
        assert set(RULES[name].options) == set(fields), "every hyper-parameter belongs in the table of cases"


def test_defaults_agree_everywhere():
    for name, fields in _core.optim_rules().items():
        signature = inspect.signature(us.optim.RULES[name])
        assert set(signature.parameters) - {"state"} == {"lr", *fields}
        assert {key: float(signature.parameters[key].default) for key in fields} == fields


def test_defaults_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="needs torch")
    for name, rule in ((name, rule) for name, rule in RULES.items() if rule.torch is not None):
        ours = us.optim.RULES[name]()
        torch_name, arguments = rule.torch(dict(ours.hyper))
        theirs = getattr(torch.optim, torch_name)([torch.zeros(1)]).defaults
        assert theirs["lr"] == ours.lr
        assert {key: theirs[key] for key in arguments} == arguments


@every_case
@every_dtype
def test_matches_the_oracle(rule, hyper, dtype):
    for n in SIZES:
        assert_matches_oracle(rule, hyper, n, dtype, steps=20)


@every_full_case
@every_dtype
def test_matches_the_oracle_beyond_the_cache(rule, hyper, dtype):
    assert_matches_oracle(rule, hyper, LARGE, dtype, steps=5)


@pytest.mark.parametrize(("rule", "hyper"), [c for c in CASES if RULES[c[0]].torch is not None], ids=case_id)
def test_matches_torch(rule, hyper):
    torch = pytest.importorskip("torch", reason="needs torch")
    for n in SIZES:
        theta, gradients = problem(n, "float64", steps=8, seed=1)
        parameter = torch.tensor(theta)
        name, arguments = RULES[rule].torch(hyper)
        theirs = getattr(torch.optim, name)([parameter], lr=1.0, foreach=False, **arguments)
        for t, g in enumerate(gradients):
            theirs.param_groups[0]["lr"] = rate(rule, t)
            parameter.grad = torch.from_numpy(g)
            theirs.step()
        scale = oracle_run(rule, build(rule, hyper), theta, gradients)[2]["theta"]
        found = run(build(rule, hyper), theta, gradients)
        assert difference(found, parameter.numpy(), scale) <= 1e-12


@every_full_case
@every_dtype
def test_same_bits_for_any_number_of_threads(rule, hyper, dtype, threads):
    theta, gradients = problem(150_001, dtype, steps=2)
    results = set()
    for count in (1, 2, 3, 4, 7, 8):
        threads(count)
        for _ in range(10 if count == 2 else 3):
            optimizer = build(rule, hyper)
            results.add(run(optimizer, theta, gradients).tobytes() + b"".join(s.tobytes() for s in optimizer.slots))
    assert len(results) == 1


LEVEL = """
import hashlib, sys; sys.path.insert(0, {tests!r})
from optim_cases import CASES, build, problem, run
digest = hashlib.sha256()
for rule, hyper in CASES:
    for dtype in ("float32", "float64"):
        digest.update(run(build(rule, hyper), *problem(131, dtype, steps=20)).tobytes())
print(digest.hexdigest())
"""


def test_same_bits_on_every_cpu_level():
    levels = [level for level in _variant.built() if level in _variant.supported()]
    digests = {}
    for level in levels:
        done = subprocess.run(
            [sys.executable, "-c", LEVEL.format(tests=str(Path(__file__).parent))],
            env={**os.environ, "UNSTUCK_CPU": level, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests[level] = done.stdout
    assert len(set(digests.values())) <= 1, digests


@every_case
@every_dtype
def test_a_parameter_does_not_feel_its_position(rule, hyper, dtype):
    theta, gradients = problem(67, dtype, steps=5)
    together = run(build(rule, hyper), theta, gradients)
    for start in (*range(9), 31, 50, 66):
        part = run(build(rule, hyper), theta[start:], [g[start:].copy() for g in gradients])
        assert part.tobytes() == together[start:].tobytes()
        alone = run(build(rule, hyper), theta[start : start + 1], [g[start : start + 1].copy() for g in gradients])
        assert alone[0] == together[start]


@every_full_case
@every_dtype
def test_a_nan_stays_where_it_is(rule, hyper, dtype):
    theta, (g, *_) = problem(19, dtype, steps=1)
    clean = run(build(rule, hyper), theta, [g])
    for index in range(19):
        for bad in (np.nan, np.inf, -np.inf):
            spoiled = g.copy()
            spoiled[index] = bad
            optimizer = build(rule, hyper)
            found = run(optimizer, theta, [spoiled])
            values = np.array([found[index], *(slot[index] for slot in optimizer.slots)])
            assert np.all(np.isnan(values)) if np.isnan(bad) else not np.all(np.isfinite(values))
            others = np.arange(19) != index
            assert found[others].tobytes() == clean[others].tobytes()


@pytest.mark.parametrize("rule", RULES)
@every_dtype
def test_denormals_survive(rule, dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    theta = np.full(21, 5 * tiny, dtype)
    getattr(us.optim, rule)(lr=0.1).step(theta, np.zeros(21, dtype))
    assert np.all(theta == 5 * tiny)
    theta = np.zeros(21, dtype)
    us.optim.SGD(lr=1.0).step(theta, np.full(21, 3 * tiny, dtype))
    assert np.all(theta == -3 * tiny)


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if "eps" in rule.options])
@every_dtype
def test_without_eps_a_parameter_without_gradient_does_not_move(rule, dtype):
    for hyper in RULES[rule].combinations():
        theta, g = np.ones(20, dtype), np.zeros(20, dtype)
        g[::2] = 0.5
        getattr(us.optim, rule)(lr=0.1, **{**hyper, "eps": 0.0, "weight_decay": 0.0}).step(theta, g)
        assert np.all(theta[1::2] == 1)
        assert np.all(theta[::2] < 1)


def test_centered_rmsprop_clamps_a_variance_that_rounding_made_negative():
    theta, g = np.zeros(64, "f"), np.linspace(0.1, 7, 64, dtype="f")
    optimizer = us.optim.RMSProp(lr=1e-3, alpha=0.5, centered=True)
    for _ in range(200):  # s − ḡ² → 0 for a constant gradient
        optimizer.step(theta, g)
    assert np.all(np.isfinite(theta))


def test_the_gradient_scale_multiplies_the_gradient():
    theta, g = np.ones(33), np.linspace(1, 2, 33)
    expected = theta - 0.1 * (0.25 * g)
    _core.optim_step("SGD", [0.0] * 4, 0.1, 1, theta, g, [], 0.25)
    np.testing.assert_allclose(theta, expected, rtol=1e-15)
