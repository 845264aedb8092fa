"""Products, as their authors declare them: marts that are released together, which dbt calls a group.

Belongs here: the declaration, and what a product may be called. Elsewhere: which marts it has (project/graph.py), its
releases (store/release.py). A product need not be declared.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Literal, get_args

from platform_assets.engine.contract.declaration import declaration
from platform_assets.errors import ConfigurationError, nearest

UNGROUPED: Final = "marts"
"""The product of the marts that are in no group."""
Treatment = Literal["drop", "pseudonym", "keep"]
"""What becomes of a personal column in a release."""
TREATMENTS: Final[tuple[str, ...]] = get_args(Treatment)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@declaration
@dataclass(frozen=True)
class Product:
    """How the releases of a product are kept, such as `Product("retail", keep=days(30), least=10)`.

    name: the dbt group's name; `marts` for the marts that are in no group.
    keep: how long a release is kept after the next one was made, by default 30 days; None keeps all.
    least: how many of the newest releases are kept whatever their age.
    personal: what becomes of personal columns in a release: "drop", "pseudonym" (by a key, the same for the same value)
        or "keep", by column of all its marts, or by `mart.column`, which goes before:
        `{"customer_id": "pseudonym", "dim_customers.name": "drop"}`.
    """

    name: str
    keep: timedelta | None = timedelta(days=30)
    least: int = 10
    personal: Mapping[str, Treatment] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not is_product(self.name):
            raise bad_name(f"Product({self.name!r})", self.name)
        if self.keep is not None and self.keep < timedelta():
            raise ConfigurationError("Product.keep", f"{self.keep} is below nothing", "Give a time: days(30).")
        if self.least < 1:
            raise ConfigurationError(
                "Product.least", f"{self.least} would leave readers nothing", "Keep one at least: least=10."
            )
        for column, treatment in self.personal.items():
            if treatment not in TREATMENTS:
                raise ConfigurationError(
                    f"Product.personal[{column!r}]",
                    f"{treatment!r} is not what can become of a column.{nearest(str(treatment), TREATMENTS)}",
                    'Give "drop", "pseudonym" or "keep".',
                )
            if not column.strip("."):
                raise ConfigurationError(
                    f"Product.personal[{column!r}]", "names no column", 'Name one, as "customer_id" or "mart.column".'
                )


def is_product(name: str) -> bool:
    """Whether a product may be called so: its name is that of a folder, and of an asset."""
    return _NAME.fullmatch(name) is not None


def bad_name(what: str, name: str) -> ConfigurationError:
    """A name that a product cannot have."""
    return ConfigurationError(
        what,
        f"{name!r} cannot be the name of a folder on every machine",
        "Name it with letters, digits, _ and -, beginning with a letter or digit.",
    )
