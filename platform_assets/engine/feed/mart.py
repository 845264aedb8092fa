"""Marts, as their authors declare them: a contract that the released table is held to.

Belongs here: the declaration. Elsewhere: the check of a built mart (store/marts.py), how dbt builds it.
"""

from dataclasses import dataclass

from platform_assets.engine.contract.declaration import declaration, refuse_other_columns
from platform_assets.engine.contract.model import LINEAGE, Column, Contract, columns_of, describe, version_of


@declaration
@dataclass(frozen=True)
class Mart:
    """A dbt mart that must keep a contract before it is released, such as `Mart("prices_by_day", contract=Prices)`.

    name: the dbt model's name.
    contract: what every row of its table must be.
    headline: the columns that `platform run` shows of it, with its first rows.
    """

    name: str
    contract: type[Contract]
    headline: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        columns = [column.name for column in self.columns]
        refuse_other_columns(f"Mart({self.name!r}).headline", self.headline, self.contract, columns)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The contract's columns in the order they are declared."""
        return columns_of(self.contract)

    @property
    def lineage(self) -> tuple[str, ...]:
        """The columns that its table may have besides: they say which delivery a row came with."""
        return LINEAGE

    @property
    def description(self) -> str:
        """What the contract's docstring says of the mart."""
        return describe(self.contract)

    def version(self) -> str:
        """Changes whenever the same table might be judged differently."""
        return version_of(self.contract)
