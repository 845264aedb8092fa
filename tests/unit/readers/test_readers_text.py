"""Line-based deliveries: every record is taken apart exactly or named as malformed, alone, with its line."""

import csv
import gzip
import io
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from machine import examples

from platform_assets.engine.feed.feed import Files
from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.readers import Reader, open_reader, text
from platform_assets.engine.readers.limits import LIMITS, Limits
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished

Row = tuple[int, list[str | None]]
Malformed = tuple[int, str, str]


def read(
    folder: Path, content: bytes, name: str = "a.csv", *, limits: Limits = LIMITS, **form: Any
) -> tuple[list[Row], list[Malformed]]:
    """(line, fields) of the sound records and (line, record, rule) of the others, reconciled."""
    copy = folder / "copy"
    copy.write_bytes(content)
    reader = open_reader(copy, name, Files("*", format=Csv(**form) if form else None), limits=limits)
    rows: list[Row] = []
    malformed: list[Malformed] = []
    if reader.header:
        for batch in reader.batches({f"c{at}": name for at, name in enumerate(reader.header)}):
            rows += [(line, list(fields)) for line, *fields in batch.frame.iter_rows()]
            malformed += batch.malformed.select("_line", "record", "rule").rows()
    reader.reconcile(len(rows) + len(malformed))
    return sorted(rows), sorted(malformed)


def opened(folder: Path, content: bytes, name: str, limits: Limits = LIMITS) -> Reader:
    copy = folder / "copy"
    copy.write_bytes(content)
    return open_reader(copy, name, Files("*"), limits=limits)


@pytest.fixture(params=[7, 64, 8 << 20], ids=["tiny chunks", "small chunks", "real chunks"])
def limits(request: pytest.FixtureRequest) -> Limits:
    """Deliveries cross the borders of chunks, wherever these fall."""
    return Limits(at_once=request.param)


DOUBTFUL = "stray quotes in several fields: a delimiter before a quote may be missing"

