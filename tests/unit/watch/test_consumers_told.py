"""That a release would break a consumer, or that a version ends, as state, alerts and the UI tell it. Elsewhere: what
breaks (tests/unit/project/test_promised.py), the real commands (tests/integration/test_kept_consumers.py)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pytest
from modelled import MODEL, Modelled, modelled
from shop import Shop, sales

from platform_assets.commands.attention import of_versions
from platform_assets.orchestration.consumers import consumer_assets
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.problems import SECTIONS
from platform_assets.project.consumers import Offer
from platform_assets.project.exposures import Consumer
from platform_assets.project.graph import Project
from platform_assets.project.state import State

BOARD = Consumer(
    "board",
    "Board",
    "dashboard",
    "Sales",
    "sales@example.com",
    "https://bi.example.com/1",
    "",
    "x.yml",
    {"revenue": None},
)
GONE = "revenue.one is gone (renamed to 'won'?); used by Board (Sales, sales@example.com)"


@pytest.fixture
def world(shop: Shop) -> Iterator[Modelled]:
    """A shop with a release of its mart `revenue`, which has the column `one`."""
    with modelled(shop) as made:
        shop.deliver("a.csv", sales("S1,1"))
        (result,) = made.by_itself()
        assert result.success
        yield made


def read_by_board(world: Modelled, offer: Offer) -> Project:
    """The shop's project, whose mart offers this and is read by the board."""
    return replace(world.project, consumers=(BOARD,), offers={"revenue": offer})


def test_a_product_that_would_break_a_consumer_is_held_and_its_owner_is_told(world: Modelled) -> None:
    fits = read_by_board(world, Offer({"one": "integer"}, table="revenue"))
    (product,) = fits.products
    assert State.of(fits, world.shop.deployment).refused(product) is None
    world.shop.deliver("b.csv", sales("S2,1"))
    world.shop.deployment.ingest(world.feed)
    breaking = read_by_board(world, Offer({"won": "integer"}, table="revenue"))
    state = State.of(breaking, world.shop.deployment)
    cause = state.refused(product)
    assert cause is not None
    assert (cause.kind, cause.evidence) == ("would break consumers", GONE)
    assert state.outdated(product.release) is not None
    assert product.release not in state.to_run([])
    assert MODEL in state.to_run([])
    graph = world.definitions.resolve_asset_graph()
    seen = DagsterState(world.instance, graph, state.now)
    stored = DeploymentState(world.shop.deployment, (), breaking)
    (problem,) = SECTIONS["consumers:"](seen, stored)
    assert (problem.key, problem.owner, problem.detail) == (f"consumers:{product.name}", product.owner, GONE)
    assert problem.runbook == "consumer-held"
    assert product.release in problem.assets


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (20, None),
        (14, "revenue ends on {}; read by Board (Sales, sales@example.com)"),
        (0, "revenue has ended on {}; "),
    ],
)
def test_a_version_that_ends_is_told_from_two_weeks_before(world: Modelled, days: int, said: str | None) -> None:
    until = world.shop.deployment.clock().date() + timedelta(days=days)
    project = read_by_board(world, Offer({"one": "integer"}, until, "sales", "1", "revenue"))
    stored = DeploymentState(world.shop.deployment, (), project)
    seen = DagsterState(world.instance, world.definitions.resolve_asset_graph(), stored.assets.now)
    problems = [problem.title for problem in SECTIONS["version:"](seen, stored)]
    waiting = [each.what for each in of_versions(stored.assets)]
    assert problems == waiting
    assert [each.startswith((said or "").format(until)) for each in problems] == ([] if said is None else [True])


def test_the_end_of_a_version_is_told_with_the_next_release(world: Modelled) -> None:
    until = world.shop.deployment.clock().date() + timedelta(days=90)
    project = read_by_board(world, Offer({"one": "integer"}, until, "sales", "1", "revenue"))
    (product,) = project.products
    state = State.of(project, world.shop.deployment)
    assert state.outdated(product.release) == "what its readers are told of versions changed since the last release"


def test_the_lineage_ends_in_the_consumers_with_their_owners(world: Modelled) -> None:
    project = read_by_board(world, Offer({"one": "integer"}, table="revenue"))
    (spec,) = consumer_assets(project)
    (product,) = project.products
    assert spec.key == dg.AssetKey(["consumers", "board"])
    assert {dep.asset_key.to_user_string() for dep in spec.deps} == {MODEL, product.release}
    assert list(spec.owners) == ["sales@example.com"]
    assert spec.metadata["url"] == dg.MetadataValue.url("https://bi.example.com/1")
    (unnamed,) = consumer_assets(replace(project, consumers=(replace(BOARD, email="", url="javascript:alert(1)"),)))
    assert list(unnamed.owners) == ["team:Sales"]
    assert "url" not in unnamed.metadata
