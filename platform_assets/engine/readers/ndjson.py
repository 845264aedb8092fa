"""NDJSON: one JSON object a line. Scalars are read as text, nested values as JSON text.

Belongs here: taking objects apart by their top-level keys. Does not: types.
DuckDB's JSON functions work on the lines of a chunk at a time.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from platform_assets.engine.formats import Json
from platform_assets.engine.readers import Batch, Part, refuse_unreconciled
from platform_assets.engine.readers.text import decoded_chunks

_BLANKS: Final = " \t\r\n\x0b\x0c"
_MANY_DIGITS: Final = r"(?:[0-9]\.?){16}"


class NdjsonReader:
    """Reads one NDJSON delivery; see `Reader`."""

    format = "ndjson"

    def __init__(self, copy: Path, *, compressed: bool, form: Json) -> None:
        self._copy = copy
        self._compressed = compressed
        self._encoding = form.encoding or "utf-8"
        self._connection = duckdb.connect()
        self._records = 0
        self.looks_cut_off = False
        keys: dict[str, None] = {}
        last = ""
        for chunk in self._chunks():
            lines = [line for line in chunk.splitlines() if line.strip()]
            self._records += len(lines)
            last = lines[-1].decode() if lines and not chunk.endswith((b"\n", b"\r")) else ""
            for (key,) in self._rows(
                pl.DataFrame({"text": [line.decode() for line in lines]}, schema={"text": pl.String}),
                "SELECT DISTINCT unnest(json_keys(text)) FROM chunk "
                "WHERE json_valid(text) AND json_type(text) = 'OBJECT'",
            ):
                keys.setdefault(key)
        self._header = tuple(sorted(keys))
        if last:
            (valid,) = self._rows(pl.DataFrame({"text": [last]}), "SELECT json_valid(text) FROM chunk")[0]
            self.looks_cut_off = not valid

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        return {"encoding": self._encoding}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """The keys that occur, sorted: JSON objects have no order."""
        return self._header

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. A key that a record lacks is NULL, as is JSON's null."""
        paths = ["/" + header.replace("~", "~0").replace("/", "~1") for header in columns.values()]
        line = 1
        for chunk in self._chunks():
            text = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
            table = pl.read_lines(text, name="text").with_columns(
                pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias("_line")
            )
            line += table.height
            table = table.filter(pl.col("text").str.strip_chars(_BLANKS) != "")
            taken = self._frame(
                table,
                "SELECT _line, text, CASE WHEN NOT json_valid(text) THEN 'not JSON' "
                "WHEN json_type(text) <> 'OBJECT' THEN 'not a JSON object' "
                "WHEN len(list_distinct(json_keys(text))) < len(json_keys(text)) THEN 'a key twice' END AS rule, "
                "CASE WHEN rule IS NULL THEN json_extract_string(text, $paths) END AS fields FROM chunk ORDER BY _line",
                {"paths": paths},
            )
            good = _exact(taken.filter(pl.col("rule").is_null()), list(columns.values()))
            yield Batch(
                good.select("_line", *(pl.col("fields").list.get(at).alias(name) for at, name in enumerate(columns))),
                taken.filter(pl.col("rule").is_not_null()).select("_line", pl.col("text").alias("record"), "rule"),
            )

    def reconcile(self, read: int) -> None:
        """See `Reader`; a record is a line that is not blank."""
        refuse_unreconciled(self._records, read)

    def _chunks(self) -> Iterator[bytes]:
        return decoded_chunks(self._copy, compressed=self._compressed, encoding=self._encoding)

    def _rows(self, chunk: pl.DataFrame, sql: str) -> list[tuple[str]]:
        self._connection.register("chunk", chunk.to_arrow())
        return self._connection.execute(sql).fetchall()

    def _frame(self, chunk: pl.DataFrame, sql: str, values: dict[str, object]) -> pl.DataFrame:
        self._connection.register("chunk", chunk.to_arrow())
        frame: pl.DataFrame = self._connection.sql(sql, params=values).pl()
        return frame


class _Number(str):
    """A number as it is written."""


def _exact(taken: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """`taken` with `fields` as they are written where a number has more digits than the database keeps."""
    long = taken.select(pl.col("text").str.contains(_MANY_DIGITS)).to_series()
    if not long.any():
        return taken
    fields = []
    for text, field, again in zip(taken["text"], taken["fields"], long, strict=True):
        values = json.loads(text, parse_float=_Number, parse_int=_Number) if again else {}
        written = (values.get(key) for key in keys)
        fields.append([w if isinstance(w, _Number) else f for w, f in zip(written, field, strict=True)])
    return taken.with_columns(pl.Series("fields", fields, pl.List(pl.String)))
