"""What beginners get wrong: the message says what came and the cure; what is printed stays short."""

from __future__ import annotations

import numpy as np
import pytest

import unstuck as us
from unstuck.atomic_file import check_target
from unstuck.errors import ArgumentError, ArgumentTypeError

X, LABELS = np.arange(24.0).reshape(8, 3) / 24, np.arange(8) % 2
NET = us.nn.Network(us.nn.Linear(3, 4), us.nn.Tanh(), us.nn.Linear(4, 2), input_shape=(3,), seed=0)
LOSS = us.nn.CrossEntropy()


@pytest.mark.parametrize(
    ("y", "cure"),
    [
        (LABELS.astype(float), r"take y\.astype\(int\)$"),
        (LABELS[:, None], r"take y\.ravel\(\)$"),
        (LABELS[:, None] == 1, r"take y\.ravel\(\)\.astype\(int\)$"),
        (np.eye(2)[LABELS], r"take y\.argmax\(axis=1\)$"),
        (LABELS + 0.5, r"shape \(8,\)$"),  # no labels in any form: no cure is claimed
    ],
)
def test_labels_in_another_form(y, cure):
    with pytest.raises(ArgumentTypeError, match=cure):
        us.NetworkLandscape(NET, LOSS, X, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: us.NetworkLandscape(NET, X, LABELS, LOSS), r"second argument.* an array of float64, shape \(8, 3\)$"),
        (lambda: us.NetworkLandscape(NET, us.nn.MSE, X, LABELS), r"the class MSE; make one of it with MSE\("),
        (lambda: us.nn.Network(us.nn.ReLU, input_shape=(3,)), r"the class ReLU; make one of it with ReLU\("),
        (lambda: us.nn.Network([us.nn.ReLU()], input_shape=(3,)), "one by one"),
        (lambda: us.NetworkLandscape(NET, LOSS, X.astype(object), LABELS), r"\.astype\(float\)"),
        (lambda: us.Trainer(NET, us.optim.SGD()), "us.NetworkLandscape"),
        (lambda: us.optim.Adam(learning_rate=1.0), "there are lr, beta1"),
        (lambda: us.optim.SGD(momentun=0.9), "did you mean momentum"),
    ],
)
def test_the_message_holds_the_cure(call, message):
    with pytest.raises(ArgumentTypeError, match=message):
        call()


def test_one_ending_is_named_alone(tmp_path):
    with pytest.raises(ArgumentError, match=r"must end in \.safetensors, got"):
        check_target(tmp_path / "net.pt", (".safetensors",))


def test_answers_print_short():
    land = us.NetworkLandscape(NET, LOSS, X, LABELS)
    run = us.Trainer(land, us.optim.Adam(), batch_size=4).fit(steps=4)
    diagnosis = us.diagnose(run)
    pairs = us.curvature.eigenpairs(np.diag(np.arange(1.0, 41.0)), k=2)
    assert str(pairs).startswith("2 eigenvalue(s): 1, 2; residuals up to ")
    for answer in (diagnosis, pairs):
        assert len(repr(answer)) < 1000


@pytest.mark.parametrize("name", ["curvature", "data", "doctor", "labs", "nn", "norm", "optim", "plot", "schedules"])
def test_completion_offers_public_names_alone(name):
    module = getattr(us, name)
    assert name in dir(us)
    assert {entry for entry in dir(module) if not entry.startswith("_")} == set(module.__all__)
