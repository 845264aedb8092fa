"""What consumers use stays as it is, or is served on beside the new: the real commands, on a project with one mart that
a dashboard reads, changed step by step as its author would."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from checkout import SAMPLE_LINKS, copy_checkout
from deployed import Finished
from machine import PROJECT
from test_author_commands import Copy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FEED: Final = '''
from platform_assets import Cadence, Contract, Feed, Field, Files, hours, seconds


class Stock(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field()
    units: int = Field()


STOCK = Feed(
    name="stock",
    source=Files("shop/*.csv", settle=seconds(0)),
    contract=Stock,
    delivered=Cadence(cron="0 6 * * *", within=hours(24)),
    owner="team:shop",
)
'''
SQL: Final = "select sku, units as {} from {{{{ source('shop', 'stock') }}}}\n"
MODEL: Final = """
models:
  - name: shelf
    description: Units on the shelf. One row an article.
    {versions}
    columns:
      - {{name: sku, data_type: varchar, description: Article.}}
      - {{name: {units}, data_type: bigint, description: Units.}}
"""
VERSIONS: Final = """latest_version: 2
    versions:
      - v: 1
        deprecation_date: 2999-01-31
      - v: 2
        columns:
          - {include: all, exclude: [units]}
          - {name: pieces, data_type: bigint, description: Units.}"""
EXPOSURE: Final = """
exposures:
  - name: board
    label: Board
    type: dashboard
    owner: {{name: Sales, email: sales@example.com}}
    depends_on: ["ref('shelf'{})"]
"""
WHO: Final = "Board (Sales, sales@example.com)"


class Shop(Copy):
    """A copy of the project without the sample, with one feed, one mart and who reads it."""

    @property
    def marts(self) -> Path:
        return self.project / "dbt_project" / "models" / "marts"

    def models(self, units: str = "units", versions: str = "", only: int | None = None) -> None:
        """Write the mart: with its column so called, or in two versions, or in one of them."""
        for old in self.marts.glob("shelf*"):
            old.unlink()
        (self.marts / "shelf.yml").write_text(MODEL.format(units=units, versions=versions))
        if not versions:
            (self.marts / "shelf.sql").write_text(SQL.format(units))
        for version, name in ((1, "units"), (2, "pieces")) if versions else ():
            if only in (None, version):
                (self.marts / f"shelf_v{version}.sql").write_text(SQL.format(name))

    def reads(self, version: str = "") -> None:
        (self.marts / "exposures.yml").write_text(EXPOSURE.format(version))

    def run_again(self) -> Finished:
        return self.platform("run", "--json", env={"COLUMNS": "200"})

    @property
    def manifest(self) -> dict[str, Any]:
        """That of the release that readers have."""
        found: dict[str, Any] = json.loads((self.home / "releases" / "marts" / "current" / "manifest.json").read_text())
        return found

    def asked(self, sql: str) -> list[tuple[Any, ...]]:
        return self.query(sql, (self.home / "releases" / "marts" / "current.duckdb").resolve())


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    shop = Shop(tmp_path_factory.mktemp("shop"))
    parts = ("platform_assets", "dbt_project", "samples", "docs", "pyproject.toml", "workspace.yaml")
    copy_checkout(PROJECT, shop.project, *parts)
    for link in SAMPLE_LINKS:
        (shop.project / link).unlink(missing_ok=True)
    (shop.feeds / "shop.py").write_text(FEED)
    shop.marts.mkdir(parents=True, exist_ok=True)
    shop.models()
    shop.reads()
    shop.drop(shop.write("stock.csv", "sku,units", "A,1", "B,2"), "shop/stock.csv")
    done = shop.run_again()
    assert done.did, done.err + done.out
    assert "_promised.json written; commit it" in done.err
    yield shop
    shutil.rmtree(shop.project)


def test_a_renamed_column_holds_the_release_and_ci_names_who_reads_it(shop: Shop) -> None:
    before = shop.manifest
    shop.models(units="pieces")
    done = shop.run_again()
    assert done.code == 1, done.out
    said = json.dumps(done.answer)
    gone = f"shelf.units is gone (renamed to 'pieces'?); used by {WHO}"
    assert gone in said.replace('\\"', '"')
    assert done.answer["held_back"][0]["assets"] == ["release/marts"]
    assert shop.manifest == before
    assert shop.asked("SELECT sum(units) FROM shelf") == [(3,)]
    assert gone in shop.platform("why", "release/marts", env={"COLUMNS": "300"}).out
    assert gone in shop.platform("why", "consumers/board", env={"COLUMNS": "300"}).out
    checked = shop.platform("ci", "--days", "1", "--json")
    assert checked.code == 1
    (problem,) = (each for each in checked.answer["failed"] if each["name"] == "dbt.consumers_keep_what_they_use")
    assert gone in problem["problem"]
    again = shop.run_again()
    assert (again.code, again.answer["made"]) == (1, False), "held is told each time, and nothing is built for it"


def test_two_versions_are_served_side_by_side(shop: Shop) -> None:
    shop.models(versions=VERSIONS)
    held = shop.run_again()
    assert held.code == 1
    assert "shelf_v1 still has units: let them read that, and say so: ref('shelf', v=1)" in held.out
    shop.reads(", v=1")
    done = shop.run_again()
    assert done.did, done.err + done.out
    assert shop.asked("SELECT sum(units) FROM shelf_v1") == [(3,)]
    assert shop.asked("SELECT sum(pieces) FROM shelf_v2") == shop.asked("SELECT sum(pieces) FROM shelf") == [(3,)]
    current = shop.home / "releases" / "marts" / "current"
    assert shop.asked(f"SELECT sum(pieces) FROM '{current / 'shelf.parquet'}'") == [(3,)]
    assert shop.manifest["latest"] == {"shelf": "shelf_v2"}
    assert shop.manifest["marts"]["shelf_v1"]["until"] == "2999-01-31"
    assert shop.manifest["marts"]["shelf_v2"]["until"] is None
    checked = shop.platform("ci", "--days", "1", "--json")
    assert checked.code == 0, checked.out


def test_a_version_that_somebody_reads_cannot_go_and_dbts_words_are_ours(shop: Shop) -> None:
    (shop.marts / "shelf_v1.sql").unlink()
    yaml = (shop.marts / "shelf.yml").read_text()
    (shop.marts / "shelf.yml").write_text(yaml.replace("      - v: 1\n        deprecation_date: 2999-01-31\n", ""))
    done = shop.run_again()
    assert done.code == 2
    assert "reads version 1 of shelf, which is gone. Board would break: Sales, sales@example.com" in done.err + done.out
    shop.reads()
    held = shop.run_again()
    assert held.code == 1
    assert "mart shelf_v1 is gone; used by all who read it: it is promised until 2999-01-31" in held.out
    assert shop.asked("SELECT sum(units) FROM shelf_v1") == [(3,)]
