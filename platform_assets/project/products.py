"""Products: which marts are released together, and who owns them. A dbt group is a product.

Belongs here: groups of the manifest, with what is declared of products beside the marts. Elsewhere: their assets in the
graph (graph.py), their releases (the engine).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.feed.product import UNGROUPED, Product, bad_name, is_product
from platform_assets.engine.store.manifest import Release
from platform_assets.errors import ConfigurationError, listed, nearest
from platform_assets.project.place import MARTS_PACKAGE, place_in

_NOBODYS: Final = "team:data-platform"
_OWNER: Final = re.compile(r"team:.+|[^@\s]+@[^@\s]+\.[^@\s]+")


@dataclass(frozen=True)
class ReleasedProduct:
    """Marts that are released together. owner: an e-mail address, or `team:…`; marts: names of assets; declared: what
    its author says of it, or what goes without saying; contracts: of those marts that promise something."""

    name: str
    owner: str
    marts: tuple[str, ...]
    declared: Product
    contracts: tuple[Mart, ...] = ()

    @property
    def release(self) -> str:
        """The name of the asset that its releases are."""
        return f"release/{self.name}"

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of the marts' tables."""
        return tuple(mart.split("/")[-1] for mart in self.marts)


def products_of(
    dbt: Mapping[str, Any],
    marts: Mapping[str, Mapping[str, Any]],
    declared: Sequence[Product],
    contracts: Sequence[Mart] = (),
) -> tuple[ReleasedProduct, ...]:
    """The products that the marts (asset's name -> node of the manifest) amount to, by name. Raises ConfigurationError
    for a name that none can have, and for a product that is declared without marts."""
    grouped: dict[str, list[str]] = {}
    for name, node in marts.items():
        grouped.setdefault(node.get("group") or UNGROUPED, []).append(name)
    alike: dict[str, str] = {}
    for name in grouped:
        if not is_product(name):
            raise bad_name(f"the dbt group {name!r}", name)
        other = alike.setdefault(name.casefold().replace("-", "_"), name)
        if other != name:
            raise ConfigurationError(
                f"the dbt groups {other!r} and {name!r}",
                "have names that some machines take for the same",
                "Give one of them another name.",
            )
    by_name = {product.name: product for product in declared}
    for name in by_name:
        if name not in grouped:
            raise ConfigurationError(
                f"Product({name!r})",
                f"there is no dbt group of that name that has marts.{nearest(name, grouped)}",
                f"Name the group in dbt's YAML of a mart: config: {{group: {name}}}.",
            ).at(place_in("Product", name, MARTS_PACKAGE))
    owners = {group["name"]: _owner(group.get("owner") or {}) for group in dbt.get("groups", {}).values()}
    found = []
    for name in sorted(grouped):
        product = ReleasedProduct(
            name, owners.get(name, _NOBODYS), tuple(grouped[name]), by_name.get(name) or Product(name)
        )
        _refuse_wrong_marts(product)
        found.append(replace(product, contracts=tuple(each for each in contracts if each.name in product.tables)))
    return tuple(found)


def _refuse_wrong_marts(product: ReleasedProduct) -> None:
    """Raise ConfigurationError where what is declared of personal data names a mart that the product does not have."""
    for name in product.declared.personal:
        mart, _, column = name.partition(".")
        if column and mart not in product.tables:
            raise ConfigurationError(
                f"Product({product.name!r}).personal",
                f"{name!r} names a mart that the product does not have.{nearest(mart, product.tables)}",
                f"Its marts are: {', '.join(sorted(product.tables))}.",
            ).at(place_in("Product", product.name, MARTS_PACKAGE))


def still_serving(products: Mapping[str, Release | None]) -> str:
    """What readers have of these products (name -> release) while something is held back."""
    at = {
        name: f"{release.created_at[:16].replace('T', ' ')} UTC"
        for name, release in products.items()
        if release is not None
    }
    if not at:
        return "there is no release yet"
    named = [moment if len(products) == 1 else f"{name} of {moment}" for name, moment in at.items()]
    return (
        f"the release of {named[0]} still serves" if len(at) == 1 else f"the releases of {listed(named, 3)} still serve"
    )


def _owner(group: Mapping[str, Any]) -> str:
    """Whom a group names as its owner, by name or else by address, as an owner is written elsewhere."""
    addresses = group.get("email") or ()
    for each in (group.get("name"), *([addresses] if isinstance(addresses, str) else addresses)):
        if each:
            return str(each) if _OWNER.fullmatch(str(each)) else f"team:{each}"
    return _NOBODYS
