"""python -m benchmarks.release_page: the page of the sample's releases: its size, what writing and leaving it costs.

Belongs here: the sample, taken in and released by the real commands, and its page written again and again. Elsewhere:
Dagster's own pages (page.py), how fast a browser paints it (tests/ui/test_page.py).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import dagster as dg

from benchmarks.harness import PROJECT
from platform_assets.definitions import build_definitions
from platform_assets.engine.store import charted
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.page import keep_page
from platform_assets.project.configured import configured_deployment, declared_marts, declared_products
from platform_assets.project.graph import project_of
from platform_assets.project.manifest import current_manifest

_PLATFORM: Final = Path(sys.executable).with_name("platform")


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.release_page", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="times that it is written (%(default)s)")
    parser.add_argument("--days", type=int, default=60, help="days of the sample (%(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PLATFORM_HOME"], os.environ["PLATFORM_LANDING"] = f"{folder}/home", f"{folder}/landing"
        os.environ["DAGSTER_HOME"] = f"{folder}/home/dagster"
        os.chdir(PROJECT)
        for verb in (["simulate", "--days", str(options.days)], ["run"]):
            subprocess.run([_PLATFORM, *verb], check=False, capture_output=True)
        _, deployment = configured_deployment(print)
        graph = build_definitions().resolve_asset_graph()
        marts = declared_marts()
        project = project_of(deployment.feeds, marts, current_manifest(), declared_products())
        with dg.DagsterInstance.get() as instance:

            def look() -> Path:
                seen = DagsterState(instance, graph, deployment.clock())
                return keep_page(seen, DeploymentState(deployment, marts, project))[0]

            page = look()

            def forget() -> None:
                page.unlink()
                charted._remembered.clear()

            written = _median_ms(forget, look, options.rounds)
            left = _median_ms(lambda: None, look, options.rounds)
        print(f"size {page.stat().st_size / 1e6:.2f} MB, written in {written:.0f} ms, left as it is in {left:.0f} ms")


def _median_ms(before: Callable[[], None], work: Callable[[], object], rounds: int) -> float:
    took = []
    for _ in range(rounds):
        before()
        began = time.perf_counter()
        work()
        took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


if __name__ == "__main__":
    main()
