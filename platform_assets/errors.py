"""The error tree. Each error says what happened, what state remains and what to do next.

Belongs here: every error a user can meet, and how text from outside stands in a message. Elsewhere: what a caller does
about it; what of a feed's text may be shown (engine/contract/shown.py).
"""

import difflib
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

LONGEST_SHOWN: Final = 80  # characters of a name
HIDDEN: Final = "(not shown)"
"""Stands for a name that may be personal data."""

# Around what came with the data, within a message: characters for private use.
_OPENS, _BETWEEN, _CLOSES, _FOREIGN = "\ue000", "\ue001", "\ue002", "\ue003"
_MARKS: Final = re.compile(f"[{_OPENS}-{_FOREIGN}]")
_QUOTED: Final = re.compile(f"{_OPENS}([^{_CLOSES}]*){_CLOSES}")

# What GitHub and Azure take for a command, where a line of a log begins with it or has it.
_COMMAND: Final = re.compile(r"^\s*::|##\[", re.MULTILINE)
_STYLE: Final = re.compile(r"\x1b\[[0-9;]*m")
_TOKEN: Final = re.compile(r"(?P<place>\bline \d+)|[\w@](?:[\w@.+/-]*[\w@])?", re.IGNORECASE)
_PART: Final = re.compile(r"[^\W_]+")
_HIDDEN_RUN: Final = re.compile(r"…(?:[^\w\n]{0,4}…)+")
# Words in which DuckDB, dbt, Polars, Arrow and Python tell of an error; none of them is anybody's name.
_USUAL: Final = """
a about access actual adapter add against aggregate alias all allocate allowed ambiguous an and another any append
argument arguments array arrow as assert at attach attribute attributeerror available be because been before begin
bigint binary bind binder binderexception block boolean both bound bounds but by byte bytes call called can
candidate candidates cannot case cast casting casts catalog catalogexception cause change check chunk class clause
close closed code column columns command commit compilation compile compiled compute computeerror concat
configuration conflict conflicting connection constraint constraintexception contain contains contract conversion
conversionexception convert converted could count create cte current data database dataframe datatype date decimal
decimal256 default defined delete dependencies dependency depends detach dictionary did different directories
disabled division do does double drop dtype due duplicate each element empty encoding encountered end entry error
errors escape exceeded exceeds exception exceptions exist existing exists expected expects explicit expression
extension external extra fail failed failure false field fields file filenotfounderror first float float32 float64
for foreign format found frame from function given got group had has have having height held hint horizontal hugeint
if implemented implicit import in incremental index indexerror input insert installed instead int int128 int16
int256 int32 int64 int8 integer internal into invalid invalidinputexception invalidoperationerror io ioexception is
it its join json key keyerror keys keyword lambda last lazyframe length lengths limit list literal load lock locked
macro many map match matching maximum mean memory memoryerror message might minimum mismatched missing mode model
models module modulo more must name named names near need negative nested no node non none not null nullable number
object of offset on one only open opened operand operation operator optional or order oserror out
outofrangeexception overflow panic parameter parquet parse parser parserexception path per permission
permissionerror pid please polars positive possible precision primary process query quotes range rank read record
recursionerror recursive reference referenced references referring relation required requires result results return
returned row rows runtime runtimeerror scalar scale schema schemaerror select sequence series set setting settings
shape should size smallint snapshot sorry source sql statement storage strict string struct subquery such supported
sure syntax system table tables target temporary test than that the their then there this through time timestamp
timestamptz tinyint to too transaction true try trying type typeerror types uint16 uint32 uint64 uint8 unable
undefined unexpected unicode union unique unit unknown unsupported unterminated update use used using utf utf8 valid
value valueerror values varchar variable version vertical view violated violates violation was were when where which
while width will window with within without workbook write wrong yet you zero zerodivisionerror
"""


def printable(text: str, most: int | None = None) -> str:
    """Text from outside on one line, without what could steer a terminal, a log or a page, or turn the order of its
    letters round: each such character is a dot. most: characters; the rest is cut off."""
    cut = text if most is None or len(text) <= most else f"{text[:most]}…"
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "·" for c in cut)


def lines(text: str, longest: int = 2_000) -> str:
    """Text from outside that may go over several lines, each at most so `longest`, none of which is a command to
    whatever reads the log of a build."""
    shown = "\n".join(printable(line, longest) for line in _STYLE.sub("", text).split("\n"))
    return _COMMAND.sub(lambda found: f"·{found[0]}", shown) if "::" in shown or "##[" in shown else shown


