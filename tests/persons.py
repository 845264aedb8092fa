"""People who are in no other file: what is delivered of them, wherever a delivery has room, and finding them again.

Belongs here: deliveries, and searching files, databases and texts for these people. Elsewhere: feeds
(persons_feeds.py).
"""

import base64
import gzip
import io
import json
import sqlite3
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter

MAIL: Final = "zebedee@quillfeather.example"
PERSON: Final = "Zebedee Quillfeather"
PHONE: Final = "4915209876543"
CANARIES: Final = ("quillfeather", "zebedee", "15209876543")
HEADER: Final = "number,amount,email,born"


def csv(*lines: str, header: str = HEADER) -> bytes:
    """A delivery of text."""
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def workbook(**sheets: list[list[Any]]) -> bytes:
    content = io.BytesIO()
    with xlsxwriter.Workbook(content) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for at, row in enumerate(rows):
                sheet.write_row(at, 0, row)
    return content.getvalue()


def packed(**members: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def parquet(columns: dict[str, Any], names: list[str] | None = None) -> bytes:
    content = io.BytesIO()
    table = pa.table(columns)
    pq.write_table(table if names is None else table.rename_columns(names), content)
    return content.getvalue()


def ndjson(*records: Any) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in records).encode()


_SOUND: Final = f"A1,1,{MAIL},1980"
_NESTED: Final = {"number": "A1", "amount": 1, "customer": {"email": MAIL, "phone": PHONE, PERSON: MAIL}}
_XML: Final = f'<person number="A1"><amount>1</amount><customer><email>{MAIL}</email></customer></person>'
_SHEET: Final[list[list[Any]]] = [HEADER.split(","), ["A1", 1, MAIL, "1980"], ["A2", 1, PERSON, PHONE]]
_COLUMNS: Final = {"number": ["A1"], "amount": [1], "email": [MAIL], "born": ["1980"]}

