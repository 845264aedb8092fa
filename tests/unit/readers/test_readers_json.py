"""JSON deliveries: lines, arrays, documents and lists as rows; every value as written, every record accounted for."""

import gzip
import json
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import examples
from shop import SALES, Shop

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.feed.formats import Json
from platform_assets.engine.readers import Reader, open_reader, text
from platform_assets.engine.readers.json import fields
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished

Fields = dict[str, str | None]
Rows = list[tuple[int, Fields]]
Malformed = list[tuple[int, str, str]]


def opened(folder: Path, content: bytes, name: str, wanted: Sequence[str] = (), **form: Any) -> Reader:
    copy = folder / "copy"
    copy.write_bytes(content)
    return open_reader(copy, name, Files("*", format=Json(**form) if form else None), wanted)


def read(
    folder: Path, content: bytes, name: str = "a.json", wanted: Sequence[str] = (), **form: Any
) -> tuple[Rows, Malformed]:
    """(line, fields) of the sound records and (line, record, rule) of the others, reconciled."""
    return records(opened(folder, content, name, wanted, **form))


def records(reader: Reader) -> tuple[Rows, Malformed]:
    rows: Rows = []
    malformed: Malformed = []
    for batch in reader.batches({name: name for name in reader.header}):
        for row in batch.frame.iter_rows(named=True):
            rows.append((row.pop("_line"), row))
        malformed += batch.malformed.select("_line", "record", "rule").rows()
    reader.reconcile(len(rows) + len(malformed))
    return sorted(rows, key=lambda row: row[0]), sorted(malformed)


def lines(*texts: str) -> bytes:
    return "".join(f"{each}\n" for each in texts).encode()


