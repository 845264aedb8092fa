"""A column while the rows of all files go by: what is counted of its values, so that files and columns add up.

Belongs here: counting. Elsewhere: ways to write numbers (candidates.py), dates (date_forms.py), conclusions
(infer.py). What is kept does not grow with the files but for hashes, to a cap, and a few counters for each file.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final

import polars as pl

from platform_assets.engine.author.candidates import LIKE_NUMBERS, OTHER, WAYS, ColumnType, typed
from platform_assets.engine.author.date_forms import DateForms, read_as

HASHES: Final = 4_000_000  # of a column; fewer where there are many
_FEW: Final = 12
_EXAMPLES: Final = 3
_GROUP: Final = 3
_SKETCH: Final = 512
_NO_DAYS: Final[Mapping[int, date]] = MappingProxyType({})
_EMAIL: Final = r"^[^@\s]+@[^@\s]+\.[^@\s]+$"
NULL_WORDS: Final = frozenset(
    {
        "na",
        "n/a",
        "null",
        "none",
        "nan",
        "nil",
        "-",
        "--",
        "?",
        r"\n",
        "#n/a",
        "nv",
        "k.a.",
        "n.a.",
        "(null)",
        "missing",
    }
    | {"#div/0!", "#num!", "#value!", "#ref!", "#name?", "#null!"}
)


@dataclass
class Digits:
    """The most digits of numbers with one decimal mark: before it, after it, and significant ones."""

    whole: int = 0
    scale: int = 0
    significant: int = 0

    def merge(self, other: "Digits") -> None:
        """The most of both."""
        self.whole, self.scale = max(self.whole, other.whole), max(self.scale, other.scale)
        self.significant = max(self.significant, other.significant)


class Watched:
    """What is counted of one column. ways: how values are written, by file, in rows. few: its values while they are
    few, each with its rows, its first file, in how many files, its last. words: for a missing value, in rows.
    ungrouped: whether whole numbers have more than three digits and no mark between them."""

    def __init__(self, header: str, cap: int = HASHES) -> None:
        self.header = header
        self.rows = self.nulls = self.blank = self.padded = self.seen = 0
        self.files: set[int] = set()
        self.dtypes: dict[pl.DataType, int] = {}
        self.ways: dict[str, Counter[int]] = {}
        self.examples: dict[str, list[tuple[int, str]]] = {}
        self.dates = DateForms()
        self.words: Counter[str] = Counter()
        self.few: dict[str, list[int]] | None = {}
        self.digits = {".": Digits(), ",": Digits()}
        self.zeros_lead = self.huge = self.ungrouped = False
        self.emails = self.objects = self.offsets = True
        self.typed: dict[ColumnType, int] = {}
        self.sketch = pl.Series([], dtype=pl.UInt64)
        self.range: tuple[float, float] | None = None
        self._hashes: list[pl.Series] | None = []
        self._cap = cap

    # ---- while rows go by

    def add(self, values: pl.Series, files: pl.Series | None = None, days: Mapping[int, date] = _NO_DAYS) -> None:
        """Count some more values. files: of which file each is, by its place; days: in the names of files."""
        self.rows += len(values)
        if values.dtype in (pl.Categorical, pl.Enum):
            values = values.cast(pl.String)
        files = pl.zeros(len(values), pl.UInt32, eager=True) if files is None else files
        self.files |= set(files.unique())
        self.nulls += values.null_count()
        if values.null_count() or values.dtype.is_nested():
            self._hashes = None
        present = len(values) - values.null_count()
        if not present:
            return
        self.dtypes[values.dtype] = self.dtypes.get(values.dtype, 0) + present
        if values.dtype.is_nested():
            self.seen += present
            return
        frame = pl.DataFrame({"value": values, "file": files})
        counted = frame.drop_nulls("value").group_by("value", "file", maintain_order=True).len("rows")
        self.seen += counted.height
        hashes = counted["value"].hash()
        self._remember(hashes, present)
        self.sketch = pl.concat([self.sketch, hashes]).unique().bottom_k(_SKETCH)
        if values.dtype == pl.String:
            self._add_texts(counted, days)
        else:
            self._add_typed(counted)

    def _remember(self, hashes: pl.Series, present: int) -> None:
        """Note whether values come again."""
        if self._hashes is not None:
            held = sum(map(len, self._hashes))
            if len(hashes) < present or held + present > self._cap:
                self._hashes = None
            else:
                self._hashes.append(hashes)

    def _add_typed(self, counted: pl.DataFrame) -> None:
        self.few = None
        values = counted["value"]
        if values.dtype.is_numeric():
            self._widen(values)
        for column_type in typed(values.dtype):
            missed = read_as(values, column_type).is_null()
            self.typed[column_type] = self.typed.get(column_type, 0) + int(counted.filter(~missed)["rows"].sum())

    def _add_texts(self, counted: pl.DataFrame, days: Mapping[int, date]) -> None:
        stripped = counted["value"].str.strip_chars()
        padded = stripped != counted["value"]
        if padded.any():
            self.padded += int(counted["rows"].filter(padded & (stripped != "")).sum())
            self.blank += int(counted["rows"].filter(stripped == "").sum())
            counted = counted.with_columns(value=stripped).filter(pl.col("value") != "")
        if not counted.height:
            return
        self._keep_few(counted)
        texts = counted["value"]
        self.emails = self.emails and bool(texts.str.contains(_EMAIL).all())
        self.objects = self.objects and bool(texts.str.contains(r"^[{\[].*[}\]]$").all())
        word = texts.str.to_lowercase().is_in(list(NULL_WORDS))
        if word.any():
            for text, count in counted.filter(word).group_by("value").agg(pl.sum("rows")).iter_rows():
                self.words[text] += count
            counted = counted.filter(~word)
        if not counted.height:
            return
        self.offsets = self.offsets and bool(counted["value"].str.contains(r"(Z|[+-][0-9]{2}:?[0-9]{2})$").all())
        self.dates.add(counted, days)
        self._count_ways(counted)

    def _keep_few(self, counted: pl.DataFrame) -> None:
        if self.few is None:
            return
        if counted["value"].n_unique() > _FEW:
            self.few = None
            return
        by_value = counted.group_by("value", maintain_order=True).agg(
            pl.sum("rows"), first=pl.min("file"), files=pl.n_unique("file"), last=pl.max("file")
        )
        self._merge_few({text: held for text, *held in by_value.iter_rows()})

    def _count_ways(self, counted: pl.DataFrame) -> None:
        like = counted["value"].str.contains(LIKE_NUMBERS)
        self._count(OTHER, counted.filter(~like))
        counted = counted.filter(like)
        if not counted.height:
            return
        self.zeros_lead = self.zeros_lead or bool(counted["value"].str.contains(r"^[+-]?0[0-9]").any())
        for way, pattern in WAYS.items():
            found = counted["value"].str.contains(f"^[+-]?{pattern}$")
            if found.any():
                some = counted.filter(found)
                if "e" in way:
                    some = self._without_extremes(some)
                self._count(way, some)
                if way == "12":
                    self.ungrouped = self.ungrouped or bool((some["value"].str.len_chars() > _GROUP + 1).any())
                self._measure(some["value"])
                counted = counted.filter(~found)
                if not counted.height:
                    return
        self._count(OTHER, counted)

    def _without_extremes(self, counted: pl.DataFrame) -> pl.DataFrame:
        """Those that a float can hold."""
        texts = counted["value"]
        column_type = ColumnType("number", {"decimal": ","} if texts.str.contains(",", literal=True).any() else {})
        lost = read_as(texts, column_type).is_null()
        self._count(OTHER, counted.filter(lost))
        return counted.filter(~lost)

    def _count(self, way: str, counted: pl.DataFrame) -> None:
        if not counted.height:
            return
        rows = counted.group_by("file").agg(pl.sum("rows"))
        self.ways.setdefault(way, Counter()).update(dict(rows.iter_rows()))
        examples = self.examples.setdefault(way, [])
        if len(examples) < _EXAMPLES:
            known = {text for _, text in examples}
            examples += [(at, text) for text, at, _ in counted.head(_EXAMPLES).iter_rows() if text not in known]
            del examples[_EXAMPLES:]

    def _measure(self, texts: pl.Series) -> None:
        """The digits of numbers, whichever mark is the decimal one."""
        if not len(texts):
            return
        mantissa = texts.str.replace("[eE].*$", "")
        for mark, most in self.digits.items():
            parts = mantissa.str.split_exact(mark, 1).struct
            whole = parts.field("field_0").str.replace_all("[^0-9]", "").str.strip_chars_start("0")
            after = parts.field("field_1").fill_null("").str.replace_all("[^0-9]", "").str.strip_chars_end("0")
            digits = (whole + after).str.strip_chars_start("0").str.len_chars()
            most.merge(Digits(_most(whole.str.len_chars()), _most(after.str.len_chars()), _most(digits)))
        if self.digits["."].whole > 18 and not self.huge:
            whole = texts.filter(texts.str.contains("^[+-]?[0-9]+$"))
            self.huge = bool(whole.cast(pl.Int64, strict=False).is_null().any())
        self._widen(mantissa.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False))

    def _widen(self, values: pl.Series) -> None:
        low, high = values.cast(pl.Float64).min(), values.cast(pl.Float64).max()
        if isinstance(low, float) and isinstance(high, float):
            before = self.range or (low, high)
            self.range = min(before[0], low), max(before[1], high)

    # ---- once they have

    def merge(self, other: "Watched") -> None:
        """Take in what was counted of a column that is the same under another header."""
        for name in ("rows", "nulls", "blank", "padded", "seen"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.files |= other.files
        for dtype, count in other.dtypes.items():
            self.dtypes[dtype] = self.dtypes.get(dtype, 0) + count
        for column_type, count in other.typed.items():
            self.typed[column_type] = self.typed.get(column_type, 0) + count
        for way, counts in other.ways.items():
            self.ways.setdefault(way, Counter()).update(counts)
            self.examples[way] = [*self.examples.get(way, []), *other.examples[way]][:_EXAMPLES]
        self.dates.merge(other.dates)
        self.words.update(other.words)
        self._merge_few(other.few)
        for mark, most in other.digits.items():
            self.digits[mark].merge(most)
        self.zeros_lead |= other.zeros_lead
        self.ungrouped |= other.ungrouped
        self.huge |= other.huge
        self.emails &= other.emails
        self.objects &= other.objects
        self.offsets &= other.offsets
        self.sketch = pl.concat([self.sketch, other.sketch]).unique().bottom_k(_SKETCH)
        if other.range is not None:
            self._widen(pl.Series(other.range))
        self._hashes = None if self._hashes is None or other._hashes is None else [*self._hashes, *other._hashes]

    def _merge_few(self, few: Mapping[str, Sequence[int]] | None) -> None:
        if self.few is None or few is None:
            self.few = None
            return
        for text, (count, first, files, last) in few.items():
            held = self.few.get(text, [0, first, 0, -1])
            again = held[3] == first  # of the file that the rows before ended with
            self.few[text] = [held[0] + count, min(held[1], first), held[2] + files - again, max(held[3], last)]
        if len(self.few) > _FEW:
            self.few = None

    @property
    def dtype(self) -> pl.DataType | None:
        """The only type that values arrived in; None where there is none, or several."""
        return next(iter(self.dtypes)) if len(self.dtypes) == 1 else None

    @property
    def distinct(self) -> bool:
        """Whether no value came twice, and none was missing."""
        if self._hashes is None or self.rows < 2 or self.nulls or self.blank or not self._hashes:
            return False
        return pl.concat(self._hashes).n_unique() == self.rows

    def tally(self) -> dict[str, int]:
        """In how many rows values are written in each way."""
        return {way: counts.total() for way, counts in self.ways.items()}

    def like(self, other: "Watched") -> float:
        """Which share of some of the values both columns have, from 0 to 1."""
        ours, theirs = self.sketch, other.sketch
        if not len(ours) or not len(theirs):
            return 0.0
        # Of the lowest hashes: beyond the lower of the two bounds one of the columns may have forgotten some.
        bounds = [sketch.max() for sketch in (ours, theirs) if len(sketch) == _SKETCH]
        if bounds:
            bound = min(bounds)  # type: ignore[type-var]  # numbers, which polars' types cannot tell
            ours, theirs = ours.filter(ours <= bound), theirs.filter(theirs <= bound)
        return int(ours.is_in(theirs.implode()).sum()) / max(1, min(len(ours), len(theirs)))


def _most(lengths: pl.Series) -> int:
    most = lengths.max()
    return most if isinstance(most, int) else 0
