"""Saved runs: going on equals not having stopped, damage is noticed, nothing is half-written."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from unstuck.errors import ArgumentError, CheckpointError, NonFiniteError

OPTIMIZERS = {
    "sgd": lambda: us.optim.SGD(lr=0.1),
    "momentum": lambda: us.optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: us.optim.RMSProp(lr=0.01, momentum=0.5, centered=True),
    "adam": lambda: us.optim.Adam(lr=0.01),
    "scheduled": lambda: us.optim.Adam(lr=us.schedules.warmup_cosine(peak=0.1, warmup=5, total=60)),
}


def trainer(opt="adam", **options):
    return us.Trainer(SoftmaxRegression(*blobs()), OPTIMIZERS[opt](), batch_size=48, seed=5, **options)


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("stop", [0, 1, 5, 7, 12])  # five updates make an epoch
def test_going_on_equals_not_having_stopped(opt, stop, tmp_path):
    whole = trainer(opt)
    whole.fit(steps=23)
    part = trainer(opt)
    part.fit(steps=stop)
    part.save(tmp_path / "run.safetensors")
    land = SoftmaxRegression(*blobs())
    resumed = us.Trainer.load(tmp_path / "run.safetensors", land)
    assert resumed.digest() == part.digest()
    assert resumed.theta is land.theta
    resumed.fit(steps=23 - stop)
    assert resumed.digest() == whole.digest()
    for name in whole.history:
        np.testing.assert_array_equal(resumed.history[name], whole.history[name])


def test_everything_else_is_kept(tmp_path):
    run = trainer(clip_norm=0.5, ema=0.9, validation=blobs(seed=2))
    run.fit(epochs=2)
    run.move_to(run.theta, kind="escape", text="along <b>v</b>")
    run.save(tmp_path / "run")
    again = us.Trainer.load(tmp_path / "run", SoftmaxRegression(*blobs()), validation=blobs(seed=2))
    assert (again.clip_norm, again.ema, again.batch_size, again.seed) == (0.5, 0.9, 48, 5)
    assert again.history.events == run.history.events
    np.testing.assert_array_equal(again.history["validation_loss"], run.history["validation_loss"])
    np.testing.assert_array_equal(again.average, run.average)
    again.fit(epochs=1)
    run.fit(epochs=1)
    assert again.digest() == run.digest()
    assert len(again.history["validation_loss"]) == 3


def test_a_failed_run_is_still_a_failed_run(tmp_path):
    land = us.FunctionLandscape(lambda w: float("inf"), lambda w: w, n=2, theta=np.ones(2))
    run = us.Trainer(land, us.optim.SGD(lr=0.1))
    with pytest.raises(NonFiniteError):
        run.fit(steps=1)
    run.save(tmp_path / "run")
    assert us.Trainer.load(tmp_path / "run", land).failure == run.failure


def test_a_function_as_learning_rate_must_be_given_again(tmp_path):
    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.SGD(lr=lambda t: 0.1 / (t + 1)))
    run.fit(steps=3)
    run.save(tmp_path / "run")
    with pytest.raises(CheckpointError, match="pass `opt`"):
        us.Trainer.load(tmp_path / "run", SoftmaxRegression(*blobs()))
    again = us.Trainer.load(tmp_path / "run", SoftmaxRegression(*blobs()), opt=us.optim.SGD(lr=lambda t: 0.1 / (t + 1)))
    again.fit(steps=2)
    run.fit(steps=2)
    assert again.theta.tobytes() == run.theta.tobytes()


def test_an_optimizer_given_for_its_function_is_left_as_it_is(tmp_path):
    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.Adam(lr=lambda t: 0.1 / (t + 1)))
    run.fit(steps=3)
    run.save(tmp_path / "run")
    run.fit(steps=2)
    before = run.digest()
    again = us.Trainer.load(tmp_path / "run", SoftmaxRegression(*blobs()), opt=run.opt)
    assert run.digest() == before, "the run that the optimizer serves"
    again.fit(steps=2)
    assert again.digest() == before


@pytest.fixture
def saved(tmp_path):
    run = trainer()
    run.fit(steps=9)
    run.save(tmp_path / "run")
    return tmp_path / "run"


def refused(path, land=None):
    """The message with which the file is refused; θ of the landscape must not have moved."""
    land = SoftmaxRegression(*blobs()) if land is None else land
    before = land.theta.copy()
    with pytest.raises(CheckpointError) as caught:
        us.Trainer.load(path, land)
    np.testing.assert_array_equal(land.theta, before)
    return str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    assert "cannot read" in refused(tmp_path / "nowhere")
    assert "cannot read" in refused(tmp_path)


def test_every_kind_of_damage_is_noticed(saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    for cut in (0, 7, 8, 100, len(content) // 2, len(content) - 1):
        saved.write_bytes(content[:cut])
        refused(saved)
    for place in rng.integers(0, len(content), size=60):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.integers(8)
        saved.write_bytes(flipped)
        refused(saved)
    for junk in (
        b"not a checkpoint",
        b"\x00" * 64,
        b"\xff" * 64,
        b"PK\x03\x04" + b"\x00" * 100,
        content + b"x",
    ):
        saved.write_bytes(junk)
        refused(saved)
    saved.write_bytes(content)
    us.Trainer.load(saved, SoftmaxRegression(*blobs()))


def rewritten(content, change):
    """The file with its JSON record changed."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    record = json.loads(header["__metadata__"]["unstuck"])
    change(record)
    header["__metadata__"]["unstuck"] = json.dumps(record)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda r: r.update(kind="something else"), "something else"),
        (lambda r: r.update(schema=2), "format 2"),
        (lambda r: r["settings"].update(batch_size=1), "checksum"),
        (lambda r: r["optimizer"].update(rule="__class__"), "checksum"),
        (lambda r: r.pop("sha256"), "checksum"),
        (lambda r: r.pop("schema"), "damaged"),
    ],
)
def test_a_changed_record_is_noticed(saved, change, match):
    saved.write_bytes(rewritten(saved.read_bytes(), change))
    assert match in refused(saved)


@pytest.mark.parametrize(
    ("land", "match"),
    [
        (SoftmaxRegression(*blobs(samples=199)), "samples"),
        (SoftmaxRegression(*blobs(features=6)), "n is 18"),
        (SoftmaxRegression(*blobs(), dtype=np.float32), "dtype"),
    ],
)
def test_another_problem_is_refused(saved, land, match):
    assert match in refused(saved, land)


def test_saving_is_whole_or_not_at_all(saved, tmp_path):
    before = saved.read_bytes()
    run = trainer()
    with pytest.raises(ArgumentError, match="cannot write"):
        run.save(tmp_path / "no" / "folder" / "run")
    run.save(saved)
    assert saved.read_bytes() != before
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
