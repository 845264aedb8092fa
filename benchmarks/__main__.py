"""python -m benchmarks: measure, keep the figures, write the table (see docs/benchmarks.md).

Belongs here: the command line.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.harness import PROJECT, QUICK, Site, Sizes
from benchmarks.workloads import WORKLOADS


def main() -> None:
    """Measure what is asked for; figures of other workloads that were kept stay in the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes and three rounds: does it run at all?")
    parser.add_argument("--only", action="append", choices=WORKLOADS, help="this workload (may be repeated)")
    parser.add_argument("--rounds", type=int, help="instead of five")
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "platform-bench", help="%(default)s")
    parser.add_argument("--json", type=Path, help="where figures are kept; by default in the data folder")
    parser.add_argument("--peers", type=Path, default=PROJECT / ".venv-bench" / "bin" / "python", help="%(default)s")
    parser.add_argument("--write", action="store_true", help=f"put the table into {report.DOCS.relative_to(PROJECT)}")
    options = parser.parse_args()

    sizes = QUICK if options.quick else Sizes()
    if options.rounds:
        sizes = replace(sizes, rounds=options.rounds)
    peers = options.peers if options.peers.exists() else None
    if peers is None:
        _say(f"peers are left out: there is no {options.peers} (make bench creates it)")
    options.data.mkdir(parents=True, exist_ok=True)
    kept = options.json or options.data / f"{sizes.name}.json"
    results = json.loads(kept.read_text()) if kept.exists() else {}
    site = Site(options.data.absolute(), sizes, peers, _say)
    where = report.surroundings(peers)
    for name in options.only or WORKLOADS:
        began = time.monotonic()
        _say(f"{name}: getting ready")
        workload = WORKLOADS[name](site)
        _say(f"{name}: {workload.title}")
        samples = site.measure(workload)
        results[name] = report.kept(workload, samples, sizes.name, where, f"{datetime.now(tz=UTC):%Y-%m-%d}")
        kept.write_text(json.dumps(results, indent=1))
        _say(f"{name}: {time.monotonic() - began:.0f} s")
    figures = report.table({name: results[name] for name in WORKLOADS if name in results})
    print(figures)
    if options.write:
        report.write(figures)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
