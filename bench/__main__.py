"""`python -m bench [name …] [--json] [--quick]`: runs the modules bench_<name>.py and prints the results."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
import sys

import bench
from bench.timing import machine


def found() -> list[str]:
    """Names of the benchmarks there are."""
    names = [module.name for module in pkgutil.iter_modules(bench.__path__)]
    return sorted(name.removeprefix("bench_") for name in names if name.startswith("bench_"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks against rivals.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"one of: {', '.join(found())}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON document to stdout")
    parser.add_argument("--quick", action="store_true", help="small sizes, few repeats: does it run at all?")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in found()]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(found())}")
    document = {"machine": machine(), "benchmarks": {}}
    talk = sys.stderr if options.json else sys.stdout
    print(json.dumps(document["machine"]), file=talk, flush=True)
    for name in options.names or found():
        rows = document["benchmarks"].setdefault(name, [])
        for comparison in importlib.import_module(f"bench.bench_{name}").measure(options.quick):
            print(comparison, file=talk, flush=True)
            rows.append(comparison.to_dict())
    if options.json:
        print(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