DELIVERIES: Final[dict[str, bytes]] = {
    # Cells: taken, rejected, copied, malformed, and with undeclared columns beside them.
    "fail/sound.csv": csv(_SOUND, "A2,2,,"),
    "fail/rejected.csv": csv(f"A3,1,{PERSON},{PHONE}", f"no,-1,x,{MAIL}", f"A4,many,{MAIL},{MAIL}"),
    "fail/copies.csv": csv(_SOUND, _SOUND, f"A5,1,{PERSON},", f"A5,1,{PERSON},"),
    "fail/malformed.csv": csv(_SOUND, f'A6,1,"{PERSON}" x,', f"A7,1,{MAIL},1980,{PERSON}", f'A8,1,"{MAIL}'),
    "fail/undeclared.csv": csv(f"{_SOUND},{PHONE}", header=f"{HEADER},{MAIL}"),
    "fail/headerless.csv": csv(f"A2,1,{MAIL},1980", header=f"A1,1,{MAIL},{PERSON}"),
    "fail/twice.csv": csv(f"{_SOUND},1", header=f"{HEADER},{PERSON},{PERSON}"),
    "fail/twins.csv": csv(_SOUND, header="number,amount,email,EMAIL"),
    "fail/nameless.csv": csv(f"{_SOUND},1", header=f"{HEADER},,{PERSON}"),
    "fail/preamble.csv": csv(HEADER, _SOUND, header=f"People of {PERSON}\n{MAIL}"),
    "fail/stray.csv": csv(_SOUND, header=f'number,amount,"email" {PERSON},born'),
    "fail/open.csv": csv(_SOUND, header=f'number,amount,"{PERSON},born'),
    "fail/taken.csv": csv(_SOUND, header=f"{HEADER},_line"),
    "fail/renamed.csv": csv(_SOUND, header="number,amount,e-mial,born"),
    "fail/one_renamed.csv": csv(_SOUND, header=f"number,amount,{PERSON},born"),
    "fail/other.txt": f"{PERSON} wrote to {MAIL}\n".encode() * 3,
    "fail/bytes.csv": csv(_SOUND) + b"A2,1,\xff\xfe" + MAIL.encode() + b",\n",
    "fail/as.parquet": csv(_SOUND),
    "fail/as.xlsx": csv(_SOUND),
    "fail/as.json": csv(_SOUND),
    "fail/other.pdf": b"%PDF-1.4 " + MAIL.encode(),
    "fail/packed.csv.gz": gzip.compress(csv(_SOUND, header=f"{HEADER},{PERSON}")),
    "fail/cut.csv.gz": gzip.compress(csv(_SOUND * 9))[:-9],
    "fail/trailing.csv.gz": gzip.compress(csv(_SOUND)) + PERSON.encode(),
    "fail/sheets.xlsx": workbook(**{PERSON: _SHEET, "quillfeather": _SHEET}),
    "fail/named.xlsx": workbook(**{PERSON: _SHEET}),
    "fail/columns.xlsx": workbook(People=[[*_SHEET[0], PERSON], [*_SHEET[1], MAIL]]),
    "fail/members.zip": packed(**{f"{PERSON}.csv": csv(_SOUND), f"{MAIL}.csv": csv(f"A9,1,{PERSON},")}),
    "fail/differ.zip": packed(**{f"{PERSON}.csv": csv(_SOUND), "b.csv": csv(_SOUND, header=f"{HEADER},{MAIL}")}),
    "fail/kinds.zip": packed(**{f"{PERSON}.csv": csv(_SOUND), f"{MAIL}.ndjson": ndjson({"a": 1})}),
    "fail/leaves.zip": packed(**{f"../{PERSON}.csv": csv(_SOUND)}),
    "fail/broken.zip": packed(**{f"{PERSON}.csv": csv(_SOUND, header=f"{MAIL},{PERSON}")}),
    "fail/columns.parquet": parquet({**_COLUMNS, MAIL: [PERSON]}),
    "fail/twice.parquet": parquet({**_COLUMNS, "a": [1], "b": [2]}, [*HEADER.split(","), PERSON, PERSON]),
    "fail/types.parquet": parquet({**_COLUMNS, "born": pa.array([{PERSON: 1}])}),
    "fail/damaged.parquet": parquet(_COLUMNS).replace(MAIL.encode(), b"\0" * len(MAIL)),
    "add/undeclared.csv": csv(f"{_SOUND},{PHONE}", f"A2,1,{PERSON},,{MAIL}", header=f"{HEADER},{PERSON}"),
    "add/headerless.csv": csv(f"A2,1,{MAIL},1980", header=f"A1,1,{MAIL},{PERSON}"),
    "add/wide.parquet": parquet({**_COLUMNS, MAIL: [float("nan")], PERSON: [{"a": float("nan")}]}),
    "rescue/undeclared.csv": csv(f"{_SOUND},{PHONE}", f"A2,1,{PERSON},,{MAIL}", header=f"{HEADER},{PERSON}"),
    "strict/rejected.csv": csv(f"A3,1,{PERSON},{PHONE}", f"no,-1,x,{MAIL}"),
    "beyond/rejected.csv": csv(f"A3,1,{PERSON},{PHONE}"),
    "keyed/one.csv": csv(_SOUND),
    "keyed/two.csv": csv(f"A2,2,{MAIL},1981", f"A3,1,{PERSON},"),
    "announced/one.csv": csv(_SOUND),
    "announced/one.csv.done": f"{PERSON} {PHONE} {MAIL}\n".encode(),
    "announced/two.csv": csv(_SOUND, "A2,1,,"),
    "announced/two.csv.done": f"{'f' * 64}  {PERSON}\n".encode(),
    "semicolon/commas.csv": csv(_SOUND),
    "semicolon/other.csv": csv(f"{MAIL};1", header=f"{PERSON};{MAIL}"),
    "nested/keyed.ndjson": ndjson({MAIL: {"number": "A1"}}, {PERSON: _NESTED}),
    "nested/siblings.ndjson": ndjson(_NESTED, _NESTED | {"amount": "x"}, _NESTED | {MAIL: 1, "amount": -1}),
    "nested/broken.ndjson": ndjson(_NESTED) + f'{{"number": "A2", "amount": {MAIL}}}\n"{PERSON}"\n'.encode(),
    "nested/none.ndjson": ndjson(PERSON, MAIL),
    "nested_rescue/siblings.ndjson": ndjson(_NESTED, _NESTED | {"amount": "x"}, _NESTED | {MAIL: 1, "amount": -1}),
    "document/keyed.json": json.dumps({MAIL: [_NESTED], PERSON: 1}).encode(),
    "document/inner.json": json.dumps({"data": {MAIL: [_NESTED]}}).encode(),
    "document/elsewhere.json": json.dumps({"quillfeather": {"zebedee": [_NESTED, _NESTED]}}).encode(),
    "document/neither.json": json.dumps({"data": {"people": MAIL}}).encode(),
    "document/broken.json": b'{"data": {"people": [{"customer": "' + PERSON.encode() + b'"}, {"' + MAIL.encode(),
    "unnested/no_list.ndjson": ndjson(_NESTED | {"orders": MAIL}, _NESTED | {"orders": [{PERSON: MAIL}]}),
    "elements/one.xml": f"<export>{_XML}<person number='no'><amount>x</amount></person></export>".encode(),
    "elements/named.xml": f"<export><person number='A2' zebedee='1'><quillfeather>{MAIL}</quillfeather>"
    "<amount>x</amount></person></export>".encode(),
    "elements/root.xml": b"<quillfeather><zebedee/></quillfeather>",
    "elements/encoding.xml": b"<?xml version='1.0' encoding='quillfeather'?><export/>",
    "elements/broken.xml": f"<export>{_XML}<person number='{PERSON}'></quillfeather>".encode(),
    "elements/entity.xml": f"<export>{_XML}<person>&quillfeather;</person></export>".encode(),
    "elements_fail/named.xml": f"<export><person number='A2' zebedee='1'><quillfeather>{MAIL}</quillfeather>"
    "<amount>1</amount></person></export>".encode(),
    "any_xml/people.xml": f"<zebedee><quillfeather>{_XML * 3}</quillfeather></zebedee>".encode(),
    "any_xml/some.xml": b"<zebedee>" + b"<quillfeather><a>1</a></quillfeather>" * 3 + b"</zebedee>",
    "sheet/other.xlsx": workbook(**{PERSON: _SHEET, "quillfeather": _SHEET}),
    "sheet/people.xlsx": workbook(People=_SHEET, **{PERSON: _SHEET}),
    "sheet/error.xlsx": workbook(People=[[*_SHEET[0], PERSON], ["A1", 1, MAIL, "1980", "=1/0"]]),
}  # fmt: skip


