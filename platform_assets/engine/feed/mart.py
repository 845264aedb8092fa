"""Marts, as their authors declare them: a contract that the released table is held to.

Belongs here: the declaration. Does not: the check of a built mart (store/marts.py), how dbt builds it.
"""

from dataclasses import dataclass

from platform_assets.engine.contract.model import Contract
from platform_assets.engine.feed.feed import declarations


@dataclass(frozen=True)
class Mart:
    """A dbt mart that must keep a contract before it is released.

    name: the dbt model's name.
    contract: what every row of its table must be.
    headline: the columns that `platform run` shows of it, with its first rows.
    """

    name: str
    contract: type[Contract]
    headline: tuple[str, ...] = ()


def load_marts(package: str) -> tuple[Mart, ...]:
    """The marts that the modules of `package` declare, by name."""
    return tuple(sorted((mart for _, mart in declarations(package, Mart)), key=lambda mart: mart.name))
