"""Losses: values as PyTorch's "mean", targets in every accepted form, and refused options."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from network_cases import LOSSES, Case, linear
from oracles import LOSSES as FORMULAS
from oracles import relative_error

IDENTITY = (linear(3, 3, bias=False),)  # with θ = I the outputs are the data


def loss_of_outputs(loss, Z, y, dtype="float64", **options):
    """(L, dL/dZ summed over Xᵀ) of a loss at given outputs."""
    size = Z.shape[1]
    net = us.nn.Network(us.nn.Linear(size, size, bias=False), input_shape=(size,), seed=0, dtype=dtype)
    land = us.NetworkLandscape(net, loss, Z.astype(dtype), y, **options)
    return land, np.eye(size, dtype=dtype).ravel()


@pytest.mark.parametrize("name", LOSSES)
def test_value_is_torchs_mean(name, torch):
    case = Case(name, IDENTITY, name, samples=41)
    Z, y, _ = case.data()
    Z = 3.0 * Z
    land, theta = loss_of_outputs(case.loss_function(us), Z, y)
    expected = case.torch_loss(torch)(torch.from_numpy(Z), torch.from_numpy(y)).item()
    assert land.loss(theta) == pytest.approx(expected, rel=1e-13)


def test_label_forms():
    case = Case("labels", IDENTITY, "weighted", samples=30)
    Z, y, _ = case.data()
    expected = loss_of_outputs(case.loss_function(us), Z, y)[0].loss(np.eye(3).ravel())
    for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i4"):
        land, theta = loss_of_outputs(case.loss_function(us), Z, y.astype(kind))
        assert land.loss(theta) == expected, kind
    land, theta = loss_of_outputs(case.loss_function(us), Z, y.tolist())
    assert land.loss(theta) == expected


@pytest.mark.parametrize("loss", ["mse", "bce", "huber"])
def test_one_output_takes_flat_targets(loss):
    case = Case("flat", (linear(2, 1),), loss, samples=19)
    X, y, _ = case.data()
    net, theta = case.network(us), case.theta()
    column = us.NetworkLandscape(net, case.loss_function(us), X, y)
    flat = us.NetworkLandscape(net, case.loss_function(us), X, y[:, 0])
    assert flat.loss(theta) == column.loss(theta)
    np.testing.assert_array_equal(flat.gradient(theta)[1], column.gradient(theta)[1])


def test_huber_between_square_and_line():
    Z = np.linspace(-4.0, 4.0, 33)[:, None]
    y = np.zeros((33, 1))
    half_square = np.mean(0.5 * Z**2)
    land, theta = loss_of_outputs(us.nn.Huber(delta=100.0), Z, y)
    assert land.loss(theta) == pytest.approx(half_square, rel=1e-14)
    for delta in (0.25, 1.0, 2.5):
        land, theta = loss_of_outputs(us.nn.Huber(delta=delta), Z, y)
        expected = np.where(np.abs(Z) <= delta, 0.5 * Z**2, delta * (np.abs(Z) - 0.5 * delta)).mean()
        assert land.loss(theta) == pytest.approx(expected, rel=1e-14)
        # d/dθ mean huber(θ z) = mean z clip(z, ±δ);  d²/dθ² = mean z² [|z| < δ]
        assert land.gradient(theta)[1][0] == pytest.approx(np.mean(Z * np.clip(Z, -delta, delta)), rel=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bce_at_certain_targets(dtype):
    Z = np.array([[-40.0], [40.0], [-40.0], [40.0], [0.0]], dtype)
    y = np.array([[0.0], [1.0], [1.0], [0.0], [0.5]], dtype)
    land, theta = loss_of_outputs(us.nn.BCEWithLogits(), Z, y, dtype)
    expected = (np.exp(-40.0) * 2 + 80.0 + np.log(2.0)) / 5
    assert land.loss(theta) == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-14)


def test_smoothing_mixes_in_the_mean_of_all_classes():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(12, 4)), rng.integers(0, 4, 12)
    log_p = Z - np.log(np.exp(Z).sum(1, keepdims=True))
    for smoothing in (0.0, 0.25, 0.99):
        land, theta = loss_of_outputs(us.nn.CrossEntropy(label_smoothing=smoothing), Z, y)
        expected = -(1 - smoothing) * log_p[np.arange(12), y].mean() - smoothing * log_p.mean()
        assert land.loss(theta) == pytest.approx(expected, rel=1e-13)


def test_class_weight_of_zero_ignores_the_class():
    rng = np.random.default_rng(0)
    Z, y = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    land, theta = loss_of_outputs(us.nn.CrossEntropy(class_weight=[1.0, 0.0, 2.0]), Z, y)
    keep = y != 1
    cut, _ = loss_of_outputs(us.nn.CrossEntropy(class_weight=[1.0, 5.0, 2.0]), Z[keep], y[keep])
    assert land.loss(theta) == pytest.approx(cut.loss(theta), rel=1e-13)


def test_loss_hessian_in_closed_form():
    """One linear layer and cross-entropy: H = Σ (diag p − p pᵀ) ⊗ x xᵀ / N."""
    case = Case("softmax", IDENTITY, "cross_entropy", samples=25)
    X, y, _ = case.data()
    theta = case.theta()
    land = us.NetworkLandscape(case.network(us), case.loss_function(us), X, y)
    Z = X @ theta.reshape(3, 3).T
    p = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
    H = sum(np.kron(np.diag(q) - np.outer(q, q), np.outer(x, x)) for q, x in zip(p, X, strict=True)) / len(X)
    assert relative_error(land.hessian(theta) @ np.eye(9), H) <= 1e-13


def test_reference_formulas_are_all_used():
    assert {row[0] for row in LOSSES.values()} == set(FORMULAS)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: us.nn.CrossEntropy(label_smoothing=-0.1), "label_smoothing"),
        (lambda: us.nn.CrossEntropy(label_smoothing=1.1), "label_smoothing"),
        (lambda: us.nn.CrossEntropy(label_smoothing=np.nan), "label_smoothing"),
        (lambda: us.nn.CrossEntropy(class_weight=[1.0, -1.0]), "class_weight"),
        (lambda: us.nn.CrossEntropy(class_weight=[1.0, np.nan]), "class_weight"),
        (lambda: us.nn.CrossEntropy(class_weight=[[1.0, 2.0]]), "class_weight"),
        (lambda: us.nn.CrossEntropy(class_weight="balanced"), "class_weight"),
        (lambda: us.nn.Huber(delta=0.0), "delta"),
        (lambda: us.nn.Huber(delta=-1.0), "delta"),
        (lambda: us.nn.Huber(delta=np.inf), "delta"),
    ],
)
def test_refused_options(make, name):
    with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
        make()


def test_class_weight_of_another_length_is_refused():
    case = Case("labels", IDENTITY, "cross_entropy", samples=9)
    X, y, _ = case.data()
    with pytest.raises(ValueError, match="`class_weight`"):
        us.NetworkLandscape(case.network(us), us.nn.CrossEntropy(class_weight=[1.0, 2.0]), X, y)
