"""Excel and OpenDocument workbooks: one sheet, its first filled row the header, each further one a record.

Belongs here: what becomes of a sheet's rows. Elsewhere: parsing (workbook.py, in a process of its own), the second
look at the bytes (sheets.py). Text stays text, a number is the shortest text that means it, a date is a date; a
formula is its last value. Macros never run; a hidden row is a row; a row that shows nothing is no record.
"""

import contextlib
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import polars as pl
import pyarrow as pa

from platform_assets.engine.feed.formats import Excel
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, isolated, refuse_unreconciled
from platform_assets.engine.readers.excel.grid import SecondLook, Window, cell_name
from platform_assets.engine.readers.excel.sheets import look_again, survey
from platform_assets.engine.readers.limits import Limits
from platform_assets.errors import DeliveryRefused

_PARSER: Final = Path(__file__).with_name("workbook.py")


class ExcelReader:
    """Reads one workbook; see `Reader`. A record's line is its row in the sheet."""

    format = "excel"
    looks_cut_off = False

    def __init__(self, copy: Path, *, form: Excel, limits: Limits) -> None:
        self._found: dict[str, Any] = {"header": []}
        self._look = SecondLook()
        self._counted = True
        if copy.stat().st_size == 0:
            return
        window = Window.of(form.range) if form.range else Window()
        kind = survey(copy, limits)
        self._parsed = _parsed(copy, form.sheet, window, limits)
        weakref.finalize(self, self._parsed.close)
        with self._stream() as stream:
            self._found = json.loads(stream.schema.metadata[b"found"])
        if refused := self._found.get("refused"):
            raise DeliveryRefused(refused["problem"], remedy=refused["remedy"], line=refused["line"])
        second = look_again(copy, kind, self._found["sheet"], window, limits)
        self._counted = second is not None
        self._look = second or SecondLook()
        for line, rule in self._look.broken.items() if not self._found["header"] else ():
            raise DeliveryRefused(
                f"no header: {rule}", remedy="Open the workbook, save it anew and deliver it again.", line=line
            )
        self._columns = {name: (column, at) for name, column, at in self._found["header"]}
        self._covered = self._merged()

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        if not self.header:
            return {}
        places = [column for _, column, _ in self._found["header"]]
        first, last = cell_name(self._found["row"], min(places)), cell_name(None, max(places))
        counted = {} if self._counted else {"counted": "by its parser alone"}
        return {"sheet": self._found["sheet"], "range": f"{first}:{last}", **counted}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """See `Reader`."""
        return tuple(name for name, _, _ in self._found["header"])

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. A column that holds both dates and text comes in a batch for the rows with the one and a batch
        for those with the other, so that each cell is validated as what it is."""
        wanted = {name: self._columns[header][1] for name, header in columns.items()}
        unseen = dict(self._look.broken)
        with self._stream() as stream:
            for arrow in stream:
                rows = self._ruled(self._exact(pl.DataFrame(arrow)))
                for line in rows["_line"].to_list() if unseen else ():
                    unseen.pop(line, None)
                malformed = self._malformed(rows.filter(pl.col("rule").is_not_null()))
                for frame in _alike(rows.filter(pl.col("rule").is_null()), wanted):
                    yield Batch(frame, malformed)
                    malformed = malformed.clear()
        # A row of nothing but formulas that were never computed shows nothing, yet it is no empty row.
        left = [(line, "{}", rule) for line, rule in unseen.items() if line > self._found["row"]]
        if left:
            nothing = pl.DataFrame(schema={"_line": pl.Int64, **dict.fromkeys(wanted, pl.String)})
            yield Batch(nothing, pl.DataFrame(left, schema=MALFORMED_SCHEMA, orient="row"))

    def reconcile(self, read: int) -> None:
        """See `Reader`; a record is a row, after the first, that shows something in the sheet's own bytes. The rows of
        binary workbooks are counted by nobody but the parser."""
        if self._counted:
            refuse_unreconciled(self._look.rows - bool(self.header), read)

    @contextlib.contextmanager
    def _stream(self) -> Iterator[pa.RecordBatchReader]:
        self._parsed.seek(0)
        with pa.ipc.open_stream(self._parsed) as stream:
            yield stream

    def _exact(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with the numbers that no double holds, and lengths of time, as they are written in the file."""
        for column, at in self._columns.values():
            written = [(row, text) for (row, place), text in self._look.exact.items() if place == column]
            if written:
                exact = pl.DataFrame(written, schema={"_line": pl.Int64, "exact": pl.String}, orient="row")
                rows = rows.join(exact, on="_line", how="left", maintain_order="left")
                undated = pl.col(f"date{at}").is_null() if f"date{at}" in rows.columns else pl.lit(value=True)
                rows = rows.with_columns(
                    pl.when(undated).then(pl.coalesce("exact", f"text{at}")).alias(f"text{at}")
                ).drop("exact")
        return rows

    def _ruled(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with the `rule` that they break as rows: an error cell, a value that is not there, a merge."""
        broken = pl.DataFrame(
            list(self._look.broken.items()), schema={"_line": pl.Int64, "broken": pl.String}, orient="row"
        )
        rows = rows.join(broken, on="_line", how="left", maintain_order="left")
        rows = rows.join_asof(self._covered, left_on="_line", right_on="from", check_sortedness=False)
        covered = pl.when(pl.col("_line") <= pl.col("to")).then(pl.col("merge"))
        return rows.with_columns(pl.coalesce("error", "broken", covered).alias("rule"))

    def _merged(self) -> pl.DataFrame:
        """Which rows are covered by a merge, `from` and `to`, no two of these overlapping.

        Of a merge only its first cell has a value; the others would be NULL, or filled by guesswork.
        """
        row, places = self._found["row"], [column for column, _ in self._columns.values()]
        reach = []
        for merge in self._look.merged:
            if not any(merge.left <= place <= merge.right for place in places):
                continue
            shown = f"{cell_name(merge.top, merge.left)}:{cell_name(merge.bottom, merge.right)}"
            if merge.top <= row <= merge.bottom:
                raise DeliveryRefused(
                    f"the header's cells {shown} are merged",
                    remedy='Declare the cells that hold header and records, such as Excel(range="A3:F"), '
                    "or have the header unmerged.",
                    line=row,
                )
            wide = any(merge.left < place <= merge.right for place in places)
            reach.append((max(merge.top + (not wide), row + 1), merge.bottom, f"cells {shown} are merged"))
        apart: list[tuple[int, int, str]] = []
        for first, last, rule in sorted(reach):
            first = max(first, apart[-1][1] + 1) if apart else first
            if first <= last:
                apart.append((first, last, rule))
        return pl.DataFrame(apart, schema={"from": pl.Int64, "to": pl.Int64, "merge": pl.String}, orient="row")

    def _malformed(self, rows: pl.DataFrame) -> pl.DataFrame:
        if not rows.height:
            return pl.DataFrame(schema=MALFORMED_SCHEMA)
        record = pl.struct(_shown(rows, at).alias(name) for name, (_, at) in self._columns.items())
        return rows.select("_line", record.struct.json_encode().alias("record"), "rule")


def _parsed(copy: Path, sheet: str | None, window: Window, limits: Limits) -> IO[bytes]:
    cells = json.dumps([window.top, window.bottom, window.left, window.right])
    try:
        return isolated.run(
            _PARSER,
            [str(copy.absolute()), sheet or "", cells],
            seconds=limits.budget.seconds,
            memory=limits.parser_memory,
            output=limits.parser_output,
        )
    except isolated.Stopped as stopped:
        limits.budget.check()
        raise DeliveryRefused(
            f"the workbook cannot be parsed: its parser {stopped}",
            remedy="Open the workbook, save it anew and deliver it again, or deliver it as CSV.",
        ) from stopped


def _shown(rows: pl.DataFrame, at: int) -> pl.Expr:
    """A column's cells as text, dates too."""
    text, date = pl.col(f"text{at}"), f"date{at}"
    return pl.coalesce(text, pl.col(date).dt.to_string("iso")) if date in rows.columns else text


def _alike(rows: pl.DataFrame, wanted: Mapping[str, int]) -> Iterator[pl.DataFrame]:
    """The rows in frames in which each column is either text or dates."""
    dated = [at for at in dict.fromkeys(wanted.values()) if f"date{at}" in rows.columns]
    # NULL goes with either, so that only what is really mixed is taken apart.
    mixed = [at for at in dated if rows[f"date{at}"].is_not_null().any() and rows[f"text{at}"].is_not_null().any()]
    pattern = [pl.col(f"date{at}").is_not_null().alias(f"is{at}") for at in mixed]
    for part in (
        rows.with_columns(pattern).partition_by([f"is{at}" for at in mixed], maintain_order=True) if mixed else [rows]
    ):
        yield part.select(
            "_line",
            *(
                pl.col(f"date{at}" if at in dated and part[f"date{at}"].is_not_null().any() else f"text{at}").alias(
                    name
                )
                for name, at in wanted.items()
            ),
        )
