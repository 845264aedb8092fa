"""Workbooks: every cell is what it is in the sheet, every row is accounted for, and no parser can hurt us."""

import io
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import psutil
import pytest
import xlsxwriter
from shop import OpenSales, Shop

from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Excel
from platform_assets.engine.readers import isolated, open_reader
from platform_assets.engine.readers.excel import grid
from platform_assets.engine.readers.excel import reader as excel
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

Row = tuple[Any, ...]


def workbook(
    *rows: list[Any], at: str = "A1", then: Callable[[Any, Any], None] = lambda *_: None, **more: Any
) -> bytes:
    """A workbook of one sheet, "S", with `rows` from cell `at` on; `then` is called with book and sheet, `more` holds
    further sheets."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"default_date_format": "yyyy-mm-dd hh:mm:ss"}) as book:
        for name, cells in {"S": rows, **more}.items():
            sheet = book.add_worksheet(name)
            column = openpyxl.utils.column_index_from_string(at.rstrip("0123456789"))
            for number, row in enumerate(cells, int(at.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))):
                for place, value in enumerate(row, column - 1):
                    write(sheet, number - 1, place, value)
            if name == "S":
                then(book, sheet)
    return content.getvalue()


def write(sheet: Any, row: int, column: int, value: Any) -> None:
    if isinstance(value, str) and value.startswith("#"):
        sheet.write_formula(row, column, "=1/0", None, value)
    elif isinstance(value, str):
        sheet.write_string(row, column, value)
    else:
        sheet.write(row, column, value)


def read(
    folder: Path, content: bytes, *, limits: Limits = LIMITS, longest: float = 300, **form: str
) -> tuple[tuple[str, ...], list[Row], list[Row]]:
    """The header, the sound rows (line first) and the malformed ones (line, record, rule), reconciled."""
    copy = folder / "copy"
    copy.write_bytes(content)
    reader = open_reader(copy, "a.xlsx", Files("*", format=Excel(**form), longest=seconds(longest)), limits=limits)
    rows: list[Row] = []
    malformed: list[Row] = []
    for batch in reader.batches({name: name for name in reader.header}) if reader.header else ():
        rows += batch.frame.rows()
        malformed += batch.malformed.select("_line", "record", "rule").rows()
    reader.reconcile(len(rows) + len(malformed))
    return reader.header, sorted(rows, key=lambda row: row[0]), sorted(malformed)


DAY, MOMENT = datetime(2026, 1, 31), datetime(2026, 1, 31, 10, 20, 30)  # noqa: DTZ001 - a sheet knows no zones


CELLS: list[tuple[Any, Any]] = [
    ("text", "text"),
    ("00017", "00017"),
    (" 7 ", " 7 "),
    ("  ", "  "),
    ("a\nb", "a\nb"),
    ("true", "true"),
    ("2026-01-31 00:00:00", "2026-01-31 00:00:00"),
    ("1900-01-01 12:00:00", "1900-01-01 12:00:00"),
    (17850, "17850"),
    (17850.5, "17850.5"),
    (0.1, "0.1"),
    (-3, "-3"),
    (1e21, "1000000000000000000000"),
    (1e-7, "0.0000001"),
    (True, "true"),
    (False, "false"),
    (DAY, DAY),
    (MOMENT, MOMENT),
]


def test_a_cell_is_what_it_is_in_the_sheet(tmp_path: Path) -> None:
    delivered, read_as = zip(*CELLS, strict=True)
    names = [f"c{at}" for at in range(len(CELLS))]
    assert read(tmp_path, workbook(names, list(delivered))) == (tuple(names), [(2, *read_as)], [])


def cell_of(stored: str, more: str = "") -> bytes:
    """A workbook whose one cell below the header is stored so."""
    content = workbook(["a"], [1])
    return repacked(
        content, "xl/worksheets/sheet1.xml", b'<c r="A2"><v>1</v></c>', f'<c r="A2"{more}>{stored}</c>'.encode()
    )


def value_of(folder: Path, content: bytes) -> Any:
    (row,) = read(folder, content)[1]
    return row[1]


NUMBERS = [1 / 3, 0.1, 1.5e-10, 2**53 - 1.0, 5e-324, 1.7976931348623157e308, -1e-9, 123456.7890123, 1e22]


BITS = random.Random(9)
NUMBERS += [
    number
    for _ in range(300)
    if math.isfinite(number := struct.unpack("<d", struct.pack("<Q", BITS.getrandbits(64)))[0])
]


def as_xlsx(numbers: list[float]) -> bytes:
    def spelled(at: int) -> str:  # as spreadsheets do, or as Python does
        return f"{numbers[at]:.17g}" if at % 2 else repr(numbers[at])

    rows = "".join(f'<row r="{at + 2}"><c r="A{at + 2}"><v>{spelled(at)}</v></c></row>' for at in range(len(numbers)))
    old = b'<row r="2" spans="1:1"><c r="A2"><v>1</v></c></row>'
    return repacked(workbook(["a"], [1]), "xl/worksheets/sheet1.xml", old, rows.encode())


def as_ods(numbers: list[float]) -> bytes:
    rows = "".join(ods_row(ods_cell("…", "float", f'office:value="{number!r}"')) for number in numbers)
    return ods(ods_row(ods_cell("a")) + rows)


def as_xlsb(numbers: list[float]) -> bytes:
    rows = [brt(0, "IIHHBI", at, 0, 300, 0, 0, 0) + brt(5, "IId", 0, 0, number) for at, number in enumerate(numbers, 1)]
    return xlsb(brt(0, "IIHHBI", 0, 0, 300, 0, 0, 0), text_cell(0, "a"), *rows, brt(146))


def as_xls(numbers: list[float]) -> bytes:
    return xls(label(0, 0, "a"), *(biff(0x203, "HHHd", at, 0, 0, number) for at, number in enumerate(numbers, 1)))


@pytest.mark.parametrize("written", [as_xlsx, as_ods, as_xlsb, as_xls])
def test_a_number_is_what_the_file_says_to_the_last_bit(
    tmp_path: Path, written: Callable[[list[float]], bytes]
) -> None:
    assert [float(text) for _, text in read(tmp_path, written(NUMBERS))[1]] == NUMBERS


@pytest.mark.parametrize(
    ("stored", "read_as"),
    [
        ("0.10000000000000001", "0.1"),
        ("0.33333333333333331", "0.3333333333333333"),
        ("1.5E-10", "0.00000000015"),
        ("9007199254740993", "9007199254740993"),
        ("-12345678901234567.89", "-12345678901234567.89"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("1e400", "1e400"),
        ("1e-400", "1e-400"),
    ],
)
def test_a_number_beyond_doubles_stays_as_it_is_written(tmp_path: Path, stored: str, read_as: str) -> None:
    assert value_of(tmp_path, cell_of(f"<v>{stored}</v>")) == read_as
    assert value_of(tmp_path, cell_of(f"<v>{stored}</v>", ' t="str"')) == stored
    table = ods_row(ods_cell("a")) + ods_row(ods_cell("…", "float", f'office:value="{stored}"'))
    assert value_of(tmp_path, ods(table)) == read_as


@pytest.mark.parametrize(
    ("stored", "kind", "value"),
    [
        ("<is><t>x &amp; y</t></is>", "inlineStr", "x & y"),
        ("<is><t>&#49;</t></is>", "inlineStr", "1"),
        ("<is><t><![CDATA[a<b]]></t></is>", "inlineStr", "a<b"),
        ("<is><r><t>a</t></r><r><t>b</t></r><rPh sb='0' eb='1'><t>spoken</t></rPh></is>", "inlineStr", "ab"),
        ("<is><t>&#32;</t></is>", "inlineStr", None),
        ("<is><rPh sb='0' eb='1'><t>spoken</t></rPh></is>", "inlineStr", None),
        ("<is/>", "inlineStr", None),
        ("<!-- <v>2</v> --><v>7</v>", "n", "7"),
        ("<v>a_x000D_b_x0041_</v>", "str", "a\rbA"),
        ("<v>A_x005F_x0030_B &lt;</v>", "str", "A_x0030_B <"),
        ("<v>_xD800_ _x00</v>", "str", "_xD800_ _x00"),
        ("<is><t>A_x005F_x0030_B</t></is>", "inlineStr", "A_x0030_B"),
        ("<is><t>_x000D_</t></is>", "inlineStr", None),
    ],
)
def test_the_count_knows_every_way_of_writing_a_cell(tmp_path: Path, stored: str, kind: str, value: str | None) -> None:
    rows = read(tmp_path, cell_of(stored, f' t="{kind}"'))[1]
    assert rows == ([(2, value)] if value is not None else [])


def test_the_count_knows_every_way_of_writing_a_sheet(tmp_path: Path) -> None:
    content = workbook(["id", "n"], ["a", 1], [" ", None], ["b", 9007199254740993], ["c", 3])
    part = "xl/worksheets/sheet1.xml"
    sheet = parts_of(content)[part]
    for other in (
        sheet.replace(b'"', b"'"),
        sheet.replace(b' r="', b' r = "'),
        re.sub(rb"<(/?)(?=[a-zA-Z])", rb"<\1s:", sheet).replace(b"xmlns=", b"xmlns:s="),
        sheet.replace(b"<sheetData>", b"<!-- <row><c><v>1</v></c></row> --><sheetData>"),
    ):
        assert read(tmp_path, packed(**parts_of(content) | {part: other})) == read(tmp_path, content)


def test_a_chart_in_an_old_sheet_is_not_taken_for_its_cells(tmp_path: Path) -> None:
    chart = biff(0x809, "HHHHII", 0x600, 0x20, 0, 0, 0, 0) + biff(0x203, "HHHd", 1, 0, 0, 1.75) + biff(0x0A)
    with pytest.raises(DeliveryRefused, match="holds a chart"):
        read(tmp_path, xls(label(0, 0, "id"), label(1, 0, "a"), chart))
    on_its_own = chart.removesuffix(biff(0x0A))
    assert read(tmp_path, xls(label(0, 0, "id"), label(1, 0, "a"), biff(0x0A), on_its_own))[1] == [(2, "a")]


def test_text_of_an_old_sheet_in_an_unknown_encoding_is_malformed(tmp_path: Path) -> None:
    spelled = biff(0x204, "HHHHB3s", 1, 0, 0, 3, 0, b"a\x95b")
    assert read(tmp_path, xls(label(0, 0, "id"), spelled, label(2, 0, "b")))[1:] == (
        [(3, "b")],
        [(2, '{"id":"a\x95b"}', "cell A2 holds text in an unknown encoding")],
    )


def test_times_of_a_day_and_more_in_opendocument(tmp_path: Path) -> None:
    table = ods_row(ods_cell("id"), ods_cell("t"))
    for at, length in enumerate(("PT288H00M00S", "PT06H07M08S", "-PT01H00M00S", "PT25H00M01.5S", "P1D")):
        table += ods_row(ods_cell(f"{at}"), ods_cell("…", "time", f'office:time-value="{length}"'))
    _, rows, malformed = read(tmp_path, ods(table))
    assert [row[2] for row in rows] == ["288:00:00", "06:07:08", "-01:00:00", "25:00:01.5"]
    assert [(line, rule) for line, _, rule in malformed] == [(6, "cell B6 is P1D, no time")]


def test_a_header_that_was_never_computed_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="no header: cell A2 has a formula but no value"):
        read(tmp_path, repacked(cell_of("<f>1+1</f>"), "xl/worksheets/sheet1.xml", b't="s"><v>0</v>', b"><v></v>"))


def test_times_and_lengths_of_time_are_text(tmp_path: Path) -> None:
    def times(book: Any, sheet: Any) -> None:
        for row, (value, form) in enumerate([(0.25, "hh:mm"), (1.5, "[h]:mm"), (1.5 / 86400, "mm:ss.000")], 1):
            sheet.write_number(row, 0, value, book.add_format({"num_format": form}))

    assert [row[1] for row in read(tmp_path, workbook(["t"], then=times))[1]] == [
        "06:00:00",
        "36:00:00",
        "00:00:01.500",
    ]


def test_dates_count_from_1904_where_the_workbook_says_so(tmp_path: Path) -> None:
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"date_1904": True, "default_date_format": "dd/mm/yy"}) as book:
        sheet = book.add_worksheet("S")
        sheet.write(0, 0, "day")
        sheet.write(1, 0, DAY)
    assert read(tmp_path, content.getvalue())[1] == [(2, DAY)]


def test_dates_and_text_in_one_column_are_each_judged_as_what_they_are(tmp_path: Path) -> None:
    content = workbook(["id", "on"], ["a", DAY], ["b", "31/01/2026"], ["c", None], ["d", DAY], ["e", 5])
    rows = [(2, "a", DAY), (3, "b", "31/01/2026"), (4, "c", None), (5, "d", DAY), (6, "e", "5")]
    assert read(tmp_path, content)[1] == rows


def test_lines_are_rows_of_the_sheet_and_empty_rows_are_no_records(tmp_path: Path) -> None:
    content = workbook([None], ["id", "n"], [None], ["a", 1], ["", "  "], [None], ["b", None], at="C3")
    assert read(tmp_path, content) == (("id", "n"), [(6, "a", "1"), (9, "b", None)], [])


def test_hidden_rows_and_columns_are_rows_and_columns(tmp_path: Path) -> None:
    def hide(_: Any, sheet: Any) -> None:
        sheet.set_row(1, None, None, {"hidden": True})
        sheet.set_column(1, 1, None, None, {"hidden": True})

    content = workbook(["id", "n"], ["a", 1], ["b", 2], then=hide)
    assert read(tmp_path, content)[1] == [(2, "a", "1"), (3, "b", "2")]


def test_a_row_with_an_error_cell_is_malformed_and_names_the_cell(tmp_path: Path) -> None:
    codes = ["#REF!", "#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#VALUE!"]
    content = workbook(["id", "n"], ["a", 1], *(["b", code] for code in codes), ["c", 3])
    _, rows, malformed = read(tmp_path, content)
    assert rows == [(2, "a", "1"), (10, "c", "3")]
    assert malformed == [
        (line, f'{{"id":"b","n":"{code}"}}', f"cell B{line} is {code}") for line, code in enumerate(codes, 3)
    ]


def test_a_formula_is_its_last_value_and_one_never_computed_is_malformed(tmp_path: Path) -> None:
    def formulas(_: Any, sheet: Any) -> None:
        sheet.write_formula("B2", "=1+1", None, 2)
        sheet.write_formula("B3", '=""', None, "")

    content = workbook(["id", "n"], ["a"], ["b"], then=formulas)
    # As spreadsheets write a formula that gives an empty text, unlike the library.
    content = repacked(content, "xl/worksheets/sheet1.xml", b'r="B3"', b'r="B3" t="str"')
    assert read(tmp_path, content)[1] == [(2, "a", "2"), (3, "b", None)]
    book = openpyxl.Workbook()
    for row in (["id", "n"], ["a", 1], ["b", "=1+1"], [None, "=2"]):
        book.active.append(row)
    saved = io.BytesIO()
    book.save(saved)
    _, rows, malformed = read(tmp_path, saved.getvalue())
    assert rows == [(2, "a", "1")]
    assert [(line, rule) for line, _, rule in malformed] == [
        (3, "cell B3 has a formula but no value"),
        (4, "cell B4 has a formula but no value"),
    ]


def test_rows_covered_by_a_merge_are_malformed(tmp_path: Path) -> None:
    def merge(_: Any, sheet: Any) -> None:
        for cells in ("A2:A4", "B6:C6", "F2:G9"):
            sheet.merge_range(cells, "m")

    rows: list[list[Any]] = [
        ["id", "n", "x"],
        *([None, at, "x"] for at in range(2, 6)),
        [None, None, None],
        ["z", 7, "x"],
    ]
    _, sound, malformed = read(tmp_path, workbook(*rows, then=merge), range="A:C")
    assert sound == [(2, "m", "2", "x"), (5, None, "5", "x"), (7, "z", "7", "x")]
    assert [(line, rule) for line, _, rule in malformed] == [
        (3, "cells A2:A4 are merged"),
        (4, "cells A2:A4 are merged"),
        (6, "cells B6:C6 are merged"),
    ]


def test_a_merged_header_is_refused(tmp_path: Path) -> None:
    content = workbook(["id"], ["a"], then=lambda _, sheet: sheet.merge_range("A1:B1", "Sales 2026"))
    with pytest.raises(DeliveryRefused, match="header's cells A1:B1 are merged") as refused:
        read(tmp_path, content)
    assert refused.value.line == 1


def test_values_without_a_column_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="column B has values but no name in row 1"):
        read(tmp_path, workbook(["id", None, "n"], ["a", 2, 3]))
    assert read(tmp_path, workbook(["id", None, "n"], ["a", None, 3]))[0] == ("id", "n")


TITLED = workbook(["Sales 2026"], [None], ["id", "n", None, "note"], ["a", 1, None, "x"], ["b", 2], ["Total", 3])


@pytest.mark.parametrize(
    ("cells", "header", "lines"),
    [("A3:B", ("id", "n"), [4, 5, 6]), ("A3:D5", ("id", "n", "note"), [4, 5]), ("B3:B4", ("n",), [4])],
)
def test_a_declared_range_leaves_the_rest_of_the_sheet_alone(
    tmp_path: Path, cells: str, header: tuple[str, ...], lines: list[int]
) -> None:
    found, rows, _ = read(tmp_path, TITLED, range=cells)
    assert found == header
    assert [row[0] for row in rows] == lines


def test_the_sheet_and_its_cells_are_written_down(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(TITLED)
    form = Excel(range="A3:B")
    assert open_reader(tmp_path / "copy", "a.xlsx", Files("*", format=form)).dialect == {"sheet": "S", "range": "A3:B"}


def test_several_sheets_are_refused_unless_one_is_declared(tmp_path: Path) -> None:
    content = workbook(["id"], ["a"], Other=[["x"], ["b"]])
    with pytest.raises(DeliveryRefused, match="2 sheets and none declared: 'S', 'Other'"):
        read(tmp_path, content)
    assert read(tmp_path, content, sheet="Other")[1] == [(2, "b")]
    with pytest.raises(DeliveryRefused, match="no sheet 'Third'; there are 'S', 'Other'"):
        read(tmp_path, content, sheet="Third")


def test_an_empty_sheet_and_an_empty_file_have_no_header(tmp_path: Path) -> None:
    assert read(tmp_path, workbook()) == ((), [], [])
    assert read(tmp_path, b"") == ((), [], [])
    assert read(tmp_path, workbook(["id"])) == (("id",), [], [])


def test_the_count_is_made_from_the_sheets_own_bytes(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(workbook(["id"], ["a"], ["b"]))
    reader = open_reader(tmp_path / "copy", "a.xlsx", Files("*"))
    with pytest.raises(DeliveryRefused, match="2 records were delivered but 1 understood"):
        reader.reconcile(1)


def test_rows_that_cross_the_borders_of_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = workbook(
        ["id", "n"], *([f"a{at}", at] for at in range(300)), then=lambda _, s: s.merge_range("A9:A10", "m")
    )
    for size in (64, 1000):
        monkeypatch.setattr(grid, "_CHUNK", size)
        _, rows, malformed = read(tmp_path, content)
        assert (len(rows), [line for line, *_ in malformed]) == (299, [10])


# Other kinds of workbook


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def repacked(content: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """The workbook with what is `old` in a part replaced."""
    parts = parts_of(content)
    assert old in parts[part]
    return packed(**{**parts, part: parts[part].replace(old, new)})


def test_a_workbook_may_lie_at_the_top_of_its_package(tmp_path: Path) -> None:
    flat = {name.removeprefix("xl/"): part.replace(b"/xl/", b"/") for name, part in parts_of(SOUND).items()}
    flat["_rels/.rels"] = flat["_rels/.rels"].replace(b"xl/workbook.xml", b"workbook.xml")
    assert "workbook.xml" in flat
    assert read(tmp_path, packed(**flat)) == read(tmp_path, SOUND)


def packed(**parts: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part, zipfile.ZIP_STORED if name == "mimetype" else None)
    return content.getvalue()


def ods(rows: str) -> bytes:
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    content = (
        f'<?xml version="1.0"?><office:document-content {spaces} xmlns:calcext="urn:x"><office:body>'
        f'<office:spreadsheet><table:table table:name="S">{rows}</table:table></office:spreadsheet>'
        "</office:body></office:document-content>"
    )
    manifest = b'<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    parts = {"content.xml": content.encode(), "META-INF/manifest.xml": manifest}
    return packed(mimetype=b"application/vnd.oasis.opendocument.spreadsheet", **parts)


def ods_row(*cells: str, times: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{times}">{"".join(cells)}</table:table-row>'


def ods_cell(text: str, kind: str = "string", more: str = "") -> str:
    return f'<table:table-cell office:value-type="{kind}" {more}><text:p>{text}</text:p></table:table-cell>'


def test_opendocument(tmp_path: Path) -> None:
    content = ods(
        ods_row(*map(ods_cell, ("id", "n", "on")))
        + ods_row(
            ods_cell("a"),
            ods_cell("17,850.0", "float", 'office:value="17850"'),
            ods_cell("31.1.26", "date", 'office:date-value="2026-01-31"'),
        )
        + ods_row(
            ods_cell("b"),
            ods_cell("6:00", "time", 'office:time-value="PT06H00M00S"'),
            ods_cell("2026-01-31"),
            times=2,
        )
        + ods_row("<table:table-cell/>", times=1000)
        + ods_row(
            ods_cell("c"),
            ods_cell("#REF!", "string", 'office:string-value="" calcext:value-type="error"'),
            ods_cell("x"),
        )
        + ods_row(ods_cell("d", more='table:number-columns-spanned="2"'), "<table:covered-table-cell/>", ods_cell("x"))
        + ods_row("<table:table-cell/>", times=1_000_000)
    )
    header, rows, malformed = read(tmp_path, content)
    assert header == ("id", "n", "on")
    assert rows == [(2, "a", "17850", DAY), (3, "b", "06:00:00", "2026-01-31"), (4, "b", "06:00:00", "2026-01-31")]
    assert [(line, rule) for line, _, rule in malformed] == [
        (1005, "cell B1005 is an error"),
        (1006, "cells A1006:B1006 are merged"),
    ]


def biff(kind: int, form: str = "", *values: Any) -> bytes:
    data = struct.pack(f"<{form}", *values)
    return struct.pack("<HH", kind, len(data)) + data


def label(row: int, column: int, text: str) -> bytes:
    return biff(0x204, f"HHHHB{len(text)}s", row, column, 0, len(text), 0, text.encode())


def compound(name: str, stream: bytes) -> bytes:
    """A compound file of one stream."""
    stream = stream.ljust(4096, b"\0")
    count = -(-len(stream) // 512)
    free, last = 0xFFFFFFFF, 0xFFFFFFFE
    chain = [0xFFFFFFFD, last, *range(3, count + 2), last]
    fat = struct.pack("<128I", *chain, *[free] * (128 - len(chain)))

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        spelled = name.encode("utf-16-le") + b"\0\0"
        tail = struct.pack("<HBBIII16xI16xIII", len(spelled), kind, 1, free, free, child, 0, start, size, 0)
        return spelled.ljust(64, b"\0") + tail

    directory = entry("Root Entry", 5, 1, last, 0) + entry(name, 2, free, 2, len(stream))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack(
        "<16xHHHHH6xIIIIIIIII109I", 0x3E, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, last, 0, last, 0, 0, *[free] * 108
    )
    return header + fat + directory.ljust(512, b"\0") + stream.ljust(count * 512, b"\0")


def xls(*records: bytes, password: bool = False) -> bytes:
    begin = biff(0x809, "HHHHII", 0x600, 5, 0, 0, 0, 0) + (biff(0x2F, "HHH", 0, 0, 0) if password else b"")
    place = len(begin) + len(biff(0x85, "IBBBB1s", 0, 0, 0, 1, 0, b"S")) + len(biff(0x0A))
    sheet = biff(0x809, "HHHHII", 0x600, 0x10, 0, 0, 0, 0) + b"".join(records) + biff(0x0A)
    return compound("Workbook", begin + biff(0x85, "IBBBB1s", place, 0, 0, 1, 0, b"S") + biff(0x0A) + sheet)


XLS = xls(
    label(0, 0, "id"),
    label(0, 1, "n"),
    label(1, 0, "a"),
    biff(0x203, "HHHd", 1, 1, 0, 17850.0),
    label(3, 0, "b"),
    biff(0x205, "HHHBB", 3, 1, 0, 0x17, 1),
    label(4, 0, "c"),
    biff(0xBD, "HHHIHIH", 5, 0, 0, 4 << 2 | 2, 0, 5 << 2 | 2, 1),
    biff(0xE5, "HHHHH", 1, 4, 4, 0, 1),
)


def test_binary_workbooks_of_old(tmp_path: Path) -> None:
    header, rows, malformed = read(tmp_path, XLS)
    assert header == ("id", "n")
    assert rows == [(2, "a", "17850"), (5, "c", None), (6, "4", "5")]
    assert [(line, rule) for line, _, rule in malformed] == [(4, "cell B4 is #REF!")]


def test_cells_of_an_old_workbook_lie_in_any_order(tmp_path: Path) -> None:
    cells = [
        label(row, column, text) for row, line in enumerate(["ij", "ab", "cd"]) for column, text in enumerate(line)
    ]
    told = read(tmp_path, xls(*cells))
    assert told == (("i", "j"), [(2, "a", "b"), (3, "c", "d")], [])
    assert read(tmp_path, xls(*cells[::2], *cells[1::2])) == told
    assert read(tmp_path, xls(*cells[::-1])) == told


def test_names_within_a_compound_file_are_alike_in_upper_and_lower_case(tmp_path: Path) -> None:
    workbook, shouted = ("Workbook".encode("utf-16-le"), "WORKBOOK".encode("utf-16-le"))
    assert read(tmp_path, XLS.replace(workbook, shouted)) == read(tmp_path, XLS)


def brt(kind: int, form: str = "", *values: Any) -> bytes:
    data = struct.pack(f"<{form}", *values)
    assert len(data) < 0x80
    return (bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])) + bytes([len(data)]) + data


def wide(text: str) -> tuple[str, int, bytes]:
    spelled = text.encode("utf-16-le")
    return f"I{len(spelled)}s", len(text), spelled


def xlsb(*records: bytes) -> bytes:
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Id="rId1" Type="{}/{}" Target="{}"/></Relationships>'
    )
    relation, name = wide("rId1"), wide("S")
    book = brt(131) + brt(143) + brt(156, "II" + relation[0] + name[0], 0, 1, *relation[1:], *name[1:])
    sheet = brt(129) + brt(148, "IIII", 0, 999, 0, 1) + brt(145) + b"".join(records) + brt(130)
    return packed(
        **{
            "_rels/.rels": relations.format(office, "officeDocument", "xl/workbook.bin").encode(),
            "xl/workbook.bin": book + brt(144) + brt(132),
            "xl/_rels/workbook.bin.rels": relations.format(office, "worksheet", "worksheets/sheet1.bin").encode(),
            "xl/worksheets/sheet1.bin": sheet,
        }
    )


def text_cell(column: int, text: str) -> bytes:
    form, length, spelled = wide(text)
    return brt(6, "II" + form, column, 0, length, spelled)


def test_binary_workbooks_of_today(tmp_path: Path) -> None:
    def row(number: int) -> bytes:
        return brt(0, "IIHHBI", number, 0, 300, 0, 0, 0)

    content = xlsb(
        *(row(0), text_cell(0, "id"), text_cell(1, "n")),
        *(row(1), text_cell(0, "a"), brt(5, "IId", 1, 0, 17850.0)),
        *(row(2), brt(1, "II", 0, 0)),
        *(row(3), text_cell(0, "b"), brt(3, "IIB", 1, 0, 0x17)),
        *(row(4), text_cell(0, "c")),
        brt(146),
    )
    header, rows, malformed = read(tmp_path, content)
    assert header == ("id", "n")
    assert rows == [(2, "a", "17850"), (5, "c", None)]
    assert [(line, rule) for line, _, rule in malformed] == [(4, "cell B4 is #REF!")]


@pytest.mark.parametrize("written", [as_xlsb, as_xls])
def test_a_receipt_tells_where_nobody_but_the_parser_counted(
    tmp_path: Path, written: Callable[[list[float]], bytes]
) -> None:
    (tmp_path / "copy").write_bytes(written([1.0]))
    dialect = {"sheet": "S", "range": "A1:A", "counted": "by its parser alone"}
    assert open_reader(tmp_path / "copy", "a.xls", Files("*")).dialect == dialect


# What is no sound workbook


SOUND = workbook(["id", "n"], ["a", 1])


@pytest.mark.parametrize("share", [0.001, 0.02, 0.5, 0.99])
def test_a_workbook_that_is_cut_off_is_unfinished(tmp_path: Path, share: float) -> None:
    with pytest.raises(DeliveryUnfinished):
        read(tmp_path, SOUND[: int(len(SOUND) * share)])


@pytest.mark.parametrize("kept", [100, 600, 1600, -600])
def test_an_old_workbook_that_is_cut_off_is_unfinished(tmp_path: Path, kept: int) -> None:
    with pytest.raises(DeliveryUnfinished):
        read(tmp_path, XLS[:kept])


@pytest.mark.parametrize("content", [compound("EncryptedPackage", b"x"), xls(password=True)])
def test_an_encrypted_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DeliveryRefused, match="encrypted"):
        read(tmp_path, content)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = packed(**parts_of(SOUND) | {"xl/worksheets/sheet1.xml": b"<worksheet><sheetData>" + b" " * (8 << 20)})
    with pytest.raises(DeliveryRefused, match="unpacks to more than 300 times"):
        read(tmp_path, bomb, limits=Limits(unpacked=1 << 20))


LAUGHS = b"<!DOCTYPE x [<!ENTITY a 'lol'>]><workbook><sheets><sheet name='S' id='rId1'/></sheets></workbook>"


@pytest.mark.parametrize(
    "content",
    [
        b"id,n\na,1\n",
        packed(**parts_of(SOUND) | {"xl/worksheets/sheet1.xml": b"<worksheet><sheetData><row r='1'><c"}),
        packed(**parts_of(SOUND) | {"xl/worksheets/sheet1.xml": b""}),
        packed(**parts_of(SOUND) | {"xl/workbook.xml": LAUGHS}),
        packed(a=b"no workbook"),
        SOUND.replace(b"xl/workbook.xml", b"xl/workbook.xxx"),
        compound("Workbook", b"no records"),
        compound("Other", b""),
    ],
)
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DeliveryRefused):
        read(tmp_path, content)


def test_a_flipped_bit_is_refused_or_makes_no_difference(tmp_path: Path) -> None:
    whole = read(tmp_path, SOUND)
    for at in range(200, len(SOUND), len(SOUND) // 6):
        damaged = bytearray(SOUND)
        damaged[at] ^= 4
        try:
            assert read(tmp_path, bytes(damaged)) == whole
        except (DeliveryRefused, DeliveryUnfinished):
            continue


# The parser's own process


def script(folder: Path, code: str) -> Path:
    path = folder / "parser.py"
    path.write_text(code)
    return path


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("while True: pass", "takes longer than 1 s to read"),
        ("import time; time.sleep(60)", "takes longer than 1 s to read"),
        ("b = bytearray(300 << 20); import time; time.sleep(60)", "its parser took more than 100 MB of memory"),
        ("b = bytearray(30 << 30)", "its parser took more than 100 MB of memory"),
        ("import os; os.abort()", "its parser ended by SIGABRT"),
        ("import os; os.kill(os.getpid(), 11)", "its parser ended by SIGSEGV"),
        ("raise SystemExit(3)", "its parser ended with status 3"),
        ("import sys; sys.stdout.write('x' * (8 << 20)); sys.stdout.flush()", "its parser wrote more than 4 MB"),
    ],
)
def test_a_parser_that_hangs_bloats_or_crashes_is_stopped_and_the_delivery_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.setattr(excel, "_PARSER", script(tmp_path, code))
    limits = Limits(parser_memory=100 << 20, parser_output=4 << 20)
    before = set(psutil.Process().children())  # another test's fork server may be among them
    with pytest.raises(DeliveryRefused, match=said):
        read(tmp_path, SOUND, limits=limits, longest=1 if "longer" in said else 30)
    assert set(psutil.Process().children()) <= before


def test_a_parser_that_computes_for_too_long_while_we_are_busy_is_said_to_have(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    parser = isolated.Parser(script(tmp_path, "while True: pass"), [], seconds=1, memory=1 << 30)
    (child,) = set(psutil.Process().children()) - before
    until = time.monotonic() + 60
    while child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.02)
    with pytest.raises(isolated.Stopped, match="took longer than 1 s"):
        parser.read(1)


def test_the_parser_sees_nothing_of_our_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_PASSWORD", "canary")
    code = "import os, sys; sys.stdout.write(repr(sorted(os.environ)))"
    with isolated.run(script(tmp_path, code), [], seconds=30, memory=1 << 30, output=1 << 20) as said:
        assert b"LANG" in (seen := said.read())
        assert b"PASSWORD" not in seen


def test_the_parser_does_not_outlive_us(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    parser = script(tmp_path, f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(100)")
    ours = (
        "from pathlib import Path; from platform_assets.engine.readers import isolated; "
        f"isolated.run(Path({str(parser)!r}), [], seconds=100, memory=1 << 30, output=1 << 20)"
    )
    with subprocess.Popen([sys.executable, "-c", ours]) as process:
        until = time.monotonic() + 60
        while not (note.exists() and note.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        child = psutil.Process(int(note.read_text()))
        os.kill(process.pid, signal.SIGKILL)
        child.wait(10)
    assert not child.is_running()


def test_a_feed_loads_a_workbook_whatever_its_cells_are(shop: Shop) -> None:
    shop.declare(contract=OpenSales, source=Files("sales/*.xlsx", settle=seconds(0), format=Excel(range="A2:E")))
    content = workbook(
        ["Sales of June"],
        ["sku", "quantity", "price", "sold_at", "email"],
        ["S1", 3, 2.5, MOMENT, None],
        ["S2", 3.5, 2, MOMENT, None],
        ["S3", "4", "1.25", "2026-01-31T10:20:30", None],
        ["S4", 4, "#DIV/0!", MOMENT, None],
    )
    receipt = shop.load("a.xlsx", content)
    assert (receipt.read, receipt.accepted, receipt.rejected) == (4, 2, 2)
    assert dict(receipt.dialect) == {"sheet": "S", "range": "A2:E"}
    assert shop.rows("sku, quantity, price::VARCHAR, (sold_at AT TIME ZONE 'UTC')::VARCHAR") == [
        ("S1", 3, "2.5000", "2026-01-31 10:20:30"),
        ("S3", 4, "1.2500", "2026-01-31 10:20:30"),
    ]
    assert [line for (line,) in shop.query("SELECT _line FROM quarantine.sales ORDER BY _line")] == [4, 6]
    assert shop.reconciles()


def test_a_workbook_that_crashes_its_parser_lets_others_load(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.declare(source=Files("sales/*.xlsx", "sales/*.csv", settle=seconds(0)))
    monkeypatch.setattr(excel, "_PARSER", script(shop.root, "import os; os.abort()"))
    shop.deliver("a.xlsx", SOUND)
    shop.deliver("b.csv", "sku,quantity,price,sold_at,email\nS1,1,,,\n")
    crashed, sound = shop.ingest().receipts
    assert crashed.status == "quarantined"
    assert "ended by SIGABRT" in str(crashed.problem)
    assert sound.accepted == 1
