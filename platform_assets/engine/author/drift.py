"""Drift: the contract compared with what deliveries really held.

Belongs here: what ledger, raw, quarantine and the archive show of a contract. Elsewhere: what happens to a delivery
because of it (load/delivery.py), how it is shown (cli). Values are looked at in a sample of bounded size.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.author.candidates import as_declared
from platform_assets.engine.author.headers import HeaderSeen, SeenIn, headers, matched, opened, waiting
from platform_assets.engine.author.infer import infer_column
from platform_assets.engine.author.mending import Proposed, proposed
from platform_assets.engine.contract.model import Column
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.contract.timestamps import days, instants
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.tables import FeedTables
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import HIDDEN, listed

SAMPLE: Final = 100_000  # rows of raw whose values are looked at
_OPENED: Final = 3  # copies of deliveries in force that are opened, the newest
_SAMPLES: Final = 3
_WORDS: Final = 1_000
_OF_A_DELIVERY: Final = 5_000  # rows of a delivery that waits


@dataclass(frozen=True)
class Broken:
    """A rule that rows broke: how many, their share of all that were read, some values (masked where PII)."""

    rule: str
    rows: int
    share: float
    values: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """Something about a contract that deliveries show. drift: they contradict it; else it is only a hint."""

    column: str | None
    finding: str
    drift: bool = False


@dataclass(frozen=True)
class FirstSeen:
    """The first delivery that had something: its file (`since`) and id."""

    since: str
    delivery: int


@dataclass
class ColumnSeen:
    """A column of the contract, as `declared`, and what came for it. headers: those it came under, since when."""

    declared: Column = field(repr=False)
    column: str
    kind: str
    nullable: bool
    rules: tuple[str, ...]
    headers: dict[str, FirstSeen] = field(default_factory=dict)
    rows: int = 0
    nulls: int = 0
    lowest: str | None = None
    highest: str | None = None
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True)
class Unknown:
    """A column that the contract does not know. since, delivery: the first that had it. policy: the feed's, and where
    its values `went` by it. kind: what they look like. declaration: how to declare it."""

    header: str
    since: str
    delivery: int
    deliveries: int
    policy: str
    went: str
    kind: str
    declaration: str


@dataclass(frozen=True)
class Drift:
    """A feed's contract against what came. drifted: deliveries contradict it. proposed: what to write in it."""

    feed: str
    contract: str
    drifted: bool
    columns: tuple[ColumnSeen, ...]
    unknown: tuple[Unknown, ...]
    broken: tuple[Broken, ...]
    findings: tuple[Finding, ...]
    read: int
    proposed: tuple[Proposed, ...] = ()


def compare(unit: Unit, feed: Feed, archive: Path) -> Drift:
    """The feed's contract against all its deliveries that are in force or wait in quarantine."""
    tables = unit.tables(feed)
    seen_headers = headers(unit, feed, archive)
    # Columns that arrived undeclared are spelled as delivered; to SQL case makes no difference.
    there = {name.lower(): sql_type for name, sql_type in tables.types().items()}
    totals = unit.ledger.totals(feed.name)
    deliveries, read = totals.in_force, totals.read_in_force
    broken = _broken(unit, feed, read) if there else {}
    columns = {
        each.name: ColumnSeen(
            each, each.name, each.kind, each.nullable, each.rules, broken=tuple(broken.get(each.name, ()))
        )
        for each in feed.columns
    }
    for seen in seen_headers:
        for name, header in matched(feed, seen.header).items():
            columns[name].headers.setdefault(header, FirstSeen(seen.first.file, seen.first.delivery))
    findings: list[Finding] = []
    if there:
        _measure(tables, [column for name, column in columns.items() if name in there])
        sample = tables.sample([name for name in columns if name in there], SAMPLE)
        for column in columns.values():
            findings += _of_column(feed, tables, column, sample, deliveries)
        findings += [
            Finding(
                name, f"is {now} by the contract, but raw holds {there[name]}: platform replay {feed.name}", drift=True
            )
            for name, now in ((each.name, each.sql_type) for each in feed.columns)
            if there.get(name, now) != now
        ]
    findings += _unused_formats(unit, feed, archive)
    values = _Values(unit, feed, archive, there)
    personal = bool(shown_of(feed.contract).personal)
    changed = proposed(feed, seen_headers, values.of, personal=personal)
    unknown = tuple(_unknown(unit, feed, there, seen_headers, values, changed))
    findings += [
        Finding(listed([each.header]), f"unknown column since {each.since}: {each.went}", True) for each in unknown
    ]
    findings += _of_waiting(feed, seen_headers, changed)
    findings += _beyond_tolerance(unit, feed)
    return Drift(
        feed=feed.name,
        contract=feed.contract.__name__,
        drifted=any(finding.drift for finding in findings),
        columns=tuple(columns.values()),
        unknown=unknown,
        broken=tuple(broken.get(None, ())),
        findings=tuple(findings),
        read=read,
        proposed=tuple(changed),
    )


