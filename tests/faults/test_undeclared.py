"""A feed whose declaration is deleted or renamed: what is kept of it is listed, dropped, or taken along; killed
anywhere, the same call finishes it, and no row is lost or taken in twice."""

import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from shop import KEY, SALES, Keyed, Shop, child, ended, sales

from platform_assets.alerts.channels import Routes
from platform_assets.alerts.incidents import Alerts, Problem
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Files, seconds
from platform_assets.engine.store.builds import CheckResult, Made
from platform_assets.engine.undeclared import drop_feed, rename_feed, undeclared_feeds
from platform_assets.errors import ConfigurationError

OTHER: Final = replace(SALES, name="other", source=Files("other/*.csv", settle=seconds(0)))
WEB: Final = replace(SALES, name="web_sales", origin="web")
RENAMES: Final = ("rename-asked", "rename-archive", "rename-committed", "rename-noted")
DROPS: Final = ("drop-committed", "mid-drop")


@pytest.fixture
def left(tmp_path: Path) -> Shop:
    """A shop whose feed `sales` has two deliveries, one restated, and quarantined rows; then it is declared no more."""
    shop = Shop(tmp_path)
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("1.csv", sales("S1,1", "S2,2", "bad"))
    shop.load("2.csv", sales("S3,3"))
    shop.load("2.csv", sales("S4,4", "S4,4"))
    return shop


def renamed(shop: Shop) -> Shop:
    """The shop, its feed declared under the new name."""
    again = Shop(shop.root, WEB)
    again.deployment.prepare()
    return again


def rename_in_child(root: Path, point: str) -> None:
    failpoint.arm(point)
    rename_feed(Shop(root, WEB).deployment, "sales", "web_sales")


def drop_in_child(root: Path, point: str) -> None:
    failpoint.arm(point)
    drop_feed(Shop(root, OTHER).deployment, "sales")


def stands(shop: Shop, told: list[tuple[object, ...]]) -> None:
    """All is of the new name, nothing is left of the old one, and nothing is taken in again."""
    assert undeclared_feeds(shop.deployment) == []
    assert shop.rows() == [("S1", 1), ("S2", 2), ("S4", 4)]
    assert [(r.delivery_id, r.slot, r.status, r.accepted) for r in shop.receipts()] == told
    assert shop.reconciles()
    assert {r.feed for r in shop.receipts()} == {"web_sales"}
    shop.deployment.prepare()
    assert shop.ingest().receipts == [], "nothing is taken in twice"
    assert len(shop.deployment.replay(shop.feed, again=True)) == 3, "every copy is found where the ledger says"
    assert shop.rows() == [("S1", 1), ("S2", 2), ("S4", 4)]
    (shop.root / "home/warehouse.duckdb").unlink()
    shop.deployment.prepare()
    shop.ingest()
    assert shop.rows() == [("S1", 1), ("S2", 2), ("S4", 4)], "the archive alone brings it back"


def told_of(shop: Shop) -> list[tuple[object, ...]]:
    return [(r.delivery_id, r.slot, r.status, r.accepted) for r in shop.receipts()]


def test_what_is_kept_without_a_declaration_is_listed(left: Shop) -> None:
    assert undeclared_feeds(left.deployment) == []
    other = Shop(left.root, OTHER)
    other.deployment.prepare()
    (found,) = undeclared_feeds(other.deployment)
    assert (found.feed, found.rows, found.rejected, found.deliveries) == ("sales", 3, 1, 3)
    assert found.since is not None
    assert found.last is not None
    assert found.since <= found.last


@pytest.mark.parametrize("point", [None, *RENAMES])
def test_a_renamed_feed_takes_all_along_wherever_it_is_killed(left: Shop, point: str | None) -> None:
    told = told_of(left)
    shop = renamed(left)
    if point is not None:
        assert ended(child(rename_in_child, left.root, point)) == -signal.SIGKILL
        shop.deployment.prepare()
    rename_feed(shop.deployment, "sales", "web_sales")
    stands(shop, told)


@pytest.mark.parametrize("point", [None, *(pytest.param(point, marks=pytest.mark.slow) for point in RENAMES)])
def test_what_the_new_name_has_taken_in_meanwhile_is_not_taken_in_twice(left: Shop, point: str | None) -> None:
    told = told_of(left)
    shop = renamed(left)
    assert len(shop.ingest().receipts) == 2, "the run that came first takes in what lies there"
    if point is not None:
        assert ended(child(rename_in_child, left.root, point)) == -signal.SIGKILL
        shop.deployment.prepare()
        shop.ingest()
    rename_feed(shop.deployment, "sales", "web_sales")
    stands(shop, told)


