"""What a careless producer sends to use up disk, memory and time: it is quarantined alone, and its neighbours load."""

import gzip
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import FILES, HEADER, SALES, Shop, numbered, sales

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.durable.disk import ANY
from platform_assets.engine.feed.feed import Files, gigabytes, minutes, seconds
from platform_assets.engine.feed.formats import Json, Xml
from platform_assets.engine.load import delivery
from platform_assets.engine.readers import open_reader
from platform_assets.engine.readers.budget import Budget
from platform_assets.engine.readers.excel.grid import Window
from platform_assets.engine.readers.excel.opendocument import _Ods
from platform_assets.engine.readers.xml.stream import _attributes
from platform_assets.engine.sources.file import chunks
from platform_assets.engine.sources.files import FileSource
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished

MB = 1 << 20


def taken(folder: Path) -> int:
    """The bytes that the files below a folder take of the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def copies(shop: Shop) -> list[Path]:
    """The archive's copies."""
    return [path for path in (shop.root / "home" / "archive" / "sales").rglob("*/*") if path.is_file()]


def made_large(shop: Shop, name: str, size: int, begin: str = "") -> Path:
    """Deliver a file of that size of which no more than its beginning was ever written."""
    path = shop.deliver(name, begin)
    os.truncate(path, size)
    return path


# ---- files that are too large


def test_a_file_larger_than_the_feed_takes_is_quarantined_unread_and_counted_once(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=FILES.settle, largest=1000))
    shop.deliver("a.csv", numbered(0, 100))
    shop.deliver("b.csv", sales("S1,1"))
    large, small = shop.ingest().receipts
    assert (large.status, large.fingerprint, large.archived) == ("quarantined", None, None)
    assert large.problem == f"has {large.bytes:,} bytes, more than the 1,000 that the feed takes"
    assert "Files(…, largest=gigabytes(1))" in (large.remedy or "")
    assert small.status == "accepted"
    assert [path.stat().st_size for path in copies(shop)] == [small.bytes]
    assert shop.ingest().receipts == []


def test_it_is_taken_once_the_feed_takes_files_of_its_size(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=FILES.settle, largest=1000))
    shop.load("a.csv", numbered(0, 100))
    shop.declare(source=FILES)
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, receipt.accepted) == ("accepted", 100)
    assert [each.status for each in shop.receipts()] == ["superseded", "accepted"]


def test_a_sparse_file_of_a_terabyte_costs_nothing(shop: Shop) -> None:
    made_large(shop, "a.csv", 1 << 40, sales("S1,1"))
    (receipt,) = shop.ingest().receipts
    assert receipt.problem == "has 1,099,511,627,776 bytes, more than the 10,000,000,000 that the feed takes"
    assert taken(shop.root / "home" / "archive") < MB


def test_no_more_of_a_file_is_copied_than_was_listed_however_fast_it_grows(shop: Shop) -> None:
    path = shop.deliver("a.csv", bytes(3 * MB))
    source = FileSource(FILES, shop.feed, shop.landing)
    (arrival,) = source.pending({})
    copied = 0

    def growing() -> Iterator[bytes]:
        nonlocal copied
        for chunk in chunks(arrival, gigabytes(10), ANY):
            copied += len(chunk)
            with path.open("ab") as file:
                file.write(bytes(4 * MB))
            yield chunk

    archive = Archive(shop.root / "home" / "archive")
    with pytest.raises(DeliveryUnfinished, match="changed while it was being claimed"):
        archive.keep("sales", growing(), ".csv")
    assert copied == 3 * MB
    assert shop.leftovers() == []


@pytest.mark.parametrize("wrong", [{"largest": 0}, {"longest": FILES.settle}])
def test_a_limit_that_lets_nothing_pass_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=f"Files.{next(iter(wrong))}"):
        Files("sales/*.csv", **wrong)


# ---- holes


def test_the_holes_of_a_sparse_file_are_not_filled(shop: Shop) -> None:
    made_large(shop, "a.csv", 100 * MB)
    (receipt,) = shop.ingest().receipts
    assert receipt.status == "quarantined"
    assert "full of NUL bytes from its beginning" in (receipt.problem or "")
    (copy,) = copies(shop)
    assert copy.stat().st_size == 100 * MB
    assert taken(copy.parent) < MB


