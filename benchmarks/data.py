"""The data: seeded order lines, made by DuckDB, the same on every machine.

Belongs here: what the files hold. Elsewhere: how many there are (workloads.py). A day has 30,000 lines, in invoices
of five. With `bad`, one line in a thousand breaks the contract; its clean twin differs in just those lines.
"""

import contextlib
import gzip
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb

VERSION: Final = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]

# Every random choice is a hash of the line's number, so any slice can be made on its own.
_LINES: Final = """
CREATE OR REPLACE TEMP VIEW lines AS
SELECT
    'C' || lpad((i // 5)::VARCHAR, 7, '0') AS "InvoiceNo",
    'S' || stock::VARCHAR AS "StockCode",
    CASE WHEN {quoted} AND hash(i, 6) % 1000 < 13 THEN 'SET OF 3, "NICE" KIND ' ELSE 'PRODUCT OF NICE KIND ' END
        || stock::VARCHAR AS "Description",
    1 + (hash(i, 2) % 24)::BIGINT AS "Quantity",
    TIMESTAMP '2022-01-01 08:00:00' + to_days((i // 30000)::INTEGER) + to_seconds(7 * (i // 5 % 6000)) AS "InvoiceDate",
    ((hash(i, 3) % 9999) / 100.0)::DECIMAL(18, 4) AS "UnitPrice",
    CASE WHEN hash(i // 5, 4) % 5 > 0 THEN (10000 + hash(i // 5) % 9000)::VARCHAR END AS "CustomerID",
    ['United Kingdom', 'United Kingdom', 'United Kingdom', 'Germany', 'France', 'EIRE', 'Spain', 'Norway']
        [1 + (hash(i // 5, 5) % 8)::BIGINT] AS "Country",
    CASE WHEN {bad} AND hash(i, 9) % 1000 = 0 THEN hash(i, 10) % 6 END AS fault
FROM (SELECT i, hash(i // 5) % 1000 + 1000 * (i % 5) AS stock FROM range({first}, {last}) t(i))
"""
_AS_TEXT: Final = """
SELECT CASE fault WHEN 0 THEN 'X1' ELSE "InvoiceNo" END AS "InvoiceNo", "StockCode", "Description",
    CASE fault WHEN 1 THEN 'many' WHEN 2 THEN '0' ELSE "Quantity"::VARCHAR END AS "Quantity",
    CASE fault WHEN 3 THEN '2022-13-45 08:00:00' ELSE strftime("InvoiceDate", '%Y-%m-%d %H:%M:%S') END AS "InvoiceDate",
    CASE fault WHEN 4 THEN '-1.00' ELSE "UnitPrice"::DECIMAL(18, 2)::VARCHAR END AS "UnitPrice",
    "CustomerID", CASE fault WHEN 5 THEN 'Atlantis' ELSE "Country" END AS "Country"
FROM lines
"""
# Typed columns cannot hold a word or the 45th of a month.
_TYPED: Final = """
SELECT CASE WHEN fault IN (0, 1) THEN 'X1' ELSE "InvoiceNo" END AS "InvoiceNo", "StockCode", "Description",
    CASE WHEN fault IN (2, 3) THEN 0 ELSE "Quantity" END AS "Quantity", "InvoiceDate"::TIMESTAMPTZ AS "InvoiceDate",
    CASE fault WHEN 4 THEN -1 ELSE "UnitPrice" END AS "UnitPrice",
    "CustomerID", CASE fault WHEN 5 THEN 'Atlantis' ELSE "Country" END AS "Country"
FROM lines
"""
_WRITTEN: Final = {
    ".csv": "COPY ({text}) TO '{path}' (FORMAT csv, HEADER)",
    ".ndjson": 'COPY (SELECT * REPLACE ({number} AS "Quantity", {price} AS "UnitPrice") FROM ({text})) '
    "TO '{path}' (FORMAT json)",
    ".parquet": "COPY ({typed}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)",
}
_ALTERED: Final = 'hash("InvoiceNo", "StockCode") % 100 = 0'
_AS_JSON: Final = "CASE WHEN regexp_full_match({column}, '[-0-9.]+') THEN {column} ELSE to_json({column}) END::JSON"


