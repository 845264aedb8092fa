"""`platform feed add`, `feed check`, `feed headers`, `contract diff`: helping a person to declare a feed, as a whole.

Belongs here: the way from a file to a feed's Python file that is there, loads and takes the file; comparing what is
declared with what came. Elsewhere: what is concluded from files (engine/author).
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_assets.commands.counts import ROWS, broken_rules
from platform_assets.engine.author.draft import declared_by, draft
from platform_assets.engine.author.drift import Drift, compare
from platform_assets.engine.author.headers import HeaderSeen, headers
from platform_assets.engine.author.proposal import Proposal, propose
from platform_assets.engine.author.trial import Trial, feed_of, try_on
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.foreseen import Foreseen, finished
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import FEEDS_PACKAGE, audit_log, configured_deployment, declared_feeds
from platform_assets.project.dbt_sources import drifted_sources, gained_columns, write_sources
from platform_assets.settings import person


@dataclass(frozen=True)
class Added:
    """A feed that was drafted from a file, and tried on it. written: files that declare it; none of a mere draft."""

    proposal: Proposal
    text: str
    written: tuple[Path, ...]
    tried: Trial

    @property
    def takes_all(self) -> bool:
        """Whether the feed takes every row of its file."""
        return self.tried.receipt.status == "accepted" and not self.tried.receipt.rejected


@dataclass(frozen=True)
class Compared:
    """Contracts against what came. drifted: the feeds whose deliveries contradict theirs."""

    ok: bool
    drifted: list[str]
    feeds: list[Drift]


def add_feed(
    file: Path,
    tell: Callable[[str], None],
    *,
    name: str | None,
    origin: str | None,
    pattern: str | None,
    owner: str | None,
    known: Sequence[str],
    write: bool,
) -> Added:
    """Draft a feed from one of its files, try it on the file, and write it; `known`: of its format."""
    _, deployment = configured_deployment(tell)
    proposal = propose(
        file, landing=deployment.landing, name=name, origin=origin, pattern=pattern, owner=owner, given=known
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
    text = draft(proposal, own_file=target.stem == proposal.origin)
    feed = declared_by(text, proposal)
    tried = try_on(feed, file)
    if not write:
        return Added(proposal, text, (), tried)
    about = {"feed": feed.name, "file": target.name}
    with audit_log(deployment.home).doing(person(), "feed add", about) as came:
        _create(target, text)
        try:
            importlib.invalidate_caches()
            feeds = declared_feeds()
            (there,) = (each for each in feeds if each.name == feed.name)
            if there.columns != feed.columns or replace(there, contract=feed.contract) != feed:
                raise ConfigurationError(target.name, "does not declare what was tried", "Declare the feed by hand.")
        except BaseException:
            target.unlink()
            raise
        written = (target, *write_sources(feeds, gained_columns(deployment)))
        came["written"] = [path.name for path in written]
    return Added(proposal, text, written, tried)


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
    of = feed_of(finished(file), deployment.feeds) if feed is None else deployment.feed(feed)
    if not file.is_symlink() and not file.is_file():
        raise ConfigurationError(f"file {str(file)!r}", "is not a regular file", "Name the file to try.")
    foreseen = deployment.foresee(of, file)
    tried = try_on(of, file, shown=shown, allowed=foreseen.allowed) if foreseen.readable else None
    return Checked(of, foreseen, tried)


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
