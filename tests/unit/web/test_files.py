"""Files over HTTP: current releases as Parquet and CSV, for programs on this machine that know the address."""

import contextlib
import csv
import http.client
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from shop import OpenSales, Shop

from platform_assets.commands.files import files_served, shelf_of
from platform_assets.engine.store.release import Release, Releases
from platform_assets.web.files import key_of

HOSTILE = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "\uff1d1", "a,b", 'a"b', "a\nb", "é", "", "plain", "'q"]


class Reader:
    """A program that has the address."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.said: list[str] = []

    @property
    def address(self) -> str:
        return self.said[0].partition("releases: ")[2].removesuffix("/files")

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].partition("/")[0])

    @property
    def path(self) -> str:
        return "/" + self.address.split("/")[3]

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as line:
            line.request(method, self.path + path, headers=named)
            answer = line.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()

    def release(self, rows: str) -> Release:
        """A mart of those rows becomes the current release of `marts`."""
        deployment = self.shop.deployment
        with duckdb.connect(str(deployment.warehouse.marts)) as marts:
            marts.execute(f"CREATE OR REPLACE TABLE daily AS {rows}")
        return deployment.releases.publish(deployment.warehouse, self.shop.clock(), ["daily"])

    @property
    def releases(self) -> Releases:
        return self.shop.deployment.releases


@pytest.fixture
def reader(shop: Shop) -> Iterator[Reader]:
    shop.declare(contract=OpenSales)
    made = Reader(shop)
    with files_served(shop.deployment, shop.root / "web", 0, made.said.append):
        yield made


def test_a_mart_is_read_as_parquet_and_as_csv(reader: Reader) -> None:
    reader.release("SELECT DATE '2026-03-01' AS day, 10.50::DECIMAL(18,2) AS revenue UNION ALL SELECT NULL, -1")

    status, headers, content = reader.ask("/marts/daily.parquet")
    assert (status, headers["content-type"]) == (200, "application/vnd.apache.parquet")
    assert pl.read_parquet(io.BytesIO(content)).height == 2
    status, headers, content = reader.ask("/marts/daily.csv")
    assert (status, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert content == b"\xef\xbb\xbfday,revenue\r\n2026-03-01,10.50\r\n,-1.00\r\n"
    assert pl.read_csv(io.BytesIO(content)).columns == ["day", "revenue"]


def test_text_that_a_spreadsheet_would_run_is_defused_and_numbers_are_not(reader: Reader) -> None:
    texts = [" || ".join(f"chr({ord(each)})" for each in value) or "''" for value in HOSTILE]
    rows = ", ".join(f"({-n}, {text})" for n, text in enumerate(texts))
    reader.release(f'SELECT n AS "=n", t FROM (VALUES {rows}) v(n, t)')

    text = reader.ask("/marts/daily.csv")[2].decode("utf-8-sig")
    head, *found = list(csv.reader(io.StringIO(text, newline="")))
    assert head == ["'=n", "t"]
    assert found == [[str(-n), f"'{v}" if v[:1] in "=+-@\t\r\n\uff1d" and v else v] for n, v in enumerate(HOSTILE)]


def test_a_part_is_read_by_range_and_what_is_known_already_is_not_sent(reader: Reader) -> None:
    """As DuckDB and Excel ask."""
    release = reader.release("SELECT range AS n FROM range(1000)")
    whole = release.parquet("daily").read_bytes()

    status, headers, content = reader.ask("/marts/daily.parquet", range="bytes=0-3")
    assert (status, content, headers["content-range"]) == (206, b"PAR1", f"bytes 0-3/{len(whole)}")
    assert reader.ask("/marts/daily.parquet", range="bytes=-4")[2] == b"PAR1"
    status, headers, content = reader.ask("/marts/daily.parquet", method="HEAD")
    assert (status, headers["content-length"], headers["accept-ranges"], content) == (
        200,
        str(len(whole)),
        "bytes",
        b"",
    )
    for name in ("daily.parquet", "daily.csv"):
        tag = reader.ask(f"/marts/{name}", method="HEAD")[1]["etag"]
        assert reader.ask(f"/marts/{name}", if_none_match=tag)[0] == 304
        reader.release("SELECT range AS n FROM range(1001)")
        assert reader.ask(f"/marts/{name}", if_none_match=tag)[0] == 200
        reader.release("SELECT range AS n FROM range(1000)")


def test_an_address_with_its_release_stays_what_it_is(reader: Reader) -> None:
    first = reader.release("SELECT 1 AS n")
    reader.release("SELECT 2 AS n")

    assert reader.ask("/marts/daily.csv")[2].endswith(b"2\r\n")
    assert reader.ask(f"/marts/{first.id}/daily.csv")[2].endswith(b"1\r\n")
    assert reader.ask(f"/marts/{first.id}/daily.csv")[1]["x-release"] == first.id


def test_an_answer_is_of_one_release_whatever_is_released_meanwhile(reader: Reader) -> None:
    large = "SELECT range AS n, {} AS release FROM range(60000)"
    reader.release(large.format(1))
    ended = threading.Event()

    def publish() -> None:
        number = 1
        while not ended.is_set():
            number += 1
            reader.release(large.format(number))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        for _ in range(8):
            frame = pl.read_csv(io.BytesIO(reader.ask("/marts/daily.csv")[2]))
            assert (frame.height, frame["release"].n_unique()) == (60000, 1)
            frame = pl.read_parquet(io.BytesIO(reader.ask("/marts/daily.parquet")[2]))
            assert (frame.height, frame["release"].n_unique()) == (60000, 1)
    finally:
        ended.set()
        thread.join()


def test_the_index_lists_what_there_is_and_the_page_comes_with_it(reader: Reader) -> None:
    reader.release("SELECT 1 AS n")

    assert b'<a href="marts/daily.parquet">' in reader.ask("/files")[2]
    assert reader.ask("/")[0] == 404
    page = reader.shop.deployment.home / "site" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("<p>all is well</p>")
    assert reader.ask("/")[2] == b"<p>all is well</p>"


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/marts/daily.csv", "POST", {}, 405),
        ("/marts/daily.csv", "OPTIONS", {"origin": "http://evil.example"}, 405),
        ("/marts/daily.csv", "GET", {"sec_fetch_site": "cross-site"}, 403),
        ("/marts/daily.csv", "GET", {"host": "evil.example"}, 421),
        ("/marts/../marts/daily.csv", "GET", {}, 404),
        ("/marts/%2e%2e/daily.csv", "GET", {}, 404),
        ("/marts/current/daily.csv", "GET", {}, 404),
        ("/../warehouse.duckdb", "GET", {}, 404),
        ("/nothing/daily.csv", "GET", {}, 404),
        ("/marts/nothing.csv", "GET", {}, 404),
        ("/marts/daily.duckdb", "GET", {}, 404),
        ("/marts/manifest.json", "GET", {}, 404),
    ],
)
def test_what_is_not_there_or_not_allowed_is_not_given(
    reader: Reader, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    reader.release("SELECT 1 AS n")
    answer = reader.ask(path, method, **headers)
    assert answer[0] == status
    assert "access-control-allow-origin" not in answer[1]


def test_who_does_not_know_the_address_gets_nothing(reader: Reader) -> None:
    reader.release("SELECT 1 AS n")
    for path in ("", "/", "/files", "/marts/daily.csv", "/x/marts/daily.csv", f"{reader.path}x/files"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", reader.port, timeout=20)) as line:
            line.request("GET", path or "/")
            assert line.getresponse().status == 404


def test_the_address_stays_and_only_its_owner_can_read_it(reader: Reader, tmp_path: Path) -> None:
    folder = reader.shop.root / "web"
    assert key_of(folder) == reader.path[1:]
    assert [path.stat().st_mode & 0o77 for path in (folder, *folder.iterdir())] == [0, 0]
    assert shelf_of(reader.shop.deployment).products() == []


def test_a_port_that_is_taken_stops_nothing(reader: Reader) -> None:
    told: list[str] = []
    with files_served(reader.shop.deployment, reader.shop.root / "web", reader.port, told.append):
        assert "the files of the releases are not served" in told[0]
