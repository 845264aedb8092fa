"""What a line of the audit log is: its fields, its hash, and the head that notes where the log ends.

Belongs here: the format, and what is signed how. Elsewhere: files (log.py), finding what was changed (verify.py).
A hash is SHA-256 over the line's canonical JSON without it, or HMAC-SHA-256 where there is a key.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from platform_assets.errors import ConfigurationError

KEY_SETTING: Final = "PLATFORM_AUDIT_KEY"
EMPTY: Final = "0" * 64  # the hash before the first line
TORN: Final = "cut short"
_LONGEST: Final = 16 * 1024  # characters of what an entry is about
_LONGEST_NAME: Final = 200
_FIELDS: Final = {"about", "at", "before", "hash", "keyed", "n", "of", "outcome", "what", "who"}


@dataclass(frozen=True)
class AuditEntry:
    """One thing that a person did. n: 1 for the first entry. at: UTC. about: what it was done to.

    outcome: `done`; or `asked`, before it was begun, and then `done`, `failed` or, of what Dagster was asked for in the
    UI, `answered` of a second entry, `of` that one.
    before: hash of the entry before it. hash: its own. keyed: whether it is signed with PLATFORM_AUDIT_KEY.
    """

    n: int
    at: datetime
    who: str
    what: str
    about: Mapping[str, Any]
    outcome: str
    of: int | None
    before: str
    hash: str
    keyed: bool


class Head(NamedTuple):
    """Where a log ends: how many entries it has, and the hash of the last. As text: `12:9f86d0…`."""

    entries: int
    hash: str

    def __str__(self) -> str:
        return f"{self.entries}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """The head that `str` gave; raises ValueError."""
        entries, _, digest = text.partition(":")
        if len(digest) != len(EMPTY):
            raise ValueError(text)
        return cls(int(entries), digest)

    @classmethod
    def read(cls, text: bytes) -> "tuple[Head, str | None]":
        """The head in audit.head, and its signature; raises ValueError."""
        try:
            read = json.loads(text)
            head, seal = cls(read["entries"], read["hash"]), read["seal"]
        except (KeyError, TypeError):
            raise ValueError("no head") from None
        if type(head.entries) is not int or not isinstance(head.hash, str) or not isinstance(seal, str | None):
            raise ValueError("no head")
        return head, seal


BEGINNING: Final = Head(0, EMPTY)


def key_missing() -> ConfigurationError:
    """What is raised where a log is signed and the key is not known."""
    return ConfigurationError(KEY_SETTING, "is not set, and the audit log is signed with it", "Set it, as it was then.")


def written(
    last: AuditEntry | None,
    at: datetime,
    who: str,
    what: str,
    about: Mapping[str, object],
    secret: str | None,
    *,
    outcome: str = "done",
    of: int | None = None,
) -> tuple[AuditEntry, bytes]:
    """The entry that follows `last`, and its line."""
    body = {
        "about": _bounded(about),
        "at": at.isoformat(timespec="microseconds"),
        "before": EMPTY if last is None else last.hash,
        "keyed": secret is not None,
        "n": 1 if last is None else last.n + 1,
        "of": of,
        "outcome": outcome,
        "what": what[:_LONGEST_NAME],
        "who": who[:_LONGEST_NAME],
    }
    body["hash"] = _digest(body, secret)
    line = _canonical(body) + b"\n"
    entry = entry_in(line)
    if entry is None:
        raise ValueError("the audit log cannot hold this")
    return entry, line


def entry_in(line: bytes) -> AuditEntry | None:
    """The entry in a line that ends as lines do; None where it is none, or is not written as entries are."""
    try:
        read = json.loads(line)
        if not isinstance(read, dict) or set(read) != _FIELDS or _canonical(read) + b"\n" != line:
            return None
        entry = AuditEntry(**{**read, "at": datetime.fromisoformat(read["at"])})
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (entry.who, entry.what, entry.outcome, entry.before, entry.hash)
    sound = (
        type(entry.n) is int
        and type(entry.of) in (int, type(None))
        and type(entry.keyed) is bool
        and isinstance(entry.about, dict)
        and all(isinstance(each, str) for each in texts)
    )
    return entry if sound else None


def own_hash(line: bytes, secret: str | None) -> str:
    """The hash that an entry's line should have."""
    body = json.loads(line)
    del body["hash"]
    return _digest(body, secret)


def sealed(head: Head, secret: str | None) -> bytes:
    """What audit.head holds."""
    body: dict[str, object] = {"entries": head.entries, "hash": head.hash}
    return _canonical({**body, "seal": None if secret is None else _digest(body, secret)}) + b"\n"


def unsealed(head: Head, seal: str | None, secret: str | None) -> bool:
    """Whether the head is signed with this key."""
    body: dict[str, object] = {"entries": head.entries, "hash": head.hash}
    return seal is not None and hmac.compare_digest(seal, _digest(body, secret))


def _digest(body: Mapping[str, object], secret: str | None) -> str:
    text = _canonical(body)
    if secret is None:
        return hashlib.sha256(text).hexdigest()
    return hmac.new(secret.encode(errors="surrogateescape"), text, hashlib.sha256).hexdigest()


def _canonical(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _bounded(about: Mapping[str, object]) -> Mapping[str, object]:
    """The same, shortened where it is too long for a line: then its beginning, as text, and its digest."""
    plain = json.loads(json.dumps({str(key): value for key, value in about.items()}, default=str))
    text = _canonical(plain)
    if len(text) <= _LONGEST:
        return dict(plain)
    digest = hashlib.sha256(text).hexdigest()
    return {"shortened": text[: _LONGEST // 2].decode(), "bytes": len(text), "sha256": digest}
