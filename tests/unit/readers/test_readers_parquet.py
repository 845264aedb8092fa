"""Parquet deliveries: values keep their types where the contract's fit, and damage is noticed."""

import base64
import io
import json
import random
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest
from shop import Shop

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.contract.validate import validate
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Parquet
from platform_assets.engine.readers import open_reader
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.magic import kind_of
from platform_assets.engine.readers.parquet import reader as parquet_reader
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
    verdict = validate(batch.frame, Typed)
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


def test_rows_are_read_in_batches_with_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(WHOLE)
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"), limits=Limits(batch=20_000))
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


def test_wide_rows_come_in_smaller_batches(tmp_path: Path) -> None:
    table = pa.table({"a": [f"{at:0500d}" for at in range(3000)]})
    (tmp_path / "copy").write_bytes(parquet(table, use_dictionary=False))
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"), limits=Limits(batch=64 << 10))
    frames = [batch.frame for batch in reader.batches({"a": "a"})]
    assert max(frame.height for frame in frames) <= 140
    assert pl.concat(frames)["a"].to_list() == table["a"].to_pylist()


def raw(folder: Path, content: bytes, **asked: Any) -> tuple[list[Any], list[tuple[int, str, str]]]:
    """The sound rows of a file and the malformed ones, reconciled."""
    copy = folder / "copy"
    copy.write_bytes(content)
    reader = open_reader(copy, "a.parquet", Files("**"), **asked)
    batches = list(reader.batches({name: name for name in reader.header}))
    rows = [row for batch in batches for row in batch.frame.rows()]
    malformed = [row for batch in batches for row in batch.malformed.rows()]
    reader.reconcile(len(rows) + len(malformed))
    return rows, malformed


def encrypted(*, plaintext_footer: bool) -> bytes:
    content = io.BytesIO()

    class Keys(pe.KmsClient):  # type: ignore[misc]
        def wrap_key(self, key_bytes: bytes, _: str) -> bytes:
            return base64.b64encode(key_bytes)

    factory = pe.CryptoFactory(lambda _: Keys())
    how = pe.EncryptionConfiguration("footer", column_keys={"k": ["b"]}, plaintext_footer=plaintext_footer)
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), how)
    table = pa.table({"a": [1], "b": [2]})
    with pq.ParquetWriter(content, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    return content.getvalue()


@pytest.mark.parametrize("plaintext_footer", [True, False])
def test_an_encrypted_file_is_refused_as_one(tmp_path: Path, plaintext_footer: bool) -> None:
    with pytest.raises(DeliveryRefused, match="is encrypted"):
        raw(tmp_path, encrypted(plaintext_footer=plaintext_footer))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([b"\xff\xfe"]),
        pa.array([b"\xff"], pa.binary(1)),
        pa.array([[b"\xff"]]),
        pa.array([{"x": [b"\xff"]}]),
        pa.array([[("k", b"\xff")]], pa.map_(pa.string(), pa.binary())),
    ],
    ids=["binary", "fixed", "list", "struct", "map"],
)
def test_bytes_are_refused_by_the_name_of_their_column(tmp_path: Path, values: pa.Array) -> None:
    with pytest.raises(DeliveryRefused, match="column 'pic' holds bytes that are no UTF-8 text") as refused:
        raw(tmp_path, parquet(pa.table({"pic": values})))
    assert refused.value.column == "pic"


def as_variant(content: bytes) -> bytes:
    """The file with its group "v" of two columns annotated as VARIANT in the footer, which pyarrow cannot write."""
    before, name, after = content.rpartition(b"\x18\x01v\x15\x04")
    assert name, "the group's name and how many columns it has, as Thrift spells them"
    length = int.from_bytes(after[-8:-4], "little") + 5
    return before + name + b"\x5c\x0c\x20\x00\x00" + after[:-8] + length.to_bytes(4, "little") + b"PAR1"


