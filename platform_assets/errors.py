"""The error tree. Each error says what happened, what state remains and what to do next.

Belongs here: every error a user can meet, and how names are listed in one. Elsewhere: what a caller does about it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

LONGEST_SHOWN: Final = 80  # characters of a name


def listed(names: Sequence[str], most: int = 10) -> str:
    """Some of the names, for a message that stays readable whatever a file brings."""
    shown = ", ".join(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


class PlatformError(Exception):
    """Base of all errors a user meets; `str()` gives the three sentences on three lines.

    may_pass: whether the same may succeed a while later, with nothing changed by a person.
    """

    may_pass: ClassVar[bool] = False

    def __init__(self, what: str, *, state: str, remedy: str) -> None:
        super().__init__(what)
        self.what = what
        self.state = state
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}\n  state:  {self.state}\n  remedy: {self.remedy}"


class ConfigurationError(PlatformError):
    """A declaration or a setting is wrong; nothing has been run."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}", state="Nothing was run or changed.", remedy=remedy)
        self.key = key


class ContractError(ConfigurationError):
    """A contract cannot be used as it is declared."""


class DeliveryRefused(PlatformError):
    """A delivery that cannot be trusted as a whole: it is quarantined with this as its reason.

    `line` is the 1-based physical line, where there is one; `column` the header or contract name. `guess`: the remedy
    is something to declare that nobody has tried on the delivery yet.
    """

    def __init__(
        self, problem: str, *, remedy: str, line: int | None = None, column: str | None = None, guess: bool = False
    ) -> None:
        super().__init__(
            problem,
            state="No row of this delivery was loaded; what it may replace is untouched.",
            remedy=remedy,
        )
        self.line = line
        self.column = column
        self.guess = guess


class DeliveryUnreadable(DeliveryRefused):
    """A delivery whose file could not be read this time, with nothing wrong that it tells of: it is offered again."""


class DeliveryUnfinished(PlatformError):
    """A delivery that looks half-written: it is left alone and offered again."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            problem,
            state="Not claimed; nothing was loaded.",
            remedy="Wait for the producer to finish; it is offered again by itself.",
        )


class ReplayRefused(PlatformError):
    """Deliveries cannot be brought in again; everything is as it was."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, state="Raw, quarantine and receipts are as they were.", remedy=remedy)


class WarehouseBusy(PlatformError):
    """Another process held the warehouse for longer than we were told to wait."""

    may_pass = True

    def __init__(self, path: Path, holder: str, waited_s: float, purpose: str) -> None:
        super().__init__(
            f"{path} is held by {holder}; waited {waited_s:.0f} s to {purpose}.",
            state="The warehouse is as its last commit left it.",
            remedy="Let that process finish or close it (a SQL shell left open?), then run again.",
        )


class WarehouseUnreadable(PlatformError):
    """The warehouse file cannot be opened, is no database, or another version of the platform made it."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} cannot be used as the warehouse: {cause}",
            state="The archive and every release are separate files and are untouched.",
            remedy=f"Restore a backup over {path}, or move it (and {path.name}.wal) away, and run again: "
            "what the warehouse then lacks comes back from the archive.",
        )


class StorageError(PlatformError):
    """The disk or its permissions stopped us; the last commit stands."""

    may_pass = True

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path}: {cause}",
            state="Everything is as the last commit left it.",
            remedy="Free space or mend the permissions of that path, then run again.",
        )


class AuditBroken(PlatformError):
    """The audit log was changed by other hands than ours, so that nothing can be recorded after it."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(
            f"{path} was changed: {problem}",
            state="What was asked for was not begun, because it could not be recorded.",
            remedy="`platform audit verify` says what is wrong. Keep the log as evidence: move it and audit.head to "
            "another place together; a new log then begins.",
        )


class DiskLow(PlatformError):
    """A file system has less free room than its floor, or would have after what was to be claimed.

    needed: bytes of what was to be claimed, where there would be room without it.
    """

    may_pass = True

    def __init__(self, folder: Path, free: int, floor: int, needed: int = 0) -> None:
        what = f"{_megabytes(free)} MB are free for {folder}"
        wanted = f"needs {_megabytes(needed)} MB beside the floor of" if needed else "less than the floor of"
        super().__init__(
            f"{what}, {wanted} {_megabytes(floor)} MB",
            state="Nothing new is claimed: files wait where they lie. What is loaded is built, released and read.",
            remedy="Free space: they are then taken in by themselves. PLATFORM_DISK_FLOOR says how much is kept free.",
        )
        self.folder = folder
        self.needed = needed


def _megabytes(size: int) -> str:
    return f"{size / 1000**2:,.0f}"


class AlertsUnreadable(PlatformError):
    """The file of incidents and messages cannot be read as a database."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(
            f"{path} cannot be read as an SQLite database: {cause}",
            state="No alert is told. Data and releases are other files and are untouched.",
            remedy=f"Move it away (with {path.name}-wal and -shm): what is wrong now is then told again.",
        )


class ReleaseRefused(PlatformError):
    """The marts are not fit to be released; readers keep the release they have."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, state="Readers keep the last release.", remedy=remedy)
