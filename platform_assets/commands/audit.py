"""`platform audit`: what people did, and whether the record of it is as it was written.

Belongs here: choosing entries, and the end of work that was asked for. Elsewhere: the log (engine/audit).
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from platform_assets.engine.audit.line import AuditEntry, Head
from platform_assets.engine.audit.verify import Broken
from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import audit_log
from platform_assets.settings import Settings


@dataclass(frozen=True)
class Recorded:
    """One entry of the log. outcome: `asked` of work that ended later, `no end` where that is not recorded."""

    n: int
    at: datetime
    who: str
    what: str
    about: dict[str, Any]
    outcome: str
    of: int | None


@dataclass(frozen=True)
class Verified:
    """The log as a whole. signed: entries that are signed with the key. head: where it ends, to be kept elsewhere.

    cut_short_bytes: at the end, of a process that was killed. broken: lines that are not as they were written.
    """

    ok: bool
    entries: int
    signed: int
    head: str | None
    cut_short_bytes: int
    broken: tuple[Broken, ...]


def audited(who: str | None, what: str | None, since: datetime | None, limit: int) -> list[Recorded]:
    """The newest entries, at most `limit`, the newest first: by whom and what they are, and since when (UTC)."""
    after = None if since is None else since.replace(tzinfo=since.tzinfo or UTC)
    found: deque[AuditEntry] = deque(maxlen=limit)
    ended = set()
    for entry in audit_log(Settings.from_environment().home).entries():
        if entry.of is not None:
            ended.add(entry.of)
        if _is(entry.who, who) and fnmatchcase(entry.what, what or "*") and (after is None or entry.at >= after):
            found.append(entry)
    return [
        Recorded(
            n=each.n,
            at=each.at,
            who=each.who,
            what=each.what,
            about=dict(each.about),
            outcome="no end" if each.outcome == "asked" and each.n not in ended else each.outcome,
            of=each.of,
        )
        for each in reversed(found)
    ]


def verify_audit(heads: Iterable[str]) -> Verified:
    """Read the whole log. heads: where it once ended, as `platform audit verify` said then."""
    kept = []
    for each in heads:
        try:
            kept.append(Head.parse(each))
        except ValueError:
            raise ConfigurationError(
                "--head", f"{each!r} is no head", "Give one as `platform audit verify` printed it, such as 12:9f86…."
            ) from None
    found = audit_log(Settings.from_environment().home).verify(kept)
    head = None if found.head is None else str(found.head)
    return Verified(found.ok, found.entries, found.keyed, head, found.cut_short, found.broken)


def _is(who: str, asked: str | None) -> bool:
    """Whether it is that person, named in full or, however they came, by the name alone."""
    return asked is None or fnmatchcase(who, asked) or fnmatchcase(who.partition(":")[2], asked)
