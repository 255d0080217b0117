"""bfloat16 and 8-bit state: exact quantisers, right on average, any length, as good as float32 on real tasks."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from optim_cases import FULL, RULES, SIZES, build, case_id, problem, run
from unstuck import _core

LOW_BIT = [(rule, hyper) for rule, hyper in FULL if RULES[rule].elementwise and build(rule, hyper).slot_names]


def table(positive):
    """Values of codes 0, 1, … by definition: the grid of eight points an octave that ends at 1, minus its foot."""
    highest = 255 if positive else 127
    top = next(k for k in range(highest, highest + 9) if k % 8 == 0)
    f = np.array(
        [(1 + (k + top - highest) % 8 / 8) * 2.0 ** ((k + top - highest) // 8 - top // 8) for k in range(highest + 1)]
    )
    assert f[-1] == 1.0
    return f - f[0]


def layout(n):
    """Place of element i among the codes: element 8b + j of a group of 32 is its byte 4j + b."""
    i = np.arange(n)
    return i - i % 32 + i % 8 * 4 + i % 32 // 8


@pytest.mark.parametrize("positive", (True, False))
def test_every_code_decodes_to_its_definition(positive):
    codes = np.arange(256, dtype=np.uint8)
    values = _core.optim_decode(codes, np.ones(1, "f"), positive)
    place, expected = layout(256), table(positive)
    if positive:
        np.testing.assert_allclose(values, expected[codes[place]], rtol=1e-7)
    else:
        magnitudes = expected[codes[place] & 127]
        np.testing.assert_allclose(values, np.where(codes[place] > 127, -magnitudes, magnitudes), rtol=1e-7)
    assert np.all(np.diff(table(positive)) > 0)


@pytest.mark.parametrize("positive", (True, False))
def test_the_quantiser_gives_the_nearest_code_at_every_boundary(positive):
    codes = table(positive)
    middle = ((codes[1:] + codes[:-1]) / 2).astype("f4")
    around = [middle, *(np.nextafter(middle, np.float32(s)) for s in (0, 2)), middle * np.float32(1 + 1e-6)]
    values = np.concatenate([codes.astype("f4"), *around, middle * np.float32(1 - 1e-6)])
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [values, (2.0 ** rng.uniform(-40, 0, 20_000)).astype("f4"), np.linspace(0, 1, 20_001, dtype="f4")]
    )
    values = values[values <= codes[-1]]
    if not positive:
        values = np.concatenate([values, -values])
    padded = np.zeros(-(-values.size // 255) * 256, "f4")  # each block of 256 holds the top, so that all scales agree
    padded.reshape(-1, 256)[:, 0] = np.float32(codes[-1])
    room = padded.reshape(-1, 256)[:, 1:]
    filled = np.zeros(room.size, "f4")
    filled[: values.size] = values
    room[:] = filled.reshape(room.shape)
    found, scales = _core.optim_encode(padded, positive, True, 0)
    np.testing.assert_allclose(scales, 1.0, rtol=2e-7)
    decoded = _core.optim_decode(found, np.ones_like(scales), positive)
    chosen = np.abs(np.abs(padded) - np.abs(decoded.astype("f8")))
    best = np.abs(np.abs(padded)[:, None].astype("f8") - codes[None]).min(axis=1)
    ties = 3e-7 * (np.abs(padded) + 8 * codes[1])  # float32's rounding of value/scale + f(0)
    assert np.all(chosen <= best + ties)
    small = np.abs(padded)
    assert np.all(decoded[small < 0.499999 * codes[1]] == 0)
    assert np.all(decoded[small > 0.500001 * codes[1]] != 0)
    assert np.all(decoded * padded >= 0)


@pytest.mark.parametrize("nearest_code", (True, False))
@pytest.mark.parametrize("positive", (True, False))
def test_zero_stays_zero_and_the_largest_stays_itself(positive, nearest_code):
    for n in (1, 7, 31, 32, 33, 255, 256, 257, 1000):
        values = np.zeros(n, "f4")
        values[::3] = np.linspace(1, 2, values[::3].size) * 1e-12
        codes, scales = _core.optim_encode(values, positive, nearest_code, 5)
        assert codes.size == -(-n // 32) * 32
        assert scales.size == -(-n // 256)
        decoded = _core.optim_decode(codes, scales, positive)
        assert not decoded[n:].any()
        assert np.all(decoded[:n][values == 0] == 0)
        for start in range(0, n, 256):
            block = slice(start, start + 256)
            np.testing.assert_allclose(decoded[block].max(), values[block].max(), rtol=3e-7)
    zero = _core.optim_encode(np.zeros(40, "f4"), positive, nearest_code, 5)
    assert not zero[0].any()
    assert not zero[1].any()


@pytest.mark.parametrize("positive", (True, False))
def test_stochastic_rounding_is_right_on_average(positive):
    values = np.float32(2.0) ** -np.arange(0.3, 40, 1.7, dtype="f4")
    values = np.concatenate([[1.0], values, [0.0]]).astype("f4")
    seeds = np.random.default_rng(0).integers(0, 2**32, 20_000)
    draws = np.array(
        [_core.optim_decode(*_core.optim_encode(values, positive, False, int(s)), positive) for s in seeds]
    )[:, : values.size]
    codes = table(positive) / table(positive)[-1]
    above = np.clip(np.searchsorted(codes, values), 1, len(codes) - 1)
    low, high = codes[above - 1], codes[above]
    variance = np.maximum((values - low) * (high - values), 0)
    error = draws.mean(axis=0, dtype="f8") - values
    assert np.all(np.abs(error) <= 5 * np.sqrt(variance / len(draws)) + 3e-7 * (values + 8 * codes[1]))
    assert np.all((draws >= low * (1 - 1e-6)) & (draws <= high * (1 + 1e-6)))


def test_bfloat16_rounds_as_torch_does():
    torch = pytest.importorskip("torch", reason="needs torch")
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**32, 200_000, dtype=np.uint32).view("f4")
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 1e-40, 1.0, 1.00390625], "f4")
    values = np.concatenate([values, special])
    found = _core.optim_bfloat16(values, True, 0)
    expected = torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()
    nan = np.isnan(values)
    assert np.array_equal(found[~nan], expected[~nan])
    assert np.all(np.isnan((found[nan].astype(np.uint32) << 16).view("f4")))


def test_stochastic_bfloat16_is_right_on_average():
    values = np.array([1.0, 1.001, 3.1415927, -2.71828, 1e-20], "f4")
    draws = np.array(
        [(_core.optim_bfloat16(values, False, s).astype(np.uint32) << 16).view("f4") for s in range(20_000)]
    )
    np.testing.assert_allclose(draws.mean(axis=0), values, rtol=1e-4)
    assert np.all(draws[:, 0] == 1.0)


@pytest.mark.parametrize("state", ("bfloat16", "int8"))
@pytest.mark.parametrize(("rule", "hyper"), LOW_BIT, ids=case_id)
def test_a_first_step_is_that_of_full_precision(rule, hyper, state):
    for dtype in ("float32", "float64"):
        for n in (*SIZES, 1023, 1025, 8192 + 33):
            theta, gradients = problem(n, dtype, steps=1)
            plain = {k: v for k, v in hyper.items() if k != "initial_accumulator"}  # 0.1 is rounded
            full, low = build(rule, plain), build(rule, {**plain, "state": state})
            a, b = run(full, theta, gradients), run(low, theta, gradients)
            assert a.tobytes() == b.tobytes()
            for name in full.slot_names:
                exact, rounded = full.value(name), low.value(name)
                assert exact.shape == rounded.shape == (n,)
                if state == "bfloat16":
                    assert np.all(np.abs(rounded - exact) <= 0.008 * np.abs(exact))
                else:
                    largest = np.repeat([np.abs(exact[i : i + 256]).max() for i in range(0, n, 256)], 256)[:n]
                    assert np.all(np.abs(rounded - exact) <= 0.126 * np.abs(exact) + 1e-5 * largest)


@pytest.mark.parametrize("rounding", ("nearest", "stochastic"))
@pytest.mark.parametrize("state", ("bfloat16", "int8"))
@pytest.mark.parametrize("rule", ("Adam", "AdamW", "Adagrad", "RMSProp", "SGD"))
def test_low_bit_runs_repeat_for_any_number_of_threads(rule, state, rounding, threads):
    theta, gradients = problem(100_003, "float32", steps=3)
    hyper = {"momentum": 0.9} if rule == "SGD" else {}
    results = set()
    for count in (1, 2, 3):
        threads(count)
        optimizer = build(rule, {**hyper, "state": state, "rounding": rounding})
        results.add(run(optimizer, theta, gradients).tobytes() + b"".join(s.tobytes() for s in optimizer.slots))
    assert len(results) == 1


@pytest.mark.parametrize("state", ("bfloat16", "int8"))
def test_saved_state_keeps_its_type_and_continues_to_the_bit(state, tmp_path):
    X, y = us.data.digits()

    def fresh():
        net = us.nn.Network(us.nn.Linear(64, 21), us.nn.Tanh(), us.nn.Linear(21, 10), input_shape=(64,), seed=0)
        return us.NetworkLandscape(net, us.nn.CrossEntropy(), X, y)

    run_ = us.Trainer(fresh(), us.optim.Adam(lr=1e-3, state=state), batch_size=50, seed=1, ema=0.9)
    run_.fit(steps=10)
    run_.save(tmp_path / "run.ckpt")
    again = us.Trainer.load(tmp_path / "run.ckpt", fresh())
    assert [s.dtype for s in again.opt.slots] == [s.dtype for s in run_.opt.slots]
    assert again.digest() == run_.digest()
    run_.fit(steps=10)
    again.fit(steps=10)
    assert again.digest() == run_.digest()


def test_a_nan_makes_its_block_nan_and_no_other():
    theta, g = np.ones(600, "f"), np.ones(600, "f")
    optimizer = us.optim.Adam(state="int8")
    optimizer.step(theta, g)
    g[300] = np.nan
    optimizer.step(theta, g)
    second = optimizer.value("second_moment")
    assert np.isnan(second[256:512]).all()
    assert np.isfinite(second[:256]).all()
    assert np.isfinite(second[512:]).all()


def final_loss(state, seed=0):
    X, y = us.data.digits()
    net = us.nn.Network(us.nn.Linear(64, 64), us.nn.Tanh(), us.nn.Linear(64, 10), input_shape=(64,), seed=seed)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), X / 16 if X.max() > 1 else X, y)
    us.Trainer(land, us.optim.Adam(lr=2e-3, state=state), batch_size=64, seed=0).fit(epochs=12)
    return land.loss(net.theta)


@pytest.mark.parametrize("state", ("bfloat16", "int8"))
def test_digits_are_learnt_as_well_as_with_full_state(state):
    full, low = final_loss(None), final_loss(state)
    assert abs(low - full) <= 0.02 * full


@pytest.mark.parametrize("state", ("bfloat16", "int8"))
def test_a_quadratic_is_descended_as_with_full_state(state):
    rng = np.random.default_rng(0)
    curvature = 10.0 ** rng.uniform(-2, 1, 2000)
    losses = []
    for kind in (None, state):
        theta, optimizer = np.ones(2000, "f"), us.optim.Adam(lr=1e-2, state=kind)
        for _ in range(60):
            optimizer.step(theta, (curvature * theta).astype("f"))
        losses.append(0.5 * np.sum(curvature * theta.astype("f8") ** 2))
    assert abs(losses[1] - losses[0]) <= 0.02 * losses[0]
