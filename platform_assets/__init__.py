"""An asset-oriented data platform: drop a file, get a trusted table.

What an author of feeds and marts needs is imported from here, and from nowhere deeper:
`from platform_assets import Contract, Feed, Field, Files`.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from platform_assets.engine.contract.column import Field, Since
    from platform_assets.engine.contract.model import Contract
    from platform_assets.engine.feed.feed import (
        Cadence,
        Feed,
        Files,
        Rejects,
        Retention,
        Volume,
        hours,
        minutes,
        seconds,
    )
    from platform_assets.engine.feed.formats import Csv, Excel, Json, Parquet, Xml
    from platform_assets.engine.feed.mart import Mart

__all__ = [
    "Cadence",
    "Contract",
    "Csv",
    "Excel",
    "Feed",
    "Field",
    "Files",
    "Json",
    "Mart",
    "Parquet",
    "Rejects",
    "Retention",
    "Since",
    "Volume",
    "Xml",
    "hours",
    "minutes",
    "seconds",
]

_ROOMS: Final = {
    "engine.contract.column": ("Field", "Since"),
    "engine.contract.model": ("Contract",),
    "engine.feed.feed": (
        *("Cadence", "Feed", "Files", "Rejects", "Retention", "Volume"),
        *("hours", "minutes", "seconds"),
    ),
    "engine.feed.formats": ("Csv", "Excel", "Json", "Parquet", "Xml"),
    "engine.feed.mart": ("Mart",),
}
_MODULES: Final = {name: f"{__name__}.{module}" for module, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> object:
    # Only when it is asked for: a command that needs no contract does not wait for Pandera and Polars.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
