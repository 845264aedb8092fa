"""From a file to a feed to rows, and the contract against what came: the commands, in a copy of the project."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pytest
from checkout import copy_checkout
from deployed import DeployedCopy
from machine import PROJECT

pytestmark = pytest.mark.timeout(400)

HEADER: Final = "Order No;Ordered;Price;Customer Mail"
ORDERS: Final = (
    "0001;13.03.2026;1,50;ada@example.com",
    "0002;13.03.2026;1.002,25;",
    "0003;14.03.2026;3;bob@example.com",
)


class Copy(DeployedCopy):
    """A deployment of a copy of the project, whose feeds may be changed."""

    @property
    def feeds(self) -> Path:
        return self.project / "platform_assets" / "feeds"

    @property
    def sources(self) -> str:
        """What dbt is told of the origin `shop`."""
        return (self.project / "dbt_project/models/staging/shop/_shop__sources.yml").read_text()

    def write(self, name: str, *lines: str) -> Path:
        """A file that somebody has, outside the landing folder."""
        path = self.root / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def drop(self, file: Path, slot: str) -> None:
        """Deliver a file that somebody has."""
        (self.landing / slot).parent.mkdir(parents=True, exist_ok=True)
        self.deliver(slot, file.read_text().splitlines())


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    copy = Copy(tmp_path)
    parts = ("platform_assets", "dbt_project", "samples", "pyproject.toml", "workspace.yaml")
    copy_checkout(PROJECT, copy.project, *parts)
    yield copy
    shutil.rmtree(copy.project)


def test_a_file_becomes_a_feed_and_its_deliveries_become_rows(copy: Copy) -> None:
    file = copy.write("orders-2026-03-14.csv", "Export of the shop", HEADER, *ORDERS)
    added = copy.platform("feed", "add", str(file), "--origin", "shop", "--owner", "team:shop", "--json")
    assert added.code == 0, added.err
    assert {key: added.answer[key] for key in ("feed", "files", "status", "read", "accepted", "rejected")} == {
        "feed": "orders",
        "files": "shop/orders/orders-*.csv",
        "status": "accepted",
        "read": 3,
        "accepted": 3,
        "rejected": 0,
    }
    assert (copy.feeds / "shop.py").read_text() == added.answer["text"]
    assert "- name: orders\n" in copy.sources
    again = copy.platform("feed", "add", str(file), "--origin", "shop", "--json")
    assert again.code == 2, "a feed is never declared over another"
    assert (copy.feeds / "shop.py").read_text() == added.answer["text"]

    stock = copy.write("stock.csv", "sku,units", "A,1", "B,2")
    second = copy.platform("feed", "add", str(stock), "--origin", "shop", "--json")
    assert second.code == 0, second.err
    assert (copy.feeds / "shop.py").read_text() == added.answer["text"], "what is there is left as it is"
    assert second.answer["written"] == str(copy.feeds / "shop_stock.py")
    assert "- name: stock\n" in copy.sources
    recorded = copy.platform("audit", "list", "--what", "feed add", "--json").answer["entries"]
    assert [each["about"]["feed"] for each in recorded if "feed" in each["about"]] == ["stock", "orders"]
    assert {each["outcome"] for each in recorded} == {"asked", "done"}
    feeds = copy.platform("feed", "list", "--json").answer["feeds"]
    assert [feed["feed"] for feed in feeds if feed["origin"] == "shop"] == ["orders", "stock"]

    copy.drop(file, "shop/orders/orders-2026-03-14.csv")
    ran = copy.platform("run", "--json")
    assert ran.code in (0, 3), ran.err  # 3: what was due since has not come
    with duckdb.connect(str(copy.home / "warehouse.duckdb"), read_only=True) as connection:
        rows = connection.execute("SELECT order_no, ordered, price::DOUBLE, customer_mail FROM raw.orders ORDER BY 1")
        assert [(no, str(day), price, mail) for no, day, price, mail in rows.fetchall()] == [
            ("0001", "2026-03-13", 1.5, "ada@example.com"),
            ("0002", "2026-03-13", 1002.25, None),
            ("0003", "2026-03-14", 3.0, "bob@example.com"),
        ]


def test_printing_writes_nothing(copy: Copy) -> None:
    before = {path: path.read_bytes() for path in copy.project.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    file = copy.write("stock.csv", "sku,units", "A,1", "B,2")
    done = copy.platform("feed", "add", str(file), "--origin", "retail", "--print")
    assert done.code == 0, done.err
    assert "class Stock(Contract):" in done.out
    assert {path: path.read_bytes() for path in before} == before
    assert not copy.home.exists()


def test_a_feed_that_would_not_take_its_file_says_so(copy: Copy) -> None:
    file = copy.write("stock.csv", "sku,units", "A,1", "B,2,3", *(f"C{n},{n}" for n in range(60)))
    done = copy.platform("feed", "add", str(file), "--origin", "shop", "--print", "--json")
    assert done.code == 1
    assert (done.answer["ok"], done.answer["rejected"]) == (False, 1)
    assert "line 3" in " ".join(done.answer["remarks"])


def test_headers_and_drift_are_told_of_real_deliveries(copy: Copy) -> None:
    file = copy.write("orders-2026-03-14.csv", HEADER, *ORDERS)
    assert copy.platform("feed", "add", str(file), "--origin", "shop").code == 0
    empty = copy.platform("contract", "diff", "--check", "--json")
    assert (empty.code, empty.answer) == (0, {"ok": True, "drifted": [], "feeds": []}), "no warehouse, no drift"
    assert not (copy.home / "warehouse.duckdb").exists(), "looking makes none"

    shop = copy.feeds / "shop.py"
    # Beside personal data, a name that nobody declared is not shown.
    drafted = re.sub(r', pii="\w+"', "", shop.read_text())
    shop.write_text(drafted.replace('on_drift="fail"', 'on_drift="add"'))
    assert copy.platform("feed", "sources").code == 0
    copy.drop(file, "shop/orders/orders-1.csv")
    more = [f"{line};{n}" for n, line in enumerate(ORDERS)]
    copy.drop(copy.write("more.csv", f"{HEADER};Till", *more), "shop/orders/orders-2.csv")
    ingest = (
        "from platform_assets.project.configured import prepared_deployment; "
        "_, deployment = prepared_deployment(print); deployment.ingest(deployment.feed('orders'))"
    )
    assert copy.run("python", "-c", ingest).code == 0

    first, second = copy.platform("feed", "headers", "orders", "--json").answer["headers"]
    assert (first["deliveries"], first["unknown"]) == (1, [])
    assert (second["added"], second["unknown"], second["first"]["file"]) == (
        ["Till"],
        ["Till"],
        "shop/orders/orders-2.csv",
    )
    shown = copy.platform("feed", "headers", "orders").out
    assert "added Till" in shown

    checked = copy.platform("contract", "diff", "orders", "--check", "--json")
    assert (checked.code, checked.answer["drifted"]) == (1, ["orders"])
    (unknown,) = checked.answer["feeds"][0]["unknown"]
    assert unknown["declaration"].endswith('till: int = Field(source="Till", nullable=True, optional=True)')
    assert "DRIFT" in copy.platform("contract", "diff", "orders").out

    assert copy.platform("feed", "sources", "--check").code == 0, "undeclared columns are no drift of the file"
    assert copy.platform("feed", "sources").code == 0
    assert "Arrived undeclared with delivery 2 (shop/orders/orders-2.csv)." in copy.sources
    assert copy.platform("feed", "sources", "--check").code == 0


def test_a_feed_that_is_not_declared_is_misuse(copy: Copy) -> None:
    for verb in (("feed", "headers", "nothing"), ("contract", "diff", "nothing")):
        assert copy.platform(*verb, "--json").code == 2
