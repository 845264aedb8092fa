"""The main job from outside, as one story: first run, nothing new, news of every kind, a refusal, and its healing.

Each fixture is a chapter and keeps what it saw; a test reads the chapter it is about.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from deployed import Deployed, Finished

from platform_assets.definitions import build_definitions

FEEDS = {"order_lines": "retail/order_lines", "products": "retail/products", "customers": "retail/customers"}
MARTS = {"customer_value", "daily_sales", "dim_customers", "dim_products", "fct_order_lines", "fct_returns"}
RESTATED = "retail/order_lines/2026-03-17.csv"
BAD = "retail/order_lines/2026-03-24.csv"
BROKEN_ROWS = 60


@dataclass(frozen=True)
class Chapter:
    """A run and the release that readers had after it."""

    run: Finished
    release: Path

    @property
    def answer(self) -> Any:
        return self.run.answer

    def feed(self, name: str) -> dict[str, Any]:
        (feed,) = (feed for feed in self.answer["feeds"] if feed["feed"] == name)
        return dict(feed)


@dataclass
class Reader:
    """Somebody who opens the current release every 20 ms, again and again, and reads it."""

    path: Path
    reads: int = 0
    slowest_s: float = 0.0
    failures: list[str] = field(default_factory=list)
    seen: set[Path] = field(default_factory=set)
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Reader":
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._done.wait(0.02):
            began = time.monotonic()
            try:
                with closing(duckdb.connect(str(self.path), read_only=True)) as connection:
                    connection.execute("SELECT count(*), sum(net_revenue) FROM daily_sales").fetchall()
                self.seen.add(self.path.resolve())
            except duckdb.Error as error:
                self.failures.append(str(error))
            self.reads += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)


def planted(world: Deployed, feed: str) -> dict[str, int]:
    """What the retailer says its files of the feed come to."""
    account = json.loads((world.landing / ".simulated" / "planted.json").read_text())
    files = [file for name, file in account["files"].items() if name.startswith(FEEDS[feed])]
    first = [file for file in files if not file["redelivery_of"]]
    again = [file for file in files if file["redelivery_of"]]
    return {
        "deliveries": len(files),
        "read": sum(file["rows"] for file in files),
        "accepted": sum(file["accepted"] for file in first),
        "rejected": sum(sum(file["rejected"].values()) for file in first),
        "duplicate": sum(file["duplicates"] for file in first) + sum(file["rows"] for file in again),
    }


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    world = Deployed(tmp_path_factory.mktemp("main_job"))
    world.simulate(days=10, rows=200, until="2026-03-20")
    return world


@pytest.fixture(scope="module")
def expected(world: Deployed) -> dict[str, dict[str, int]]:
    """What was planted before anything else was delivered."""
    return {feed: planted(world, feed) for feed in FEEDS}


@pytest.fixture(scope="module")
def first(world: Deployed, expected: dict[str, dict[str, int]]) -> Chapter:
    run = world.verb("run", "--json")
    assert run.did, run.err
    return Chapter(run, world.current)


@pytest.fixture(scope="module")
def recorded(world: Deployed, first: Chapter) -> dict[str, dg.AssetMaterialization]:
    """The first run's materializations, as Dagster keeps them."""
    with world.instance() as instance:
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS
        events = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    found = [event.asset_materialization for event in events]
    return {each.asset_key.to_user_string(): each for each in found if each is not None}


@pytest.fixture(scope="module")
def again(world: Deployed, first: Chapter) -> Chapter:
    return Chapter(world.platform("run", "--json", env={"PYTHONPROFILEIMPORTTIME": "1"}), world.current)


@pytest.fixture(scope="module")
def reader(world: Deployed, again: Chapter) -> Reader:
    return Reader(world.releases / "current.duckdb")


@pytest.fixture(scope="module")
def before(world: Deployed, first: Chapter) -> str:
    """The first release's bytes, before the next one was made."""
    return digest(first.release)


@pytest.fixture(scope="module")
def news(world: Deployed, again: Chapter, before: str, reader: Reader) -> Chapter:
    """A new day, a restated day (three lines fewer) and a file without its quantities, while somebody reads."""
    world.simulate(days=1, rows=200, until="2026-03-22")
    world.deliver(RESTATED, world.lines(RESTATED)[:-3])
    world.deliver(BAD, ["InvoiceNo,StockCode,Description,InvoiceDate,UnitPrice,CustomerID,Country"])
    with reader:
        run = world.platform("run", "--json")
    return Chapter(run, world.current)


