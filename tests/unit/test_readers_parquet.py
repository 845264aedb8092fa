"""Parquet deliveries: values keep their types where the contract's fit, and damage is noticed."""

import io
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shop import Shop

from platform_assets.engine.contract import Contract, Field
from platform_assets.engine.feed import Files, seconds
from platform_assets.engine.formats import Parquet
from platform_assets.engine.readers import open_reader
from platform_assets.engine.validate import judge
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished


class Typed(Contract):
    """One column of every kind."""

    text: str = Field(nullable=True)
    whole: int = Field(nullable=True)
    money: Decimal = Field(nullable=True, digits=(9, 2))
    ratio: float = Field(nullable=True)
    at: datetime = Field(nullable=True, timezone="Europe/London")
    on: date = Field(nullable=True)
    yes: bool = Field(nullable=True)


def parquet(table: pa.Table, **options: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, **options)
    return content.getvalue()


def judged(tmp_path: Path, column: str, values: pa.Array) -> list[Any]:
    """The column's values as accepted; "rejected" for the others."""
    nothing = {name: pa.nulls(len(values)) for name in Typed.__kinds__}
    copy = tmp_path / "copy"
    copy.write_bytes(parquet(pa.table({**nothing, column: values})))
    reader = open_reader(copy, "a.parquet", Files("*"))
    (batch,) = reader.batches({name: name for name in reader.header})
    verdict = judge(batch.frame, Typed)
    kept = dict(zip(verdict.accepted["_line"], verdict.accepted[column], strict=True))
    return [kept.get(line, "rejected") for line in range(1, len(values) + 1)]


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "delivered", "accepted"),
    [
        ("text", pa.array(["x", None]), ["x", None]),
        ("text", pa.array([7, None]), ["7", None]),
        ("text", pa.array(["x", "y"]).dictionary_encode(), ["x", "y"]),
        ("text", pa.array([1.5]), ["rejected"]),
        ("whole", pa.array([1, None], pa.int8()), [1, None]),
        ("whole", pa.array([1, 2**63], pa.uint64()), [1, "rejected"]),
        ("whole", pa.array([1.0, 1.5]), [1, "rejected"]),
        ("whole", pa.array(["7", " 7"]), [7, "rejected"]),
        ("money", pa.array([Decimal("1.50"), Decimal("1.55")]), [Decimal("1.50"), Decimal("1.55")]),
        ("money", pa.array([Decimal("1.500"), Decimal("1.555")]), [Decimal("1.50"), "rejected"]),
        ("money", pa.array([3, 10**9]), [Decimal("3.00"), "rejected"]),
        ("money", pa.array([1.5, 1.555]), [Decimal("1.50"), "rejected"]),
        ("ratio", pa.array([1.5, float("nan"), float("inf")]), [1.5, "rejected", "rejected"]),
        ("ratio", pa.array([1.5, float("nan"), float("-inf")], pa.float32()), [1.5, "rejected", "rejected"]),
        ("ratio", pa.array([2**53, 2**53 + 1]), [2.0**53, "rejected"]),
        ("at", pa.array([NOON], pa.timestamp("ms", "America/New_York")), [NOON]),
        ("at", pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us")), [NOON - timedelta(hours=1)]),
        ("at", pa.array([datetime(2026, 3, 29, 1, 30), datetime(2026, 10, 25, 1, 30)]), ["rejected"] * 2),  # noqa: DTZ001
        ("at", pa.array([1000, 1001], pa.timestamp("ns", "UTC")), [datetime(1970, 1, 1, 0, 0, 0, 1, UTC), "rejected"]),
        ("at", pa.array([date(2026, 6, 1)]), ["rejected"]),
        ("on", pa.array([date(2026, 6, 1), None]), [date(2026, 6, 1), None]),
        ("on", pa.array([NOON]), ["rejected"]),
        ("yes", pa.array([True, None]), [True, None]),
        ("yes", pa.array([1]), ["rejected"]),
    ],
)
def test_only_casts_that_cannot_change_a_value_are_made(
    tmp_path: Path, column: str, delivered: pa.Array, accepted: list[Any]
) -> None:
    assert judged(tmp_path, column, delivered) == accepted


NOTHING = {name: pa.nulls(3000, pa.string()) for name in ("price", "sold_at", "email")}
ROWS = pa.table({"sku": [f"S{n}" for n in range(3000)], "quantity": list(range(3000)), **NOTHING})
WHOLE = parquet(ROWS, compression="none", use_dictionary=False)


