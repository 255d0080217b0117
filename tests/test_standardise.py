"""The standardiser: exact statistics in any batching and any units, constant features, missing values, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import unstuck as us
from unstuck.errors import ArgumentError, ArgumentTypeError, NonFiniteError


def in_parts(X, cuts, **options) -> us.Standardiser:
    found = us.Standardiser(**options)
    for rows in np.array_split(X, cuts):
        if len(rows):
            found.update(rows)
    return found


def test_exact_under_large_offsets_and_any_batching():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 3)) * [1.0, 1e-3, 1e5] + [1e9, 0.1, -3.0]
    whole = us.Standardiser().update(X)
    exact = X.astype(np.longdouble)
    for s in (whole, in_parts(X, [1, 7, 500])):
        assert s.n == 1000
        assert s.counts.tolist() == [1000] * 3
        np.testing.assert_allclose(s.mean, exact.mean(0).astype(float), rtol=1e-12)
        np.testing.assert_allclose(s.scale, exact.std(0).astype(float), rtol=1e-7)
    Z = whole.transform(X, np.float64)
    assert abs(Z.mean(0)).max() < 1e-6
    assert abs(Z.std(0) - 1).max() < 1e-6
    np.testing.assert_allclose(whole.inverse(Z), X, rtol=1e-12, atol=1e-9)
    assert whole.transform(X).dtype == np.float32


def test_the_mean_of_many_rows_costs_no_digits():
    X = np.random.default_rng(1).standard_normal((300_000, 2)) + [1e6, 0.0]
    found, exact = us.Standardiser().update(X), X.astype(np.longdouble)
    assert np.all(np.abs(found.mean - exact.mean(0).astype(float)) <= np.spacing(np.abs(found.mean)) + 1e-15)
    np.testing.assert_allclose(found.scale, exact.std(0).astype(float), rtol=1e-13)


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1e-30, 1e30, 1e200, 1e307])
@pytest.mark.parametrize("cuts", [[], [3, 20]])
def test_tiny_and_huge_units_are_no_constants_and_no_overflow(unit, cuts):
    Z = np.random.default_rng(2).standard_normal((40, 2))
    wanted = us.Standardiser().update(Z)
    found = in_parts(Z * unit, cuts)
    assert not found.constant.any()
    accuracy = 1e-12 if unit > 1e-300 else 1e-10  # subnormal numbers have fewer digits
    np.testing.assert_allclose(found.scale / unit, wanted.scale, rtol=accuracy)
    np.testing.assert_allclose(found.transform(Z * unit, np.float64), wanted.transform(Z, np.float64), atol=1e-10)
    np.testing.assert_allclose(found.inverse(wanted.transform(Z, np.float64)) / unit, Z, atol=1e-10)


def test_constant_features_become_exactly_zero():
    X = np.c_[np.full(7, 0.1), np.zeros(7), np.arange(7.0)]
    s = us.Standardiser().update(X)
    assert s.constant.tolist() == [True, True, False]
    assert np.all(s.transform(X)[:, :2] == 0)
    np.testing.assert_array_equal(s.inverse(s.transform(X))[:, 0], 0.1)
    assert us.Standardiser().update(X[:1]).transform(X[:1]).tolist() == [[0, 0, 0]]
    # in many batches, each with its own rounding of the mean
    many = in_parts(np.full((100_000, 1), 0.1), 777)
    assert many.constant.all()
    assert many.mean[0] == 0.1
    # one batch constant, the next not
    mixed = us.Standardiser().update([[2.0], [2.0]]).update([[4.0], [4.0]])
    assert not mixed.constant.any()
    assert (mixed.mean[0], mixed.scale[0]) == (3.0, 1.0)


def test_spread_that_is_rounding_only_counts_as_constant():
    X = np.array([[1e9], [np.nextafter(1e9, 2e9)]])
    assert us.Standardiser().update(X).constant.all()


# --- missing values ---


def test_missing_values_are_left_out_and_become_the_mean():
    X = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan], [8.0, 7.0, np.nan]])
    s = us.Standardiser(missing="mean").update(X)
    assert s.n == 4
    assert s.counts.tolist() == [3, 3, 0]
    np.testing.assert_allclose(s.mean, [4.0, 17 / 3, 0.0])
    np.testing.assert_allclose(s.scale, [np.std([1, 3, 8]), np.std([5, 5, 7]), 1.0])
    Z = s.transform(X, np.float64)
    assert np.all(Z[np.isnan(X)] == 0)
    np.testing.assert_allclose(s.inverse(Z), np.where(np.isnan(X), s.mean, X), rtol=1e-14)
    np.testing.assert_allclose(Z[:, :2].sum(axis=0), 0.0, atol=1e-14)


def test_missing_values_in_any_batching():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((200, 3)) * [1.0, 1e3, 1e-3] + [0.0, 1e6, 5.0]
    X[rng.random(X.shape) < 0.3] = np.nan
    X[:60, 1] = np.nan  # the first batch has none
    whole = us.Standardiser(missing="mean").update(X)
    np.testing.assert_allclose(whole.mean, np.nanmean(X, axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(whole.scale, np.nanstd(X, axis=0), rtol=1e-12)
    parts = in_parts(X, [50, 51, 150], missing="mean")
    np.testing.assert_array_equal(parts.counts, whole.counts)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(parts.scale, whole.scale, rtol=1e-12)


def test_masked_entries_are_missing():
    X = np.ma.masked_array([[1.0], [99.0], [3.0]], mask=[[False], [True], [False]])
    assert us.Standardiser(missing="mean").update(X).mean.tolist() == [2.0]
    counts = np.ma.masked_array([[1], [99], [3]], mask=[[False], [True], [False]])
    assert us.Standardiser(missing="mean").update(counts).transform(counts).tolist() == [[-1], [0], [1]]
    with pytest.raises(ArgumentError, match="masked"):
        us.Standardiser().update(X)


# --- refusals ---


@pytest.mark.parametrize(
    ("X", "fault"),
    [
        ([[1.0], [np.nan]], "row 1, feature 0 is missing"),
        ([[1.0, np.inf]], "row 0, feature 1 is infinite"),
        ([[1.7e308], [1.7e308], [1.7e308], [-1.7e308]], "feature 0 are too far apart"),
    ],
)
def test_what_has_no_statistics_is_refused_and_changes_nothing(X, fault):
    s = us.Standardiser()
    with pytest.raises(NonFiniteError, match=fault):
        s.update(X)
    assert s.n == 0
    s.update(np.array([[1.0, 2.0], [2.0, 5.0]])[:, : np.shape(X)[1]])
    before = s.n, s.mean.copy(), s.scale.copy()
    with pytest.raises(NonFiniteError, match=fault):
        s.update(X)
    assert s.n == before[0]
    np.testing.assert_array_equal(s.mean, before[1])
    np.testing.assert_array_equal(s.scale, before[2])


def test_infinity_is_not_missing():
    s = us.Standardiser(missing="mean").update([[1.0], [2.0]])
    for call in (s.update, s.transform, s.inverse):
        with pytest.raises(NonFiniteError, match="infinite"):
            call([[np.nan], [-np.inf]])


def test_the_whole_range_of_numbers_is_used():
    s = us.Standardiser().update([[1.7e308], [-1.7e308]])
    assert (s.mean[0], s.scale[0]) == (0.0, 1.7e308)
    assert s.transform([[1.7e308], [-1.7e308]]).ravel().tolist() == [1.0, -1.0]
    apart = us.Standardiser().update([[1.7e308], [1.6e308]])
    np.testing.assert_allclose(apart.transform([[-1.7e308]], np.float64), [[-67.0]], rtol=1e-9)


def test_results_out_of_range_are_refused():
    s = us.Standardiser().update([[0.0, 7.0], [1e-10, 7.0]])
    with pytest.raises(NonFiniteError, match="row 0, feature 0 is too far from the mean for float32"):
        s.transform([[1e300, 7.0]])
    with pytest.raises(NonFiniteError, match="feature 1 is too far from the mean for float32"):
        s.transform([[0.0, 1e300]])
    assert np.isfinite(s.transform([[1e290, 7.0]], np.float64)).all()
    with pytest.raises(NonFiniteError, match="`Z`: row 0, feature 0 is too large"):
        us.Standardiser().update([[1e300], [-1e300]]).inverse([[1e300]])


def test_bad_arguments_are_named():
    s = us.Standardiser()
    for call in (s.transform, s.inverse):
        with pytest.raises(ArgumentError, match="no data yet"):
            call([[1.0]])
    s.update([[1.0], [2.0]])
    for bad in ([[1.0, 2.0]], [1.0], np.empty((0, 1)), np.empty((2, 0))):
        with pytest.raises(ArgumentError, match="`X`"):
            s.update(bad)
    for text in ([["a"]], [[1j]], [[None]], [[1.0], [1.0, 2.0]]):
        with pytest.raises(ArgumentTypeError, match="`X`"):
            s.update(text)
    for dtype in (int, "no", np.float16, complex):
        with pytest.raises(ArgumentTypeError, match="`dtype`"):
            s.transform([[1.0]], dtype)
    with pytest.raises(ArgumentError, match="`missing`"):
        us.Standardiser(missing="zero")
    with pytest.raises(ArgumentTypeError, match="`missing`"):
        us.Standardiser(missing=None)
    assert s.n == 2
    assert repr(s) == "Standardiser(missing='refuse'): 2 samples of 1 features"


def test_input_stays_as_it_is_and_any_layout_is_read():
    X = np.random.default_rng(4).standard_normal((6, 4))
    frozen = X.copy()
    frozen.flags.writeable = False
    wanted = us.Standardiser().update(frozen).transform(frozen)
    for same in (np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], X[::-1][::-1], X.astype(np.longdouble)):
        np.testing.assert_array_equal(us.Standardiser().update(same).transform(same), wanted)
    np.testing.assert_array_equal(frozen, X)
    whole = np.arange(12).reshape(6, 2)
    assert us.Standardiser().update(whole > 3).n == 6
    assert us.Standardiser().update(whole.astype(np.uint64)).mean.tolist() == [5.0, 6.0]


@settings(max_examples=60, deadline=None)
@given(
    X=hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-1e150, 1e150)),
    cut=st.integers(0, 12),
)
def test_any_numbers_in_any_two_parts(X, cut):
    found, exact = in_parts(X, [min(cut, len(X))]), X.astype(np.longdouble)
    size = np.abs(X).max(axis=0)
    assert np.all(np.abs(found.mean - exact.mean(0)) <= 8 * np.finfo(float).eps * size)
    deviation = exact.std(0).astype(float)
    assert np.all((np.abs(found.scale - deviation) <= 1e-12 * deviation + 8e-16 * size) | found.constant)
    Z = found.transform(X, np.float64)
    assert np.all(np.abs(Z) <= np.sqrt(len(X)) * (1 + 1e-6) + 16 * found.constant * np.finfo(float).eps * size)
    np.testing.assert_allclose(found.inverse(Z), X, rtol=1e-12, atol=1e-12 * float(size.max()))
