"""Run a lab: an experiment with a figure and a claim that can fail.

Exit codes: 0 the claim holds, 1 it does not, 2 usage or bad input, 130 interrupted.
"""

from __future__ import annotations

import sys
from dataclasses import fields, make_dataclass
from typing import Any

from ..atomic_file import check_target
from ..labs import NAMES, Lab, load
from ..labs.frame import ENDINGS
from ..nearest_name import cure
from ..progress import bar
from ..report.text import wrap
from ..settings import setting
from .output import Output


def group() -> Any:
    """`unstuck lab --list` and one command per lab, built from the lab's settings."""
    import rich_click as click

    class Labs(click.RichGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return list(NAMES)

        def get_command(self, ctx: Any, name: str) -> Any:
            if name not in NAMES:
                raise click.UsageError(f"there is no lab {name[:80]!r}; {cure(name, NAMES)}", ctx)
            return lab_command(load(name))

    def callback(show: bool, json_: bool) -> int | None:
        context: Any = click.get_current_context()
        if show:
            code = list_labs(Output(json=json_))
            context.exit(code)
        if context.invoked_subcommand is None:
            raise click.UsageError(f"which lab? There are {', '.join(NAMES)}", context)
        return None

    options: list[Any] = [
        click.Option(["--list", "show"], is_flag=True, help="list the labs"),
        click.Option(["--json", "json_"], is_flag=True, help="print the list as JSON"),
    ]
    return Labs(name="lab", params=options, callback=callback, help=__doc__, invoke_without_command=True)


def list_labs(out: Output) -> int:
    """Print name and title of every lab; in JSON also the statements of the lecture that it shows."""
    labs = [load(name) for name in NAMES]
    width = max(map(len, NAMES))
    room = out.width - width - 2 if sys.stdout.isatty() else 200  # elsewhere one line each
    lines = []
    for lab in labs:
        first, *rest = wrap(lab.title, room)
        lines += [f"{lab.name:<{width}}  {first}", *(" " * (width + 2) + line for line in rest)]
    out.result(
        "\n".join(lines),
        {"labs": [{"name": lab.name, "lecture": lab.lecture, "title": lab.title} for lab in labs]},
    )
    return 0


def lab_command(lab: Lab) -> Any:
    """The command of one lab: every setting of it, and --out."""
    from .options import command

    out_field = (
        "out",
        "str | None",
        setting("write the figure to this .png, .svg or .pdf file, or its paths growing to a .gif", None),
    )
    settings = make_dataclass("LabSettings", [out_field], bases=(lab.settings,), frozen=True)

    def run(chosen: Any, out: Output) -> int:
        if chosen.out is not None:
            check_target(chosen.out, ENDINGS, "--out")
        values = {field.name: getattr(chosen, field.name) for field in fields(lab.settings)}
        with bar(lab.name):
            found = lab.run(**values)
        verdict = "The claim holds." if found.holds else "The claim does not hold."
        if chosen.out is not None:
            written = found.save(chosen.out)
            out.talk(f"Figure: {written.name}")
        out.result(out.paragraph(f"{verdict} {found.sentence}"), found.to_dict())
        if chosen.out is None:
            out.hint("The figure: add --out figure.png")
        return 0 if found.holds else 1

    return command(lab.name, f"{lab.title}.\n\n{_without_first_line(lab.text)}", settings, run)


def _without_first_line(text: str) -> str:
    return text.split("\n", 1)[-1].strip()
