"""The check `readable` of a product's release, in runs as they are asked for."""

from collections.abc import Iterator

import pytest
from modelled import RELEASE, Modelled, modelled
from shop import OpenSales, Shop, sales

from platform_assets.orchestration.release import READABLE


@pytest.fixture
def world(shop: Shop) -> Iterator[Modelled]:
    shop.declare(contract=OpenSales)
    with modelled(shop) as made:
        shop.deliver("a.csv", sales("S1,1"))
        yield made


def said(world: Modelled) -> tuple[bool, str]:
    done = world.by_hand(RELEASE, checks_only=True)
    assert done.success
    (found,) = (each for each in done.get_asset_check_evaluations() if each.check_name == READABLE)
    assert found.passed or "release" in str(found.metadata["runbook"].value)
    return found.passed, found.description or ""


def test_a_release_is_readable_and_a_damaged_one_is_named(world: Modelled) -> None:
    assert said(world) == (True, "there is no release yet")
    *_, last = world.by_itself()
    assert [each.passed for each in last.get_asset_check_evaluations() if each.check_name == READABLE] == [True]
    release = world.shop.deployment.releases.current()
    assert release is not None
    assert said(world) == (True, f"{release.id}: 1 mart")

    file = release.parquet("revenue")
    file.chmod(0o600)
    file.write_bytes(b"no such thing")
    assert said(world) == (False, f"{release.id}: 1 mart; 1 cannot be read as released")