CSV_CASES: dict[str, tuple[bytes, list[Row], list[Malformed]]] = {
    "LF": (b"a,b\n1,2\n3,4\n", [(2, ["1", "2"]), (3, ["3", "4"])], []),
    "CRLF": (b"a,b\r\n1,2\r\n3,4\r\n", [(2, ["1", "2"]), (3, ["3", "4"])], []),
    "CR": (b"a,b\r1,2\r3,4\r", [(2, ["1", "2"]), (3, ["3", "4"])], []),
    "mixed ends": (b"a,b\r\n1,2\r3,4\n5,6\r\n", [(2, ["1", "2"]), (3, ["3", "4"]), (4, ["5", "6"])], []),
    "no final end": (b"a,b\n1,2\n3,4", [(2, ["1", "2"]), (3, ["3", "4"])], []),
    "BOM": (b"\xef\xbb\xbfa,b\n1,2\n", [(2, ["1", "2"])], []),
    "blank lines are no records": (b"\n\na,b\n\n1,2\r\n\r\n\n3,4\n\n", [(5, ["1", "2"]), (8, ["3", "4"])], []),
    "empty fields are NULL": (b'a,b\n,\n"",1\n', [(2, [None, None]), (3, [None, "1"])], []),
    "quoted delimiter": (b'a,b\n"1,5",2\n3,4\n', [(2, ["1,5", "2"]), (3, ["3", "4"])], []),
    "newline in quotes": (b'a,b\n"x\ny",2\n3,4\n', [(2, ["x\ny", "2"]), (4, ["3", "4"])], []),
    "blank line in quotes": (b'a,b\n"x\n\ny",2\n3,4\n', [(2, ["x\n\ny", "2"]), (5, ["3", "4"])], []),
    "escaped quotes": (b'a,b\n"say ""hi""",2\n', [(2, ['say "hi"', "2"])], []),
    "quote inside a plain field": (b'a,b\n12" plate,2\n3,4\n', [(2, ['12" plate', "2"]), (3, ["3", "4"])], []),
    "stray quote": (
        b'a,b\n1,2\n"x"y,2\n3,4\n',
        [(2, ["1", "2"]), (4, ["3", "4"])],
        [(3, '"x"y,2', "stray quote")],
    ),
    "quote never closed": (
        b'a,b\n1,2\n"x,2\n3,4\n5,6\n',
        [(2, ["1", "2"]), (4, ["3", "4"]), (5, ["5", "6"])],
        [(3, '"x,2', "quote never closed")],
    ),
    "quote never closed before quoted neighbours": (
        b'a,b\n"x,2\n"3,5",4\n5,6\n',
        [(3, ["3,5", "4"]), (4, ["5", "6"])],
        [(2, '"x,2', "quote never closed")],
    ),
    "ragged": (
        b"a,b\n1\n1,2,3\n3,4\n",
        [(4, ["3", "4"])],
        [(2, "1", "1 fields instead of 2"), (3, "1,2,3", "3 fields instead of 2")],
    ),
    "ragged in quotes": (b'a,b\n"1"\n3,4\n', [(3, ["3", "4"])], [(2, '"1"', "1 fields instead of 2")]),
    "NUL": (
        b'a,b\n1\0,2\n"1\0",2\n3,4\n',
        [(4, ["3", "4"])],
        [(2, "1\0,2", "NUL byte"), (3, '"1\0",2', "NUL byte")],
    ),
    "quoted header": (b'"a","b,c"\n1,2\n', [(2, ["1", "2"])], []),
    "one column": (b'a\n1\n\n""\n2\n', [(2, ["1"]), (4, [None]), (5, ["2"])], []),
    "other separators are text": (
        "a,b\nx\u2028y\x0b\x0c\x1c,\x85\n".encode(),
        [(2, ["x\u2028y\x0b\x0c\x1c", "\x85"])],
        [],
    ),
    "blanks are kept": (b"a,b\n 1 ,2\t\n", [(2, [" 1 ", "2\t"])], []),
    "ragged after blank lines": (
        b"a,b\n\n1,2\n\n3\r\n4,5,6\n7,8\n",
        [(3, ["1", "2"]), (7, ["7", "8"])],
        [(5, "3", "1 fields instead of 2"), (6, "4,5,6", "3 fields instead of 2")],
    ),
    "ragged and stray and spanning": (
        b'a,b\n"1",2\n3\n"x"y,4\n"p\nq",5\n6,"7"\n',
        [(2, ["1", "2"]), (5, ["p\nq", "5"]), (7, ["6", "7"])],
        [(3, "3", "1 fields instead of 2"), (4, '"x"y,4', "stray quote")],
    ),
    "a line end in quotes keeps its bytes": (b'a,b\r\n"x\r\ny","p\rq"\r\n', [(2, ["x\r\ny", "p\rq"])], []),
    "a spanning record beside a quote in a plain field": (
        b'a,b\n"x\ny",12" plate\n3,4\n',
        [(2, ["x\ny", '12" plate']), (4, ["3", "4"])],
        [],
    ),
    "the header again": (
        b'a,b\n1,2\na,b\n3,b\n"a","b"\na,4\n',
        [(2, ["1", "2"]), (4, ["3", "b"]), (6, ["a", "4"])],
        [(3, "a,b", "the header again"), (5, '"a","b"', "the header again")],
    ),
    "a spanning header again": (
        b'a,"b\nc"\n1,2\na,"b\nc"\n3,4\n',
        [(3, ["1", "2"]), (6, ["3", "4"])],
        [(4, 'a,"b\nc"', "the header again")],
    ),
    "a byte-order mark within": (
        b"a,b\n1,2\n\xef\xbb\xbf3,4\n5,\xef\xbb\xbf\n",
        [(2, ["1", "2"]), (4, ["5", "\ufeff"])],
        [(3, "\ufeff3,4", "byte-order mark within")],
    ),
    "two files in one, each with its mark": (
        b"\xef\xbb\xbfa,b\n1,2\n\xef\xbb\xbfa,b\n3,4\n",
        [(2, ["1", "2"]), (4, ["3", "4"])],
        [(3, "\ufeffa,b", "the header again")],
    ),
    "two files in one, the first without an end": (
        b"\xef\xbb\xbfa\n1\xef\xbb\xbfa\n2\n",
        [(3, ["2"])],
        [(2, "1\ufeffa", "byte-order mark within")],
    ),
    "a delimiter lost before a quoted field that has one": (
        b'a,b\nx"y,z"\n5" pipe"p,q"\n3,4\n',
        [(4, ["3", "4"])],
        [(2, 'x"y,z"', DOUBTFUL), (3, '5" pipe"p,q"', DOUBTFUL)],
    ),
    "pairs of quotes in several unquoted fields": (b'a,b\na "x" b,c "y" d\n', [(2, ['a "x" b', 'c "y" d'])], []),
    "a delimiter lost before a field that spans lines": (
        b'a,b,c\nx"1\n2,3,4\n5",y\n6,7,8\n',
        [(5, ["6", "7", "8"])],
        [(2, 'x"1\n2,3,4\n5",y', "1 fields instead of 3")],
    ),
    "a delimiter lost after a field that spans lines": (
        b'a,b,c\n"1\n2,3,4"d,e\n6,7,8\n',
        [(4, ["6", "7", "8"])],
        [(2, '"1\n2,3,4"d,e', "quote never closed")],
    ),
    "a delimiter lost elsewhere in a record that spans lines": (
        b'a,b,c\npx,"1\n2,3,4"\n6,7,8\n',
        [(4, ["6", "7", "8"])],
        [(2, 'px,"1\n2,3,4"', "2 fields instead of 3")],
    ),
    "a delimiter lost where the first line still has as many fields": (
        b'a,b\nx",\n"\n3,4\n',
        [(4, ["3", "4"])],
        [(2, 'x",\n"', DOUBTFUL)],
    ),
    "quotes that went astray swallow no neighbours": (
        b'a,b,c\n"x,2,3\n4,5,6\n7,8,y"\n1,5" pipe,2\n"p",q,r\n',
        [(3, ["4", "5", "6"]), (5, ["1", '5" pipe', "2"]), (6, ["p", "q", "r"])],
        [(2, '"x,2,3', "1 fields instead of 3"), (4, '7,8,y"', "stray quote")],
    ),
    "header only": (b"a,b\n", [], []),
    "header only, no end": (b"a,b", [], []),
    "empty": (b"", [], []),
    "only blank lines": (b"\n\r\n\n", [], []),
    "only a BOM": (b"\xef\xbb\xbf", [], []),
}


