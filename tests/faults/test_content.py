"""Content that is broken or meant to hurt: whole deliveries or single rows are named, neighbours stay unharmed."""

import gzip
import io
import resource
from pathlib import Path
from typing import Any

import pytest
from shop import FILES, HEADER, Shop, child, ended, ingest_in_child, numbered, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.store.sql import quote

MOST_RSS_MB = 500


def _ingest_and_measure(root: Path, patience_s: float) -> None:
    source = FILES.read_from(*FILES.patterns, patience=seconds(patience_s))
    ingest_in_child(root, None, [("source", source)])
    (root / "peak_mb").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


def measured(shop: Shop) -> tuple[str, str, int]:
    """Ingest in a process of its own: status and problem of the one delivery, and the peak memory in MB."""
    assert ended(child(_ingest_and_measure, shop.root, 0.0), within_s=200) == 0
    (receipt,) = shop.receipts()
    return receipt.status, receipt.problem or "", int((shop.root / "peak_mb").read_text())


@pytest.mark.parametrize(("name", "before"), [("a.csv", b""), ("a.csv", b'S1,1,,,\nS2,2,,,"'), ("a.ndjson", b"")])
def test_an_endless_line_is_refused_in_bounded_memory(tmp_path: Path, name: str, before: bytes) -> None:
    shop = Shop(tmp_path)
    path = shop.deliver(name, HEADER.encode() + b"\n" + before if name == "a.csv" else b'{"sku": "')
    with path.open("ab") as file:
        for _ in range(300):
            file.write(b"x" * (1 << 20))
    status, problem, peak_mb = measured(shop)
    assert status == "quarantined"
    assert "longer than" in problem
    assert peak_mb < MOST_RSS_MB


