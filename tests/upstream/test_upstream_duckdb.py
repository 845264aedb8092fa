"""What we rely on of DuckDB, Polars and Pandera; a failure here means: read FACTS anew before upgrading."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pandera.polars as pa
import polars as pl
import pytest
from pandera.errors import SchemaErrors

HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reader")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "some.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("CREATE TABLE numbers AS SELECT range AS n FROM range(1000)")
    return path


@pytest.fixture
def holder(database: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """The pid of another process that has the file open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, database, request.param], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
        process.kill()


@pytest.mark.parametrize("holder", ["writer"], indirect=True)
@pytest.mark.parametrize("read_only", [True, False])
def test_a_held_file_names_the_process_that_holds_it(database: Path, holder: int, read_only: bool) -> None:
    with pytest.raises(duckdb.IOException) as refused:
        duckdb.connect(str(database), read_only=read_only)
    held = re.search(r"Conflicting lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)", str(refused.value))
    assert held is not None
    assert int(held["pid"]) == holder


@pytest.mark.parametrize("holder", ["reader"], indirect=True)
def test_a_reader_keeps_the_writer_out(database: Path, holder: int) -> None:
    with pytest.raises(duckdb.IOException, match="Conflicting lock"):
        duckdb.connect(str(database))


@pytest.mark.parametrize("holder", ["reader"], indirect=True)
def test_readers_do_not_keep_each_other_out(database: Path, holder: int) -> None:
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchall() == [(1000,)]


def test_a_file_copied_after_a_checkpoint_opens_while_the_original_is_held(database: Path, tmp_path: Path) -> None:
    with closing(duckdb.connect(str(database))) as connection:
        connection.execute("INSERT INTO numbers VALUES (-1)")
        connection.execute("CHECKPOINT")
        shutil.copyfile(database, tmp_path / "copy.duckdb")
        with closing(duckdb.connect(str(tmp_path / "copy.duckdb"), read_only=True)) as copy:
            assert copy.execute("SELECT min(n) FROM numbers").fetchall() == [(-1,)]


def test_a_copy_can_be_read_only_to_the_file_system(database: Path) -> None:
    database.chmod(0o444)
    with closing(duckdb.connect(str(database), read_only=True)) as connection:
        assert connection.execute("SELECT count(*) FROM numbers").fetchall() == [(1000,)]


def test_read_lines_gives_lines_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"
    path.write_bytes(b'a,b\n"1,2",3\n\n x \n')
    assert pl.read_lines(path).to_series().to_list() == ["a,b", '"1,2",3', "", " x "]


class Model(pa.DataFrameModel):
    """Two rules on one column and one on another."""

    n: int = pa.Field(ge=0, le=10)
    text: str = pa.Field(nullable=True, str_matches="^[a-z]+$")


FRAME = pl.DataFrame({"n": [1, -1, 11, 5], "text": ["a", "b", "C", None]})


def test_pandera_refuses_bad_rows_and_says_which_by_position() -> None:
    with pytest.raises(SchemaErrors) as refused:
        Model.validate(FRAME, lazy=True)
    cases = refused.value.failure_cases
    found = set(cases.select("index", "column").iter_rows())
    assert found == {(1, "n"), (2, "n"), (2, "text")}


def test_pandera_says_nothing_of_data_in_a_lazy_frame() -> None:
    """Why the engine collects first: this would let every bad row in."""
    Model.validate(FRAME.lazy(), lazy=True).collect()


def test_pandera_refuses_a_missing_column_as_a_whole() -> None:
    with pytest.raises(SchemaErrors) as refused:
        Model.validate(FRAME.select("n").head(1), lazy=True)
    assert refused.value.failure_cases["index"].to_list() == [None]
