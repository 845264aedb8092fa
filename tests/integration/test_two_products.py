"""Two products in one deployment: what is broken holds back its own product, and no other. By the real command."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from checkout import copy_checkout
from deployed import Finished
from machine import PROJECT
from test_author_commands import Copy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FEED: Final = '''
from platform_assets import Cadence, Contract, Feed, Field, Files, Rejects, hours, seconds


class {name}(Contract):
    """Cups. Grain: line of a receipt."""

    product: str = Field()
    cups: int = Field()


{upper} = Feed(
    name="{lower}",
    source=Files("{origin}/*.csv", settle=seconds(0)),
    contract={name},
    tolerate=Rejects(),
    delivered=Cadence(cron="0 6 * * *", within=hours(24)),
    owner="team:{origin}",
)
'''
YAML: Final = """version: 2
models:
  - name: {mart}
    description: Cups by product.
    config: {config}
    columns:
      - {{name: product, data_type: varchar, description: What was sold.}}
      - {{name: cups, data_type: bigint, description: How many.}}
"""
GROUPS: Final = "version: 2\ngroups:\n  - name: tea\n    owner: {name: tea, email: tea@example.com}\n"


class Two(Copy):
    """A copy without the sample, with the feed `coffees` and its mart in no group, and `teas` in the group `tea`."""

    def make(self) -> None:
        models = self.project / "dbt_project/models/marts"
        models.mkdir(parents=True, exist_ok=True)
        for name, origin in (("Coffees", "cafe"), ("Teas", "tea")):
            declared = FEED.format(name=name, upper=name.upper(), lower=name.lower(), origin=origin)
            (self.feeds / f"{origin}.py").write_text(declared)
        (models / "_groups.yml").write_text(GROUPS)
        self.model("cups_of_coffee", "cafe", "coffees")
        self.model("cups_of_tea", "tea", "teas", "group: tea")

    def model(self, mart: str, origin: str, feed: str, config: str = "", how: str = "sum(cups)") -> None:
        """Write the mart's SQL and YAML."""
        models = self.project / "dbt_project/models/marts"
        source = f"{{{{ source('{origin}', '{feed}') }}}}"
        sql = f"select product, cast({how} as bigint) as cups from {source} group by product\n"
        (models / f"{mart}.sql").write_text(sql)
        yaml = YAML.format(mart=mart, config=f"{{{config}}}")
        (models / f"{mart}.yml").write_text(yaml)

    def deliver_to(self, origin: str, name: str, *lines: str) -> None:
        (self.landing / origin).mkdir(parents=True, exist_ok=True)
        self.deliver(f"{origin}/{name}.csv", ["product,cups", *lines])

    def released(self, product: str) -> Path | None:
        """The release that readers have."""
        link = self.home / "releases" / product / "current"
        return link.resolve() if link.exists() else None

    def cups(self, product: str, mart: str) -> dict[str, int]:
        path = self.home / "releases" / product / "current.duckdb"
        return dict(self.query(f"FROM {mart}", path.resolve()))

    def ran(self) -> Finished:
        return self.platform("run", "--json")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    two = Two(tmp_path)
    copy_checkout(PROJECT, two.project, "platform_assets", "dbt_project", "pyproject.toml", "workspace.yaml")
    for link in ("platform_assets/feeds/retail.py", "platform_assets/marts/retail.py", "dbt_project/sample"):
        (two.project / link).unlink(missing_ok=True)
    two.make()
    two.deliver_to("cafe", "a", "latte,2", "latte,1")
    two.deliver_to("tea", "a", "mate,4")
    yield two
    shutil.rmtree(two.project)


def test_what_is_broken_holds_back_its_own_product_and_no_other(two: Two) -> None:
    first = two.ran()
    assert first.did, first.err
    assert set(first.answer["releases"]) == {"marts", "tea"}
    assert (two.cups("marts", "cups_of_coffee"), two.cups("tea", "cups_of_tea")) == ({"latte": 3}, {"mate": 4})
    coffee, tea = two.released("marts"), two.released("tea")

    # A file that breaks its contract, beside one of the other product that keeps it.
    two.deliver_to("cafe", "b", "mocha,two")
    two.deliver_to("tea", "b", "mate,1")
    second = two.ran()
    assert second.code == 1, second.err
    assert (two.cups("marts", "cups_of_coffee"), two.cups("tea", "cups_of_tea")) == ({"latte": 3}, {"mate": 5})
    assert two.released("marts") == coffee
    assert two.released("tea") != tea
    (held,) = second.answer["held_back"]
    assert set(held["assets"]) >= {"marts/cups_of_coffee", "release/marts"}
    assert not any("tea" in each for each in held["assets"])

    # Mended; now the SQL of the other product's mart is broken.
    two.deliver_to("cafe", "b", "mocha,2")
    two.model("cups_of_tea", "tea", "teas", "group: tea", how="error(product)")
    third = two.ran()
    assert third.code == 1, third.out
    assert two.cups("marts", "cups_of_coffee") == {"latte": 3, "mocha": 2}
    assert two.cups("tea", "cups_of_tea") == {"mate": 5}
    assert any("cups_of_tea" in each for each in third.answer["errors"])

    two.model("cups_of_tea", "tea", "teas", "group: tea", how="max(cups)")
    last = two.ran()
    assert last.did, last.err
    assert two.cups("tea", "cups_of_tea") == {"mate": 4}
    assert two.ran().answer["made"] is False, "all is as it should be"
