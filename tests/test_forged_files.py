"""Forged and odd files: a run or a network that was tampered with is refused, and nothing is moved or allocated."""

from __future__ import annotations

import json
import os
import struct

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from test_misuse import bowl, network_run
from unstuck.checkpoint import _checksum
from unstuck.errors import CheckpointError


def forged(path, change):
    """The saved run with its record and arrays changed and the checksum made right again."""
    content = path.read_bytes()
    arrays = {name: array.copy() for name, array in load_arrays(content).items()}
    (length,) = struct.unpack("<Q", content[:8])
    record = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["unstuck"])
    record.pop("sha256")
    change(record, arrays)
    record["sha256"] = _checksum(arrays, record)
    path.write_bytes(save_arrays(arrays, metadata={"unstuck": json.dumps(record)}))


def put(name, values):
    return lambda record, arrays: arrays.update({name: values(arrays[name])})


FORGERIES = {
    "position": lambda r, a: r["sampler"].update(position=10**6),
    "negative position": lambda r, a: r["sampler"].update(position=-1),
    "position as text": lambda r, a: r["sampler"].update(position="3"),
    "position as list": lambda r, a: r["sampler"].update(position=[3]),
    "fraction": lambda r, a: r["sampler"].update(position=0.5),
    "another epoch": lambda r, a: r["sampler"].update(epoch=7),
    "huge epoch": lambda r, a: r["sampler"].update(epoch=2**70),
    "surplus key": lambda r, a: r["sampler"].update(theta=3),
    "forked at": lambda r, a: r.update(forked_at=5),
    "count of the optimizer": lambda r, a: r["optimizer"].update(t=2**70),
    "rule": lambda r, a: r["optimizer"].update(rule="Optimizer"),
    "no such rule": lambda r, a: r["optimizer"].update(rule="__class__"),
    "batch size": lambda r, a: r["settings"].update(batch_size=2**70),
    "no batch": lambda r, a: r["settings"].update(batch_size=0),
    "decay": lambda r, a: r["settings"].update(ema=0.5),
    "steps": put("history.step", lambda x: x + 2**40),
    "type of a column": put("history.step", lambda x: x.astype(np.float32)),
    "length of a column": put("history.loss", lambda x: x[:-1]),
    "shape of a column": put("history.loss", lambda x: x[:, None]),
    "huge epochs": put("history.epoch", lambda x: x + 2**40),
    "negative epochs": put("history.epoch", lambda x: x - 1),
    "validation": put("history.validation_step", lambda x: x + 2**40),
    "theta": put("theta", lambda x: x * np.nan),
    "average": lambda r, a: a.update(average=a["theta"][:1]),
    "events": lambda r, a: r.update(events=[5]),
    "event": lambda r, a: r.update(events=[{"step": "x", "kind": "move", "text": ""}]),
    "late event": lambda r, a: r.update(events=[{"step": 10**9, "kind": "move", "text": ""}]),
    "failure": lambda r, a: r.update(failure={"step": "x"}),
    "failure's text": lambda r, a: r.update(
        failure={"step": 1, "epoch": 0, "block": "loss", "loss": "NaN", "lr": 0.1, "text": 5}
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_run_is_refused_and_moves_nothing(forgery, tmp_path):
    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.Adam(lr=0.01), batch_size=48, validation=blobs(seed=2))
    run.fit(steps=13)
    path = tmp_path / "run"
    run.save(path)
    forged(path, lambda record, arrays: None)
    assert us.Trainer.load(path, SoftmaxRegression(*blobs())).digest() == run.digest()
    forged(path, FORGERIES[forgery])
    land = SoftmaxRegression(*blobs())
    before = land.theta.copy()
    with pytest.raises(CheckpointError):
        us.Trainer.load(path, land)
    np.testing.assert_array_equal(land.theta, before)


def test_a_saved_fork_goes_on_in_its_schedule(tmp_path):
    def rate():
        return us.schedules.warmup_cosine(peak=0.1, warmup=5, total=40)

    run = us.Trainer(SoftmaxRegression(*blobs()), us.optim.Adam(lr=rate()), batch_size=48)
    run.fit(steps=12)
    fork = run.fork()
    fork.fit(steps=3)
    fork.save(tmp_path / "fork")
    again = us.Trainer.load(tmp_path / "fork", SoftmaxRegression(*blobs()))
    assert again.t == fork.t == 15
    again.fit(steps=9)
    run.fit(steps=12)
    assert again.theta.tobytes() == run.theta.tobytes()


def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="regular file"):
        us.Trainer.load(tmp_path / "pipe", bowl())
    with pytest.raises(CheckpointError, match="regular file"):
        us.nn.Network.load(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="cannot read"):
        us.Trainer.load("nul\0byte", bowl())


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["layers"].__setitem__(0, {**h["layers"][0], "in_features": 2**20, "out_features": 2**20}),
        lambda h: h.update(input_shape=[2**20], layers=[{**h["layers"][0], "in_features": 2**20}]),
        lambda h: h.update(input_shape=[2**30, 2**30, 2**30]),
        lambda h: h.update(layers=[]),
        lambda h: h["layers"].extend([{"kind": "Linear", "in_features": 3, "out_features": 2**31 - 1}] * 2),
        lambda h: h.update(layers=[{"kind": "Linear", "in_features": 2**31 - 1, "out_features": 2**31 - 1}] * 9,
                           input_shape=[2**31 - 1]),
    ],
)  # fmt: skip
def test_a_header_that_promises_more_than_the_file_holds_allocates_nothing(change, tmp_path, monkeypatch):
    network_run().land.net.save(tmp_path / "net")
    content = (tmp_path / "net").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["unstuck"])
    change(header)
    arrays = load_arrays(content)
    (tmp_path / "net").write_bytes(save_arrays(arrays, metadata={"unstuck": json.dumps(header)}))
    allocated = []
    real = np.empty
    monkeypatch.setattr(np, "empty", lambda *a, **k: allocated.append(a) or real(*a, **k))
    with pytest.raises(CheckpointError):
        us.nn.Network.load(tmp_path / "net")
    assert all(np.prod(shape) < 10**6 for shape, *_ in allocated)
