"""Turns settings classes into click commands: one option per field, named, typed and explained by it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from types import ModuleType
from typing import Any

from ..errors import ArgumentError
from ..settings import Setting, describe, make
from .output import Output

Run = Callable[[Any, Output], int]


def command(name: str, text: str, settings: type, run: Run) -> Any:
    """A click command that makes the settings from its options and returns the exit code of `run`.

    Args:
        name: on the command line.
        text: help; its first line is the summary.
        settings: class made of `unstuck.settings.setting` fields.
        run: (settings, output) → exit code.
    """
    import rich_click as click

    def callback(json_: bool, **values: Any) -> int:
        given = {key: value for key, value in values.items() if value is not None}
        return run(make(settings, given), Output(json=json_))

    parameters = [parameter(field) for field in describe(settings)]
    parameters.append(click.Option(["--json", "json_"], is_flag=True, help="print the result as JSON"))
    return click.RichCommand(name=name, params=parameters, callback=callback, help=inspect.cleandoc(text))


def module_command(name: str, module: ModuleType) -> Any:
    """The command of a module with `Settings`, `run` and a docstring."""
    return command(name, module.__doc__ or "", module.Settings, module.run)


def parameter(field: Setting) -> Any:
    """The click option or argument of one field."""
    import rich_click as click

    kind = _convert(field)
    if field.positional:
        return click.Argument([field.name], metavar=field.name.upper(), type=kind)
    flag = field.name.replace("_", "-")
    if field.kind is bool:
        names = [f"--{flag}/--no-{flag}", field.name]
        return click.Option(names, default=field.default, show_default=True, help=field.help)
    names, repeated = [f"--{flag}", field.name], field.many and field.kind is str
    if field.default is MISSING:
        return click.Option(names, type=kind, required=True, multiple=repeated, metavar=_noun(field), help=field.help)
    shown = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default is not None
    if field.choices and not field.many:
        kind = click.Choice(field.choices)
    return click.Option(
        names,
        type=kind,
        default=None if repeated else field.default,
        show_default=shown or False,
        multiple=repeated,
        metavar=None if field.choices and not field.many else _noun(field),
        help=field.help,
    )


def _noun(field: Setting) -> str:
    word = {int: "INTEGER", float: "NUMBER"}.get(field.kind, "TEXT")
    return f"{word},…" if field.many and field.kind is not str else word


def _convert(field: Setting) -> Callable[[Any], Any]:
    """Parses one word of the command line with the field's own rules."""
    import click

    def convert(value: Any) -> Any:
        if field.kind is str:
            return str(value)
        try:
            return field.parse(value) if isinstance(value, str) else field.check(value)
        except ArgumentError as error:
            raise click.BadParameter(str(error).partition(" must be ")[2].join(["must be ", ""])) from None

    convert.__name__ = field.kind.__name__
    return convert
