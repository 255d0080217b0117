"""Hyper-parameters of an update rule: numbers, switches and choices, or schedules of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ArgumentError, ArgumentTypeError
from ..ranges import Choice, Flag, Limit, Range
from ..schedules import Schedule, from_description

Number = float | Callable[[int], float]


class Hyper:
    """The values of all hyper-parameters besides the learning rate, checked, in the order of the C++ rule.

    Args:
        limits: what each may be.
        values: a value each; a number may be a schedule, any callable step → number.

    Raises:
        ArgumentError: a value is out of its range.
        ArgumentTypeError: a value has a wrong type, or what decides the rule's form is a schedule.
    """

    def __init__(self, limits: Mapping[str, Limit], values: Mapping[str, Any]) -> None:
        self.limits = dict(limits)
        self.settings: dict[str, Number] = {name: _checked(limit, name, values[name]) for name, limit in limits.items()}
        self.varies = any(callable(value) for value in self.settings.values())
        self._constant = None if self.varies else list(self.at(0).values())

    def at(self, step: int) -> dict[str, float]:
        """Every value at a step; switches are 0 or 1, choices count from 0.

        Raises:
            ArgumentError: a schedule gave a number out of the range of its hyper-parameter.
            ArgumentTypeError: a schedule gave no number.
        """
        return {name: self._value(name, setting, step) for name, setting in self.settings.items()}

    def row(self, step: int) -> list[float]:
        """The values of `at` without their names."""
        return list(self.at(step).values()) if self._constant is None else self._constant

    def structure(self) -> list[float]:
        """Values that decide which state is kept: a schedule stands for a number that is not 0."""
        return [0.5 if callable(setting) else setting for setting in self.settings.values()]

    def describe(self) -> dict[str, Any]:
        """JSON-able: numbers, words, descriptions of schedules; None for a callable of one's own."""
        return {name: self._described(name, setting) for name, setting in self.settings.items()}

    def arguments(self) -> dict[str, Any]:
        """The values as the constructor takes them."""
        return {name: self._plain(name, setting) for name, setting in self.settings.items()}

    def _value(self, name: str, setting: Number, step: int) -> float:
        return self.limits[name].check(f"{name}({step})", setting(step)) if callable(setting) else setting

    def _plain(self, name: str, setting: Number) -> Any:
        limit = self.limits[name]
        if callable(setting):
            return setting
        if isinstance(limit, Choice):
            return limit.words[int(setting)]
        return bool(setting) if isinstance(limit, Flag) else setting

    def _described(self, name: str, setting: Number) -> Any:
        if callable(setting):
            return setting.describe() if isinstance(setting, Schedule) else None
        return self._plain(name, setting)


def restored(described: Mapping[str, Any], own: Hyper) -> dict[str, Any]:
    """Arguments of a constructor from `Hyper.describe`; what it could not describe is taken from `own`.

    Raises:
        ArgumentError: `described` does not name the hyper-parameters, or lacks a value that `own` has no schedule for.
    """
    if not isinstance(described, Mapping) or set(described) != set(own.limits):
        raise ArgumentError(f"`state['hyper']` must hold {list(own.limits)}, got {described!r}")
    arguments = dict(described)
    for name, value in described.items():
        if isinstance(value, Mapping):
            arguments[name] = from_description(value)
        elif value is None:
            if not callable(own.settings[name]):
                raise ArgumentError(
                    f"`{name}` must be given: the state's own was a callable, which cannot be saved; "
                    "load into an optimizer that has it"
                )
            arguments[name] = own.settings[name]
    return arguments


def _checked(limit: Limit, name: str, value: Any) -> Number:
    if not callable(value):
        return limit.check(name, value)
    if not isinstance(limit, Range) or limit.fixed:
        raise ArgumentTypeError(f"`{name}` must be {limit} and cannot be a schedule, got {value!r}")
    checked: Number = value
    return checked
