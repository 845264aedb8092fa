"""The program that parses a workbook: one sheet as Arrow batches on standard output.

Belongs here: what fastexcel makes of a sheet, each cell by what it is. It runs by itself
(isolated.py) and imports nothing of ours. What it found out stands in the schema's metadata.
"""

import json
import re
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import fastexcel
import polars as pl
import pyarrow as pa

_ROWS: Final = 50_000
_DATE: Final = r"^[0-9]{4,}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?)?$"
# Days from which a date is one; what is below is a time of day or a length of time.
_FIRST_DAY: Final = 60
_ERRORS_SCHEMA: Final = {"row": pl.UInt32, "at": pl.Int64, "shown": pl.String, "error": pl.String}
_COMPOUND: Final = b"\xd0\xcf\x11\xe0"
_BLANKS: Final = " \t\r\n\x0b\x0c"
_MILLISECONDS: Final = 86_400_000
_AGAIN: Final = "Open the workbook, save it anew and deliver it again."
_ERROR: Final = re.compile(r"'Error\((\w+)\)'")
_ERRORS: Final = {"Div0": "#DIV/0!", "NA": "#N/A", "Name": "#NAME?", "Null": "#NULL!", "Num": "#NUM!", "Ref": "#REF!"}


class _Refused(Exception):
    """The workbook cannot be read as a whole: problem, remedy, row."""

    def __init__(self, problem: str, remedy: str, row: int | None = None) -> None:
        super().__init__(problem)
        self.details = {"problem": problem, "remedy": remedy, "line": row}


def _quoted(*names: str) -> str:
    """As `quoted` of the platform's errors: whoever knows the contract decides what of the names is shown."""
    return "\ue000" + "\ue001".join(re.sub("[\ue000-\ue003]", "", name) for name in names) + "\ue002"


def _foreign(message: str) -> str:
    """As `foreign` of the platform's errors: what a library says."""
    return _quoted(message).replace("\ue000", "\ue000\ue003")


def _main(path: str, sheet: str, window: str) -> None:
    try:
        found, rows = _parsed(Path(path), sheet or None, *json.loads(window))
    except _Refused as refused:
        found, rows = {"refused": refused.details}, pl.DataFrame()
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError, ValueError) as error:
        message = str(error).splitlines()[0].removeprefix("calamine error: ")
        found = {"refused": _Refused(f"damaged workbook: {_foreign(message)}", _AGAIN).details}
        rows = pl.DataFrame()
    except BaseException as panic:
        if type(panic).__name__ != "PanicException":
            raise
        found = {
            "refused": _Refused(
                f"the workbook cannot be parsed: {_foreign(str(panic))}", f"{_AGAIN[:-1]}, or as CSV."
            ).details
        }
        rows = pl.DataFrame()
    table = rows.to_arrow().replace_schema_metadata({"found": json.dumps(found)})
    with pa.ipc.new_stream(sys.stdout.buffer, table.schema) as out:
        out.write_table(table, max_chunksize=_ROWS)


def _parsed(
    path: Path, sheet: str | None, top: int, bottom: int, left: int, right: int
) -> tuple[dict[str, Any], pl.DataFrame]:
    """What was found out, and the records: `_line`, `error` (of the first error cell), and of each column `text0`, …
    what is text and, where there are any, `date0`, … its dates."""
    content = path.read_bytes()
    book = fastexcel.read_excel(content)
    sheet = _chosen(book.sheet_names, sheet)
    loaded = book.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string", schema_sample_rows=None)
    batch, failed = loaded.to_arrow_with_errors()
    text = pl.DataFrame(batch)
    # An .ods says what it is in the first, unpacked, of its members, and writes its dates as text.
    absolute = [column.absolute_index for column in loaded.selected_columns]
    texts, dates = _cells(book, sheet, text, absolute, iso=b"opendocument.spreadsheet" in content[:200])
    texts = _to_the_last_bit(texts, _loaded(book, sheet, "float"))
    places = {at: column + 1 for at, column in enumerate(absolute) if left <= column + 1 <= right}
    errors = _errors(failed.errors if failed else [], places)
    if content.startswith(_COMPOUND):
        errors = pl.concat([errors, _undecoded(texts, places)]).sort("row", maintain_order=True)
    for (at,), those in errors.partition_by("at", as_dict=True).items():
        texts[at] = texts[at].scatter(those["row"], those["shown"])
    rows = pl.DataFrame(
        {
            "_line": pl.int_range(1, text.height + 1, dtype=pl.Int64, eager=True),
            **{f"text{at}": texts[at] for at in places},
            **{f"date{at}": dates[at] for at in places if at in dates},
        }
    )
    first = errors.group_by("row", maintain_order=True).first()
    rows = rows.join(
        first.select(pl.col("row").cast(pl.Int64).add(1).alias("_line"), pl.col("error")),
        on="_line",
        how="left",
        maintain_order="left",
    )
    values = [name for name in rows.columns if name.startswith(("text", "date"))]
    shown = pl.any_horizontal(_filled(name) for name in values) if values else pl.lit(value=False)
    rows = rows.filter(pl.col("_line").is_between(top, bottom), shown)
    if not rows.height:
        return {"sheet": sheet, "header": [], "row": 0}, rows
    line, broken = rows.select("_line", "error").row(0)
    if broken is not None:
        raise _Refused(f"in the header, {broken}", _AGAIN, line)
    named = _named(rows.slice(1), text.row(line - 1), places, line)
    # What is no text but empty is nothing; blanks stay.
    return {"sheet": sheet, "header": named, "row": line}, rows.slice(1).with_columns(
        pl.col(pl.String).replace("", None)
    )


