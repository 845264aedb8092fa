"""Persons that were erased do not come back: not with a new delivery, nor a replay, nor out of the archive."""

import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from shop import KEY, SALES, Keyed, Shop, sales

from platform_assets.engine.archive.archive import content_of
from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.erase.tombstones import Person
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.errors import ConfigurationError

ANNA, BOB = "anna@example.org", "bob@example.org"


LINES = sales(f"S1,1,1.00,,{ANNA}", f"S2,2,1.00,,{BOB}", f"S3,3,1.00,,{ANNA}", "S4,4,1.00,,carl@example.org")
ROWS = [{"sku": f"S{n}", "quantity": n, "email": mail} for n, mail in enumerate([ANNA, BOB, ANNA, "c@x.org"], start=1)]


def _csv(text: str, encoding: str = "utf-8") -> bytes:
    return text.encode(encoding)


def _parquet() -> bytes:
    file = io.BytesIO()
    frame = pl.DataFrame(ROWS).with_columns(price=pl.lit(None, pl.Float64), sold_at=pl.lit(None, pl.Datetime("us")))
    frame.write_parquet(file)
    return file.getvalue()


NDJSON = "".join(json.dumps({**row, "price": None, "sold_at": None}) + "\n" for row in ROWS)
DOCUMENT = json.dumps([{**row, "price": None, "sold_at": None} for row in ROWS])
QUOTED = (
    'sku,quantity,price,sold_at,email\r\n"S1",1,,,"anna@example.org"\r\n'
    'S2,2,,,bob@example.org\r\n\r\n"S3",3,,,"anna@example.org"\r\nS4,4,,,"c@x.org"'
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.csv", _csv(LINES)),
        ("marked.csv", _csv(LINES, "utf-8-sig")),
        ("wide.csv", _csv(LINES, "utf-16")),
        ("packed.csv.gz", gzip.compress(_csv(LINES))),
        ("quoted.csv", _csv(QUOTED)),
        ("lines.ndjson", NDJSON.encode()),
        ("table.parquet", _parquet()),
        ("list.json", DOCUMENT.encode()),
    ],
)
def test_a_delivery_comes_in_without_rows_of_an_erased_person(keyed: Keyed, name: str, content: bytes) -> None:
    keyed.declare(source=Files("sales/**/*", settle=seconds(0)))
    keyed.bury(email=ANNA)
    receipt = keyed.load(name, content)
    assert (receipt.status, receipt.read, receipt.accepted, receipt.erased) == ("accepted", 4, 2, 2)
    assert keyed.skus() == ["S2", "S4"]
    assert keyed.reconciles()
    assert ANNA.encode() not in keyed.archived()
    copy = keyed.deployment.archive.root / str(receipt.archived)
    assert receipt.rewritten == content_of(copy) != receipt.fingerprint
    assert keyed.deployment.archive.holds(copy)
    assert keyed.ingest().receipts == []
    # The same file again is a duplicate, by the fingerprint that it had.
    again = keyed.load(f"again-{name}", content)
    assert (again.status, again.duplicate, again.erased) == ("duplicate", 2, 2)
    assert ANNA.encode() not in keyed.archived()
    # Nor does it come back by a replay, or from the archive alone.
    keyed.deployment.replay(keyed.feed, again=True)
    assert (keyed.skus(), keyed.reconciles()) == (["S2", "S4"], True)
    before = keyed.receipts()
    for lost in ("warehouse.duckdb", "warehouse.duckdb.wal"):
        (keyed.root / "home" / lost).unlink(missing_ok=True)
    keyed.deployment.prepare()
    keyed.ingest()
    assert keyed.skus() == ["S2", "S4"]
    assert [(r.status, r.read, r.erased) for r in keyed.receipts()] == [(r.status, r.read, r.erased) for r in before]


def test_of_a_text_file_every_other_line_keeps_its_bytes_and_its_number(keyed: Keyed) -> None:
    keyed.bury(email=ANNA)
    receipt = keyed.load("quoted.csv", QUOTED)
    copy = keyed.deployment.archive.root / str(receipt.archived)
    kept = QUOTED.replace('"S1",1,,,"anna@example.org"', "").replace('"S3",3,,,"anna@example.org"', "")
    assert copy.read_bytes() == kept.encode()
    assert keyed.rows("sku, _line") == [("S2", 3), ("S4", 6)]


