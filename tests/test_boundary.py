"""The boundary: any array gives the right answer or an error that names the argument; bad data never gets in."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from array_kinds import kinds
from network_cases import Case, chain

MEAN = Case("mean", chain((5, 6, 3), "tanh"), "mse", samples=12)
LABELS = Case("labels", chain((5, 6, 3), "tanh"), "cross_entropy", samples=12)


def right_or_named(call, expected, array, numbers, name, kind):
    """`call(array)` equals `expected(numbers)`, or raises a TypeError or ValueError that names the argument."""
    try:
        found = call(array)
    except (TypeError, ValueError) as error:
        assert f"`{name}`" in str(error), f"{kind}: the error must name `{name}`: {error}"
        assert kind not in {"C", "F", "step 2", "negative stride", "read-only", "mmap"}, f"{kind} refused: {error}"
        return
    assert numbers is not None, f"{kind} must be refused"
    np.testing.assert_allclose(found, expected(numbers), rtol=1e-12, atol=1e-14, err_msg=kind)


@pytest.fixture
def setting():
    land, theta, X, y, _ = MEAN.landscape(us)
    return land, np.round(theta * 64) / 64, X, y  # short fractions survive half precision


OF_THETA = {
    "loss": lambda land, a: land.loss(a),
    "gradient": lambda land, a: land.gradient(a)[1],
    "hessian": lambda land, a: land.hessian(a) @ np.arange(land.n, dtype=float),
    "predict": lambda land, a: land.net.predict(land.X, a),
}


@pytest.mark.parametrize("function", OF_THETA)
def test_theta(function, setting, tmp_path):
    land, theta, *_ = setting

    def call(array):
        return OF_THETA[function](land, array)

    for kind, array, numbers in kinds(theta, tmp_path):
        right_or_named(call, call, array, numbers, "theta", kind)


def test_vectors_of_a_product(setting, tmp_path):
    land, theta, *_ = setting
    H = land.hessian(theta)
    for values in (MEAN.vectors(1)[:, 0], MEAN.vectors(3)):
        for kind, array, numbers in kinds(values, tmp_path):
            try:
                found = H @ array
            except (TypeError, ValueError):  # SciPy names its own argument
                assert kind in {"object", "masked", "0-d", "big-endian", "unaligned", "bool"}, kind
                continue
            assert numbers is not None, f"{kind} must be refused"
            np.testing.assert_allclose(found, H @ numbers, rtol=1e-13, atol=1e-15, err_msg=kind)


@pytest.mark.parametrize("argument", ["X", "y", "sample_weight"])
def test_data(argument, setting, tmp_path):
    land, theta, X, y = setting
    values = {"X": X, "y": y, "sample_weight": np.linspace(0.5, 2.0, len(X))}

    def loss(array):
        data = {**values, argument: array}
        made = us.NetworkLandscape(land.net, us.nn.MSE(), data["X"], data["y"], sample_weight=data["sample_weight"])
        return made.gradient(theta)[1]

    for kind, array, numbers in kinds(values[argument], tmp_path):
        right_or_named(loss, loss, array, numbers, argument, kind)


def test_predict_data(setting, tmp_path):
    land, theta, X, _ = setting

    def call(array):
        return land.net.predict(array, theta)

    for kind, array, numbers in kinds(X, tmp_path):
        right_or_named(call, call, array, numbers, "X", kind)
    for bad in (X[:, :4], X[0], X[None], np.zeros((3, 0)), "text", None, [[1.0], [2.0, 3.0]]):
        with pytest.raises((TypeError, ValueError), match="`X`"):
            land.net.predict(bad)
    assert land.net.predict(np.zeros((0, 5))).shape == (0, 3)


def test_labels(setting, tmp_path):
    X, y, _ = LABELS.data()
    net, theta = LABELS.network(us), LABELS.theta()

    def loss(labels):
        return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, labels).loss(theta)

    for kind, array, numbers in kinds(y, tmp_path):
        if kind != "bool":  # would need two classes
            right_or_named(loss, lambda a: loss(a.astype(int)), array, numbers, "y", kind)
    for bad in (y + 0.5, y.astype(float) * np.nan, y.astype(str), y.astype("M8[s]"), y[:, None] + 0j, None, "labels"):
        with pytest.raises((TypeError, ValueError), match="`y`"):
            loss(bad)


def test_batch(setting, tmp_path):
    land, theta, *_ = setting
    batch = np.array([3, 0, 11, 3, 7])
    for name in ("loss", "gradient", "hessian"):

        def call(rows, name=name):
            if name == "loss":
                return land.loss(theta, rows)
            if name == "gradient":
                return land.gradient(theta, rows)[1]
            return land.hessian(theta, rows) @ np.ones(land.n)

        for kind, array, numbers in kinds(batch, tmp_path):
            if kind != "bool":
                right_or_named(call, lambda a: call(a.astype(int)), array, numbers, "batch", kind)
        bad = [[], [12], [-1], [0, 2**40], [0.5], [[0, 1]], "all", 3, np.array([0, 1], bool), [np.nan], [2**70], [1j]]
        for rows in [*bad, np.ones(12, bool), np.array([0, 2**63], np.uint64), np.array(["0"])]:
            with pytest.raises((TypeError, ValueError), match="`batch`"):
                call(rows)


def test_theta_of_the_wrong_shape(setting):
    land, theta, *_ = setting
    bad = [theta[:-1], np.append(theta, 0.0), theta[:, None], theta[None], theta[:0], None, "theta", theta + 0j, 3.0]
    for point in [*bad, [None] * land.n, {1: 2}, theta.astype("M8[s]"), theta.astype(str)]:
        for function, call in OF_THETA.items():
            if point is None and function == "predict":  # None: the network's own parameters
                continue
            with pytest.raises((TypeError, ValueError), match="`theta`"):
                call(land, point)


def test_products_of_the_wrong_shape(setting):
    land, theta, *_ = setting
    H = land.hessian(theta)
    for v in (np.ones(land.n - 1), np.ones((land.n + 1, 2)), np.ones((2, land.n)), np.ones((land.n, 2, 2))):
        with pytest.raises((TypeError, ValueError)):
            H @ v
    with pytest.raises((TypeError, ValueError)):
        H @ (np.ones(land.n) + 1j)
    assert np.all(np.isfinite(H @ np.ones(land.n)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nonfinite_data_is_refused_with_its_row(bad):
    case = Case("tall", chain((5, 6, 3), "tanh"), "mse", samples=600)
    X, y, _ = case.data()
    net, weight = case.network(us), np.ones(600)
    for row in (0, 1, 17, 599):
        for name, array in (("X", X), ("y", y), ("sample_weight", weight)):
            data = {"X": X, "y": y, "sample_weight": weight, name: array.copy()}
            data[name][(row, 2) if array.ndim == 2 else row] = bad
            with pytest.raises((ValueError, ArithmeticError), match=f"`{name}`.*{row}"):
                us.NetworkLandscape(net, us.nn.MSE(), data["X"], data["y"], sample_weight=data["sample_weight"])


def test_data_too_large_for_float32_is_refused():
    X, y, _ = MEAN.data()
    X[7, 1] = 1e300
    with pytest.raises((ValueError, ArithmeticError), match="`X`.*7"):
        us.NetworkLandscape(MEAN.network(us, "float32"), us.nn.MSE(), X, y)


@pytest.mark.parametrize("label", [-1, 3, 2**31, -(2**62)])
def test_labels_out_of_range_are_refused_with_their_row(label):
    X, y, _ = LABELS.data()
    y[9] = label
    with pytest.raises(ValueError, match="`y`.*9"):
        us.NetworkLandscape(LABELS.network(us), us.nn.CrossEntropy(), X, y)


@pytest.mark.parametrize("value", [-0.01, 1.01, 7.0])
def test_bce_targets_are_probabilities(value):
    case = Case("bce", chain((5, 6, 3), "tanh"), "bce", samples=12)
    X, y, _ = case.data()
    y[4, 1] = value
    with pytest.raises(ValueError, match="`y`.*4"):
        us.NetworkLandscape(case.network(us), us.nn.BCEWithLogits(), X, y)


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ("X", lambda X, y, w: (X[:0], y[:0], w[:0])),
        ("X", lambda X, y, w: (X[:, :4], y, w)),
        ("X", lambda X, y, w: (X[:, :, None], y, w)),
        ("X", lambda X, y, w: (X.ravel(), y, w)),
        ("y", lambda X, y, w: (X, y[:-1], w)),
        ("y", lambda X, y, w: (X, y[:, :2], w)),
        ("y", lambda X, y, w: (X, y[:, 0], w)),
        ("y", lambda X, y, w: (X, y.ravel(), w)),
        ("y", lambda X, y, w: (X, None, w)),
        ("sample_weight", lambda X, y, w: (X, y, w[:-1])),
        ("sample_weight", lambda X, y, w: (X, y, w[:, None])),
        ("sample_weight", lambda X, y, w: (X, y, -w)),
        ("sample_weight", lambda X, y, w: (X, y, 0 * w)),
        ("sample_weight", lambda X, y, w: (X, y, 2.0)),
        ("X", lambda X, y, w: (X + 1j, y, w)),
        ("X", lambda X, y, w: (X.astype(str), y, w)),
        ("X", lambda X, y, w: ([[1.0], [2.0, 3.0]], y, w)),
    ],
)
def test_data_that_does_not_fit_is_refused(argument, change):
    X, y, _ = MEAN.data()
    X, y, weight = change(X, y, np.ones(len(X)))
    with pytest.raises((TypeError, ValueError), match=f"`{argument}`"):
        us.NetworkLandscape(MEAN.network(us), us.nn.MSE(), X, y, sample_weight=weight)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("l2", -0.1), ("l2", np.nan), ("l2", np.inf), ("l2", "0.1"),
        ("mode", "test"), ("mode", None), ("mode", 1),
        ("memory_budget", 0), ("memory_budget", -5), ("memory_budget", "1G"),
    ],
)  # fmt: skip
def test_landscape_options(option, value):
    X, y, _ = MEAN.data()
    with pytest.raises((TypeError, ValueError), match=f"`{option}`"):
        us.NetworkLandscape(MEAN.network(us), us.nn.MSE(), X, y, **{option: value})


def test_landscape_of_wrong_objects():
    X, y, _ = MEAN.data()
    net = MEAN.network(us)
    for bad in (None, us.nn.Linear(5, 3), us.nn.Network, "net"):
        with pytest.raises((TypeError, ValueError), match="`net`"):
            us.NetworkLandscape(bad, us.nn.MSE(), X, y)
    for bad in (None, us.nn.MSE, "mse", us.nn.ReLU()):
        with pytest.raises((TypeError, ValueError), match="`loss"):
            us.NetworkLandscape(net, bad, X, y)


def test_all_sample_weights_of_a_batch_zero():
    X, y, _ = MEAN.data()
    weight = np.ones(len(X))
    weight[:4] = 0.0
    land = us.NetworkLandscape(MEAN.network(us), us.nn.MSE(), X, y, sample_weight=weight)
    theta = MEAN.theta()
    for call in (land.loss, land.gradient, land.hessian):
        with pytest.raises(ValueError, match="`sample_weight`|`batch`"):
            call(theta, np.arange(4))
    assert np.isfinite(land.loss(theta, np.arange(5)))


def test_masked_without_masked_entries_is_an_array(setting):
    land, theta, X, y = setting
    plain = us.NetworkLandscape(land.net, us.nn.MSE(), np.ma.masked_array(X), y)
    assert plain.loss(np.ma.masked_array(theta)) == land.loss(theta)


def test_lists_are_arrays(setting):
    land, theta, X, y = setting
    made = us.NetworkLandscape(land.net, us.nn.MSE(), X.tolist(), y.tolist())
    assert made.loss(theta.tolist(), [1, 2]) == land.loss(theta, np.array([1, 2]))


def test_state_survives_errors(setting):
    land, theta, *_ = setting
    before = land.net.theta.copy()
    loss = land.loss(theta)
    for bad in (theta[:-1], np.array(["x"] * land.n)):
        with pytest.raises((TypeError, ValueError)):
            land.gradient(bad)
    with pytest.raises((TypeError, ValueError)):
        land.gradient(theta, [99])
    np.testing.assert_array_equal(land.net.theta, before)
    assert land.loss(theta) == loss
