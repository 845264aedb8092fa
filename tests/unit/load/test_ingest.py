"""Deliveries take effect exactly once, every row is accounted for, and one bad delivery harms no other."""

import gzip
import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from shop import HEADER, SALES, Clock, OpenSales, Sales, Shop, numbered, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Cadence, Files, Rejects, hours, seconds
from platform_assets.engine.load import rows as engine


def figures(receipt: Any) -> tuple[int, int, int, int]:
    return receipt.read, receipt.accepted, receipt.rejected, receipt.duplicate


# ---- exactly once


def test_a_delivery_loads_once_and_asking_again_finds_nothing(shop: Shop) -> None:
    receipt = shop.load("a.csv", sales("S1,1", "S2,2"))
    assert (receipt.status, receipt.slot, figures(receipt)) == ("accepted", "sales/a.csv", (2, 2, 0, 0))
    assert shop.ingest().receipts == []
    assert shop.deployment.pending(shop.feed) == []
    assert shop.skus() == ["S1", "S2"]


def test_the_same_bytes_under_another_name_are_a_duplicate(shop: Shop) -> None:
    first = shop.load("a.csv", sales("S1,1", "S2,2"))
    again = shop.load("b.csv", sales("S1,1", "S2,2"))
    assert (again.status, again.duplicate_of, figures(again)) == ("duplicate", first.delivery_id, (2, 0, 0, 2))
    assert shop.skus() == ["S1", "S2"]


