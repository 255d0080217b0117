"""One table of networks and losses that every test of the engine runs through, in three dialects.

A case builds the same network as a `Perceptron` (NumPy), an `unstuck.nn.Network` and a `torch.nn.Sequential`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oracles import Perceptron

# Names and options are those of torch.nn; every activation with every option that changes its formula.
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {}),
    "leaky_relu_0.2": ("LeakyReLU", {"negative_slope": 0.2}),
    "elu": ("ELU", {}),
    "elu_0.7": ("ELU", {"alpha": 0.7}),
    "gelu": ("GELU", {}),
    "gelu_tanh": ("GELU", {"approximate": "tanh"}),
    "silu": ("SiLU", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "softplus_3": ("Softplus", {"beta": 3.0, "threshold": 4.0}),
    "identity": ("Identity", {}),
}
KINKED = ("relu", "leaky_relu", "leaky_relu_0.2")  # second derivative undefined at zero

# unstuck's name, its options, torch's class, kind of target
LOSSES: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "cross_entropy": ("CrossEntropy", {}, "CrossEntropyLoss", "label"),
    "smoothed": ("CrossEntropy", {"label_smoothing": 0.15}, "CrossEntropyLoss", "label"),
    "weighted": ("CrossEntropy", {"class_weight": (0.5, 2.0, 1.25)}, "CrossEntropyLoss", "label"),
    "smoothed_weighted": (
        "CrossEntropy",
        {"label_smoothing": 0.3, "class_weight": (3.0, 0.25, 1.0)},
        "CrossEntropyLoss",
        "label",
    ),
    "mse": ("MSE", {}, "MSELoss", "real"),
    "bce": ("BCEWithLogits", {}, "BCEWithLogitsLoss", "probability"),
    "huber": ("Huber", {}, "HuberLoss", "real"),
    "huber_0.3": ("Huber", {"delta": 0.3}, "HuberLoss", "real"),
}


def linear(inputs: int, outputs: int, bias: bool = True) -> tuple[str, dict[str, Any]]:
    """A row of a case's layer list."""
    return ("Linear", {"in": inputs, "out": outputs, "bias": bias})


def chain(widths, activation: str, bias: bool = True) -> tuple:
    """Linear layers of these widths with the activation between them."""
    layers: list = []
    for i in range(len(widths) - 1):
        layers += [linear(widths[i], widths[i + 1], bias)]
        if i < len(widths) - 2:
            layers += [ACTIVATIONS[activation]]
    return tuple(layers)


