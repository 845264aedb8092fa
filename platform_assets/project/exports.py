"""Exports of products to other databases: which there are, what each database said of itself, bringing one up to date.

Belongs here: declarations and releases put together with the database that a setting names. Elsewhere: what is written
there (engine/export), the asset (orchestration). What a database said is noted in the home: who asks what is
out of date waits for no network.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.durable.files import replacing
from platform_assets.engine.export.database import Database, Held, opened
from platform_assets.engine.export.publish import Exported, Outgoing, export, is_held, standing
from platform_assets.engine.feed.export import Export
from platform_assets.engine.store.release import Release
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.errors import ConfigurationError, PlatformError, ReleaseRefused, listed, nearest
from platform_assets.project.place import MARTS_PACKAGE, place_in
from platform_assets.project.products import ReleasedProduct
from platform_assets.settings import PROJECT, secret_named

_ASKED_EVERY: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class Said:
    """What a database said when it was last asked. held: None where it has never answered. problem: why it did not
    answer the last time."""

    asked_at: datetime
    held: Sequence[Held] | None
    problem: str | None = None


@dataclass(frozen=True)
class Brought:
    """What an export came to, and which kind of database it went to."""

    kind: str
    exported: Exported


def check_exports(exports: Iterable[Export], products: Sequence[ReleasedProduct]) -> None:
    """Raise ConfigurationError, with file and line, for an export of a product or a mart that is not there, and for
    two of a product that name the same setting."""
    by_name = {product.name: product for product in products}
    seen: dict[str, Export] = {}
    for each in exports:
        what, place = f"Export({each.product!r})", place_in("Export", each.product, MARTS_PACKAGE)
        if each.product not in by_name:
            raise ConfigurationError(
                what,
                f"there is no product of that name.{nearest(each.product, by_name)}",
                f"Name one of: {listed(sorted(by_name))}; a product is a dbt group that has marts.",
            ).at(place)
        tables = by_name[each.product].tables
        for mart in each.marts:
            if mart not in tables:
                raise ConfigurationError(
                    f"{what}.marts",
                    f"{mart!r} is not a mart of {each.product}.{nearest(mart, tables)}",
                    f"Name some of: {listed(list(tables))}.",
                ).at(place)
        if seen.setdefault(each.asset, each) is not each:
            raise ConfigurationError(
                what, f"exports to {each.to} twice", "Name all marts in one, or another setting in the other."
            ).at(place)


def unexported(
    exports: Iterable[Export], releases: Mapping[str, Release | None], deployment: Deployment
) -> dict[str, str]:
    """Asset -> why its database is not as the release that readers have, by what it last said; without those that are.
    releases: by product."""
    found = {each.asset: _behind(each, releases[each.product], deployment) for each in exports}
    return {asset: why for asset, why in found.items() if why is not None}


def _behind(declared: Export, release: Release | None, deployment: Deployment) -> str | None:
    if release is None:
        return None
    said = read(deployment.home, declared)
    if said is None or said.held is None:
        return "nothing is known of what the database holds"
    if is_held(said.held, _outgoing(declared, release, deployment)):
        return None
    there = sorted({each.release for each in said.held if each.product == declared.product})
    return f"readers have release {release.id}, the database {listed(there) if there else 'none'}"


def bring(declared: Export, deployment: Deployment) -> Brought:
    """Bring the database to the release that readers have, and note what it then says.

    Raises PlatformError: the database is then as it was.
    """
    release = deployment.releases_of(declared.product).current()
    if release is None:
        raise ReleaseRefused(f"there is no release of {declared.product} yet", "Make one: platform run")
    with closing(_database(declared)) as database:
        done = export(database, _outgoing(declared, release, deployment), deployment.clock())
        _note(deployment.home, declared, Said(deployment.clock(), standing(database)))
        return Brought(database.kind, done)


def ask(exports: Iterable[Export], deployment: Deployment, *, now: bool = False) -> list[str]:
    """Ask each database what it holds, and note it; at most once a minute, unless it has to be `now`. Why those did not
    answer that were asked."""
    problems = []
    for each in exports:
        at, before = deployment.clock(), read(deployment.home, each)
        if not now and before is not None and timedelta() <= at - before.asked_at < _ASKED_EVERY:
            continue
        try:
            with closing(_database(each)) as database:
                said = Said(at, standing(database))
        except PlatformError as error:
            said = Said(at, before.held if before is not None else None, error.what)
            problems.append(error.what)
        _note(deployment.home, each, said)
    return problems


def read(home: Path, declared: Export) -> Said | None:
    """What the database last said; None where it was never asked."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        stored = json.loads(_file(home, declared).read_bytes())
        if stored["to"] == _to(declared):
            held = stored["held"]
            return Said(
                datetime.fromisoformat(stored["asked_at"]),
                None if held is None else [Held(**each) for each in held],
                stored["problem"],
            )
    return None


def _note(home: Path, declared: Export, said: Said) -> None:
    path = _file(home, declared)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    held = None if said.held is None else [vars(each) for each in said.held]
    content = {"to": _to(declared), "asked_at": said.asked_at.isoformat(), "held": held, "problem": said.problem}
    with replacing(path) as partial:
        partial.write_text(json.dumps(content))


def _to(declared: Export) -> list[str | None]:
    """What another answer comes from, once it is another."""
    return [declared.setting, declared.schema]


def _file(home: Path, declared: Export) -> Path:
    return home / "exports" / f"{declared.product}.{declared.name}.json"


def _database(declared: Export) -> Database:
    url = secret_named(declared.setting)
    if url is None:
        raise ConfigurationError(
            declared.setting,
            f"is not set, and {declared.asset} goes there",
            f"Set it to postgresql://user:password@host/database or sqlite:///file.sqlite, in the environment of "
            f"whatever runs the platform; {declared.setting}_FILE or {declared.setting}_COMMAND can tell it, too.",
        )
    return opened(url.reveal(), setting=declared.setting, base=PROJECT, schema=declared.schema)


def _outgoing(declared: Export, release: Release, deployment: Deployment) -> Outgoing:
    wanted = [mart for mart in release.marts if not declared.marts or mart in declared.marts]
    also = tuple(release.parquet(mart) for mart in release.marts)
    return Outgoing(
        product=declared.product,
        release=release.id,
        marts={mart: ReleasedMart(mart, Path(release.path), also) for mart in wanted},
        content={mart: release.marts[mart].content for mart in wanted},
        comments={mart: f"The mart {mart} of {declared.product}, as it is released." for mart in wanted},
        contents=_contents(declared.product, deployment),
    )


def _contents(product: str, deployment: Deployment) -> Callable[[str, str], str | None]:
    found: dict[str, Release] = {}

    def content(release: str, mart: str) -> str | None:
        if not found:
            found.update({each.id: each for each in deployment.releases_of(product).all()})
        kept: Mapping[str, object] = found[release].marts if release in found else {}
        return found[release].marts[mart].content if mart in kept else None

    return content