def test_a_variant_is_refused_and_never_read_as_its_encoded_bytes(tmp_path: Path) -> None:
    v = pa.array([{"metadata": b"\x01\x00\x00", "value": b"\x0c\x22"}])
    table = pa.table({"id": [7], "v": v})
    content = as_variant(parquet(table, store_schema=False))
    assert "(Variant" in str(pq.ParquetFile(io.BytesIO(content)).schema)
    with pytest.raises(DeliveryRefused, match="column 'v' holds VARIANT, which cannot be read") as refused:
        raw(tmp_path, content)
    assert refused.value.column == "v"
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"))
    assert [batch.frame.rows() for batch in reader.batches({"id": "id"})] == [[(1, 7)]]


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (pa.array([[1.5], [NAN], None, [2.0, float("-inf")], []]), ["[1.5]", None, "[]"]),
        (pa.array([{"x": NAN}, {"x": 1.0}, None]), ['{"x":1.0}', None]),
        (pa.array([[{"x": 1.0}, {"x": NAN}], [{"x": 2.0}]]), ['[{"x":2.0}]']),
        (pa.array([[("k", NAN)], [("k", 2.0)]], pa.map_(pa.string(), pa.float64())), ['{"k":2.0}']),
        (pa.array([[NAN], [0.5]], pa.list_(pa.float32(), 1)), ["[0.5]"]),
    ],
    ids=["list", "struct", "list of structs", "map", "fixed list"],
)
def test_what_json_has_no_words_for_rejects_its_row(tmp_path: Path, values: pa.Array, kept: list[Any]) -> None:
    rows, malformed = raw(tmp_path, parquet(pa.table({"v": values})))
    assert [value for _, value in rows] == kept
    assert len(rows) + len(malformed) == len(values)
    assert {rule for *_, rule in malformed} == {"v holds NaN or infinity, which JSON has no words for"}
    assert all("NaN" in record or "Infinity" in record for _, record, _ in malformed)


def uuids(*ids: UUID | None) -> pa.Array:
    return pa.ExtensionArray.from_storage(pa.uuid(), pa.array([one and one.bytes for one in ids], pa.binary(16)))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (pa.array([[(7, "a")]], pa.map_(pa.int64(), pa.string())), '{"7":"a"}'),
        (pa.array([[(date(2026, 1, 31), 1)]], pa.map_(pa.date32(), pa.int64())), '{"2026-01-31":1}'),
        (pa.array([[Decimal("1.50")]], pa.list_(pa.decimal256(60, 2))), '["1.50"]'),
        (pa.array([{"d": Decimal("2.50")}], pa.struct({"d": pa.decimal128(5, 2)})), '{"d":"2.50"}'),
        (pa.array([[time(1, 2, 3, 4)]]), '["01:02:03.000004"]'),
        (pa.array([[["x"], None]]), '[["x"],null]'),
        (pa.ListArray.from_arrays([0, 1], uuids(UUID(int=1))), f'["{UUID(int=1)}"]'),
    ],
)
def test_nested_values_of_every_kind_are_json(tmp_path: Path, values: pa.Array, said: str) -> None:
    assert raw(tmp_path, parquet(pa.table({"v": values}))) == ([(1, said)], [])


def test_identifiers_of_sixteen_bytes_are_text(tmp_path: Path) -> None:
    ids = [UUID(int=5 << 90 | at) for at in range(9)]
    rows, _ = raw(tmp_path, parquet(pa.table({"id": uuids(None, *ids)})))
    assert [text for _, text in rows] == [None, *map(str, ids)]


def test_numbers_of_256_bits_that_fit_load_and_others_reject_their_row(tmp_path: Path) -> None:
    wide = pa.array([Decimal("1.50"), None, Decimal(10) ** 40, Decimal("-0.01")], pa.decimal256(60, 2))
    rows, malformed = raw(tmp_path, parquet(pa.table({"n": wide})))
    assert rows == [(1, Decimal("1.50")), (2, None), (4, Decimal("-0.01"))]
    assert malformed == [(3, f'{{"n": "{10**40}.00"}}', "n holds a number of more than 38 digits")]
    assert judged(tmp_path, "money", pa.array([Decimal("1.50")], pa.decimal256(60, 2))) == [Decimal("1.50")]


def test_times_of_96_bits_are_exact_or_reject_their_row(tmp_path: Path) -> None:
    moments = [datetime(1, 1, 1), datetime(1677, 1, 1), datetime(2026, 1, 31, 1, 2, 3, 4), None, datetime(9999, 12, 31)]  # noqa: DTZ001
    times = pa.array(moments, pa.timestamp("us"))
    content = parquet(pa.table({"t": times}), use_deprecated_int96_timestamps=True)
    assert raw(tmp_path, content) == ([(at, moment) for at, moment in enumerate(moments, 1)], [])
    finer = pa.array([1_000, 1_001, -1], pa.timestamp("ns"))
    rows, malformed = raw(tmp_path, parquet(pa.table({"t": finer}), use_deprecated_int96_timestamps=True))
    assert rows == [(1, datetime(1970, 1, 1, 0, 0, 0, 1))]  # noqa: DTZ001
    assert [(line, rule) for line, _, rule in malformed] == [
        (2, "t holds a time finer than a microsecond"),
        (3, "t holds a time finer than a microsecond"),
    ]
    assert "1970-01-01 00:00:00.000001001" in malformed[0][1]


def repeated(rows: int, text: str) -> bytes:
    values = pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text]))
    return parquet(pa.table({"s": values}), row_group_size=rows)


