"""The log of details: what processes behind the UI write goes there, what the UI prints does not; it stays short."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from platform_assets.orchestration.runs.details import Details, detailed


def test_what_children_write_goes_to_the_file_and_what_we_print_does_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "logs" / "ui.log"
    with detailed(path):
        subprocess.run([sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr)"], check=True)
        logging.getLogger("dagster").warning("a warning")
        sys.stdout.write("for the person\n")
    assert capfd.readouterr().out == "for the person\n"
    written = path.read_text()
    assert [each in written for each in ("out", "err", "a warning", "for the person")] == [True, True, True, False]
    assert path.stat().st_mode & 0o077 == 0
    subprocess.run([sys.executable, "-c", "print('afterwards')"], check=True)
    assert capfd.readouterr().out == "afterwards\n"


def test_the_file_begins_anew_where_it_is_too_long_and_one_before_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "ui.log"
    details = Details(path, most_bytes=1_000)
    with path.open("a") as process:  # which goes on writing, whatever becomes of the file
        for line in range(300):
            process.write(f"line {line}\n")
            process.flush()
            details.bound()
    kept = tmp_path / "ui.log.1"
    assert path.stat().st_size <= 1_000
    assert kept.stat().st_size < 1_100
    assert "line 299" in path.read_text()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["ui.log", "ui.log.1"]