@pytest.mark.parametrize("case", CSV_CASES)
def test_csv_records_keep_their_fields_and_lines(tmp_path: Path, limits: Limits, case: str) -> None:
    content, rows, malformed = CSV_CASES[case]
    assert read(tmp_path, content, limits=limits) == (rows, malformed)


@pytest.mark.parametrize("delimiter", [";", "\t", "|", "\u00a6"])
def test_the_declared_delimiter_separates_and_no_other(tmp_path: Path, limits: Limits, delimiter: str) -> None:
    content = f'a{delimiter}b\n1,5{delimiter}"x{delimiter}y"\n'.encode()
    assert read(tmp_path, content, delimiter=delimiter, limits=limits) == ([(2, ["1,5", f"x{delimiter}y"])], [])


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-8-sig"])
def test_a_declared_encoding_is_decoded(tmp_path: Path, limits: Limits, encoding: str) -> None:
    assert read(tmp_path, "a,b\nné,ß\n".encode(encoding), encoding=encoding, limits=limits) == ([(2, ["né", "ß"])], [])


@pytest.mark.parametrize("size", [3, 5, 7, 8 << 20])
@pytest.mark.parametrize(
    ("content", "encoding", "byte"),
    [
        (b"a,b\nn\xe9,1\n", "utf-8", 5),
        (b"a,b\n" + "é".encode() * 9 + b"\xff,1\n", "utf-8", 22),
        (b"\xef\xbb\xbfa,b\n\xff,1\n", "utf-8", 7),
        (b"a,b\n1,\xc3", "utf-8", 6),
        ("a,b\né,1\n".encode("utf-16"), "utf-8", 0),
        ("a,b\n".encode("utf-16-le") + b"\x00\xdc1\x00", "utf-16-le", 8),
    ],
)
def test_another_encoding_is_refused_naming_the_byte(
    tmp_path: Path, content: bytes, encoding: str, byte: int, size: int
) -> None:
    limits = Limits(at_once=size)
    with pytest.raises(DeliveryRefused, match=f"byte {byte} is not {encoding}"):
        read(tmp_path, content, encoding=encoding, limits=limits)


LINES = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * 7919) for n in range(5000))


def test_gzip_is_unpacked(tmp_path: Path, limits: Limits) -> None:
    small = LINES[:200].rpartition(b"\n")[0] + b"\n"
    assert read(tmp_path, gzip.compress(small), "a.csv.gz", limits=limits) == read(tmp_path, small, limits=limits)


