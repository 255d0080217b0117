"""Blocks of θ: trust ratios against an oracle for each block, factors of rate and decay, exclusion."""

from __future__ import annotations

import json

import numpy as np
import pytest

import unstuck as us
from optim_cases import CASES, FULL, RULES, build, case_id, problem, rate

LAYERWISE = [(rule, hyper) for rule, hyper in CASES if not RULES[rule].elementwise]
SHAPES = [("0.weight", (9, 7)), ("0.bias", (7,)), ("1.weight", (130, 70)), ("1.bias", (1,)), ("2.weight", (300, 300))]


def make_blocks(shapes=SHAPES):
    blocks, end = [], 0
    for name, shape in shapes:
        size = int(np.prod(shape))
        blocks.append((name, slice(end, end + size), shape))
        end += size
    return blocks, end


@pytest.mark.parametrize(("rule", "hyper"), LAYERWISE, ids=case_id)
@pytest.mark.parametrize("dtype", ("float32", "float64"))
def test_trust_ratios_match_the_oracle_block_by_block(rule, hyper, dtype):
    blocks, n = make_blocks(SHAPES if (rule, hyper) in FULL else SHAPES[:3])
    theta, gradients = problem(n, dtype, steps=5)
    theta[blocks[1][1]] = 0  # a bias at zero: its ratio is 1, so that it moves
    optimizer, found = build(rule, hyper), theta.copy()
    optimizer.init(blocks)
    expected, states = theta.astype("f8"), [{} for _ in blocks]
    for t, g in enumerate(gradients):
        optimizer.lr = rate(rule, t)
        report = optimizer.step(found, g, report=True)
        for (_, part, _), state in zip(blocks, states, strict=True):
            expected[part] = RULES[rule].oracle(
                expected[part], g[part].astype("f8"), state, rate(rule, t), t + 1, **hyper
            )
    limit = 3e-6 if dtype == "float32" else 1e-12
    assert np.max(np.abs(found - expected)) <= limit * np.max(np.abs(expected))
    assert report.trust_ratio.shape == (len(blocks),)
    adapts = hyper["weight_decay"] or hyper["always_adapt"]
    assert np.all(report.trust_ratio == 1) or adapts


@pytest.mark.parametrize("rule", ["LARS", "LAMB"])
def test_zero_blocks_and_zero_gradients_do_not_freeze_or_break(rule):
    blocks, n = make_blocks(SHAPES[:3])
    theta, (g,) = problem(n, "float32", steps=1)
    theta[blocks[0][1]] = 0
    g[blocks[1][1]] = 0
    optimizer = getattr(us.optim, rule)(lr=0.1, weight_decay=0.01)
    optimizer.init(blocks)
    start = theta.copy()
    report = optimizer.step(theta, g, report=True)
    assert np.isfinite(theta).all()
    assert report.trust_ratio[0] == 1.0
    assert np.all(theta[blocks[0][1]] != start[blocks[0][1]])


@pytest.mark.parametrize(("rule", "hyper"), FULL, ids=case_id)
def test_factors_of_a_block_equal_an_optimizer_of_its_own(rule, hyper):
    blocks, n = make_blocks(SHAPES[:4])
    theta, gradients = problem(n, "float64", steps=4)
    per_block = {"*.bias": {"weight_decay": 0.0}, "0.*": {"lr": 0.25}, "1.weight": {"lr": 2.0, "weight_decay": 3.0}}
    factors = [(0.25, 1.0), (0.25, 0.0), (2.0, 3.0), (1.0, 0.0)]
    whole = build(rule, {**hyper, "per_block": per_block})
    whole.init(blocks)
    alone = [build(rule, {**hyper, "weight_decay": hyper["weight_decay"] * decay}) for _, decay in factors]
    found, expected = theta.copy(), theta.copy()
    for t, g in enumerate(gradients):
        whole.lr = rate(rule, t)
        whole.step(found, g)
        for optimizer, (factor, _), (_, part, _) in zip(alone, factors, blocks, strict=True):
            optimizer.lr = rate(rule, t) * factor
            piece = expected[part].copy()
            optimizer.step(piece, g[part].copy())
            expected[part] = piece
    assert found.tobytes() == expected.tobytes()


