"""P^-½·H·P^-½ of every adaptive rule: P against the step that the rule really took, the operator against a matrix."""

from __future__ import annotations

import numpy as np
import pytest

import real_hessians
import unstuck as us
from unstuck.curvature import preconditioned_operator, preconditioner

o = us.optim
N, LR = 40, 0.01

# the mean of gradients that each step is made of: slot, and its correction after t updates
ADAM = ("first_moment", lambda t: 1 - 0.9**t)
RULES = {
    "Adam": (lambda: o.Adam(lr=LR), *ADAM),
    "AMSGrad": (lambda: o.Adam(lr=LR, amsgrad=True, eps=1e-3), *ADAM),
    "AdamW": (lambda: o.AdamW(lr=LR, weight_decay=0.0, beta2=0.9), *ADAM),
    "RAdam": (lambda: o.RAdam(lr=LR, beta2=0.9, eps=1e-2), *ADAM),
    "RAdam, early": (lambda: o.RAdam(lr=LR), *ADAM),
    "AdaBelief": (lambda: o.AdaBelief(lr=LR, eps=1e-6), *ADAM),
    "AdaMax": (lambda: o.AdaMax(lr=LR, eps=1e-3), *ADAM),
    "RMSProp": (lambda: o.RMSProp(lr=LR), None, None),
    "RMSProp, centred": (lambda: o.RMSProp(lr=LR, centered=True, alpha=0.8), None, None),
    "RMSProp, ε inside": (lambda: o.RMSProp(lr=LR, eps=1e-2, eps_inside=True, initial="one"), None, None),
    "Adagrad": (lambda: o.Adagrad(lr=LR), None, None),
    "Adagrad, mean": (lambda: o.Adagrad(lr=LR, form="mean"), None, None),
    "Composed": (lambda: o.Composed(lr=LR), "momentum_buffer", lambda t: 1 - 0.9**t),
    "Composed, sum": (lambda: o.Composed(lr=LR, momentum="none", size="sum"), None, None),
    "Composed, mean": (lambda: o.Composed(lr=LR, momentum="none", size="mean"), None, None),
    "Composed, largest": (lambda: o.Composed(lr=LR, momentum="none", size="largest"), None, None),
}


