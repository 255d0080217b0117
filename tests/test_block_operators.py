"""Operators of one block of parameters and of all blocks without what couples them: against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck.curvature import eigenpairs


def test_curvature_of_one_block():
    rng = np.random.default_rng(6)
    matrix = rng.standard_normal((60, 60))
    matrix += matrix.T
    op = us.operators.as_operator(matrix)
    for block in (slice(10, 30), ("0.weight", slice(10, 30), (4, 5)), np.arange(10, 30), np.arange(60) // 20 == 1):
        where = block[1] if isinstance(block, tuple) else block
        part = us.curvature.block_operator(op, block)
        inner = matrix[where][:, where]
        np.testing.assert_allclose(part @ np.eye(20), inner, atol=1e-12)
        np.testing.assert_allclose(eigenpairs(part, 2).values, np.linalg.eigvalsh(inner)[:2], atol=1e-10)
    blocks = [("a", slice(0, 25), (25,)), ("b", slice(25, 55), (30,))]
    split = us.curvature.block_diagonal_operator(op, blocks)
    expected_matrix = np.zeros((60, 60))
    expected_matrix[:25, :25], expected_matrix[25:55, 25:55] = matrix[:25, :25], matrix[25:55, 25:55]
    np.testing.assert_allclose(split @ np.eye(60), expected_matrix, atol=1e-12)
    error = us.errors.ArgumentError
    for bad in (slice(5, 5), slice(0, 61), slice(0, 10, 2), [], [60], [1, 1], np.ones(3, bool)):
        with pytest.raises(error, match="`block`"):
            us.curvature.block_operator(op, bad)
    for bad in ("0.weight", 3, None):
        with pytest.raises(us.errors.ArgumentTypeError, match="`block`"):
            us.curvature.block_operator(op, bad)
    for bad in ([], [slice(0, 10), slice(9, 20)]):
        with pytest.raises(error, match="`blocks`"):
            us.curvature.block_diagonal_operator(op, bad)


def test_curvature_of_one_layer():
    rng = np.random.default_rng(7)
    net = us.nn.Network(us.nn.Linear(4, 5), us.nn.Tanh(), us.nn.Linear(5, 3), input_shape=(4,), seed=0, dtype="float64")
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), rng.standard_normal((40, 4)), rng.integers(0, 3, 40))
    op = land.hessian(net.theta)
    whole = op @ np.eye(land.n)
    name, where, _ = land.blocks[2]
    assert name.endswith("weight")
    part = eigenpairs(us.curvature.block_operator(op, land.blocks[2]), 1, "largest")
    np.testing.assert_allclose(part.values, np.linalg.eigvalsh(whole[where, where])[-1:], atol=1e-10)
    split = eigenpairs(us.curvature.block_diagonal_operator(op, land.blocks), 1, "largest")
    each = [np.linalg.eigvalsh(whole[s, s])[-1] for _, s, _ in land.blocks]
    np.testing.assert_allclose(split.values, max(each), atol=1e-10)
