"""The benchmarks run: real processes on small data, and the table that comes out.

Belongs here: that measuring works. Elsewhere: how fast anything is.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from machine import PROJECT

from benchmarks import latency
from benchmarks.report import table, write


@pytest.mark.slow
def test_a_quick_run_measures_ours_against_the_bare_load_and_makes_the_table(tmp_path: Path) -> None:
    done = subprocess.run(
        f"{sys.executable} -m benchmarks --quick --rounds 1 --only ndjson --only landing --only diff "
        f"--data {tmp_path} --json {tmp_path}/figures.json".split(),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert set(figures) == {"ndjson", "landing", "diff"}
    for samples in figures["ndjson"]["samples"].values():
        assert all(sample["cpu_s"] > 0 and sample["peak_mb"] > 0 for sample in samples)
    assert "| one ndjson of 200,000 lines, 0.1 % bad | ours |" in done.stdout
    assert not (tmp_path / "run").exists()


def test_what_is_waited_for_has_a_table_of_its_own_with_ratio_limit_and_where_the_time_goes() -> None:
    def waited(*seconds: float) -> list[dict[str, Any]]:
        return [
            {"wall_s": each, "cpu_s": 2.0, "others": 0.1, "load": 0.3, "parts": {"until a run is asked for": each / 2}}
            for each in seconds
        ]

    goal = {"of": "ours", "to": "stock", "cpu": None, "wall": 0.1, "memory": None, "most_mb": None, "most_s": 8}
    figures = table(
        {
            "latency": {
                "title": "a file",
                "sizes": "full",
                "where": "a machine",
                "on": "2026-11-21",
                "samples": {"ours": waited(7.0, 9.0, 11.0), "stock": waited(99.0)},
                "goals": [goal],
                "waiting": True,
            }
        }
    )

    assert "| latency: wall of ours to stock | 10 × less | 11.0 × less | reached |" in figures  # noqa: RUF001
    assert "| latency: wall of ours | 8 s | 9.0 s | **missed** |" in figures
    assert "| a file | ours | 9.0 | 10.6 | 7.0–11.0 | 2.0 | 10% | 0.3 | 3 |" in figures  # noqa: RUF001
    assert "| stock | until a run is asked for 49.5 |" in figures
    assert "peak MB" not in figures


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_file_reaches_readers_of_a_real_deployment_and_the_time_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "CALM_WITHIN_S", 0.0)  # no figure is written down
    (sample,) = latency.command(str(tmp_path), deliveries=1)

    assert {"until a run is asked for", "ingest_order_lines", "dbt_models", "release__retail"} <= set(sample["parts"])
    assert sum(sample["parts"].values()) == pytest.approx(sample["wall_s"], abs=0.5)
    assert sample["cpu_s"] > 0


def test_the_table_says_which_goals_were_missed_and_goes_where_the_docs_have_room(tmp_path: Path) -> None:
    def samples(cpu_s: float) -> list[dict[str, float]]:
        return [{"cpu_s": cpu_s, "wall_s": 1.0, "peak_mb": 100.0, "start_s": 1.0}] * 3

    goal = {"of": "ours", "to": "bare DuckDB", "cpu": 1.5, "wall": 1.5, "memory": None, "most_mb": None}
    figures = table(
        {
            "csv": {
                "title": "one csv",
                "sizes": "quick",
                "where": "a machine",
                "on": "2026-11-21",
                "samples": {"ours": samples(3.2), "bare DuckDB": samples(2.0)},
                "goals": [goal],
            }
        }
    )
    docs = tmp_path / "benchmarks.md"
    docs.write_text("before\n<!-- figures: written by make bench -->\nold\n<!-- end of figures -->\nafter\n")

    write(figures, docs)

    text = docs.read_text()
    cpu, wall = (line for line in text.splitlines() if line.startswith("| csv: "))
    assert [cell[:4] for cell in cpu.split(" | ")[1:3]] == ["1.50", "1.60"]
    assert cpu.endswith("| **missed** |")
    assert wall.endswith("| reached |")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