@pytest.mark.parametrize("kept", [9, 12, 30, -9, -1])
def test_gzip_that_stops_short_is_unfinished(tmp_path: Path, kept: int) -> None:
    with pytest.raises(DeliveryUnfinished, match="ends before its content does"):
        read(tmp_path, gzip.compress(LINES)[:kept], "a.csv.gz")


def test_gzip_with_a_wrong_checksum_is_refused_before_any_row(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES))
    packed[-6] ^= 1
    with pytest.raises(DeliveryRefused, match="damaged gzip: CRC"):
        opened(tmp_path, bytes(packed), "a.csv.gz")


def test_gzip_with_any_bit_flipped_is_never_read_as_something_else(tmp_path: Path) -> None:
    packed, random_bits = gzip.compress(LINES, mtime=0), random.Random(1)
    for _ in range(60):
        damaged = bytearray(packed)
        damaged[random_bits.randrange(10, len(packed))] ^= 1 << random_bits.randrange(8)
        with pytest.raises((DeliveryRefused, DeliveryUnfinished)):
            opened(tmp_path, bytes(damaged), "a.csv.gz")


def test_a_decompression_bomb_is_refused_before_any_row(tmp_path: Path) -> None:
    limits = Limits(unpacked=1 << 20)
    with pytest.raises(DeliveryRefused, match="unpacks to more than 300 times its size"):
        opened(tmp_path, gzip.compress(b"a\n" + b"1\n" * (4 << 20)), "a.csv.gz", limits=limits)


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson"])
def test_an_endless_line_is_refused(tmp_path: Path, name: str) -> None:
    limits = Limits(record=1 << 20, at_once=1 << 18)
    with pytest.raises(DeliveryRefused, match="a line is longer than 1 MB"):
        opened(tmp_path, b"a,b\n" + b"x" * (3 << 20), name, limits=limits)


@pytest.mark.parametrize(
    ("content", "cut_off"),
    [(b"a,b\n1,2\n3", True), (b'a,b\n1,2\n3,"x', True), (b"a,b\n1,2\n3,4", False), (b"a,b\n1\n", False)],
)
def test_a_last_line_without_end_and_too_few_fields_looks_cut_off(
    tmp_path: Path, content: bytes, cut_off: bool
) -> None:
    assert opened(tmp_path, content, "a.csv").looks_cut_off is cut_off


@pytest.mark.parametrize(
    ("content", "form", "rows", "malformed"),
    [
        (b'Report\n"of\n\na,b\n1,2\n', {"skip": 3}, [(5, ["1", "2"])], []),
        (b"Report\r\nof\r\na,b\r\n1,2\r\n", {"skip": 2}, [(4, ["1", "2"])], []),
        (b"Report", {"skip": 2}, [], []),
        (b"1,2\n3,4\n", {"header": ("a", "b")}, [(1, ["1", "2"]), (2, ["3", "4"])], []),
        (b"x\n1,2\n", {"header": ("a", "b"), "skip": 1}, [(2, ["1", "2"])], []),
        (b"a,b\n1,2\n", {"header": ("a", "b")}, [(2, ["1", "2"])], [(1, "a,b", "the header again")]),
        (b"a,b\n1,2\n3,4\nTotal,6\n\n9,9\n", {"footer": "^Total"}, [(2, ["1", "2"]), (3, ["3", "4"])], []),
        (b"Total,b\r\n1,2\r\nTotal", {"footer": "^Total$"}, [(2, ["1", "2"])], []),
        (b"a,b\nTotal", {"footer": "Total"}, [], []),
        (b"a,b\n1,2\n", {"footer": "Total"}, [(2, ["1", "2"])], []),
        (b"a,b\n\"1,2\n'x,y','z'''\n", {"quote": "'"}, [(2, ['"1', "2"]), (3, ["x,y", "z'"])], []),
        (
            b'a,b\n"1,2\n"3,4",5\n"",x\n',
            {"quote": None},
            [(2, ['"1', "2"]), (4, ['""', "x"])],
            [(3, '"3,4",5', "3 fields instead of 2")],
        ),
        (b'a,b\nNA,-\n"NA",1\n,N\n', {"nulls": ("NA", "-")}, [(2, [None] * 2), (3, [None, "1"]), (4, [None, "N"])], []),
        (b'a,b\nna,"x\ny"\n', {"nulls": ("na", "x\ny")}, [(2, [None, None])], []),
    ],
)
def test_what_is_declared_of_a_file_holds(
    tmp_path: Path, limits: Limits, content: bytes, form: dict[str, Any], rows: list[Row], malformed: list[Malformed]
) -> None:
    assert read(tmp_path, content, delimiter=",", **form, limits=limits) == (rows, malformed)


