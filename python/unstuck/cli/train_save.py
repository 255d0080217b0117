"""The network that `unstuck train --save` writes: it takes the table's own columns and answers in the target's unit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import nn
from ..plain_text import plain
from ..report import Fact, Report

if TYPE_CHECKING:
    from .train import Prepared

ENDINGS = (".safetensors",)
_SHOWN = 8  # names in a sentence


def unscaled(net: nn.Network, prepared: Prepared) -> nn.Network:
    """The same function of the raw columns: scaling of features and target is folded into the outer layers.

    W·(x − m)/σ + b = (W/σ)·x + (b − W·m/σ), and likewise behind the last layer. In float64, because a column with a
    large mean and a small deviation loses its digits in float32.
    """
    twin = nn.Network(*net.layers, input_shape=net.input_shape, seed=net.seed, dtype="float64", init=net.init)
    twin.theta[:] = net.theta
    if prepared.scaler is not None:
        weight, bias = twin.block("0.weight"), twin.block("0.bias")
        weight /= prepared.scaler.scale
        bias -= weight @ prepared.scaler.mean
    if prepared.target_scaler is not None:
        last = len(net.layers) - 1
        weight, bias = twin.block(f"{last}.weight"), twin.block(f"{last}.bias")
        weight *= prepared.unit
        bias *= prepared.unit
        bias += prepared.target_scaler.mean
    return twin


def save(net: nn.Network, prepared: Prepared, path: str) -> dict[str, Any]:
    """Writes the network; says what goes in and what comes out of it, for people and machines."""
    unscaled(net, prepared).save(path)
    table = prepared.table
    return {
        "file": Path(path).name,
        "inputs": list(table.features),
        "outputs": list(table.classes) or [table.target],
        **({} if prepared.fill is None else {"fill": [float(mean) for mean in prepared.fill]}),
    }


def sentence(saved: dict[str, Any]) -> str:
    """What the file holds, in one sentence."""
    kind = "one score per class, the highest wins" if len(saved["outputs"]) > 1 else "the prediction"
    blank = ", a missing value as `fill` says," * ("fill" in saved)
    return (
        f"unstuck.nn.Network.load reads it; predict takes the columns {_listed(saved['inputs'])} as they stand in the "
        f"table{blank} and gives {kind} ({_listed(saved['outputs'])})."
    )


def mentioned(report: Report, saved: dict[str, Any]) -> Report:
    """The report with the saved network among its details and data."""
    fact = Fact("saved network", plain(saved["file"], 80), sentence=sentence(saved), data=saved)
    return replace(report, details=(*report.details, fact), data={**report.data, "saved": saved})


def _listed(names: list[str]) -> str:
    shown = ", ".join(plain(name, 40) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … ({len(names):,} in all)"
