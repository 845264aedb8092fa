"""A column that has got another type: its feed waits for a replay and says so, and nobody else does."""

from dataclasses import replace
from decimal import Decimal

import pytest
from shop import FILES, SALES, Sales, Shop, sales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.deployment import Deployment
from platform_assets.errors import ContractError
from platform_assets.orchestration.checks import evaluated


class Fractions(Sales):
    """Sales in fractions of a piece."""

    quantity: Decimal = Field(ge=0)  # type: ignore[assignment]  # the type has changed


class Words(Sales):
    """Sales by the word."""

    quantity: str = Field()  # type: ignore[assignment]  # the type has changed


def test_a_column_of_another_type_is_made_anew_from_the_archive(shop: Shop) -> None:
    shop.load("a.csv", sales("S1,1", "S2,1.5"))
    shop.declare(contract=Fractions)
    for _ in range(2):
        with pytest.raises(ContractError, match="platform replay sales"):
            shop.ingest()
    shop.deployment.replay(shop.feed)
    assert shop.rows() == [("S1", Decimal(1)), ("S2", Decimal("1.5"))]
    assert shop.ingest().receipts == []


@pytest.mark.parametrize("contract", [Fractions, Words])
def test_columns_of_other_types_are_the_affair_of_their_feeds(shop: Shop, contract: type[Contract]) -> None:
    """Whatever has changed its types and when it is replayed: the others load, and are asked about."""

    def declared(*kinds: type[Contract]) -> Deployment:
        feeds = [
            replace(SALES, name=name, contract=kind, source=FILES.read_from(f"sales/{name}*.csv"))
            for name, kind in zip("abc", kinds, strict=True)
        ]
        return Deployment(feeds, home=shop.root / "home", landing=shop.landing)

    def load(deployment: Deployment, day: int) -> list[str]:
        """Deliver to every feed; what is to be replayed before it can be ingested, and before it can be checked."""
        deployment.prepare()
        refused = []
        for feed in deployment.feeds:
            shop.deliver(f"{feed.name}{day}.csv", sales(f"S{day},{day}"))
            for act in (deployment.ingest, lambda feed: list(evaluated(deployment, feed, {"no_drift"}))):
                try:
                    act(feed)
                except ContractError as error:
                    refused.append(error.remedy.rpartition(" ")[2])
        assert len(deployment.status()) == len(deployment.feeds)
        return refused

    assert load(declared(Sales, Sales, Sales), 1) == []
    changed = declared(contract, contract, Sales)
    assert load(changed, 2) == ["a.", "a.", "b.", "b."]
    changed.replay(changed.feed("a"))
    assert load(changed, 3) == ["b.", "b."]
    changed.replay(changed.feed("b"))
    assert load(changed, 4) == []
    assert [status.totals.rows for status in changed.status()] == [4, 4, 4]
