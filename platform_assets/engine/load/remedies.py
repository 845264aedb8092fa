"""Remedies for deliveries that cannot be read as their feed declares them: tried on the delivery before they are given.

Belongs here: what could be declared or delivered instead, tried on a copy of the beginning, by the contract. Elsewhere:
what is wrong (readers/, model.py). What does not help is left out; what helps equally is given beside it.
"""

import codecs
import csv
import difflib
import functools
import io
import itertools
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Final

import polars as pl

from platform_assets.engine.contract.model import columns_of, headers_of, letters, match_header
from platform_assets.engine.contract.validate import validate
from platform_assets.engine.feed.feed import Feed, Files
from platform_assets.engine.feed.formats import Csv, Format, Json, Xml
from platform_assets.engine.readers import open_reader
from platform_assets.engine.readers.encodings import FAR, likely_encodings
from platform_assets.engine.readers.limits import LIMITS
from platform_assets.engine.readers.magic import kind_of
from platform_assets.engine.readers.packing.unpack import blocks_of, packing
from platform_assets.engine.readers.xml.stream import repeated
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, quoted

_HEAD: Final = 1 << 18  # bytes of lines that are looked at
_WHOLE: Final = 8 << 20  # bytes of a document, which is of no use in part
_PREAMBLE: Final = 30  # lines
_DELIMITERS: Final = (",", ";", "\t", "|", "^", ":", " ", "\x01", "\x1f")
_FEW_BAD: Final = 0.05
_MOST_TRIED: Final = 24
_LONGEST_S: Final = 60  # for all that is tried
_LONGEST_TRY: Final = timedelta(seconds=30)
_ONE_BYTE: Final = " Look at its accented letters: other encodings of one byte a character would read it, too."

_DELIMITED: Final = (".csv", ".tsv", ".txt")
_JSON: Final = (".json", ".ndjson", ".jsonl")


@dataclass(frozen=True)
class _Way:
    """A way to read a delivery: its name, how it is declared, and the remedy. The fewer `changes`, the better."""

    name: str
    form: Format | None
    remedy: str
    changes: int = 1
    sample: Path | None = None
    spelled: tuple[tuple[str, str], ...] = ()  # a delivered header, and that of the contract it may stand for


def advised(problem: DeliveryRefused, copy: Path, slot: str, feed: Feed) -> DeliveryRefused:
    """`problem`, by which a delivery called `slot` is refused that lies at `copy`, with a remedy that was tried on it.

    Where none helps, a remedy that was only a guess gives way to asking the producer.
    """
    with tempfile.TemporaryDirectory(prefix="remedy-") as folder:
        try:
            return _Advice(problem, copy, slot, feed, Path(folder)).given()
        except (DeliveryRefused, DeliveryUnfinished):  # of a packed file that is damaged
            return problem


