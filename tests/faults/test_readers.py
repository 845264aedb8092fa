"""Readers never wait, never fail and never see a wrong number: twenty of them ask while everything happens to releases.

Nothing is mocked: real clients in processes of their own; the real command, killed; real files. Every generation of the
shop's stock is a number from which all others follow, so that an answer made of two releases is seen.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

import pytest
import reader
from checkout import SAMPLE_LINKS, copy_checkout
from deployed import DeployedCopy, Finished
from machine import PROJECT, in_full, rounds

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

KILLS: Final = rounds(200, 20)
LASTS_S: Final = 600 if in_full() else 0
PRODUCT: Final = "shop"
BUYERS: Final = 40
LEAST: Final = 4
READERS: Final = {
    "python": 4,
    "python, long": 3,
    "python, for ever": 1,
    "sqlalchemy": 3,
    "sqlalchemy, long": 1,
    "parquet": 1,
    "parquet, long": 1,
    "polars": 1,
    "cli": 3,
    "node": 2,
}
STEPS: Final = ("mid-read", "before-commit", "after-commit", "mid-release", "release-views", "release-manifest")

FEEDS: Final = '''"""Stock of the shop, and who buys there."""

from platform_assets import Cadence, Contract, Feed, Field, Files, Rejects, hours, seconds


class Stock(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field(description="Article")
    units: int = Field(ge=0, description="Units")
    gen: int = Field(description="Number of the list")


class Customers(Contract):
    """Who buys. Grain: person."""

    customer_id: str = Field(pii="pseudonym", description="Person")
    bought: int = Field(description="Purchases")


def _feed(name: str, contract: type[Contract]) -> Feed:
    return Feed(
        name=name,
        source=Files(f"shop/{name}.csv", settle=seconds(0)),
        contract=contract,
        tolerate=Rejects(rows=0),
        volume=None,
        delivered=Cadence(cron="0 6 * * *", within=hours(3)),
        owner="team:shop",
        origin="shop",
    )


STOCK, CUSTOMERS = _feed("stock", Stock), _feed("customers", Customers)
'''
MARTS: Final = f'''"""What the shop's marts promise."""

from platform_assets import Contract, Field, Mart, Product, seconds


class OnShelf(Contract):
    """Units on the shelf. Grain: article."""

    sku: str = Field()
    units: int = Field(ge=0, le=1000)
    gen: int = Field()


