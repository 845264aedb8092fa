"""The peers, each at the best setting we found, in an environment of their own (requirements.txt).

Belongs here: what a team would write by hand with dlt, pandas + SQLAlchemy, or Polars + Pandera. Nothing here
imports the platform. Settings are explained in docs/benchmarks.md.
"""

import importlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from benchmarks.child import Measured

_COUNTRIES: Final = ("United Kingdom", "Germany", "France", "EIRE", "Spain", "Norway", "Portugal", "Italy")
_TEXT: Final = ("InvoiceNo", "StockCode", "Description", "CustomerID", "Country")


def pandas_sqlite(run: str, files: list[str], warm: str) -> Measured:
    """pandas.read_csv by Arrow, DataFrame.to_sql through SQLAlchemy into SQLite, which it fills fastest."""
    return _pandas(run, files, warm, "sqlite", chunksize=100_000)


def pandas_duckdb(run: str, files: list[str], warm: str) -> Measured:
    """The same into DuckDB, through duckdb-engine."""
    return _pandas(run, files, warm, "duckdb", chunksize=100_000)


def _pandas(run: str, files: list[str], warm: str, database: str, **options: Any) -> Measured:
    import pandas as pd
    import sqlalchemy as sa

    def go(at: Path, paths: list[str]) -> None:
        engine = sa.create_engine(f"{database}:///{at}")
        for path in paths:
            frame = pd.read_csv(path, engine="pyarrow", dtype=dict.fromkeys(_TEXT, "str"), parse_dates=["InvoiceDate"])
            frame.to_sql("lines", engine, index=False, if_exists="append", **options)
        engine.dispose()

    def rows() -> tuple[int, int]:
        with sa.create_engine(f"{database}:///{target}").connect() as connection:
            return connection.execute(sa.text("SELECT count(*) FROM lines")).scalar_one(), 0

    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    go(folder / f"warm.{database}", [warm])
    target = folder / f"lines.{database}"
    return Measured(lambda: go(target, files), rows)


def polars_pandera(run: str, files: list[str], warm: str) -> Measured:
    """Read as text, cast, validate with Pandera and split by hand; both halves into DuckDB. No archive, hash,
    ledger, duplicates or count; the whole file in memory."""
    import duckdb
    import pandera.errors
    import pandera.polars as pa
    import polars as pl

    schema = pa.DataFrameSchema(
        {
            "InvoiceNo": pa.Column(pl.String, pa.Check.str_matches(r"^C\d{7}$")),
            "StockCode": pa.Column(pl.String, pa.Check.str_length(1, 12)),
            "Description": pa.Column(pl.String, nullable=True),
            "Quantity": pa.Column(pl.Int64, [pa.Check.ge(1), pa.Check.le(100_000)]),
            "InvoiceDate": pa.Column(pl.Datetime("us", "UTC")),
            "UnitPrice": pa.Column(pl.Decimal(18, 4), pa.Check.ge(0)),
            "CustomerID": pa.Column(pl.String, nullable=True),
            "Country": pa.Column(pl.String, pa.Check.isin(_COUNTRIES)),
        }
    )

    def go(at: Path, paths: list[str]) -> tuple[int, int]:
        accepted = rejected = 0
        with duckdb.connect(str(at)) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            for path in paths:
                arrived = pl.read_csv(path, infer_schema=False)
                typed = arrived.with_columns(
                    pl.col("Quantity").cast(pl.Int64, strict=False),
                    pl.col("InvoiceDate").str.to_datetime(
                        "%Y-%m-%d %H:%M:%S", time_unit="us", time_zone="UTC", strict=False
                    ),
                    pl.col("UnitPrice").cast(pl.Decimal(18, 4), strict=False),
                )
                broken = pl.Series([], dtype=pl.UInt32)
                try:
                    schema.validate(typed, lazy=True)
                except pandera.errors.SchemaErrors as errors:
                    broken = errors.failure_cases["index"].drop_nulls().unique()
                good = ~pl.int_range(typed.height, eager=True).is_in(broken.implode())
                connection.register("good", typed.filter(good).to_arrow())
                connection.register("bad", arrived.filter(~good).to_arrow())
                connection.execute("CREATE TABLE IF NOT EXISTS lines AS FROM good LIMIT 0")
                connection.execute("INSERT INTO lines FROM good")
                connection.execute("CREATE TABLE IF NOT EXISTS quarantine AS FROM bad LIMIT 0")
                connection.execute("INSERT INTO quarantine FROM bad")
                accepted, rejected = accepted + int(good.sum()), rejected + int((~good).sum())
        return accepted, rejected

    folder = Path(run)
    folder.mkdir(parents=True, exist_ok=True)
    go(folder / "warm.duckdb", [warm])
    counts: list[tuple[int, int]] = []
    return Measured(lambda: counts.append(go(folder / "lines.duckdb", files)), lambda: counts[0])


