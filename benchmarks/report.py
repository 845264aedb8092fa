"""The table: figures of all workloads as Markdown, and where in the docs they go.

Belongs here: medians, ratios, goals met or missed, machine and versions. Elsewhere: measuring.
"""

import os
import platform
import statistics
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import PROJECT, Workload

DOCS: Final = PROJECT / "docs" / "benchmarks.md"
_BEGIN: Final = "<!-- figures: written by make bench -->"
_END: Final = "<!-- end of figures -->"
_PACKAGES: Final = ("duckdb", "polars", "pandera", "pyarrow")
_PEERS: Final = ("dlt", "pandas", "sqlalchemy", "polars", "pandera", "pydantic", "duckdb")
_COSTS: Final = (
    "",
    "Medians, with the least and the most in brackets. × is the ratio of CPU to the workload's bare load.",
    "",
    "| workload | who | CPU s | × | wall s | peak MB | start: CPU s | rounds |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
)
_WAITS: Final = (
    "",
    "| waited for | by | median s | 90 % within | least–most | CPU s | others | load | samples |",
    "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
)
_METERS: Final = {"cpu": ("cpu_s", "CPU"), "wall": ("wall_s", "wall"), "memory": ("peak_mb", "peak memory")}

Samples = Mapping[str, list[dict[str, Any]]]


def kept(workload: Workload, samples: Samples, sizes: str, where: str, on: str) -> dict[str, Any]:
    """What is kept of a workload's run, enough to write its part of the table at any time."""
    return {
        "title": workload.title,
        "sizes": sizes,
        "where": where,
        "on": on,
        "samples": samples,
        "goals": [asdict(goal) for goal in workload.goals],
        "waiting": workload.waiting,
    }


def surroundings(peers: Path | None) -> str:
    """Machine, versions and commit, in a line."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    machine = f"{_processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()} {platform.release()}"
    ours = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    theirs = ""
    if peers is not None:
        code = f"from importlib.metadata import version; print(*[f'{{n}} {{version(n)}}' for n in {_PEERS}], sep=', ')"
        theirs = f"; peers: {_said([str(peers), '-c', code])}"
    commit = _said(["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]) or "unknown"
    return f"{machine}; Python {platform.python_version()}, {ours}{theirs}; commit {commit}"


def table(results: Mapping[str, Any]) -> str:
    """All figures as Markdown."""
    lines = ["| to reach | limit | measured | |", "| --- | --- | --- | --- |"]
    for name, result in results.items():
        lines += [
            f"| {name}: {what} | {limit} | {measured} | {sign} |" for what, limit, measured, sign in _goals(result)
        ]
    costs, waits = (
        [each for each in results.values() if each.get("waiting", False) is waiting] for waiting in (False, True)
    )
    if costs:
        lines += _COSTS
    for result in costs:
        lines += _rows(result)
    for result in waits:
        lines += _waits(result)
    lines += [""]
    places: dict[str, list[str]] = {}
    for name, result in results.items():
        places.setdefault(f"{result['on']}, {result['sizes']} sizes, on {result['where']}", []).append(name)
    lines += [f"Measured {place}: {', '.join(names)}." for place, names in places.items()]
    return "\n".join(lines) + "\n"


def write(figures: str, docs: Path = DOCS) -> None:
    """Put the table where the docs have room for it."""
    text = docs.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, found, after = rest.partition(_END)
    if not found:
        raise ValueError(f"{docs} has no place for figures: {_BEGIN} … {_END}")
    docs.write_text(f"{before}{_BEGIN}\n{figures}{_END}{after}")


def _goals(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    samples = result["samples"]
    for goal in result["goals"]:
        if not (samples.get(goal["of"]) and samples.get(goal["to"])):
            continue
        for key, (meter, said) in _METERS.items():
            limit = goal[key]
            if limit is None:
                continue
            ratio = _median(samples[goal["of"]], meter) / _median(samples[goal["to"]], meter)
            if limit < 1:
                shown = f"{1 / limit:.0f} × less", f"{1 / ratio:.1f} × less"
            else:
                shown = f"{limit:.2f} ×", f"{ratio:.2f} ×"
            yield f"{said} of {goal['of']} to {goal['to']}", *shown, _sign(ratio <= limit)
        if goal.get("most_s") is not None:
            waited = _median(samples[goal["of"]], "wall_s")
            yield f"wall of {goal['of']}", f"{goal['most_s']} s", f"{waited:.1f} s", _sign(waited <= goal["most_s"])
        if goal["most_mb"] is not None:
            peak = _median(samples[goal["of"]], "peak_mb")
            yield (
                f"peak memory of {goal['of']}",
                f"{goal['most_mb']} MB",
                f"{peak:.0f} MB",
                _sign(peak < goal["most_mb"]),
            )


def _rows(result: Mapping[str, Any]) -> Iterator[str]:
    samples = result["samples"]
    base = next((name for name in samples if name == "bare DuckDB"), None)
    title = result["title"]
    for name, each in samples.items():
        if not each:
            continue
        bare = base or next((b for b in samples if b == name.replace("ours", "bare DuckDB")), None)
        ratio = f"{_median(each, 'cpu_s') / _median(samples[bare], 'cpu_s'):.2f}" if bare else ""
        yield (
            f"| {title} | {name} | {_spread(each, 'cpu_s')} | {ratio} | {_spread(each, 'wall_s')} "
            f"| {_median(each, 'peak_mb'):.0f} | {_median(each, 'start_s'):.1f} | {len(each)} |"
        )
        title = ""


def _waits(result: Mapping[str, Any]) -> Iterator[str]:
    """How long it takes, what it uses meanwhile, and where the time goes."""
    measured = {name: each for name, each in result["samples"].items() if each}
    title = result["title"]
    yield from _WAITS
    for name, each in measured.items():
        waited = sorted(sample["wall_s"] for sample in each)
        most = statistics.quantiles(waited, n=10, method="inclusive")[-1] if len(waited) > 1 else waited[0]
        yield (
            f"| {title} | {name} | {_median(each, 'wall_s'):.1f} | {most:.1f} | {waited[0]:.1f}–{waited[-1]:.1f} "
            f"| {_median(each, 'cpu_s'):.1f} | {_median(each, 'others'):.0%} | {each[0]['load']:.1f} | {len(waited)} |"
        )
        title = ""
    yield from ("", "| by | where the time goes: medians, s |", "| --- | --- |")
    for name, each in measured.items():
        parts = dict.fromkeys(part for sample in each for part in sample["parts"])
        spent = {part: statistics.median(sample["parts"].get(part, 0.0) for sample in each) for part in parts}
        yield f"| {name} | {' · '.join(f'{part} {seconds:.1f}' for part, seconds in spent.items())} |"


def _median(samples: list[dict[str, Any]], meter: str) -> float:
    return float(statistics.median(sample[meter] for sample in samples))


def _spread(samples: list[dict[str, Any]], meter: str) -> str:
    values = sorted(sample[meter] for sample in samples)
    return f"{statistics.median(values):.2f} [{values[0]:.2f}–{values[-1]:.2f}]"


def _sign(reached: bool) -> str:
    return "reached" if reached else "**missed**"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _said(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
