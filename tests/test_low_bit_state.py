"""bfloat16 and 8-bit state: exact quantisers, right on average, any length, as good as float32 on real tasks."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from optim_cases import FULL, RULES, SIZES, build, case_id, problem, run
from unstuck import _core

LOW_BIT = [(rule, hyper) for rule, hyper in FULL if RULES[rule].elementwise and build(rule, hyper).slot_names]


STEP = 1 << 20  # of the bits of a float32: points with three bits of mantissa
HIGHEST = {True: 255, False: 127}


def grid(scale, positive):
    """What the codes 0, 1, … of a block stand for by definition, in float32: F(B + k) − F(B), F(B) the scale."""
    base = np.float32(scale).view(np.uint32)
    points = (base + np.arange(HIGHEST[positive] + 1, dtype=np.uint32) * np.uint32(STEP)).view("f4")
    return points - np.float32(scale)


def layout(n, group=32):
    """Place of element i among the codes: element 8b + j of a group is part b of word j."""
    i = np.arange(n)
    return i - i % group + i % 8 * (group // 8) + i % group // 8


@pytest.mark.parametrize("positive", (True, False))
def test_every_code_decodes_to_its_definition(positive):
    codes = np.arange(256, dtype=np.uint8)
    place = codes[layout(256)]
    for scale in np.array([2.0**-32, 1.125 * 2.0**-30, 3.0, 2.0**-119], "f4"):
        values, expected = _core.optim_decode(codes, np.array([scale]), positive), grid(scale, positive)
        assert np.all(np.diff(expected) > 0)
        if positive:
            assert np.array_equal(values, expected[place])
        else:
            magnitudes = expected[place & 127]
            assert np.array_equal(values, np.where(place > 127, -magnitudes, magnitudes))


def boundary_values(points):
    """Every code's value and float32 numbers on both sides of every boundary, up to eight units in the last place."""
    middle = (points[1:].astype("f8") + points[:-1]) / 2
    nearest = middle.astype("f4")
    bits = nearest.view(np.int32)[:, None] + np.arange(-8, 9, dtype=np.int32)
    return np.concatenate([points, np.maximum(bits, 0).view("f4").ravel()])


def encoded(values, largest, positive):
    """Decoded values when every block of 256 also holds `largest`; (values, decoded), both without it."""
    padded = np.zeros((-(-values.size // 255), 256), "f4")
    padded[:, 0] = largest
    padded[:, 1:].flat[: values.size] = values
    codes, scales = _core.optim_encode(padded.ravel(), positive, True, 0)
    assert np.unique(scales).size == 1
    decoded = _core.optim_decode(codes, scales, positive).reshape(padded.shape)
    return padded[:, 1:].ravel(), decoded[:, 1:].ravel(), grid(scales[0], positive)


@pytest.mark.parametrize("largest", (1.0, 1.0624999, 1.2345678, 1.9999999, 3e-30, 7.7e20))
@pytest.mark.parametrize("positive", (True, False))
def test_the_quantiser_gives_the_nearest_code_for_every_number(positive, largest):
    largest = np.float32(largest)
    points = encoded(np.zeros(1, "f4"), largest, positive)[2]
    rng = np.random.default_rng(0)
    spread = (largest * 2.0 ** rng.uniform(-44, 0, 60_000)).astype("f4")
    values = np.concatenate([boundary_values(points), spread, np.linspace(0, largest, 20_001, dtype="f4")])
    values = values[values <= largest]
    if not positive:
        values = np.concatenate([values, -values])
    values, decoded, points = encoded(values, largest, positive)
    assert np.isin(np.abs(decoded), points).all()
    magnitude, exact = np.abs(values).astype("f8"), points.astype("f8")
    above = np.clip(np.searchsorted(exact, magnitude), 1, exact.size - 1)
    low, high = exact[above - 1], exact[above]
    expected = np.where(magnitude - low > high - magnitude, high, low)  # a tie goes to the smaller magnitude
    assert np.array_equal(np.abs(decoded), expected)
    assert np.all(np.sign(decoded) * np.sign(values) >= 0)
    assert np.all(decoded[values == 0] == 0)


@pytest.mark.parametrize("nearest_code", (True, False))
@pytest.mark.parametrize("positive", (True, False))
def test_zero_stays_zero_and_the_largest_is_within_a_step(positive, nearest_code):
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
            np.testing.assert_allclose(
                decoded[block].max(), values[block].max(), rtol=1 / 16 if nearest_code else 1 / 8
            )
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
    codes = grid(_core.optim_encode(values, positive, False, 0)[1][0], positive).astype("f8")
    above = np.clip(np.searchsorted(codes, values), 1, len(codes) - 1)
    low, high = codes[above - 1], codes[above]
    variance = np.maximum((values - low) * (high - values), 0)
    error = draws.mean(axis=0, dtype="f8") - values
    assert np.all(np.abs(error) <= 5 * np.sqrt(variance / len(draws)) + 3e-7 * (values + 8 * codes[1]))
    assert np.all((draws >= low * (1 - 1e-6)) & (draws <= high * (1 + 1e-6)))


@pytest.mark.parametrize("slot", (0, 1))
@pytest.mark.parametrize("state", ("bfloat16", "int8"))
def test_stochastic_state_follows_full_precision_on_average(state, slot):
    n, steps = 4096, 40
    theta, g = np.zeros(n, "f4"), np.full(n, 0.7, "f4")
    exact, rounded = us.optim.Adam(beta2=0.99), us.optim.Adam(beta2=0.99, state=state)
    for _ in range(steps):
        exact.step(theta, g)
        rounded.step(theta, g)
    name = exact.slot_names[slot]
    step = 2.0**-8 if state == "bfloat16" else 2.0**-3
    mean, own = rounded.value(name).mean(), exact.value(name)[0]
    assert abs(mean / own - 1) <= 5 * step * np.sqrt(steps / n)
    assert np.unique(rounded.value(name)).size > 1


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
                    assert np.all(np.abs(rounded - exact) <= 0.126 * np.abs(exact) + 3e-5 * largest)


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


@pytest.mark.parametrize("state", ("bfloat16", "int8"))
def test_a_block_cut_by_settings_gives_the_bits_of_a_whole_one(state):
    theta, gradients = problem(1000, "float32", steps=3)
    results = []
    for ends in ((1000,), (3, 17, 300, 301, 555, 1000)):
        blocks = [(str(i), slice(i, k), (k - i,)) for i, k in zip((0, *ends), ends, strict=False)]
        optimizer = us.optim.AdamW(
            state=state, per_block={"17": {"weight_decay": 1 + 1e-12}} if len(ends) > 1 else None
        )
        optimizer.init(blocks)
        results.append(run(optimizer, theta, gradients).tobytes() + b"".join(s.tobytes() for s in optimizer.slots))
    assert results[0] == results[1]


def test_state_of_an_earlier_layout_is_refused():
    optimizer = us.optim.Adam(state="bfloat16")
    optimizer.step(np.ones(32, "f"), np.ones(32, "f"))
    state = optimizer.state()
    del state["layout"]
    with pytest.raises(us.errors.ArgumentError, match="earlier version"):
        us.optim.Adam().load_state(state)
    us.optim.Adam().load_state({**state, "layout": 2})


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