def test_a_copy_with_holes_holds_what_was_delivered(shop: Shop) -> None:
    content = bytes(MB) + os.urandom(MB // 2) + bytes(3 * MB) + b"\0x" * MB + bytes(MB + 5)
    shop.deliver("a.csv", content)
    source = FileSource(FILES, SALES, shop.landing)
    (arrival,) = source.pending({})
    claim = source.claim(arrival, Archive(shop.root / "home" / "archive"))
    assert claim.fingerprint == hashlib.sha256(content).hexdigest()
    assert claim.copy.read_bytes() == content
    assert taken(claim.copy.parent) < 3 * MB


def test_a_limit_is_part_of_what_judges_a_delivery() -> None:
    assert replace(SALES, source=Files("*.csv")).version() != replace(SALES, source=Files("*.csv", largest=1)).version()


# ---- what decodes to far more than it weighs; how long a delivery is read


def packed(columns: dict[str, Any], times: int = 1) -> bytes:
    """A Parquet file, with the rows so many times."""
    file, table = io.BytesIO(), pa.table(columns)
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(times):
            writer.write_table(table)
    return file.getvalue()


def repeated(value: str, rows: int) -> pa.DictionaryArray:
    """A column in which every row has that value, which is stored once."""
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([value]))


def one_by_one(rows: int) -> pa.Array:
    """A column in which every row has another value."""
    return pl.select("S" + pl.int_range(rows).cast(pl.String)).to_series().to_arrow()


def nested(rows: int) -> pa.StructArray:
    """Structs of which nothing is stored but that there is nothing in them; as JSON each has its names."""
    names = [f"a_name_that_goes_on_and_on_for_a_good_while_{n:03}" for n in range(300)]
    return pa.StructArray.from_arrays([pa.nulls(rows, pa.int8()) for _ in names], names=names)


def _ingest(root: str) -> None:
    Shop(Path(root), UNTYPED).ingest()


def peak_of(shop: Shop) -> int:
    """The most memory, in bytes, that a process had which took in what lies there: this much for itself, and more."""
    code = (
        "import sys, re; sys.path[:0] = sys.argv[2:]; from faults.test_resources import _ingest; _ingest(sys.argv[1]);"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-c", code, str(shop.root), str(tests), str(tests.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) * 1024


class Untyped(Contract):
    """Text."""

    sku: str = Field(nullable=True)
    note: str = Field(nullable=True)


UNTYPED = replace(SALES, contract=Untyped, event_time=None, on_drift="rescue")


def untyped(shop: Shop) -> Shop:
    shop.feed = UNTYPED
    shop.deployment.prepare()
    return shop


@pytest.mark.slow
@pytest.mark.parametrize(
    ("attack", "said"),
    [
        (lambda: {"sku": one_by_one(5_000), "note": repeated("x" * 30_000, 5_000)}, "column note is the widest"),
        (lambda: {"sku": one_by_one(5_000), "note": nested(5_000)}, "more than 300 times its size"),
        (lambda: {"sku": one_by_one(5_000), "note": pa.array([["x" * 30_000]] * 5_000)}, "more than 2048 MB of memory"),
        (
            lambda: {"sku": one_by_one(5_000), "note": one_by_one(5_000), "more": nested(5_000)},
            "more than 300 times its size",
        ),
    ],
    ids=["repeated text", "nested nothing", "lists", "beside what is asked for"],
)
def test_what_decodes_to_gigabytes_is_quarantined_in_little_memory(
    shop: Shop, attack: Callable[[], dict[str, Any]], said: str
) -> None:
    content = packed(attack(), times=20)
    assert len(content) < 4 * MB
    untyped(shop).deliver("a.parquet", content)
    shop.deliver("b.csv", "sku,note\nS1,\n")
    assert peak_of(shop) < 1_200 * MB
    bomb, sound = shop.receipts()
    assert bomb.status == "quarantined"
    assert said in (bomb.problem or "")
    assert (sound.status, sound.accepted) == ("accepted", 1)


@pytest.mark.slow
def test_names_that_each_row_repeats_are_not_all_made_at_once(shop: Shop) -> None:
    names = [f"a_name_that_goes_on_and_on_for_a_good_while_{n:04}" for n in range(1500)]
    header = ",".join(("sku", "note", *names))
    untyped(shop).deliver("a.csv", header + "\n" + "".join(f"S{n}{',' * 1501}\n" for n in range(8_000)))
    # 600 MB of names: all at once, they would be more than DuckDB may have.
    assert peak_of(shop) < 1_500 * MB
    (receipt,) = shop.receipts()
    assert receipt.accepted == 8_000


@pytest.mark.slow
def test_a_list_beside_a_large_value_is_not_multiplied_by_it(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.ndjson", settle=FILES.settle, format=Json(unnest="lines")))
    rows = ",".join('{"sku":"S1"}' for _ in range(100_000))
    receipt = shop.load("a.ndjson", f'{{"email":"{"x" * 1_000_000}","lines":[{rows}]}}\n')
    assert receipt.problem == "decodes to more than 1024 MB; column email is the widest"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", numbered(0, 10)),
        ("a.csv", HEADER + "\n" + 'S1,"1\n' * 1000),
        ("a.csv.gz", gzip.compress(numbered(0, 10).encode())),
        ("a.ndjson", '{"sku":"S1"}\n'),
    ],
)
def test_a_delivery_that_takes_too_long_is_quarantined_alone_with_the_remedy(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, content: str | bytes
) -> None:
    monkeypatch.setattr(Budget, "_used", lambda budget: 1e9 if budget._seconds == 61 else 0)
    shop.declare(source=Files("sales/*", settle=FILES.settle, longest=minutes(1) + seconds(1)))
    shop.deliver(name, content)
    (slow,) = shop.ingest().receipts
    assert slow.problem == "takes longer than 61 s to read"
    assert "Files(…, longest=minutes(8))" in (slow.remedy or "")


