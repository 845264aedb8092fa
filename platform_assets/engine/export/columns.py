"""Columns on their way into another database: the type there, how a value is sent and read back, what does not fit.

Belongs here: what PostgreSQL and SQLite can hold exactly of DuckDB's types. Elsewhere: writing it (postgres.py,
sqlite.py). A type or a value that a database cannot hold exactly is refused by name, never rounded or cut.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from platform_assets.engine.store.sql import quote

_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_NESTED: Final = re.compile(r"(STRUCT|MAP)\(.*\)|.*\[\d*\]", re.DOTALL)
_NO_JSON: Final = re.compile(
    r"UNION\(|INTERVAL|BLOB|BIT|TIME WITH|TIMESTAMP_NS|TIME_NS|ENUM\(|GEOMETRY|VARIANT|\bJSON\b"
)
_FIRST_DAY: Final = "DATE '0001-01-01'"
_LONGEST: Final = 8_000_000  # bytes of a cell; rows are read back in blocks of twice that
_DIGITS: Final = 15  # that a double holds of any decimal number
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True)
class Column:
    """A column as the other database has it.

    there: its type there. In DuckDB's SQL: sent: what is sent of the mart's value; own: that value as it is compared;
    back: what came back, as it is compared with that; unfit: conditions that no value may meet, and what they mean.
    """

    name: str
    there: str
    sent: str
    own: str
    back: str
    unfit: Mapping[str, str]


@dataclass(frozen=True)
class _Kind:
    there: str
    sent: str = "{0}"
    unfit: Mapping[str, str] | None = None
    back: str = "CAST({0} AS {1})"
    compared: str = "{0}"


def _text(value: str) -> str:
    return f"CAST({value} AS VARCHAR)"


_NUL: Final = "contains({0}, chr(0))"
_NUL_MEANS: Final = "has the character NUL, which no text there can have"
_UNFIT_TEXT: Final = {_NUL: _NUL_MEANS, f"strlen({{0}}) > {_LONGEST}": f"is longer than {_LONGEST:,} bytes"}
_JSON_TEXT: Final = _text("to_json({0})")
_UNFIT_JSON: Final = {
    rf"regexp_matches({_JSON_TEXT}, '(^|[^\\])(\\\\)*\\u0000')": _NUL_MEANS,
    f"strlen({_JSON_TEXT}) > {_LONGEST}": f"is longer than {_LONGEST:,} bytes",
}
_UNFIT_BLOB: Final = {f"octet_length({{0}}) > {_LONGEST // 2}": f"is longer than {_LONGEST // 2:,} bytes"}
_EARLY: Final = "is before the year 1"
_UNFIT_DATE: Final = {f"isfinite({{0}}) AND CAST({{0}} AS DATE) < {_FIRST_DAY}": _EARLY}
_UNFIT_NS: Final = {"epoch_ns({0}) % 1000 <> 0": "is finer than a microsecond"} | _UNFIT_DATE
_ZERO: Final = "CASE WHEN {0} = 0 THEN 0 ELSE {0} END"  # 0 and -0 are the same number
_THERE: Final = "{0} IS NULL"  # what JSON says, not how: its databases write it anew


def _ints(**there: str) -> dict[str, _Kind]:
    return {duckdb: _Kind(postgres, _text("{0}")) for duckdb, postgres in there.items()}


_POSTGRES: Final[dict[str, _Kind]] = {
    "BOOLEAN": _Kind("boolean", _text("{0}")),
    **_ints(TINYINT="smallint", SMALLINT="smallint", UTINYINT="smallint", INTEGER="integer", USMALLINT="integer"),
    **_ints(BIGINT="bigint", UINTEGER="bigint", UBIGINT="numeric(20,0)"),
    **_ints(HUGEINT="numeric(39,0)", UHUGEINT="numeric(39,0)"),
    "FLOAT": _Kind("real", _text("{0}"), compared=_ZERO),
    "DOUBLE": _Kind("double precision", _text("{0}"), compared=_ZERO),
    "VARCHAR": _Kind("text", "{0}", _UNFIT_TEXT),
    "DATE": _Kind("date", _text("{0}"), _UNFIT_DATE),
    "TIME": _Kind("time", _text("{0}")),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"), _Kind("timestamp", _text("{0}"), _UNFIT_DATE)),
    "TIMESTAMP_NS": _Kind("timestamp", _text("CAST({0} AS TIMESTAMP)"), _UNFIT_NS),
    "TIMESTAMP WITH TIME ZONE": _Kind("timestamptz", _text("{0}"), _UNFIT_DATE),
    "UUID": _Kind("uuid", _text("{0}")),
    "BLOB": _Kind("bytea", r"'\x' || hex({0})", _UNFIT_BLOB, back="unhex(substr({0}, 3))"),
    "JSON": _Kind("jsonb", _text("{0}"), _UNFIT_JSON, compared=_THERE),
}
_WHOLE: Final = _Kind("BIGINT", "CAST({0} AS BIGINT)")
_LARGE: Final = _Kind(
    "BIGINT",
    "CAST({0} AS BIGINT)",
    {f"{{0}} > {_LARGEST} OR {{0}} < -{_LARGEST}": "is larger than SQLite's whole numbers"},
)
_NAN: Final = {"isnan({0})": "is NaN, which SQLite would take for NULL"}
_SQLITE: Final[dict[str, _Kind]] = {
    "BOOLEAN": _Kind("BOOLEAN", "CAST({0} AS TINYINT)"),
    **dict.fromkeys(("TINYINT", "SMALLINT", "UTINYINT", "INTEGER", "USMALLINT", "BIGINT", "UINTEGER"), _WHOLE),
    **dict.fromkeys(("UBIGINT", "HUGEINT", "UHUGEINT"), _LARGE),
    "FLOAT": _Kind("REAL", "CAST({0} AS DOUBLE)", _NAN, compared=_ZERO),
    "DOUBLE": _Kind("REAL", "{0}", _NAN, compared=_ZERO),
    "VARCHAR": _Kind("TEXT", "{0}", _UNFIT_TEXT),
    "DATE": _Kind("DATE", _text("{0}"), _UNFIT_DATE),
    "TIME": _Kind("TIME", _text("{0}")),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"), _Kind("TIMESTAMP", _text("{0}"), _UNFIT_DATE)),
    "TIMESTAMP_NS": _Kind("TIMESTAMP", _text("CAST({0} AS TIMESTAMP)"), _UNFIT_NS),
    "TIMESTAMP WITH TIME ZONE": _Kind(
        "TIMESTAMP", f"CASE WHEN isfinite({{0}}) THEN {_text('{0}')} || ':00' ELSE {_text('{0}')} END", _UNFIT_DATE
    ),
    "UUID": _Kind("TEXT", _text("{0}")),
    "BLOB": _Kind("BLOB", "{0}", _UNFIT_BLOB),
    "JSON": _Kind("TEXT", _text("{0}"), _UNFIT_JSON),
}


def postgres_column(name: str, kind: str) -> Column | None:
    """The column in PostgreSQL; None where it has no type for it."""
    if found := _DECIMAL.fullmatch(kind):
        return _column(name, kind, _Kind(f"numeric({found[1]},{found[2]})", _text("{0}")))
    return _any_column(name, kind, _POSTGRES, "jsonb")


def sqlite_column(name: str, kind: str) -> Column | None:
    """The column in SQLite; None where it has no type for it. A decimal is a number there, which has 15 digits."""
    if found := _DECIMAL.fullmatch(kind):
        most = 10**_DIGITS / 10 ** int(found[2])
        unfit = {f"abs({{0}}) >= {most!r}": f"has more than the {_DIGITS} digits that SQLite's numbers keep"}
        enough = int(found[1]) <= _DIGITS
        return _column(
            name, kind, _Kind(f"DECIMAL({found[1]},{found[2]})", "CAST({0} AS DOUBLE)", {} if enough else unfit)
        )
    return _any_column(name, kind, _SQLITE, "TEXT")


def _any_column(name: str, kind: str, known: Mapping[str, _Kind], json: str) -> Column | None:
    if kind in known:
        return _column(name, kind, known[kind])
    if kind.startswith("ENUM("):
        return _column(name, "VARCHAR", known["VARCHAR"], _text(quote(name)))
    if _NESTED.fullmatch(kind) and not _NO_JSON.search(kind):
        # A map's keys have no order there.
        compared = _THERE if "MAP(" in kind else "{0}"
        return _column(name, kind, _Kind(json, _JSON_TEXT, _UNFIT_JSON, "CAST(CAST({0} AS JSON) AS {1})", compared))
    return None


def _column(name: str, kind: str, how: _Kind, value: str = "") -> Column:
    value = value or quote(name)
    back = how.back.replace("{1}", kind).replace("{0}", quote(name))
    return Column(
        name,
        how.there,
        how.sent.replace("{0}", value),
        how.compared.replace("{0}", value),
        how.compared.replace("{0}", back),
        {condition.replace("{0}", value): what for condition, what in (how.unfit or {}).items()},
    )