@pytest.fixture(scope="module")
def refused(world: Deployed, news: Chapter) -> Chapter:
    """The restated day comes once more, with more broken rows than the feed tolerates."""
    header, *rows = world.lines(RESTATED)
    broken = [f"{row.rsplit(',', 4)[0]},never,free,," for row in rows[:BROKEN_ROWS]]
    world.deliver(RESTATED, [header, *broken, *rows[BROKEN_ROWS:]])
    return Chapter(world.verb("run", "--json"), world.current)


@pytest.fixture(scope="module")
def healed(world: Deployed, refused: Chapter, checked_while_refused: Finished, by_hand: list[str]) -> Chapter:
    """The producer mends it."""
    world.deliver(RESTATED, [line for line in world.lines(RESTATED) if ",never,free," not in line])
    return Chapter(world.verb("run", "--json"), world.current)


@pytest.fixture(scope="module")
def checked_while_refused(world: Deployed, refused: Chapter) -> Finished:
    return world.verb("check", 'key:"raw/retail/order_lines"', "--json")


@pytest.fixture(scope="module")
def by_hand(world: Deployed, refused: Chapter) -> Iterator[list[str]]:
    """What comes of materializing the release by hand while a blocking check fails."""
    with pytest.MonkeyPatch.context() as patch, world.instance() as instance:
        for key, value in world.environment().items():
            patch.setenv(key, value)
        patch.setenv("DAGSTER_HOME", str(world.home / "dagster"))
        job = build_definitions().resolve_implicit_global_asset_job_def()
        result = job.get_subset(asset_selection={dg.AssetKey(["release", "retail"])}).execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
        yield ["" if error is None or error.cause is None else error.cause.message for error in failures]


# ---- the first run


def test_the_answer_is_one_json_object_on_the_last_line(first: Chapter) -> None:
    assert set(first.answer) >= {"feeds", "releases", "ok"}
    assert first.answer["ok"] is True
    assert [feed["feed"] for feed in first.answer["feeds"]] == sorted(FEEDS)
    assert all(
        {"deliveries", "read", "accepted", "rejected", "duplicate"} <= set(feed) for feed in first.answer["feeds"]
    )
    assert first.answer["releases"]["retail"].keys() >= {"id", "path"}


def test_progress_goes_to_standard_error(first: Chapter) -> None:
    assert len(first.run.out.splitlines()) == 1
    assert "pending files" in first.run.err


@pytest.mark.parametrize("feed", FEEDS)
def test_receipts_equal_what_was_planted(first: Chapter, expected: dict[str, dict[str, int]], feed: str) -> None:
    assert {figure: first.feed(feed)[figure] for figure in expected[feed]} == expected[feed]
    assert expected[feed]["read"] > 0


def test_dirt_of_every_kind_was_planted(expected: dict[str, dict[str, int]]) -> None:
    assert expected["order_lines"]["rejected"] > 0
    assert expected["order_lines"]["duplicate"] >= 200, "a whole file was delivered again"


def test_rejections_by_column_equal_what_was_planted(world: Deployed, first: Chapter) -> None:
    account = json.loads((world.landing / ".simulated" / "planted.json").read_text())
    wanted = {"quantity": 0, "unit_price": 0, "invoiced_at": 0}
    for name, file in account["files"].items():
        if not file["redelivery_of"] and not name.endswith("2026-03-22.csv"):
            for kind, rows in file["rejected"].items():
                wanted[kind.removesuffix("_negative")] += rows
    found = dict.fromkeys(wanted, 0)
    for reason in first.feed("order_lines")["reasons"]:
        found[reason["column"]] += reason["rows"]
    assert found == wanted


def test_the_release_holds_the_marts_read_only(world: Deployed, first: Chapter) -> None:
    assert first.answer["releases"]["retail"]["path"] == str(first.release)
    assert {
        name for (name,) in world.query("SELECT view_name FROM duckdb_views() WHERE NOT internal", first.release)
    } == MARTS
    assert first.release.stat().st_mode & 0o222 == 0


def test_the_release_has_no_column_with_personal_data(world: Deployed, first: Chapter) -> None:
    columns = {
        name for (name,) in world.query("SELECT column_name FROM duckdb_columns() WHERE NOT internal", first.release)
    }
    assert not columns & {"name", "email"}
    for path in first.release.parent.iterdir():
        assert b"@example" not in path.read_bytes()


def test_daily_sales_reconcile_with_the_facts(world: Deployed, first: Chapter) -> None:
    (difference,) = world.query(
        "SELECT count(*) FROM daily_sales FULL JOIN (SELECT sale_date, count(*) AS lines, sum(line_amount) AS amount "
        "FROM fct_order_lines GROUP BY ALL) AS facts USING (sale_date) "
        "WHERE order_lines IS DISTINCT FROM lines OR net_revenue IS DISTINCT FROM amount",
        first.release,
    )
    assert difference == (0,)
    (facts,) = world.query("SELECT count(*) FROM fct_order_lines", first.release)
    assert facts == (first.feed("order_lines")["accepted"],)