def test_excluded_blocks_have_a_ratio_of_one_and_no_decay():
    blocks, n = make_blocks(SHAPES[:4])
    theta, (g,) = problem(n, "float64", steps=1)
    settings = us.optim.exclude_vectors(blocks)
    assert list(settings) == ["0.bias", "1.bias"]
    optimizer = us.optim.LAMB(lr=0.1, weight_decay=0.5, per_block=settings)
    optimizer.init(blocks)
    start = theta.copy()
    report = optimizer.step(theta, g, report=True)
    assert report.trust_ratio[1] == report.trust_ratio[3] == 1.0
    assert report.trust_ratio[0] != 1.0
    np.testing.assert_allclose(theta[blocks[1][1]], start[blocks[1][1]] - 0.1 * np.sign(g[blocks[1][1]]), rtol=1e-5)


def test_larc_never_exceeds_the_learning_rate():
    theta, g = np.full(16, 100.0), np.full(16, 1e-3)
    plain = us.optim.LARS(lr=0.1, weight_decay=1e-4, trust_coefficient=0.02)
    larc = us.optim.LARS(lr=0.1, weight_decay=1e-4, trust_coefficient=0.02, trust_clip=True)
    assert plain.step(theta.copy(), g, report=True).trust_ratio[0] > 1
    assert larc.step(theta.copy(), g, report=True).trust_ratio[0] == 1.0


def test_per_block_is_checked():
    blocks, _ = make_blocks(SHAPES[:2])
    for bad, error, text in [
        (5, us.errors.ArgumentTypeError, "`per_block` must map block names"),
        ({"a": 1}, us.errors.ArgumentTypeError, "`per_block` must map block names"),
        ({"a": {"rate": 1}}, us.errors.ArgumentError, "may hold lr, weight_decay, trust_ratio"),
        ({"a": {"lr": -1}}, us.errors.ArgumentError, "`per_block['a']['lr']` must be a finite number ≥ 0"),
        ({"a": {"trust_ratio": 3}}, us.errors.ArgumentTypeError, "`per_block['a']['trust_ratio']` must be False or"),
    ]:
        with pytest.raises(error) as caught:
            us.optim.SGD(per_block=bad)
        assert text in str(caught.value)
    optimizer = us.optim.SGD(per_block={"9.*": {"lr": 0.5}})
    with pytest.raises(us.errors.ArgumentError, match=r"'9\.\*' matches no block"):
        optimizer.init(blocks)
    with pytest.raises(us.errors.ArgumentError, match="`per_block` needs the blocks"):
        optimizer.init(70)
    with pytest.raises(us.errors.ArgumentError, match="`per_block` needs the blocks"):
        optimizer.step(np.ones(70), np.ones(70))


def test_blocks_and_factors_are_part_of_the_state():
    blocks, n = make_blocks(SHAPES[:4])
    theta, gradients = problem(n, "float32", steps=4)
    optimizer = us.optim.LAMB(lr=0.1, per_block=us.optim.exclude_vectors(blocks))
    optimizer.init(blocks)
    optimizer.step(theta, gradients[0])
    state = optimizer.state()
    plain = {key: value for key, value in state.items() if key != "slots"}
    twin = us.optim.from_state({**json.loads(json.dumps(plain)), "slots": state["slots"]})
    assert twin.blocks == blocks
    other = theta.copy()
    for g in gradients[1:]:
        optimizer.step(theta, g)
        twin.step(other, g)
    assert other.tobytes() == theta.tobytes()


def test_a_network_trains_with_factors_an_average_and_low_bit_state():
    X, y = us.data.digits()
    results = []
    for _ in range(2):
        net = us.nn.Network(us.nn.Linear(64, 32), us.nn.ReLU(), us.nn.Linear(32, 10), input_shape=(64,), seed=0)
        land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)
        opt = us.optim.AdamW(
            lr=us.schedules.warmup_cosine(5e-3, 20, 200),
            beta1=lambda t: 0.85 + t / 4000,
            state="int8",
            per_block=us.optim.exclude_vectors(net.blocks),
        )
        run = us.Trainer(land, opt, batch_size=64, seed=0, clip_norm=1.0, ema=0.9)
        run.fit(steps=100)
        results.append(net.theta.tobytes() + run.average.tobytes() + b"".join(s.tobytes() for s in opt.slots))
        assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]
    assert results[0] == results[1]
