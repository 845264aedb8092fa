"""Exports, as their authors declare them: a product's marts as tables of another database.

Belongs here: the declaration. Elsewhere: whether the product has such marts (project/exports.py), writing them
(engine/export).
"""

import re
from dataclasses import dataclass
from typing import Final

from platform_assets.engine.contract.declaration import declaration
from platform_assets.errors import ConfigurationError

_VARIABLE: Final = re.compile(r"env:([A-Za-z_][A-Za-z0-9_]*)")
_OURS: Final = "PLATFORM_"
_WAYS: Final = ("_FILE", "_COMMAND")


@declaration
@dataclass(frozen=True)
class Export:
    """The marts of each release of a product as tables of another database, such as
    `Export("retail", to="env:ANALYTICS_DB")`.

    product: the dbt group's name; `marts` for the marts that are in no group.
    to: `env:` and the name of the setting that holds the database's URL: PostgreSQL or SQLite. The URL is a secret.
    marts: those that are exported; all of them by default.
    schema: the schema of PostgreSQL that the tables are in; by default the first of the user's search_path.
    """

    product: str
    to: str
    marts: tuple[str, ...] = ()
    schema: str | None = None

    def __post_init__(self) -> None:
        if (found := _VARIABLE.fullmatch(self.to)) is None:
            # What stands there instead may well be the URL, with its password.
            raise ConfigurationError(
                "Export.to",
                "does not name a setting",
                'Write to="env:ANALYTICS_DB", and the URL into the environment, as ANALYTICS_DB.',
            )
        if found[1].startswith(_OURS):
            raise ConfigurationError(
                "Export.to",
                f"{found[1]} begins as settings of the platform do",
                f"Call it {found[1].removeprefix(_OURS) or 'ANALYTICS_DB'}.",
            )
        if ending := next((each for each in _WAYS if found[1].endswith(each)), None):
            raise ConfigurationError(
                "Export.to",
                f"{found[1]} ends as a way to come by a secret does",
                f"Name the setting itself: env:{found[1].removesuffix(ending)}; the URL may come from {found[1]}.",
            )
        if len(set(self.marts)) < len(self.marts):
            raise ConfigurationError("Export.marts", "names a mart twice", "Name each once.")
        if self.schema is not None and not 0 < len(self.schema.encode()) <= 63:
            raise ConfigurationError(
                "Export.schema", "is no name that PostgreSQL has room for", "Give one of 1 to 63 bytes."
            )

    @property
    def setting(self) -> str:
        """The setting that holds the URL."""
        return self.to.removeprefix("env:")

    @property
    def name(self) -> str:
        """What it is called among the exports of its product."""
        return self.setting.lower()

    @property
    def asset(self) -> str:
        """The name of its asset."""
        return f"export/{self.product}/{self.name}"
