"""Columns inferred from values: type, formats, NULLs, keys, personal data.

Belongs here: conclusions from values. Elsewhere: how a file is written (proposal.py), the same as Python (draft.py).
Every row is looked at, a frame at a time; what is kept of them does not grow with the file but for hashes, to a cap.
"""

import itertools
import keyword
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from platform_assets.engine.author.candidates import TYPES, Candidate, ColumnType, as_declared, likely_types
from platform_assets.engine.contract.column import LINEAGE
from platform_assets.engine.contract.model import Contract

_SAMPLE: Final = 2_000  # distinct values that say which types are worth trying
_NEAR: Final = 0.05  # share of distinct values that may not fit a type that is still worth a remark
_FEW: Final = 12
_HASHES: Final = 4_000_000  # of a column; fewer where there are many

_IDENTIFIERS: Final = frozenset(
    {"id", "ids", "no", "nr", "num", "number", "code", "sku", "ean", "gtin", "isbn", "zip", "postcode", "plz"}
    | {"phone", "telephone", "tel", "mobile", "fax", "key", "ref", "account"}
)
# Names of columns about people; as a name's last word all but the first line says so too.
_PERHAPS_PEOPLE: Final = frozenset({"name", "contact", "person", "address", "street"})
_PEOPLE: Final = _PERHAPS_PEOPLE | {
    *("first_name", "last_name", "full_name", "given_name", "family_name", "firstname", "lastname", "fullname"),
    *("surname", "forename", "contact_name", "customer_name", "employee_name", "username", "user_name"),
    *("dob", "birthday", "birth_date", "date_of_birth", "ssn", "iban", "passport"),
    *("email", "e_mail", "mail", "phone", "telephone", "tel", "mobile", "fax", "phone_number", "email_address"),
}
_EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
_NULL_WORDS: Final = frozenset({"na", "n/a", "null", "none", "nan", "nil", "-", "--", "?", r"\n", "#n/a"})
_DATE_KINDS: Final = {"date", "timestamp"}
_NUMBERS: Final = {"integer", "decimal", "number"}
_MOST_DIGITS: Final = 38
_FLOAT_DIGITS: Final = 17
_PLAIN_WHOLE: Final = 14
_PLAIN_SCALE: Final = 4
# A type that nothing fits: what arrived is nothing that a contract has a kind for.
UNREADABLE: Final = ColumnType("text", {"unreadable": True})


@dataclass(frozen=True)
class InferredColumn:
    """What a column looks like. name: for the contract; header: as delivered.

    type: what fits all its values. near: what fits all but a few, and one of those. distinct: whether no
    value came twice. values: all there are, where they are few. remarks: what its author should know.
    """

    header: str
    name: str
    type: ColumnType
    rows: int
    nulls: int
    distinct: bool = False
    values: tuple[str, ...] = ()
    pii: str | None = None
    near: tuple[ColumnType, str] | None = None
    remarks: tuple[str, ...] = ()

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `Field` that say how the column arrives."""
        return {
            **({"source": self.header} if self.header != self.name else {}),
            **self.type.options,
            **({"nullable": True} if self.nulls else {}),
            **({"pii": self.pii} if self.pii else {}),
        }


class Columns:
    """The columns of a file or table while its rows go by."""

    def __init__(self, headers: Sequence[str]) -> None:
        cap = _HASHES // max(1, len(headers) // 8)
        self._watched = {f"{at}": _ColumnSoFar(header, cap) for at, header in enumerate(headers)}

    @property
    def asked(self) -> dict[str, str]:
        """What a reader is to be asked for: name to give -> header."""
        return {at: watched.header for at, watched in self._watched.items()}

    def add(self, frame: pl.DataFrame) -> None:
        """Look at some more rows; columns are called as in `asked`."""
        for at, watched in self._watched.items():
            watched.add(frame[at])

    def inferred(self) -> tuple[InferredColumn, ...]:
        """What the columns look like, in their order."""
        names = names_for([watched.header for watched in self._watched.values()])
        found = [watched.inferred(name) for watched, name in zip(self._watched.values(), names, strict=True)]
        if any(inferred.type.options.get("decimal") == "," for inferred in found):
            # Where one column has decimal commas, the points of another may stand between thousands.
            return tuple(
                watched.inferred(inferred.name, commas=True)
                for watched, inferred in zip(self._watched.values(), found, strict=True)
            )
        return tuple(found)


def infer_column(header: str, values: pl.Series) -> InferredColumn:
    """What one column looks like."""
    columns = Columns([header])
    columns.add(values.alias("0").to_frame())
    return columns.inferred()[0]


def name_for(text: str) -> str:
    """`text` in snake_case and ASCII, usable as a name; "" where nothing of it is."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", plain)
    name = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    return f"n{name}" if name[:1].isdigit() else name


