"""What is installed and run of others: named exactly, by hash where there is one; known weaknesses are looked up."""

import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from machine import CHECKOUT, PROJECT

WORKFLOWS: Final = sorted((PROJECT / ".github" / "workflows").glob("*.y*ml"))
BY_HASH: Final = (".ci/uv.txt", "benchmarks/requirements.txt")
PYPROJECT: Final = tomllib.loads((PROJECT / "pyproject.toml").read_text())
UV: Final = CHECKOUT / ".venv" / "bin" / "uv"


def steps(workflow: Path) -> Iterator[dict[str, Any]]:
    for job in yaml.safe_load(workflow.read_text())["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit_and_say_their_version(workflow: Path) -> None:
    used = re.findall(r"uses:\s*(.*)", workflow.read_text())
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each)] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_checkout_leaves_no_token_behind(workflow: Path) -> None:
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("file", BY_HASH)
def test_what_is_installed_beside_the_lock_is_named_by_hash(file: str) -> None:
    text = re.sub(r"\s*\\\n\s*", " ", (PROJECT / file).read_text())
    required = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert required
    assert [each for each in required if not re.match(r"[\w.-]+==\S+ (;.*)?--hash=sha256:[0-9a-f]{64}", each)] == []
    assert f"--require-hashes -r {file}" in re.sub(r"--only-binary :all: ", "", (PROJECT / "Makefile").read_text())


def test_make_installs_nothing_else() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    installing = [line for line in makefile.splitlines() if re.search(r"\b(pip install|uv sync|uv add)\b", line)]
    assert [
        line for line in installing if "--require-hashes" not in line and "uv sync --active --locked" not in line
    ] == []


def test_what_builds_the_project_is_named_exactly() -> None:
    constrained = PYPROJECT["tool"]["uv"]["build-constraint-dependencies"]
    for each in (*PYPROJECT["build-system"]["requires"], *constrained):
        assert re.fullmatch(r"[\w.-]+==[\w.]+", each), each


def test_the_lock_has_a_hash_of_everything_that_is_downloaded() -> None:
    locked = tomllib.loads((PROJECT / "uv.lock").read_text())["package"]
    for package in locked:
        for file in (*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])):
            assert file["hash"].startswith("sha256:"), package["name"]
    ours = [package["name"] for package in locked if "registry" not in package["source"]]
    assert ours == ["platform-assets"]
    unbuilt = [package["name"] for package in locked if not package.get("wheels") and package["name"] not in ours]
    assert unbuilt == [], "its build would run code of others here"


@contextmanager
def weaknesses(*packages: str, out_of_order: bool = False) -> Iterator[str]:
    """A database, on this machine, that knows a weakness of each of the packages; its address."""

    class Database(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if out_of_order:
                self.send_error(503)
                return
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            known = {"vulns": [{"id": "GHSA-0000", "modified": "2026-01-01T00:00:00Z"}]}
            self._answer({"results": [known if each["package"]["name"] in packages else {} for each in asked]})

        def do_GET(self) -> None:
            self._answer({"id": "GHSA-0000", "modified": "2026-01-01T00:00:00Z", "summary": "it lets strangers in"})

        def _answer(self, what: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(what).encode())

        def log_message(self, *_: object) -> None:
            """Not to the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Database) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()


def audit(database: str) -> "subprocess.CompletedProcess[str]":
    command = [str(CHECKOUT / ".ci" / "audit"), "--service-url", database]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.needs(UV)
def test_a_known_weakness_fails_the_gate_and_is_named() -> None:
    assert "make audit" in (PROJECT / ".ci" / "run").read_text().splitlines()
    with weaknesses("duckdb") as database:
        done = audit(database)
    assert done.returncode == 1
    assert re.search(r"duckdb \S+ has 1 known vulnerability", done.stdout)
    assert "GHSA-0000: it lets strangers in" in done.stdout


@pytest.mark.needs(UV)
def test_without_a_known_weakness_it_passes() -> None:
    with weaknesses() as database:
        done = audit(database)
    assert (done.returncode, "no known vulnerabilities" in done.stdout) == (0, True), done.stdout


@pytest.mark.slow
@pytest.mark.needs(UV)
def test_a_database_out_of_reach_is_told_and_fails_nothing() -> None:
    with weaknesses(out_of_order=True) as out_of_order:
        for database in (out_of_order, "http://127.0.0.1:9/"):
            done = audit(database)
            assert (done.returncode, "NOT AUDITED" in done.stdout) == (0, True), done.stdout