@pytest.mark.parametrize(
    ("content", "form", "said"),
    [
        (b"a;b\n1;2\n", {}, {"delimiter": ";", "quote": '"', "encoding": "utf-8", "line_ends": "LF"}),
        (b"a,b\r\n1,2\r\n", {"quote": None}, {"quote": "none", "line_ends": "CRLF"}),
        (b"a,b\r1,2\r", {}, {"line_ends": "CR"}),
        (b"a,b\r\n1,2\n", {}, {"line_ends": "mixed"}),
        (b"x\ny\na,b\n1,2\nTotal\n\n3 lines", {"skip": 2, "footer": "Total"}, {"skip": "2", "footer_lines": "3"}),
        ("a,b\n1,2\n".encode("utf-16"), {"encoding": "utf-16"}, {"encoding": "utf-16"}),
    ],
)
def test_how_a_file_is_written_is_said(
    tmp_path: Path, content: bytes, form: dict[str, Any], said: dict[str, str]
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(content)
    dialect = open_reader(copy, "a.csv", Files("*", format=Csv(**form))).dialect
    assert {key: dialect[key] for key in said} == said


@pytest.mark.parametrize("quote", ["", "''", "\n", ",", "«"])
def test_a_quote_is_one_ascii_character_other_than_the_delimiter(quote: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Csv\.quote"):
        Csv(delimiter=",", quote=quote)


def test_lines_after_the_footer_are_checked_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="byte 13 is not utf-8"):
        read(tmp_path, b"a,b\n1,2\nTotal\xff\n", footer="Total")


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b'a,"b"c\n1,2\n', "stray quote"), (b'"a,b\n1,2\n"x', "stray quote"), (b'"' + b"a\n" * (1 << 20), "longer")],
)
def test_a_header_that_cannot_be_taken_apart_refuses_the_delivery(tmp_path: Path, content: bytes, problem: str) -> None:
    with pytest.raises(DeliveryRefused, match=f"the header is .*{problem}") as refused:
        read(tmp_path, b"\n" + content, delimiter=",")
    assert refused.value.line == 2


def test_a_file_that_ends_within_its_header_is_unfinished(tmp_path: Path) -> None:
    with pytest.raises(DeliveryUnfinished, match="ends in the middle of the header"):
        read(tmp_path, b'a,"b', delimiter=",")


def test_five_thousand_columns_are_read(tmp_path: Path) -> None:
    header = ",".join(f"c{at}" for at in range(5000))
    values = [f"{at}" for at in range(5000)]
    assert read(tmp_path, f"{header}\n{','.join(values)}\n".encode()) == ([(2, list(values))], [])