def bomb(rows: int) -> bytes:
    """A gzip of the header and `rows` equal lines."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        file.write(f"{HEADER}\n".encode())
        block = b"S1,1,,,\n" * 100_000
        for _ in range(rows // 100_000):
            file.write(block)
    return packed.getvalue()


def test_a_decompression_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    path = shop.deliver("a.csv.gz", bomb(50_000_000))
    assert path.stat().st_size < 2 << 20
    status, problem, peak_mb = measured(shop)
    assert (status, "times its size" in problem) == ("quarantined", True)
    assert peak_mb < MOST_RSS_MB
    assert sum(file.stat().st_size for file in (tmp_path / "home").rglob("*") if file.is_file()) < 64 << 20


@pytest.mark.parametrize(("most_columns", "status"), [(2_000, "quarantined"), (6_000, "accepted")])
def test_five_thousand_columns_load_or_are_over_the_declared_cap(shop: Shop, most_columns: int, status: str) -> None:
    shop.declare(on_drift="rescue", most_columns=most_columns)
    extra = ",".join(f"c{n}" for n in range(4_995))
    line = ",".join(["S1", "1", "", "", ""] + ["x"] * 4_995)
    receipt = shop.load("a.csv", f"{HEADER},{extra}\n{line}\n")
    assert receipt.status == status
    if status == "quarantined":
        assert receipt.problem == "5000 columns, more than the 2000 that the feed allows"
    else:
        assert shop.rows("sku, json_extract_string(_extra, '$.c4994')") == [("S1", "x")]


def with_new_columns(names: list[str]) -> str:
    """A delivery of one line, with these undeclared columns."""
    return sales("S1,1" + "," * 3 + ",x" * len(names), header=",".join([HEADER, *names]))


def test_undeclared_columns_add_up_over_all_deliveries_to_a_cap_and_take_little_memory(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    for file in range(6):
        shop.deliver(f"{file}.csv", with_new_columns([f"c{file}_{n}" for n in range(1_990 if file < 2 else 90)]))
    shop.deliver("z.csv", numbered(7, 3))
    assert ended(child(_add_and_measure, tmp_path), within_s=60) == 0
    assert [(receipt.slot[6:], receipt.status) for receipt in shop.receipts()] == [
        ("0.csv", "quarantined"),
        ("1.csv", "quarantined"),
        ("2.csv", "accepted"),
        ("3.csv", "accepted"),
        ("4.csv", "quarantined"),
        ("5.csv", "quarantined"),
        ("z.csv", "accepted"),
    ]
    last = shop.receipts()[-2]
    assert (
        last.problem == "90 new undeclared columns beside the 180 that raw has, more than the 200 that the feed allows"
    )
    assert int((tmp_path / "peak_mb").read_text()) < MOST_RSS_MB
    shop.declare(on_drift="add")
    assert shop.load("known.csv", with_new_columns(["C2_1", "c3_2 "])).status == "accepted"  # nothing new
    shop.declare(most_undeclared=400)
    assert [receipt.status for receipt in shop.ingest().receipts] == ["quarantined"] * 2 + ["accepted"] * 2


def _add_and_measure(root: Path) -> None:
    ingest_in_child(root, None, [("on_drift", "add")])
    (root / "peak_mb").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10))


def test_columns_of_a_delivery_that_turns_out_to_be_refused_do_not_count(shop: Shop) -> None:
    shop.declare(on_drift="add", most_undeclared=100, source=Files("sales/*.csv", settle=seconds(0), sidecar=".done"))
    for name, rows in (("a.csv", "5"), ("b.csv", "1")):
        shop.deliver(name, with_new_columns([f"{name[0]}{n}" for n in range(90)]))
        shop.deliver(f"{name}.done", rows)
    assert [receipt.status for receipt in shop.ingest().receipts] == ["quarantined", "accepted"]


@pytest.mark.parametrize("policy", ["add", "rescue"])
def test_a_very_long_column_name_is_refused_for_what_it_is(shop: Shop, policy: str) -> None:
    shop.declare(on_drift=policy)
    receipt = shop.load("a.csv", with_new_columns(["\u00e9" * 128]))
    assert receipt.problem == "an undeclared column whose name is 256 bytes long, more than 255"
    assert shop.load("b.csv", with_new_columns(["\u00e9" * 127])).status == "accepted"


@pytest.mark.parametrize("policy", ["add", "rescue"])
def test_ten_thousand_columns_are_refused_for_their_number(shop: Shop, policy: str) -> None:
    shop.declare(on_drift=policy)
    receipt = shop.load("a.csv", with_new_columns([f"c{n}" for n in range(10_000)]))
    assert receipt.problem == "10005 columns, more than the 2000 that the feed allows"


class Anything(Contract):
    """Any text. Grain: line."""

    sku: str = Field()


HOSTILE = ["'; DROP TABLE raw.sales; --", '"; DROP TABLE raw.sales; --', "$1", "{sku}", "%s", "\\", "x'||1"]


def test_sql_in_added_columns_and_in_values_is_text(shop: Shop) -> None:
    shop.declare(on_drift="add", contract=Anything, event_time=None)
    for number, text in enumerate(HOSTILE):
        quoted = '"' + text.replace('"', '""') + '"'
        shop.deliver(f"{number}.csv", f"sku,{quoted}\n{quoted},{quoted}\n")
    assert {receipt.status for receipt in shop.ingest().receipts} == {"accepted"}
    for text in HOSTILE:
        assert shop.query(f"SELECT sku, {quote(text)} FROM raw.sales WHERE sku = ?", [text]) == [(text, text)]
    assert len(shop.skus()) == len(HOSTILE)


# What a shop's till may write in a field, and whether the row is sound (FAULTS 33, 37-41, 57).
VALUES: dict[str, tuple[str, bool]] = {
    "NUL byte": ("S2\0,1,,,", False),
    "too few fields": ("S2,1,", False),
    "too many fields": ("S2,1,,,,", False),
    "stray quote": ('"S2"x,1,,,', False),
    "quote never closed": ('"S2,1,,,', False),
    "newline in quotes": ('S2,1,,,"a@\nb"', True),
    "1e999": ("S2,1,1e999,,", False),
    "NaN": ("S2,1,NaN,,", False),
    "Infinity": ("S2,Infinity,,,", False),
    "Arabic-Indic digits": ("S2,\u0661\u0662,,,", False),
    "decimal comma": ('S2,1,"1,50",,', False),
    "thousands separator": ('S2,"1,000",,,', False),
    "padded number": ("S2, 1,,,", False),
    "float for an integer": ("S2,17850.0,,,", False),
    "zero date": ("S2,1,,0000-00-00T00:00:00Z,", False),
    "other date": ("S2,1,,01/02/2024,", False),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_only_the_broken_row_is_rejected(shop: Shop, end: str) -> None:
    for fault, (line, _) in VALUES.items():
        head, first, *others = sales(f"S1,1,,,{fault}@", "S3,3", "S4,4").splitlines()
        shop.deliver(f"{fault}.csv", "".join(text + end for text in (head, first, line, *others)))
    told = {receipt.slot[6:-4]: receipt for receipt in shop.ingest().receipts}
    assert {fault: (r.status, r.read, r.accepted, r.rejected) for fault, r in told.items()} == {
        fault: ("accepted", 4, 3 + sound, 1 - sound) for fault, (_, sound) in VALUES.items()
    }
    ids = {fault: receipt.delivery_id for fault, receipt in told.items()}
    for fault, (_, sound) in VALUES.items():
        loaded = shop.query("SELECT sku FROM raw.sales WHERE _delivery_id = ? ORDER BY 1", [ids[fault]])
        assert loaded == [(sku,) for sku in ("S1", "S2", "S3", "S4") if sound or sku != "S2"]
    named = shop.query(
        "SELECT _delivery_id, _line, len(reasons) > 0, record IS NOT NULL FROM quarantine.sales ORDER BY 1"
    )
    assert named == sorted((ids[fault], 3, True, True) for fault, (_, sound) in VALUES.items() if not sound)
    assert shop.reconciles()


def test_line_ends_of_every_kind_in_one_file_load(shop: Shop) -> None:
    text = sales("S1,1", "S2,2", "S3,3").split("\n")
    receipt = shop.load("a.csv", text[0] + "\r\n" + text[1] + "\r" + text[2] + "\n" + text[3] + "\r\n")
    assert (receipt.accepted, shop.skus()) == (3, ["S1", "S2", "S3"])


@pytest.mark.parametrize(
    ("content", "declared", "outcome"),
    [
        (sales("S1,1").encode("utf-8-sig"), None, "accepted"),
        (sales("S\u00e91,1").encode("latin-1"), None, "quarantined"),
        (sales("S1,1").encode("utf-16"), "utf-16", "accepted"),
        (sales("S1,1,,,\u00e9@").encode("latin-1"), "latin-1", "accepted"),
    ],
    ids=["byte-order mark", "Latin-1 undeclared", "UTF-16", "Latin-1"],
)
def test_encodings_are_declared_or_the_byte_is_named(
    shop: Shop, content: bytes, declared: str | None, outcome: str
) -> None:
    shop.declare(source=Files("sales/*.csv", settle=seconds(0), format=Csv(encoding=declared) if declared else None))
    receipt = shop.load("a.csv", content)
    assert receipt.status == outcome
    if outcome == "quarantined":
        assert f"byte {content.index(0xE9)}" in (receipt.problem or "")
    else:
        assert len(shop.skus()) == 1


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda packed: packed[: len(packed) // 2], "ends before its content does"),
        (lambda packed: packed[:-8] + bytes(4) + packed[-4:], "damaged"),
        (lambda packed: packed[:200] + bytes([packed[200] ^ 64]) + packed[201:], ""),
    ],
    ids=["cut off", "wrong checksum", "flipped bit"],
)
def test_a_damaged_gzip_is_quarantined_before_any_row(shop: Shop, damage: Any, problem: str) -> None:
    shop.deliver("b.csv", sales("S1,1"))
    shop.deliver("a.csv.gz", damage(gzip.compress(numbered(0, 5000).encode())))
    shop.clock.ahead = FILES.patience  # nobody waits for the rest any longer
    told = {receipt.slot: receipt for receipt in shop.ingest().receipts}
    assert {slot: receipt.status for slot, receipt in told.items()} == {
        "sales/a.csv.gz": "quarantined",
        "sales/b.csv": "accepted",
    }
    assert problem in (told["sales/a.csv.gz"].problem or "")
    assert shop.skus() == ["S1"]


def test_redelivered_renamed_and_touched_bytes_bring_no_row(shop: Shop) -> None:
    text = numbered(0, 20)
    shop.load("a.csv", text)
    for number in range(30):
        shop.deliver(f"again-{number}.csv", text)
    assert {receipt.status for receipt in shop.ingest().receipts} == {"duplicate"}
    assert len(shop.skus()) == 20


REPORT = f"Sales report\n\n{HEADER}\nS1,1,,,\nS2,2,,,\nTotal: 2,3,,,\n"


def test_a_preamble_or_a_second_table_is_declared_or_named(shop: Shop) -> None:
    undeclared = shop.load("a.csv", REPORT)
    assert (undeclared.status, shop.skus()) == ("quarantined", [])
    assert undeclared.remedy
    shop.declare(source=Files("sales/*.csv", settle=seconds(0), format=Csv(skip=2, footer="^Total")))
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, shop.skus()) == ("accepted", ["S1", "S2"])
    second = "name,city,street,zip,country\nAnn,Bath,High St,1,UK\n"
    receipt = shop.load("b.csv", REPORT.partition("Total")[0] + second)
    assert (receipt.read, receipt.accepted, receipt.rejected) == (4, 2, 2)  # no row of the other table gets in
