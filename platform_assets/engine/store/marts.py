"""Built marts, held to what they promise their readers.

Belongs here: the check of a built mart by its contract. Does not: how dbt builds it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.contract.model import LINEAGE, columns_of, match_header
from platform_assets.engine.contract.validate import judge
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.store.warehouse import Warehouse, attach, quote
from platform_assets.errors import DeliveryRefused, listed

_ROWS: Final = 250_000
_SAMPLES: Final = 10


@dataclass(frozen=True)
class MartReport:
    """How a mart stands to its contract: rows judged, rows that break it, and some of the reasons."""

    rows: int
    broken: int
    problem: str | None
    samples: tuple[dict[str, str | None], ...]


def check_marts(marts: Sequence[Mart], warehouse: Warehouse) -> dict[Mart, MartReport]:
    """Judge every row of the built marts by their contracts, in bounded batches."""
    with warehouse.open("check the marts") as connection:
        attach(connection, warehouse.marts, "marts", "(READ_ONLY)")
        return {mart: _check(mart, connection) for mart in marts}


def _check(mart: Mart, connection: duckdb.DuckDBPyConnection) -> MartReport:
    rows = broken = 0
    samples: list[dict[str, str | None]] = []
    try:
        for frame in _batches(connection, mart.name):
            # Lineage columns lead back to a row's file and line; they are the platform's promise.
            header = match_header(mart.contract, [name for name in frame.columns if name not in LINEAGE])
            if header.unknown:
                return MartReport(rows, broken, f"columns without a promise: {listed(header.unknown)}", ())
            verdict = judge(frame.select(c.name for c in columns_of(mart.contract)), mart.contract)
            rows += frame.height
            broken += verdict.rejected.height
            for reasons in verdict.reasons.head(_SAMPLES - len(samples)).to_list():
                samples.extend(reasons)
    except DeliveryRefused as error:
        return MartReport(rows, broken, error.what, ())
    except duckdb.CatalogException:
        return MartReport(0, 0, "the mart has not been built", ())
    return MartReport(rows, broken, None, tuple(samples[:_SAMPLES]))


def _batches(connection: duckdb.DuckDBPyConnection, name: str) -> Iterator[pl.DataFrame]:
    relation = connection.sql(f"SELECT * FROM marts.main.{quote(name)}")
    with relation.to_arrow_reader(_ROWS) as reader:
        for batch in reader:
            yield pl.DataFrame(batch)