def test_rows_are_read_in_batches_with_their_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.engine.readers.parquet._BATCH", 20_000)
    (tmp_path / "copy").write_bytes(WHOLE)
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"))
    frames = [batch.frame for batch in reader.batches({"q": "quantity"})]
    rows = pl.concat(frames)
    assert len(frames) > 1
    assert rows["_line"].to_list() == list(range(1, 3001))
    assert rows["q"].to_list() == list(range(3000))
    reader.reconcile(3000)
    with pytest.raises(DeliveryRefused, match="3000 records were delivered but 2999 understood"):
        reader.reconcile(2999)


@pytest.mark.parametrize("kept", [5, 100, -4, -1])
def test_parquet_without_its_footer_is_unfinished(tmp_path: Path, kept: int) -> None:
    (tmp_path / "copy").write_bytes(WHOLE[:kept])
    with pytest.raises(DeliveryUnfinished, match="ends before its footer"):
        open_reader(tmp_path / "copy", "a.parquet", Files("*"))


def read(tmp_path: Path, table: pa.Table, slot: str = "a.parquet", form: Parquet | None = None, **asked: Any) -> Any:
    """The header and the rows, reconciled."""
    copy = tmp_path / "copy"
    copy.write_bytes(parquet(table))
    reader = open_reader(copy, slot, Files("**", format=form), **asked)
    frames = [batch.frame for batch in reader.batches({name: name for name in reader.header})]
    rows = pl.concat(frames)
    reader.reconcile(rows.height)
    return reader.header, rows.drop("_line").rows()


SOLD = pa.table({"sku": ["A", "B"]})


@pytest.mark.parametrize(
    ("slot", "values"),
    [
        ("sales/day=2026-06-01/shop=7/a.parquet", ("2026-06-01", "7")),
        ("day=1%2F6/x/shop=S%C3%A3o%20Paulo/a.parquet", ("1/6", "São Paulo")),
        ("day=__HIVE_DEFAULT_PARTITION__/shop=/a.parquet", (None, "")),
        ("day=a=b/shop=07/other=1/a.parquet", ("a=b", "07")),
    ],
)
def test_declared_folders_become_text_columns(tmp_path: Path, slot: str, values: tuple[str | None, ...]) -> None:
    header, rows = read(tmp_path, SOLD, slot, Parquet(partitions=("day", "shop")))
    assert header == ("sku", "day", "shop")
    assert rows == [("A", *values), ("B", *values)]


def test_undeclared_folder_names_mean_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, SOLD, "day=2026-06-01/a.parquet") == (("sku",), [("A",), ("B",)])


@pytest.mark.parametrize(
    ("slot", "said"),
    [
        ("a.parquet", "lies in no folder day="),
        ("sku=1/a.parquet", "lies in no folder day="),
        ("day=1/day=2/a.parquet", "lies in 2 folders day="),
        ("x/day=1.parquet", "lies in no folder day="),
    ],
)
def test_a_file_outside_its_folder_is_refused(tmp_path: Path, slot: str, said: str) -> None:
    with pytest.raises(DeliveryRefused, match=said):
        read(tmp_path, SOLD, slot, Parquet(partitions=("day",)))


def test_a_column_both_in_the_file_and_in_the_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="'SKU' is in the file as well"):
        read(tmp_path, SOLD, "SKU=A/a.parquet", Parquet(partitions=("SKU",)))


def test_partitioned_deliveries_load_by_their_folders(shop: Shop) -> None:
    source = Files("sales/**/*.parquet", settle=seconds(0), format=Parquet(partitions=("quantity",)))
    shop.declare(source=source)
    rows = pa.table({"sku": ["S1", "S2"], **{name: pa.nulls(2, pa.string()) for name in ("price", "sold_at", "email")}})
    shop.deliver("quantity=3/a.parquet", parquet(rows))
    shop.deliver("quantity=x/a.parquet", parquet(rows.slice(1)))
    shop.ingest()
    assert shop.rows() == [("S1", 3), ("S2", 3)]
    assert shop.reconciles()


NESTED = pa.table(
    {
        "customer": pa.array(
            [{"name": "Bo", "at": {"city": "Ulm", "zip": "1"}}, {"name": None, "at": None}, None],
            pa.struct({"name": pa.string(), "at": pa.struct({"city": pa.string(), "zip": pa.string()})}),
        ),
        "tags": pa.array([["a", 'b"'], [], None], pa.list_(pa.string())),
        "x.y": pa.array([1, 2, 3]),
    }
)


def test_nested_columns_are_json_text(tmp_path: Path) -> None:
    header, rows = read(tmp_path, NESTED)
    assert header == ("customer", "tags", "x.y")
    assert rows[0] == ('{"name":"Bo","at":{"city":"Ulm","zip":"1"}}', '["a","b\\""]', 1)
    assert rows[1:] == [('{"name":null,"at":null}', "[]", 2), (None, None, 3)]