def test_the_same_bytes_twice_in_one_go_load_once(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    shop.deliver("b.csv", sales("S1,1"))
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted", "duplicate"]
    assert shop.skus() == ["S1"]


def test_a_touched_file_is_a_duplicate_of_itself(shop: Shop) -> None:
    path = shop.deliver("a.csv", sales("S1,1"))
    shop.ingest()
    os.utime(path, (1, 1))
    (again,) = shop.ingest().receipts
    assert (again.status, again.supersedes) == ("duplicate", None)
    assert shop.skus() == ["S1"]


def test_what_was_published_of_the_ledger_may_be_lost_or_damaged(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    seen = shop.root / "home" / "seen" / "sales.sqlite"
    for damage in (lambda: seen.write_bytes(b"not SQLite"), seen.unlink):
        damage()
        assert [arrival.slot for arrival in shop.deployment.pending(shop.feed)] == ["sales/a.csv"]
        assert shop.ingest().receipts == []
        assert shop.deployment.pending(shop.feed) == []


def test_a_late_file_with_an_old_mtime_loads(shop: Shop) -> None:
    shop.load("b.csv", sales("S2,1"))
    os.utime(shop.deliver("a.csv", sales("S1,1")), (1, 1))
    (receipt,) = shop.ingest().receipts
    assert receipt.arrived_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    assert shop.skus() == ["S1", "S2"]


# ---- every row is accounted for


def test_rejected_rows_wait_with_line_column_rule_and_masked_value(shop: Shop) -> None:
    receipt = shop.load("a.csv", sales("S1,1", "S2,x", "S3,3,,,nobody", "S1,1", "S4"))
    assert figures(receipt) == (5, 1, 3, 1)
    assert [(line, [(r["column"], r["value"]) for r in reasons]) for line, reasons, _ in shop.rejected()] == [
        (3, [("quantity", "x")]),
        (4, [("email", "***")]),
        (6, [("quantity", None)]),
    ]
    assert '"email":"nobody"' in shop.rejected()[1][2]  # as it arrived
    assert shop.query("SELECT line FROM ledger.duplicates") == [(5,)]
    assert shop.reconciles()


def test_malformed_lines_wait_as_they_arrived(shop: Shop) -> None:
    receipt = shop.load("a.csv", f'{HEADER}\nS1,1,,,\n"S2,2,,,\nS3,3\n')
    assert figures(receipt) == (3, 1, 2, 0)
    assert [(line, reasons[0]["rule"], record) for line, reasons, record in shop.rejected()] == [
        (3, "quote never closed", r'"\"S2,2,,,"'),
        (4, "2 fields instead of 5", '"S3,3"'),
    ]


def test_copies_of_a_row_are_counted_across_flushes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_FLUSH_ROWS", 10)
    long = f"a@{'b' * 200_000}"  # so that the file is read in several parts
    lines = [f"S{n % 20},{n % 20},,,{long}" for n in range(100)]
    shop.deliver("a.csv", sales(*lines))
    shop.deliver("b.csv", sales(*lines, "S99,1"))  # the same rows in another delivery are no copies
    a, b = shop.ingest().receipts
    assert (figures(a), figures(b)) == ((100, 20, 0, 80), (101, 21, 0, 80))
    assert [line for (line,) in shop.query("SELECT line FROM ledger.duplicates WHERE delivery_id = 1 ORDER BY 1")] == [
        *range(22, 102)
    ]


def test_a_feed_may_allow_copies(shop: Shop) -> None:
    shop.declare(on_duplicate="allow")
    assert figures(shop.load("a.csv", sales("S1,1", "S1,1"))) == (2, 2, 0, 0)


# ---- restatement


def test_new_content_under_a_known_name_replaces_the_old_rows(shop: Shop) -> None:
    first = shop.load("a.csv", sales("S1,1", "x,2"))
    second = shop.load("a.csv", sales("S3,3"))
    assert (second.status, second.supersedes) == ("accepted", first.delivery_id)
    assert (shop.skus(), shop.rejected()) == (["S3"], [])
    old = shop.receipts()[0]
    assert (old.status, old.superseded_by, figures(old)) == ("superseded", second.delivery_id, (2, 1, 1, 0))
    assert old.revision > first.revision
    assert (shop.root / "home" / "archive" / str(first.archived)).read_text() == sales("S1,1", "x,2")


def test_a_feed_may_append_restatements(shop: Shop) -> None:
    shop.declare(on_restatement="append")
    for content in ("S1,1", "S2,2", "S1,1"):
        shop.load("a.csv", sales(content))
    assert shop.skus() == ["S1", "S2"]


@pytest.mark.parametrize("content", [sales("S2,2"), sales("S9,9")], ids=["new content", "another slot's content"])
def test_a_feed_may_refuse_restatements_until_it_no_longer_does(shop: Shop, content: str) -> None:
    shop.declare(on_restatement="refuse")
    shop.load("b.csv", sales("S9,9"))
    shop.load("a.csv", sales("S1,1"))
    refused = shop.load("a.csv", content)
    assert refused.status == "quarantined"
    assert "refuses restatements" in str(refused.problem)
    assert shop.skus() == ["S1", "S9"]
    shop.declare(on_restatement="replace")
    shop.ingest()
    assert "S1" not in shop.skus()


def test_content_may_go_back_to_what_it_was(shop: Shop) -> None:
    for content in ("S1,1", "S2,2", "S1,1"):
        shop.load("a.csv", sales(content))
    assert shop.skus() == ["S1"]


def test_a_restatement_that_is_quarantined_leaves_what_it_may_replace(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    assert shop.load("a.csv", "nothing\nof,this\n").status == "quarantined"
    assert shop.skus() == ["S1"]
    assert shop.load("a.csv", sales("S2,2")).supersedes == 1
    assert shop.skus() == ["S2"]


def test_rows_stay_while_any_slot_was_restated_to_them(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.load("b.csv", sales("S2,2"))
    assert shop.load("b.csv", sales("S1,1")).status == "duplicate"
    assert shop.skus() == ["S1"]
    os.utime(shop.landing / "sales/b.csv", (1, 1))
    shop.ingest()
    shop.load("a.csv", sales("S3,3"))
    assert shop.skus() == ["S1", "S3"]
    shop.load("b.csv", sales("S4,4"))
    assert shop.skus() == ["S3", "S4"]


def test_rows_stay_when_their_slots_are_restated_in_one_go(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    shop.load("b.csv", sales("S2,2"))
    shop.deliver("a.csv", sales("S2,2"))
    shop.deliver("b.csv", sales("S3,3"))
    shop.ingest()
    assert shop.skus() == ["S2", "S3"]


def test_a_copy_of_a_corrected_delivery_does_not_revive_it(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1"))
    copy = shop.deliver("a_resent.csv", sales("S1,1"))
    shop.ingest()
    shop.load("a.csv", sales("S2,2"))
    assert shop.skus() == ["S2"]
    os.utime(copy, (1, 1))
    assert [receipt.status for receipt in shop.ingest().receipts] == ["duplicate"]
    assert shop.skus() == ["S2"]


# ---- drift, empty deliveries, second chances


def test_an_unknown_column_fails_adds_or_is_rescued_as_declared(shop: Shop) -> None:
    shop.declare(contract=OpenSales)
    wider = f"{HEADER},note"
    refused = shop.load("a.csv", sales("S1,1,,,,hi", header=wider))
    assert (refused.problem, refused.problem_line, refused.problem_column) == ("unknown column note", 1, "note")
    shop.declare(on_drift="rescue")
    (rescued,) = shop.ingest().receipts  # a new chance, because the feed changed
    assert (rescued.status, rescued.unknown_columns) == ("accepted", ("note",))
    shop.load("b.csv", sales("S2,1"))
    assert shop.rows("sku, _extra") == [("S1", '{"note":"hi"}'), ("S2", None)]
    shop.declare(on_drift="add")
    shop.load("c.csv", sales("S3,1,,,,ho", header=wider))
    shop.load("d.csv", sales("S4,1,,,,hu", header=f"{HEADER},NOTE"))
    assert shop.rows("sku, note") == [("S1", None), ("S2", None), ("S3", "ho"), ("S4", "hu")]


def test_an_added_column_never_changes_the_type_of_one_that_raw_has(shop: Shop) -> None:
    class Fewer(Contract):
        """Sales without their quantity."""

        sku: str = Field()

    shop.load("a.csv", sales("S1,1"))
    shop.declare(contract=Fewer, event_time=None, on_drift="add")
    receipt = shop.load("b.csv", "sku,quantity\nS2,many\n")
    assert receipt.status == "quarantined"
    assert "quantity' is BIGINT in raw" in str(receipt.problem)


def test_rejected_rows_keep_unknown_columns_of_any_name(shop: Shop) -> None:
    shop.declare(on_drift="add")
    shop.load("a.csv", sales("x,1,,,,why,what", header=f"{HEADER},reasons,record"))
    assert '"reasons":"why","record":"what"' in shop.rejected()[0][2]


def test_a_missing_column_quarantines_with_the_difference(shop: Shop) -> None:
    shop.declare(contract=OpenSales)
    receipt = shop.load("a.csv", "sku,qty,price,sold_at,email\nS1,1,,,\n")
    assert receipt.problem == "missing column quantity; unknown instead: qty"
    assert "quantity: source=('quantity', 'qty')" in str(receipt.remedy)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", f"{HEADER}\n"])
def test_a_delivery_without_rows_follows_the_declared_policy(shop: Shop, content: str) -> None:
    assert shop.load("a.csv", content).status == "quarantined"
    shop.declare(on_empty="accept")
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, figures(receipt)) == ("accepted", (0, 0, 0, 0))


def test_a_quarantined_delivery_gets_a_new_chance_when_its_contract_changes(shop: Shop) -> None:
    class Renamed(Sales):
        """Sales by a producer who renamed a column."""

        quantity: int = Field(source=("quantity", "qty"))

    shop.load("a.csv", "sku,qty,price,sold_at,email\nS1,1,,,\n")
    assert shop.ingest().receipts == []
    shop.declare(contract=Renamed)
    assert [arrival.slot for arrival in shop.deployment.pending(shop.feed)] == ["sales/a.csv"]
    (receipt,) = shop.ingest().receipts
    assert (receipt.status, shop.receipts()[0].status) == ("accepted", "superseded")
    assert shop.status().totals.waiting == 0


# ---- one bad delivery harms no other


def test_one_poisonous_file_among_many_is_quarantined_alone(shop: Shop) -> None:
    for number in range(6):
        shop.deliver(f"{number}.csv", sales(f"S{number},1"))
    shop.deliver("3.csv", b"\xff\xfe" + sales("S3,1").encode())
    damaged = bytearray(gzip.compress(sales("S4,1").encode()))
    damaged[-6] ^= 1
    shop.deliver("4.csv.gz", bytes(damaged))
    statuses = {receipt.slot: receipt.status for receipt in shop.ingest().receipts}
    assert [slot for slot, status in statuses.items() if status == "quarantined"] == ["sales/3.csv", "sales/4.csv.gz"]
    assert shop.skus() == ["S0", "S1", "S2", "S4", "S5"]


def test_rows_already_in_the_transaction_go_with_a_delivery_found_bad_late(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_FLUSH_ROWS", 1)
    shop.declare(on_empty="quarantine", on_restatement="replace")
    shop.load("b.csv", sales("S2,1"))
    shop.deliver("a.csv", sales("S1,1"))
    shop.deliver("b.csv", f"{HEADER}\n")  # found to be empty only when it was to replace the old rows
    shop.deliver("c.csv", sales("S3,1"))
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted", "quarantined", "accepted"]
    assert shop.skus() == ["S1", "S2", "S3"]


@pytest.mark.parametrize(
    ("name", "half", "whole"),
    [
        ("a.csv", f"{HEADER}\nS1,1,,,\nS2,".encode(), sales("S1,1", "S2,2").encode()),
        ("a.csv.gz", gzip.compress(sales("S1,1", "S2,2").encode(), mtime=0)[:-9], b""),
        ("a.ndjson", b'{"sku":"S1","quantity":1,"price":null,"sold_at":null,"email":null}\n{"sku":"S2', b""),
    ],
)
def test_a_half_written_delivery_waits_and_loads_once_whole_or_never(
    shop: Shop, name: str, half: bytes, whole: bytes
) -> None:
    shop.deliver(name, half)
    outcome = shop.ingest()
    assert (outcome.receipts, list(outcome.unfinished)) == ([], [f"sales/{name}"])
    if whole:
        assert shop.load(name, whole).accepted == 2
        return
    shop.clock.ahead = hours(1)
    (receipt,) = shop.ingest().receipts  # patience is over: taken as it is
    assert (receipt.status, figures(receipt)) in (("quarantined", (0, 0, 0, 0)), ("accepted", (2, 1, 1, 0)))


def test_a_file_that_does_not_settle_is_left_alone(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=seconds(0.3)))
    path = shop.deliver("a.csv", sales("S1,1"))
    done = threading.Event()

    def write_on() -> None:
        while not done.wait(0.05):
            path.touch()

    writing = threading.Thread(target=write_on)
    writing.start()
    outcome = shop.ingest()
    done.set()
    writing.join()
    assert (outcome.receipts, outcome.unfinished) == ([], {"sales/a.csv": "is still being written"})
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]


def test_a_clock_that_was_set_back_does_not_keep_files_waiting(shop: Shop) -> None:
    shop.declare(source=Files("sales/*.csv", settle=seconds(0.2)))
    shop.deliver("a.csv", sales("S1,1"))
    shop.clock.ahead = -hours(24)
    assert [receipt.status for receipt in shop.ingest().receipts] == ["accepted"]


# ---- names and things that are no files


@pytest.mark.parametrize(
    "name",
    ["a*.csv", "x[1].csv", "q?.csv", 'it\'s "quoted".csv', "two\nlines.csv", "day=1/k=v/a.csv", "ü 文.csv", "-.csv"],
)
def test_a_file_is_exactly_itself_whatever_its_name(shop: Shop, name: str) -> None:
    for decoy in ("aa.csv", "x1.csv", "qq.csv"):
        shop.load(decoy, sales(f"D{len(decoy)}{ord(decoy[0])},1"))
    receipt = shop.load(name, sales("S1,1"))
    assert (receipt.slot, receipt.accepted, receipt.unknown_columns) == (f"sales/{name}", 1, ())


def test_a_name_that_is_not_unicode_loads_once(shop: Shop) -> None:
    folder = shop.landing / "sales"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.csv")).write_text(sales("S1,1"))
    assert [receipt.accepted for receipt in shop.ingest().receipts] == [1]
    assert shop.ingest().receipts == []


def test_sql_in_column_names_and_values_is_inert(shop: Shop) -> None:
    shop.declare(on_drift="add")
    injection = '"); DROP TABLE raw.sales; --'
    column = 'x\'""); DROP TABLE ledger.deliveries; --'
    header = HEADER + ',"' + column.replace('"', '""') + '"'
    shop.load("a.csv", f'{header}\nS1,1,,,,"{injection.replace(chr(34), chr(34) * 2)}"\n')
    shop.load("'; DROP TABLE raw.sales; --.csv", sales("S2,1"))
    assert shop.rows('sku, "' + column.replace('"', '""') + '"') == [("S1", injection), ("S2", None)]


def test_links_pipes_and_folders_are_quarantined_unopened(shop: Shop) -> None:
    folder = shop.landing / "sales"
    folder.mkdir()
    outside = shop.root / "outside"
    outside.mkdir()
    (outside / "secret.csv").write_text(sales("S1,1"))
    (folder / "link.csv").symlink_to(outside / "secret.csv")
    (folder / "linked").symlink_to(outside)
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    (folder / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.csv")
    (folder / "folder.csv").mkdir()
    shop.deliver("sound.csv", sales("S2,1"))
    told = {receipt.slot: receipt.problem for receipt in shop.ingest().receipts}
    assert told == {
        "sales/link.csv": "is a link; links are never followed",
        "sales/linked": "is a link to a folder; links are never followed",
        "sales/loop.csv": "is a link; links are never followed",
        "sales/up": "is a link to a folder; links are never followed",
        "sales/pipe.csv": "is a named pipe, not a regular file",
        "sales/folder.csv": "is a folder, not a regular file",
        "sales/sound.csv": None,
    }
    assert shop.skus() == ["S2"]
    assert shop.ingest().receipts == []


def test_files_under_way_are_ignored_and_stray_ones_named(shop: Shop) -> None:
    for name in ("a.csv.tmp", "b.csv.part", ".hidden.csv", "c.csv~", "d.CSV", "e.xlsx", "f.csv"):
        shop.deliver(name, sales("S1,1"))
    assert [arrival.slot for arrival in shop.deployment.pending(shop.feed)] == ["sales/f.csv"]
    assert shop.deployment.look().unclaimed == ["sales/d.CSV", "sales/e.xlsx"]


def test_the_landing_folder_is_never_written_to(shop: Shop) -> None:
    shop.deliver("a.csv", sales("S1,1"))
    shop.deliver("b.csv", "broken")
    before = {path: path.lstat() for path in shop.landing.rglob("*")}
    shop.ingest()
    after = {path: path.lstat() for path in shop.landing.rglob("*")}
    assert {p: (s.st_mtime_ns, s.st_ctime_ns) for p, s in after.items()} == {
        p: (s.st_mtime_ns, s.st_ctime_ns) for p, s in before.items()
    }


# ---- promises


@pytest.mark.parametrize(
    ("now", "due"),
    [
        ("2026-06-03T08:30+01:00", "2026-06-01T06:00+01:00"),  # today's is not late yet
        ("2026-06-03T09:30+01:00", "2026-06-02T06:00+01:00"),
        ("2026-03-29T08:30+01:00", "2026-03-27T06:00+00:00"),  # the night clocks went forward
        ("2026-03-29T09:30+01:00", "2026-03-28T06:00+00:00"),
        ("2026-10-25T08:30+00:00", "2026-10-23T06:00+01:00"),  # and back
        ("2026-10-25T09:30+00:00", "2026-10-24T06:00+01:00"),
    ],
)
def test_data_is_due_by_the_shops_clock(now: str, due: str) -> None:
    cadence = Cadence(cron="0 6 * * *", within=hours(3), timezone="Europe/London")
    for zone in (UTC, ZoneInfo("Europe/London"), ZoneInfo("Asia/Tokyo")):
        at = datetime.fromisoformat(now).astimezone(zone)
        last = cadence.last_tick(at - cadence.within)
        assert last is not None
        assert cadence.last_tick(last - timedelta(seconds=1)) == datetime.fromisoformat(due)


def test_rejects_are_allowed_up_to_the_larger_of_rate_and_rows() -> None:
    tolerance = Rejects(rate=0.01, rows=3)
    assert [tolerance.allows(*case) for case in ((3, 10), (4, 10), (10, 1000), (11, 1000))] == [
        True,
        False,
        True,
        False,
    ]
    assert Rejects().allows(0, 0)
    assert not Rejects().allows(1, 1_000_000)


def test_fresh_means_new_data_not_a_new_run(tmp_path: Path) -> None:
    shop = Shop(tmp_path, SALES, Clock(at=datetime(2027, 3, 3, 12, tzinfo=UTC)))
    shop.landing.mkdir()
    shop.deployment.prepare()
    assert shop.status().freshness == "no data"
    shop.load("a.csv", sales("S1,1,,2027-02-27T10:00:00Z"))
    assert shop.status().freshness == "late"
    shop.load("b.csv", sales("S2,1,,2027-01-01T10:00:00Z"))
    shop.ingest()
    assert shop.status().freshness == "late"
    shop.load("c.csv", sales("S3,1,,2027-03-02T10:00:00Z"))
    assert shop.status().freshness == "fresh"


def test_a_row_dated_in_the_future_does_not_stay_fresh_for_ever(tmp_path: Path) -> None:
    shop = Shop(tmp_path, SALES, Clock(at=datetime(2027, 3, 3, 12, tzinfo=UTC)))
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1,,2027-03-02T10:00:00Z", "S2,1,,2999-01-01T10:00:00Z"))
    assert shop.status().freshness == "fresh"
    shop.clock.ahead = timedelta(days=3)
    assert shop.status().freshness == "late"
    shop.load("b.csv", sales("S3,1,,2999-01-01T10:00:00Z"))
    assert shop.status().freshness == "late"


def test_many_deliveries_are_loaded_in_groups_and_reported(shop: Shop) -> None:
    for number in range(101):
        shop.deliver(f"{number}.csv", numbered(number, 1))
    receipts = shop.ingest().receipts
    assert len({receipt.revision for receipt in receipts}) == 2
    assert shop.told[-1] == "sales: 101 of 101 deliveries"
    assert len(shop.skus()) == 101