def test_rows_that_hardly_take_room_are_bounded(tmp_path: Path) -> None:
    nothing = pa.nulls(20_000_000, pa.bool_())
    with pytest.raises(DeliveryRefused, match="more than 300 times its size"):
        raw(tmp_path, parquet(pa.table({f"c{at}": nothing for at in range(30)})))
    (tmp_path / "copy").write_bytes(repeated(3000, "x" * 4000))
    reader = open_reader(tmp_path / "copy", "a.parquet", Files("*"), limits=Limits(batch=1 << 20))
    frames = [batch.frame for batch in reader.batches({"s": "s"})]
    assert max(frame.height for frame in frames) <= 262
    assert sum(frame.height for frame in frames) == 3000


def test_a_row_larger_than_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="a row holds 70 MB"):
        raw(tmp_path, parquet(pa.table({"s": ["x" * (70 << 20)]})))


def test_thousands_of_columns_take_seconds(tmp_path: Path) -> None:
    begun = process_time()
    rows, _ = raw(tmp_path, parquet(pa.table({f"c{at}": [at] for at in range(4000)})))
    assert rows == [(1, *range(4000))]
    assert process_time() - begun < 15  # where it is quadratic, it takes far more


def test_too_many_columns_and_equal_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeliveryRefused, match="10001 columns, more than 10000"):
        raw(tmp_path, parquet(pa.table({f"c{at}": [1] for at in range(10_001)})))
    with pytest.raises(DeliveryRefused, match="2 columns are called 'a'"):
        raw(tmp_path, parquet(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])))


HEADERS = [[name, [name]] for name in ROWS.column_names]
SURVEYED = f"print({json.dumps(json.dumps({'rows': 1, 'header': HEADERS}))}, flush=True)\n"


@pytest.mark.parametrize("after", ["", SURVEYED], ids=["at once", "after the survey"])
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "its parser ended by SIGABRT"),
        ("while True: pass", "takes longer than 1 s to read"),
        ("b = bytearray(300 << 20); import time; time.sleep(60)", "its parser took more than 100 MB"),
        ("raise SystemExit(3)", "its parser ended with status 3"),
    ],
)
def test_whatever_the_parser_does_the_delivery_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, code: str, said: str
) -> None:
    program = tmp_path / "parser.py"
    program.write_text(after + code)
    monkeypatch.setattr(parquet_reader, "_PARSER", program)
    (tmp_path / "copy").write_bytes(WHOLE)
    limits = Limits(parser_memory=100 << 20)
    files = Files("*", longest=seconds(1 if "longer" in said else 30))
    with pytest.raises(DeliveryRefused, match=said):
        list(open_reader(tmp_path / "copy", "a.parquet", files, limits=limits).batches({"q": "quantity"}))


@pytest.mark.parametrize("after", ["", SURVEYED], ids=["at once", "after the survey"])
def test_whatever_the_parser_does_its_delivery_alone_is_quarantined(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    program = shop.root / "parser.py"
    program.write_text(f"{after}import os; os.abort()")
    monkeypatch.setattr(parquet_reader, "_PARSER", program)
    shop.deliver("a.parquet", WHOLE)
    shop.deliver("b.csv", "sku,quantity,price,sold_at,email\nS1,1,,,\n")
    stopped, sound = shop.ingest().receipts
    assert stopped.status == "quarantined"
    assert "its parser ended by SIGABRT" in str(stopped.problem)
    assert sound.accepted == 1


def test_a_panic_of_polars_quarantines_its_delivery_alone(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    def panics(*_: object) -> None:
        pl.Series(pa.array([Decimal(1)], pa.decimal256(60, 0)))

    monkeypatch.setattr(parquet_reader, "_series", panics)
    shop.deliver("a.parquet", WHOLE)
    shop.deliver("b.csv", "sku,quantity,price,sold_at,email\nS1,1,,,\n")
    panicked, sound = shop.ingest().receipts
    assert (panicked.status, sound.accepted) == ("quarantined", 1)
    assert "Int256" in str(panicked.problem)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"sku,quantity\nS1,1\n", None),
        (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml" + bytes(99) + b"xl/", "an Excel workbook (.xlsx)"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "a spreadsheet (.ods)"),
        (b"PK\x03\x04" + bytes(26) + b"a.csv", "a zip archive (.zip)"),
        (b"\x1f\x8b\x08", "a gzip file (.gz)"),
        (b"PAR1", "a Parquet file (.parquet)"),
    ],
)
def test_a_file_is_known_by_its_first_bytes(head: bytes, what: str | None) -> None:
    assert str(kind_of(head)) == str(what)


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