def test_a_column_that_is_not_asked_for_makes_no_difference_to_its_record(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(b"a,b,c\n1,2,3\na,b,c\nx,b,y\n4,5\n")
    reader = open_reader(copy, "a.csv", Files("*"))
    (batch,) = reader.batches({"only": "b"})
    assert batch.frame.rows() == [(2, "2"), (4, "b")]
    assert batch.malformed["rule"].to_list() == ["the header again", "2 fields instead of 3"]


def test_a_record_that_spans_lines_is_bounded_whatever_the_chunks(tmp_path: Path) -> None:
    fits, exceeds = b'"%b\n",1\n' % (b"x" * 94), b'"%b\n",1\n' % (b"x" * 95)
    for size in (10, 90, 150, 8 << 20):
        limits = Limits(at_once=size, over_lines=100)
        rows, malformed = read(tmp_path, b"a,b\n" + fits + exceeds + b"3,4\n", delimiter=",", limits=limits)
        assert [line for line, _ in rows] == [2, 6]
        assert [(line, rule) for line, _, rule in malformed] == [(4, "quote never closed"), (5, "quote never closed")]


def test_a_record_over_more_lines_than_allowed_is_told_the_limit(tmp_path: Path) -> None:
    assert len(read(tmp_path, b'a,b\n"%b",1\n' % (b"x\n" * (1 << 20)))[0]) == 1  # 2 MB in a field
    _, (first, *_) = read(tmp_path, b'a,b\n"%b",1\n' % (b"x\n" * (1 << 19)), limits=Limits(over_lines=1 << 20))
    assert first == (2, '"x', "quote not closed within 1 MB, the most for a record over lines")


ESCAPED: dict[str, tuple[bytes, dict[str, Any], list[Row], list[Malformed]]] = {
    "in quotes": (
        rb"""a,b
"say \"hi\"","\\"
"x\,y","p
\
q"
""",
        {},
        [(2, ['say "hi"', "\\"]), (3, ["x,y", "p\n\nq"])],
        [],
    ),
    "without quotes": (
        b'a,b\nx\\,y,p\\\nq\n\\N,\\\\N\n5" pipe,2\n',
        {"quote": None},
        [(2, ["x,y", "p\nq"]), (4, [None, "\\N"]), (5, ['5" pipe', "2"])],
        [],
    ),
    "NULL beside quoted fields": (b'a,b\n\\N,"x"\n"y",\\N\n', {}, [(2, [None, "x"]), (3, ["y", None])], []),
    "what no writer writes": (
        b'a,b\nC:\\new,1\n"\\t",2\n"\\N",3\n4,\\\\\n',
        {},
        [(5, ["4", "\\"])],
        [(2, "C:\\new,1", "unknown escape"), (3, '"\\t",2', "unknown escape"), (4, '"\\N",3', "unknown escape")],
    ),
    "a quote as the escape of another": (
        b"a,b\n'x\"'y\"\"',2\n",
        {"quote": "'", "escape": '"'},
        [(2, ["x'y\"", "2"])],
        [],
    ),
    "at the very end": (b"a,b\n1,2\n3,4\\", {}, [(2, ["1", "2"])], [(3, "3,4\\", "unknown escape")]),
}


@pytest.mark.parametrize("case", ESCAPED)
def test_escapes_say_what_is_written_or_the_record_is_malformed(tmp_path: Path, limits: Limits, case: str) -> None:
    content, form, rows, malformed = ESCAPED[case]
    assert read(tmp_path, content, delimiter=",", **{"escape": "\\", **form}, limits=limits) == (rows, malformed)


@pytest.mark.parametrize("escape", ["", "\\\\", "\n", ",", '"', "N", "«"])
def test_an_escape_is_one_sign_that_means_nothing_else(escape: str) -> None:
    with pytest.raises(ConfigurationError, match=r"Csv\.escape"):
        Csv(delimiter=",", escape=escape)


NDJSON_CASES: dict[str, tuple[bytes, list[Row], list[Malformed]]] = {
    "scalars are text": (
        b'{"a":1,"b":"x"}\r\n{"a":true,"b":null}\n',
        [(1, ["1", "x"]), (2, ["true", None])],
        [],
    ),
    "numbers keep every digit": (
        b'{"a":12345678901234.5678,"b":1.5}\n{"a":12345678901234567890123,"b":"0.12345678901234567"}\n',
        [(1, ["12345678901234.5678", "1.5"]), (2, ["12345678901234567890123", "0.12345678901234567"])],
        [],
    ),
    "a missing key is NULL": (b'{"a":1}\n{"b":2}\n', [(1, ["1", None]), (2, [None, "2"])], []),
    "nested values are JSON": (b'{"a":{"x":[1,2]},"b":[]}\n', [(1, ['{"x":[1,2]}', "[]"])], []),
    "not JSON": (b'{"a":1,"b":2}\n{"a":1,\n', [(1, ["1", "2"])], [(2, '{"a":1,', "not JSON")]),
    "no object": (
        b'{"a":1,"b":2}\n[1]\n7\n',
        [(1, ["1", "2"])],
        [(2, "[1]", "not a JSON object"), (3, "7", "not a JSON object")],
    ),
    "a key twice": (b'{"a":1,"b":2}\n{"a":1,"a":2}\n', [(1, ["1", "2"])], [(2, '{"a":1,"a":2}', "a key twice")]),
    "blank lines": (b'\n{"a":1,"b":2}\n \t\n', [(2, ["1", "2"])], []),
    "keys of any characters": (
        rb'{"x/y~z":1,"q\"*":2}' + b"\n",
        [(1, ["2", "1"])],
        [],
    ),
    "empty": (b"", [], []),
}


@pytest.mark.parametrize("case", NDJSON_CASES)
def test_ndjson_objects_keep_their_values_and_lines(tmp_path: Path, limits: Limits, case: str) -> None:
    content, rows, malformed = NDJSON_CASES[case]
    assert read(tmp_path, content, "a.ndjson", limits=limits) == (rows, malformed)


@pytest.mark.parametrize(("end", "cut_off"), [(b'{"a":', True), (b'{"a":2}', False), (b'{"a":\n', False)])
def test_ndjson_that_ends_inside_an_object_looks_cut_off(tmp_path: Path, end: bytes, cut_off: bool) -> None:
    assert opened(tmp_path, b'{"a":1}\n' + end, "a.ndjson").looks_cut_off is cut_off


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match=r"format of 'a\.docx' is not known"):
        opened(tmp_path, b"PK", "a.docx")


