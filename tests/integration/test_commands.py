"""Dagster's own commands on this project, and `platform ci`, as a person or a pipeline types them."""

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import pytest
from deployed import Deployed
from machine import PROJECT

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    root = tmp_path_factory.mktemp("commands")
    (root / "home" / "dagster").mkdir(parents=True)
    world = Deployed(root, {"DAGSTER_HOME": str(root / "home" / "dagster")})
    world.simulate(days=1, rows=20, until="2026-03-16", dirt=0.0)
    return world


def together(world: Deployed, *commands: Sequence[str]) -> list[str]:
    """Run commands at the same time; what each says on standard output."""
    started = [(command, world.start(*command)) for command in commands]
    said = []
    for command, process in started:
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, f"{' '.join(command)}\n{out[-2000:]}\n{err[-2000:]}"
        said.append(out)
    return said


@pytest.mark.slow
def test_dagsters_own_commands_accept_the_project(world: Deployed) -> None:
    together(world, ("dg", "check", "defs"))  # first by itself: Dagster's tables are not to be made by two at once
    listed, _ = together(
        world,
        ("dg", "list", "defs", "--json"),
        ("dagster", "definitions", "validate", "-w", "workspace.yaml"),
    )
    defs = json.loads(listed[listed.index("{") :] if listed.lstrip().startswith("{") else listed)
    text = json.dumps(defs)
    for name in ("raw/retail/order_lines", "marts/daily_sales", "order_lines_files", "automation"):
        assert name in text


def test_an_asset_can_be_launched_alone(world: Deployed) -> None:
    together(world, ("dg", "launch", "--assets", "key:raw/retail/products"))
    with world.instance() as instance:
        record = instance.get_latest_materialization_event(dg.AssetKey(["raw", "retail", "products"]))
    assert record is not None
    status = world.platform("feed", "status", "--json").answer["feeds"]
    assert {feed["feed"]: feed["deliveries"] for feed in status} == {"customers": 0, "order_lines": 0, "products": 1}


def test_a_selection_that_means_nothing_is_misuse(world: Deployed) -> None:
    done = world.verb("check", "nonsense", "--json")
    assert done.code == 2
    assert done.answer["ok"] is False
    assert "nonsense" in done.answer["error"]["what"]


@pytest.mark.slow
def test_platform_ci_reports_every_check_as_junit(tmp_path: Path) -> None:
    world = Deployed(tmp_path)
    done = world.platform("ci", "--junit", str(tmp_path / "report.xml"), "--days", "3", "--json")
    assert done.code == 0, done.out
    suite = ElementTree.parse(tmp_path / "report.xml").getroot()
    cases = [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")]
    assert int(suite.get("tests") or 0) == len(cases) == done.answer["passed"]
    assert not list(suite.iter("failure"))
    assert {("definitions", "load"), ("dbt", "unit_tests"), ("marts/daily_sales", "contract")} <= set(cases)
    assert not world.landing.exists(), "it builds in a home that it throws away"
    assert not (world.home / "warehouse.duckdb").exists()
    assert (PROJECT / "dbt_project" / "target" / "platform" / "manifest.json").exists()
