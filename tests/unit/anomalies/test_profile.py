"""The values of the newest deliveries are held to what their feed usually brings, and personal data is not shown."""

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from machine import RETAIL
from shop import SALES, Shop, sales

from platform_assets.engine.anomalies.profile import ValuesResult, check_values, profiles
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed, Files, seconds
from platform_assets.engine.store.profiles import Figure, Profile
from platform_assets.engine.store.receipts import Receipt
from platform_assets.feeds.retail import ORDER_LINES

MONDAY = date(2026, 1, 5)
FEED = replace(SALES, volume=None)


def lines(day: int, *, rows: int = 60, price: float = 1.0, no_email: float = 0.2, sku: str | None = None) -> list[str]:
    """A day's rows: ten articles, prices about 5, a fifth without e-mail."""
    draw = random.Random(day)
    moment = f"{MONDAY + timedelta(days=day)}T12:00:00Z"
    return [
        f"{sku or f'S{draw.randrange(10)}'},{n},{draw.uniform(4, 6) * price:.2f},{moment},"
        + ("" if draw.random() < no_email else f"{draw.choice('abc')}@shop.example")
        for n in range(rows)
    ]


def deliver(shop: Shop, day: int, content: list[str], name: str | None = None) -> None:
    """Take the delivery of a day in, the next morning."""
    shop.clock.at = datetime(2026, 1, 6, 7, tzinfo=UTC) + timedelta(days=day)
    shop.load(name or f"{MONDAY + timedelta(days=day)}.csv", sales(*content))


def judged(shop: Shop) -> tuple[ValuesResult, ValuesResult]:
    with shop.deployment.warehouse.transaction("check_values") as unit:
        receipts = unit.ledger.receipts(shop.feed.name)
        return check_values(shop.feed, receipts, profiles(unit, shop.feed, receipts))


def said(shop: Shop) -> list[str]:
    nulls, values = judged(shop)
    return [f"{odd.column} {odd.figure}" for odd in (*nulls.odd, *values.odd)]


WEEKS = 10


@pytest.fixture
def known(shop: Shop) -> Shop:
    """A shop that knows ten weeks of Mondays to Sundays, taken in day by day."""
    shop.feed = FEED
    for day in range(7 * WEEKS):
        shop.clock.at = datetime(2026, 1, 6, 7, tzinfo=UTC) + timedelta(days=day)
        shop.deliver(f"{MONDAY + timedelta(days=day)}.csv", sales(*lines(day)))
    shop.ingest()  # at once: what is of one hour is compared with what came before it
    return shop


def test_what_is_usual_is_not_odd(known: Shop) -> None:
    assert judged(known) == (ValuesResult(7 * (WEEKS - 8), []), ValuesResult(7 * (WEEKS - 8), []))
    deliver(known, 70, lines(70))
    nulls, values = judged(known)
    assert (nulls.judged, nulls.odd, values.odd) == (1, [], [])
    assert str(values) == "0 failed; 1 of the newest deliveries are as usual"


def test_many_more_nulls_are_odd(known: Shop) -> None:
    deliver(known, 70, lines(70, no_email=0.75))
    assert said(known) == ["email nulls"]
    text = str(judged(known)[0])
    assert text.startswith("1 failed: sales/2026-03-16.csv: email: 7")
    assert "of the rows have none, usually 19%" in text


def test_prices_in_pence_are_odd(known: Shop) -> None:
    deliver(known, 70, lines(70, price=100))
    assert said(known) == ["price low", "price middle", "price high"]
    assert "price: nine tenths of the values are below 57" in str(judged(known)[1])


def test_one_article_for_all_rows_is_odd_and_named(known: Shop) -> None:
    deliver(known, 70, lines(70, sku="S1"))
    assert said(known) == ["sku distinct", "sku top"]
    assert "sku: 100% of the values are the same (S1), usually 1" in str(judged(known)[1])


def test_personal_data_is_never_shown(known: Shop) -> None:
    content = [line.rsplit(",", 1)[0] + ",canary@shop.example" for line in lines(70)]
    deliver(known, 70, content)
    nulls, values = judged(known)
    assert [f"{odd.column} {odd.figure}" for odd in values.odd] == ["email top"]
    assert "canary" not in f"{nulls} {values} {values.odd}"
    assert not known.query("SELECT * FROM ledger.profiles WHERE example LIKE '%canary%'")


def test_figures_of_personal_numbers_are_not_shown(shop: Shop) -> None:
    secret = replace(FEED, contract=ORDER_LINES.contract, event_time=None)
    (found,) = list(odd_of(secret, "customer_id", "middle", 1e9))
    assert found == "9.csv: customer_id: the values are not as usual (personal data, not shown)"