def _of_waiting(feed: Feed, seen: Sequence[HeaderSeen], changed: Sequence[Proposed]) -> Iterator[Finding]:
    """Each column that deliveries lack which wait in quarantine, with its likely partner."""
    partners = {each.column: each.headers for each in changed if each.replaces}
    for column in feed.columns:
        lacking = [each for each in seen if each.waiting and column.headers[0] in each.missing]
        if not lacking:
            continue
        others = sum(each.deliveries for each in lacking) - 1
        many = f" and {others} other deliveries, which wait" if others else ", which waits"
        perhaps = listed(partners.get(column.name, ()))
        said = f"perhaps {perhaps} is {column.headers[0]} renamed" if perhaps else "declare it optional if that may be"
        yield Finding(column.headers[0], f"missing in {lacking[-1].last.file}{many} in quarantine: {said}", True)


# ---- values


def _broken(unit: Unit, feed: Feed, read: int) -> dict[str | None, list[Broken]]:
    """Rules that rows in quarantine broke, by column."""
    found: dict[str | None, list[Broken]] = {}
    for column, rule, rows, values in unit.quarantine(feed).values(_SAMPLES):
        found.setdefault(column, []).append(Broken(rule, rows, rows / read if read else 1.0, tuple(values)))
    return found


def _measure(tables: FeedTables, columns: Sequence[ColumnSeen]) -> None:
    """Rows, NULLs and bounds of columns that raw has."""
    figures = tables.figures({each.column: not each.declared.pii for each in columns})
    for each in columns:
        of = figures[each.column]
        each.rows, each.nulls, each.lowest, each.highest = of.rows, of.nulls, of.lowest, of.highest


def _of_column(
    feed: Feed,
    tables: FeedTables,
    seen: ColumnSeen,
    sample: pl.DataFrame,
    deliveries: int,
) -> Iterator[Finding]:
    """What the values of a column say of its declaration."""
    column = seen.declared
    if deliveries:
        never = [header for header in column.headers if header not in seen.headers]
        if never and seen.headers:
            yield Finding(column.name, f"never came under {listed(never)}, which is declared")
    if seen.rows and column.nullable and not seen.nulls and not column.strip and not column.optional:
        yield Finding(column.name, f"nullable by the contract, but none of {seen.rows} rows is NULL")
    for broken in seen.broken:
        yield Finding(column.name, f"{broken.rows} rows ({broken.share:.2%} of those read) break {broken.rule}")
    if column.kind == "text" and not column.pii and column.name in sample.columns:
        inferred = infer_column(column.headers[0], sample[column.name].drop_nulls())
        if inferred.rows > 1 and inferred.type.kind != "text":
            yield Finding(
                column.name,
                f"text by the contract, but all of {inferred.rows} looked at are {as_declared(inferred.type)}",
            )
    if column.kind == "decimal" and column.name in sample.columns:
        digits = (
            sample[column.name].drop_nulls().cast(pl.String).str.strip_chars_end("0").str.split_exact(".", 1).struct
        )
        scale = digits.field("field_1").str.len_chars().max()
        if isinstance(scale, int) and scale < column.digits[1] and scale and column.digits != (18, 4):
            yield Finding(column.name, f"{column.digits[1]} decimals by the contract, at most {scale} came")
    for allowed in _allowed(feed, column):
        words = tables.words(column.name, _WORDS)
        if unseen := [word for word in allowed if word not in words]:
            yield Finding(column.name, f"never held {listed(unseen)}, which isin allows")
        for value in () if column.pii else [v for broken in seen.broken for v in broken.values if v not in allowed]:
            if near := difflib.get_close_matches(value.strip().casefold(), [a.casefold() for a in allowed], 1, 0.8):
                meant = next(a for a in allowed if a.casefold() == near[0])
                yield Finding(column.name, f"{value!r} is rejected, and nearly {meant!r}, which isin allows")


def _allowed(feed: Feed, column: Column) -> Iterator[list[str]]:
    checks = feed.contract.to_schema().columns[column.name].checks
    for check in checks:
        values = (check.statistics or {}).get("allowed_values")
        if values is not None:
            yield [str(value) for value in values]