class _Advice:
    def __init__(self, problem: DeliveryRefused, copy: Path, slot: str, feed: Feed, folder: Path) -> None:
        self._problem = problem
        self._copy = copy
        self._feed = feed
        self._folder = folder
        self._packing = packing(slot)
        self._name = PurePosixPath(slot[: len(slot) - len(self._packing)])
        self._kind = self._name.suffix.lower()
        self._numbers = itertools.count()
        self._head, self._is_all = self._beginning(_WHOLE)

    def given(self) -> DeliveryRefused:
        """The problem with what helps."""
        if not self._head.removeprefix(codecs.BOM_UTF8).strip():
            return self._problem
        ways_of = {**dict.fromkeys(_DELIMITED, self._delimited), **dict.fromkeys(_JSON, self._json), ".xml": self._xml}
        if self._kind not in ways_of:
            return self._problem
        if (other := self._of_another_kind()) is not None:
            return other
        ways = ways_of[self._kind]()
        as_declared = self._tried(_Way(self._name.name, self._feed.source.format, "", 0, self._sample(self._head)))
        if as_declared is not None and self._kind in _DELIMITED and self._encoded_as_declared():
            return self._problem  # what is wrong is not how it is written
        best = self._best([*self._spelled(), *ways, *self._renamed()])
        if best:
            several = "" if len(best) == 1 else " Each reads its beginning as well as the other: look which is meant."
            return self._with(remedy=" Or: ".join(way.remedy for way in best) + several)
        if not self._problem.guess:
            return self._problem
        tried = "delimiter, quote, encoding or header" if self._kind in _DELIMITED else "encoding or path of records"
        return self._with(
            remedy=f"Ask the producer what changed: no {tried} that was tried reads the file by its contract."
        )

    def _with(self, *, remedy: str, what: str | None = None) -> DeliveryRefused:
        problem = self._problem
        return DeliveryRefused(what or problem.said[0], remedy=remedy, line=problem.line, column=problem.column)

    def _best(self, ways: Sequence[_Way]) -> list[_Way]:
        until = time.monotonic() + _LONGEST_S
        timely = itertools.takewhile(lambda _: time.monotonic() < until, ways[:_MOST_TRIED])
        scored = [(score, way) for way in timely if (score := self._tried(way)) is not None]
        if not scored:
            return []
        best = min((*score, way.changes) for score, way in scored)
        return [way for score, way in scored if (*score, way.changes) == best][:3]

    def _tried(self, way: _Way) -> tuple[int, int] | None:
        """How many records are bad and how many fields still in quotes, read so; None where it does not help."""
        contract, read, bad, quoted = self._feed.contract, 0, 0, 0
        copy = way.sample or self._copy
        try:
            files = Files("*", format=way.form, longest=_LONGEST_TRY)
            reader = open_reader(copy, way.name, files, headers_of(contract), scratch=self._folder)
            stands_for = dict(way.spelled)
            header = match_header(contract, [stands_for.get(name, name) for name in reader.header])
            delivered = {declared: name for name, declared in way.spelled}
            columns = {name: delivered.get(source, source) for name, source in header.columns.items()}
            if header.unknown and self._feed.on_drift == "fail":
                return None
            for batch in reader.batches(columns):
                read += batch.frame.height + batch.malformed.height
                bad += batch.malformed.height + validate(batch.frame, contract).rejected.height
                texts = batch.frame.select(pl.col(pl.String))
                quoted += sum(int(each.str.contains("^(?:'.*'|\".*\")$").sum()) for each in texts)
        except (DeliveryRefused, DeliveryUnfinished):
            return None
        return (bad, quoted) if read and bad <= max(1, _FEW_BAD * read) and bad < read else None

    # What it is

    def _of_another_kind(self) -> DeliveryRefused | None:
        """The problem of a file that is not what its name says, if that can be seen at once."""
        kind = kind_of(self._head)
        if kind is None:
            return None
        what, suffix = kind
        remedy = "Ask the producer for the data in the format that the name says."
        way = None
        if suffix in (".gz", ".zst"):
            packed, _ = self._beginning(_HEAD, suffix)
            lines = self._sample(packed[: packed.rfind(b"\n") + 1])
            way = _Way(self._name.name, self._feed.source.format, "", sample=lines)
        elif suffix is not None and self._copy.stat().st_size <= _WHOLE:
            way = _Way(self._name.stem + suffix, None, "")
        if way is not None and not self._packing and self._tried(way) is not None:
            remedy = f"Have it delivered under a name that ends in {suffix}, and let Files(…) ask for such names."
        return self._with(what=f"by its content the file is {what}", remedy=remedy)

    def _renamed(self) -> Iterator[_Way]:
        """The same text under a name of another format."""
        begin = self._head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        kinds: tuple[str, ...] = _DELIMITED[:1]
        if begin in (b"{", b"["):
            kinds = _JSON[:2]
        elif begin == b"<":
            kinds = (".xml",)
        for kind in kinds:
            if kind != self._kind and (kind in _DELIMITED or self._is_all):
                what = {".csv": "delimited text", ".json": "JSON", ".ndjson": "JSON, an object a line", ".xml": "XML"}[
                    kind
                ]
                remedy = (
                    f"It is {what}: have it delivered under a name that ends in {kind}, and let Files(…) ask for those."
                )
                yield _Way(self._name.stem + kind, None, remedy, 2, self._sample(self._head))

    def _spelled(self) -> Iterator[_Way]:
        """The delivery as it is declared, with headers that nearly are those of the contract taken for them."""
        contract, sample = self._feed.contract, self._sample(self._head)
        try:
            reader = open_reader(
                sample, self._name.name, Files("*", format=self._feed.source.format), headers_of(contract)
            )
        except (DeliveryRefused, DeliveryUnfinished):
            return
        known = {letters(header) for header in headers_of(contract)}
        unknown = {letters(name): name for name in reader.header if name and letters(name) not in known}
        delivered = {name.strip().casefold() for name in reader.header}
        missing = [
            column
            for column in columns_of(contract)
            if not column.optional and not delivered & {header.strip().casefold() for header in column.headers}
        ]
        spelled = []
        for column in missing:
            alike = [each for one in column.headers for each in difflib.get_close_matches(letters(one), unknown, n=1)]
            if not alike and (len(missing) > 1 or len(unknown) != 1):
                return
            spelled.append((unknown[(alike or [*unknown])[0]], column))
        if spelled and len({name for name, _ in spelled}) == len(spelled):
            sources = ", ".join(
                f"{column.name}: source=({column.headers[0]!r}, {quoted(repr(name))})" for name, column in spelled
            )
            remedy = f"If the producer renamed it, add the new name in {contract.__name__}, {sources}: its values fit."
            pairs = tuple((name, column.headers[0]) for name, column in spelled)
            yield _Way(self._name.name, self._feed.source.format, remedy, 0, sample, pairs)

    # Delimited text

    def _delimited(self) -> list[_Way]:
        declared = self._feed.source.format
        form = declared if isinstance(declared, Csv) else Csv()
        ways = []
        for encoding in self._encodings:
            text = self._text(encoding)
            if text is None:
                continue
            sample = self._sample(text.encode(encoding))
            given: dict[str, Any] = {} if encoding == (form.encoding or "utf-8") else {"encoding": encoding}
            changes = [*self._by_names(text, form)] or [*self._without_header(text, form)]
            ways += [self._declared(form, {**given, **change}, sample) for change in changes]
        return sorted((way for way in ways if way.changes), key=lambda way: way.changes)

    def _declared(self, form: Csv, changes: dict[str, Any], sample: Path) -> _Way:
        named = {**{each.name: getattr(form, each.name) for each in fields(form)}, **changes}
        changed = [each.name for each in fields(form) if named[each.name] != getattr(form, each.name)]
        declared_options = [each.name for each in fields(form) if named[each.name] != each.default]
        written = f"format=Csv({', '.join(f'{name}={named[name]!r}' for name in declared_options)})"
        remedy = f"Declare {written}: that was tried on the beginning of the file."
        if "header" in changed and self._is_of_any_order():
            remedy = f"Ask the producer for a header; or, where files always come so, in this order, declare {written}."
        if "encoding" in changed and not named["encoding"].startswith("utf"):
            remedy += _ONE_BYTE
        return _Way(self._name.name, Csv(**named), remedy, len(changed), sample)

    def _by_names(self, text: str, form: Csv) -> Iterator[dict[str, Any]]:
        """What to declare for a line to bring out the names of the contract."""
        lines = list(itertools.islice(io.StringIO(text, newline=""), _PREAMBLE))
        for quote in dict.fromkeys((form.quote, '"', "'", None)):
            others = {'"', "\\"} - {quote, form.escape} if quote and form.escape is None else set()
            escapes = [form.escape, *(each for each in sorted(others) if each in text)]
            for at in range(len(lines)):
                heads = {each: next(_records(lines[at:], each, quote), []) for each in self._delimiters(form, quote)}
                by = [each for each, names in heads.items() if names and self._matches(names)]
                for delimiter, escape in itertools.product(dict.fromkeys([form.delimiter, *by]) if by else [], escapes):
                    yield {"skip": at, "quote": quote, "escape": escape, "header": None, "delimiter": delimiter}
                if by:
                    break

    def _matches(self, names: Sequence[str]) -> bool:
        try:
            match_header(self._feed.contract, names)
        except DeliveryRefused:
            return False
        return True

    def _without_header(self, text: str, form: Csv) -> Iterator[dict[str, Any]]:
        """What to declare where no line names the columns and records have as many fields as the contract columns."""
        names = tuple(column.headers[0] for column in columns_of(self._feed.contract))
        known = {header.strip().casefold() for header in headers_of(self._feed.contract)}
        lines = text.splitlines(keepends=True)
        for quote, delimiter in itertools.product(dict.fromkeys((form.quote, "'", None)), self._delimiters(form, None)):
            if delimiter == quote:
                continue
            widths = [len(record) for record in itertools.islice(_records(lines, delimiter, quote), 300)]
            if widths.count(len(names)) < (1 - _FEW_BAD) * len(widths) - 2:
                continue
            skip = next(at for at, width in enumerate(widths) if width == len(names)) if len(names) in widths else 0
            first, *others = [*itertools.islice(_records(lines[skip:], delimiter, quote), 100)] or [[]]
            digits = any(map(_has_digit, itertools.chain(*others)))
            if not others or known & {name.strip().casefold() for name in first}:
                continue
            # By its values a contract tells a line of names from a record; where any would do, digits have to.
            skips = (skip + (not any(map(_has_digit, first))),) if digits else ()
            for lines_before in skips if self._is_of_any_order() else (skip, skip + 1):
                yield {"skip": lines_before, "quote": quote, "header": names, "delimiter": delimiter}

    def _is_of_any_order(self) -> bool:
        """Whether nothing but the order of the columns tells them apart."""
        return all(column.kind == "text" and not column.rules for column in columns_of(self._feed.contract))

    def _delimiters(self, form: Csv, quote: str | None) -> list[str]:
        usual = [form.delimiter, *_DELIMITERS] if form.delimiter else _DELIMITERS
        return [each for each in dict.fromkeys(usual) if each != quote]

    def _text(self, encoding: str) -> str | None:
        """The beginning as text, without a line that is cut."""
        with suppress(UnicodeDecodeError):
            text = self._head.decode(encoding, "strict" if self._is_all else "ignore").removeprefix("\ufeff")
            if self._is_all and len(text) <= _HEAD:
                return text
            return text[: max(text.rfind("\n", 0, _HEAD), text.rfind("\r", 0, _HEAD)) + 1] or None
        return None

    @functools.cached_property
    def _encodings(self) -> list[str]:
        """Those that the delivery may be in."""
        form = self._feed.source.format
        declared = form.encoding if isinstance(form, Csv | Json) else None
        return likely_encodings(self._beginning(FAR)[0], declared or "utf-8")

    def _encoded_as_declared(self) -> bool:
        form = self._feed.source.format
        declared = form.encoding if isinstance(form, Csv | Json) else None
        return self._encodings in ([declared or "utf-8"], ["utf-16"])

    # Documents

    def _json(self) -> list[_Way]:
        declared = self._feed.source.format
        form = declared if isinstance(declared, Json) else Json()
        ways = []
        for encoding in self._encodings:
            text = self._text(encoding) if not self._is_all else self._head.decode(encoding, "replace")
            if text is None:
                continue
            read = replace(form, encoding=encoding) if encoding not in (form.encoding or "utf-8", "utf-16") else form
            for path in dict.fromkeys(("", form.records, *_lists_in(text))):
                options = ", ".join(
                    f"{name}={quoted(repr(value)) if value == path != form.records else repr(value)}"
                    for name, value in (("records", path), ("unnest", form.unnest), ("encoding", read.encoding))
                    if value
                )
                way = f"Declare format=Json({options}): that was tried on the file."
                if encoding in ("cp1252", "latin-1") and encoding != form.encoding:
                    way += _ONE_BYTE
                if replace(read, records=path) != form:
                    ways.append(_Way(self._name.name, replace(read, records=path), way, 1, self._sample(self._head)))
        return ways if self._is_all else []

    def _xml(self) -> list[_Way]:
        if not self._is_all:
            return []
        sample = self._sample(self._head)
        return [
            _Way(
                self._name.name,
                Xml(records=path),
                f"Declare format=Xml(records={quoted(repr(path))}): that was tried on the file.",
                1,
                sample,
            )
            for path in itertools.islice(repeated(sample, LIMITS), 10)
        ]

    # Bytes

    def _beginning(self, most: int, suffix: str | None = None) -> tuple[bytes, bool]:
        """The first bytes of the delivery, unpacked, and whether these are all."""
        found, size = [], 0
        for block in blocks_of(self._copy, self._packing if suffix is None else suffix):
            found.append(block)
            size += len(block)
            if size > most:
                return b"".join(found)[:most], False
        return b"".join(found), True

    def _sample(self, content: bytes) -> Path:
        path = self._folder / f"sample-{next(self._numbers)}"
        path.write_bytes(content)
        return path


def _records(lines: Sequence[str], delimiter: str, quote: str | None) -> Iterator[list[str]]:
    if quote is None:
        return filter(None, csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE))
    return filter(None, csv.reader(lines, delimiter=delimiter, quotechar=quote))


def _has_digit(text: str) -> bool:
    return any(char.isdigit() for char in text)


def _lists_in(text: str) -> Iterator[str]:
    """The paths of lists of objects in a document."""
    with suppress(ValueError, RecursionError):
        above = [("", json.loads(text))]
        for path, value in above:
            if isinstance(value, dict) and path.count(".") < 4 and len(above) < 1000:
                above += [(f"{path}.{key}".removeprefix("."), inner) for key, inner in value.items()]
            elif isinstance(value, list) and value and isinstance(value[0], dict) and path:
                yield path
