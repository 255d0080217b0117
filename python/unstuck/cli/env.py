"""Show what runs here: versions, CPU variant, threads, OpenMP runtimes."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from .. import __version__, _core, _variant
from ..report import Fact
from ..report.text import facts_text
from ..threads import threads
from .output import Output

PACKAGES = ("numpy", "scipy", "matplotlib", "jinja2", "rich-click", "safetensors", "torch", "scikit-learn", "mpi4py")


@dataclass(frozen=True)
class Settings:
    """No settings."""


def run(settings: Settings, out: Output) -> int:
    """Print the facts about this installation."""
    facts = environment()
    out.result(facts_text(facts), {fact.label: fact.data for fact in facts})
    return 0


def environment() -> list[Fact]:
    """Facts about this installation and machine; no paths, no user or host names."""
    runtimes = openmp_runtimes()
    several = len(runtimes) > 1
    versions = {name: _version(name) for name in PACKAGES}
    found = [
        _fact("unstuck", __version__),
        _fact("python", f"{platform.python_implementation()} {platform.python_version()}"),
        _fact("system", f"{platform.system()} {platform.machine()}"),
        _fact("CPU variant", _core.level),
        Fact("variants built", ", ".join(_variant.built()), data=_variant.built()),
        Fact("CPU can run", ", ".join(_variant.supported()) or "portable only", data=_variant.supported()),
        Fact("threads", f"{threads()} of {os.cpu_count() or 1} logical CPUs", data=threads()),
        Fact(
            "OpenMP runtime",
            ", ".join(runtimes) or "none loaded",
            "warn" if several else "info",
            "Two runtimes in one process compete for the cores and may disagree." if several else "",
            runtimes,
        ),
        Fact("CUDA", "not built", data=False),
    ]
    settings = {name: value[:60] for name, value in sorted(os.environ.items()) if name.startswith("UNSTUCK_")}
    found.append(
        Fact("UNSTUCK_ variables", ", ".join(f"{k}={v}" for k, v in settings.items()) or "none", data=settings)
    )
    return found + [Fact(name, version or "not installed", data=version) for name, version in versions.items()]


def openmp_runtimes() -> list[str]:
    """File names of the OpenMP libraries loaded in this process, one for each copy; Linux only."""
    maps = Path("/proc/self/maps")
    if sys.platform != "linux" or not maps.exists():
        return []
    pattern = re.compile(r"(/\S*/lib(?:gomp|iomp5|omp)[^/]*\.so[^/]*)$", re.M)
    return sorted(Path(path).name for path in set(pattern.findall(maps.read_text())))


def _fact(label: str, value: str) -> Fact:
    return Fact(label, value, data=value)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
