"""The process in which one thing is measured once: python -m benchmarks.child MODULE:FUNCTION ARGUMENTS RESULT.

Belongs here: reading the meters. Elsewhere: what is measured. Imports and a first tiny load come before the
measurement, for everybody alike; what they cost is told apart.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What a contender hands over when it is ready: the work to measure, and how many rows it accepted and rejected."""

    work: Callable[[], object]
    rows: Callable[[], tuple[int, int]]


def cpu_s() -> float:
    """User and system time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def peak_mb() -> float:
    """The most memory this process, or the largest of its children, ever had."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def main(target: str, arguments: str, result: str) -> None:
    """Call a function with JSON arguments; where it answers with something to measure, measure that."""
    module, function = target.split(":")
    answer = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    figures: dict[str, object] = {}
    if isinstance(answer, Measured):
        start_s, began = cpu_s(), time.perf_counter()
        answer.work()
        figures = {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s() - start_s, "start_s": start_s}
        figures["peak_mb"] = peak_mb()
        figures["rows"] = answer.rows()
    elif answer is not None:
        figures["answer"] = answer
    Path(result).write_text(json.dumps(figures))


if __name__ == "__main__":
    # As a module, not as a script: contenders import the very same `Measured`.
    importlib.import_module("benchmarks.child").main(*sys.argv[1:])