@pytest.mark.parametrize("point", [None, *DROPS])
def test_a_dropped_feed_is_gone_wherever_it_is_killed(left: Shop, point: str | None) -> None:
    other = Shop(left.root, OTHER)
    other.deployment.prepare()
    before = [receipt.delivery_id for receipt in left.receipts()]
    if point is not None:
        assert ended(child(drop_in_child, left.root, point)) == -signal.SIGKILL
        assert [each.feed for each in undeclared_feeds(other.deployment)] == ["sales"], "it is not finished"
    drop_feed(other.deployment, "sales")
    assert undeclared_feeds(other.deployment) == []
    assert other.receipts() == []
    assert list((left.root / "home").rglob("*sales*")) == []
    (left.landing / "other").mkdir()
    (left.landing / "other/1.csv").write_text(sales("S1,1"))
    (receipt,) = other.ingest().receipts
    assert receipt.delivery_id > max(before), "no id is given out twice"


def test_what_makes_no_sense_is_refused_and_says_what_to_do(left: Shop) -> None:
    declared = left.deployment
    with pytest.raises(ConfigurationError, match=r"'sales': is declared(.|\n)*Delete its declaration first"):
        drop_feed(declared, "sales")
    with pytest.raises(ConfigurationError, match=r"'sales': is declared(.|\n)*Change its name in its Python file"):
        rename_feed(declared, "sales", "web_sales")
    shop = renamed(left)
    with pytest.raises(ConfigurationError, match=r"nothing is kept of it\. Did you mean 'sales'"):
        drop_feed(shop.deployment, "salse")
    with pytest.raises(ConfigurationError, match="'web'"):
        rename_feed(shop.deployment, "sales", "web")
    shop.deliver("9.csv", sales("S9,9"))
    shop.ingest()
    with pytest.raises(ConfigurationError, match="Two feeds cannot become one"):
        rename_feed(shop.deployment, "sales", "web_sales")
    assert ("S9", 9) in shop.rows()


def test_persons_stay_erased_under_the_new_name(tmp_path: Path) -> None:
    shop = Keyed(tmp_path)
    shop.landing.mkdir()
    shop.deployment.prepare()
    shop.load("1.csv", sales("S1,1,1,2026-03-01T10:00:00Z,ada@example.com", "S2,2"))
    shop.erase(email="ada@example.com")
    web = Keyed(tmp_path, WEB, key=KEY)
    web.deployment.prepare()
    rename_feed(web.deployment, "sales", "web_sales")
    web.load("2.csv", sales("S3,3,1,2026-03-01T10:00:00Z,ada@example.com", "S4,4"))
    assert web.skus() == ["S2", "S4"]


def test_notes_and_incidents_go_along(left: Shop) -> None:
    now = datetime.now(tz=UTC)
    builds = left.deployment.builds
    with builds.changing([], "run"):
        pass
    builds.note(
        [
            Made("raw/shop/sales", "v", "c", now),
            Made("release/marts", "v", "c", now),
            Made("staging/stg", "v", "c", now, inputs={"raw/shop/sales": "v"}, revisions={"sales": 3}),
        ],
        [CheckResult("raw/shop/sales", "rejected", "v", True, "", now)],
    )
    alerts = Alerts(left.root / "home/alerts.sqlite", Routes({}, ""))
    keys = ("missing:sales", "sensor:sales_files", "check:raw/shop/sales:volume", "model:stg_sales", "missing:sales_b")
    alerts.sync([Problem(key, "team:x", "t", "d", ("raw/shop/sales",), "volume", "c", now) for key in keys])
    shop = renamed(left)
    rename_feed(shop.deployment, "sales", "web_sales", lambda: alerts.rename("sales", "web_sales", "web"))
    built = shop.deployment.builds.read()
    assert set(built.made) == {"raw/web/web_sales", "staging/stg", "release/marts"}
    assert built.made["staging/stg"].inputs == {"raw/web/web_sales": "v"}
    assert built.made["staging/stg"].revisions == {"web_sales": 3}
    assert set(built.results) == {("raw/web/web_sales", "rejected")}
    assert {each.problem.key for each in alerts.incidents(open_only=True)} == {
        *("missing:web_sales", "sensor:web_sales_files", "check:raw/web/web_sales:volume"),
        *("model:stg_sales", "missing:sales_b"),
    }
