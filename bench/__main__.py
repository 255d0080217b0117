"""`python -m bench [name …] [--json] [--quick]`: runs the modules bench_<name>.py and prints the results.

A name may be one part of a module's PARTS: `curvature.verdict`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys
from collections.abc import Callable, Iterable
from typing import Any

import bench
from bench.timing import machine


def found() -> list[str]:
    """Names of the benchmarks there are."""
    names = [module.name for module in pkgutil.iter_modules(bench.__path__)]
    return sorted(name.removeprefix("bench_") for name in names if name.startswith("bench_"))


def measurement(name: str) -> Callable[[bool], Iterable[Any]] | None:
    """What `name` or `name.part` runs; None if there is none of that name."""
    name, _, part = name.partition(".")
    if name not in found():
        return None
    module = importlib.import_module(f"bench.bench_{name}")
    chosen: Callable[[bool], Iterable[Any]] | None = (
        module.measure if not part else getattr(module, "PARTS", {}).get(part)
    )
    return chosen


def _parts(name: str) -> str:
    base = name.partition(".")[0]
    parts = getattr(importlib.import_module(f"bench.bench_{base}"), "PARTS", {}) if base in found() else {}
    return f"; parts of {base}: {', '.join(parts)}" if parts else ""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks against rivals.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of: {', '.join(found())}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON document to stdout")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: does it run at all?")
    options = parser.parse_args(arguments)
    for name in options.names:
        if measurement(name) is None:
            parser.error(f"no benchmark {name!r}; there are: {', '.join(found())}{_parts(name)}")
    document = {"machine": machine(), "benchmarks": {}}
    talk = sys.stderr if options.json else sys.stdout
    print(json.dumps(document["machine"]), file=talk, flush=True)
    for name in options.names or found():
        rows = document["benchmarks"].setdefault(name, [])
        run = measurement(name)
        for comparison in run(options.quick) if run is not None else ():
            print(comparison, file=talk, flush=True)
            rows.append(comparison.to_dict())
    if options.json:
        print(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
