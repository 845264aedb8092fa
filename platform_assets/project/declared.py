"""Declarations, found by importing the modules of a package: nothing else lists feeds and marts.

Belongs here: finding them, and reading a feed's files from another place. Elsewhere: which packages (configured.py).
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from platform_assets.engine.feed.chart import Chart
from platform_assets.engine.feed.export import Export
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.feed.product import Product
from platform_assets.errors import ConfigurationError, nearest
from platform_assets.project.place import misdeclared, place_of, place_of_name

_Declared = TypeVar("_Declared")
_Named = TypeVar("_Named", Mart, Product)


def declarations(package: str, kind: type[_Declared]) -> Iterator[tuple[str, _Declared]]:
    """Import every module of `package`; each module's name with each `kind` that it declares, in order of module.

    Raises ConfigurationError, with file and line, for a module that cannot be imported or whose declarations would be
    passed over.
    """
    path = importlib.import_module(package).__path__
    for module_info in sorted(pkgutil.iter_modules(path), key=lambda info: info.name):
        file = Path(path[0], f"{module_info.name}.py")
        try:
            module = importlib.import_module(f"{package}.{module_info.name}")
        except Exception as error:  # noqa: BLE001 - whatever the author wrote, it is told with its line
            raise misdeclared(error, file) from None
        named = [id(each) for each in vars(module).values()]
        for name, declared in vars(module).items():
            if isinstance(declared, kind):
                yield module_info.name, declared
            elif isinstance(declared, tuple | list):
                for each in declared:
                    if isinstance(each, Feed | Mart | Chart | Product | Export) and id(each) not in named:
                        raise _no_declaration(name, declared, each).at(place_of_name(name, file))


def _no_declaration(
    name: str, several: tuple[object, ...] | list[object], inside: Feed | Mart | Chart | Product | Export
) -> ConfigurationError:
    kind, of = type(inside).__name__, inside.mart if isinstance(inside, Chart) else inside.name
    if len(several) == 1 and isinstance(several, tuple):
        return ConfigurationError(
            f"{name} = {kind}({of!r}),", "the comma at its end makes a tuple of it", "Take the comma out."
        )
    return ConfigurationError(
        name,
        f"has {kind} {of!r} in it, which has no name of its own and would not count",
        f"Name each: ONE = {kind}(…).",
    )


def load_feeds(package: str) -> tuple[Feed, ...]:
    """The feeds that the modules of `package` declare, by name; `feeds/retail.py` declares those of origin `retail`,
    but for a feed that names another."""
    feeds: dict[str, Feed] = {}
    declaring: dict[str, tuple[str, Feed]] = {}
    for origin, declared in declarations(package, Feed):
        other, same = declaring.setdefault(declared.name, (origin, declared))
        if other == origin and same is declared and declared.name in feeds:
            continue  # it has two names in its module
        if declared.name in feeds:
            places = [place_of("Feed", declared.name, f"{package}.{each}") for each in dict.fromkeys((other, origin))]
            raise ConfigurationError(
                f"Feed({declared.name!r})",
                f"is declared twice: {' and '.join(places)}",
                "Give one of them another name.",
            )
        try:
            feeds[declared.name] = declared if declared.origin else replace(declared, origin=origin)
        except ConfigurationError as error:
            raise error.at(place_of("Feed", declared.name, f"{package}.{origin}")) from None
    return tuple(feeds[name] for name in sorted(feeds))


def load_marts(package: str) -> tuple[Mart, ...]:
    """The marts that the modules of `package` declare, by name."""
    return _once(package, Mart)


def load_products(package: str) -> tuple[Product, ...]:
    """The products that the modules of `package` declare, by name."""
    return _once(package, Product)


def load_exports(package: str) -> tuple[Export, ...]:
    """The exports that the modules of `package` declare, by their assets."""
    found = {id(each): each for _, each in declarations(package, Export)}
    return tuple(sorted(found.values(), key=lambda each: each.asset))


def _once(package: str, kind: type[_Named]) -> tuple[_Named, ...]:
    """What the modules declare of that kind, by name; none of them twice."""
    found: dict[str, _Named] = {}
    for module, each in declarations(package, kind):
        if found.setdefault(each.name, each) is not each:
            place = place_of(kind.__name__, each.name, f"{package}.{module}")
            raise ConfigurationError(
                f"{kind.__name__}({each.name!r})",
                f"is declared twice, the second time in {place}",
                "Leave one of them.",
            )
    return tuple(found[name] for name in sorted(found))


def load_charts(package: str, marts: Iterable[Mart]) -> dict[str, Chart]:
    """The charts that the modules of `package` declare, by the names that they have there, in their order.

    Raises ConfigurationError, with file and line, for one that does not fit any of `marts`.
    """
    there = {mart.name: mart for mart in marts}
    charts: dict[str, Chart] = {}
    for module, chart in declarations(package, Chart):
        declaring = sys.modules[f"{package}.{module}"]
        name = next(name for name, each in vars(declaring).items() if each is chart)
        try:
            if (other := charts.setdefault(name, chart)) is not chart:
                what = f"names two charts, of {other.mart} and of {chart.mart}"
                raise ConfigurationError(name, what, "Give one of them another name.")
            if chart.mart not in there:
                problem = f"there is no Mart({chart.mart!r}) whose columns it could draw.{nearest(chart.mart, there)}"
                marts_there = ", ".join(there) or "none yet"
                raise ConfigurationError(f"Chart({chart.mart!r})", problem, f"Marts are: {marts_there}.")
            chart.refuse_unlike(there[chart.mart])
        except ConfigurationError as error:
            raise error.at(place_of_name(name, Path(declaring.__file__ or ""))) from None
    return charts


def with_files(feeds: Iterable[Feed], patterns: Mapping[str, str]) -> tuple[Feed, ...]:
    """The feeds, those named in `patterns` (feed name -> pattern) reading from there instead."""
    feeds = tuple(feeds)
    files = {feed.name: feed.source for feed in feeds if isinstance(feed.source, Files)}
    unknown = sorted(set(patterns) - set(files))
    if unknown:
        raise ConfigurationError(
            f"PLATFORM_FEED_{unknown[0].upper()}_FILES",
            f"there is no feed {unknown[0]!r} that reads files.{nearest(unknown[0], files)}",
            f"Feeds that do are: {', '.join(files)}.",
        )
    return tuple(
        replace(feed, source=files[feed.name].read_from(patterns[feed.name])) if feed.name in patterns else feed
        for feed in feeds
    )
