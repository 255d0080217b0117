"""Settings: frozen dataclasses whose fields are keyword arguments and command-line options at once."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ArgumentError
from .plain_text import plain

T = TypeVar("T")


def setting(
    help: str,
    default: Any = MISSING,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: Callable[[], Sequence[str]] | None = None,
    positional: bool = False,
    fewest: int = 0,
) -> Any:
    """A field of a settings class.

    Args:
        help: what it means, for the command line's help.
        default: its value when not given; without one it must be given.
        least: smallest number allowed, also within tuples.
        most: largest number allowed.
        choices: gives the allowed words when they are known only at run time.
        positional: on the command line an argument without a name.
        fewest: elements that a tuple must have.
    """
    limits = {
        "help": help,
        "least": least,
        "most": most,
        "choices": choices,
        "positional": positional,
        "fewest": fewest,
    }
    if default is MISSING:
        return dataclasses.field(metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class Setting:
    """One field, ready to be parsed from text or checked.

    Attributes:
        name: the keyword argument.
        kind: int, float, str or bool; of every element if `many`.
        many: a tuple of them.
        optional: None is allowed.
        default: MISSING if it must be given.
        help: what it means.
        choices: the allowed words, or ().
        least: smallest number, or None.
        most: largest number, or None.
        positional: on the command line an argument without a name.
        fewest: elements that a tuple must have.
    """

    name: str
    kind: type
    many: bool
    optional: bool
    default: Any
    help: str
    choices: tuple[str, ...]
    least: float | None
    most: float | None
    positional: bool
    fewest: int

    def parse(self, text: str) -> Any:
        """The value that `text` stands for; elements of a tuple are separated by commas.

        Raises:
            ArgumentError: it does not fit.
        """
        words = [word.strip() for word in text.split(",")] if self.many else [text.strip()]
        try:
            values = tuple(self.kind(word) for word in words if word or not self.many)
        except ValueError:
            raise ArgumentError(self._message(repr(plain(text, 80)))) from None
        return self.check(values if self.many else values[0])

    def check(self, value: Any) -> Any:
        """`value` in the field's type.

        Raises:
            ArgumentError: it does not fit.
        """
        if value is None and self.optional:
            return None
        if self.many:
            if isinstance(value, (str, bytes)) or not isinstance(value, Sequence) or len(value) < self.fewest:
                raise ArgumentError(self._message(repr(value)))
            return tuple(self._check_one(element) for element in value)
        return self._check_one(value)

    def _check_one(self, value: Any) -> Any:
        good = type(value) is self.kind or (self.kind in (int, float) and _is_number(value, self.kind))
        if good and self.kind in (int, float):
            good = math.isfinite(value)
            good = good and (self.least is None or value >= self.least)
            good = good and (self.most is None or value <= self.most)
        if not good or (self.choices and value not in self.choices):
            raise ArgumentError(self._message(plain(repr(value), 80)))
        return self.kind(value)

    def _message(self, got: str) -> str:
        return f"`{self.name}` must be {self}, got {got}"

    def __str__(self) -> str:
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        noun = {int: "whole number", float: "number", str: "text", bool: "yes or no"}[self.kind]
        low = "" if self.least is None else f" from {self.least:.10g}"
        high = "" if self.most is None else f" up to {self.most:.10g}"
        some = f"{self.fewest} or more " if self.fewest else ""
        return f"{some}{noun}s{low}{high}, separated by commas" if self.many else f"a {noun}{low}{high}"


def describe(cls: type) -> list[Setting]:
    """The fields of a settings class in order."""
    hints = get_type_hints(cls)
    return [_describe(field, hints[field.name]) for field in dataclasses.fields(cls)]


def make(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a settings class from keyword arguments, each checked.

    Raises:
        ArgumentError: an unknown name, a missing or a wrong value.
    """
    fields = {field.name: field for field in describe(cls)}
    for name in values:
        if name not in fields:
            raise ArgumentError(f"there is no setting `{plain(name, 80)}`; there are {', '.join(fields)}")
    for name, field in fields.items():
        if field.default is MISSING and name not in values:
            raise ArgumentError(f"`{name}` is needed: {field.help}")
    return cls(**{name: fields[name].check(value) for name, value in values.items()})


def _describe(field: dataclasses.Field[Any], hint: Any) -> Setting:
    optional = many = False
    if get_origin(hint) in (Union, types.UnionType):
        optional = True
        hint = next(part for part in get_args(hint) if part is not type(None))
    if get_origin(hint) is tuple:
        many = True
        hint = get_args(hint)[0]
    words: tuple[str, ...] = ()
    if get_origin(hint) is Literal:
        words, hint = get_args(hint), str
    limits = field.metadata
    if limits["choices"] is not None:
        words = tuple(limits["choices"]())
    return Setting(
        field.name,
        hint,
        many,
        optional,
        field.default,
        limits["help"],
        words,
        limits["least"],
        limits["most"],
        limits["positional"],
        limits["fewest"],
    )


def _is_number(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return False
    return hasattr(value, "__index__") if kind is int else hasattr(value, "__float__")