@dataclass(frozen=True)
class Case:
    """A network, a loss and the objective's options; `draw` gives data for it."""

    name: str
    layers: tuple
    loss: str = "cross_entropy"
    samples: int = 24
    l2: float = 0.0
    weighted_samples: bool = False
    seed: int = 0
    kinked: bool = field(default=False)

    def __str__(self) -> str:
        return self.name

    @property
    def inputs(self) -> int:
        return next(o["in"] for name, o in self.layers if name == "Linear")

    @property
    def outputs(self) -> int:
        return [o["out"] for name, o in self.layers if name == "Linear"][-1]

    def reference(self) -> Perceptron:
        """The NumPy network."""
        name, options, _, _ = LOSSES[self.loss]
        return Perceptron(self.layers, name, options, self.l2)

    def data(self, dtype="float64", samples: int | None = None):
        """(X, y, sample_weight or None), drawn from the case's seed, exactly representable in `dtype`."""
        rng = np.random.default_rng(1000 + self.seed)
        count = self.samples if samples is None else samples
        X = rng.normal(size=(count, self.inputs)).astype(dtype)
        kind = LOSSES[self.loss][3]
        if kind == "label":
            y = rng.integers(0, self.outputs, size=count)
        elif kind == "real":
            y = (1.5 * rng.normal(size=(count, self.outputs))).astype(dtype)
        else:
            y = rng.uniform(size=(count, self.outputs)).astype(dtype)
        weight = rng.uniform(0.25, 2.0, size=count).astype(dtype) if self.weighted_samples else None
        return X, y, weight

    def theta(self, dtype="float64"):
        """A point with pre-activations of order one."""
        rng = np.random.default_rng(2000 + self.seed)
        parts = []
        for name, o in self.layers:
            if name == "Linear":
                parts.append(rng.normal(size=o["out"] * o["in"]) * 1.3 / np.sqrt(o["in"]))
                if o["bias"]:
                    parts.append(0.3 * rng.normal(size=o["out"]))
        return np.concatenate(parts).astype(dtype)

    def vectors(self, k: int, dtype="float64"):
        """k random directions, shape (n, k)."""
        rng = np.random.default_rng(3000 + self.seed)
        return rng.normal(size=(self.reference().size(), k)).astype(dtype)

    def network(self, us, dtype="float64", seed=0, **options):
        """The `unstuck.nn.Network`."""
        layers = []
        for name, o in self.layers:
            if name == "Linear":
                layers.append(us.nn.Linear(o["in"], o["out"], bias=o["bias"]))
            else:
                layers.append(getattr(us.nn, name)(**o))
        return us.nn.Network(*layers, input_shape=(self.inputs,), seed=seed, dtype=dtype, **options)

    def loss_function(self, us):
        """The `unstuck.nn` loss."""
        name, options, _, _ = LOSSES[self.loss]
        return getattr(us.nn, name)(**options)

    def landscape(self, us, dtype="float64", samples: int | None = None, **options):
        """(landscape, θ, X, y, sample_weight) of the case."""
        X, y, weight = self.data(dtype, samples)
        land = us.NetworkLandscape(
            self.network(us, dtype), self.loss_function(us), X, y, l2=self.l2, sample_weight=weight, **options
        )
        return land, self.theta(dtype), X, y, weight

    def module(self, torch, dtype="float64"):
        """The `torch.nn.Sequential`, at `theta`."""
        layers = []
        kind = getattr(torch, dtype)
        for name, o in self.layers:
            if name == "Linear":
                layers.append(torch.nn.Linear(o["in"], o["out"], bias=o["bias"], dtype=kind))
            else:
                layers.append(getattr(torch.nn, name)(**o))
        module = torch.nn.Sequential(*layers)
        torch.nn.utils.vector_to_parameters(torch.from_numpy(self.theta(dtype)), module.parameters())
        return module

    def torch_loss(self, torch, reduction="mean", dtype="float64"):
        """The `torch.nn` loss."""
        _, options, name, _ = LOSSES[self.loss]
        options = dict(options)
        if "class_weight" in options:
            options["weight"] = torch.tensor(options.pop("class_weight"), dtype=getattr(torch, dtype))
        return getattr(torch.nn, name)(reduction=reduction, **options)


GRID = [
    Case(f"{activation}-{loss}", chain((5, 7, 6, 3), activation), loss, seed=i, kinked=activation in KINKED)
    for i, (activation, loss) in enumerate((a, loss) for a in ACTIVATIONS for loss in LOSSES)
]
OPTIONS = [
    Case("one_linear_layer", (linear(4, 3),)),
    Case("one_parameter", (linear(1, 1, bias=False),), "mse", samples=5),
    Case("one_output", chain((3, 4, 1), "tanh"), "bce"),
    Case("two_classes", chain((3, 4, 2), "silu"), "cross_entropy"),
    Case("no_bias", chain((5, 6, 4, 3), "tanh", bias=False), "weighted"),
    Case("activation_first", (ACTIVATIONS["tanh"], *chain((4, 5, 3), "sigmoid")), "huber"),
    Case("activation_last", (*chain((4, 5, 3), "softplus"), ACTIVATIONS["tanh"]), "mse"),
    Case(
        "activation_twice",
        (linear(4, 5), ACTIVATIONS["gelu"], ACTIVATIONS["elu"], linear(5, 3)),
        "smoothed_weighted",
    ),
    Case(
        "linear_twice",
        (linear(4, 6), linear(6, 5, bias=False), ACTIVATIONS["silu"], linear(5, 3)),
        "smoothed",
    ),
    Case("l2", chain((5, 7, 3), "tanh"), "cross_entropy", l2=0.37),
    Case("sample_weight", chain((5, 7, 3), "tanh"), "mse", weighted_samples=True),
    Case("both_weights", chain((5, 7, 3), "gelu"), "smoothed_weighted", weighted_samples=True, l2=0.02),
    Case("sample_weight_bce", chain((5, 7, 3), "silu"), "bce", weighted_samples=True),
    Case("sample_weight_huber", chain((5, 7, 3), "silu"), "huber_0.3", weighted_samples=True),
    Case("deep", chain((3, 5, 4, 6, 5, 4, 3), "tanh"), "cross_entropy"),
    Case("uneven", chain((17, 33, 9, 3), "gelu_tanh"), "cross_entropy", samples=37),
    Case("one_sample", chain((5, 7, 3), "tanh"), "cross_entropy", samples=1),
]
CASES = GRID + OPTIONS
