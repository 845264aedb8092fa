"""Products: dbt's groups with their marts and owners, and what their authors say of them."""

from datetime import timedelta
from typing import Any, Final

import pytest

from platform_assets.engine.feed.product import Product
from platform_assets.engine.store.release import Release
from platform_assets.errors import ConfigurationError
from platform_assets.project.products import ReleasedProduct, products_of, still_serving

GROUPS: Final = {
    "group.platform.shop": {"name": "shop", "owner": {"name": "team:shop", "email": "shop@example.com"}},
    "group.platform.web": {"name": "web", "owner": {"email": "web@example.com"}},
    "group.platform.tea": {"name": "tea", "owner": {"name": "Tea & Co", "email": ["tea@example.com"]}},
    "group.platform.empty": {"name": "empty", "owner": {"name": "nobody"}},
}


def marts(**groups: str | None) -> dict[str, dict[str, Any]]:
    """Marts, each with the group that its node names."""
    return {f"marts/{mart}": {"group": group} for mart, group in groups.items()}


def products(*declared: Product, **groups: str | None) -> dict[str, ReleasedProduct]:
    return {each.name: each for each in products_of({"groups": GROUPS}, marts(**groups), declared)}


def test_a_group_is_a_product_and_what_is_in_none_is_another() -> None:
    found = products(orders="shop", lines="shop", visits="web", rest=None, more=None, leaves="tea")
    assert {name: (each.owner, each.marts) for name, each in found.items()} == {
        "marts": ("team:data-platform", ("marts/rest", "marts/more")),
        "shop": ("team:shop", ("marts/orders", "marts/lines")),
        "tea": ("team:Tea & Co", ("marts/leaves",)),
        "web": ("web@example.com", ("marts/visits",)),
    }
    assert (found["shop"].release, found["shop"].tables) == ("release/shop", ("orders", "lines"))


def test_without_groups_there_is_one_product() -> None:
    assert list(products(orders=None, lines=None)) == ["marts"]
    assert products() == {}


def test_what_is_said_of_a_product_goes_with_it() -> None:
    said = Product("shop", keep=timedelta(days=30), least=3)
    found = products(said, orders="shop", visits="web")
    assert (found["shop"].declared, found["web"].declared) == (said, Product("web"))


@pytest.mark.parametrize(
    "name", ["../etc", "a/b", ".hidden", "", "a b", "release\n", "é", "-x", "x" * 101, "current.duckdb"]
)
def test_a_name_that_no_folder_can_have_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be the name of a folder"):
        Product(name)
    with pytest.raises(ConfigurationError, match="cannot be the name of a folder"):
        products_of({"groups": {}}, {"marts/orders": {"group": name or "."}}, [])


@pytest.mark.parametrize(("one", "other"), [("Shop", "shop"), ("web-shop", "web_shop")])
def test_names_that_a_machine_takes_for_the_same_are_refused(one: str, other: str) -> None:
    with pytest.raises(ConfigurationError, match="take for the same"):
        products(orders=one, lines=other)


def test_a_product_without_marts_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean 'shop'") as refused:
        products(Product("shops"), orders="shop")
    assert "platform_assets/marts" in refused.value.what


@pytest.mark.parametrize(
    ("given", "problem"),
    [({"keep": timedelta(days=-1)}, "below nothing"), ({"least": 0}, "would leave readers nothing")],
)
def test_what_keeps_nothing_is_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Product("shop", **given)


def test_what_readers_have_meanwhile_is_told_of_each_product() -> None:
    def made(at: str) -> Release:
        return Release("1", "p", "", f"2026-03-01T{at}:00+00:00", {})

    assert still_serving({"shop": None}) == "there is no release yet"
    assert still_serving({"shop": made("12:30")}) == "the release of 2026-03-01 12:30 UTC still serves"
    assert still_serving({"shop": made("12:30"), "tea": None}) == (
        "the release of shop of 2026-03-01 12:30 UTC still serves"
    )
    assert still_serving({"shop": made("12:30"), "tea": made("13:00")}) == (
        "the releases of shop of 2026-03-01 12:30 UTC, tea of 2026-03-01 13:00 UTC still serve"
    )