def test_a_record_over_several_lines_goes_whole(keyed: Keyed) -> None:
    keyed.declare(on_drift="add")
    keyed.bury(email=ANNA)
    text = f'sku,quantity,price,sold_at,email,note\nS1,1,,,{ANNA},"two\nlines"\nS2,2,,,{BOB},"one\nmore"\n'
    receipt = keyed.load("1.csv", text)
    assert (keyed.deployment.archive.root / str(receipt.archived)).read_text() == (
        f'sku,quantity,price,sold_at,email,note\n\n\nS2,2,,,{BOB},"one\nmore"\n'
    )
    assert keyed.rows("sku, _line") == [("S2", 4)]


def test_rejected_and_malformed_rows_of_an_erased_person_go_too(keyed: Keyed) -> None:
    keyed.bury(email=ANNA)
    receipt = keyed.load("1.csv", sales(f"S1,-1,1.00,,{ANNA}", f"S2,2,1.00,,{BOB}") + f"S3,1,2,3,4,5,{ANNA}\n")
    assert (receipt.read, receipt.accepted, receipt.rejected, receipt.erased) == (3, 1, 0, 2)
    assert keyed.rejected() == []


def test_of_a_delivery_that_cannot_be_read_and_names_an_erased_person_no_copy_is_kept(keyed: Keyed) -> None:
    keyed.bury(email=ANNA)
    receipt = keyed.load("1.csv", sales("S1,1,", f"S2,2,{ANNA}", header="sku,quantity,mail"))
    assert (receipt.status, receipt.archived) == ("quarantined", None)
    assert ANNA.encode() not in keyed.archived()
    assert keyed.ingest().receipts == []
    # Without the person it is kept, as any other.
    assert keyed.load("2.csv", sales("S1,1,", header="sku,quantity,mail")).archived is not None


def test_a_person_is_known_though_the_contract_no_longer_has_the_column(keyed: Keyed) -> None:
    class Nameless(Contract):
        """Sales without their buyers. Grain: line."""

        sku: str = Field()
        quantity: int = Field()

    keyed.bury(email=ANNA)
    keyed.declare(contract=Nameless, on_drift="rescue", event_time=None)
    keyed.load("1.csv", LINES)
    assert keyed.skus() == ["S2", "S4"]
    # Where no column has that name either, a delivery that names the person is not taken in, and not kept.
    receipt = keyed.load("2.csv", sales(f"S5,5,{ANNA}", header="sku,quantity,buyer"))
    assert (receipt.status, receipt.archived, keyed.skus()) == ("quarantined", None, ["S2", "S4"])


def test_a_delivery_of_none_but_erased_persons_is_taken_in_with_no_row(keyed: Keyed) -> None:
    keyed.bury(email=ANNA)
    receipt = keyed.load("1.csv", sales(f"S1,1,1.00,,{ANNA}"))
    assert (receipt.status, receipt.read, receipt.erased, keyed.skus()) == ("accepted", 1, 1, [])


def test_a_person_of_several_columns_is_who_has_all_of_them(keyed: Keyed) -> None:
    keyed.bury(email=ANNA, quantity="3")
    keyed.load("1.csv", LINES)
    assert keyed.skus() == ["S1", "S2", "S4"]


def test_a_value_is_known_as_it_is_written_and_as_the_contract_casts_it(keyed: Keyed) -> None:
    keyed.bury(quantity="7")
    keyed.load("1.csv", sales("S1,007,1.00,,", "S2,7,1.00,,", "S3,8,1.00,,"))
    assert keyed.skus() == ["S3"]


def test_no_value_stands_in_clear_in_a_tombstone(keyed: Keyed) -> None:
    keyed.bury(email=ANNA)
    (stored,) = (keyed.root / "home/erasures").glob("*.json")
    assert ANNA not in stored.read_text()


@pytest.mark.parametrize("key", [None, "another-key-than-before", "short"])
def test_without_the_key_nothing_is_taken_in(keyed: Keyed, key: str | None) -> None:
    keyed.bury(email=ANNA)
    keyed.key = key
    keyed.deliver("1.csv", LINES)
    with pytest.raises(ConfigurationError, match="PLATFORM_ERASE_KEY"):
        keyed.ingest()
    keyed.key = KEY
    keyed.ingest()
    assert keyed.skus() == ["S2", "S4"]


def test_a_column_that_the_contract_does_not_declare_names_nobody(keyed: Keyed) -> None:
    with pytest.raises(ConfigurationError, match="is not declared by Sales"):
        Person(SALES, {"phone": "1"})


def test_a_feed_from_which_nobody_was_erased_keeps_its_copies_as_they_came(shop: Shop, tmp_path: Path) -> None:
    receipt = shop.load("1.csv", LINES)
    assert (receipt.erased, receipt.rewritten) == (0, None)
    assert content_of(Path(str(receipt.archived))) == receipt.fingerprint
    assert not (tmp_path / "home/erasures").exists()
