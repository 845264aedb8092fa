"""A trial: what would become of a file if it were delivered, without a trace in the deployment.

Belongs here: the throw-away deployment that files are really loaded into. There is no rule of its own here, so that a
trial and the real thing cannot differ. Elsewhere: what is learned from all files of a draft (rehearsal.py).
"""

import glob
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from pathlib import Path

from platform_assets.engine.archive.decisions import Decided, Decision
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.foreseen import asks_for
from platform_assets.engine.store.quarantine import RejectedRow
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import ConfigurationError


@dataclass(frozen=True)
class Trial:
    """What would become of a file: its receipt, rows by broken rule, and some rejected rows with their reasons."""

    feed: Feed
    receipt: Receipt
    reasons: list[tuple[str | None, str, int]]
    rejected: list[RejectedRow]
    tolerated: bool

    @property
    def loads(self) -> bool:
        """Whether the delivery would be taken in without holding a release."""
        return self.receipt.status == "accepted" and self.tolerated


def try_on(feed: Feed, file: Path, *, shown: int = 20, allowed: str | None = None) -> Trial:
    """Take `file` in as a delivery of `feed` with nothing before it, in a home that is thrown away.

    allowed: its content, where a person lets it through.

    Raises ConfigurationError where there is no such file.
    """
    if not file.is_file():
        raise ConfigurationError(f"file {str(file)!r}", "is not a regular file", "Name the file to try.")
    # With it go as many folders of its path as the date may stand in.
    name = Path(*file.absolute().parts[-1 - (feed.name_date.form.count("/") if feed.name_date else 0) :]).as_posix()
    named = {name: file}
    files = feed.source if isinstance(feed.source, Files) else Files("*", format=feed.source.format)
    if (suffix := files.sidecar) is not None:
        beside = file.with_name(file.name + suffix)
        named[name + suffix] = beside if beside.is_file() else Path(os.devnull)
    source = files.read_from(glob.escape(name), settle=timedelta(), patience=timedelta())
    with (
        thrown_away(replace(feed, source=source), named, allowed=allowed) as (deployment, receipts),
        deployment.warehouse.reading("look at the trial") as unit,
    ):
        (receipt,) = receipts
        quarantine = unit.quarantine(feed)
        rejected = list(islice(quarantine.rows(), shown))
        tolerated = allowed is not None or feed.tolerate.allows(receipt.rejected, receipt.read)
        return Trial(feed, receipt, quarantine.reasons(), rejected, tolerated)


@contextmanager
def thrown_away(
    feed: Feed,
    files: Mapping[str, Path],
    *,
    allowed: str | None = None,
    notify: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Deployment, list[Receipt]]]:
    """A deployment of `feed` alone that has taken these files in, and their receipts, for as long as it is looked at.

    files: by the names under which they are delivered. Files that somebody names are meant as they are, so the feed
    waits for no producer. allowed: a content that a person lets through.
    """
    with tempfile.TemporaryDirectory(prefix="trial-") as folder:
        landing = Path(folder, "landing")
        landing.mkdir()
        for slot, path in files.items():
            target = landing / slot
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        deployment = Deployment([feed], home=Path(folder, "home"), landing=landing, notify=notify)
        deployment.prepare()
        if allowed is not None:
            through = Decided(allowed=Decision("", "", ""))
            deployment.archive.decisions(feed.name).keep({allowed: through})
        receipts = deployment.ingest(feed).receipts
        if not receipts:
            raise ConfigurationError(
                f"file {Path(next(iter(files))).name!r}",
                "has the name of an unfinished file",
                "Give it the name of its delivery.",
            )
        yield deployment, receipts


def feed_of(file: Path, feeds: tuple[Feed, ...]) -> Feed:
    """The feed that would ask for a file of this name; raises ConfigurationError where it is not just one."""
    parts = file.absolute().parts
    ends = [parts[start:] for start in range(len(parts))]
    matching = [feed for feed in feeds if isinstance(feed.source, Files) and any(asks_for(feed, end) for end in ends)]
    if len(matching) != 1:
        several = ", ".join(feed.name for feed in matching or feeds)
        raise ConfigurationError(
            f"file {file.name!r}",
            "could belong to several feeds" if matching else "has a name that no feed asks for",
            f"Name the feed with --feed: {several}."
            + ("" if matching else f" Or declare one from it: platform feed add {shlex.quote(str(file))}"),
        )
    return matching[0]
