"""What the UI says of a feed: receipts, newest data, rejected rows by rule and over time; and nothing of it can act."""

import dagster as dg
import pytest
from shop import Shop, sales

from platform_assets.orchestration.feed_metadata import FeedFigures, receipts_table
from platform_assets.orchestration.markdown import code


def figures(shop: Shop, *names_and_texts: tuple[str, str]) -> FeedFigures:
    receipts = [shop.load(name, text) for name, text in names_and_texts]
    return FeedFigures.of(shop.deployment, shop.feed, receipts)


def test_raw_shows_its_receipts_rows_and_newest_data(shop: Shop) -> None:
    shown = figures(shop, ("a.csv", sales("S1,1,,2026-03-01T10:00:00Z", "S2,oops"))).raw_metadata()
    assert {name: shown[name] for name in ("deliveries", "read", "accepted", "rejected", "dagster/row_count")} == {
        "deliveries": 1,
        "read": 2,
        "accepted": 1,
        "rejected": 1,
        "dagster/row_count": 1,
    }
    assert shown["newest_data"].value == shop.status().newest.timestamp()  # type: ignore[union-attr]
    assert "sales/a.csv" in shown["receipts"].value
    assert shown["quarantine"].asset_key.path == ["quarantine", shop.feed.origin, "sales"]


def test_rejected_rows_are_a_figure_for_every_rule_so_that_they_can_be_drawn(shop: Shop) -> None:
    first = figures(shop, ("a.csv", sales("S1,1", "S2,oops", "S3,-1")))
    second = figures(shop, ("b.csv", sales("S4,1", "S5,-1", "S6,-1")))
    rules = {name: rows for name, rows in first.raw_metadata().items() if name.startswith("rejected: ")}
    assert rules == {"rejected: quantity integer": 1, "rejected: quantity greater_than_or_equal_to(0)": 1}
    again = {name: rows for name, rows in second.raw_metadata().items() if name.startswith("rejected: ")}
    assert again == {"rejected: quantity integer": 0, "rejected: quantity greater_than_or_equal_to(0)": 2}
    assert "| `quantity` | `greater_than_or_equal_to(0)` | 3 | ▄█ |" in second.quarantine_metadata()["reasons"].value


@pytest.mark.parametrize("name", ["a<script>alert(1)</script>.csv", "[x](javascript:alert(1)).csv", "a|b`c.csv"])
def test_text_from_outside_is_only_shown(shop: Shop, name: str) -> None:
    table = receipts_table([shop.load(name, sales("S1,1"))])
    (row,) = [line for line in table.splitlines() if line.startswith("| 1 ")]
    cell = row.split(" | ")[1]
    assert cell.startswith("`sales/")
    assert cell.endswith("`")
    assert not set("`|") & set(cell[1:-1])


def test_a_line_end_does_not_end_the_cell() -> None:
    assert code("a\n# b") == "`a·# b`"


def shown(value: object) -> list[dict[str, object]]:
    """The rows of a table in the UI, whose cells Dagster shows as text."""
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_the_newest_rows_and_deliveries_stand_on_the_page_of_raw(shop: Shop) -> None:
    first = ("a.csv", sales(*(f"S{at},{at}" for at in range(1, 20))))
    raw = figures(shop, first, ("b.csv", sales("T1,1", "T2,2", "T3,oops"))).raw_metadata()
    rows = shown(raw["newest_rows"])
    assert [(row["sku"], row["quantity"]) for row in rows[:3]] == [("T2", "2"), ("T1", "1"), ("S19", "19")]
    assert len(rows) == 10
    deliveries = [(row["file"], row["status"], row["rows accepted"]) for row in shown(raw["newest_deliveries"])]
    assert deliveries == [("sales/b.csv", "accepted", 2), ("sales/a.csv", "accepted", 19)]


def test_rejected_rows_stand_on_the_page_of_quarantine(shop: Shop) -> None:
    (row,) = shown(figures(shop, ("a.csv", sales("S1,1", "S2,oops"))).quarantine_metadata()["newest_rows"])
    assert (row["file"], row["line"], row["column"], row["value"]) == ("sales/a.csv", 3, "quantity", "oops")


def test_personal_data_of_a_row_is_masked(shop: Shop) -> None:
    seen = figures(shop, ("a.csv", sales("S1,1,,,anna@example.org", "S2,oops,,,eve@example.org")))
    (row,) = shown(seen.raw_metadata()["newest_rows"])
    assert (row["sku"], row["email"]) == ("S1", "***")
    assert "@example.org" not in f"{seen.raw_metadata()}{seen.quarantine_metadata()}"


def test_a_long_value_of_a_row_is_cut_and_stays_on_its_line(shop: Shop) -> None:
    raw = figures(shop, ("a.csv", sales(f"S{'1' * 5_000},1"))).raw_metadata()
    (row,) = shown(raw["newest_rows"])
    assert row["sku"] == f"S{'1' * 59}…"