def names_for(headers: Sequence[str]) -> list[str]:
    """A contract's names for the delivered headers, each another."""
    taken = {*LINEAGE, *(kind.__name__.lower() for kind in TYPES.values()), *dir(Contract), *keyword.kwlist}
    names: list[str] = []
    for at, header in enumerate(headers, start=1):
        name = name_for(header) or f"column_{at}"
        if name in taken:
            tries = (f"{name}_{number}" for number in itertools.count(2))
            name = (
                f"{name}_"
                if f"{name}_" not in taken and name not in names
                else next(t for t in tries if t not in taken)
            )
        taken.add(name)
        names.append(name)
    return names


class _ColumnSoFar:
    """One column while its rows go by."""

    def __init__(self, header: str, cap: int) -> None:
        self.header = header
        self._cap = cap
        self._rows = self._nulls = self._blank = self._seen = 0
        self._dtype: pl.DataType | None = None
        self._candidates: list[Candidate] | None = None
        self._few: dict[str, None] | None = {}
        self._hashes: list[pl.Series] | None = []
        self._leading_zero = self._whole_floats = self._emails = self._objects = self._offsets = True
        self._digits = {".": (0, 0), ",": (0, 0)}
        self._null_words: set[str] = set()
        self._mixed = False

    def add(self, values: pl.Series) -> None:
        """Look at some more values."""
        self._rows += len(values)
        self._nulls += values.null_count()
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        if values.dtype != pl.Null:
            self._mixed |= self._dtype not in (None, values.dtype)
            self._dtype = values.dtype
        present = values.drop_nulls()
        if not len(present):
            return
        distinct = present.unique(maintain_order=True)
        self._count(distinct, len(present))
        if self._mixed:
            return
        if distinct.dtype != pl.String:
            self._try(distinct)
            return
        first = self._seen == len(distinct)
        zeros = distinct.str.contains(r"^[+-]?0[0-9]").any()
        self._leading_zero = zeros if first else self._leading_zero or zeros
        self._whole_floats &= bool(distinct.str.contains(r"^[0-9]+\.0$").all())
        self._emails &= bool(distinct.str.contains(_EMAIL).all())
        self._objects &= bool(distinct.str.contains(r"^[{\[].*[}\]]$").all())
        self._offsets &= bool(distinct.str.contains(r"(Z|[+-][0-9]{2}:?[0-9]{2})$").all())
        self._blank += int(values.str.contains(r"^\s+$").sum())
        self._null_words |= set(distinct.filter(distinct.str.to_lowercase().is_in(list(_NULL_WORDS))))
        self._measure(distinct)
        self._try(distinct)

    def _count(self, distinct: pl.Series, present: int) -> None:
        """Note whether values come again, and which there are as long as they are few."""
        self._seen += len(distinct)
        if self._few is not None and distinct.dtype == pl.String:
            self._few.update(dict.fromkeys(distinct.head(_FEW + 1)))
            if len(self._few) > _FEW:
                self._few = None
        if self._hashes is not None:
            held = sum(map(len, self._hashes))
            if len(distinct) < present or held + present > self._cap or self._nulls:
                self._hashes = None
            else:
                self._hashes.append(distinct.hash())

    def _measure(self, distinct: pl.Series) -> None:
        """The most digits before and after the decimal mark, whichever of the two that is."""
        for mark, (whole, scale) in self._digits.items():
            parts = distinct.str.split_exact(mark, 1).struct
            before = parts.field("field_0").str.count_matches("[0-9]").max()
            after = parts.field("field_1").str.strip_chars(" ").str.strip_chars_end("0").str.len_chars().max()
            self._digits[mark] = max(whole, _int(before)), max(scale, _int(after))

    def _try(self, distinct: pl.Series) -> None:
        """Try the types that looked worth it."""
        if self._candidates is None:
            sample = distinct.head(_SAMPLE)
            self._candidates = [Candidate(type_) for type_ in likely_types(sample)]
            for candidate in self._candidates:
                candidate.put(sample)
            distinct = distinct.slice(_SAMPLE)
        for candidate in self._candidates:
            if len(distinct):
                candidate.put(distinct)
        self._candidates = [candidate for candidate in self._candidates if candidate.missed <= _NEAR * self._seen]

    def inferred(self, name: str, *, commas: bool = False) -> InferredColumn:
        """What the column looks like; `commas` where the file writes decimals with one."""
        tokens = name.split("_")
        pii = self._personal(tokens)
        type_, near, remarks = self._decide(name, commas=commas)
        if near is not None and pii:
            near = (near[0], "***")
        nulls = self._nulls + (self._blank if type_.options.get("strip") else 0)
        distinct = self._hashes is not None and self._rows > 1 and not nulls
        if distinct and self._hashes:
            distinct = pl.concat(self._hashes).n_unique() == self._rows
        values = tuple(self._few) if self._few and type_.kind == "text" and not pii and self._rows > 2 * _FEW else ()
        if pii:
            remarks = [*remarks, "personal data by its name or look: masked wherever rows are shown"]
        return InferredColumn(self.header, name, type_, self._rows, nulls, distinct, values, pii, near, tuple(remarks))

    def _personal(self, tokens: list[str]) -> str | None:
        ends = {"_".join(tokens[-length:]) for length in (2, 3)} | {"_".join(tokens)}
        found = ends & _PEOPLE or tokens[-1] in _PEOPLE - _PERHAPS_PEOPLE
        looks = self._emails and self._dtype == pl.String and self._seen > 0
        return "pseudonym" if found or looks else None

    def _decide(self, name: str, *, commas: bool) -> tuple[ColumnType, tuple[ColumnType, str] | None, list[str]]:
        """The type of the column, the type that nearly fits, and remarks on both."""
        text = ColumnType("text")
        if self._dtype is None:
            return text, None, ["no value in this file, so its kind is not known"]
        if self._mixed:
            return text, None, ["values of several types: text can take them, if they are texts, days or whole numbers"]
        candidates = [candidate for candidate in self._candidates or () if self._plausible(candidate.type, name)]
        fitting = [candidate.type for candidate in candidates if not candidate.missed]
        if self._dtype != pl.String:
            return self._decide_typed(fitting)
        if not fitting:
            return text, *self._nearly(candidates, number=name.split("_")[-1] not in _IDENTIFIERS)
        first = fitting[0]
        if _DATE_KINDS & {first.kind} and (rivals := [r for r in fitting if r.kind in _DATE_KINDS and r != first]):
            forms = " or ".join(_shown(r.options.get("format", "ISO 8601")) for r in (first, *rivals))
            return text, None, [f"dates that could be {forms}: declare the right one, since no value here decides it"]
        if first.kind in _NUMBERS:
            if name.split("_")[-1] in _IDENTIFIERS or self._leading_zero:
                why = "leading zeros" if self._leading_zero else "numbers by their look, an identifier by its name"
                if self._whole_floats:
                    why += '; point_zero=True would make 17850 of "17850.0"'
                return text, None, [f"{why}: text, so that nothing is lost"]
            if rivals := [r for r in fitting if _scaled_otherwise(first, r, commas=commas)]:
                both = f"{as_declared(first)} or {as_declared(rivals[0])}"
                return text, None, [f"could be {both}: declare which, since no value here decides it"]
        return self._fitted(first)

    def _fitted(self, type_: ColumnType) -> tuple[ColumnType, None, list[str]]:
        remarks = []
        options = dict(type_.options)
        whole, scale = self._digits[options.get("decimal", ".")]
        if whole + scale > {"number": _FLOAT_DIGITS, "decimal": _MOST_DIGITS}.get(type_.kind, whole + scale):
            return ColumnType("text"), None, ["more digits than a number would keep: text, so that nothing is lost"]
        if type_.kind == "decimal":
            options.pop("digits")
            if whole > _PLAIN_WHOLE or scale > _PLAIN_SCALE:
                scale = max(scale, min(_PLAIN_SCALE, _MOST_DIGITS - whole))
                options["digits"] = (max(18, whole + scale), scale)
            if self._whole_floats:
                remarks.append('whole numbers written as "17850.0": int with point_zero=True, if they are')
        if type_.kind == "integer" and self._few is not None and set(self._few) <= {"0", "1"}:
            remarks.append("only 0 and 1: bool, if that is what they mean")
        if type_.kind == "timestamp" and not self._offsets:
            remarks.append("no offset is written: declare the timezone of the producer's clock, or it is UTC")
        return ColumnType(type_.kind, options), None, remarks

    def _decide_typed(self, fitting: list[ColumnType]) -> tuple[ColumnType, None, list[str]]:
        if not fitting:
            return UNREADABLE, None, [f"{self._dtype} values that no kind of a contract takes"]
        first = fitting[0]
        if first.kind == "timestamp" and getattr(self._dtype, "time_zone", None) is None:
            return first, None, ["no zone is given: declare the timezone of the producer's clock, or it is UTC"]
        if first.kind == "decimal" and isinstance(self._dtype, pl.Decimal):
            return first, None, []
        return ColumnType(first.kind, {k: v for k, v in first.options.items() if k != "digits" or v[1] == 0}), None, []

    def _nearly(self, candidates: list[Candidate], *, number: bool) -> tuple[tuple[ColumnType, str] | None, list[str]]:
        """Which type all but a few values fit, and what to say of it."""
        if self._objects:
            return None, ['nested: a field of it is named by its path, such as source="address.city"']
        words = sorted(self._null_words)
        number = number and not self._leading_zero
        likely = (t for t in candidates if t.type.kind in _DATE_KINDS or (number and t.type.kind in _NUMBERS))
        best = min(likely, key=lambda candidate: candidate.missed, default=None)
        if best is None:
            return None, []
        if words and best.missed <= len(words):
            return (best.type, best.example), [
                f"{as_declared(best.type)}, if {' and '.join(map(repr, words))} means missing: format=Csv(nulls=…)"
            ]
        return (best.type, best.example), []

    def _plausible(self, type_: ColumnType, name: str) -> bool:
        """Whether a type that fits can be meant."""
        if type_.kind == "boolean":
            return self._few is not None and (len(self._few) > 1 or not type_.options)
        if type_.kind == "date" and "%Y%m%d" in type_.options.get("format", ()):
            return bool({"date", "day", "dt", "on", "datum", "ymd"} & set(name.split("_")))
        return True


def _scaled_otherwise(first: ColumnType, other: ColumnType, *, commas: bool) -> bool:
    """Whether one type takes for a decimal mark what the other takes for a mark between thousands."""
    if other.kind not in _NUMBERS:
        return False
    (point, between), (other_point, other_between) = (
        (None if type_.kind == "integer" else type_.options.get("decimal", "."), type_.options.get("thousands"))
        for type_ in (first, other)
    )
    clash = ({point} & {other_between} | {other_point} & {between}) - {None}
    return "," in clash or (commas and "." in clash)


def _shown(form: str | tuple[str, ...]) -> str:
    return form if isinstance(form, str) else " and ".join(form)


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