STOCK = Mart("stock", OnShelf)
SHOP = Product("{PRODUCT}", personal={{"customer_id": "keep"}}, keep=seconds(0), least={LEAST})
'''
MODELS: Final = "dbt_project/models"
FILES: Final = {
    "platform_assets/feeds/shop.py": FEEDS,
    "platform_assets/marts/shop.py": MARTS,
    f"{MODELS}/staging/shop/stg_shop__stock.sql": "select sku, units, gen from {{ source('shop', 'stock') }}\n",
    f"{MODELS}/staging/shop/stg_shop__customers.sql": "select * from {{ source('shop', 'customers') }}\n",
    f"{MODELS}/marts/stock.sql": "select sku, units, gen from {{ ref('stg_shop__stock') }}\n",
    f"{MODELS}/marts/totals.sql": (
        "select gen, count(*) as articles, cast(sum(units) as bigint) as units\n"
        "from {{ ref('stg_shop__stock') }} group by gen\n"
    ),
    f"{MODELS}/marts/buyers.sql": "select customer_id, bought from {{ ref('stg_shop__customers') }}\n",
    f"{MODELS}/marts/shop.yml": f"""
groups:
  - {{name: {PRODUCT}, owner: {{name: "team:shop"}}}}
models:
  - name: stock
    description: "Units on the shelf. Grain: article."
    config: {{group: {PRODUCT}}}
    columns:
      - {{name: sku, data_type: varchar}}
      - {{name: units, data_type: bigint}}
      - {{name: gen, data_type: bigint}}
  - name: totals
    description: "What is on all shelves. Grain: list."
    config: {{group: {PRODUCT}}}
    columns:
      - {{name: gen, data_type: bigint}}
      - {{name: articles, data_type: bigint}}
      - {{name: units, data_type: bigint}}
  - name: buyers
    description: "Who buys. Grain: person."
    config: {{group: {PRODUCT}}}
    columns:
      - {{name: customer_id, data_type: varchar}}
      - {{name: bought, data_type: bigint}}
""",
}


def units_of(gen: int) -> list[int]:
    """What is on the shelves by the list of that number: article by article."""
    return [(gen * 31 + article * 7) % 97 for article in range(20 + gen % 7)]


@dataclass
class Shop(DeployedCopy):
    """A deployment whose product is read while its writer is killed. unfit: the lists that readers must never see;
    kills: how often the writer was killed; run_s, verb_s: how long a run takes, and another command."""

    chance: random.Random = field(default_factory=lambda: random.Random(11))
    gen: int = 0
    unfit: set[int] = field(default_factory=set)
    kills: int = 0
    run_s: float = 10.0
    verb_s: float = 1.0

    def make(self) -> None:
        parts = ("platform_assets", "dbt_project", "samples", "pyproject.toml", "workspace.yaml")
        copy_checkout(PROJECT, self.project, *parts)
        for link in SAMPLE_LINKS:
            (self.project / link).unlink(missing_ok=True)
        for name, text in FILES.items():
            (self.project / name).parent.mkdir(parents=True, exist_ok=True)
            (self.project / name).write_text(text)
        (self.landing / "shop").mkdir(parents=True)
        persons = [f"P{number:04d},{number % 9}" for number in range(BUYERS)]
        self.deliver("shop/customers.csv", ["customer_id,bought", *persons])

    # ---- what happens

    def next_list(self, wrong: str = "") -> None:
        """The next list of the stock. wrong: with a row that breaks the feed's contract, or the mart's."""
        self.gen += 1
        units = units_of(self.gen)
        if wrong:
            self.unfit.add(self.gen)
            units[3] = -1 if wrong == "row" else 5000
        rows = [f"A{article:03d},{each},{self.gen}" for article, each in enumerate(units)]
        self.deliver("shop/stock.csv", ["sku,units,gen", *rows])

    def any_list(self) -> None:
        self.next_list(self.chance.choice(["", "", "", "", "row", "mart"]))

    def done(self, *verb: str) -> Finished:
        """A command that nothing kills."""
        done = self.platform(*verb)
        assert "Traceback" not in done.err, done.err
        return done

    def kill(self, *verb: str, after_s: float, at: str = "") -> None:
        """A command that is killed, with all it has started: after that time, or at that step if it comes to it."""
        env = {"PLATFORM_FAILPOINT": at} if at else None
        with self.start("platform", *verb, out=subprocess.DEVNULL, err=subprocess.DEVNULL, env=env) as process:
            try:
                process.wait(after_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            self.kills += process.wait() == -signal.SIGKILL

    def killed_run(self) -> None:
        self.any_list()
        self.kill("run", after_s=self.chance.uniform(0.1, 1.1) * self.run_s)

    def run_killed_at_a_step(self) -> None:
        self.next_list()
        self.kill("run", after_s=4 * self.run_s, at=self.chance.choice([*STEPS, "release-link"]))

    def killed_verb(self) -> None:
        verb = self.chance.choice([("rollback", "--because", "it is wrong"), ("unpin",), ("prune",)])
        self.age()
        self.kill("release", *verb, after_s=self.chance.uniform(0.3, 1.2) * self.verb_s)

    def goes_back(self) -> None:
        if len([each for each in self.releases.iterdir() if each.is_dir() and not each.is_symlink()]) > 1:
            done = self.done("release", "rollback", "--because", "it is wrong")
            assert done.code in (0, 2), done.err

    def runs(self) -> None:
        """A run to its end: what is sound is released, whatever was killed before; what is not is held back."""
        self.any_list()
        ran = self.done("run")
        assert ran.did is (self.gen not in self.unfit), ran.err + ran.out

    def age(self) -> None:
        """Releases that no reader has had for a while were left hours ago: what is younger is never removed."""
        now = time.time()
        for release in self.releases.glob("*Z-*"):
            if release.stat().st_mtime < now - 45:
                os.utime(release, (now - 7200, now - 7200))

    def everything_happens(self) -> None:
        """Until it was killed often enough, for long enough."""
        began = time.monotonic()
        acts = [self.killed_run] * 9 + [self.run_killed_at_a_step] * 3 + [self.killed_verb] * 6
        acts += [self.runs, self.runs, self.goes_back, self.prunes]
        while self.kills < KILLS or time.monotonic() - began < LASTS_S:
            self.chance.choice(acts)()

    def prunes(self) -> None:
        self.age()
        done = self.done("release", "unpin")
        assert done.code in (0, 2), done.err  # there may be none
        done = self.done("release", "prune", "--json")
        assert done.code == 0, done.err

    def ends_well(self) -> None:
        """Left alone, one run makes everything good."""
        self.next_list()
        self.done("release", "unpin")
        ran = self.done("run", "--json")
        assert ran.did, ran.err + ran.out
        assert self.query("SELECT gen FROM totals") == [(self.gen,)]
        assert list(self.releases.rglob(".releasing-*")) == []


def has_node() -> bool:
    """Whether Node is here, and finds DuckDB's client; where it does not, more read by the command line client."""
    asks = ["node", "-e", "require('@duckdb/node-api')"]
    return shutil.which("node") is not None and not subprocess.run(asks, capture_output=True, check=False).returncode


@contextmanager
def readers(shop: Shop) -> Iterator[dict[str, list[Path]]]:
    """Twenty readers at once; where each writes its answers, by habit."""
    answers: dict[str, list[Path]] = defaultdict(list)
    with ExitStack() as started:
        for habit, number in READERS.items():
            here = "cli" if habit == "node" and not has_node() else habit
            for _ in range(number):
                path = shop.root / "answers" / f"{here}-{len(answers[here])}"
                path.parent.mkdir(exist_ok=True)
                answers[here].append(path)
                command = [sys.executable, reader.__file__, here, str(shop.releases), str(path), path.name]
                process = started.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
                assert process.stdin is not None
                started.callback(process.stdin.close)
        yield answers
        time.sleep(2)  # what is there at the end is read, too


def judged(shop: Shop, path: Path) -> tuple[list[str], list[float], set[int]]:
    """What is wrong with a reader's answers; how long each took; and which lists it saw."""
    wrong, took, seen = [], [], set()
    by_connection: dict[int, set[int]] = defaultdict(set)
    for line in path.read_text().splitlines():
        connection, query, at, seconds, came = json.loads(line)
        if isinstance(came, str):
            wrong.append(f"{path.name}, query {query}, at {at:.3f}: {came}")
            continue
        took.append(seconds)
        if query == 3:
            if came[0] != BUYERS or came[1] < 0 or came[2] > 8:
                wrong.append(f"{path.name}: {came}")
            continue
        gen = came[0]
        units = units_of(gen)
        marts = {0: [gen, len(units), sum(units), gen, gen, len(units), sum(units)]}
        marts |= {1: [gen, gen, len(units), sum(units)], 2: [gen, len(units), sum(units)]}
        if came != marts[query] or gen in shop.unfit or not 1 <= gen <= shop.gen:
            wrong.append(f"{path.name}, query {query}, at {at:.3f}: {came}")
        seen.add(gen)
        by_connection[connection].add(gen)
    if "polars" not in path.name:  # it opens a file each time
        wrong += [f"{path.name}: lists {each} on one connection" for each in by_connection.values() if len(each) > 1]
    return wrong, took, seen


def test_twenty_readers_see_one_release_at_a_time_whatever_happens(tmp_path: Path) -> None:
    shop = Shop(tmp_path, product=PRODUCT)
    shop.make()
    shop.next_list()
    first = shop.done("run")
    assert first.did, first.err + first.out
    shop.next_list()
    began = time.monotonic()
    assert shop.done("run").did
    shop.run_s = time.monotonic() - began
    assert shop.done("release", "rollback", "--because", "it is tried").code == 0
    shop.verb_s = time.monotonic() - began - shop.run_s
    with readers(shop) as answers:
        shop.everything_happens()
        shop.ends_well()
    told, lists = [], set()
    for habit, paths in answers.items():
        found = [judged(shop, path) for path in paths]
        assert [each for wrong, *_ in found for each in wrong] == []
        took = [each for _, times, _ in found for each in times]
        assert len(took) > len(paths) * 10, f"{habit} has hardly read"
        lists |= set().union(*(seen for *_, seen in found))
        told.append(f"{habit}: {len(took)} answers, median {median(took):.3f} s, longest {max(took):.3f} s")
    assert shop.gen in lists
    told.append(f"{shop.kills} kills, {shop.gen} lists, {len(shop.unfit)} unfit, {len(lists)} seen")
    (tmp_path / "figures.txt").write_text("\n".join(told))
