"""The one timer: candidates take turns in one process; medians, quartiles, ratios, facts of the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import unstuck as us

BATCH_SECONDS = 0.01


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one candidate: the median over the repeats, the quartiles, and all of them."""

    median: float
    low: float
    high: float
    repeats: tuple[float, ...]
    calls: int

    @classmethod
    def of(cls, repeats: list[float], calls: int) -> Timing:
        return cls(statistics.median(repeats), *_quartiles(repeats), tuple(repeats), calls)


@dataclass(frozen=True)
class Comparison:
    """Us beside the rivals on one task.

    Attributes:
        task: what was done, in words.
        timings: seconds per call of each candidate; ours is the first.
        checked: largest difference of the answers, relative as the task says, found before the timing.
        bytes_moved: bytes that one call must move to and from memory, if that is what limits it.
        stream_bytes: bytes that one call of the candidate "stream" moves, if there is one: what the memory gives.
        settings: sizes and options.
    """

    task: str
    timings: Mapping[str, Timing]
    checked: float | None = None
    bytes_moved: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    stream_bytes: int | None = None

    def share_of_stream(self) -> float | None:
        """Our rate over that of the stream, the median over the repeats; None without a stream."""
        if self.bytes_moved is None or self.stream_bytes is None:
            return None
        ours, stream = next(iter(self.timings.values())), self.timings["stream"]
        shares = [b / a for a, b in zip(ours.repeats, stream.repeats, strict=True)]
        return statistics.median(shares) * self.bytes_moved / self.stream_bytes

    def _rate(self, name: str) -> float | None:
        moved = self.stream_bytes if name == "stream" else self.bytes_moved
        return None if moved is None else moved / self.timings[name].median

    def ratios(self) -> dict[str, tuple[float, float, float]]:
        """{rival: median and quartiles over the repeats of its time / our time}."""
        (_, ours), *rivals = self.timings.items()
        within = {
            name: [b / a for a, b in zip(ours.repeats, rival.repeats, strict=True)]
            for name, rival in rivals
            if name != "stream"
        }
        return {name: (statistics.median(values), *_quartiles(values)) for name, values in within.items()}

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: times in seconds."""
        timings = {
            name: {
                "median": t.median,
                "low": t.low,
                "high": t.high,
                "calls": t.calls,
                "repeats": len(t.repeats),
            }
            for name, t in self.timings.items()
        }
        ratios = {
            name: dict(zip(("ratio", "low", "high"), values, strict=True)) for name, values in self.ratios().items()
        }
        rate = None
        if self.bytes_moved is not None:
            rate = {name: self._rate(name) for name in self.timings}
        return {
            "task": self.task,
            "settings": dict(self.settings),
            "checked": self.checked,
            "seconds": timings,
            "rival_over_ours": ratios,
            "bytes_per_second": rate,
            "share_of_stream": self.share_of_stream(),
        }

    def __str__(self) -> str:
        lines = [self.task + ("" if self.checked is None else f"   (answers differ by {self.checked:.1e})")]
        ratios = self.ratios()
        for name, t in self.timings.items():
            line = f"  {name:<16}{_duration(t.median)}  [{_duration(t.low)}, {_duration(t.high)}]"
            if (rate := self._rate(name)) is not None:
                line += f"  {rate / 1e9:6.1f} GB/s"
            if name == "stream":
                line += f"; ours is {100 * (self.share_of_stream() or 0):.0f} % of it"
            if name in ratios:
                ratio, low, high = ratios[name]
                line += f"  {ratio:7.2f} x ours [{low:.2f}, {high:.2f}]"
            lines.append(line)
        return "\n".join(lines)


def compare(
    task: str,
    candidates: Mapping[str, Callable[[], Any]],
    *,
    checked: float | None = None,
    bytes_moved: int | None = None,
    settings: Mapping[str, Any] | None = None,
    repeats: int = 15,
    stream_bytes: int | None = None,
) -> Comparison:
    """Time the candidates in turns, ours first in `candidates`; each is called without arguments."""
    calls = {name: _calls_per_batch(call) for name, call in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for repeat in range(repeats):
        start = repeat % len(names)
        for name in names[start:] + names[:start]:
            candidates[name]()
            seconds[name].append(_time(candidates[name], calls[name]))
    timings = {name: Timing.of(seconds[name], calls[name]) for name in names}
    return Comparison(task, timings, checked, bytes_moved, settings or {}, stream_bytes)


def machine() -> dict[str, Any]:
    """What the times depend on."""
    packages = ("numpy", "scipy", "torch", "scikit-learn", "jax", "curvlinops-for-pytorch")
    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": us.threads(),
        "level": us._core.level,
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"unstuck": us.__version__, **{p: v for p in packages if (v := _version(p))}},
    }


def _time(call: Callable[[], Any], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def _calls_per_batch(call: Callable[[], Any]) -> int:
    call()
    calls, seconds = 1, _time(call, 1)
    while seconds * calls < BATCH_SECONDS and calls < 1 << 20:
        calls = min(2 * calls, max(calls + 1, int(1.2 * BATCH_SECONDS / max(seconds, 1e-9))))
        seconds = _time(call, calls)
    return calls


def _quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def _duration(seconds: float) -> str:
    for unit, size in (("s ", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:8.2f} {unit}"
    return f"{seconds / 1e-9:8.2f} ns"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = dict(tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line)
    name = fields.get("model name", platform.processor())
    return f"{name} (family {fields.get('cpu family')}, model {fields.get('model')})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
