"""A reader of releases, as a process of its own: it asks in a loop, and writes down what it was answered.

Belongs here: the clients that people have, and how each of them reads. Elsewhere: what the answers must be
(faults/test_readers.py). `python reader.py HABIT FOLDER ANSWERS SEED` reads until its standard input is closed.
"""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CLI: Final = Path(sys.executable).with_name("duckdb")
QUERIES: Final = (
    # What one statement sees of two marts.
    "SELECT totals.*, seen.* FROM totals, (SELECT min(gen), max(gen), count(*), sum(units)::BIGINT FROM stock) AS seen",
    # What two statements see of them, one after the other.
    "SELECT min(gen), max(gen), count(*), sum(units)::BIGINT FROM stock",
    "SELECT gen, articles, units FROM totals",
    "SELECT count(*), min(bought), max(bought) FROM buyers",
)
NODE: Final = """
const { DuckDBInstance } = require('@duckdb/node-api');
(async () => {
  const [path, ...queries] = process.argv.slice(1);
  const instance = await DuckDBInstance.create(path, { access_mode: 'READ_ONLY' });
  const connection = await instance.connect();
  const found = [];
  for (const query of queries) found.push((await connection.runAndReadAll(query)).getRowsJson()[0].map(Number));
  console.log(JSON.stringify(found));
  connection.closeSync();
  instance.closeSync();
})();
"""
Ask = Callable[[int], Sequence[Any]]


@dataclass(frozen=True)
class Habit:
    """How one reads. connect: gives what answers a query, by its number; asks: numbers of the queries that can be
    asked so; stays_s: how long a connection is kept, at most."""

    connect: Callable[[Path], AbstractContextManager[Ask]]
    asks: Sequence[int] = range(len(QUERIES))
    stays_s: float = 0.0


@contextmanager
def _python(product: Path) -> Iterator[Ask]:
    import duckdb

    with closing(duckdb.connect(str(product / "current.duckdb"), read_only=True)) as connection:
        yield lambda number: connection.execute(QUERIES[number]).fetchall()[0]


@contextmanager
def _sqlalchemy(product: Path) -> Iterator[Ask]:
    import sqlalchemy as sa

    engine = sa.create_engine(f"duckdb:///{product / 'current.duckdb'}", connect_args={"read_only": True})
    try:
        with engine.connect() as connection:
            yield lambda number: tuple(connection.execute(sa.text(QUERIES[number])).fetchall()[0])
    finally:
        engine.dispose()


@contextmanager
def _parquet(product: Path) -> Iterator[Ask]:
    """Several files of one release: the folder is asked for once."""
    import duckdb

    release = (product / "current").resolve(strict=True)
    with closing(duckdb.connect()) as connection:
        for mart in ("stock", "totals", "buyers"):
            connection.execute(f"CREATE VIEW {mart} AS FROM read_parquet('{release / mart}.parquet')")
        yield lambda number: connection.execute(QUERIES[number]).fetchall()[0]


@contextmanager
def _polars(product: Path) -> Iterator[Ask]:
    """One file, each time of the release that is current. Polars opens a file twice, so the link is followed once."""
    import polars as pl

    def ask(_: int) -> Sequence[Any]:
        stock = pl.read_parquet((product / "current").resolve(strict=True) / "stock.parquet")
        return stock["gen"].min(), stock["gen"].max(), len(stock), stock["units"].sum()

    yield ask


@contextmanager
def _cli(product: Path) -> Iterator[Ask]:
    """DuckDB's command line client, one process for all that is asked."""
    queries = [part for query in QUERIES for part in ("-c", query)]
    found = json.loads(f"[{_printed(CLI, '-readonly', '-jsonlines', product / 'current.duckdb', *queries)}]")
    yield lambda number: tuple(found[number].values())


@contextmanager
def _node(product: Path) -> Iterator[Ask]:
    """DuckDB's client for Node."""
    found = json.loads(_printed("node", "-e", NODE, product / "current.duckdb", *QUERIES))
    yield lambda number: found[number]


def _printed(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr}")
    return ",".join(done.stdout.splitlines())


HABITS: Final = {
    "python": Habit(_python),
    "python, long": Habit(_python, stays_s=30),
    "python, for ever": Habit(_python, stays_s=1e9),
    "sqlalchemy": Habit(_sqlalchemy),
    "sqlalchemy, long": Habit(_sqlalchemy, stays_s=10),
    "parquet": Habit(_parquet),
    "parquet, long": Habit(_parquet, stays_s=10),
    "polars": Habit(_polars, [1]),
    "cli": Habit(_cli),
    "node": Habit(_node),
}


def read(habit: Habit, product: Path, answers: Path, chance: random.Random, ended: threading.Event) -> None:
    """Ask until it is `ended`. A line of `answers`: connection, query, when it was asked, seconds, and what
    came; or a text, which is an error."""
    number = 0
    with answers.open("w", buffering=1) as written:
        while not ended.is_set():
            number += 1
            began, asked = time.time(), -1
            try:
                with habit.connect(product) as ask:
                    leaves = began + chance.uniform(0, habit.stays_s)
                    while True:
                        for asked in habit.asks:
                            at = began if asked == habit.asks[0] and not habit.stays_s else time.time()
                            came = [int(each) for each in ask(asked)]
                            written.write(json.dumps([number, asked, at, time.time() - at, came]) + "\n")
                        if time.time() >= leaves or ended.wait(chance.uniform(0.2, 1.0)):
                            break
            except Exception as error:  # noqa: BLE001 - whatever it is, a reader must not meet it
                said = f"{type(error).__name__}: {error}"
                written.write(json.dumps([number, asked, began, time.time() - began, said]) + "\n")
            ended.wait(chance.uniform(0.3, 1.5))  # twenty of them leave the machine to the writer


def _until_closed(over: threading.Event) -> None:
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    over = threading.Event()
    threading.Thread(target=_until_closed, args=[over], daemon=True).start()
    read(HABITS[sys.argv[1]], Path(sys.argv[2]), Path(sys.argv[3]), random.Random(sys.argv[4]), over)