def test_deliveries_that_are_slow_to_read_do_not_hold_the_writer_together(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_LONGEST_S", 0)
    for number in range(3):
        shop.deliver(f"{number}.csv", sales(f"S{number},1"))
    outcome = shop.ingest()
    assert (len({receipt.came_with for receipt in outcome.receipts}), outcome.unfinished) == (3, {})
    assert shop.skus() == ["S0", "S1", "S2"]
    assert shop.reconciles()


def test_time_that_rows_wait_to_be_stored_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sku\nS1\n")
    reader = open_reader(tmp_path / "a.csv", "a.csv", Files("*", longest=seconds(0.5)))
    time.sleep(0.6)
    (batch,) = reader.batches({"sku": "sku"})
    assert batch.frame.height == 1


def test_many_quotes_that_are_never_closed_cost_no_more_than_so_many_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,v\n" + b'1,"a\n' * 60_000)
    reader = open_reader(tmp_path / "a.csv", "a.csv", Files("*"))
    begun = time.process_time()
    read = sum(batch.frame.height + batch.malformed.height for batch in reader.batches({"id": "id"}))
    assert read == 60_000
    assert time.process_time() - begun < 10


def test_json_whose_keys_come_in_every_order_is_read_in_one_go(tmp_path: Path) -> None:
    orders = itertools.islice(itertools.permutations("abcdefgh"), 3_000)
    lines = [json.dumps(dict.fromkeys(order, 1)) for order in orders]
    (tmp_path / "a.ndjson").write_text("\n".join(lines * 2))
    begun = time.process_time()
    reader = open_reader(tmp_path / "a.ndjson", "a.ndjson", Files("*"))
    assert sum(batch.frame.height for batch in reader.batches({"a": "a"})) == 6_000
    assert time.process_time() - begun < 20


def test_a_cell_that_a_spreadsheet_repeats_a_million_times_is_not_noted_a_million_times(tmp_path: Path) -> None:
    seen = _Ods("S", Window())
    seen.start("table:table", {"table:name": "S"})
    seen.start("table:table-row", {"table:number-rows-repeated": "1000000"})
    cell = {"table:number-columns-repeated": "2", "office:value": "0.12345678901234567890"}
    seen.start("table:table-cell", {**cell, "office:value-type": "float"})
    with pytest.raises(DeliveryRefused, match="more than 1000000 cells"):
        seen.end("table:table-cell")


def test_a_record_of_millions_of_values_is_malformed_and_its_neighbours_load(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text('{"a":[' + "[]," * 1_100_000 + "[]]}" + '\n{"a":1}\n')
    reader = open_reader(tmp_path / "a.ndjson", "a.ndjson", Files("*"))
    (batch,) = reader.batches({"a": "a"})
    assert batch.frame["a"].to_list() == ["1"]
    assert batch.malformed["rule"].to_list() == ["more than 2,000,000 values"]


@pytest.mark.slow
def test_a_record_of_millions_of_elements_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<r><row>" + "<a/>" * 2_100_000 + "</row></r>")
    with pytest.raises(DeliveryRefused, match="a record of more than 2,000,000 elements"):
        open_reader(tmp_path / "a.xml", "a.xml", Files("*", format=Xml(records="r/row")))


def test_elements_that_each_have_fields_of_their_own_do_not_multiply(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<r><row>" + "".join(f"<l><f{n}/></l>" for n in range(5_000)) + "</row></r>")
    with pytest.raises(DeliveryRefused, match="l occurs 5000 times in a record, with 5000 different fields"):
        open_reader(tmp_path / "a.xml", "a.xml", Files("*", format=Xml(records="r/row")), ["l/f1"])


def test_an_element_of_very_many_attributes_is_taken_apart_in_one_go() -> None:
    begun = time.process_time()
    assert len(_attributes({f"a{n}": "1" for n in range(30_000)})) == 30_000
    assert time.process_time() - begun < 2
