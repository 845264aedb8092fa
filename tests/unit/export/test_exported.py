"""An export: the other database holds one release whole, says which, and is written only where it holds another."""

import pytest
from databases import There

from platform_assets.engine.export.database import ExportRefused
from platform_assets.engine.export.publish import is_held

DAYS = "SELECT * FROM (VALUES (DATE '2026-03-01', 10.50::DECIMAL(18,2)), (DATE '2026-03-02', NULL)) t(day, revenue)"
MORE = DAYS.replace("NULL", "7.25")
SHOPS = "SELECT range AS shop, 'it''s \"shop\" ' || range AS name FROM range(3)"


def test_marts_become_tables_and_a_table_says_of_which_release_they_are(there: There) -> None:
    made = there.export(there.release("r1", days=DAYS, shops=SHOPS))

    assert made.written == ["days", "shops"]
    assert {mart: (held.product, held.release, held.rows, held.content) for mart, held in there.held().items()} == {
        "days": ("retail", "r1", 2, DAYS),
        "shops": ("retail", "r1", 3, SHOPS),
    }
    assert [row[1] for row in there.rows("shops")] == [f'it\'s "shop" {n}' for n in range(3)]
    assert {mart: (of.rows, of.expected, of.differing) for mart, of in made.compared.items()} == {
        "days": (2, 2, ()),
        "shops": (3, 3, ()),
    }


def test_exporting_the_same_release_again_writes_nothing(there: There) -> None:
    there.export(there.release("r1", days=DAYS))
    before = there.ask("SELECT * FROM _platform_releases")

    assert there.export(there.release("r1", days=DAYS)).written == []
    assert there.ask("SELECT * FROM _platform_releases") == before


def test_of_the_next_release_only_marts_that_changed_are_written_and_their_old_rows_kept(there: There) -> None:
    there.export(there.release("r1", days=DAYS, shops=SHOPS))
    old = there.rows("days")

    assert there.export(there.release("r2", days=MORE, shops=SHOPS)).written == ["days"]
    assert there.rows("days__previous") == old
    assert there.rows("days") != old
    assert {held.release for held in there.held().values()} == {"r2"}


def test_a_release_that_people_went_back_to_is_followed(there: There) -> None:
    first, second = there.release("r1", days=DAYS), there.release("r2", days=MORE)
    there.export(first)
    old = there.rows("days")
    there.export(second)

    assert not is_held(list(there.held().values()), first)
    there.export(first)
    assert there.rows("days") == old
    assert is_held(list(there.held().values()), first)


def test_old_rows_go_with_the_platforms_own(there: There) -> None:
    """Such as those of an erased person, or of a release that is kept no longer."""
    there.export(there.release("r1", days=DAYS))
    out = there.release("r2", days=MORE)
    there.export(out)
    assert there.rows("days__previous")

    del there.released["r1"]
    assert not is_held(list(there.held().values()), out)
    assert there.export(out).written == []
    assert there.rows("days__previous") == []
    assert is_held(list(there.held().values()), out)


def test_rows_that_were_erased_from_a_release_are_not_kept(there: There) -> None:
    there.export(there.release("r1", days=MORE))
    there.export(there.release("r1", days=DAYS))

    assert there.rows("days__previous") == []


@pytest.mark.parametrize("done", ["DELETE FROM days", "UPDATE days SET revenue = 1", "DROP TABLE days"])
def test_what_others_did_to_a_table_is_found_and_mended(there: There, done: str) -> None:
    out = there.release("r1", days=DAYS)
    there.export(out)
    before = there.rows("days")
    there.ask(done)

    assert there.export(out).written == ["days"]
    assert there.rows("days") == before


@pytest.mark.parametrize(
    "kind", ["TABLE days (x INTEGER)", "VIEW days AS SELECT 1 AS x", "TABLE days__previous (x INTEGER)"]
)
def test_what_is_not_ours_is_never_overwritten(there: There, kind: str) -> None:
    there.ask(f"CREATE {kind}")

    with pytest.raises(ExportRefused, match="is there already, and the platform did not make it"):
        there.export(there.release("r1", days=DAYS, shops=SHOPS))
    assert there.held() == {}


def test_a_previous_table_that_is_not_ours_is_not_taken_later_either(there: There) -> None:
    there.export(there.release("r1", days=DAYS))
    there.ask("CREATE TABLE days__previous (x INTEGER)")

    with pytest.raises(ExportRefused, match="days__previous is there already"):
        there.export(there.release("r2", days=MORE))


def test_another_products_table_is_not_taken(there: There) -> None:
    there.export(there.release("r1", days=DAYS))

    other = there.of("finance")
    with pytest.raises(ExportRefused, match="days there is of the product retail"):
        other.export(other.release("f1", days=DAYS))


def test_a_table_whose_columns_somebody_changed_is_refused(there: There) -> None:
    there.export(there.release("r1", days=DAYS))
    there.ask("ALTER TABLE days ADD COLUMN note TEXT")

    with pytest.raises(ExportRefused, match="somebody has changed it"):
        there.export(there.release("r2", days=MORE))


def test_columns_come_go_and_change_their_type(there: There) -> None:
    for name, rows in {
        "r1": "SELECT 1 AS a, 'x' AS b",
        "r2": "SELECT 'one' AS a, 2.5::DOUBLE AS c",
        "r3": "SELECT DATE '2026-03-01' AS a",
        "r4": "SELECT 4 AS z",
        "r5": "SELECT 5 AS a, 6 AS z",
    }.items():
        there.export(there.release(name, wide=rows))
        assert set(there.held()["wide"].columns) == set(there.release(name, wide=rows).marts["wide"].columns())

    assert there.ask("SELECT a, z FROM wide") == [(5, 6)]
    assert there.ask("SELECT z FROM wide__previous") == [(4,)]


def test_a_mart_that_the_release_no_longer_has_stays_and_is_told(there: There) -> None:
    there.export(there.release("r1", days=DAYS, shops=SHOPS))

    assert there.export(there.release("r2", days=DAYS)).left == ["shops"]
    assert len(there.rows("shops")) == 3
    assert there.held()["shops"].release == "r1"


def test_names_are_taken_as_they_are(there: There) -> None:
    """Reserved words, quotes, percent signs, capitals."""
    rows = """SELECT 1 AS "select", 2 AS "a ""b"" 100%", 3 AS "Tag", 4 AS "größe" """
    there.export(there.release("r1", **{"order": rows, "user%s": rows}))
    there.export(there.release("r2", **{"order": rows.replace("1 AS", "9 AS"), "user%s": rows}))

    assert there.rows("order") == [(9, 2, 3, 4)]
    assert there.ask('SELECT "a ""b"" 100%" FROM "user%s"') == [(2,)]


def test_a_mart_without_rows_is_an_empty_table(there: There) -> None:
    there.export(there.release("r1", days=f"{DAYS} WHERE false"))

    assert there.rows("days") == []
    assert there.export(there.release("r1", days=f"{DAYS} WHERE false")).written == []
