"""Certificates as dictionaries: what they state, round trips through JSON, and that `verify` notices every change."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest

import spectra
import unstuck as us
from unstuck import certificate
from unstuck.curvature import lanczos


def run(d, k, dtype="float64"):
    return lanczos.run(
        spectra.diagonal_operator(d, dtype), stop=lambda s: False, max_products=k, restart_invariant=True
    )


def lanczos_example(**options):
    state = run(spectra.two_sided(np.random.default_rng(12), 500), 12)
    return certificate.lanczos_certificate(
        state.alpha, state.beta, 500, 5e-7, 1e-9, tolerance=1e-3, restarts=state.restarts, **options
    )


def restarted_example():
    state = run(np.repeat([1.0, 2.0], 100), 7, dtype="float32")
    return certificate.lanczos_certificate(
        state.alpha, state.beta, 200, 1e-3, 1e-6, restarts=state.restarts, dtype="float32"
    )


def thick_example():
    """A bounded basis with two runs: pairs given up, a fresh start, pairs given up again."""
    op = spectra.diagonal_operator(np.repeat([-1.0, 0.25, 0.5, 1.0, 2.0], 40))
    state = lanczos.run(op, stop=lambda s: False, max_products=16, most_vectors=8, restart_invariant=True)
    assert state.compressions
    assert len(state.polynomials) == 2
    return certificate.certifier(state, 1e-3, 1e-9, dtype="float64")(tolerance=1e-2)


def dense_example():
    rng = np.random.default_rng(13)
    return certificate.dense_certificate(rng.standard_normal(9), rng.standard_normal(8), 1e-13, tolerance=1e-4)


EXAMPLES = [lanczos_example, restarted_example, thick_example, dense_example]


def reseal(forged):
    """The digest that goes with a changed certificate."""
    return certificate._sealed({name: value for name, value in forged.items() if name != "digest"})


@pytest.mark.parametrize("make", EXAMPLES)
def test_round_trip_verifies(make):
    made = make()
    assert us.verify(made)
    text = json.dumps(made, allow_nan=False)
    assert us.verify(json.loads(text))
    assert json.loads(text) == made


def test_contents_against_dense():
    rng = np.random.default_rng(14)
    diagonal, off = rng.standard_normal(30), rng.standard_normal(29)
    values = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))
    made = certificate.dense_certificate(diagonal, off, 1e-12, tolerance=0.3)
    np.testing.assert_allclose([made["lambda_min_lower"], made["lambda_max_upper"]], values[[0, -1]], atol=3e-12)
    assert made["lambda_min_lower"] < values[0] < made["lambda_min_upper"]
    assert made["lambda_max_lower"] < values[-1] < made["lambda_max_upper"]
    assert made["below"] == [(values < -0.3).sum()] * 2
    assert made["above"] == [(values > 0.3).sum()] * 2
    wide = certificate.dense_certificate([0.0, 1.0], [0.0], 0.5, tolerance=0.4)
    assert wide["below"] == [0, 1]
    assert wide["above"] == [1, 2]
    one = certificate.dense_certificate([-3.0], [])
    assert us.verify(one)
    assert one["lambda_min_lower"] == pytest.approx(-3.0, abs=2e-15)
    assert one["below"] == [1, 1]
    krylov = lanczos_example()
    assert krylov["lambda_min_lower"] < krylov["lambda_min_upper"] < krylov["lambda_max_lower"]
    assert krylov["below"][0] >= 1
    assert krylov["below"][1] is None


def places(value, path=()):
    """Paths of all numbers, strings and None in a nested certificate."""
    if isinstance(value, dict):
        return [p for key, item in value.items() for p in places(item, (*path, key))]
    if isinstance(value, list):
        return [p for key, item in enumerate(value) for p in places(item, (*path, key))]
    return [path]


def changed(made, path, change):
    forged = copy.deepcopy(made)
    target = forged
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = change(target[path[-1]])
    return forged


CHANGES = {
    "slightly larger": lambda x: x * (1 + 1e-6) + 1e-6 if isinstance(x, float) else 0 if x is None else x,
    "other sign": lambda x: -x if isinstance(x, float) and x else "x",
    "one more": lambda x: x + 1 if isinstance(x, int) else [x],
    "nan": lambda x: math.nan,
    "infinite": lambda x: math.inf,
    "text": lambda x: "1.0",
    "truth": lambda x: True,
    "huge": lambda x: 10**400,
    "nothing": lambda x: {} if x is None else None,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("make", EXAMPLES)
def test_every_change_is_noticed(make, change):
    made = make()
    for path in places(made):
        forged = changed(made, path, CHANGES[change])
        if forged != made:
            assert us.verify(forged) is False, path


@pytest.mark.parametrize("make", EXAMPLES)
def test_claims_must_follow_even_under_a_fresh_digest(make):
    made = make()
    for name in ("lambda_min_lower", "lambda_min_upper", "lambda_max_lower", "lambda_max_upper"):
        for change in (1e-6, -1e-6):
            assert not us.verify(reseal(made | {name: made[name] + change}))
        assert not us.verify(reseal(made | {name: None}))
    assert not us.verify(reseal(made | {"below": [made["below"][0] + 1, made["below"][1]]}))
    assert not us.verify(reseal(made | {"noise": made["noise"] + 1e-3}))
    assert not us.verify(reseal(made | {"schema": 2}))
    assert not us.verify(reseal(made | {"more": 1}))
    assert us.verify(reseal(made))
    if make is lanczos_example:
        for j in range(len(made["alpha"])):
            assert not us.verify(reseal(changed(made, ("alpha", j), lambda x: x + 1e-3)))
            assert not us.verify(reseal(changed(made, ("beta", j), lambda x: x * 1.01 + 1e-3)))
        assert not us.verify(reseal(made | {"delta": made["delta"] * 2}))
        assert not us.verify(reseal(made | {"n": made["n"] * 2}))
        assert not us.verify(reseal(made | {"restarts": [1]}))


class Hostile(dict):
    def get(self, *_):
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "thing",
    [
        None,
        1,
        "certificate",
        [],
        {},
        {"kind": "lanczos"},
        {"kind": ["lanczos"]},
        {"kind": "dense"},
        Hostile(),
        object(),
    ],
)
def test_anything_else_is_false(thing):
    assert us.verify(thing) is False


def test_missing_fields_are_false():
    for make in EXAMPLES:
        made = make()
        for name in made:
            assert us.verify({key: value for key, value in made.items() if key != name}) is False


def test_huge_input_is_refused_quickly():
    made = lanczos_example()
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert us.verify(made | {"below": nested}) is False
    assert us.verify(made | {"alpha": [1.0] * 1_000_000, "beta": [1.0] * 1_000_000, "n": 10**6}) is False
    while nested:
        nested = nested.pop()


def test_builders_refuse_what_is_no_recurrence():
    error = us.errors.ArgumentError
    with pytest.raises(error, match="at least one"):
        certificate.lanczos_certificate([], [], 5, 0.1)
    for runs, ritz in (([], [0.0]), ([([0.0], [1.0], 5)], []), ([([0.0], [1.0], 4)], [0.0]), ([([0.0], [], 5)], [0.0])):
        with pytest.raises(error, match="`runs`"):
            certificate.restarted_certificate(runs, ritz, 5, 0.1)
    with pytest.raises(error, match="same length"):
        certificate.lanczos_certificate([1.0], [], 5, 0.1)
    with pytest.raises(error, match="`noise`"):
        certificate.lanczos_certificate([1.0], [1.0], 5, 0.1, noise=-1.0)
    with pytest.raises(error, match="`tolerance`"):
        certificate.dense_certificate([1.0], [], tolerance=math.inf)
    with pytest.raises(error, match="`diagonal`"):
        certificate.dense_certificate([1.0, 2.0], [])
    with pytest.raises(error, match="`diagonal`"):
        certificate.dense_certificate([math.nan], [])


def test_unbounded_ends_are_none():
    made = certificate.lanczos_certificate([1.0], [1e300], 5, 1e-300)
    assert made["lambda_min_lower"] is None
    assert made["lambda_max_upper"] is None
    assert us.verify(json.loads(json.dumps(made)))