class Line(BaseModel):
    """The contract, as dlt takes it: a Pydantic model."""

    InvoiceNo: Annotated[str, Field(pattern=r"^C\d{7}$")]
    StockCode: Annotated[str, Field(min_length=1, max_length=12)]
    Description: str | None = None
    Quantity: Annotated[int, Field(ge=1, le=100_000)]
    InvoiceDate: datetime
    UnitPrice: Annotated[Decimal, Field(ge=0, max_digits=18, decimal_places=4)]
    CustomerID: str | None = None
    Country: Annotated[str, Field(pattern=f"^({'|'.join(_COUNTRIES)})$")]


def dlt_arrow(run: str, files: list[str], warm: str) -> Measured:
    """dlt, unvalidated: typed Arrow tables, which it passes on as Parquet without looking at rows."""
    import pyarrow as pa
    import pyarrow.csv

    types = {name: pa.string() for name in _TEXT}
    types |= {"Quantity": pa.int64(), "InvoiceDate": pa.timestamp("us"), "UnitPrice": pa.decimal128(18, 4)}

    def tables(items: Any) -> Iterator[Any]:
        for item in items:
            with item.open() as stream:
                yield from pa.csv.open_csv(
                    stream,
                    read_options=pa.csv.ReadOptions(block_size=16 << 20),
                    convert_options=pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True),
                )

    return _dlt(run, files, warm, tables)


def dlt_stock(run: str, files: list[str], warm: str) -> Measured:
    """dlt, unvalidated, with the CSV reader it brings (by Arrow, as the other one does not run on DuckDB 2)."""

    def tables(items: Any) -> Iterator[Any]:
        readers = importlib.import_module("dlt.sources.filesystem.readers")
        yield from readers._read_csv_duckdb(items, chunk_size=100_000, use_pyarrow=True)

    return _dlt(run, files, warm, tables)


def dlt_validated(run: str, files: list[str], warm: str) -> Measured:
    """dlt with row validation: rows as dicts through a Pydantic model; what breaks it is dropped, without a trace."""
    import pyarrow as pa
    import pyarrow.csv

    types = {name: pa.string() for name in (*_TEXT, "Quantity", "InvoiceDate", "UnitPrice")}

    def rows(items: Any) -> Iterator[Any]:
        for item in items:
            with item.open() as stream:
                for batch in pa.csv.open_csv(
                    stream,
                    read_options=pa.csv.ReadOptions(block_size=1 << 20),
                    convert_options=pa.csv.ConvertOptions(column_types=types, strings_can_be_null=True),
                ):
                    yield batch.to_pylist()

    contract = {"tables": "evolve", "columns": "freeze", "data_type": "discard_row"}
    return _dlt(run, files, warm, rows, columns=Line, schema_contract=contract)


def _dlt(run: str, files: list[str], warm: str, read: Callable[[Any], Iterator[Any]], **hints: Any) -> Measured:
    folder = Path(run)
    settings = {
        "DLT_DATA_DIR": f"{folder}/dlt",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
        "NORMALIZE__LOADER_FILE_FORMAT": "parquet",
        "LOAD__WORKERS": "2",
    }
    os.environ.update(settings)
    import dlt
    import duckdb
    from dlt.sources.filesystem import filesystem

    def go(name: str, path: Path) -> None:
        found = filesystem(bucket_url=str(path.parent), file_glob=path.name)
        resource = (found | dlt.transformer(read, name="read")).with_name("lines")
        resource.apply_hints(write_disposition="append", **hints)
        pipeline = dlt.pipeline(
            name, destination=dlt.destinations.duckdb(f"{folder}/{name}.duckdb"), dataset_name="raw"
        )
        pipeline.run(resource, loader_file_format="parquet")

    def rows() -> tuple[int, int]:
        with duckdb.connect(f"{folder}/lines.duckdb") as connection:
            (count,) = connection.sql("SELECT count(*) FROM raw.lines").fetchall()[0]
            return int(count), 0

    folder.mkdir(parents=True, exist_ok=True)
    go("warm", Path(warm))
    (file,) = files
    return Measured(lambda: go("lines", Path(file)), rows)
