"""A team's clone: the sample taken out, a feed and a mart of its own, and a newer version of the platform merged in."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from checkout import SAMPLE_LINKS, copy_checkout, files_of
from deployed import DeployedCopy
from machine import PROJECT

pytestmark = pytest.mark.timeout(400)

FEED: Final = '''"""Stock of the shop."""

from platform_assets import Cadence, Contract, Feed, Field, Files, hours


class Stock(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field(description="Article")
    units: int = Field(ge=0, description="Units")


STOCK = Feed(
    name="stock",
    source=Files("shop/stock/*.csv"),
    contract=Stock,
    delivered=Cadence(cron="0 6 * * *", within=hours(1)),
    owner="team:shop",
)
'''
MART: Final = '''"""What the shop's marts promise."""

from platform_assets import Contract, Field, Mart


class OnShelf(Contract):
    """Units on the shelf. Grain: article and delivery."""

    sku: str = Field(description="Article")
    units: int = Field(ge=0, description="Units")


ON_SHELF = Mart("on_shelf", OnShelf)
'''
MODELS: Final = "dbt_project/models"
OURS: Final = {
    "platform_assets/feeds/shop.py": FEED,
    "platform_assets/marts/shop.py": MART,
    f"{MODELS}/staging/shop/stg_shop__stock.sql": "select * from {{ source('shop', 'stock') }}\n",
    f"{MODELS}/staging/shop/stg_shop__stock.yml": "models: [{name: stg_shop__stock, description: Accepted stock.}]\n",
    f"{MODELS}/marts/on_shelf.sql": (
        "select sku, units, _delivery_id, _revision\nfrom {{ follow_deliveries(ref('stg_shop__stock')) }}\n"
    ),
    f"{MODELS}/marts/on_shelf.yml": """
models:
  - name: on_shelf
    description: "Units on the shelf. Grain: article and delivery."
    data_tests: [follows_deliveries]
    columns:
      - {name: sku, data_type: varchar, description: Article}
      - {name: units, data_type: bigint, description: Units}
      - {name: _delivery_id, data_type: bigint, description: Delivery}
      - {name: _revision, data_type: bigint, description: Revision}
""",
}
# What a newer version changes: each file gets the text at its end.
NEWER: Final = {
    "README.md": "\nNewer.\n",
    "CHANGELOG.md": "\nNewer.\n",
    "Makefile": "\n# Newer.\n",
    "pyproject.toml": "\n# Newer.\n",
    "dbt_project/dbt_project.yml": "\n# Newer.\n",
    "platform_assets/engine/deployment.py": '\nNEWER = "yes"\n',
    "platform_assets/feeds/__init__.py": "\n# Newer.\n",
    "dbt_project/macros/platform/newer.sql": "{% macro newer() %}1{% endmacro %}\n",
    "dbt_project/macros/platform/follow_deliveries.sql": "\n{# Newer. #}\n",
    "samples/retail/feeds.py": "\n# Newer.\n",
    "samples/retail/dbt/models/marts/daily_sales.sql": "\n-- Newer.\n",
    "samples/retail/dbt/models/marts/newer.sql": "select * from {{ ref('daily_sales') }}\n",
}


class Team(DeployedCopy):
    """A team's clone of the platform, and a deployment of it."""

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)

    def deliver_stock(self, name: str, *lines: str) -> None:
        (self.landing / "shop" / "stock").mkdir(parents=True, exist_ok=True)
        self.deliver(f"shop/stock/{name}", ("sku,units", *lines))


def git(at: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Team", "-c", "user.email=team@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=at, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(at: Path, message: str) -> None:
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "--message", message)


@pytest.fixture
def team(tmp_path: Path) -> Team:
    upstream = tmp_path / "upstream"
    copy_checkout(PROJECT, upstream)
    git(upstream, "init", "--quiet", "--initial-branch", "main")
    commit(upstream, "The platform")
    git(tmp_path, "clone", "--quiet", str(upstream), "team")
    return Team(tmp_path, product="marts", folder="team")


def test_the_sample_is_taken_out_by_one_command_and_nothing_else_is(team: Team) -> None:
    (team.project / "samples").rename(team.root / "samples")
    broken = team.platform("run")
    assert broken.code == 2
    assert "Take the sample out: platform sample remove." in broken.err
    (team.root / "samples").rename(team.project / "samples")
    before = files_of(team.project)
    team.write({"platform_assets/feeds/shop.py": FEED, "dbt_project/macros/own.sql": "{% macro own() %}{% endmacro %}"})
    asked = team.platform("sample", "remove")
    assert asked.code == 2
    assert all(f"{link} (a link to samples/retail/" in asked.err for link in SAMPLE_LINKS)
    assert set(before) <= set(files_of(team.project)), "nothing is removed unasked"
    removed = team.platform("sample", "remove", "--yes", "--json")
    assert sorted(removed.answer["removed"]) == sorted(SAMPLE_LINKS)
    own = {"platform_assets/feeds/shop.py", "dbt_project/macros/own.sql"}
    assert set(files_of(team.project)) == set(before) - set(SAMPLE_LINKS) | own
    again = team.platform("sample", "remove")
    assert (again.code, again.out) == (0, "the sample is taken out already\n")

    simulated = team.platform("simulate")
    assert simulated.code == 2
    assert "`platform feed add FILE` declares a feed" in simulated.err
    assert team.platform("simulate", "--if-empty").code == 0
    (team.project / "platform_assets/feeds/shop.py").unlink()
    ran = team.platform("run", "--json")
    assert (ran.code, ran.answer["feeds"]) == (0, [])
    assert "`platform feed add FILE` declares one" in ran.err
    proved = team.platform("ci", "--junit", str(team.root / "junit.xml"), "--json")
    assert (proved.code, proved.answer["failed"]) == (0, []), proved.err
    assert "no feed is declared" in proved.err


@pytest.mark.slow
def test_a_newer_version_comes_in_by_one_merge(team: Team) -> None:
    assert team.platform("sample", "remove", "--yes").code == 0
    commit(team.project, "The sample is taken out")
    team.write(OURS)
    assert team.platform("feed", "sources").code == 0
    commit(team.project, "Stock of the shop")
    team.deliver_stock("1.csv", "A,1", "B,2")
    first = team.platform("run", "--json")
    assert first.code == 0, first.err

    upstream = team.root / "upstream"
    for name, text in NEWER.items():
        path = upstream / name
        path.write_text((path.read_text() if path.exists() else "") + text)
    (upstream / "samples/retail/dbt/models/intermediate/int_customers_latest.yml").unlink()
    commit(upstream, "A newer version")
    git(team.project, "fetch", "--quiet")
    git(team.project, "merge", "--quiet", "--no-edit", "origin/main")
    assert git(team.project, "status", "--porcelain") == ""
    assert (team.project / "platform_assets/engine/deployment.py").read_text().endswith('NEWER = "yes"\n')
    assert not [link for link in SAMPLE_LINKS if (team.project / link).is_symlink()]

    team.deliver_stock("1.csv", "A,3")  # a restatement of what the older version took in
    team.deliver_stock("2.csv", "C,4")
    ran = team.platform("run", "--json")
    assert ran.code == 0, ran.err
    assert team.query("SELECT sku, units FROM on_shelf ORDER BY sku") == [("A", 3), ("C", 4)]
    assert team.query("SELECT view_name FROM duckdb_views() WHERE NOT internal") == [("on_shelf",)]
    assert team.platform("feed", "sources", "--check").code == 0


@pytest.mark.slow
def test_ci_proves_what_a_team_declares_without_the_sample(team: Team) -> None:
    assert team.platform("sample", "remove", "--yes").code == 0
    team.write(OURS)
    assert team.platform("feed", "sources").code == 0
    proved = team.platform("ci", "--junit", str(team.root / "junit.xml"), "--json")
    assert (proved.code, proved.answer["failed"]) == (0, []), proved.err
    assert "the sample is taken out" in proved.err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_platforms_own_tests_pass_without_the_sample_too(team: Team) -> None:
    """Those that look at declarations, and those that run commands."""
    assert team.platform("sample", "remove", "--yes").code == 0
    tests = ("tests/graph/test_graph_definitions.py", "tests/integration/test_commands.py")
    chosen = "keys_follow or sources_are or same_columns or a_file_more or sample or run"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests],
        cwd=team.project, check=False, capture_output=True, text=True, timeout=880, env=team.environment(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " skipped" not in done.stdout