def test_every_asset_was_materialized(recorded: dict[str, dg.AssetMaterialization]) -> None:
    """What is delivered is only reported where it came in time, and these are of long ago."""
    made = build_definitions().resolve_asset_graph().executable_asset_keys
    assert set(recorded) == {key.to_user_string() for key in made}


def test_raw_assets_carry_their_receipts(recorded: dict[str, dg.AssetMaterialization], first: Chapter) -> None:
    for feed, folder in FEEDS.items():
        metadata = recorded[f"raw/{folder}"].metadata
        figures = ("deliveries", "read", "accepted", "rejected", "duplicate")
        assert {name: metadata[name].value for name in figures} == {name: first.feed(feed)[name] for name in figures}
        assert metadata["dagster/row_count"].value == first.feed(feed)["accepted"]
        assert f"{folder}/2026-03" in str(metadata["receipts"].value)


def test_marts_carry_their_row_counts(
    recorded: dict[str, dg.AssetMaterialization], world: Deployed, first: Chapter
) -> None:
    for mart in MARTS:
        (rows,) = world.query(f"SELECT count(*) FROM {mart}", first.release)
        assert (recorded[f"marts/{mart}"].metadata["dagster/row_count"].value,) == rows


def test_marts_carry_their_columns_and_what_these_are_made_from(
    recorded: dict[str, dg.AssetMaterialization], world: Deployed, first: Chapter
) -> None:
    for mart in MARTS:
        metadata = recorded[f"marts/{mart}"].metadata
        built = world.query(f"SELECT column_name, column_type FROM (DESCRIBE {mart})", first.release)
        schema = metadata["dagster/column_schema"].value
        assert isinstance(schema, dg.TableSchema)
        assert [(column.name, column.type) for column in schema.columns] == built
        assert any(column.description for column in schema.columns)
        lineage = metadata["dagster/column_lineage"].value
        assert isinstance(lineage, dg.TableColumnLineage)
        assert set(lineage.deps_by_column) == {name for name, _ in built}
    lineage = recorded["marts/daily_sales"].metadata["dagster/column_lineage"].value
    assert isinstance(lineage, dg.TableColumnLineage)
    above = {(dep.asset_key.to_user_string(), dep.column_name) for dep in lineage.deps_by_column["gross_revenue"]}
    assert ("marts/fct_order_lines", "line_amount") in above, "through a model that is no table"
    staged = recorded["staging/retail/stg_retail__products"].metadata["dagster/column_lineage"].value
    assert isinstance(staged, dg.TableColumnLineage)
    assert {dep.asset_key.to_user_string() for deps in staged.deps_by_column.values() for dep in deps} == {
        "raw/retail/products"
    }


def test_every_asset_check_was_evaluated(world: Deployed, first: Chapter) -> None:
    keys = build_definitions().resolve_asset_graph().asset_check_keys
    with world.instance() as instance:
        runs = instance.get_runs(ascending=True)
        events = instance.all_logs(runs[0].run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluated = [event.dagster_event.asset_check_evaluation_data for event in events if event.dagster_event]
    assert {each.asset_check_key for each in evaluated} == set(keys)
    assert {each.asset_check_key.name for each in evaluated if not each.passed} == {"fresh"}, "all is of long ago"


# ---- the second run


def test_nothing_new_loads_nothing_and_keeps_the_release(first: Chapter, again: Chapter) -> None:
    assert again.run.did
    assert [feed["read"] for feed in again.answer["feeds"]] == [0, 0, 0]
    assert again.answer["releases"]["retail"] == first.answer["releases"]["retail"]
    assert again.release == first.release


def test_nothing_new_needs_neither_dagster_nor_dbt(again: Chapter) -> None:
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in again.run.err.splitlines()}
    assert "duckdb" in imported, "the import log is not what it is taken for"
    assert not imported & {"dagster", "dagster_dbt", "dbt"}
    assert again.answer["took_s"] < 3


# ---- news


def test_news_make_a_new_release(first: Chapter, news: Chapter) -> None:
    assert news.run.did, news.run.err
    assert news.answer["ok"] is True
    assert news.answer["releases"]["retail"]["id"] > first.answer["releases"]["retail"]["id"]


def test_the_new_day_is_in_it(world: Deployed, first: Chapter, news: Chapter) -> None:
    days = "SELECT sale_date::VARCHAR FROM daily_sales"
    assert set(world.query(days, news.release)) - set(world.query(days, first.release)) == {("2026-03-22",)}


def test_the_restated_day_has_its_new_lines_only(world: Deployed, first: Chapter, news: Chapter) -> None:
    lines = "SELECT order_lines FROM daily_sales WHERE sale_date = '2026-03-17'"
    ((then,), (now,)) = (*world.query(lines, first.release), *world.query(lines, news.release))
    assert 0 < then - now <= 3


