"""Misuse gets a named error and changes nothing: threads on one run, shared optimizers, wrong types, forged files."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

import unstuck as us
from numpy_landscapes import SoftmaxRegression, blobs
from unstuck.errors import ArgumentError, ArgumentTypeError, BudgetError, BusyError


def network_run(seed=0, opt=None, samples=400):
    rng = np.random.default_rng(seed)
    net = us.nn.Network(us.nn.Linear(8, 16), us.nn.Tanh(), us.nn.Linear(16, 3), input_shape=(8,), seed=seed)
    land = us.NetworkLandscape(net, us.nn.CrossEntropy(), rng.normal(size=(samples, 8)), np.arange(samples) % 3)
    return us.Trainer(land, us.optim.Adam(lr=1e-3) if opt is None else opt, batch_size=16)


# --- one run, several threads ---


class Training:
    """A run that another thread trains until it is told to stop."""

    def __init__(self, run):
        self.run, self.started, self.stop, self.error = run, threading.Event(), threading.Event(), None
        self.thread = threading.Thread(target=self._train)

    def _progress(self, done, total, text=""):
        self.started.set()
        if self.stop.is_set():
            raise StopIteration

    def _train(self):
        try:
            self.run.fit(steps=10**9, progress=self._progress)
        except StopIteration:
            pass
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        assert self.started.wait(60)
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.error is None


@pytest.mark.parametrize(
    "call",
    [
        lambda run: run.fit(steps=1),
        lambda run: run.state(),
        lambda run: run.digest(),
        lambda run: run.move_to(run.theta),
        lambda run: run.fork(),
        lambda run: run.save("never-written"),
        lambda run: setattr(run, "opt", us.optim.SGD(lr=0.1)),
        lambda run: us.Trainer(network_run().land, run.opt),
    ],
)
def test_a_run_that_another_thread_trains_is_refused(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = network_run()
    with Training(run):
        began = time.perf_counter()
        with pytest.raises(BusyError):
            call(run)
        assert time.perf_counter() - began < 5
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(run.history["step"], np.arange(1, run.t + 1))
    assert run.opt.t == run.t
    run.fit(steps=2)  # free again


def test_all_but_one_of_several_threads_are_refused_and_the_run_stays_whole():
    run, reference = network_run(), network_run()
    barrier, outcomes = threading.Barrier(4), []

    def work():
        barrier.wait()
        try:
            run.fit(steps=20_000)
            outcomes.append("done")
        except BusyError:
            outcomes.append("refused")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert sorted(outcomes) == ["done", "refused", "refused", "refused"]
    reference.fit(steps=20_000)
    assert run.digest() == reference.digest()


def test_training_from_within_the_progress_call_is_refused_but_reading_is_not():
    run, seen = network_run(), []

    def progress(done, total, text=""):
        seen.append(run.digest())
        with pytest.raises(BusyError, match="already running"):
            run.fit(steps=1)

    run.fit(steps=30, progress=progress)
    assert seen[-1] == run.digest()
    assert run.t == 30


def test_a_second_run_on_the_same_network_is_refused_and_a_fork_is_not():
    run = network_run()
    second = us.Trainer(run.land, us.optim.SGD(lr=0.1), batch_size=16)
    fork, before = run.fork(), run.theta
    with Training(run):
        with pytest.raises(BusyError, match="another run is training the same network"):
            second.fit(steps=1)
        fork.fit(steps=2)
    assert (second.t, fork.t) == (0, 2)
    second.fit(steps=2)  # free again
    assert second.theta is before


def test_a_failed_fit_frees_the_run():
    land = us.FunctionLandscape(lambda w: float("nan"), lambda w: w, 2, theta=np.ones(2))
    run = us.Trainer(land, us.optim.SGD(lr=0.1))
    for _ in range(2):
        with pytest.raises(us.errors.NonFiniteError):
            run.fit(steps=1)


# --- one optimizer, several runs ---


def test_an_optimizer_given_to_a_second_run_leaves_the_first_one_whole():
    opt = us.optim.Adam(lr=1e-2)
    first, alone = network_run(opt=opt), network_run(opt=us.optim.Adam(lr=1e-2))
    first.fit(steps=20)
    alone.fit(steps=20)
    second = network_run(seed=1, opt=opt)
    assert second.opt is opt
    assert opt.t == 0
    assert first.opt is not opt
    second.fit(steps=5)
    first.fit(steps=20)
    alone.fit(steps=20)
    assert first.digest() == alone.digest()
    assert (first.opt.t, opt.t) == (40, 5)


def test_an_optimizer_of_another_size_may_follow():
    opt = us.optim.Adam(lr=1e-2)
    first = us.Trainer(SoftmaxRegression(*blobs()), opt, batch_size=20)
    first.fit(steps=3)
    other = us.Trainer(SoftmaxRegression(*blobs(features=9)), us.optim.SGD(lr=0.1), batch_size=20)
    other.opt = opt
    first.fit(steps=3)
    other.fit(steps=3)
    assert (first.opt.t, other.opt.t, first.t, other.t) == (6, 3, 6, 3)
    assert other.opt is opt


# --- wrong types ---


def bowl(**options):
    return us.FunctionLandscape(lambda w: float(w @ w), lambda w: 2 * w, 2, theta=np.ones(2), **options)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dtype", "foo"), ("dtype", 5), ("dtype", "int32"), ("dtype", [1]),
        ("lower_bound", "x"), ("lower_bound", [1.0]), ("lower_bound", np.nan), ("lower_bound", -np.inf),
        ("blocks", 5), ("blocks", "ab"), ("blocks", [1]), ("blocks", [("w", slice(0, 1), (1,))]),
        ("blocks", [("w", slice(1, 3), (2,))]), ("blocks", [("w", slice(0, 2), 2)]),
        ("blocks", [("w", slice(0, 2), (1.0, 2))]), ("blocks", [("w", 0, (2,))]), ("blocks", []),
        ("blocks", [("a", slice(0, 2), (-1, -2))]), ("theta", "x"),
    ],
)  # fmt: skip
def test_options_of_a_function_landscape(option, value):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=f"`{option}`"):
        us.FunctionLandscape(lambda w: 0.0, lambda w: w, 2, **{option: value})


def test_good_options_of_a_function_landscape():
    land = bowl(blocks=[("a", slice(0, 1), [1]), ("b", slice(1, 2, 1), ())], lower_bound=np.float32(-1), dtype="f4")
    assert land.blocks == [("a", slice(0, 1), (1,)), ("b", slice(1, 2), ())]
    assert (land.lower_bound, land.dtype) == (-1.0, np.float32)


POINT = np.ones(2)


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("land", lambda: us.escape(5, POINT, None)),
        ("land", lambda: us.find_critical(5, POINT)),
        ("land", lambda: us.minimize(5, us.optim.SGD(lr=0.1), POINT, 3)),
        ("land", lambda: us.minimize(us.FunctionLandscape, us.optim.SGD(lr=0.1), POINT, 3)),
        ("land", lambda: us.plot.surface(5)),
        ("land", lambda: us.Trainer(5, us.optim.SGD(lr=0.1))),
        ("land", lambda: us.Trainer.load("file", 5)),
        ("path", lambda: us.Trainer.load(5, bowl())),
        ("path", lambda: us.Trainer(bowl(), us.optim.SGD(lr=0.1)).save(5)),
        ("path", lambda: us.nn.Network.load(5)),
        ("opt", lambda: us.minimize(bowl(), us.optim.SGD, POINT, 3)),
        ("opt", lambda: us.Trainer(bowl(), 5)),
        ("paths", lambda: us.plot.surface(bowl(), paths=5)),
        ("directions", lambda: us.plot.surface(bowl(), directions="x")),
        ("extent", lambda: us.plot.surface(bowl(), extent="x")),
        ("seed", lambda: us.plot.surface(bowl(), seed="x")),
        ("ax", lambda: us.plot.surface(bowl(), ax=5)),
        ("resolution", lambda: us.plot.surface(bowl(), resolution=2**40)),
        ("state", lambda: us.Trainer(bowl(), us.optim.SGD(lr=0.1)).restore(5)),
        ("kind", lambda: us.Trainer(bowl(), us.optim.SGD(lr=0.1)).move_to(POINT, kind=5)),
        ("target", lambda: us.data.load("t.csv", 5)),
        ("features", lambda: us.data.load("t.csv", "y", features="ab")),
        ("drop", lambda: us.data.load("t.csv", "y", drop=[5])),
        ("limits", lambda: us.data.load("t.csv", "y", limits=5)),
        ("fraction", lambda: us.data.split(5, "x")),
        ("n", lambda: us.data.split("x", 0.5)),
        ("facts", lambda: us.report.build("a", "b", 5)),
        ("tolerance", lambda: us.find_critical(bowl(), tolerance="x")),
        ("tolerance", lambda: us.find_critical(bowl(), tolerance=[1.0])),
        ("tolerance", lambda: us.find_critical(bowl(), tolerance=-1.0)),
        ("tolerance", lambda: us.find_critical(bowl(), tolerance=0)),
        ("max_products", lambda: us.find_critical(bowl(), max_products="x")),
        ("progress", lambda: us.find_critical(bowl(), progress=5)),
        ("progress", lambda: us.minimize(bowl(), us.optim.SGD(lr=0.1), POINT, 3, progress=5)),
        ("progress", lambda: us.Trainer(bowl(), us.optim.SGD(lr=0.1)).fit(steps=3, progress=5)),
        ("memory_budget", lambda: us.minimize(bowl(), us.optim.SGD(lr=0.1), POINT, 3, memory_budget="x")),
        ("lr", lambda: us.optim.SGD(lr="0.1")),
        ("clip_norm", lambda: us.Trainer(bowl(), us.optim.SGD(lr=0.1), clip_norm=10**400)),
    ],
)
def test_wrong_arguments_are_named(name, call):
    with pytest.raises((ArgumentError, ArgumentTypeError), match=f"`{name}`"):
        call()


@pytest.mark.parametrize("record_path", [True, False])
@pytest.mark.parametrize("steps", [2**62, 2**80, np.int64(2**62)])
def test_a_record_beyond_the_budget_is_refused_before_the_first_step(steps, record_path):
    opt = us.optim.SGD(lr=0.1)
    with pytest.raises(BudgetError, match="memory_budget"):
        us.minimize(bowl(), opt, POINT, steps, record_path=record_path)
    assert us.minimize(bowl(), opt, POINT, 3, memory_budget=4 * 32).losses.size == 4
    with pytest.raises(BudgetError, match="128 bytes"):
        us.minimize(bowl(), opt, POINT, 3, memory_budget=4 * 32 - 1)


def test_unsigned_indices_are_shown_as_they_are():
    land = network_run().land
    rows = np.array([3, 2**63 + 5], np.uint64)
    for call in (land.loss, land.gradient, land.hessian):
        with pytest.raises(ArgumentError, match=r"`batch`.*9223372036854775813 at position 1"):
            call(land.theta, rows)
    assert land.loss(land.theta, np.array([3, 4], np.uint64)) == land.loss(land.theta, [3, 4])
    with pytest.raises(ArgumentError, match=r"`y`.*9223372036854775813 at position 1"):
        us.NetworkLandscape(land.net, us.nn.CrossEntropy(), land.X[:2], rows)


# --- differences that leave the domain ---


def test_a_difference_step_out_of_the_domain_is_explained():
    land = us.FunctionLandscape(
        lambda w: float(-np.log(w[0]) + w[0]), lambda w: np.where(w > 0, 1 - 1 / np.abs(w), np.nan), 1
    )
    near = np.array([1e-7])
    with pytest.raises(us.errors.NonFiniteError, match=r"difference step.*pass an exact `hvp`"):
        us.classify(land, near)
    assert us.classify(land, np.ones(1)).verdict is us.Verdict.LOCAL_MINIMUM


def test_a_gradient_that_fails_beside_theta_is_explained():
    import math

    land = us.FunctionLandscape(lambda w: w[0] * math.log(w[0]), lambda w: np.array([math.log(w[0]) + 1]), 1)
    with pytest.raises(us.errors.OperatorError, match=r"math domain error.*pass an exact `hvp`") as caught:
        land.hessian(np.array([1e-7]))
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="^math domain error"):  # at theta itself it is the callback's own affair
        land.hessian(np.array([-1.0]))


# --- what is shown ---


def test_landscapes_say_what_they_are():
    shown = repr(network_run(samples=41).land)
    for part in ("NetworkLandscape", "n=195", "float32", "samples=41", "CrossEntropy", "eval"):
        assert part in shown
    assert "l2" not in shown
    assert repr(bowl()) == "FunctionLandscape(n=2, dtype=float64, Hessian products by differences)"
    assert "n=195" in repr(network_run().fork().land)


def test_the_package_lists_its_public_names_only():
    names = dir(us)
    assert set(us.__all__) <= set(names)
    assert [name for name in names if not name.startswith("__") and name not in us.__all__] == []