@pytest.fixture(params=[7, 64, 8 << 20], ids=["tiny chunks", "small chunks", "real chunks"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries cross the borders of chunks, wherever these fall."""
    monkeypatch.setattr(text, "CHUNK", request.param)


# Values as they are written -> as they are read.
VALUES: Final = {
    "1.10": "1.10",
    "-0": "-0",
    "1e999": "1e999",
    "12345678901234567890123": "12345678901234567890123",
    "9" * 5000: "9" * 5000,
    "true": "true",
    "null": None,
    '""': "",
    '"null"': "null",
    '" 1 "': " 1 ",
    r'"a\"b\\n\n\u00e9\ud83d\ude00\/"': 'a"b\\n\n\u00e9\U0001f600/',
    '"\u2028\x7f\u00e9"': "\u2028\x7f\u00e9",
    '{"x": [1.10, {"y": null}]}': '{"x": [1.10, {"y": null}]}',
    "[ ]": "[ ]",
    r'["\u00e9", "]"]': r'["\u00e9", "]"]',
}


@pytest.mark.parametrize("alone", [True, False], ids=["first of its kind", "among many"])
@pytest.mark.parametrize("written", VALUES)
def test_values_are_read_exactly_as_they_are_written(tmp_path: Path, written: str, alone: bool) -> None:
    before = [] if alone else ['{"a":"x","b":1}', f'{{"a":{written},"b":1}}'] * 60
    rows, malformed = read(tmp_path, lines(*before, f'{{"a":{written},"b":1}}'), "a.ndjson")
    assert malformed == []
    assert rows[-1] == (len(before) + 1, {"a": VALUES[written], "b": "1"})


BROKEN: Final = {
    '{"a":1,"b":}': "not JSON",
    '{"a":1,}': "not JSON",
    '{"a":01,"b":1}': "not JSON",
    '{"a":+1,"b":1}': "not JSON",
    '{"a":NaN,"b":1}': "not JSON",
    '{"a":-Infinity,"b":1}': "not JSON",
    "{'a':1}": "not JSON",
    '{"a":"tab\there","b":1}': "not JSON",
    r'{"a":"\x41","b":1}': "not JSON",
    r'{"a":"\u00g1","b":1}': "not JSON",
    r'{"a":"\ud800","b":1}': "half of a surrogate pair, which is no character",
    r'{"a\ud800":1}': "half of a surrogate pair, which is no character",
    '{"a":[1,],"b":1}': "not JSON",
    '{"a":1,"b":1}{"a":1}': "not JSON",
    '{"a":1,"b":1} x': "not JSON",
    '{"a":' + "[" * 100_000 + "}": "nested too deep",
    '"text': "not JSON",
    "[1]": "not a JSON object",
    "null": "not a JSON object",
    '{"a":1,"a":1}': "a key twice",
    r'{"a":1,"\u0061":1}': "a key twice",
    '{"a":1,"a":1': "not JSON",
}


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "among many"])
@pytest.mark.parametrize("record", BROKEN)
def test_only_the_broken_line_is_malformed(tmp_path: Path, record: str, alone: bool) -> None:
    around = ['{"a":1,"b":"x"}'] * (1 if alone else 60)
    rows, malformed = read(tmp_path, lines(*around, record, *around), "a.ndjson")
    assert malformed == [(len(around) + 1, record, BROKEN[record])]
    assert [line for line, _ in rows] == [at for at in range(1, 2 * len(around) + 2) if at != len(around) + 1]


def test_every_key_of_the_file_is_in_the_header(tmp_path: Path) -> None:
    content = lines(*['{"a":1,"b":2}'] * 5000, '{"a":1,"b":2,"late":3}', *['{"b":1,"a":2}'] * 5000)
    reader = opened(tmp_path, content, "a.ndjson")
    rows, _ = records(reader)
    assert reader.header == ("a", "b", "late")
    assert rows[5000] == (5001, {"a": "1", "b": "2", "late": "3"})
    assert rows[5001] == (5002, {"a": "2", "b": "1", "late": None})


def plain(record: str) -> Fields | None:
    """What a flat record says, as the standard library has it; None if it is no object of different keys."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            raise ValueError
        return dict(pairs)

    def refuse(name: str) -> None:
        raise ValueError

    try:
        said = json.loads(record, parse_int=str, parse_float=str, parse_constant=refuse, object_pairs_hook=members)
        pl.Series([*said, *(value for value in said.values() if isinstance(value, str))])
    except (ValueError, AttributeError):
        return None
    return {key: json.dumps(value) if isinstance(value, bool) else value for key, value in said.items()}


PIECES: Final = r"""
{ } " , : "a" "b" "c" "a": "b":1 "c":"x" 1.10 - e5 null true \ \" \\ \n \u00e9 \ud83d . 0 ,"b": "a":" ":"
"""
pieces = st.sampled_from([*PIECES.split(), *" \u00e9\x0b\t"])
scalars = st.sampled_from(["1.10", "1e999", "null", "true", '"x"', '"a,\\"b\\":1"', r'"\u00e9\n"', '"\u2028"', '"{"'])
records_of_keys = st.lists(st.tuples(st.sampled_from("abcd"), scalars), max_size=4).map(
    lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
)


@settings(max_examples=examples(200))
@given(
    st.lists(records_of_keys, min_size=1, max_size=4),
    st.lists(st.lists(pieces, max_size=9).map("".join) | records_of_keys, max_size=30),
    st.data(),
)
@example(['{"a":1,"b":"x"}'], ['{"a":1,"b":"x\\"}', '{"a":1,"b":"\\ud83d"}'], None)
def test_what_is_taken_apart_many_at_once_is_what_each_says_alone(
    tmp_path_factory: pytest.TempPathFactory, usual: list[str], odd: list[str], data: Any
) -> None:
    several = usual * 40
    for record in odd:
        several.insert(data.draw(st.integers(0, len(several))) if data else len(several), record)
    several = [record for record in several if record.strip()]
    parser = fields.RecordParser(())
    block = pl.DataFrame(
        {"_line": range(len(several)), "text": several}, schema={"_line": pl.Int64(), "text": pl.String()}
    )
    found: dict[int, Fields | None] = {}
    for parsed in parser.parse(block, escapes=True):
        found.update({line: None for line, *_ in parsed.malformed.iter_rows()})
        for row in parsed.frame.iter_rows(named=True):
            line = row.pop("_line")
            found[line] = {key: value for key, value in row.items() if value is not None}
    said = [plain(record) for record in several]
    for at, each in enumerate(said):
        expected = None if each is None else {key: value for key, value in each.items() if value is not None}
        assert found[at] == expected, several[at]
    assert set(parser.columns) == {key for each in said if each for key in each}


DOCUMENTS: Final = {
    "compact": b'[{"a":1.10},{"a":"x"}]',
    "an element a line": b'[\n{"a":1.10},\n{"a":"x"}\n]\n',
    "comma first": b'[ {"a":1.10}\r\n,{"a":"x"} ]',
    "pretty": b'[\n  {\n    "a": 1.10\n  },\n  {\n    "a": "x"\n  }\n]\n',
    "BOM": b'\xef\xbb\xbf[{"a":1.10},{"a":"x"}]',
    "objects one after another": b'{\n"a": 1.10\n}\n{\n"a": "x"\n}\n',
    "an object a line": b'{"a":1.10}\n{"a":"x"}\n',
}
LINES: Final = {"an element a line": (2, 3), "comma first": (1, 2), "pretty": (2, 5)} | {
    "objects one after another": (1, 4),
    "an object a line": (1, 2),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_a_document_is_read_however_it_is_laid_out(
    tmp_path: Path, case: str, chunk: None, request: pytest.FixtureRequest
) -> None:
    if case in ("BOM", "an object a line") and "tiny" in request.node.callspec.id:
        pytest.skip("a first block holds the first lines")
    first, second = LINES.get(case, (1, 2))
    assert read(tmp_path, DOCUMENTS[case]) == ([(first, {"a": "1.10"}), (second, {"a": "x"})], [])


def test_the_receipt_says_how_a_document_was_laid_out(tmp_path: Path) -> None:
    said = {case: opened(tmp_path, content, "a.json").dialect["layout"] for case, content in DOCUMENTS.items()}
    assert said["compact"] == said["pretty"] == "array"
    assert said["objects one after another"] == "objects"
    assert said["an object a line"] == "an object a line"
    assert opened(tmp_path, b'{"a":1}', "a.json").dialect["layout"] == "object"


@pytest.mark.usefixtures("chunk")
def test_records_lie_at_the_declared_path(tmp_path: Path) -> None:
    content = b'{"orders":[{"a":0}],"n":"]","data":{"x":[[{"orders":7}]],"orders":[{"a":1},\n{"a":2}],"y":{}},"z":[1]}'
    assert read(tmp_path, content, records="data.orders") == ([(1, {"a": "1"}), (2, {"a": "2"})], [])
    assert read(tmp_path, content, records="orders") == ([(1, {"a": "0"})], [])
    assert read(tmp_path, b'{"data":{"a":1}}', records="data") == ([(1, {"a": "1"})], [])


@pytest.mark.parametrize(
    ("content", "records", "problem", "line"),
    [
        (b'{"meta":1,\n"items":[]}', "orders", "no orders in the document; there is meta, items", 2),
        (b'{"orders":\n7}', "orders", "orders is neither a list nor an object", 2),
        (b'{"orders":[],\n"orders":[{"a":1}]}', "orders", "orders occurs twice", 2),
        (b"[1]", "orders", "the document is no object", 1),
        (b'[{"a":1}]\n[{"a":2}]', "", "more after the end of the document", 2),
        (b'[{"a":1}\n{"a":2}]', "", "no , where one should be", 2),
        (b'[{"a":1},\n]', "", "] where a record should begin", 2),
        (b'[{"a":1},\n,{"a":1}]', "", ", where a record should begin", 2),
        (b'[{"a":1}]}', "", "more after the end", 1),
        (b"7", "", "neither a list nor an object", 1),
    ],
)
@pytest.mark.usefixtures("chunk")
def test_a_document_that_cannot_be_gone_through_is_refused_naming_the_line(
    tmp_path: Path, content: bytes, records: str, problem: str, line: int
) -> None:
    with pytest.raises(DeliveryRefused, match=problem) as refused:
        opened(tmp_path, content, "a.json", records=records)
    assert refused.value.line == line


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(("between", "said"), [(b"\n", None), (b" ", "row"), (b"\n ", None)])
def test_a_record_is_known_by_its_line_or_where_lines_are_shared_by_its_number(
    tmp_path: Path, between: bytes, said: str | None
) -> None:
    content = b"[\n" + (b"," + between).join([b'{"a":1}', b'{"a":}', b'{"a":3}', b'{"a":4}']) + b"]"
    reader = opened(tmp_path, content, "a.json")
    rows, malformed = records(reader)
    assert reader.dialect.get("line") == said
    ahead = 0 if said else 1
    assert [line - ahead for line, _ in rows] == [1, 3, 4]
    assert malformed == [(2 + ahead, '{"a":}', "not JSON")]


@pytest.mark.usefixtures("chunk")
def test_a_broken_element_is_malformed_alone(tmp_path: Path) -> None:
    content = b'[{"a":1},\n{"a":},\n7,\n{"a":"[{"},\n{"a":1 "b"},\n{"a":1,"a":2},\n[{"a":5}],\n{"a":"\t"}]'
    rows, malformed = read(tmp_path, content)
    assert rows == [(1, {"a": "1"}), (4, {"a": "[{"})]
    assert malformed == [
        (2, '{"a":}', "not JSON"),
        (3, "7", "not a JSON object"),
        (5, '{"a":1 "b"}', "not JSON"),
        (6, '{"a":1,"a":2}', "a key twice"),
        (7, '[{"a":5}]', "not a JSON object"),
        (8, '{"a":"\t"}', "not JSON"),
    ]


@pytest.mark.usefixtures("chunk")
def test_a_break_that_may_spread_to_other_records_refuses_the_delivery(tmp_path: Path) -> None:
    content = b'[{"a":"1"},\n{"a":"2},\n{"a":"3"},\n{"a":4"},\n{"a":"5"}]'
    with pytest.raises(DeliveryRefused, match="where its record ends cannot be told") as refused:
        opened(tmp_path, content, "a.json")
    assert refused.value.line == 2


WHOLE: Final = b'{"data":[{"a":"x"},\n{"a":[1,{"b":2}]},7]}\n'


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kept", range(1, len(WHOLE) - 1))
def test_a_document_that_stops_anywhere_is_unfinished(tmp_path: Path, kept: int) -> None:
    with pytest.raises(DeliveryUnfinished, match="the document ends within"):
        opened(tmp_path, WHOLE[:kept], "a.json", records="data")


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"[ ]\n"])
def test_no_records_are_no_header(tmp_path: Path, content: bytes) -> None:
    reader = opened(tmp_path, content, "a.json")
    assert (reader.header, records(reader)) == ((), ([], []))


def test_a_large_array_in_one_line_is_read_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CHUNK", 1 << 12)
    each = [{"n": at, "deep": [[[[[at]]]]] if at % 50 == 0 else at, "s": "}],{[" * (at % 3)} for at in range(4000)]
    rows, malformed = read(tmp_path, gzip.compress(json.dumps(each).encode()), "a.json.gz")
    assert malformed == []
    assert [fields for _, fields in rows] == [
        {"n": f"{one['n']}", "deep": json.dumps(one["deep"]), "s": one["s"]} for one in each
    ]


def test_what_is_never_closed_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "CHUNK", 1 << 16)
    monkeypatch.setattr("platform_assets.engine.readers.json.document.LONGEST_LINE", 1 << 20)
    with pytest.raises(DeliveryRefused, match="a record is longer than 1 MB") as refused:
        opened(tmp_path, b'[{"a":1},\n{"a":[' + b'{"a":1},\n' * (1 << 18), "a.json")
    assert refused.value.line == 2