def test_the_bad_file_is_named_and_the_others_go_on(news: Chapter) -> None:
    (waiting,) = news.answer["quarantined"]
    assert (waiting["feed"], waiting["file"]) == ("order_lines", BAD)
    assert "missing column Quantity" in waiting["problem"]
    assert news.feed("order_lines")["accepted"] > 300, "the new day and the restated one"
    assert news.feed("order_lines")["waiting"] == 1


def test_the_old_release_still_opens_and_is_unchanged(first: Chapter, news: Chapter, before: str) -> None:
    assert first.release != news.release
    assert digest(first.release) == before


def test_a_reader_never_waits_and_never_fails(first: Chapter, news: Chapter, reader: Reader) -> None:
    assert reader.failures == []
    assert reader.reads > 100
    assert reader.seen == {first.release, news.release}
    assert reader.slowest_s < 1.5, "on a machine whose cores are all busy"


# ---- a refusal


def test_too_many_rejected_rows_end_the_run_with_1(refused: Chapter) -> None:
    assert refused.run.code == 1
    assert refused.answer["ok"] is False
    assert refused.answer["failed_checks"] == ["raw/retail/order_lines:rejects_within_tolerance"]


def test_a_refusal_keeps_the_release(news: Chapter, refused: Chapter) -> None:
    assert refused.release == news.release


def test_a_refusal_builds_no_mart(world: Deployed, refused: Chapter) -> None:
    with world.instance() as instance:
        held, *_ = instance.get_runs(dg.RunsFilter(tags={"platform/held_back": "true"}))
        events = instance.all_logs(held.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
        steps = instance.all_logs(held.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    built = {event.get_dagster_event().asset_key for event in events}
    assert {key.path[0] for key in built if key} <= {"raw", "quarantine"}
    assert list(steps) == [], "what is held back has not failed"


def test_a_refusal_says_what_holds_back_what(news: Chapter, refused: Chapter) -> None:
    (held,) = refused.answer["held_back"]
    assert held["by"] == "raw/retail/order_lines"
    assert held["why"].startswith("held back by raw/retail/order_lines: `retail/order_lines/")
    assert "rows rejected`; the release of " in held["why"]
    assert held["why"].endswith("UTC still serves")
    assert {"marts/daily_sales", "release/retail"} <= set(held["assets"])
    assert "marts/dim_products" not in held["assets"], "what is made of other feeds is not held back"
    assert refused.answer["errors"] == []


def test_the_release_cannot_be_made_by_hand_meanwhile(by_hand: list[str]) -> None:
    (failure,) = by_hand
    assert "ReleaseRefused" in failure
    assert "check rejects_within_tolerance of raw/retail/order_lines failed" in failure


def test_platform_check_ends_with_1_where_a_blocking_check_fails(checked_while_refused: Finished) -> None:
    assert checked_while_refused.code == 1
    answer = checked_while_refused.answer
    assert answer["ok"] is False
    failed = {(check["check"], check["blocking"]) for check in answer["checks"] if not check["passed"]}
    assert failed == {("rejects_within_tolerance", True), ("no_delivery_quarantined", False), ("fresh", False)}


# ---- its healing


def test_the_mended_delivery_heals_everything_below(news: Chapter, healed: Chapter) -> None:
    assert healed.run.did, healed.run.err
    assert healed.answer["ok"] is True
    assert healed.release not in (news.release,)


def test_the_healed_release_holds_the_mended_rows(world: Deployed, news: Chapter, healed: Chapter) -> None:
    lines = "SELECT order_lines FROM daily_sales WHERE sale_date = '2026-03-17'"
    ((then,), (now,)) = (*world.query(lines, news.release), *world.query(lines, healed.release))
    assert 0 < then - now <= BROKEN_ROWS


def test_platform_check_evaluates_all_and_materializes_nothing(world: Deployed, healed: Chapter) -> None:
    checked = world.verb("check", "--json")
    assert checked.code == 0, checked.out
    assert checked.answer["ok"] is True
    assert len(checked.answer["checks"]) == len(build_definitions().resolve_asset_graph().asset_check_keys)
    with world.instance() as instance:
        newest, *_ = instance.get_runs(limit=1)
        assert not instance.all_logs(newest.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    assert world.current == healed.release


def test_every_release_can_still_be_read(world: Deployed, healed: Chapter) -> None:
    listed = world.verb("release", "list", "--json").answer["releases"]
    assert [release["current"] for release in listed] == [True] + [False] * (len(listed) - 1)
    for release in listed:
        assert world.query("SELECT count(*) > 0 FROM daily_sales", Path(release["path"])) == [(True,)]