def _unused_formats(unit: Unit, feed: Feed, archive: Path) -> Iterator[Finding]:
    """Formats that no value of the newest deliveries has, of columns that declare several."""
    several = [column for column in feed.columns if len(column.formats) > 1]
    if not several:
        return
    newest = [r for r in unit.ledger.receipts(feed.name) if r.status == "accepted"][:_OPENED]
    unused = {column.name: [form for form, _ in column.formats] for column in several}
    files = 0
    for _, reader in opened(newest, feed, archive):
        files += 1
        known = matched(feed, reader.header)
        asked = {column.name: known[column.name] for column in several if column.name in known}
        batch = next(iter(reader.batches(asked)), None)
        if batch is None:
            continue
        for column in several:
            if column.name in asked and batch.frame.schema[column.name] == pl.String:
                values = batch.frame[column.name].drop_nulls().unique()
                unused[column.name] = [form for form in unused[column.name] if not _used(values, column, form)]
    for name, forms in unused.items() if files else ():
        if forms:
            yield Finding(name, f"no value of the newest {files} deliveries has the format {listed(forms)}")


def _used(values: pl.Series, column: Column, form: str) -> bool:
    found = days(values, form) if column.kind == "date" else instants(values, form, column.timezone)
    return bool(found.is_not_null().any())


# ---- unknown columns


def _unknown(
    unit: Unit,
    feed: Feed,
    there: Mapping[str, str],
    seen: Sequence[HeaderSeen],
    held: "_Values",
    changed: Sequence[Proposed],
) -> Iterator[Unknown]:
    """Columns that came and are not declared, with what their values look like."""
    tables, personal = unit.tables(feed), shown_of(feed.contract).personal
    declared = {name: each for each in changed for name in each.headers}
    found: dict[str, tuple[SeenIn, int, int]] = {}
    for each in seen:
        for name in each.unknown:
            first, loaded, waits = found.get(name, (each.first, 0, 0))
            count = each.deliveries
            found[name] = (first, loaded + count * (not each.waiting), waits + count * each.waiting)
    for header, (first, loaded, waits) in found.items():
        if header == HIDDEN:
            if not waits and all(shown_of(feed.contract).may_name(name) for name in tables.undeclared()):
                continue  # declared since: its delivery was noted without its name
            went = "raw or the archive"
        elif header.lower() in there:
            went = f"column {header} of raw, as text"
        elif "_extra" in there and loaded:
            went = "_extra of raw, as JSON"
        else:
            went = "the archive only"
        if waits:
            went += f"; {waits} deliveries wait in quarantine"
        # Beside personal data nobody knows what an undeclared column holds: its values are not looked at.
        values = held.of(header) if header != HIDDEN else pl.Series([], dtype=pl.String)
        inferred = infer_column(header, values.clear() if personal else values)
        yield Unknown(
            header=header,
            since=first.file,
            delivery=first.delivery,
            deliveries=loaded + waits,
            policy=feed.on_drift,
            went=went,
            kind=inferred.type.kind,
            declaration=declared[header].declaration if header in declared else "",
        )


class _Values:
    """Some values that came under a header that is not declared: of raw, and of deliveries that wait."""

    def __init__(self, unit: Unit, feed: Feed, archive: Path, there: Mapping[str, str]) -> None:
        self._unit, self._feed, self._archive, self._there = unit, feed, archive, there
        self._tables = unit.tables(feed)

    def of(self, header: str) -> pl.Series:
        """At most so many, as text; those of the newest deliveries."""
        found = list(self._waited.get(header, ()))
        if header.lower() in self._there:
            found.append(self._tables.sample([header], SAMPLE).to_series())
        elif "_extra" in self._there:
            found.append(self._tables.rescued(header, SAMPLE))
        if len({each.dtype for each in found}) > 1:
            found = [each.cast(pl.String) for each in found]
        return pl.concat([each.alias("v") for each in found]) if found else pl.Series("v", [], dtype=pl.String)

    @cached_property
    def _waited(self) -> Mapping[str, list[pl.Series]]:
        found: dict[str, list[pl.Series]] = {}
        for _, reader in waiting(self._unit, self._feed, self._archive):
            columns = {f"c{at}": name for at, name in enumerate(reader.header)}
            if (batch := next(iter(reader.batches(columns)), None)) is not None:
                for column, name in columns.items():
                    found.setdefault(name, []).append(batch.frame[column].head(_OF_A_DELIVERY))
        return found


def _beyond_tolerance(unit: Unit, feed: Feed) -> Iterator[Finding]:
    _, intolerable = unit.ledger.unsound(feed.name, feed.tolerate.rate, feed.tolerate.rows)
    if intolerable:
        newest = intolerable[0].slot
        yield Finding(
            None, f"{len(intolerable)} deliveries had more rows rejected than tolerated, the newest {newest}", True
        )
