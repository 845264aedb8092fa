"""`platform feed add`, `feed check`, `feed headers`, `contract diff`: helping a person to declare a feed, as a whole.

Belongs here: the way from a file to a feed's Python file that is there, loads and takes the file; comparing what is
declared with what came. Elsewhere: what is concluded from files (engine/author).
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from platform_assets.commands.counts import ROWS, broken_rules
from platform_assets.engine.author.draft import declared_by, draft
from platform_assets.engine.author.drift import Drift, compare
from platform_assets.engine.author.headers import HeaderSeen, headers
from platform_assets.engine.author.proposal import Place, Proposal, propose
from platform_assets.engine.author.rehearsal import Rehearsal, rehearse
from platform_assets.engine.author.trial import Trial, feed_of, try_on
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.foreseen import Foreseen, finished
from platform_assets.errors import ConfigurationError, listed, nearest
from platform_assets.project.configured import (
    audit_log,
    configured_deployment,
    declared_feeds,
    declared_marts,
)
from platform_assets.project.dbt_sources import drifted_sources, gained_columns, write_sources
from platform_assets.project.first_mart import files_of, first_marts
from platform_assets.project.place import FEEDS_PACKAGE, MARTS_PACKAGE
from platform_assets.settings import person


@dataclass(frozen=True)
class Added:
    """A feed that was drafted from files, and tried on them. written: files that declare it; none of a mere draft.
    landing: where the files have to lie. marts: the names of the first ones, where they were asked for."""

    proposal: Proposal
    text: str
    written: tuple[Path, ...]
    tried: Rehearsal
    landing: Path
    marts: tuple[str, ...] = ()

    @property
    def takes_all(self) -> bool:
        """Whether the feed takes every row of its files."""
        return self.tried.takes_all

    @property
    def elsewhere(self) -> tuple[Place, ...]:
        """The files that do not lie where they have to."""
        return tuple(each for each in self.proposal.places if each.path.absolute() != self.landing / each.slot)


@dataclass(frozen=True)
class Compared:
    """Contracts against what came. drifted: the feeds whose deliveries contradict theirs."""

    ok: bool
    drifted: list[str]
    feeds: list[Drift]


def add_feed(
    files: Sequence[Path],
    tell: Callable[[str], None],
    *,
    name: str | None,
    origin: str | None,
    patterns: Sequence[str],
    owner: str | None,
    known: Sequence[str],
    mart: bool,
    write: bool,
) -> Added:
    """Draft a feed from some of its files, try it on all of them, and write it; `known`: of their format.

    mart: also write its staging model and the first marts.
    """
    _, deployment = configured_deployment(tell)
    landing = deployment.landing
    proposal = propose(
        *files, landing=landing, name=name, origin=origin, patterns=patterns, owner=owner, given=known, tell=tell
    )
    declared = {feed.name: feed.origin for feed in deployment.feeds}
    if proposal.name in declared:
        raise ConfigurationError(
            f"feed {proposal.name!r}", f"is declared already, under {declared[proposal.name]}", "Give another --name."
        )
    folder = Path(importlib.import_module(FEEDS_PACKAGE).__path__[0])
    target = folder / f"{proposal.origin}.py"
    if target.exists():
        target = folder / f"{proposal.origin}_{proposal.name}.py"
    own_file = target.stem == proposal.origin
    feed = declared_by(draft(proposal, own_file=own_file), proposal)
    tried, proposal = rehearse(feed, proposal, tell)
    text = draft(proposal, own_file=own_file)
    feed = declared_by(text, proposal)
    texts = {target: text}
    marts: tuple[str, ...] = ()
    if mart:
        firsts = first_marts(feed, proposal.dimension)
        marts = tuple(each.name for each in firsts)
        _refuse_taken(marts)
        module = Path(importlib.import_module(MARTS_PACKAGE).__path__[0]) / target.name
        texts |= files_of(feed, firsts, module)
    added = Added(proposal, text, (), tried, landing, marts)
    if not write:
        return replace(added, text="\n\n".join(texts.values()))
    about = {"feed": feed.name, "file": target.name}
    with audit_log(deployment.home).doing(person(), "feed add", about) as came:
        written = [*_write(texts, feed), *write_sources(declared_feeds(), gained_columns(deployment))]
        came["written"] = [path.name for path in written]
    return replace(added, written=tuple(written))


def _write(texts: Mapping[Path, str], feed: Feed) -> list[Path]:
    """Write the files of the feed, all of them or none; the first declares it."""
    target = next(iter(texts))
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path, text)
            written.append(path)
        importlib.invalidate_caches()
        (there,) = (each for each in declared_feeds() if each.name == feed.name)
        if there.columns != feed.columns or replace(there, contract=feed.contract) != feed:
            raise ConfigurationError(target.name, "does not declare what was tried", "Declare the feed by hand.")
        declared_marts()
    except BaseException:
        for path in written:
            path.unlink()
        raise
    return written


def _refuse_taken(marts: Sequence[str]) -> None:
    for mart in {each.name for each in declared_marts()} & {*marts}:
        raise ConfigurationError(f"mart {mart!r}", "is declared already", "Give the feed another --name.")


@dataclass(frozen=True)
class Checked:
    """What would become of a file: by the ledger, and, where it can be read, what its rows would come to."""

    feed: Feed
    foreseen: Foreseen
    tried: Trial | None

    @property
    def comes_in(self) -> bool:
        """Whether it would be taken in, or was, without holding a release."""
        left = self.foreseen.would_be in ("withdrawn", "refused", "ignored")
        return not left and (self.tried is None or self.tried.loads)


def check_file(file: Path, feed: str | None, shown: int, tell: Callable[[str], None]) -> Checked:
    """What would become of a file, for the named feed or the one that it is for; with `shown` rejected rows."""
    _, deployment = configured_deployment(tell)
    if not file.is_symlink() and not file.is_file():
        _refuse_no_file(file)
    of = feed_of(finished(file), deployment.feeds) if feed is None else deployment.feed(feed)
    foreseen = deployment.foresee(of, file)
    tried = try_on(of, file, shown=shown, allowed=foreseen.allowed) if foreseen.readable else None
    return Checked(of, foreseen, tried)


def _refuse_no_file(file: Path) -> NoReturn:
    """Raise ConfigurationError: nothing is there, or no file; with the nearest name beside it, or the folder that is
    missing."""
    if file.exists():
        kind = "is a folder" if file.is_dir() else "is not a regular file"
        raise ConfigurationError(f"file {str(file)!r}", kind, "Name the file to try.")
    folder = file.parent
    if not folder.is_dir():
        raise ConfigurationError(
            f"file {str(file)!r}", f"is not there: there is no folder {folder}", "Correct the path of the file to try."
        )
    beside = [each.name for each in folder.iterdir() if each.is_file()]
    meant = nearest(file.name, beside)
    lying = f"In {folder} are: {listed(sorted(beside), 5)}." if beside else f"{folder} is empty."
    raise ConfigurationError(f"file {str(file)!r}", f"is not there.{meant}" if meant else "is not there", lying)


def tried_as(tried: Trial) -> dict[str, Any]:
    """What became of a file that was tried, as the verbs answer it."""
    receipt = tried.receipt
    return {
        "status": receipt.status,
        **{name: getattr(receipt, name) for name in ROWS},
        "problem": receipt.problem,
        "remedy": receipt.remedy,
        "unknown_columns": receipt.unknown_columns,
        "reasons": broken_rules(tried.reasons),
    }


def rehearsed_as(tried: Rehearsal) -> dict[str, Any]:
    """What became of files that were tried, as the verb answers it."""
    refused = tried.refused
    return {
        "status": "quarantined" if refused else "accepted",
        **{name: sum(getattr(receipt, name) for receipt in tried.receipts) for name in ROWS},
        "problem": refused[0].problem if refused else None,
        "remedy": refused[0].remedy if refused else None,
        "reasons": broken_rules((each.column, each.rule, each.rows) for each in tried.rules),
        "files_read": len(tried.receipts),
        "rows": tried.rows,
        "taken": tried.share,
        "rejected_by_file": [
            {"file": file, "column": each.column, "rule": each.rule, "rows": rows}
            for each in tried.rules
            for file, rows in each.files
        ],
    }


def update_sources(tell: Callable[[str], None], *, check: bool) -> list[Path]:
    """Write dbt's sources from the feeds, or only `check` them; the files that had drifted."""
    feeds = declared_feeds()
    return drifted_sources(feeds) if check else write_sources(feeds, gained_columns(configured_deployment(tell)[1]))