def odd_of(feed: Feed, column: str, figure: Figure, value: float) -> Iterator[str]:
    """What is said of a delivery whose figure is `value` where it always was 1."""
    made = [
        Receipt(
            delivery_id=week,
            feed=feed.name,
            slot=f"{week}.csv",
            bytes=1,
            contract="",
            arrived_at=datetime(2026, 1, 5, tzinfo=UTC) + timedelta(weeks=week),
            committed_at=datetime(2026, 1, 5, tzinfo=UTC) + timedelta(weeks=week),
            revision=week,
            status="accepted",
            read=100,
            accepted=100,
        )
        for week in range(10)
    ]
    profiles: dict[int, Profile] = {r.delivery_id: {(column, figure): (1.0, None)} for r in made}
    profiles[9] = {(column, figure): (value, None)}
    for judgement in check_values(feed, made, profiles):
        yield from map(str, judgement.odd)


def test_little_history_and_few_rows_say_nothing(shop: Shop) -> None:
    shop.feed = FEED
    for week in range(8):
        deliver(shop, 7 * week, lines(7 * week))
    deliver(shop, 1, lines(1, price=100), "tuesday.csv")
    assert said(shop) == []
    assert "not enough history" in str(judged(shop)[1])
    deliver(shop, 56, lines(56, rows=10, price=100))
    assert said(shop) == []


def test_only_what_is_new_is_looked_at_and_only_what_history_needs_is_kept(known: Shop) -> None:
    def profiled() -> Mapping[int, int]:
        return dict(known.query("SELECT DISTINCT delivery_id, revision FROM ledger.profiles"))

    judged(known)
    assert set(profiled()) == set(range(1, 71))
    known.query("UPDATE ledger.profiles SET value = 0.123 WHERE figure = 'nulls'")
    deliver(known, 70, lines(70))
    judged(known)
    looked = known.query("SELECT DISTINCT delivery_id FROM ledger.profiles WHERE figure = 'nulls' AND value <> 0.123")
    assert looked == [(71,)]
    # A restated delivery is looked at anew, and what it replaced is forgotten.
    deliver(known, 71, lines(70, rows=50), f"{MONDAY + timedelta(days=70)}.csv")
    judged(known)
    assert set(profiled()) == {*range(1, 71), 72}
    for week in range(11, 24):
        deliver(known, 7 * week, lines(7 * week))
    judged(known)
    mondays = [delivery for delivery in profiled() if delivery > 71 or delivery % 7 == 1]
    assert len(mondays) == 21


@pytest.mark.needs(RETAIL)
def test_real_deliveries_raise_hardly_an_alarm_and_planted_faults_do(tmp_path: Path) -> None:
    feed = replace(ORDER_LINES, source=Files("by-day/*.csv", settle=seconds(0)))
    deployment = Deployment([feed], home=tmp_path, landing=RETAIL)
    deployment.prepare()
    deployment.ingest(feed)
    known: dict[int, Profile] = {}
    receipts: list[Receipt] = []
    alarms, days = [0, 0], 0
    caught = dict.fromkeys(("nulls", "prices", "country"), 0)
    compared = 0
    with deployment.warehouse.transaction("check_values") as unit:
        for receipt in unit.ledger.receipts()[::-1]:
            came = datetime.combine(date.fromisoformat(Path(receipt.slot).stem), datetime.min.time(), UTC)
            receipts.append(replace(receipt, committed_at=came + timedelta(days=1)))
            if len(receipts) in (70, 140, 219):  # what is kept goes back so far
                known = known | profiles(unit, feed, receipts)
        for days in range(1, len(receipts) + 1):
            receipt, before = receipts[days - 1], receipts[:days]
            for at, judgement in enumerate(check_values(feed, before, known)):
                alarms[at] += bool(judgement.odd)
            if judgement.judged and days % 5 == 0:
                compared += 1
                whole = dict(known[receipt.delivery_id])
                for name, planted in _faults(whole).items():
                    found = check_values(feed, before, {**known, receipt.delivery_id: {**whole, **planted}})
                    caught[name] += any(judgement.odd for judgement in found)
    assert days == 219
    assert max(alarms) <= 2
    assert min(caught.values()) > 0.95 * compared
    print(f"false alarms {alarms}, caught of {compared}: {caught}")  # noqa: T201


def _faults(whole: Profile) -> dict[str, Profile]:
    """Three in ten descriptions gone, prices in pence, one country for all."""
    prices: dict[tuple[str, Figure], tuple[float, str | None]] = {
        key: (value * 100, None)
        for key, (value, _) in whole.items()
        if key[0] == "unit_price" and key[1] in ("low", "middle", "high")
    }
    nulls = whole["description", "nulls"][0]
    return {
        "nulls": {("description", "nulls"): (nulls + 0.3 * (1 - nulls), None)},
        "prices": prices,
        "country": {("country", "distinct"): (1.0, None), ("country", "top"): (1.0, "France")},
    }


def test_the_largest_deliveries_are_looked_at_in_part(shop: Shop) -> None:
    shop.feed = FEED
    shop.load("big.csv", sales(*(f"S{n},{n},{n}.00,2026-01-05T10:00:00Z" for n in range(401_000))))
    with shop.deployment.warehouse.transaction("look") as unit:
        profile = profiles(unit, shop.feed, unit.ledger.receipts())[1]
    assert profile["sku", "distinct"][0] == pytest.approx(401_000 / 3, abs=2)
    assert math.isclose(profile["quantity", "middle"][0], 200_500, rel_tol=0.01)