def test_fields_within_objects_are_columns_where_the_contract_asks_for_one(tmp_path: Path) -> None:
    content = lines(
        '{"id":1,"customer":{"id":"c1","address":{"city":"Bath","zip":"BA1"},"tags":["x"]},"meta":{"a":1}}',
        '{"id":2,"customer":null,"meta":{"a":1}}',
        '{"id":3,"meta":null}',
        '{"id":4,"customer":{"address":{}}}',
    )
    reader = opened(tmp_path, content, "a.ndjson", ["id", "customer.address.city"])
    assert reader.header == (
        "customer.address.city",
        "customer.address.zip",
        "customer.id",
        "customer.tags",
        "id",
        "meta",
    )
    rows, _ = records(reader)
    assert [fields["customer.address.city"] for _, fields in rows] == ["Bath", None, None, None]
    assert rows[0][1]["customer.tags"] == '["x"]'
    assert rows[0][1]["meta"] == '{"a":1}'


def test_nested_fields_are_the_same_among_many_records(tmp_path: Path) -> None:
    texts = [
        f'{{"id":{at},"c":{{"n":"n{at}","a":{{"city":"x\\u00e9{at}"}}}},"l":[{{"s":{at}.10}},{{"s":"]"}}]}}'
        for at in range(300)
    ] + ['{"id":1,"c":null,"l":[]}'] * 100
    rows, malformed = read(tmp_path, lines(*texts), "a.ndjson", ["c.a.city"])
    assert malformed == []
    assert rows[299][1] == {"id": "299", "c.n": "n299", "c.a.city": "x\u00e9299", "l": '[{"s":299.10},{"s":"]"}]'}
    assert rows[399][1] == {"id": "1", "c.n": None, "c.a.city": None, "l": "[]"}