fields = st.text(st.sampled_from('ab,;"\n\r\t é\u2028\x0b\x85'), max_size=6)
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(fields, min_size=width, max_size=width), min_size=1, max_size=5)
)


@settings(max_examples=examples(150))
@given(
    table=tables, quoting=st.sampled_from([csv.QUOTE_NONE, csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), size=st.integers(1, 60)
)
def test_what_is_written_with_escapes_is_read_to_the_same_fields(
    tmp_path: Path, table: list[list[str]], quoting: Any, size: int
) -> None:
    assume("\r" not in "".join(map("".join, table)))  # which this Python's csv leaves bare
    table = [[field.replace("é", "\\") for field in row] for row in table]
    assume(quoting != csv.QUOTE_NONE or all(any(row) for row in table))
    content = io.StringIO(newline="")
    quote = None if quoting == csv.QUOTE_NONE else '"'
    writer = csv.writer(
        content, quoting=quoting, quotechar=quote, doublequote=False, escapechar="\\", lineterminator="\n"
    )
    writer.writerows([[f"h{at}" for at in range(len(table[0]))], *table])
    limits = Limits(at_once=size)
    rows, malformed = read(
        tmp_path, content.getvalue().encode(), delimiter=",", quote=quote, escape="\\", limits=limits
    )
    assert malformed == []
    assert [fields for _, fields in rows] == [[field or None for field in row] for row in table]


@settings(max_examples=examples(200))
@given(
    table=tables.filter(lambda table: len(table[0]) > 1),
    quoted=st.lists(st.booleans(), min_size=20, max_size=20),
    place=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    instead=st.sampled_from(["", ",,"]),
    size=st.sampled_from([10, 8 << 20]),
)
@example([["a", ",\n"]], [False] * 20, (0, 0), "", 8 << 20)
@example([["a", ",", ",,\n", ""]], [False] * 20, (0, 0), "", 8 << 20)
@example([["a", ',a"\n'], ["", ",\n"]], [False] * 20, (0, 0), "", 8 << 20)
@example([["a", ",,\n", "\n"]], [False] * 20, (0, 0), "", 8 << 20)
@example([["\n,", ",\n", "a"]], [False] * 20, (0, 1), "", 8 << 20)
@example([["", "a", ",", ""], [""] * 4, ["\na", "", "", ""]], [False] * 20, (0, 1), "", 8 << 20)
@example([["a", ",,", ""], ["", "", "\n"]], [False] * 20, (0, 0), "", 8 << 20)
def test_with_a_delimiter_lost_or_too_many_every_row_that_loads_was_written_so(
    tmp_path: Path, table: list[list[str]], quoted: list[bool], place: tuple[int, int], instead: str, size: int
) -> None:
    flags = iter(quoted)

    def written(field: str) -> str:
        plain = not next(flags) and not re.search('[,"\r\n]', field)
        return field if plain else '"' + field.replace('"', '""') + '"'

    content = ",".join(f"h{at}" for at in range(len(table[0]))) + "\n"
    damaged = place[0] % len(table), place[1] % (len(table[0]) - 1)
    for row, values in enumerate(table):
        for at, field in enumerate(values):
            content += written(field)
            content += "\n" if at + 1 == len(values) else instead if (row, at) == damaged else ","
    limits = Limits(at_once=size)
    try:
        rows, _ = read(tmp_path, content.encode(), delimiter=",", limits=limits)
    except (DeliveryRefused, DeliveryUnfinished):
        return
    assert {tuple(fields) for _, fields in rows} <= {tuple(field or None for field in row) for row in table}


@settings(max_examples=examples(150))
@given(
    table=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(fields, min_size=width, max_size=width), min_size=1)
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    size=st.sampled_from([40, 100, 8 << 20]),
)
def test_what_the_csv_module_writes_is_read_to_the_same_fields_and_lines(
    tmp_path: Path, table: list[list[str]], quoting: Any, end: str, delimiter: str, size: int
) -> None:
    # Quoting as little as possible, this Python's csv leaves a CR or LF bare that is not in its own line end.
    assume(quoting != csv.QUOTE_MINIMAL or end == "\r\n" or not re.search("[\r\n]", "".join(map("".join, table))))
    content = io.StringIO(newline="")
    writer = csv.writer(content, quoting=quoting, lineterminator=end, delimiter=delimiter)
    header = [f"h{at}" for at in range(len(table[0]))]
    expected, line = [], 1
    for row in (header, *table):
        expected.append((line, [field or None for field in row]))
        start = content.tell()
        writer.writerow(row)
        line += text.line_ends(content.getvalue()[start:].encode())
    limits = Limits(at_once=size)
    assert read(tmp_path, content.getvalue().encode(), delimiter=delimiter, limits=limits) == (expected[1:], [])