def file(path: str, first: int, last: int, *, bad: bool, quoted: bool = False) -> None:
    """Write lines `first` to `last` to `path`, in the format that its name says."""
    with duckdb.connect() as connection:
        _write(connection, Path(path), first, last, bad=bad, quoted=quoted)


def folder(path: str, starts: list[int], rows: int, *, bad: bool) -> None:
    """Write a CSV of `rows` lines for each start into the folder `path`."""
    with duckdb.connect() as connection, _appearing(Path(path)) as partial:
        partial.mkdir(parents=True)
        for start in starts:
            _write(connection, partial / f"lines-{start:09}.csv", start, start + rows, bad=bad)


def crumbs(path: str, first: int, files: int, rows: int) -> None:
    """Write many very small CSV files into the folder `path`."""
    with duckdb.connect() as connection, _appearing(Path(path)) as partial:
        partial.mkdir(parents=True)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_LINES.format(first=first, last=first + files * rows, bad=False, quoted=False))
        lines = connection.execute(_AS_TEXT)
        header = ",".join(name for name, *_ in lines.description or ())
        for at in range(files):
            body = (",".join(field or "" for field in line) for line in lines.fetchmany(rows))
            (partial / f"lines-{first + at * rows:09}.csv").write_text("\n".join((header, *body, "")))


def bad_lines(first: int, last: int) -> int:
    """How many of the lines break the contract."""
    with duckdb.connect() as connection:
        connection.execute(_LINES.format(first=first, last=last, bad=True, quoted=False))
        (count,) = connection.sql("SELECT count(fault) FROM lines").fetchall()[0]
        return int(count)


def altered(path: str, of: str) -> None:
    """Write a copy of a Parquet file in which about one line in a hundred has another quantity."""
    with duckdb.connect() as connection, _appearing(Path(path)) as partial:
        changed = f'CASE WHEN {_ALTERED} THEN "Quantity" + 1 ELSE "Quantity" END AS "Quantity"'
        rows = connection.read_parquet(of).project(f"* REPLACE ({changed})")
        rows.write_parquet(str(partial), compression="zstd")


def altered_lines(of: str) -> int:
    """How many lines have another quantity there."""
    with duckdb.connect() as connection:
        (count,) = connection.read_parquet(of).filter(_ALTERED).count("*").fetchall()[0]
        return int(count)


def _write(
    connection: duckdb.DuckDBPyConnection, path: Path, first: int, last: int, *, bad: bool, quoted: bool = False
) -> None:
    if path.exists():
        return
    if path.suffix == ".gz":
        plain = path.with_suffix("")
        _write(connection, plain, first, last, bad=bad, quoted=quoted)
        with _appearing(path) as partial, plain.open("rb") as text, gzip.open(partial, "wb", compresslevel=6) as packed:
            shutil.copyfileobj(text, packed, 1 << 20)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(_LINES.format(first=first, last=last, bad=bad, quoted=quoted))
    with _appearing(path) as partial:
        connection.execute(
            _WRITTEN[path.suffix].format(
                text=_AS_TEXT,
                typed=_TYPED,
                path=str(partial).replace("'", "''"),
                number=_AS_JSON.format(column='"Quantity"'),
                price=_AS_JSON.format(column='"UnitPrice"'),
            )
        )


@contextlib.contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A place to write to that becomes `path` when it is whole."""
    partial = path.with_name(f".making-{path.name}")
    if partial.is_dir():
        shutil.rmtree(partial)
    path.parent.mkdir(parents=True, exist_ok=True)
    yield partial
    partial.replace(path)