def trained(opt, steps=9, zero=()):
    """(the last change of θ, the last gradient)."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=N)
    scales = 10.0 ** rng.uniform(-2, 1, N)
    for _ in range(steps):
        g = scales * (0.5 + rng.uniform(size=N))
        g[list(zero)] = 0.0
        before = theta.copy()
        opt.step(theta, g)
    return theta - before, g


@pytest.mark.parametrize("name", RULES)
def test_p_is_what_the_step_was_divided_by(name):
    make, slot, correction = RULES[name]
    opt = make()
    change, g = trained(opt)
    mean = g if slot is None else opt.value(slot) / correction(opt.t)
    np.testing.assert_allclose(preconditioner(opt), -LR * mean / change, rtol=1e-9)
    assert preconditioner(opt).dtype == np.float64


def test_nadam_has_the_root_of_adam():
    one, two = o.NAdam(lr=LR), o.Adam(lr=LR)
    trained(one)
    trained(two)
    np.testing.assert_allclose(preconditioner(one), preconditioner(two), rtol=1e-12)


def test_parameters_that_do_not_move():
    opt = o.Adam(lr=LR)
    trained(opt, zero=(3, 7))
    assert np.flatnonzero(np.isinf(preconditioner(opt))).tolist() == [3, 7]
    rng = np.random.default_rng(1)
    H = rng.normal(size=(N, N))
    H += H.T
    matrix = preconditioned_operator(H, opt) @ np.eye(N)
    assert not matrix[[3, 7]].any()
    assert not matrix[:, [3, 7]].any()
    opt = o.Adam(lr=LR, per_block={"a": {"lr": 0.5}, "b": {"lr": 0.0}})
    blocks = [("a", slice(0, 10), (10,)), ("b", slice(10, 20), (10,)), ("c", slice(20, N), (20,))]
    opt.init(blocks)
    plain = o.Adam(lr=LR)
    trained(opt)
    trained(plain)
    expected = preconditioner(plain)
    expected[:10] *= 2.0
    expected[10:20] = np.inf
    np.testing.assert_allclose(preconditioner(opt), expected, rtol=1e-12)
    skipping = o.RAdam(lr=LR, early="skip")
    trained(skipping, steps=2)
    assert np.isinf(preconditioner(skipping)).all()


@pytest.mark.parametrize("state", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_operator_against_a_matrix(dtype, state):
    net = us.nn.Network(us.nn.Linear(5, 6), us.nn.Tanh(), us.nn.Linear(6, 3), input_shape=(5,), seed=0, dtype=dtype)
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(60, 5)), np.arange(60) % 3
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
    run = us.Trainer(land, o.Adam(lr=1e-2, state=state, eps=1e-5), batch_size=20, seed=0)
    run.fit(epochs=2)
    H = land.hessian(land.theta)
    dense = np.asarray(H @ np.eye(land.n, dtype=dtype), dtype=np.float64)
    p = preconditioner(run)
    np.testing.assert_array_equal(p, preconditioner(run.opt))
    expected = dense / np.sqrt(np.outer(p, p))
    rtol = 1e-12 if dtype == "float64" else 2e-5
    size = np.abs(expected).max()
    for op in (preconditioned_operator(H, run), preconditioned_operator(H, run.opt), preconditioned_operator(H, p)):
        np.testing.assert_allclose(op @ np.eye(land.n, dtype=dtype), expected, atol=rtol * size)
        v = rng.normal(size=land.n).astype(dtype)
        np.testing.assert_allclose(op @ v, expected @ v, atol=10 * rtol * size)
        assert op.dtype == np.dtype(dtype)
    pairs = us.curvature.eigenpairs(preconditioned_operator(H, run), 3, "largest")
    np.testing.assert_allclose(pairs.values, np.linalg.eigvalsh(expected)[::-1][:3], rtol=100 * rtol)


def test_adam_diverges_where_the_operator_says():
    """At a frozen P: heavy ball on P^-½·H·P^-½ grows just beyond (2 + 2β₁)/((1 − β₁)·lr) (Cohen et al. 2022)."""
    H = np.diag([50.0, 3.0, 0.2])
    opt = o.Adam(lr=1e-3, beta2=1 - 1e-12)
    theta = np.array([1.0, -2.0, 0.5])
    for _ in range(3):
        opt.step(theta, H @ theta)
    p = preconditioner(opt)
    sharpest = us.curvature.eigenpairs(preconditioned_operator(H, opt), 1, "largest").values[0]
    for share, grows in ((0.97, False), (1.03, True)):
        lr = share * (2 + 1.8) / (0.1 * sharpest)
        w, m = np.ones(3), np.zeros(3)
        for _ in range(2000):
            m = 0.9 * m + 0.1 * (H @ w)
            w = w - lr * m / p
            if not np.isfinite(w).all():
                break
        assert (not np.abs(w).max() < 10) == grows


@pytest.mark.parametrize("make", [o.SGD, o.Lion, o.LARS, o.LAMB, o.RMSPropWarmup], ids=lambda c: c.__name__)
def test_rules_without_a_fixed_p_are_refused_by_name(make):
    opt = make(lr=0.1)
    opt.init([("a", slice(0, N), (N,))])
    trained(opt)
    with pytest.raises(us.errors.ArgumentError, match=make.__name__):
        preconditioned_operator(np.eye(N), opt)
    with pytest.raises(us.errors.ArgumentError, match="Composed"):
        preconditioner(o.Composed(lr=0.1, size="none"))


def test_arguments_are_checked():
    fresh = o.Adam(lr=0.1)
    with pytest.raises(us.errors.ArgumentError, match="no update yet"):
        preconditioner(fresh)
    fresh.init(N, "float64")
    with pytest.raises(us.errors.ArgumentError, match="no update yet"):
        preconditioner(fresh)
    trained(fresh)
    with pytest.raises(us.errors.ArgumentError, match="`op` has 3 rows"):
        preconditioned_operator(np.eye(3), fresh)
    with pytest.raises(us.errors.ArgumentTypeError, match="`optimizer`"):
        preconditioned_operator(np.eye(3), "Adam")
    for wrong in (np.array([1.0, -1.0, 1.0]), np.array([1.0, np.nan, 1.0]), np.array(["a"] * 3)):
        with pytest.raises(us.errors.ArgumentError, match="positive"):
            preconditioned_operator(np.eye(3), wrong)
    with pytest.raises(us.errors.ArgumentError, match="square"):
        preconditioned_operator(np.ones((2, 3)), fresh)


@pytest.mark.parametrize("c", real_hessians.SCALES)
def test_it_scales_with_the_operator(c):
    opt = o.Adam(lr=LR)
    trained(opt)
    H = np.random.default_rng(3).normal(size=(N, N))
    H += H.T
    one, other = (preconditioned_operator(s * H, opt) @ np.eye(N) for s in (1.0, c))
    np.testing.assert_allclose(other / c, one, rtol=1e-12)