def deliver(landing: Path, only: str = "") -> None:
    """Put them into the landing folder, those of one feed or all; sidecars last."""
    for name, content in sorted(DELIVERIES.items(), key=lambda each: each[0].endswith(".done")):
        if name.startswith(only):
            path = landing / "persons" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


# ---- finding them again


def named_in(text: str | bytes) -> set[str]:
    """The canaries in a text, however it is written down."""
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    lower = content.lower()
    found = set()
    for canary in CANARIES:
        plain = canary.encode()
        coded = {plain, canary.encode("utf-16-le"), plain.hex().encode()}
        if any(each in lower for each in coded) or any(each in content for each in _base64(canary)):
            found.add(canary)
    return found


def _base64(canary: str) -> Iterator[bytes]:
    """What of the canary, as it is spelled in data, is in base64 at each of the three places where it may begin."""
    for spelled in {canary, canary.capitalize()}:
        for before in range(3):
            coded = base64.b64encode(b"\0" * before + spelled.encode())
            yield coded[4 if before else 0 : -4]


def leaks(root: Path, allowed: Iterable[str]) -> dict[str, set[str]]:
    """Files below `root`, but those whose path begins with one of `allowed`, and which people are found in each."""
    found: dict[str, set[str]] = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or path.is_symlink() or name.startswith(tuple(allowed)):
            continue
        if seen := named_in(path.read_bytes()) | named_in(name):
            found[name] = seen
        for where, cell in _cells(path):
            if seen := named_in(cell):
                found[f"{name}: {where}: {cell[:300]!r}"] = seen
    return found


def _cells(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """The cells of an SQLite database, unpacked where they are packed, and those of a Parquet file."""
    if path.suffix == ".parquet":
        with closing(duckdb.connect()) as connection:
            for row in connection.execute("SELECT * FROM read_parquet($1)", [str(path)]).fetchall():
                yield from (("rows", str(cell)) for cell in row if cell is not None)
        return
    if path.read_bytes()[:15] != b"SQLite format 3":
        return
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                for cell in row:
                    if isinstance(cell, str | bytes):
                        yield table, cell if isinstance(cell, str) else _unpacked(cell)


def _unpacked(cell: bytes) -> bytes:
    try:
        return zlib.decompress(cell)
    except zlib.error:
        return cell


def leaked_by_ledger(warehouse: Path) -> list[str]:
    """Rows of the warehouse in which people are found, but of raw, quarantine and what models select."""
    found = []
    with closing(duckdb.connect(str(warehouse))) as connection:
        tables = connection.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name NOT IN ('raw', 'quarantine')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()
            found += [f"{schema}.{table}: {row!r}" for row in rows if named_in(repr(row))]
    return found
