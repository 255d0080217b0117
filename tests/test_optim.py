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
    ELEMENTWISE,
    FULL,
    FULL_ELEMENTWISE,
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
    assert difference(found, theta, largest["theta"]) > 1e-4, "the steps must be visible"


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
        rule = us.optim.RULES[name]
        signature = inspect.signature(rule)
        assert set(signature.parameters) - {"options"} == {"lr", *fields}
        defaults = {key: limits.check(key, signature.parameters[key].default) for key, limits in rule.limits.items()}
        assert defaults == fields


def test_defaults_are_those_of_torch():
    torch = pytest.importorskip("torch", reason="needs torch")
    for name, rule in RULES.items():
        ours = us.optim.RULES[name]()
        theirs = rule.torch(dict(ours.settings))
        if theirs is None:
            continue
        torch_name, arguments = theirs
        theirs = getattr(torch.optim, torch_name)([torch.zeros(1)]).defaults
        assert theirs["lr"] == ours.lr
        assert {key: theirs[key] for key in arguments} == arguments


@every_case
@every_dtype
def test_matches_the_oracle(rule, hyper, dtype):
    place = CASES.index((rule, hyper))
    for n in SIZES if (rule, hyper) in FULL else SIZES[place % 3 :: 3]:
        assert_matches_oracle(rule, hyper, n, dtype, steps=20)


@every_full_case
@every_dtype
def test_matches_the_oracle_beyond_the_cache(rule, hyper, dtype):
    assert_matches_oracle(rule, hyper, LARGE, dtype, steps=5)


@pytest.mark.parametrize(("rule", "hyper"), [c for c in CASES if RULES[c[0]].torch(c[1]) is not None], ids=case_id)
def test_matches_torch(rule, hyper):
    torch = pytest.importorskip("torch", reason="needs torch")
    place = CASES.index((rule, hyper))
    for n in SIZES[place % 3 :: 3]:
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
        assert difference(found, parameter.numpy(), scale) <= RULES[rule].torch_limit


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


@pytest.mark.parametrize(("rule", "hyper"), ELEMENTWISE, ids=case_id)
@every_dtype
def test_a_parameter_does_not_feel_its_position(rule, hyper, dtype):
    theta, gradients = problem(67, dtype, steps=5)
    together = run(build(rule, hyper), theta, gradients)
    for start in (1, 3, 4, 7, 31, 50, 66):
        part = run(build(rule, hyper), theta[start:], [g[start:].copy() for g in gradients])
        assert part.tobytes() == together[start:].tobytes()
        alone = run(build(rule, hyper), theta[start : start + 1], [g[start : start + 1].copy() for g in gradients])
        assert alone[0] == together[start]


@pytest.mark.parametrize(("rule", "hyper"), FULL_ELEMENTWISE, ids=case_id)
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


@every_dtype
def test_denormals_are_flushed_within_a_step_only(dtype, threads):
    tiny = np.finfo(dtype).smallest_subnormal
    for count in (1, 2):
        threads(count)
        theta, optimizer = np.zeros(100_000, dtype), us.optim.SGD(lr=1.0, momentum=0.5)
        optimizer.step(theta, np.full(theta.size, 3 * tiny, dtype))
        assert not theta.any()
        assert not optimizer.slots[0].any()
        assert np.all(np.full(9, tiny, dtype) * np.asarray(3, dtype) == 3 * tiny), "the caller's setting is restored"


@pytest.mark.parametrize("rule", [name for name, rule in RULES.items() if "eps" in rule.options])
@every_dtype
def test_without_eps_a_parameter_without_gradient_does_not_move(rule, dtype):
    for hyper in RULES[rule].combinations():
        theta, g = np.ones(20, dtype), np.zeros(20, dtype)
        g[::2] = 0.5
        optimizer = getattr(us.optim, rule)(lr=0.1, **{**hyper, "eps": 0.0, "weight_decay": 0.0})
        for _ in range(7):  # RAdam may wait for six
            optimizer.step(theta, g)
        assert np.all(theta[1::2] == 1)
        assert np.all(theta[::2] < 1)


def test_centered_rmsprop_clamps_a_variance_that_rounding_made_negative():
    theta, g = np.zeros(64, "f"), np.linspace(0.1, 7, 64, dtype="f")
    optimizer = us.optim.RMSProp(lr=1e-3, alpha=0.5, centered=True)
    for _ in range(200):  # s − ḡ² → 0 for a constant gradient
        optimizer.step(theta, g)
    assert np.all(np.isfinite(theta))
