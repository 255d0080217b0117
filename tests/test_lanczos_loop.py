"""The loop around the Lanczos state machine: where it stops, what it lets through, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import spectra
import unstuck as us
from test_lanczos import steps
from unstuck.curvature import lanczos


def test_loop_stops_where_it_is_told():
    op = spectra.diagonal_operator(spectra.uniform(np.random.default_rng(11), 800))
    seen = []
    state = lanczos.run(op, stop=lambda s: s.k == 7, progress=lambda s: seen.append(s.k))
    assert seen == list(range(1, 8))
    again = lanczos.run(op, stop=lambda s: False, max_products=5, state=state, seed=1)
    assert again is state
    assert state.k == 12
    straight = lanczos.run(op, stop=lambda s: False, max_products=12)
    np.testing.assert_array_equal(straight.alpha, state.alpha)
    tiny = lanczos.run(np.diag([1.0, 2.0, 3.0]), stop=lambda s: False)
    np.testing.assert_allclose(tiny.ritz_values(), [1, 2, 3], atol=1e-14)
    other = lanczos.run(op, stop=lambda s: False, max_products=12, seed=1)
    assert not np.array_equal(other.alpha, straight.alpha)


def test_loop_spans_repeated_eigenvalues_by_itself():
    state = lanczos.run(np.diag(np.repeat([1.0, 5.0], 20)), stop=lambda s: False, restart_invariant=True)
    np.testing.assert_allclose(state.ritz_values(), np.repeat([1.0, 5.0], 20), atol=1e-13)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_loop_lets_errors_through_and_can_go_on(error):
    d, calls = np.linspace(-1, 1, 60), []

    def product(v):
        calls.append(1)
        if len(calls) == 4:
            raise error
        return d * v

    op = us.HessianOperator(60, "float64", product)
    state = lanczos.run(op, stop=lambda s: s.k == 2)
    with pytest.raises(error):
        lanczos.run(op, stop=lambda s: False, state=state)
    assert state.k == 3
    lanczos.run(op, stop=lambda s: s.k == 6, state=state)
    np.testing.assert_array_equal(state.alpha, steps(d, 6).alpha)


@pytest.mark.parametrize(
    ("result", "error"),
    [
        (np.full(9, np.nan), us.errors.NonFiniteError),
        (np.full(9, np.inf), us.errors.NonFiniteError),
        (np.zeros(8), us.errors.OperatorError),
        (np.zeros((9, 2)), us.errors.OperatorError),
        (np.zeros(9, dtype=complex), us.errors.OperatorError),
    ],
)
def test_loop_refuses_bad_products(result, error):
    class Bad(us.HessianOperator):
        def _matvec(self, v):
            return result

        def __matmul__(self, v):
            return result

    with pytest.raises(error, match=r"product 1 of `op`"):
        lanczos.run(Bad(9, "float64", None), stop=lambda s: False)


def test_loop_checks_its_arguments():
    with pytest.raises(us.errors.ArgumentError, match="`max_products`"):
        lanczos.run(np.eye(3), stop=lambda s: False, max_products=0)
    with pytest.raises(us.errors.ArgumentError, match="`op`"):
        lanczos.run(np.ones((3, 4)), stop=lambda s: False)
    with pytest.raises(us.errors.ArgumentError, match="`start`"):
        lanczos.run(np.eye(3), stop=lambda s: False, start=np.ones(4))
