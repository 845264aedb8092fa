"""What the terminal is told of runs: each thing once, in a line, whoever ran it; nothing of what was before."""

import re
from collections.abc import Iterator

import dagster as dg
import pytest
from modelled import Modelled, modelled
from shop import Shop, sales

from platform_assets.orchestration.watch.happened import Happened


@pytest.fixture
def watched(shop: Shop) -> Iterator[Modelled]:
    with modelled(shop) as world:
        yield world


def ran(world: Modelled) -> None:
    request = world.tick()
    assert isinstance(request, dg.RunRequest), request
    world.run(request)


def told(happened: Happened) -> list[str]:
    """Lines without what differs from run to run."""
    return [re.sub(r"\b[0-9a-f]{8}\b|release \S+|\d+ s\b", "…", line) for line in happened.lines()]


def test_a_delivery_and_its_run_are_told_once(watched: Modelled) -> None:
    happened = Happened(watched.instance, lambda: watched.shop.deployment)
    assert told(happened) == []
    watched.shop.deliver("a.csv", sales("S1,1", "S2,oops"))
    ran(watched)
    lines = told(happened)
    assert lines[0] == "sales: sales/a.csv: 1 of 2 rows accepted, 1 rejected"
    assert "check failed: raw/" in lines[1]
    assert "(platform why raw/" in lines[1]
    assert lines[-1].startswith("run … ended well after …")
    assert told(happened) == []


def test_what_was_made_is_told_with_its_release(watched: Modelled) -> None:
    happened = Happened(watched.instance, lambda: watched.shop.deployment)
    watched.shop.deliver("a.csv", sales("S1,1"))
    ran(watched)
    assert told(happened)[-1] == "run … ended well after …: 4 assets and … made"


def test_many_deliveries_are_one_line(watched: Modelled) -> None:
    happened = Happened(watched.instance, lambda: watched.shop.deployment)
    for at in range(8):
        watched.shop.deliver(f"{at}.csv", sales(f"S{at},1"))
    watched.shop.deliver("broken.csv", "no header that is known\n")
    ran(watched)
    said = "sales: 9 deliveries: 8 of 8 rows accepted, 0 rejected; 1 delivery quarantined as a whole"
    assert told(happened)[0] == said


def test_what_failed_is_told_with_the_first_line_of_why(watched: Modelled) -> None:
    def breaks() -> None:
        raise ValueError("it is broken\nand this is more of it")

    happened = Happened(watched.instance, lambda: watched.shop.deployment)
    watched.works = breaks
    watched.shop.deliver("a.csv", sales("S1,1"))
    ran(watched)
    assert told(happened)[-1].startswith("run … failed after …: models: it is broken: ")


def test_runs_of_before_are_not_told(watched: Modelled) -> None:
    watched.shop.deliver("a.csv", sales("S1,1"))
    ran(watched)
    happened = Happened(watched.instance, lambda: watched.shop.deployment)
    happened._since = happened._since.replace(year=happened._since.year + 1)
    assert told(happened) == []
