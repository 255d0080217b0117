"""Every layer that a saved network may name, and layers as plain values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ..errors import ArgumentError
from .init import Initialiser
from .layer import Layer

_DEEPEST = 50  # of layers in layers


def kinds() -> dict[str, type[Layer]]:
    """{name in a file: layer} of every layer of this package."""
    package = __name__.rpartition(".")[0]
    return {kind.kind: kind for kind in _below(Layer) if kind.kind and kind.__module__.rpartition(".")[0] == package}


def _below(kind: type[Layer]) -> Iterator[type[Layer]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


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
    kind = kinds().get(str(arguments.pop("kind", None)))
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
