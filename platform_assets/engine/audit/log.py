"""The audit log: one line of JSON for each thing that a person did, each with the hash of the line before it.

Belongs here: appending a line, also beside other processes and after a kill; reading lines; the head. Elsewhere: what a
line is (line.py), finding what was changed (verify.py), who is recorded for what (commands, web).
"""

import contextlib
import fcntl
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from platform_assets.engine.audit.line import (
    BEGINNING,
    KEY_SETTING,
    TORN,
    AuditEntry,
    Head,
    entry_in,
    key_missing,
    sealed,
    unsealed,
    written,
)
from platform_assets.engine.audit.verify import Noted, Verdict, verified
from platform_assets.engine.durable.failpoint import reached
from platform_assets.engine.durable.files import replacing, sync
from platform_assets.errors import AuditBroken, PlatformError, StorageError

_PRIVATE: Final = 0o600
_LOCK_S: Final = 20.0
_TAIL: Final = 1 << 20  # bytes; a line is far shorter


def _utc_now() -> datetime:
    return datetime.now(tz=UTC)


class AuditLog:
    """The log of the deployment at `home`: `audit.jsonl`, and `audit.head`, which notes where it ends.

    key: gives the secret that lines are signed with, or None; asked when it is needed. Who lacks it can read the log,
    but can neither change a line, nor cut lines off, without verify finding it.
    """

    def __init__(
        self,
        home: Path,
        *,
        key: Callable[[], str | None] = lambda: None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.path = home / "audit.jsonl"
        self._head = home / "audit.head"
        self._key = key
        self._clock = clock

    def record(
        self, who: str, what: str, about: Mapping[str, object], *, outcome: str = "done", of: int | None = None
    ) -> AuditEntry:
        """Append an entry, safe on disk when this returns. about: names, ids and numbers; never values of feeds.

        who: `os:anna` at the command line, `ui:anna` in the browser, `token:ci`. what: a short verb, such as `replay`.
        outcome, of: see `doing`, which writes them. Raises StorageError; AuditBroken where the log does not end as
        audit.head notes; ConfigurationError where the log has a key and none is set.
        """
        secret = self._key()
        with self._locked() as file:
            last, cut_short = self._end(file, secret)
            text = b""
            if cut_short:  # told by an entry of its own, which vouches for these bytes from now on
                torn = {"bytes": len(cut_short), "sha256": hashlib.sha256(cut_short).hexdigest()}
                last, line = written(last, self._clock(), "platform", TORN, torn, secret)
                text = b"\n" + line
            entry, line = written(last, self._clock(), who, what, about, secret, outcome=outcome, of=of)
            self._append(file.fileno(), text + line)
            reached("audit-line")
            self._note(Head(entry.n, entry.hash), secret)
        return entry

    @contextlib.contextmanager
    def doing(self, who: str, what: str, about: Mapping[str, object]) -> Iterator[dict[str, object]]:
        """Record that somebody asks for something, before it is begun; and what came of it, at its end.

        What the block puts into the mapping that it is given stands in the second entry. So an effect without an entry
        is impossible; an entry `asked` that no other follows belongs to work that is under way, or died.
        """
        asked = self.record(who, what, about, outcome="asked")
        came: dict[str, object] = {}
        try:
            yield came
        except BaseException as error:
            with contextlib.suppress(StorageError, AuditBroken):  # the error that is under way says more
                self.record(who, what, {**came, "error": type(error).__name__}, outcome="failed", of=asked.n)
            raise
        self.ended(asked, came)

    def ended(self, asked: AuditEntry, came: Mapping[str, object]) -> None:
        """Record that the work is done that an entry asked for; an error says that it is, all the same."""
        try:
            self.record(asked.who, asked.what, came, of=asked.n)
        except (StorageError, AuditBroken) as error:
            raise PlatformError(
                f"{asked.what} is done, but this could not be recorded: {error.what}",
                state=f"Its effect is there. Entry {asked.n} of the audit log says that it was asked for.",
                remedy=error.remedy,
            ) from error

    def entries(self) -> Iterator[AuditEntry]:
        """All entries, in the order in which they were written. Lines that are none are left to `verify`."""
        with self._reading() as lines:
            for line in lines:
                entry = entry_in(line)
                if entry is not None:
                    yield entry

    def head(self) -> Head | None:
        """Where the log ends, to be kept elsewhere and given to `verify`; None where nothing was recorded yet."""
        with contextlib.suppress(ValueError):  # for verify to say
            read = self._read_head()
            return None if read is None or not read[0].entries else read[0]
        return None

    def verify(self, heads: Iterable[Head] = ()) -> Verdict:
        """Read the whole log and say what was changed. heads: where it once ended, as was kept elsewhere.

        Raises StorageError; ConfigurationError where the log has a key and none is set.
        """
        try:
            with self.path.open("rb") as file:
                # What is written after this moment is not looked at, so that nobody waits for the reading.
                with _lock(file, fcntl.LOCK_SH, self.path):
                    noted, size = self._noted(), os.fstat(file.fileno()).st_size
                return verified(file, size, noted, heads, self._key())
        except FileNotFoundError:
            return verified(io.BytesIO(), 0, self._noted(), heads, self._key())
        except OSError as error:
            raise StorageError(self.path, error.strerror or str(error)) from error

    def _noted(self) -> Noted:
        try:
            return self._read_head()
        except ValueError:
            return "unreadable"

    def _end(self, file: BinaryIO, secret: str | None) -> tuple[AuditEntry | None, bytes]:
        """The last entry, where audit.head says the log ends, and what a kill left after the last entry."""
        last, cut_short = _last_entry(file, self.path)
        try:
            noted = self._read_head()
        except ValueError:
            raise AuditBroken(self.path, f"{self._head.name}, which notes where the log ends, cannot be read") from None
        if noted is None:
            if last is not None:
                raise AuditBroken(self.path, f"{self._head.name} is gone, which notes where the log ends")
            self._note(BEGINNING, secret)  # before the first line: a log without it has lost it
            return None, cut_short
        if last is not None and last.keyed:
            if secret is None:
                raise key_missing()
            if not unsealed(*noted, secret):
                raise AuditBroken(self.path, f"{self._head.name} is not signed with {KEY_SETTING} as it is now")
        known = (BEGINNING,) if last is None else (Head(last.n, last.hash), Head(last.n - 1, last.before))
        if noted[0] not in known:  # more than a kill leaves: a backup made while it was written, or a hand
            broken = verified(file, os.fstat(file.fileno()).st_size, noted, (), secret).broken
            if broken:
                raise AuditBroken(self.path, f"line {broken[0].line}: {broken[0].problem}")
        return last, cut_short

    def _append(self, descriptor: int, text: bytes) -> None:
        try:
            new = os.fstat(descriptor).st_size == 0
            half = len(text) // 2
            _write(descriptor, text[:half])
            reached("mid-audit-line")
            _write(descriptor, text[half:])
            os.fsync(descriptor)
        except OSError as error:
            raise StorageError(self.path, error.strerror or str(error)) from error
        if new:
            sync(self.path.parent)

    def _note(self, head: Head, secret: str | None) -> None:
        with replacing(self._head, self._head.with_name(f".{self._head.name}.partial"), mode=_PRIVATE) as partial:
            partial.write_bytes(sealed(head, secret))

    def _read_head(self) -> tuple[Head, str | None] | None:
        """What audit.head holds, None where it is not there; ValueError where it holds something else."""
        try:
            return Head.read(self._head.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(self._head, error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The log, held against other writers, to read and to append to."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                descriptor = os.open(
                    self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE
                )
                with os.fdopen(descriptor, "r+b") as file, _lock(file, fcntl.LOCK_EX, self.path):
                    if not _still_there(file, self.path):
                        continue  # moved away while we waited
                    if stat.S_IMODE(os.fstat(descriptor).st_mode) != _PRIVATE:
                        os.fchmod(descriptor, _PRIVATE)
                    yield file
                    return
        except OSError as error:
            raise StorageError(self.path, error.strerror or str(error)) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Iterable[bytes]]:
        try:
            with self.path.open("rb") as file:
                yield file
        except FileNotFoundError:
            yield ()
        except OSError as error:
            raise StorageError(self.path, error.strerror or str(error)) from error


@contextlib.contextmanager
def _lock(file: Any, kind: int, path: Path) -> Iterator[None]:  # noqa: ANN401 - a file, raw or buffered
    until = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(file.fileno(), kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise StorageError(path, f"another process has held it for {_LOCK_S:.0f} s") from None
            time.sleep(0.002)
    try:
        yield
    finally:
        fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def _still_there(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write(descriptor: int, text: bytes) -> None:
    while text:
        text = text[os.write(descriptor, text) :]


def _last_entry(file: BinaryIO, path: Path) -> tuple[AuditEntry | None, bytes]:
    """The last entry of the file, and what stands after it; reads the end alone."""
    size = os.fstat(file.fileno()).st_size
    start = max(0, size - _TAIL)
    tail = os.pread(file.fileno(), _TAIL, start)
    *whole, after = tail.split(b"\n")
    rest = after
    while whole:
        line = whole.pop()
        entry = entry_in(line + b"\n")
        if entry is not None:
            return entry, rest
        rest = line + b"\n" + rest
    if start:
        raise AuditBroken(path, "its end holds no entry")
    return None, rest
