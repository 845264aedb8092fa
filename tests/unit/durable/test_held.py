"""A place that one process has: taken at once or refused with who has it, and free when that process ends, however."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from machine import PROJECT
from shop import child

from platform_assets.engine.durable.held import Taken, held, holder, take
from platform_assets.orchestration.runs.process import running_daemon


def _have(path: Path, ready: Path) -> None:
    place = take(path, url="http://here")
    place.say(url="http://there")
    ready.touch()
    time.sleep(60)


def test_a_place_is_refused_with_what_its_holder_says_and_free_once_that_is_killed(tmp_path: Path) -> None:
    path, ready = tmp_path / "lock", tmp_path / "ready"
    assert holder(path) is None
    process = child(_have, path, ready)
    while not ready.exists():
        time.sleep(0.01)
    assert holder(path) == {"pid": process.pid, "url": "http://there"}
    with pytest.raises(Taken) as refused:
        take(path)
    assert refused.value.said["pid"] == process.pid
    process.kill()
    process.join()
    assert holder(path) is None, "whatever it has left in the file"
    with held(path, url="http://mine"):
        assert (holder(path) or {})["url"] == "http://mine"
    assert holder(path) is None


@pytest.mark.parametrize("said", ["", "[", "[]", "\x00"])
def test_what_a_holder_has_not_said_is_not_known(tmp_path: Path, said: str) -> None:
    path = tmp_path / "lock"
    with held(path):
        path.write_text(said)
        assert holder(path) == {}
        with pytest.raises(Taken):
            take(path)


DAEMON = """
import pathlib, sys, time
from platform_assets.orchestration.runs.process import be_the_daemon
be_the_daemon(pathlib.Path(sys.argv[1]))
be_the_daemon(pathlib.Path(sys.argv[1]))  # another instance in the same process is no other daemon
print("runs", flush=True)
time.sleep(60)
"""


def test_a_home_has_one_daemon_and_the_second_ends_at_once_with_a_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DAEMON, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "runs\n"
        assert running_daemon(tmp_path) == (f"Dagster's own daemon (process {first.pid})", False)
        second = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
        said = (
            f"error: {tmp_path}: Dagster's own daemon (process {first.pid}) runs on it already. End that one first.\n"
        )
        assert (second.returncode, second.stderr) == (2, said)
        first.kill()
    assert running_daemon(tmp_path) is None