def _named(rows: pl.DataFrame, names: tuple[str | None, ...], places: dict[int, int], line: int) -> list[Any]:
    """Name, place in the sheet and place in `rows` of each column."""
    named = []
    for at, column in places.items():
        name = names[at]
        if name is not None and name.strip(_BLANKS):
            named.append((name, column, at))
        elif rows.select(pl.any_horizontal(_filled(own).any() for own in rows.columns if own[4:] == f"{at}")).item():
            raise _Refused(
                f"column {cell_name(None, column)} has values but no name in row {line}",
                'Declare the cells that hold header and records, such as Excel(range="A3:F"), or have it named.',
                line,
            )
    return named


def _errors(failed: list[Any], places: dict[int, int]) -> pl.DataFrame:
    """The error cells: row and column (`at`) from 0, what is `shown` there, and the `error` it is."""
    found = []
    for each in sorted(failed, key=lambda each: each.position):
        row, at = each.position
        code = _ERROR.search(each.detail)
        if code is None or at not in places:
            continue  # without a code it is a time in an .ods: no text to fastexcel, but to us
        shown = _ERRORS.get(code[1], f"#{code[1].upper()}!")
        found.append((row, at, shown, f"cell {cell_name(row + 1, places[at])} is {shown}"))
    return pl.DataFrame(found, schema=_ERRORS_SCHEMA, orient="row")


def _undecoded(texts: list[pl.Series], places: dict[int, int]) -> pl.DataFrame:
    """The cells, as `_errors` gives them, of an .xls whose text was written in an encoding that fastexcel missed:
    it has characters that nobody types."""
    found = [
        (row, at, texts[at][row], f"cell {cell_name(row + 1, places[at])} holds text in an unknown encoding")
        for at in places
        for row in texts[at].str.contains("[\\x00\\x80-\\x9f]").fill_null(value=False).arg_true()
    ]
    return pl.DataFrame(found, schema=_ERRORS_SCHEMA, orient="row")


def _chosen(names: list[str], sheet: str | None) -> str:
    shown = _quoted(*map(repr, names))
    if sheet is None and len(names) != 1:
        raise _Refused(
            f"{len(names)} sheets and none declared: {shown}",
            f"Declare which, such as Files(…, format=Excel(sheet={_quoted(repr((names or ['Orders'])[0]))})).",
        )
    if sheet is not None and sheet not in names:
        raise _Refused(f"no sheet {sheet!r}; there are {shown}", "Declare one of these: Excel(sheet=…).")
    return sheet or names[0]