def test_a_key_with_a_dot_is_the_path_it_looks_like_but_not_both_at_once(tmp_path: Path) -> None:
    content = lines('{"a.b":1}', '{"a":{"b":2}}', '{"a.b":3,"a":{"b":4}}')
    rows, malformed = read(tmp_path, content, "a.ndjson", ["a.b"])
    assert rows == [(1, {"a.b": "1"}), (2, {"a.b": "2"})]
    assert malformed == [(3, '{"a.b":3,"a":{"b":4}}', "a key twice")]


def test_what_stands_where_an_object_is_asked_for_is_seen(tmp_path: Path) -> None:
    assert opened(tmp_path, b'{"a":{"b":1}}\n{"a":"x"}\n', "a.ndjson", ["a.b"]).header == ("a", "a.b")


def test_fields_of_an_object_that_is_always_null_are_there_as_null(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, b'{"i":1,"a":null}\n', "a.ndjson", ["i", "a.b", "a.c.d"])
    assert rows == [(1, {"i": "1", "a.b": None, "a.c.d": None})]


ORDERS: Final = (
    '{"id":1,"to":"Bath","lines":[{"sku":"A","n":1.10},{"sku":"B","n":2,"gift":true}]}',
    '{"id":2,"to":null,"lines":[]}',
    '{"id":3,"to":"Rye"}',
    '{"id":4,"lines":[{"sku":"C","sku":"D"},{"sku":"E"}]}',
    '{"id":5,"lines":{"sku":"F"}}',
    '{"id":6,',
)


