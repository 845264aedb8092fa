"""Deliveries that a person takes back, restores or lets through: always as a clean load of what counts would be."""

import gzip
import hashlib
import json
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import examples, rounds
from shop import SALES, Clock, Keyed, Shop, child, ended, sales

from platform_assets.engine.archive.decisions import Decided, Decision
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Rejects, Retention
from platform_assets.engine.load.decisions import Changed, Followed, Verb
from platform_assets.errors import ConfigurationError, DecisionRefused, PlatformError

Policy = Literal["reject", "latest", "allow"]
STRICT: dict[str, Any] = {"tolerate": Rejects(beyond="quarantine"), "on_drift": "fail"}
HEADER = "sku,quantity,price,sold_at,email"


def new_shop(folder: Path, **declared: Any) -> Shop:
    shop = Shop(folder, feed=replace(SALES, **declared))
    shop.landing.mkdir(parents=True)
    shop.deployment.prepare()
    return shop


def decide(shop: Shop, verb: Verb, delivery: int, why: str = "wrong month") -> Followed:
    return shop.deployment.decide(shop.feed, verb, delivery, by="os:anna", why=why)


def statuses(shop: Shop) -> list[str]:
    return [receipt.status for receipt in shop.receipts()]


def state(shop: Shop) -> Any:
    """What counts: rows, rejected rows, duplicates and receipts of deliveries that are not withdrawn, numbered as if no
    other had come."""
    counting = [receipt for receipt in shop.receipts() if receipt.status != "withdrawn"]
    number = {receipt.delivery_id: at for at, receipt in enumerate(counting)} | {None: None}

    def told(sql: str, ids: int) -> list[Any]:
        return [(*(number[each] for each in row[:ids]), *row[ids:]) for row in shop.query(sql)]

    links = ("delivery_id", "supersedes", "superseded_by", "duplicate_of")
    figures = ("slot", "status", "read", "accepted", "rejected", "duplicate", "problem", "header", "event_max")
    return (
        told("SELECT _delivery_id, _line, sku, quantity FROM raw.sales ORDER BY ALL", 1),
        told("SELECT _delivery_id, _line, reasons, record FROM quarantine.sales ORDER BY ALL", 1),
        sorted(told("SELECT delivery_id, of_delivery, line, of_line FROM ledger.duplicates ORDER BY ALL", 2), key=repr),
        [
            (*(number[getattr(each, link)] for link in links), *(getattr(each, figure) for figure in figures))
            for each in counting
        ],
    )


# ---- any sequence

FILES = ["a.csv", "b.csv", "c.csv"]
CONTENTS = [
    sales("S1,1", "S2,2", "S2,2"),
    sales("S1,9", "S3,3,,2026-03-01T10:00:00Z"),
    sales("S2,1", "S5,7", "bad"),  # more than is tolerated
    sales("S1,1,,,,more", header=f"{HEADER},new"),  # a column that nobody declared
    "sku,quantity,sold_at,email\nS2,8,,\nS6,x,,\n",  # a column is missing
    "no table\n",  # cannot be let through
]
STEP = st.one_of(
    st.tuples(st.sampled_from(FILES), st.integers(0, 5)),
    st.tuples(st.sampled_from(["withdraw", "restore", "accept", "refuse"]), st.integers(0, 5)),
    st.just(("replay", 0)),
)
STEPS = st.lists(STEP, min_size=4, max_size=9)


def equals_a_clean_load(steps: list[tuple[str, int]], policy: Policy) -> None:
    declared = {"key": ("sku",), "on_known_key": policy, **STRICT}
    with tempfile.TemporaryDirectory() as folder:
        shop, clean = (new_shop(Path(folder, name), **declared) for name in ("shop", "clean"))
        with shop.held(), clean.held():
            withdrawn, allowed = decided(shop, steps)
            nobody = Decided(allowed=Decision("os:anna", "so it was decided", ""))
            clean.deployment.archive.decisions("sales").keep(dict.fromkeys(allowed, nobody))
            for what, at in steps:
                if what in FILES and hashlib.sha256(CONTENTS[at].encode()).hexdigest() not in withdrawn:
                    clean.load(what, CONTENTS[at])
            assert state(shop) == state(clean)