def listed(names: Sequence[str], most: int = 10) -> str:
    """Some of the names, for a message that stays readable whatever a file brings; HIDDEN ones are counted."""
    known = [name for name in names if name != HIDDEN]
    shown = ", ".join(printable(name, LONGEST_SHOWN) for name in known[:most])
    shown += f" and {len(known) - most} more" if len(known) > most else ""
    if not (hidden := len(names) - len(known)):
        return shown
    why = "not shown: the contract has personal data"
    if shown:
        return f"{shown} (and {hidden} more, {why})"
    return f"({hidden}, {why})" if hidden > 1 else f"({why})"


def counted(number: int, one: str, several: str = "") -> str:
    """So many of something, in words: `1 delivery`, `2 deliveries`. several: by default, the usual plural of `one`."""
    usual = f"{one[:-1]}ies" if one.endswith("y") and one[-2] not in "aeiou" else f"{one}s"
    return f"{number:,} {one if number == 1 else several or usual}"


def nearest(word: str, among: Iterable[str], alike: float = 0.6) -> str:
    """`" Did you mean 'x'?"`, to end a sentence with, where one of the words that there are is near; else `""`.
    alike: from 0 (everything is) to 1 (only the same)."""
    known = {each.casefold(): each for each in among}
    found = difflib.get_close_matches(word.casefold(), known, n=1, cutoff=alike)
    return f" Did you mean {known[found[0]]!r}?" if found else ""


def quoted(*names: str) -> str:
    """Names or values that came with the data, to stand in an error's message: whoever knows the contract decides
    what of them is shown."""
    return f"{_OPENS}{_BETWEEN.join(_MARKS.sub('', name) for name in names)}{_CLOSES}"


def foreign(error: object) -> str:
    """What another program says of the data, likewise."""
    return f"{_OPENS}{_FOREIGN}{_MARKS.sub('', str(error))}{_CLOSES}"


def told(message: str, shown: Callable[[Iterable[str]], Sequence[str]] | None = None) -> str:
    """The message as people read it. shown: of names that are quoted, those that may be shown, others HIDDEN; where
    everything may be shown, None."""

    def tell(found: re.Match[str]) -> str:
        if found[1].startswith(_FOREIGN):
            text = found[1].removeprefix(_FOREIGN)
            return printable(text) if shown is None else redacted(text)
        names = found[1].split(_BETWEEN)
        return listed(names if shown is None else shown(names))

    return _QUOTED.sub(tell, message)


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The words that occur in texts, without case."""
    return frozenset(part.casefold() for each in texts for part in _PART.findall(each))


@functools.cache
def _usual() -> frozenset[str]:
    return words_of([_USUAL])


def redacted(text: str, known: Iterable[str] = ()) -> str:
    """Text of another program without whatever may be personal data in it: of its words, those that are usual in
    errors or occur in `known` (code, declared names), and numbers of lines; `…` stands for the others."""
    words = _usual() | words_of(known)

    def shown(found: re.Match[str]) -> str:
        parts = _PART.findall(found[0])
        return found[0] if found["place"] or (parts and all(part.casefold() in words for part in parts)) else "…"

    return _HIDDEN_RUN.sub("…", lines(_TOKEN.sub(shown, text)))


class PlatformError(Exception):
    """Base of all errors a user meets; `str()` gives the three sentences on three lines.

    may_pass: whether the same may succeed a while later, with nothing changed by a person. said: what happened and what
    to do, in which what came with the data is `quoted`.
    """

    may_pass: ClassVar[bool] = False

    def __init__(self, what: str, *, state: str, remedy: str) -> None:
        self.said = what, remedy
        self.state = state
        self.tell()

    def tell(self, shown: Callable[[Iterable[str]], Sequence[str]] | None = None) -> None:
        """Say no more of what is quoted than may be shown; see `told`."""
        self.what, self.remedy = (told(each, shown) for each in self.said)
        self.args = (self.what,)

    def __str__(self) -> str:
        return f"{self.what}\n  state:  {self.state}\n  remedy: {self.remedy}"


class ConfigurationError(PlatformError):
    """A declaration or a setting is wrong; nothing has been run."""

    def __init__(self, key: str, problem: str, remedy: str) -> None:
        super().__init__(f"{key}: {problem}", state="Nothing was run or changed.", remedy=remedy)
        self.key = key

    def at(self, place: str) -> Self:
        """The same, told with the place (a file and its line) of what is wrong."""
        self.said = f"{place}: {self.said[0]}", self.said[1]
        self.tell()
        return self


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


class DecisionRefused(PlatformError):
    """What a person decided of a delivery cannot be done; everything is as it was."""

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


class ForeignError(PlatformError):
    """Another program or library failed on personal data; its own text is told without it."""

    def __init__(self, error: BaseException, known: Iterable[str] = ()) -> None:
        super().__init__(
            redacted(f"{type(error).__name__}: {error}", known),
            state="Everything is as the last commit left it.",
            remedy="… stands for what may be personal data. On made-up data, in a home of its own, all is told.",
        )
