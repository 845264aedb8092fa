"""dbt's sources follow the feeds by themselves: a feed is renamed or deleted in its Python file, and whatever comes
next brings them up to date, or says which model reads what no feed fills. By the real command, in a copy."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from checkout import SAMPLE_LINKS, copy_checkout
from deployed import Finished
from machine import PROJECT
from test_author_commands import Copy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FEED: Final = '''
from platform_assets import Cadence, Contract, Feed, Field, Files, hours


class Stock(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field()
    units: int = Field()


STOCK = Feed(
    name="stock",
    source=Files("shop/*.csv"),
    contract=Stock,
    delivered=Cadence(cron="0 6 * * *", within=hours(24)),
    owner="team:shop",
)
'''
MODEL: Final = "select sku, units, _delivery_id, _line from {{ source('shop', 'stock') }}\n"
MISSING: Final = (
    "model stg_shop__stock (dbt_project/models/staging/shop/stg_shop__stock.sql): reads source('shop', 'stock')"
)


class Small(Copy):
    """A copy of the project without the sample, with one feed and one model on it."""

    @property
    def declared(self) -> Path:
        return self.feeds / "shop.py"

    @property
    def staging(self) -> Path:
        return self.project / "dbt_project/models/staging/shop"

    def names_both(self, done: Finished) -> bool:
        """Whether the command failed, and its error names the model, the source, and what to do."""
        said = done.err + done.out
        return done.code == 2 and MISSING in said and "platform feed rename stock" in said


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Small]:
    small = Small(tmp_path_factory.mktemp("small"))
    parts = ("platform_assets", "dbt_project", "samples", "pyproject.toml", "workspace.yaml")
    copy_checkout(PROJECT, small.project, *parts)
    for link in SAMPLE_LINKS:
        (small.project / link).unlink(missing_ok=True)
    small.declared.write_text(FEED)
    small.staging.mkdir(parents=True)
    (small.staging / "stg_shop__stock.sql").write_text(MODEL)
    small.drop(small.write("stock.csv", "sku,units", "A,1", "B,2"), "shop/stock.csv")
    yield small
    shutil.rmtree(small.project)


def test_a_new_feed_needs_no_command_but_run(small: Small) -> None:
    done = small.platform("run", "--json")
    assert done.code == 0, done.err
    assert "dbt's sources follow the feeds: _shop__sources.yml written" in done.err
    assert "- name: stock\n" in small.sources
    assert "sources" not in small.platform("run").err, "nothing to follow, nothing said"


def test_a_renamed_feed_is_followed_and_the_model_that_reads_the_old_name_is_named(small: Small) -> None:
    small.declared.write_text(FEED.replace('name="stock"', 'name="shelf"'))
    at_ci = small.platform("ci", "--json")
    assert at_ci.code == 1
    assert {each["name"] for each in at_ci.answer["failed"]} >= {"dbt.sources_follow_the_feeds", "definitions.load"}
    assert "- name: stock\n" in small.sources, "ci writes nothing"
    ran = small.platform("run")
    assert small.names_both(ran), ran.err
    assert "which no feed fills. Did you mean 'shelf'?" in ran.err
    assert "- name: shelf\n" in small.sources
    assert "- name: stock\n" not in small.sources
    assert small.names_both(small.platform("run")), "it says so until the model is mended"
    located = small.run("dagster", "definitions", "validate", "-m", "platform_assets.definitions")
    assert MISSING in located.err + located.out, "the code location says so, too"
    (small.staging / "stg_shop__stock.sql").write_text(MODEL.replace("'stock'", "'shelf'"))
    mended = small.platform("run", "--json")
    assert mended.code == 0, mended.err


def test_the_code_location_follows_when_it_is_loaded_anew(small: Small) -> None:
    small.declared.write_text(FEED)
    (small.staging / "stg_shop__stock.sql").write_text(MODEL)
    located = small.run("dagster", "definitions", "validate", "-m", "platform_assets.definitions")
    assert located.code == 0, located.err
    assert "- name: stock\n" in small.sources


def test_a_deleted_feed_leaves_no_source_and_no_model_that_stands_still(small: Small) -> None:
    small.declared.unlink()
    prepared = small.platform("setup")
    assert "dbt's sources follow the feeds: _shop__sources.yml removed" in prepared.err
    assert small.names_both(prepared), prepared.err
    (small.staging / "stg_shop__stock.sql").unlink()
    assert small.platform("run").code == 0
