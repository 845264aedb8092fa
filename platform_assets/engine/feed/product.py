"""Products, as their authors declare them: marts that are released together, which dbt calls a group.

Belongs here: the declaration, and what a product may be called. Elsewhere: which marts it has (project/graph.py), its
releases (store/release.py). A product need not be declared: then its releases are all kept.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from platform_assets.engine.contract.declaration import declaration
from platform_assets.errors import ConfigurationError

UNGROUPED: Final = "marts"
"""The product of the marts that are in no group."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@declaration
@dataclass(frozen=True)
class Product:
    """How the releases of a product are kept, such as `Product("retail", keep=days(30), least=10)`.

    name: the dbt group's name; `marts` for the marts that are in no group.
    keep: how long a release is kept after the next one was made; None keeps all.
    least: how many of the newest releases are kept whatever their age.
    """

    name: str
    keep: timedelta | None = None
    least: int = 10

    def __post_init__(self) -> None:
        if not is_product(self.name):
            raise bad_name(f"Product({self.name!r})", self.name)
        if self.keep is not None and self.keep < timedelta():
            raise ConfigurationError("Product.keep", f"{self.keep} is below nothing", "Give a time: days(30).")
        if self.least < 1:
            raise ConfigurationError(
                "Product.least", f"{self.least} would leave readers nothing", "Keep one at least: least=10."
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