@pytest.mark.parametrize("layout", ["ndjson", "json"])
def test_a_list_is_unnested_into_a_row_for_each_element(tmp_path: Path, layout: str) -> None:
    wanted = ["id", "lines.sku", "lines.n"]
    texts = ORDERS if layout == "ndjson" else (*ORDERS[:-1], '{"id":6,}')
    content = lines(*texts) if layout == "ndjson" else f"[{','.join(texts)}]".encode()
    reader = opened(tmp_path, content, f"a.{layout}", wanted, unnest="lines")
    assert reader.dialect["line"] == "row"
    rows, malformed = records(reader)
    assert [(fields["id"], fields["to"], fields["lines.sku"], fields["lines.n"]) for _, fields in rows] == [
        ("1", "Bath", "A", "1.10"),
        ("1", "Bath", "B", "2"),
        ("2", None, None, None),
        ("3", "Rye", None, None),
        ("4", None, "E", None),
    ]
    assert [fields["lines.gift"] for _, fields in rows] == [None, "true", None, None, None]
    assert sorted((record, rule) for _, record, rule in malformed) == [
        (texts[-1], "not JSON"),
        ('{"sku":"C","sku":"D"}', "a key twice"),
        ('{"sku":"F"}', "lines is not a list"),
    ]
    numbers = [line for line, _ in rows] + [line for line, *_ in malformed]
    assert sorted(numbers) == list(range(1, 9))


def test_a_list_of_values_is_unnested_too(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, b'{"id":1,"tags":["x",1.10,null,[2]]}\n', "a.ndjson", unnest="tags")
    assert [fields["tags"] for _, fields in rows] == ["x", "1.10", None, "[2]"]


def test_lists_that_are_all_empty_keep_the_columns_of_their_elements(tmp_path: Path) -> None:
    rows, _ = read(tmp_path, b'{"id":1,"lines":[]}\n', "a.ndjson", ["id", "lines.sku"], unnest="lines")
    assert rows == [(1, {"id": "1", "lines.sku": None})]


def test_a_list_that_occurs_nowhere_is_a_missing_column(tmp_path: Path) -> None:
    assert opened(tmp_path, b'{"id":1}\n', "a.ndjson", ["id", "lines.sku"], unnest="lines").header == ("id",)


class Lines(Contract):
    """Lines of orders, out of nested documents. Grain: line."""

    order_no: int = Field(source="id")
    city: str = Field(source="customer.address.city", nullable=True)
    sku: str = Field(source="lines.sku", str_matches=r"^[A-Z]$")
    price: Decimal = Field(source="lines.price", ge=0)
    at: datetime = Field(source="at")


def test_nested_documents_become_rows_and_every_one_is_accounted_for(tmp_path: Path) -> None:
    source = Files("sales/*.json", settle=seconds(0), format=Json(records="data.orders", unnest="lines"))
    shop = Shop(tmp_path, SALES)
    shop.declare(source=source, contract=Lines, event_time="at")
    order = {"id": 1, "at": "2026-03-01T10:00:00Z", "customer": {"address": {"city": "Bath"}}}
    orders = [
        {**order, "lines": [{"sku": "A", "price": 1.10}, {"sku": "b", "price": 2}]},
        {**order, "id": 2, "customer": None, "lines": []},
        {**order, "id": 3, "customer": None, "lines": [{"sku": "C", "price": 3}]},
    ]
    receipt = shop.load("orders.json", json.dumps({"data": {"orders": orders}}))
    assert (receipt.read, receipt.accepted, receipt.rejected) == (4, 2, 2)
    assert receipt.dialect["line"] == "row"
    assert shop.rows("order_no, city, sku, price") == [(1, "Bath", "A", Decimal("1.10")), (3, None, "C", Decimal(3))]
    assert [line for line, *_ in shop.rejected()] == [2, 3]
    assert shop.reconciles()