def decided(shop: Shop, steps: list[tuple[str, int]]) -> tuple[set[str], set[str]]:
    """Take these steps; the contents that are withdrawn then, and those that were let through."""
    withdrawn: set[str] = set()
    allowed: set[str] = set()
    for what, at in steps:
        content = hashlib.sha256(CONTENTS[at].encode()).hexdigest()
        if what in FILES:
            shop.load(what, CONTENTS[at])
        elif what == "replay":
            shop.deployment.replay(shop.feed, again=True)
        else:
            of_it = [receipt for receipt in shop.receipts() if receipt.fingerprint == content]
            for receipt in of_it[-1:]:
                before = state(shop)
                try:
                    decide(shop, what, receipt.delivery_id)  # type: ignore[arg-type]
                except PlatformError:
                    assert state(shop) == before
                    continue
                marked = withdrawn if what in ("withdraw", "restore") else allowed
                (marked.add if what in ("withdraw", "accept") else marked.discard)(content)
        assert shop.reconciles()
        assert shop.ingest().receipts == []
    return withdrawn, allowed


@settings(max_examples=examples(6), deadline=None)
@given(steps=STEPS, policy=st.sampled_from(["reject", "latest", "allow"]))
def test_whatever_is_decided_the_rest_is_as_a_clean_load(steps: list[tuple[str, int]], policy: Policy) -> None:
    equals_a_clean_load(steps, policy)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=rounds(100, 2), deadline=None)
@given(steps=STEPS, policy=st.sampled_from(["reject", "latest", "allow"]))
def test_whatever_is_decided_many_times(steps: list[tuple[str, int]], policy: Policy) -> None:
    equals_a_clean_load(steps, policy)


# ---- taken back


