"""Every layer that a saved network may name, and layers as plain values."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from ..errors import ArgumentError
from . import activation, batch_norm, containers, convolution, dropout, linear, normalization, parametrization, pooling
from .init import Initialiser
from .layer import Layer

_MODULES = (linear, convolution, normalization, batch_norm, activation, pooling, dropout, containers, parametrization)
_DEEPEST = 50  # of layers in layers

KINDS: dict[str, type[Layer]] = {
    value.kind: value
    for module in _MODULES
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Layer) and value.kind
}


def describe(layer: Layer) -> dict[str, Any]:
    """A layer as plain JSON-able values."""
    return {"kind": layer.kind, **{f.name: _plain(getattr(layer, f.name)) for f in fields(layer)}}


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):
        return describe(value)
    if isinstance(value, Initialiser):
        return vars(value).copy()
    return [_plain(x) for x in value] if isinstance(value, tuple) else value


def restore(values: dict[str, Any], depth: int = 0) -> Layer:
    """The layer that `describe` described.

    Raises:
        ArgumentError: unknown kind or fields, or layers nested deeper than any network.
    """
    arguments = dict(values)
    kind = KINDS.get(str(arguments.pop("kind", None)))
    if kind is None or set(arguments) - {f.name for f in fields(kind)} or depth > _DEEPEST:
        raise ArgumentError(f"unknown layer {str(values)[:80]!r}")
    if isinstance(arguments.get("init"), dict):
        arguments["init"] = Initialiser(**arguments["init"])
    nested = arguments.pop("layers", [])
    for name, value in arguments.items():
        if isinstance(value, dict):
            arguments[name] = restore(value, depth + 1)
        elif isinstance(value, list):
            arguments[name] = tuple(value)
    return kind(*[restore(x, depth + 1) for x in nested], **arguments)