def _cells(
    book: fastexcel.ExcelReader, sheet: str, text: pl.DataFrame, absolute: list[int], *, iso: bool
) -> tuple[list[pl.Series], dict[int, pl.Series]]:
    """Of each column its cells as text, and those that are dates; times and lengths of time are text (h:mm:ss).

    A number is the shortest text that means it: 17850, 0.1. absolute: where the columns are in the sheet.
    iso: the workbook writes its dates as text.
    """
    texts = text.get_columns()
    dates: dict[int, pl.Series] = {}
    dated = [at for at, column in enumerate(texts) if column.str.contains(_DATE).any()]
    if not (iso or dated):
        return texts, dates
    lengths = _loaded(book, sheet, "duration")
    are_dates = {}
    if iso and dated:
        # To fastexcel a number is a timestamp too (and one too large the end), but a timestamp is no number.
        days, times, numbers = (
            _loaded(book, sheet, kind, [absolute[at] for at in dated]) for kind in ("date", "datetime", "float")
        )
        for place, at in enumerate(dated):
            is_timestamp = times.to_series(place).is_not_null() | days.to_series(place).is_not_null()
            are_dates[at] = is_timestamp & numbers.to_series(place).is_null()
    no = pl.repeat(value=False, n=text.height, eager=True)
    for at in range(len(texts)) if iso else dated:
        length = lengths.to_series(at).dt.total_milliseconds()
        if iso:
            is_time = length.is_not_null()
            is_date = are_dates.get(at, no) & ~is_time
        else:
            is_time = (length < _FIRST_DAY * _MILLISECONDS).fill_null(value=False)
            is_date = length.is_not_null() & ~is_time
        if is_time.any():
            texts[at] = texts[at].zip_with(~is_time, _clock(length))
        if is_date.any():
            spelled = texts[at].str.replace("T", " ").str.replace("^([^ ]*)$", "$1 00:00:00")
            timestamps = spelled.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
            dates[at] = timestamps.zip_with(
                is_date, pl.repeat(None, len(timestamps), dtype=timestamps.dtype, eager=True)
            )
            texts[at] = texts[at].zip_with(
                dates[at].is_null(), pl.repeat(None, len(timestamps), dtype=pl.String, eager=True)
            )
    return texts, dates


def _loaded(
    book: fastexcel.ExcelReader,
    sheet: str,
    kind: Any,  # noqa: ANN401 - a literal
    columns: list[int] | None = None,
) -> pl.DataFrame:
    """The cells of a sheet (or some of its columns) as one of fastexcel's types; NULL where that cannot be."""
    return pl.DataFrame(
        book.load_sheet(
            sheet, header_row=None, skip_rows=0, dtypes=kind, schema_sample_rows=None, use_columns=columns
        ).to_arrow()
    )


def _to_the_last_bit(texts: list[pl.Series], numbers: pl.DataFrame) -> list[pl.Series]:
    """The texts; where fastexcel rounded a number to make one of it (it keeps 9 decimals), the number's own.

    What was text is the same number when it is read as one, so it stays as it is.
    """
    exact = []
    for text, number in zip(texts, numbers.get_columns(), strict=True):
        rounded = (text.cast(pl.Float64, strict=False) != number).fill_null(value=False)
        exact.append(text.zip_with(~rounded, _written(number)) if rounded.any() else text)
    return exact


def _written(numbers: pl.Series) -> pl.Series:
    """The shortest texts that mean the numbers, without exponents."""
    written = numbers.cast(pl.String).str.strip_suffix(".0")
    powers = written.str.contains("e").fill_null(value=False)
    spelled = [f"{Decimal(text):f}" for text in written.filter(powers)]
    return written.scatter(powers.arg_true(), spelled) if spelled else written


def _clock(milliseconds: pl.Series) -> pl.Series:
    """Lengths of time as h:mm:ss, and what there is of a second."""
    of = pl.col("ms").abs()
    parts = [of // 3_600_000, of // 60_000 % 60, of // 1000 % 60]
    two = [part.cast(pl.String).str.zfill(2) for part in parts]
    rest = pl.when(of % 1000 > 0).then(pl.concat_str(pl.lit("."), (of % 1000).cast(pl.String).str.zfill(3)))
    sign = pl.when(pl.col("ms") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    return (
        milliseconds.to_frame("ms")
        .select(pl.concat_str(sign, pl.concat_str(two, separator=":"), rest.fill_null("")))
        .to_series()
    )


def _filled(column: str) -> pl.Expr:
    """Whether the cells of a column show anything."""
    return (
        (pl.col(column).str.strip_chars(_BLANKS) != "") if column.startswith("text") else pl.col(column).is_not_null()
    )


def cell_name(row: int | None, column: int) -> str:
    """A cell (or, without row, a column) as a spreadsheet names it."""
    letters = ""
    while column:
        column, letter = divmod(column - 1, 26)
        letters = chr(65 + letter) + letters
    return letters if row is None else f"{letters}{row}"


if __name__ == "__main__":
    _main(*sys.argv[1:])