def test_a_withdrawn_delivery_is_out_and_what_it_replaced_stands_again(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", sales("S1,1", "S2,2"))
    shop.load("a.csv", sales("S1,5", "bad"))
    came = decide(shop, "withdraw", 2)
    assert (came.gone, came.raw, came.quarantine) == (None, 1, -1)
    assert came.changed == (Changed(1, "sales/a.csv", "superseded", "accepted", 2),)
    assert shop.rows() == [("S1", 1), ("S2", 2)]
    assert shop.rejected() == []
    assert statuses(shop) == ["accepted", "withdrawn"]
    receipt = shop.receipts()[1]
    assert receipt.decided == "withdrawn by os:anna: wrong month"
    assert (receipt.read, receipt.accepted, receipt.rejected) == (2, 1, 1)  # of its day
    assert shop.reconciles()
    decide(shop, "restore", 2)
    assert shop.rows() == [("S1", 5)]
    assert statuses(shop) == ["superseded", "accepted"]


@pytest.mark.parametrize("name", ["a.csv", "b.csv", "a.csv.gz"])
def test_offered_again_it_stays_out_until_it_is_restored(tmp_path: Path, name: str) -> None:
    shop = new_shop(tmp_path)
    text = sales("S1,1")
    shop.load("a.csv", text)
    decide(shop, "withdraw", 1)
    if name.endswith(".gz"):
        assert shop.load(name, gzip.compress(text.encode())).status == "accepted"  # other bytes are another delivery
        return
    (shop.landing / "sales/a.csv").unlink()
    assert shop.load(name, text).status == "withdrawn"
    shop.deployment.replay(shop.feed, again=True)
    assert shop.rows() == []
    came = decide(shop, "restore", 2)
    assert came.others == (1,)
    assert shop.rows() == [("S1", 1)]
    assert statuses(shop) == ["accepted", "duplicate"]


def test_of_equal_full_lists_only_the_one_is_withdrawn_also_when_it_is_renamed(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, key=("sku",), key_within="delivery")
    for name in ("monday.csv", "tuesday.csv"):
        shop.load(name, sales("S1,1"))
    decide(shop, "withdraw", 1)
    assert statuses(shop) == ["withdrawn", "accepted"]
    shop.load("wednesday.csv", sales("S1,1"))
    (shop.landing / "sales/monday.csv").rename(shop.landing / "sales/wrong.csv")
    shop.ingest()
    assert statuses(shop) == ["withdrawn", "accepted", "accepted", "withdrawn"]
    shop.deployment.replay(shop.feed, again=True)
    assert statuses(shop) == ["withdrawn", "accepted", "accepted", "withdrawn"]
    assert decide(shop, "restore", 4).others == (1,)
    assert statuses(shop) == ["accepted", "accepted", "accepted", "duplicate"]


def test_a_restatement_of_what_is_withdrawn_is_the_first_of_its_file(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, on_restatement="refuse")
    shop.load("a.csv", sales("S1,1"))
    decide(shop, "withdraw", 1)
    assert shop.load("a.csv", sales("S1,2")).status == "accepted"
    assert decide(shop, "restore", 1).changed == (Changed(2, "sales/a.csv", "accepted", "quarantined", 0),)
    assert shop.rows() == [("S1", 1)]  # as a clean load would have it


def test_what_is_quarantined_as_a_whole_waits_no_longer_once_it_is_withdrawn(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    assert shop.load("a.csv", "no table\n").status == "quarantined"
    (shop.landing / "sales/link.csv").symlink_to(shop.landing / "sales/a.csv")
    shop.ingest()
    before = shop.status().revision
    for delivery in (1, 2):
        decide(shop, "withdraw", delivery)
    assert shop.status().totals.waiting == 0
    assert shop.status().revision == before  # no row has changed
    shop.declare(delivered=replace(shop.feed.delivered, cron="0 7 * * *"))
    assert shop.ingest().receipts == []
    decide(shop, "restore", 1)
    assert statuses(shop) == ["quarantined", "withdrawn"]


def test_rows_that_had_given_way_to_rows_of_a_withdrawn_delivery_come_back(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, key=("sku",), on_known_key="reject")
    shop.load("a.csv", sales("S1,1", "S2,2"))
    other = shop.load("b.csv", sales("S1,9", "S3,3"))
    assert (other.accepted, other.duplicate) == (1, 1)
    decide(shop, "withdraw", 1)
    assert shop.rows() == [("S1", 9), ("S3", 3)]
    assert [(each.accepted, each.duplicate) for each in shop.receipts()][1:] == [(2, 0)]
    assert shop.reconciles()


def test_it_stays_out_when_the_warehouse_is_lost(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, **STRICT)
    shop.load("a.csv", sales("S1,1"))
    shop.load("b.csv", sales("S2,2", "bad"))
    decide(shop, "withdraw", 1)
    decide(shop, "accept", 2)
    before = state(shop)
    (tmp_path / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert statuses(shop) == ["withdrawn", "accepted"]
    assert state(shop) == before
    assert [receipt.decided for receipt in shop.receipts()] == [
        "withdrawn by os:anna: wrong month",
        "accepted by os:anna: wrong month",
    ]


def test_an_older_warehouse_follows_what_was_decided_since(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", sales("S1,1"))
    backup = (tmp_path / "home/warehouse.duckdb").read_bytes()
    decide(shop, "withdraw", 1)
    (tmp_path / "home/warehouse.duckdb").write_bytes(backup)
    shop.ingest()
    assert statuses(shop) == ["withdrawn"]
    assert "sales: what was decided of 1 delivery takes effect now" in shop.told


def test_receipts_bring_back_the_decisions_that_the_archive_has_lost(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", sales("S1,1"))
    decide(shop, "withdraw", 1)
    kept = tmp_path / "home/archive/sales/decisions.json"
    before = kept.read_text()
    kept.unlink()
    shop.deployment.replay(shop.feed, again=True)
    assert statuses(shop) == ["withdrawn"]
    shop.load("b.csv", sales("S2,2"))
    kept.unlink(missing_ok=True)
    (tmp_path / "home/seen/sales.sqlite").unlink()
    shop.ingest()
    decide(shop, "withdraw", 2)
    assert json.loads(before).items() <= json.loads(kept.read_text()).items()


def test_retention_takes_its_copy_and_then_it_cannot_be_restored_until_it_comes_again(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, keep=Retention(archive=timedelta(days=30)))
    shop.clock = Clock()
    shop.load("a.csv", sales("S1,1"))
    decide(shop, "withdraw", 1)
    shop.clock.ahead = timedelta(days=31)
    shop.ingest()
    assert shop.receipts()[0].archived is None
    with pytest.raises(DecisionRefused, match="the archive no longer has its copy"):
        decide(shop, "restore", 1)
    assert shop.load("b.csv", sales("S1,1")).status == "withdrawn"
    decide(shop, "restore", 2)
    assert statuses(shop) == ["superseded", "accepted"]
    assert shop.ingest().receipts == []
    assert shop.rows() == [("S1", 1)]


def test_what_it_replaced_does_not_stand_again_where_its_copy_is_gone(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, keep=Retention(archive=timedelta(days=30)))
    shop.clock = Clock()
    shop.load("a.csv", sales("S1,1"))
    shop.load("a.csv", sales("S1,2"))
    shop.clock.ahead = timedelta(days=31)
    shop.ingest()
    came = decide(shop, "withdraw", 2)
    assert (came.changed, came.gone) == ((), 1)
    assert shop.rows() == []
    assert shop.load("a.csv", sales("S1,3")).status == "accepted"
    assert shop.rows() == [("S1", 3)]
    assert shop.reconciles()


def test_it_is_withdrawn_though_its_copy_is_damaged(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    receipt = shop.load("a.csv", sales("S1,1"))
    copy = shop.deployment.archive.root / str(receipt.archived)
    copy.unlink()
    decide(shop, "withdraw", 1)
    assert shop.rows() == []
    assert statuses(shop) == ["withdrawn"]
    assert shop.ingest().receipts == []


def test_a_person_is_erased_from_what_is_withdrawn(tmp_path: Path) -> None:
    shop = Keyed(tmp_path)
    shop.landing.mkdir(parents=True)
    shop.deployment.prepare()
    shop.load("a.csv", sales("S1,1,,,anna@example.org", "S2,2,,,ben@example.org"))
    decide(shop, "withdraw", 1)
    assert shop.erase(email="anna@example.org")["left"] == {}
    assert b"anna@" not in shop.archived()
    assert (shop.receipts()[0].status, shop.receipts()[0].erased) == ("withdrawn", 1)
    decide(shop, "restore", 1)
    assert shop.skus() == ["S2"]
    assert shop.reconciles()


# ---- let through


@pytest.mark.parametrize(
    ("text", "declared", "rows"),
    [
        (sales("S1,1", "bad"), {"tolerate": Rejects(beyond="quarantine")}, (2, 1, 1)),
        (sales("S1,1,,,,new", header=f"{HEADER},extra"), {"on_drift": "fail"}, (1, 1, 0)),
        ("sku,quantity,sold_at,email\nS1,1,,\nS2,x,,\n", {}, (2, 1, 1)),
        (sales(), {}, (0, 0, 0)),
        ("", {}, (0, 0, 0)),
    ],
    ids=["tolerance", "unknown column", "missing column", "no row", "empty"],
)
def test_what_is_accepted_comes_in_and_its_rejected_rows_stay_in_quarantine(
    tmp_path: Path, text: str, declared: dict[str, Any], rows: tuple[int, int, int]
) -> None:
    shop = new_shop(tmp_path, **declared)
    assert shop.load("a.csv", text).status == "quarantined"
    receipt = decide(shop, "accept", 1, "the shop said so").receipt
    assert (receipt.status, receipt.read, receipt.accepted, receipt.rejected) == ("accepted", *rows)
    assert receipt.decided == "accepted by os:anna: the shop said so"
    assert shop.reconciles()
    before = state(shop)
    shop.deployment.replay(shop.feed, again=True)
    assert state(shop) == before
    decide(shop, "refuse", 1)
    assert statuses(shop) == ["quarantined"]
    assert shop.rows() == []


def test_values_of_an_undeclared_column_tell_rows_apart_though_raw_has_no_such_column(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, on_drift="fail")
    shop.load("a.csv", sales("S1,1,,,,red", "S1,1,,,,blue", "bad,x,,,,green", header=f"{HEADER},colour"))
    receipt = decide(shop, "accept", 1).receipt
    assert (receipt.accepted, receipt.rejected, receipt.duplicate) == (2, 1, 0)
    assert "colour" not in {name for (name,) in shop.query("SELECT name FROM pragma_table_info('raw.sales')")}
    assert json.loads(shop.rejected()[0][2])["colour"] == "green"


def test_a_restatement_that_the_feed_refuses_may_be_let_through(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, on_restatement="refuse")
    shop.load("a.csv", sales("S1,1"))
    assert shop.load("a.csv", sales("S1,2")).status == "quarantined"
    decide(shop, "accept", 2)
    assert shop.rows() == [("S1", 2)]
    decide(shop, "refuse", 2)
    assert shop.rows() == [("S1", 1)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff\xfe\x00\x01\x02" * 9, "cannot be accepted"),
        (f"{HEADER},sku\nS1,1,,,,S1\n", "cannot be told apart"),
        ("anything\nelse\n", "missing column"),
        ("quantity,price,sold_at,email\n1,,,\n", "all of its 1 rows break the contract"),
        ("sku,quantity,price,sold_at,email,_line\nS1,1,,,,7\n", "has the name of a column of raw"),
    ],
    ids=["no text", "a name twice", "no column", "no row comes in", "a column of raw"],
)
def test_what_cannot_be_accepted_is_refused_with_the_reason(tmp_path: Path, text: str | bytes, why: str) -> None:
    shop = new_shop(tmp_path, on_drift="fail")
    assert shop.load("a.csv", text).status == "quarantined"
    before = shop.receipts()
    with pytest.raises(DecisionRefused, match=why):
        decide(shop, "accept", 1)
    assert shop.receipts() == before
    assert not shop.deployment.unpublished(shop.feed)
    assert shop.ingest().receipts == []
    assert shop.receipts() == before


def test_only_that_content_is_let_through(tmp_path: Path) -> None:
    shop = new_shop(tmp_path, **STRICT)
    shop.load("a.csv", sales("S1,1", "bad"))
    decide(shop, "accept", 1)
    assert shop.load("a.csv", sales("S1,1", "bad,2")).status == "quarantined"
    assert shop.rows() == [("S1", 1)]


# ---- said wrongly


@pytest.mark.parametrize(
    ("verbs", "why"),
    [
        ([("withdraw", 1), ("withdraw", 1)], "is withdrawn already, by os:anna: wrong month"),
        ([("restore", 1)], "is not withdrawn: it is superseded"),
        ([("accept", 2), ("accept", 2)], "is accepted already"),
        ([("refuse", 2)], "was not accepted by anybody"),
        ([("withdraw", 2), ("accept", 2)], "is withdrawn, by os:anna"),
        ([("accept", 1)], "no longer counts: delivery 2 took its place"),
        ([("withdraw", 3)], "is a duplicate: its content is that of delivery 2"),
        ([("withdraw", 99)], "is not in the ledger"),
    ],
)
def test_a_decision_that_cannot_be_says_so_and_changes_nothing(
    tmp_path: Path, verbs: list[tuple[Verb, int]], why: str
) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", sales("S1,1"))
    shop.load("a.csv", sales("S1,2"))
    shop.load("b.csv", sales("S1,2"))
    *before, last = verbs
    for verb, delivery in before:
        decide(shop, verb, delivery)
    known = shop.receipts()
    with pytest.raises(ConfigurationError, match=why):
        decide(shop, *last)
    assert shop.receipts() == known


def test_a_delivery_of_another_feed_is_left_alone(tmp_path: Path) -> None:
    shop = new_shop(tmp_path)
    shop.load("a.csv", sales("S1,1"))
    other = replace(SALES, name="other")
    shop.deployment.warehouse.prepare([other], after=lambda: 0)
    with pytest.raises(ConfigurationError, match="is of sales, not of other"):
        shop.deployment.decide(other, "withdraw", 1, by="os:anna", why="wrong")


# ---- killed


def decide_and_die(root: Path, verb: Verb, point: str) -> None:
    shop = Shop(root, replace(SALES, **STRICT))
    failpoint.arm(point)
    shop.deployment.prepare()
    shop.deployment.decide(shop.feed, verb, 2, by="os:anna", why="wrong month")


@pytest.mark.parametrize("point", ["decided", "mid-read", "before-commit", "after-commit"])
@pytest.mark.parametrize(("verb", "rows"), [("withdraw", ["S1"]), ("accept", ["S2"])])
def test_killed_at_any_step_the_next_ingest_completes_it(
    tmp_path: Path, verb: Verb, rows: list[str], point: str
) -> None:
    shop = new_shop(tmp_path, **STRICT)
    shop.load("a.csv", sales("S1,1"))
    shop.load("a.csv", sales("S2,2") if verb == "withdraw" else sales("S2,2", "bad"))
    assert ended(child(decide_and_die, tmp_path, verb, point)) == -9
    assert shop.deployment.unpublished(shop.feed)  # so that a run is asked for
    shop.deployment.prepare()
    shop.ingest()
    assert shop.skus() == rows
    assert shop.reconciles()
    assert shop.receipts()[1].decided.startswith("withdrawn" if verb == "withdraw" else "accepted")
    assert not shop.deployment.unpublished(shop.feed)
    assert shop.leftovers() == []
    with pytest.raises(ConfigurationError, match="already"):
        decide(shop, verb, 2)
