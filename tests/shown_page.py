"""Pages to test with: what a page may show, of any size, hostile where it can be.

Belongs here: values of `Page`. Elsewhere: assertions (unit/web/test_page.py, ui/test_page.py).
"""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from platform_assets.web.page import (
    DAYS,
    Day,
    Page,
    Promised,
    ShownAsset,
    ShownChart,
    ShownColumn,
    ShownDelivery,
    ShownMart,
    ShownProduct,
    Trouble,
)

NOON: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE: Final = (
    "</script><script>window.pwned=1</script>",
    '"><img src=x onerror=window.pwned=1>',
    "\u202egnp.exe\u2066\u200f",
    "\x00\x1b[31m\r\n\u2028\ufeff",
    "&lt;b&gt; <!--<script> ]]> {{7*7}} ${window.pwned=1}",
    "javascript:window.pwned=1",
)


def page(*, assets: int = 4, columns: int = 3, text: str = "", troubles: int = 0, days: int = 12) -> Page:
    """A page of so many assets with so many columns each; text: stands wherever a text from outside may stand."""
    names = [f"{'raw/shop' if at < assets // 2 else 'marts'}/asset_{at}{text}" for at in range(assets)]
    last = date(2026, 3, 1)
    kept = tuple(
        Day(last - timedelta(days=DAYS - 1 - at), int(at % 7 > 1), int(at % 7 > 1 and at != 20), f"late{text}")
        for at in range(DAYS)
    )
    return Page(
        as_of=NOON,
        troubles=tuple(
            Trouble(f"Check {at} failed{text}", f"1{text}\n2", NOON, f"team:shop{text}", (names[-1],), f"why{text}")
            for at in range(troubles)
        ),
        products=(
            ShownProduct(
                f"shop{text}",
                f"team:shop{text}",
                f"20260301T120000Z-1{text}",
                NOON,
                (
                    ShownMart(f"daily{text}", names[-1], 1234, NOON, "fresh", ""),
                    ShownMart("late", names[-1], 5, NOON, "late", f"Monday's delivery is missing{text}"),
                ),
                f"held back by x{text}" if text else "",
                (f"Delivery 3 was accepted{text}",),
            ),
        ),
        promises=tuple(
            Promised(f"{name}{text}", "on time", f"team:shop{text}", f"9 of 10 kept{text}", f"{text}", kept)
            for name in names[: max(4, assets // 4)]
        ),
        deliveries=tuple(
            ShownDelivery(
                9 - at,
                f"sales{text}",
                f"sales/2026-02-{20 - at:02}{text}.csv",
                NOON - timedelta(hours=7 * at),
                "accepted" if at else "quarantined",
                100,
                90,
                6,
                4,
                ((f"price{text}", f"in_range(0, 5){text}", 6),),
                f"the header lacks sku{text}" if not at else "",
            )
            for at in range(16)
        ),
        more_deliveries=3,
        assets=tuple(
            ShownAsset(
                name,
                "feeds" if name.startswith("raw") else "marts",
                f"What {at} is.{text}",
                f"team:shop{text}",
                () if name.startswith("raw") else (names[at % max(1, assets // 2)],),
                f"check x failed{text}" if at == assets - 1 else "",
            )
            for at, name in enumerate(names)
        ),
        columns=tuple(
            ShownColumn(name, f"column_{at}{text}", "DECIMAL(18,4)", f"Meaning of {at}.{text}", f"ge(0){text}", "")
            for name in names
            for at in range(columns)
        ),
        charts=(
            ShownChart(
                "REVENUE_BY_DAY",
                f"Revenue{text}",
                f"daily{text}",
                f"GBP{text}",
                "",
                "line",
                "time",
                f"day{text}",
                tuple(str(last + timedelta(days=at)) for at in range(days)),
                (
                    (f"gross{text}", tuple(f"{1000 + at}.1234" for at in range(days))),
                    (f"returns{text}", tuple(f"-{at}.50" for at in range(days))),
                ),
                f"Shown are the newest.{text}",
            ),
            ShownChart(
                "TOP", f"Top{text}", "lines", "", "", "bar", "category", "item",
                tuple(f"item {at}{text}" for at in range(5)),
                (("sold", tuple(f"{50 - at}" for at in range(5))),),
            ),
            ShownChart(
                "VALUE", f"Value{text}", "customers", "GBP", "score", "scatter", "number", "orders",
                ("1", "2", "3"), (("1", ("10.00", None, "12.00")), ("2", (None, "11.00", None))),
            ),
            ShownChart("HIDDEN", f"Hidden{text}", "daily", "", problem=f"email may be personal data{text}"),
        ),
    )  # fmt: skip
