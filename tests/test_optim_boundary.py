"""Optimizers at their boundary: refusals change nothing, state continues to the bit, copies are apart."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

import unstuck as us
from optim_cases import FULL, RULES, build, case_id, problem, run
from unstuck import _core

every_full_case = pytest.mark.parametrize(("rule", "hyper"), FULL, ids=case_id)
every_dtype = pytest.mark.parametrize("dtype", ("float32", "float64"))


def refusals():
    """(name, arguments of step for float32 optimizers of 8 parameters, error, part of the message)."""
    good = np.ones(8, "f")
    locked, strided, reversed_view = good.copy(), np.ones(16, "f")[::2], np.ones(8, "f")[::-1]
    locked.flags.writeable = False
    memory = np.ones(12, "f")
    shifted = np.frombuffer(bytearray(33), "u1")[1:].view("f")
    layout, kind, value = us.errors.ArgumentTypeError, us.errors.ArgumentTypeError, us.errors.ArgumentError
    return [
        ("theta-float64", (np.ones(8), good), kind, "`theta` must be float32"),
        ("theta-half", (np.ones(8, "f2"), good), kind, "`theta` must be float32"),
        ("theta-int", (np.ones(8, "i4"), good), kind, "`theta` must be float32"),
        ("theta-complex", (np.ones(8, "c8"), good), kind, "`theta` must be float32"),
        ("theta-object", (np.ones(8, object), good), kind, "`theta` must be float32"),
        ("theta-big-endian", (np.ones(8, ">f4"), good), kind, "`theta` must be float32"),
        ("theta-list", ([1.0] * 8, good), kind, "`theta` must be a NumPy array, got list"),
        ("theta-none", (None, good), kind, "`theta` must be a NumPy array, got NoneType"),
        ("theta-read-only", (locked, good), layout, "`theta` is read-only"),
        (
            "theta-broadcast",
            (np.broadcast_to(np.float32(1), 8), good),
            layout,
            "`theta` must be C-contiguous",
        ),
        ("theta-strided", (strided, good), layout, "`theta` must be C-contiguous"),
        ("theta-reversed", (reversed_view, good), layout, "`theta` must be C-contiguous"),
        ("theta-shifted", (shifted, good), layout, "`theta` is not aligned"),
        ("theta-short", (np.ones(7, "f"), good), value, "`theta` must have shape (8,)"),
        ("theta-matrix", (np.ones((2, 4), "f", order="F"), good), value, "`theta` must have shape (8,)"),
        ("theta-empty", (np.ones(0, "f"), np.ones(0, "f")), value, "`theta` must have shape (8,)"),
        ("gradient-float64", (good, np.ones(8)), kind, "`gradient` must be float32"),
        ("gradient-int", (good, np.ones(8, "i8")), kind, "`gradient` must be float32"),
        ("gradient-list", (good, [1.0] * 8), kind, "`gradient` must be a NumPy array, got list"),
        ("gradient-long", (good, np.ones(9, "f")), value, "`gradient` must have shape (8,)"),
        ("gradient-empty", (good, np.ones(0, "f")), value, "`gradient` must have shape (8,)"),
        ("gradient-column", (good, np.ones((8, 1), "f")), value, "`gradient` must have shape (8,)"),
        ("gradient-strided", (good, strided), layout, "`gradient` must be C-contiguous"),
        ("gradient-reversed", (good, reversed_view), layout, "`gradient` must be C-contiguous"),
        ("same", (good, good), value, "`theta` and `gradient` share memory"),
        ("overlap", (memory[:8], memory[4:]), value, "`theta` and `gradient` share memory"),
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("name", "arguments", "error", "message"), refusals(), ids=[r[0] for r in refusals()])
def test_a_refused_step_names_the_argument_and_changes_nothing(rule, name, arguments, error, message):
    optimizer = build(rule)
    optimizer.init(8, dtype="float32")
    before = copy.deepcopy(arguments)
    with pytest.raises(error) as caught:
        optimizer.step(*arguments)
    assert message in str(caught.value)
    assert optimizer.t == 0
    assert all(not slot.any() for slot in optimizer.slots)
    for kept, given in zip(before, arguments, strict=True):
        assert np.array_equal(kept, given)


def test_a_refused_first_step_leaves_the_optimizer_new():
    optimizer = us.optim.Adam()
    for theta, g in (
        (np.ones(3), np.ones(4)),
        (np.ones(0), np.ones(0)),
        (np.ones(3, "i4"), np.ones(3, "i4")),
    ):
        with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError)):
            optimizer.step(theta, g)
        assert (optimizer.n, optimizer.dtype, optimizer.slots, optimizer.t) == (None, None, [], 0)
    optimizer.step(np.ones(5, "f"), np.ones(5, "f"))
    assert (optimizer.n, optimizer.dtype, optimizer.t) == (5, np.float32, 1)


def test_slots_may_not_share_memory():
    optimizer = us.optim.Adam()
    optimizer.init(6, dtype="float64")
    theta = np.ones(6)
    optimizer.slots[1] = optimizer.slots[0]
    with pytest.raises(us.errors.ArgumentError, match="`first_moment` and `second_moment` share memory"):
        optimizer.step(theta, np.ones(6))
    optimizer.slots[1] = theta
    with pytest.raises(us.errors.ArgumentError, match="`theta` and `second_moment` share memory"):
        optimizer.step(theta, np.ones(6))
    assert np.all(theta == 1)


REFUSED = [(name, arguments, text) for name, rule in RULES.items() for arguments, text in rule.refused]
REFUSED += [
    (name, {"lr": lr}, f"`lr` must be a finite number ≥ 0, got {text}")
    for name in RULES
    for lr, text in (
        (-1.0, "-1"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        ("fast", "'fast'"),
        (None, "None"),
    )
]


@pytest.mark.parametrize(("rule", "arguments", "message"), REFUSED, ids=case_id)
def test_hyper_parameters_are_checked_at_construction(rule, arguments, message):
    with pytest.raises((us.errors.ArgumentError, us.errors.ArgumentTypeError)) as caught:
        getattr(us.optim, rule)(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("value", ["yes", 2, 0.5, None, [1]])
def test_a_switch_is_false_or_true(value):
    with pytest.raises(us.errors.ArgumentTypeError, match="`amsgrad` must be False or True"):
        us.optim.Adam(amsgrad=value)


def test_init_takes_a_size_or_blocks():
    optimizer = us.optim.Adam()
    blocks = [("0.weight", slice(0, 6), (2, 3)), ("0.bias", slice(6, 8), (2,))]
    optimizer.init(blocks, dtype=np.float64)
    assert (optimizer.n, optimizer.blocks, [s.shape for s in optimizer.slots]) == (8, blocks, [(8,), (8,)])
    optimizer.step(np.ones(8), np.ones(8))
    optimizer.init(np.int64(3))
    assert (optimizer.n, optimizer.blocks, optimizer.slots, optimizer.t) == (3, None, [], 0)
    for bad in (0, -1, [], [blocks[1]], [blocks[0], blocks[0]], [("a", slice(0, 4), (5,))]):
        with pytest.raises(us.errors.ArgumentError, match="`size` must be"):
            optimizer.init(bad)
    for bad in ("float16", int, "nonsense", object()):
        with pytest.raises(us.errors.ArgumentTypeError, match="`dtype` must be float32 or float64"):
            optimizer.init(3, dtype=bad)
    assert optimizer.n == 3


def test_lr_may_be_set_and_may_be_a_schedule():
    optimizer, theta = us.optim.SGD(lr=0.5), np.zeros(3)
    optimizer.step(theta, np.ones(3))
    optimizer.lr = 0.25
    optimizer.step(theta, np.ones(3))
    optimizer.lr = lambda t: [9.0, 9.0, 0.125, 0.0625][t]
    assert optimizer.rate(3) == 0.0625
    optimizer.step(theta, np.ones(3))
    optimizer.step(theta, np.ones(3))
    assert np.all(theta == -0.9375)
    for bad in (-1.0, float("nan"), float("inf")):
        optimizer.lr = lambda t, bad=bad: bad
        with pytest.raises(us.errors.ArgumentError, match=r"`lr\(4\)` must be a finite number ≥ 0"):
            optimizer.step(theta, np.ones(3))
    assert optimizer.t == 4
    assert np.all(theta == -0.9375)


@every_full_case
@every_dtype
def test_state_continues_to_the_bit(rule, hyper, dtype):
    theta, gradients = problem(37, dtype, steps=9)
    optimizer = build(rule, hyper)
    point = run(optimizer, theta, gradients[:4])
    state = optimizer.state()
    plain = {key: value for key, value in state.items() if key != "slots"}
    assert json.loads(json.dumps(plain)) == plain
    through_json = {**json.loads(json.dumps(plain)), "slots": dict(reversed(state["slots"].items()))}
    loaded = build(rule)
    loaded.load_state(through_json)
    twins = [optimizer, optimizer.copy(), copy.deepcopy(optimizer), loaded, us.optim.from_state(through_json)]
    results = {run(twin, point, gradients[4:]).tobytes() for twin in twins}
    assert len(results) == 1
    assert {repr(twin) for twin in twins} == {repr(optimizer)}
    assert all(np.array_equal(state["slots"][k], through_json["slots"][k]) for k in state["slots"])
    assert loaded.t == 9


def test_copies_are_independent():
    optimizer, theta = us.optim.Adam(), np.ones(4)
    optimizer.step(theta, np.ones(4))
    twin, state = optimizer.copy(), optimizer.state()
    twin.step(theta, np.ones(4))
    twin.lr = 7.0
    assert (optimizer.t, optimizer.lr) == (1, 1e-3)
    assert np.array_equal(optimizer.slots[0], state["slots"]["first_moment"])


def broken_states():
    optimizer = us.optim.Adam()
    optimizer.step(np.ones(4, "f"), np.ones(4, "f"))
    good = optimizer.state()
    slots = good["slots"]
    return [
        ({}, "`state` lacks dtype, hyper, lr, n, rule, slots, t"),
        ({**good, "rule": "SGD"}, "`state` belongs to the rule 'SGD', not to Adam"),
        ({**good, "t": -1}, "`state['t']` must be an integer in [0, 9007199254740992], got -1"),
        ({**good, "hyper": {"beta1": 0.9}}, "`state['hyper']` must hold"),
        ({**good, "hyper": {**good["hyper"], "beta1": 2.0}}, "`beta1` must be in [0, 1), got 2"),
        ({**good, "lr": -1.0}, "`lr` must be a finite number ≥ 0, got -1"),
        ({**good, "lr": {"schedule": "magic"}}, "must name a schedule"),
        ({**good, "n": 5}, "`state['slots']` must hold arrays of 5 elements, the longest has 4"),
        ({**good, "n": 10**15}, "`state['slots']` must hold arrays of 1000000000000000 elements"),
        ({**good, "n": 3}, "`state['slots']['first_moment']` must be float32 of shape (3,)"),
        ({**good, "blocks": [["a", 0, 3, [3]]]}, "`state['blocks']` must cover 4 parameters, got 3"),
        ({**good, "dtype": "float64"}, "`state['slots']['first_moment']` must be float64"),
        ({**good, "dtype": None}, "`state` must hold n and dtype after 1 updates"),
        ({**good, "slots": {"first_moment": slots["first_moment"]}}, "`state['slots']` must hold"),
    ]


@pytest.mark.parametrize(("state", "message"), broken_states(), ids=lambda value: str(value)[:30])
def test_a_broken_state_is_refused_and_changes_nothing(state, message):
    optimizer = us.optim.Adam(lr=0.5)
    optimizer.step(np.ones(3), np.ones(3))
    before = optimizer.state()
    with pytest.raises(us.errors.ArgumentError) as caught:
        optimizer.load_state(state)
    assert message in str(caught.value)
    after = optimizer.state()
    assert {k: v for k, v in after.items() if k != "slots"} == {k: v for k, v in before.items() if k != "slots"}
    assert all(np.array_equal(after["slots"][k], before["slots"][k]) for k in before["slots"])


def test_a_schedule_is_part_of_the_state_and_a_callable_is_not():
    optimizer = us.optim.SGD(lr=us.schedules.step_decay(1.0, 0.5, every=2))
    assert us.optim.from_state(optimizer.state()).rate(4) == 0.25
    optimizer.lr = lambda t: 0.1
    assert optimizer.state()["lr"] is None
    with pytest.raises(us.errors.ArgumentError, match="`lr` must be given"):
        us.optim.from_state(optimizer.state())
    assert us.optim.from_state(optimizer.state(), lr=0.2).lr == 0.2
    with pytest.raises(us.errors.ArgumentError, match="must name a rule"):
        us.optim.from_state({**optimizer.state(), "rule": "Magic"})


# rules with trust ratios keep theta's dtype
FORMATS = [
    (rule, hyper, state)
    for rule, hyper in FULL
    for state in (None, "bfloat16", "int8")
    if state is None or RULES[rule].elementwise
]


@pytest.mark.parametrize(("rule", "hyper", "state"), FORMATS, ids=case_id)
@every_dtype
def test_a_file_continues_to_the_bit(rule, hyper, dtype, state, tmp_path):
    theta, gradients = problem(301, dtype, steps=6)
    optimizer = build(rule, {**hyper, "state": state, "per_block": {"b": {"lr": 0.5}}})
    optimizer.init([("a", slice(0, 3), (3,)), ("b", slice(3, 301), (2, 149))])
    point = run(optimizer, theta, gradients[:3])
    us.optim.save(optimizer, tmp_path / "opt.safetensors")
    loaded = us.optim.load(tmp_path / "opt.safetensors")
    assert repr(loaded) == repr(optimizer)
    assert loaded.blocks == optimizer.blocks
    assert [s.tobytes() for s in loaded.slots] == [s.tobytes() for s in optimizer.slots]
    assert [s.dtype for s in loaded.slots] == [s.dtype for s in optimizer.slots]
    assert run(loaded, point, gradients[3:]).tobytes() == run(optimizer, point, gradients[3:]).tobytes()


def test_a_damaged_file_is_refused(tmp_path):
    optimizer, path = us.optim.Adam(lr=lambda t: 0.1, beta1=us.schedules.constant(0.7)), tmp_path / "opt.safetensors"
    optimizer.step(np.ones(40, "f"), np.ones(40, "f"))
    us.optim.save(optimizer, path)
    with pytest.raises(us.errors.ArgumentError, match="`lr` must be given"):
        us.optim.load(path)
    loaded = us.optim.load(path, lr=0.5)
    assert (loaded.lr, loaded.hyper["beta1"], loaded.t) == (0.5, 0.7, 1)
    content = bytearray(path.read_bytes())
    for at in (4, 300, len(content) - 3):
        spoiled = content.copy()
        spoiled[at] ^= 1
        path.write_bytes(spoiled)
        with pytest.raises(us.errors.CheckpointError):
            us.optim.load(path, lr=0.5)
    for bad in (tmp_path, tmp_path / "none"):
        with pytest.raises(us.errors.CheckpointError, match="is not a regular file|does not exist"):
            us.optim.load(bad)


def test_repr_is_the_constructor():
    text = "Adam(lr=0.01, beta1=0.9, beta2=0.999, eps=1e-08, weight_decay=0.0, amsgrad=True)"
    assert repr(us.optim.Adam(lr=0.01, amsgrad=True)) == text
    assert repr(eval(text, {"Adam": us.optim.Adam})) == text


def test_hyper_is_read_only():
    with pytest.raises(TypeError):
        us.optim.SGD().hyper["momentum"] = 0.5


def test_the_core_refuses_what_the_classes_never_send():
    theta, g = np.ones(3), np.ones(3)
    make, none = _core.OptimUpdate, []
    sgd = make("SGD", [0.0] * 6, 3, True, none, "theta", False)
    heavy = make("SGD", [0.9] + [0.0] * 5, 3, True, none, "theta", False)
    for call, message in [
        (lambda: make("Magic", [], 3, True, none, "theta", False), f"`rule` must be one of {', '.join(RULES)}, got"),
        (lambda: make("SGD", [0.0], 3, True, none, "theta", False), "`hyper` of SGD must hold 6 numbers, got 1"),
        (lambda: make("SGD", [0.0] * 6, 3, True, none, "int4", False), "`format` must be"),
        (lambda: make("SGD", [0.0] * 6, 3, True, [(0, 2, 1, 1, True)], "theta", False), "`blocks` must cover 3"),
        (lambda: make("SGD", [0.0] * 6, 3, True, [(1, 3, 1, 1, True)], "theta", False), "`blocks` must cover"),
        (lambda: sgd.step([0.0] * 6, 0.1, 0, theta, g, []), "`t` must be at least 1"),
        (lambda: sgd.step([0.0], 0.1, 1, theta, g, []), "`hyper` of SGD must hold 6 numbers, got 1"),
        (lambda: heavy.step([0.9] + [0.0] * 5, 0.1, 1, theta, g, []), "`slots` must hold 1 arrays, got 0"),
    ]:
        with pytest.raises(us.errors.ArgumentError) as caught:
            call()
        assert message in str(caught.value)
    assert np.all(theta == 1)


@pytest.mark.parametrize("norm", ["two", object(), np.ones(3)], ids=["text", "object", "array"])
def test_a_known_norm_is_a_number(norm):
    theta = np.ones(3)
    with pytest.raises(us.errors.ArgumentTypeError, match="`gradient_norm` must be a number"):
        us.optim.SGD(lr=0.1).step(theta, np.ones(3), clip_norm=1.0, gradient_norm=norm)
    assert (theta == 1.0).all()


def test_a_state_without_hyper_parameters_is_refused():
    state = {**us.optim.Adam().state(), "hyper": None}
    with pytest.raises(us.errors.ArgumentError, match=r"`state\['hyper'\]` must hold .* got None"):
        us.optim.Adam().load_state(state)


BLOCKS = [("w", slice(0, 6), (2, 3)), ("b", slice(6, 8), (2,))]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: o.init(1.5), "`size` must be a number of parameters, or blocks"),
        (lambda o: o.init("abc"), "`size` must be a number of parameters, or blocks"),
        (lambda o: o.init(None), "`size` must be a number of parameters, or blocks"),
        (lambda o: o.init([1, 2]), "`size` must be a number of parameters, or blocks"),
        (lambda o: o.init(2**70), "`size` must be an integer in"),
        (lambda o: o.init([("w", slice(0, 2**70), (2**70,))]), "`size` must be an integer in"),
        (lambda o: us.optim.exclude_vectors(3), "`blocks` must be blocks"),
        (lambda o: o.value("first_moment"), "there is no state yet"),
        (lambda o: o.value("x"), "`name` must be one of first_moment, second_moment"),
        (lambda o: o.load_state(None), "`state` must be what"),
        (lambda o: us.optim.save(None, "x"), "`optimizer` must be one of unstuck.optim"),
        (lambda o: us.optim.load("/nowhere/opt"), "does not exist"),
        (lambda o: us.optim.load("."), "'.' is not a regular file"),
        (lambda o: o.load_state({**o.state(), "start": 2**70}), r"`state\['start'\]` must be an integer in"),
        (lambda o: o.step(np.zeros(3), np.ones(3), average=[1.0, 2.0, 3.0]), "`average` must be a NumPy array"),
    ],
)
def test_misuse_is_named(call, message):
    optimizer = us.optim.Adam(lr=0.1)
    with pytest.raises(us.errors.UnstuckError, match=message):
        call(optimizer)
    assert optimizer.t == 0


def test_a_new_start_forgets_skipped_steps():
    optimizer = us.optim.SGD(lr=0.1)
    optimizer.step(np.zeros(2), np.array([np.nan, 1.0]), non_finite="skip")
    assert optimizer.skipped == 1
    optimizer.init(BLOCKS)
    assert optimizer.skipped == 0


def test_a_number_may_replace_a_callable_that_no_file_holds(tmp_path):
    optimizer = us.optim.SGD(lr=lambda t: 0.1, momentum=lambda t: 0.5)
    optimizer.step(np.zeros(2), np.ones(2))
    us.optim.save(optimizer, tmp_path / "opt")
    with pytest.raises(us.errors.ArgumentError, match="`momentum` must be given"):
        us.optim.load(tmp_path / "opt", lr=0.1)
    again = us.optim.load(tmp_path / "opt", lr=0.1, momentum=0.5)
    assert (again.t, again.hyper["momentum"]) == (1, 0.5)
