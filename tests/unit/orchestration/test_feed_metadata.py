"""What the UI says of a feed: receipts, newest data, rejected rows by rule and over time; and nothing of it can act."""

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
