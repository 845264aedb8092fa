"""Releases, as a person looks at them: listed, shown whole, compared.

Belongs here: which release is meant by a name, and what is told of it. Elsewhere: which one readers get (rollback.py),
what a release is (engine/store/release.py), how two are compared (engine/store/diff.py). No lock is taken.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.releases import meant, no_release, of_products
from platform_assets.engine.store.comparison import MartDiff, MartSide
from platform_assets.engine.store.diff import Side, compare
from platform_assets.engine.store.pin import Pin
from platform_assets.engine.store.release import Release, Releases
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import configured_deployment, declared_feeds, declared_marts
from platform_assets.project.keys import mart_keys
from platform_assets.project.manifest import current_manifest
from platform_assets.project.personal import personal_columns


@dataclass(frozen=True)
class Listed:
    """A release as it is listed. tables: rows by mart; size: bytes of their files; current: readers get it; pinned:
    they keep it; unfit: why it would not have been released, of a shadow."""

    product: str
    id: str
    created_at: str
    tables: Mapping[str, int]
    size: int
    current: bool
    pinned: Pin | None
    shadow: bool
    unfit: str | None
    path: str

    @property
    def stands(self) -> str:
        """What it is to readers, in a word or two."""
        words = ["current"] * self.current + ["pinned"] * (self.pinned is not None) + ["shadow"] * self.shadow
        return ", ".join(words)


def releases_listed(tell: Callable[[str], None], product: str | None = None) -> list[Listed]:
    """The releases of all products, or of this one, newest first; shadows last."""
    _, deployment = configured_deployment(tell)
    found = []
    for releases in of_products(deployment, product):
        shadow = releases.shadow()
        found += [listing(releases, each) for each in (*releases.all(), shadow) if each is not None]
    return found


def listing(releases: Releases, release: Release) -> Listed:
    current, pin = releases.current(), releases.pinned()
    return Listed(
        product=release.product,
        id=release.id,
        created_at=release.created_at,
        tables=release.tables,
        size=sum(mart.size for mart in release.marts.values()),
        current=current is not None and current.id == release.id,
        pinned=pin if pin is not None and pin.release == release.id else None,
        shadow=release.shadow,
        unfit=release.unfit,
        path=release.path,
    )


@dataclass(frozen=True)
class Shown:
    """A release with what its manifest says of each mart."""

    release: Listed
    marts: Mapping[str, Mapping[str, Any]]
    decided: Sequence[Mapping[str, Any]]
    erased: Sequence[Mapping[str, Any]]


def release_shown(tell: Callable[[str], None], words: Sequence[str]) -> Shown:
    """What is known of one release; by default of the current one."""
    _, deployment = configured_deployment(tell)
    releases, release = meant(deployment, words, "current")
    marts = {mart: asdict(each) for mart, each in release.marts.items()}
    return Shown(listing(releases, release), marts, release.decided, release.erased)


@dataclass(frozen=True)
class Compared:
    """How release `after` differs from `before`; both are of `product`."""

    product: str
    before: str
    after: str
    marts: Sequence[MartDiff]

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return all(mart.what == "same" for mart in self.marts)


def releases_compared(tell: Callable[[str], None], one: str, other: str | None, samples: int) -> Compared:
    """What differs between two releases of a product, the second being the current one by default. Raises
    ConfigurationError where they are of two products."""
    _, deployment = configured_deployment(tell)
    releases, before = meant(deployment, [one], "previous")
    if other is None:
        after = releases.current()
        if after is None:
            raise no_release(releases.product)
    else:
        also, after = meant(deployment, [other if "/" in other else f"{releases.product}/{other}"], "current")
        if also.product != releases.product:
            raise ConfigurationError(
                f"{one} and {other}", "are releases of two products", "Name two releases of one product."
            )
    sides = [
        Side(
            release.folder / f"{release.product}.duckdb",
            {name: MartSide(mart.columns, mart.rows, mart.content) for name, mart in release.marts.items()},
            release.folder,
        )
        for release in (before, after)
    ]
    hidden = _hidden(deployment, before, after)
    keys = mart_keys(current_manifest())
    found = compare(*sides, keys=keys, hidden=hidden, scratch=deployment.home, samples=samples)
    return Compared(releases.product, before.id, after.id, found)


def _hidden(deployment: Deployment, *releases: Release) -> dict[str, Collection[str]]:
    """Mart -> columns whose values nobody is shown: what is personal, but for pseudonyms."""
    declared = {mart.name: mart for mart in declared_marts()}
    known = personal_columns(declared.values(), declared_feeds(), deployment.home)
    found: dict[str, Collection[str]] = {}
    for mart in {name for release in releases for name in release.marts}:
        said = [release.marts[mart].personal for release in releases if mart in release.marts]
        columns = {column for each in said for column in each} | set(known.get(mart, ()))
        found[mart] = {column for column in columns if not all(each.get(column) == "pseudonym" for each in said)}
    return found