@settings(max_examples=examples(100))
@given(
    content=st.lists(
        st.sampled_from([b"a", b",", b'"', b"\n", b"\r", b"\0", b" ", b"\xc3\xa9", b'"x\ny",1\n', b"1,2\n"])
    )
    .map(b"".join)
    .flatmap(lambda pieces: st.sampled_from([pieces, b"h,i\n" + pieces]))
    | st.binary(max_size=40),
    size=st.sampled_from([12, 8 << 20]),
)
@example(content=b'\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\n\na,b\n1,2\n"', size=12)
def test_of_any_bytes_every_line_is_accounted_for_or_the_delivery_is_refused(
    tmp_path: Path, content: bytes, size: int
) -> None:
    limits = Limits(at_once=size)
    try:
        rows, malformed = read(tmp_path, content, limits=limits)
    except (DeliveryRefused, DeliveryUnfinished):
        return
    if not content.startswith(b"h,i\n"):
        return  # a header of any shape: enough that it reconciles
    lines = content.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    covered: set[int] = set()
    taken = [(line, "".join(field or "" for field in record)) for line, record in rows]
    for line, told in [*taken, *((line, record) for line, record, _ in malformed)]:
        covered |= set(range(line, line + 1 + text.line_ends(told.encode())))
    assert {at for at, line in enumerate(lines, start=1) if line} <= covered | {1}


@settings(max_examples=examples(80))
@given(
    content=st.lists(
        st.sampled_from(
            [b'{"a":1}', b'{"a":', b"[", b"}", b'"x"', b"\n", b"\r", b" ", b"\xc2\xa0", b"NaN", b"1e999", b"\0"]
        )
    ).map(b"".join)
    | st.binary(max_size=30)
)
def test_of_any_bytes_ndjson_accounts_for_every_line_or_refuses(tmp_path: Path, content: bytes) -> None:
    try:
        rows, malformed = read(tmp_path, content, "a.ndjson")
    except (DeliveryRefused, DeliveryUnfinished):
        return
    if rows:
        lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
        assert len(rows) + len(malformed) == len(lines)


pieces = st.sampled_from(
    ["a", "é", ",", ";", "¦", '"', "'", '""', "\n", "\r\n", "\r", "\0", " ", "\ufeff", '"x\ny",1\n', "1,2\n", "h,i\n"]
)


@settings(max_examples=examples(150))
@given(
    content=st.lists(pieces, max_size=30).map("".join),
    delimiter=st.sampled_from([",", ";", "¦", "\t"]),
    quote=st.sampled_from(['"', "'", None]),
    nulls=st.sampled_from([(), ("a", "x\ny")]),
    size=st.sampled_from([12, 8 << 20]),
)
@example(content='\ufeff\ufeff"', delimiter=",", quote='"', nulls=(), size=12)
def test_arrows_parser_reads_nothing_that_the_expression_for_a_record_reads_otherwise(
    tmp_path: Path, content: str, delimiter: str, quote: str | None, nulls: tuple[str, ...], size: int
) -> None:
    def gives_up(*_: Any, **__: Any) -> None:
        raise pa.ArrowInvalid

    with pytest.MonkeyPatch.context() as patch:
        limits = Limits(at_once=size)
        said: dict[str, Any] = {"delimiter": delimiter, "quote": quote, "nulls": nulls, "header": ("h", "i")}
        in_bulk = read(tmp_path, content.encode(), **said, limits=limits)
        patch.setattr("pyarrow.csv.read_csv", gives_up)
        assert read(tmp_path, content.encode(), **said, limits=limits) == in_bulk
