"""Each way to read a release that the page *Read releases from other programs* tells of, run as it stands there, by the
clients themselves, in an environment of their own.

Superset and Metabase are not run: what Superset would do with the settings is done with SQLAlchemy. Where a client
cannot be installed, the test is skipped; where CI is told, it fails.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pytest
from deployed import BIN, Deployed
from machine import PROJECT, missing
from test_tutorial import Block, blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAGE: Final = PROJECT / "docs" / "how-to" / "connect.md"
CLIENTS: Final = ("duckdb-engine", "duckdb-cli", "pandas", "pyarrow", "polars", "nbclient", "ipykernel", "streamlit")
BLOCKS: Final = [each for each in blocks(PAGE.read_text()) if each.kind in ("python", "shell", "js")]
PLAIN: Final = [each for each in BLOCKS if each.kind == "python" and each.title is None]
NOTEBOOK: Final = """
import sys, nbformat, nbclient
book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(sys.stdin.read())])
nbclient.NotebookClient(book, kernel_name="python3").execute()
print(book.cells[0].outputs[0]["data"]["text/plain"])
"""
STREAMLIT: Final = """
from streamlit.testing.v1 import AppTest
shown = AppTest.from_file("sales.py").run(timeout=60)
assert not shown.exception, shown.exception
print(shown.main[0].type)
"""
SUPERSET: Final = """
import json, sys, sqlalchemy
uri, parameters = sys.argv[1:]
engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.pool.NullPool, **json.loads(parameters))
print(sorted(sqlalchemy.inspect(engine).get_view_names()))
with engine.connect() as connection:
    print(connection.execute(sqlalchemy.text("SELECT count(*) FROM daily_sales")).scalar_one())
"""


class Reader:
    """A folder with a deployment that has a release, and the clients that read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".platform"
        self.world = Deployed(folder, {"PLATFORM_HOME": str(self.home)})
        self.clients = folder / "clients"

    @property
    def release(self) -> Path:
        return self.home / "releases" / "retail" / "current.duckdb"

    def asks(self, sql: str) -> str:
        """What the release says, read by the DuckDB of this environment."""
        with duckdb.connect(str(self.release), read_only=True) as connection:
            ((answer,),) = connection.execute(sql).fetchall()
        return str(answer)

    def run(self, *command: str, stdin: str = "") -> str:
        """Run a program in the folder; what it prints."""
        done = subprocess.run(
            command, cwd=self.folder, input=stdin, capture_output=True, text=True, timeout=180, check=False,
            env={**os.environ, "PATH": f"{self.clients / 'bin'}:{os.environ['PATH']}", "PLATFORM_HOME": str(self.home)},
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(command)[:200]}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def python(self, code: str, *arguments: str, stdin: str = "") -> str:
        return self.run(str(self.clients / "bin" / "python"), "-c", code, *arguments, stdin=stdin)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("reader"))
    reader.world.landing.mkdir()
    reader.world.simulate(days=3, rows=100, until="2026-03-31")
    done = reader.world.platform("run", "--json")
    assert done.did, done.err
    python = str(reader.clients / "bin" / "python")
    for command in (
        [str(BIN / "uv"), "venv", "--quiet", "--python", sys.executable, str(reader.clients)],
        [str(BIN / "uv"), "pip", "install", "--quiet", "--python", python, *CLIENTS],
    ):
        installed(subprocess.run(command, capture_output=True, text=True, check=False))
    yield reader
    shutil.rmtree(reader.clients)


def installed(done: subprocess.CompletedProcess[str]) -> None:
    """Skip where a client could not be installed, but in CI."""
    if done.returncode != 0:
        missing(f"clients cannot be installed here: {done.stderr.strip()[-300:]}")


def block(title: str) -> Block:
    (found,) = (each for each in BLOCKS if each.title == title)
    return found


@pytest.mark.parametrize("shown", PLAIN, ids=[f"line {each.line}" for each in PLAIN])
def test_python_as_it_stands_there(reader: Reader, shown: Block) -> None:
    said = reader.python(shown.body)
    newest, revenue = reader.asks("SELECT max(sale_date) FROM daily_sales"), "SELECT sum(net_revenue) FROM daily_sales"
    if "sum()" in shown.body:
        digits = said.replace("_", "")
        assert f"{float(reader.asks(revenue)):.2f}" in digits or reader.asks(revenue) in digits
    elif "write_csv" not in shown.body:
        assert newest in said


def test_a_csv_for_excel_has_no_formulas(reader: Reader) -> None:
    (shown,) = (each for each in PLAIN if "write_csv" in each.body)
    evil = (
        "SELECT '=1+1' AS \"a \"\"b\", '-2' AS text, -2 AS number, '@x' AS at, NULL::VARCHAR AS nothing, 'ok' AS good"
    )
    code = shown.body.replace('"FROM dim_products"', f"'''{evil}'''")
    assert code != shown.body
    reader.python(shown.body)
    count = reader.asks("SELECT count(*) FROM dim_products")
    with (reader.folder / "dim_products.csv").open() as file:
        assert str(len(list(csv.DictReader(file)))) == count
    reader.python(code)
    with (reader.folder / "dim_products.csv").open() as file:
        assert list(csv.reader(file))[1] == ["'=1+1", "'-2", "-2", "'@x", "", "ok"]


def test_a_notebook_is_executed(reader: Reader) -> None:
    said = reader.python(NOTEBOOK, stdin=block("sales.ipynb").body)
    assert reader.asks("SELECT max(sale_date) FROM daily_sales") in said
    assert "net_revenue" in said


def test_streamlit_draws_a_chart(reader: Reader) -> None:
    (reader.folder / "sales.py").write_text(block("sales.py").body)
    assert "chart" in reader.python(STREAMLIT)


def test_the_command_line_of_duckdb(reader: Reader) -> None:
    (shown,) = (each for each in BLOCKS if each.kind == "shell")
    assert reader.asks("SELECT max(sale_date) FROM daily_sales") in reader.run("bash", "-ec", shown.body)


def test_node_reads_it(reader: Reader) -> None:
    if shutil.which("npm") is None:
        missing("there is no Node here")
    install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "@duckdb/node-api"]
    installed(subprocess.run(install, cwd=reader.folder, capture_output=True, text=True, check=False))
    (reader.folder / "sales.mjs").write_text(block("sales.mjs").body)
    assert reader.asks("SELECT max(sale_date) FROM daily_sales") in reader.run("node", "sales.mjs")


def test_the_settings_of_superset_are_those_of_sqlalchemy(reader: Reader) -> None:
    page = PAGE.read_text()
    parameters = next(line for line in page.splitlines() if "Engine parameters" in line).split("`")[1]
    uri = next(line for line in page.splitlines() if "SQLAlchemy URI" in line).split("`")[1]
    assert json.loads(parameters) == {"connect_args": {"read_only": True}}
    assert uri.startswith("duckdb:////")
    said = reader.python(SUPERSET, f"duckdb:///{reader.release.absolute()}", parameters)
    assert "'daily_sales'" in said
    assert reader.asks("SELECT count(*) FROM daily_sales") in said.splitlines()[-1]
