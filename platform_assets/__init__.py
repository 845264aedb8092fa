"""An asset-oriented data platform: drop a file, get a trusted table.

What an author of feeds and marts needs is imported from here, and from nowhere deeper:
`from platform_assets import Contract, Feed, Field, Files`.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from platform_assets.engine.contract.column import Field, Since
    from platform_assets.engine.contract.model import Contract
    from platform_assets.engine.feed.cadence import days
    from platform_assets.engine.feed.chart import Chart
    from platform_assets.engine.feed.export import Export
    from platform_assets.engine.feed.feed import (
        Cadence,
        Feed,
        Files,
        Rejects,
        Retention,
        Volume,
        gigabytes,
        hours,
        minutes,
        seconds,
    )
    from platform_assets.engine.feed.formats import Csv, Excel, Json, Parquet, Xml
    from platform_assets.engine.feed.mart import Mart
    from platform_assets.engine.feed.product import Product

__all__ = [
    "Cadence",
    "Chart",
    "Contract",
    "Csv",
    "Excel",
    "Export",
    "Feed",
    "Field",
    "Files",
    "Json",
    "Mart",
    "Parquet",
    "Product",
    "Rejects",
    "Retention",
    "Since",
    "Volume",
    "Xml",
    "days",
    "gigabytes",
    "hours",
    "minutes",
    "seconds",
]

_ROOMS: Final = (
    "engine.contract.column",
    "engine.contract.model",
    "engine.feed.formats",
    "engine.feed.cadence",
    "engine.feed.feed",
    "engine.feed.mart",
    "engine.feed.chart",
    "engine.feed.export",
    "engine.feed.product",
)


def __getattr__(name: str) -> object:
    # Only when it is asked for: a command that needs no contract does not wait for Pandera and Polars.
    if name in __all__:
        for room in _ROOMS:
            there = vars(importlib.import_module(f"{__name__}.{room}"))
            if name in there:
                return globals().setdefault(name, there[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