def headers_seen(feed: str, tell: Callable[[str], None]) -> list[HeaderSeen]:
    """Every header that deliveries of the feed had."""
    _, deployment = configured_deployment(tell)
    chosen = deployment.feed(feed)
    if not deployment.warehouse.path.exists():
        return []
    with deployment.warehouse.reading("read the headers") as unit:
        return headers(unit, chosen, deployment.archive.root)


def compare_contracts(feed: str | None, tell: Callable[[str], None]) -> Compared:
    """Compare the contracts, or that of one feed, with what deliveries held."""
    _, deployment = configured_deployment(tell)
    feeds = deployment.feeds if feed is None else (deployment.feed(feed),)
    found: list[Drift] = []
    if deployment.warehouse.path.exists():
        with deployment.warehouse.reading("compare contracts with deliveries") as unit:
            found = [compare(unit, each, deployment.archive.root) for each in feeds]
    drifted = [each.feed for each in found if each.drifted]
    return Compared(not drifted, drifted, found)


def _create(target: Path, text: str) -> None:
    """Put a new file there, in one step; what somebody else has written is never touched."""
    partial = target.with_name(f".{target.name}.tmp")
    partial.write_text(text)
    try:
        target.hardlink_to(partial)
    except FileExistsError:
        raise ConfigurationError(target.name, "is there already", "Look at it, or give another --name.") from None
    finally:
        partial.unlink()
