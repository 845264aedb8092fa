"""Feeds that nothing declares any more: what is kept of them, dropping it, taking it over under another name.

Belongs here: the steps through warehouse, archive, tombstones and notes, each harmless to repeat: what was killed is
finished by the same call, which goes by what is still there. Elsewhere: the SQL (store/undeclared.py).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import sync
from platform_assets.engine.store.undeclared import Left
from platform_assets.errors import ConfigurationError, counted, listed, nearest

_DROPPING: Final = ".dropping-"


def undeclared_feeds(deployment: Deployment) -> list[Left]:
    """What warehouse, archive and notes have of feeds that are not declared."""
    declared = {feed.name for feed in deployment.feeds}
    with deployment.warehouse.reading("look for feeds that are not declared") as unit:
        left = {each.feed: each for each in unit.undeclared(declared).all()}
    for name in _kept_beside(deployment) - declared:
        left.setdefault(name, Left(name))
    return [left[name] for name in sorted(left)]


def drop_feed(deployment: Deployment, name: str) -> Left:
    """Remove all that is kept of a feed that is not declared, but for tombstones of erased persons; what there was.

    Raises ConfigurationError where it is declared, or nothing is kept of it.
    """
    left = _left_of(deployment, name, "drop")
    with deployment.warehouse.transaction(f"drop {name}") as unit:
        unit.undeclared(()).drop(name)
        unit.commit()
        failpoint.reached("drop-committed")
        _remove_folder(deployment.archive.root / name)
        deployment.builds.rename(name, None)
        _remove_published(deployment, name)
    return left


def rename_feed(deployment: Deployment, old: str, new: str, also: Callable[[], None] = lambda: None) -> Left:
    """Let all that is kept of the feed `old`, no longer declared, be kept of `new`, which is; what there is then.

    also: what is renamed elsewhere; done before anything is gone that tells of an unfinished rename.

    Raises ConfigurationError where that makes no sense: `new` is not declared, or has deliveries that `old` has not.
    """
    _left_of(deployment, old, "rename")
    feed = deployment.feed(new)
    unfinished = [each.id for each in deployment.tombstones.of(old) if each.finished_at is None]
    if unfinished:
        raise ConfigurationError(
            f"feed {old!r}",
            f"has an erasure that is not finished ({listed(unfinished)})",
            "Declare it by its old name, give the command of the erasure again, and rename it then.",
        )
    with deployment.warehouse.transaction(f"rename {old} to {new}") as unit:
        stored = unit.undeclared(())
        if own := stored.not_of(new, old) if stored.is_there(old) else _not_noted(deployment, new, old):
            _refuse_merge(old, new, own, stored.not_of(old, new))
        failpoint.reached("rename-asked")
        _move_archive(deployment, old, new)
        failpoint.reached("rename-archive")
        if (deployment.tombstones.folder / f"{old}.json").exists():  # before any row can come in by the new name
            deployment.tombstones.move(old, new)
        _remove_published(deployment, new)
        if stored.is_there(old):
            # What the new name noted of its own deliveries is told by the old one's, generation by generation.
            own_names = set(unit.ledger.names(new)) - set(unit.ledger.names(old))
            journal = deployment.archive.journal(new)
            if own_names & {entry.name for entry in journal.entries()}:
                journal.mend(own_names)
            stored.rename(old, new, unit.ledger.next_ids()[1])
            unit.tables(feed).prepare()
            unit.commit()
        failpoint.reached("rename-committed")
        deployment.builds.rename(old, feed)
        also()
        unit.publish(feed)
        failpoint.reached("rename-noted")
        _remove_published(deployment, old)  # last of all: it tells that this is not finished
        return stored.of(new)


def _left_of(deployment: Deployment, name: str, to: str) -> Left:
    """What there is of the feed; raises ConfigurationError where it is declared, or there is nothing of it."""
    if any(feed.name == name for feed in deployment.feeds):
        raise ConfigurationError(
            f"feed {name!r}",
            "is declared",
            "Delete its declaration first: its next run would take everything in again."
            if to == "drop"
            else "Change its name in its Python file first; then this takes along what is kept by the old one.",
        )
    there = undeclared_feeds(deployment)
    for left in there:
        if left.feed == name:
            return left
    names = [left.feed for left in there]
    raise ConfigurationError(
        f"feed {name!r}",
        f"is not declared, and nothing is kept of it.{nearest(name, names)}",
        f"Kept without a declaration: {listed(names) or 'nothing'}. See `platform feed list`.",
    )


def _not_noted(deployment: Deployment, feed: str, other: str) -> int:
    """How many deliveries the feed's archive notes that the other's does not, where that is about to take its place."""
    if not (deployment.archive.root / other).exists():
        return 0
    noted, others = (
        {(entry.slot, entry.fingerprint) for entry in deployment.archive.journal(name).entries()}
        for name in (feed, other)
    )
    return len(noted - others)


def _refuse_merge(old: str, new: str, own: int, lacks: int) -> None:
    """Raise the error for a feed that has deliveries of its own."""
    if lacks:
        remedy = (
            f"Two feeds cannot become one. Keep both names, or drop what is kept of {old}: platform feed drop {old}."
        )
    else:
        remedy = f"{new} has everything that {old} has: drop what is left of {old}: platform feed drop {old}."
    raise ConfigurationError(f"feed {new!r}", f"has {counted(own, 'delivery')} of its own, which {old} has not", remedy)


def _kept_beside(deployment: Deployment) -> set[str]:
    """Names of feeds of which archive or published ledger keep anything."""
    archived = {path.name.removeprefix(_DROPPING) for path in _folders(deployment.archive.root)}
    return archived | {path.stem for path in (deployment.home / "seen").glob("*.sqlite")}


def _folders(root: Path) -> Iterator[Path]:
    with contextlib.suppress(FileNotFoundError):
        yield from (path for path in root.iterdir() if path.is_dir())


def _remove_folder(folder: Path) -> None:
    """Remove a folder of copies: whole or not at all for whoever looks by its name."""
    going = folder.with_name(f"{_DROPPING}{folder.name}")
    for each in (going, folder):
        if each == folder and folder.exists():
            folder.replace(going)
        if going.exists():
            failpoint.reached("mid-drop")
            shutil.rmtree(going)


def _move_archive(deployment: Deployment, old: str, new: str) -> None:
    """Let the copies lie under the new name, and be noted so."""
    source, target = deployment.archive.root / old, deployment.archive.root / new
    if not source.exists():
        return
    journal = deployment.archive.journal(old)
    paths = {
        entry.name: (f"{new}{entry.archived.removeprefix(old)}", entry.erased)
        for entry in journal.entries()
        if entry.archived.startswith(f"{old}/")
    }
    if paths:
        journal.mend((), paths)
    if target.exists():  # its deliveries are all among those that come
        _remove_folder(target)
    source.replace(target)
    sync(deployment.archive.root)


def _remove_published(deployment: Deployment, name: str) -> None:
    """Remove what is published of a feed's ledger; it is made anew where it is needed."""
    for path in (deployment.home / "seen").glob(f"{name}.sqlite*"):
        path.unlink(missing_ok=True)
