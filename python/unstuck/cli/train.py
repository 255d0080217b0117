"""Train a network on a table of your own and say where it ended up.

TABLE is a .csv file (UTF-8, header line, numbers in the feature columns) or an .npz archive of arrays. The
target decides between classification and regression. Features (and a numeric target) are brought to mean 0
and deviation 1 with the statistics of the training part. After training, the point is classified: minimum,
saddle, flat, or not a critical point.

Exit codes: 0 trained, 1 stuck (at a saddle, or not finite), 2 usage or bad input, 130 interrupted.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import data, nn, optim
from ..atomic_file import check_target
from ..errors import DataError, NonFiniteError
from ..network_landscape import NetworkLandscape
from ..progress import bar
from ..report import ENDINGS
from ..settings import setting
from ..standardise import Standardiser
from . import train_save
from .output import Output

ACTIVATIONS: dict[str, type[nn.Layer]] = {
    "relu": nn.ReLU,
    "leaky-relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
}
# learning rates that suit standardised features and a few hundred units
RATES = {"sgd": 0.05, "adagrad": 0.02}
OTHER_RATE = 1e-3


@dataclass(frozen=True)
class Settings:
    """Settings of the training."""

    table: str = setting("the .csv or .npz file", positional=True)
    target: str = setting("column (array) to predict")
    features: tuple[str, ...] = setting("column to use; repeat for more; all others by default", ())
    drop: tuple[str, ...] = setting("column to leave out; repeat for more", ())
    task: Literal["classification", "regression"] | None = setting("overrule what the target decides", None)
    hidden: tuple[int, ...] = setting("units of the hidden layers", (128, 128), least=1, most=100_000)
    activation: str = setting("between the layers", "relu", choices=lambda: list(ACTIVATIONS))
    optimizer: str = setting("update rule", "adam", choices=lambda: [name.lower() for name in optim.RULES])
    lr: float | None = setting("learning rate; 0.001, for sgd 0.05 with momentum 0.9", None, least=0.0)
    batch_size: int = setting("samples per update", 32, least=1)
    epochs: int = setting("passes over the training part", 50, least=1, most=1_000_000)
    validation: float = setting("share of the rows held out for validation", 0.2, least=0.0, most=0.9)
    seed: int = setting("of the split, the network and the order of the samples", 0, least=0, most=2**31)
    standardise: bool = setting("bring features to mean 0 and deviation 1", True)
    missing: Literal["refuse", "mean"] = setting(
        "a feature without a value is an error, or is given the mean of the training part", "refuse"
    )
    report: str | None = setting("write a report to this .html, .json or .txt file", None)
    save: str | None = setting("write the trained network to this .safetensors file", None)


DIAGNOSIS_SECONDS = 2.0


@dataclass(frozen=True)
class Prepared:
    """A table cut into training and validation part and scaled.

    Attributes:
        table: as loaded.
        X: training features (N, d) float32.
        y: training targets.
        held_X: validation features.
        held_y: validation targets; empty without validation.
        unit: factor from the scaled target back to its own unit; 1 for classes.
        scaler: what brought the features to their scale; None: they are as they were.
        fill: what a missing value was taken for (d,); None: there was none.
        target_scaler: the same for a numeric target; None for classes.
    """

    table: data.Table
    X: NDArray[Any]
    y: NDArray[Any]
    held_X: NDArray[Any]
    held_y: NDArray[Any]
    unit: float
    scaler: Standardiser | None
    target_scaler: Standardiser | None
    fill: NDArray[np.float64] | None = None


def run(settings: Settings, out: Output) -> int:
    """Train, classify, report; 1 if stuck."""
    if settings.report is not None:
        check_target(settings.report, ENDINGS, "--report")
    if settings.save is not None:
        check_target(settings.save, train_save.ENDINGS, "--save")
    prepared = prepare(settings)
    out.talk(prepared.table.reason)
    from .. import Trainer, classify, diagnose
    from .train_report import failed, finished

    land = landscape(settings, prepared)
    held = (prepared.held_X, prepared.held_y) if len(prepared.held_y) else None
    trainer = Trainer(land, optimizer(settings), batch_size=settings.batch_size, seed=settings.seed, validation=held)
    with bar("training") as progress:
        try:
            trainer.fit(epochs=settings.epochs, progress=progress)
        except NonFiniteError as error:
            report = failed(settings, prepared, trainer, str(error))
            point = None
        else:
            progress(0, 1, "classifying where it ended up")
            point = classify(land, trainer.theta, seed=settings.seed)
            progress(0, 1, "asking why it is not lower")
            report = finished(settings, prepared, trainer, point, diagnose(trainer, budget=DIAGNOSIS_SECONDS))
    if settings.save is not None:
        saved = train_save.save(land.net, prepared, settings.save)
        report = train_save.mentioned(report, saved)
        out.talk(f"Network: {settings.save} ({train_save.sentence(saved).rstrip('.')})")
    if settings.report is not None:
        report.save(settings.report)
        out.talk(f"Report: {settings.report}")
    stuck = report.status == "bad"
    out.result(out.paragraph(report.sentence, report.remedies), report.to_dict())
    if settings.report is None:
        out.hint("The evidence and the curves: add --report report.html")
    return 1 if stuck else 0


def prepare(settings: Settings) -> Prepared:
    """Load, split and scale the table.

    Raises:
        DataError: the file cannot be used.
        ArgumentError: a part would be empty.
    """
    table = data.load(
        settings.table,
        settings.target,
        features=settings.features or None,
        drop=settings.drop,
        task=settings.task,
        missing="keep" if settings.missing == "mean" else "refuse",
    )
    rows, held = data.split(len(table.X), settings.validation, settings.seed)
    X, held_X = table.X[rows], table.X[held]
    scaler, target, fill = None, None, None
    absent = np.isnan(table.X)
    if settings.standardise or absent.any():
        statistics = Standardiser(missing=settings.missing).update(X)
        fill = statistics.mean if absent.any() else None
    if settings.standardise:
        scaler = statistics
        X, held_X = scaler.transform(X), scaler.transform(held_X) if len(held) else held_X
    elif fill is not None:
        X, held_X = np.where(np.isnan(X), fill, X), np.where(np.isnan(held_X), fill, held_X)
    y, unit = table.y, 1.0
    if table.task == "regression":
        target = Standardiser().update(table.y[rows, None])
        y, unit = target.transform(table.y[:, None], np.float32)[:, 0], float(target.scale[0])
    with np.errstate(over="ignore"):
        X, held_X = X.astype(np.float32), held_X.astype(np.float32)
    if not (np.isfinite(X).all() and np.isfinite(held_X).all()):
        raise DataError("the features hold numbers too large for float32; standardise them or rescale")
    return Prepared(table, X, y[rows], held_X, y[held], unit, scaler, target, fill)


def landscape(settings: Settings, prepared: Prepared) -> NetworkLandscape:
    """The training loss of the network that the settings describe."""
    table = prepared.table
    classes = table.task == "classification"
    sizes = [len(table.features), *settings.hidden, len(table.classes) if classes else 1]
    layers: list[nn.Layer] = []
    for i, (inputs, outputs) in enumerate(pairwise(sizes)):
        layers += [ACTIVATIONS[settings.activation]()] if i else []
        layers.append(nn.Linear(inputs, outputs))
    net = nn.Network(*layers, input_shape=(sizes[0],), seed=settings.seed)
    return NetworkLandscape(net, nn.CrossEntropy() if classes else nn.MSE(), prepared.X, prepared.y)


def optimizer(settings: Settings) -> optim.Optimizer:
    """The update rule with its learning rate."""
    rules = {name.lower(): rule for name, rule in optim.RULES.items()}
    lr = settings.lr if settings.lr is not None else RATES.get(settings.optimizer, OTHER_RATE)
    more = {"momentum": 0.9} if settings.optimizer == "sgd" else {}
    made: optim.Optimizer = rules[settings.optimizer](lr=lr, **more)
    return made