def test_a_path_that_the_contract_asks_for_is_a_column_beside_all_others(tmp_path: Path) -> None:
    header, rows = read(tmp_path, NESTED, wanted=["Customer.at.City", "x.y"])
    assert header == ("customer.name", "customer.at.city", "customer.at.zip", "tags", "x.y")
    assert [row[:3] for row in rows] == [("Bo", "Ulm", "1"), (None, None, None), (None, None, None)]


@pytest.mark.parametrize("rows", [5, 20_000], ids=["plain", "repeated"])
@pytest.mark.parametrize(
    "column",
    [
        lambda text: text,
        lambda text: pa.StructArray.from_arrays([text], ["inner"]),
        lambda text: pa.ListArray.from_arrays(list(range(len(text) + 1)), text),
    ],
    ids=["text", "struct", "list"],
)
def test_text_that_is_not_utf8_is_refused_however_it_is_stored(tmp_path: Path, column: Any, rows: int) -> None:
    binary = pa.array([b"good", b"\xff\xfe", None, b"x", b"y"] * (rows // 5))
    sizes = binary.buffers()
    text = pa.Array.from_buffers(pa.string(), len(binary), sizes)
    with pytest.raises(DeliveryRefused, match=r"(?i)utf-?8"):
        read(tmp_path, pa.table({"text": column(text)}))
    with pytest.raises(DeliveryRefused, match=r"(?i)utf-?8"):
        read(tmp_path, pa.table({"bytes": binary}))


def test_text_written_as_bytes_is_text(tmp_path: Path) -> None:
    for kind in (pa.binary(), pa.large_binary(), pa.large_string(), pa.string()):
        assert read(tmp_path, pa.table({"a": pa.array([b"x", None, "é".encode()], kind)}))[1] == [
            ("x",),
            (None,),
            ("é",),
        ]


@pytest.mark.parametrize("fallback", [True, False], ids=["dictionary given up", "dictionary kept"])
def test_repeated_text_is_read_as_it_was_written(tmp_path: Path, fallback: bool) -> None:
    texts = [None if at % 11 == 0 else f"text {at % 977}" for at in range(50_000)]
    options = {"dictionary_pagesize_limit": 500} if fallback else {}
    (tmp_path / "copy").write_bytes(parquet(pa.table({"a": texts}), row_group_size=20_000, **options))
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"))
    assert pl.concat([batch.frame for batch in reader.batches({"a": "a"})])["a"].to_list() == texts


def test_wide_rows_come_in_smaller_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform_assets.engine.readers.parquet._BATCH", 64 << 10)
    table = pa.table({"a": [f"{at:0500d}" for at in range(3000)]})
    (tmp_path / "copy").write_bytes(parquet(table, use_dictionary=False))
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"))
    frames = [batch.frame for batch in reader.batches({"a": "a"})]
    assert max(frame.height for frame in frames) <= 140
    assert pl.concat(frames)["a"].to_list() == table["a"].to_pylist()


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(b"sku,quantity\nS1,1\n")
    with pytest.raises(DeliveryRefused, match="no Parquet by its content"):
        open_reader(tmp_path / "copy", "a.parquet", Files("*"))


def test_text_that_is_not_utf8_quarantines_the_delivery_and_lets_others_load(shop: Shop) -> None:
    at = WHOLE.index(b"S77")
    shop.deliver("a.parquet", WHOLE[:at] + b"\xff\xfe\xfd" + WHOLE[at + 3 :])
    shop.deliver("b.csv", "sku,quantity,price,sold_at,email\nS1,1,,,\n")
    damaged, sound = shop.ingest().receipts
    assert (damaged.status, damaged.read) == ("quarantined", 0)
    assert "column 'sku' holds bytes that are no UTF-8 text" in str(damaged.problem)
    assert sound.accepted == 1


def test_a_page_whose_checksum_is_wrong_quarantines_the_delivery(shop: Shop) -> None:
    content = bytearray(parquet(ROWS, compression="none", use_dictionary=False, write_page_checksum=True))
    content[content.index(b"S77") + 1] = ord("8")  # a sound row of something else
    receipt = shop.load("a.parquet", bytes(content))
    assert (receipt.status, receipt.accepted) == ("quarantined", 0)
    assert "damaged Parquet" in str(receipt.problem)


def test_the_same_delivery_undamaged_loads_whole(shop: Shop) -> None:
    assert shop.load("a.parquet", WHOLE).accepted == 3000


def test_flipped_bits_never_stop_the_feed(shop: Shop) -> None:
    bits = random.Random(5)
    for number in range(12):
        damaged = bytearray(WHOLE)
        for _ in range(4):
            damaged[bits.randrange(4, len(damaged) - 8)] ^= 1 << bits.randrange(8)
        shop.deliver(f"{number}.parquet", bytes(damaged))
    shop.ingest()
    assert len(shop.receipts()) == 12
    assert shop.reconciles()
