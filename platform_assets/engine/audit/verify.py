"""Finding what was changed in the audit log: every line, every link, and where the log ends.

Belongs here: reading the whole log once, and saying what is wrong in which line. Elsewhere: writing it (log.py).
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, Literal

from platform_assets.engine.audit.line import (
    BEGINNING,
    KEY_SETTING,
    TORN,
    AuditEntry,
    Head,
    entry_in,
    key_missing,
    own_hash,
    unsealed,
)

_LONGEST_LINE: Final = 1 << 20  # bytes; no entry comes near
Noted = tuple[Head, str | None] | Literal["unreadable"] | None
"""What audit.head holds, and its signature; None where it is not there."""
_MOST: Final = 20  # findings; one change rarely makes more than three


@dataclass(frozen=True)
class Broken:
    """What is wrong in a line of the log, 1-based; the line after the last where something is missing there."""

    line: int
    problem: str


@dataclass(frozen=True)
class Verdict:
    """What verification found. head: where the log ends; to keep elsewhere. keyed: how many entries are signed.

    cut_short: bytes at the end that a killed process left; the next entry will tell of them. broken: what was changed.
    """

    entries: int
    keyed: int
    head: Head | None
    cut_short: int
    broken: tuple[Broken, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was changed."""
        return not self.broken


@dataclass
class _Reading:
    """The chain, line by line."""

    secret: str | None
    wanted: dict[int, list[tuple[str, str]]] = field(default_factory=dict)  # entry -> (hash, who says so)
    line: int = 0
    last: AuditEntry | None = None
    keyed: int = 0
    loose: list[bytes] = field(default_factory=list)  # lines since the last entry that are none
    broken: list[Broken] = field(default_factory=list)

    def report(self, line: int, problem: str) -> None:
        if len(self.broken) < _MOST:
            self.broken.append(Broken(line, problem))

    def take(self, text: bytes) -> None:
        self.line += 1
        entry = entry_in(text)
        if entry is None:
            self.loose.append(text)
            return
        if entry.keyed and self.secret is None:
            raise key_missing()
        signer = self.secret if entry.keyed else None
        if own_hash(text, signer) != entry.hash:
            meant = f"it was changed, or {KEY_SETTING} is another" if entry.keyed else "it was changed"
            self.report(self.line, f"the entry does not fit its hash: {meant}")
        n, before = BEGINNING if self.last is None else (self.last.n, self.last.hash)
        if entry.before != before or entry.n != n + 1:
            self.report(
                self.line,
                f"entry {entry.n} does not follow entry {n}: entries were removed, inserted or moved before it"
                if entry.n != n + 1
                else f"entry {entry.n} followed another entry {n} than this one: one of them was changed",
            )
        if self.last is not None and self.last.keyed and not entry.keyed:
            self.report(self.line, "the entry is not signed, and those before it are")
        if self.loose:
            left = b"".join(self.loose).removesuffix(b"\n")
            told = {"bytes": len(left), "sha256": hashlib.sha256(left).hexdigest()}
            if entry.what != TORN or entry.about != told:
                self._report_loose(self.line - 1)
            self.loose.clear()
        elif entry.what == TORN:
            self.report(self.line, "the line that it tells of, which was cut short, is gone")
        for digest, says in self.wanted.pop(entry.n, ()):
            if digest != entry.hash:
                self.report(self.line, f"entry {entry.n} is another than {says} notes: the log was replaced or changed")
        self.keyed += entry.keyed
        self.last = entry

    def end(self, noted: Noted) -> None:
        """What can only be said when all lines are read."""
        if self.loose:  # whole lines; a killed process leaves none
            self._report_loose(self.line)
        had = 0 if self.last is None else self.last.n
        for n, each in sorted(self.wanted.items()):
            for _, says in each:
                self.report(self.line + 1, f"entries {had + 1} to {n} are gone: {says} notes {n}")
        problem = self._end_problem(noted)
        if problem is not None:
            self.report(max(self.line, 1), problem)

    def _end_problem(self, noted: Noted) -> str | None:
        """What is wrong with audit.head, or with an end that it vouches for."""
        if noted == "unreadable":
            return "audit.head, which notes where the log ends, cannot be read"
        if self.last is None:
            return None
        if noted is None:
            return "audit.head is gone, which notes where the log ends"
        if self.secret is None:
            return None
        if not self.last.keyed:
            return f"the last entry is not signed with {KEY_SETTING}: the log was replaced, or the key was set after it"
        if not unsealed(*noted, self.secret):
            return f"audit.head, which notes where the log ends, is not signed with {KEY_SETTING}"
        return None

    def _report_loose(self, last: int) -> None:
        for line in range(last - len(self.loose) + 1, last + 1):
            self.report(line, "is not an entry: it was changed, or put there")


def verified(file: BinaryIO, size: int, noted: Noted, heads: Iterable[Head], secret: str | None) -> Verdict:
    """Read the first `size` bytes of the log. heads: where it once ended, as was kept elsewhere."""
    said = [*((head, "a head that was kept elsewhere") for head in heads)]
    said += [(noted[0], "audit.head")] if isinstance(noted, tuple) else []
    reading = _Reading(secret)
    for head, says in said:
        if head.entries:
            reading.wanted.setdefault(head.entries, []).append((head.hash, says))
    cut_short = 0
    file.seek(0)
    while size and (text := file.readline(min(size, _LONGEST_LINE))):
        size -= len(text)
        if size or text.endswith(b"\n"):
            reading.take(text)
        else:
            cut_short = len(text)
    reading.end(noted)
    last = reading.last
    return Verdict(
        entries=0 if last is None else last.n,
        keyed=reading.keyed,
        head=None if last is None else Head(last.n, last.hash),
        cut_short=cut_short,
        broken=tuple(sorted(reading.broken, key=lambda each: each.line)),
    )
