"""Declarations, found by importing the modules of a package: nothing else lists feeds and marts.

Belongs here: finding them, and reading a feed's files from another place. Elsewhere: which packages (configured.py).
"""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.feed.mart import Mart
from platform_assets.errors import ConfigurationError

_Declared = TypeVar("_Declared")


def declarations(package: str, kind: type[_Declared]) -> Iterator[tuple[str, _Declared]]:
    """Import every module of `package`; each module's name with each `kind` that it declares, in order of module."""
    path = importlib.import_module(package).__path__
    for module_info in sorted(pkgutil.iter_modules(path), key=lambda info: info.name):
        module = importlib.import_module(f"{package}.{module_info.name}")
        for declared in vars(module).values():
            if isinstance(declared, kind):
                yield module_info.name, declared


def load_feeds(package: str) -> tuple[Feed, ...]:
    """The feeds that the modules of `package` declare, by name; `feeds/retail.py` declares those of origin `retail`,
    but for a feed that names another."""
    feeds: dict[str, Feed] = {}
    declaring: dict[str, str] = {}
    for origin, declared in declarations(package, Feed):
        if (other := declaring.setdefault(declared.name, origin)) != origin or declared.name in feeds:
            raise ConfigurationError(
                f"Feed({declared.name!r})",
                f"declared in {other}.py and in {origin}.py",
                "Give one of them another name.",
            )
        feeds[declared.name] = declared if declared.origin else replace(declared, origin=origin)
    return tuple(feeds[name] for name in sorted(feeds))


def load_marts(package: str) -> tuple[Mart, ...]:
    """The marts that the modules of `package` declare, by name."""
    return tuple(sorted((mart for _, mart in declarations(package, Mart)), key=lambda mart: mart.name))


def with_files(feeds: Iterable[Feed], patterns: Mapping[str, str]) -> tuple[Feed, ...]:
    """The feeds, those named in `patterns` (feed name -> pattern) reading from there instead."""
    feeds = tuple(feeds)
    files = {feed.name: feed.source for feed in feeds if isinstance(feed.source, Files)}
    unknown = sorted(set(patterns) - set(files))
    if unknown:
        raise ConfigurationError(
            f"PLATFORM_FEED_{unknown[0].upper()}_FILES",
            f"there is no feed {unknown[0]!r} that reads files",
            f"Feeds that do are: {', '.join(files)}.",
        )
    return tuple(
        replace(feed, source=files[feed.name].read_from(patterns[feed.name])) if feed.name in patterns else feed
        for feed in feeds
    )
