"""The page of the releases as it comes about: with a release, a change of what it says, a command; never in the way.

One deployment serves all tests of this file, in their order.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from deployed import Deployed

from platform_assets.definitions import build_definitions
from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.page import keep_page
from platform_assets.project.configured import declared_feeds, declared_marts, declared_project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


class Tables(HTMLParser):
    """The rows of the tables below charts, by chart."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: dict[str, list[list[str]]] = {}
        self._chart, self._cell = "", False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "figure":
            self._chart = dict(attrs)["id"] or ""
            self.rows[self._chart] = []
        elif tag == "tr" and self._chart:
            self.rows[self._chart].append([])
        elif tag in ("th", "td") and self._chart:
            self.rows[self._chart][-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("th", "td")
        if tag == "figure":
            self._chart = ""

    def handle_data(self, data: str) -> None:
        if self._cell and self._chart:
            self.rows[self._chart][-1][-1] += data


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    world = Deployed(tmp_path_factory.mktemp("page"))
    done = world.platform("simulate", "--days", "4", "--rows-per-day", "60", "--seed", "7")
    assert done.did, done.err
    done = world.verb("run", "--json")
    assert done.did, done.err
    return world


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return build_definitions()


def file_of(world: Deployed) -> Path:
    return world.home / "site" / "index.html"


def verdict(world: Deployed) -> str:
    found = re.search(r"<title>(.*?)</title>", file_of(world).read_text())
    assert found is not None
    return found[1]


@contextmanager
def looking(world: Deployed, definitions: dg.Definitions, ahead: timedelta) -> Iterator[tuple[Any, Any]]:
    """What is stored, seen so much later."""
    deployment = Deployment(
        declared_feeds(), home=world.home, landing=world.landing, clock=lambda: datetime.now(tz=UTC) + ahead
    )
    project = declared_project(deployment.feeds)
    with world.instance() as instance:
        seen = DagsterState(instance, definitions.resolve_asset_graph(), deployment.clock())
        yield seen, DeploymentState(deployment, declared_marts(), project)


def test_a_run_writes_it_with_the_numbers_of_the_release(world: Deployed) -> None:
    assert verdict(world) == "Everything is fine"
    rows = Tables(file_of(world).read_text()).rows
    head, *days = rows["REVENUE_BY_DAY"]
    assert head == ["sale_date", "gross_revenue", "returns_value", "net_revenue"]
    there = world.query(
        "SELECT sale_date::VARCHAR, gross_revenue, returns_value, net_revenue FROM daily_sales ORDER BY 1"
    )
    assert [(day, *(float(value.replace(",", "")) for value in values)) for day, *values in days] == [
        (day, *map(float, values)) for day, *values in there
    ]
    top = {name: value.replace(",", "") for name, value in rows["TOP_PRODUCTS"][1:]}
    sold = world.query(
        "SELECT description, sum(line_amount) FROM fct_order_lines GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 10"
    )
    assert [f"{float(value):.4f}" for value in top.values()] == [f"{value:.4f}" for _, value in sold]


def test_the_release_asset_links_to_it(world: Deployed) -> None:
    with world.instance() as instance:
        (record,) = instance.fetch_materializations(dg.AssetKey(["release", "retail"]), limit=1).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["page"].value == str(file_of(world))


def test_what_has_not_changed_is_not_written_again(world: Deployed) -> None:
    before = file_of(world).stat()
    answer = world.verb("page", "--json").answer
    assert answer == {"page": str(file_of(world)), "url": file_of(world).as_uri(), "written": False}
    assert file_of(world).stat() == before


def test_it_tells_no_personal_data(world: Deployed) -> None:
    shown = file_of(world).read_text()
    persons = world.query("SELECT customer_id FROM dim_customers WHERE customer_id IS NOT NULL")
    cells = {cell for rows in Tables(shown).rows.values() for row in rows for cell in row}
    assert not cells & {str(person) for (person,) in persons}
    raw = "".join(path.read_text(errors="replace") for path in world.landing.rglob("customers/*"))
    addresses = set(re.findall(r"[\w.]+@[\w.]+", raw))
    assert len(addresses) > 20
    assert not [address for address in addresses if address in shown]


def test_a_sensors_look_brings_it_back(world: Deployed, definitions: dg.Definitions, monkeypatch: Any) -> None:
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    file_of(world).unlink()
    with world.instance() as instance:
        repository = definitions.get_repository_def()
        sensor = repository.get_sensor_def("alerts")
        for _ in range(2):
            context = dg.build_sensor_context(instance, repository_def=repository)
            sensor(context)
            written = file_of(world).stat().st_mtime_ns
    assert verdict(world) == "Everything is fine"
    assert file_of(world).stat().st_mtime_ns == written


def test_what_becomes_late_is_on_it_and_goes_again(world: Deployed, definitions: dg.Definitions) -> None:
    with looking(world, definitions, timedelta(days=9)) as (seen, stored):
        assert keep_page(seen, stored)[1]
        late = file_of(world).read_text()
        assert "not fine" in verdict(world)
        assert "is missing" in late
        assert 'class="state bad">late' in late
        assert keep_page(seen, stored)[1] is False
    assert world.verb("page", "--json").answer["written"]
    assert verdict(world) == "Everything is fine"


def test_a_delivery_that_is_quarantined_is_on_it_without_a_release(world: Deployed) -> None:
    bad = world.landing / "retail" / "order_lines" / "2026-01-01.csv"
    bad.write_text("InvoiceNo,<b>Foo</b>\n1,2\n")
    releases = len(list(world.releases.glob("*/manifest.json")))
    assert world.verb("run", "--json").did
    assert len(list(world.releases.glob("*/manifest.json"))) == releases
    assert "not fine" in verdict(world)
    assert "Check no_delivery_quarantined of raw/retail/order_lines failed" in file_of(world).read_text()
    assert "<b>Foo" not in file_of(world).read_text()


def test_where_it_cannot_be_written_the_release_is_made_and_the_run_says_so(world: Deployed) -> None:
    shutil.rmtree(file_of(world).parent)
    file_of(world).parent.write_text("in the way")
    newest = max((world.landing / "retail" / "customers").iterdir())
    newest.write_bytes(newest.read_bytes().replace(b"\n", b"\r\n"))
    before = len(list(world.releases.glob("*/manifest.json")))
    done = world.verb("run", "--json")
    assert done.did, done.err
    assert f"the page of the releases is as it was: {file_of(world).parent}" in done.err
    assert len(list(world.releases.glob("*/manifest.json"))) == before + 1
