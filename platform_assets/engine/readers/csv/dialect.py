"""Which character separates the fields of a delimited text, found out from its beginning.

Belongs here: being sure of a delimiter, or naming what to declare; what is likely, for a draft that a person reads.
Elsewhere: reading records (reader.py). The strongest evidence are the names that the contract asks for; without them,
that the records come out even.
"""

import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from platform_assets.engine.feed.formats import Csv
from platform_assets.errors import DeliveryRefused

SAMPLE: Final = 1 << 20
_USUAL: Final = (",", ";", "\t", "|", "^", "\x01", "\x1f", "\xa6")
_NEARLY_ALL: Final = 0.95
_PREAMBLE: Final = 100  # lines in which the header is looked for
_DRAFTED_PREAMBLE: Final = 20
_DRAFTED_FROM: Final = 1200  # lines

csv.field_size_limit(max(csv.field_size_limit(), SAMPLE))

_Fields = list[str]


def detect(sample: bytes, form: Csv, name: str, wanted: Sequence[str]) -> Csv:
    """`form` with its delimiter, found out where it is not declared.

    sample: UTF-8, from the header on (after `form.skip` lines); no more than its first megabyte is looked at.
    name: the file's, whose `.tsv` decides between delimiters that fit equally well.
    wanted: the headers that the contract asks for, with the other names it knows for them.
    Raises DeliveryRefused, saying what was seen and what to declare, where it is not sure.
    """
    if form.delimiter is not None:
        return form
    return replace(form, delimiter=_Sample(sample, form, name, wanted).delimiter())


def likely(sample: bytes, form: Csv, name: str) -> Csv | None:
    """`form` with the delimiter, and the lines before the header, that are most likely, for a person to check.

    That is: the first line that one of the usual delimiters makes a sound header of, to which nearly all records behind
    it fit. None where no line is one. sample: as for `detect`, from the first line of the file on.
    """
    lines = _decoded(sample)[0].splitlines(keepends=True)
    for skip in range(min(_DRAFTED_PREAMBLE, len(lines))):
        begin = "".join(lines[skip : skip + _DRAFTED_FROM])
        looked_at = _Sample(begin.encode(), replace(form, skip=skip), name, ())
        if delimiter := looked_at.likely_delimiter():
            return replace(form, delimiter=delimiter, skip=skip)
    return None


class _Sample:
    """The beginning of a file, looked at as each delimiter would have it."""

    def __init__(self, sample: bytes, form: Csv, name: str, wanted: Sequence[str]) -> None:
        self._form = form
        self._wanted = {_folded(header) for header in wanted}
        self._tabs = ".tsv" in name.lower()
        usual = ("\t", *_USUAL) if self._tabs else _USUAL
        self._usual = [each for each in dict.fromkeys(usual) if each != form.quote]
        self._text, self._whole = _decoded(sample)
        if form.footer is not None:
            self._text = _before_footer(self._text, form.footer)
        self._first = list(itertools.islice(io.StringIO(self._text, newline=""), _PREAMBLE))

    def delimiter(self) -> str:
        """The delimiter; raises DeliveryRefused where it is not sure."""
        if not self._text.strip("\r\n"):
            return self._usual[0]  # nothing to separate
        if self._form.header is not None:
            return self._for_width(len(self._form.header))
        heads = self._heads()
        return self._by_names(heads) or self._by_evenness(heads)

    def likely_delimiter(self) -> str | None:
        """The delimiter that makes most columns, of those that make a sound header and even records; None where none
        does."""
        widths = {each: len(head) for each in self._usual if self._sound(head := self._header(each), each)}
        return max(widths, key=lambda each: widths[each]) if widths else None

    def _header(self, delimiter: str) -> _Fields:
        return next(self._records(self._first, delimiter), [])

    def _sound(self, header: _Fields, delimiter: str) -> bool:
        """Whether the names are there, each once, and records behind them fit."""
        names = {_folded(name) for name in header}
        several = len(list(itertools.islice(self._records(self._first, delimiter), 2))) > 1
        return several and "" not in names and len(names) == len(header) and self._even(delimiter, header)

    def _heads(self) -> dict[str, _Fields]:
        """The header as each delimiter has it."""
        odd = sorted({c for c in self._first_record() if not (c.isalnum() or c in "\r\n\0 _")})
        asked = odd if self._wanted else []
        heads = {
            each: self._header(each)
            for each in dict.fromkeys((*self._usual, *asked))
            if each not in (self._form.quote, '"')
        }
        return {each: head for each, head in heads.items() if head}

    def _first_record(self) -> str:
        """The first lines that are not blank, up to where a quote that they open is closed."""
        record = ""
        for line in self._first:
            record += line
            if record.strip("\r\n") and (self._form.quote is None or record.count(self._form.quote) % 2 == 0):
                break
        return record

    def _by_names(self, heads: dict[str, _Fields]) -> str | None:
        """The delimiter that brings out the names asked for; None where no delimiter brings out any."""
        readings = {tuple(head): self._asked_for(head) for head in heads.values()}
        best = max(readings, key=lambda head: readings[head])
        if len(best) == 1 or not readings[best]:
            self._refuse_preamble(heads, more_than=readings[best])
        rivals = {head: names for head, names in readings.items() if names}
        if not rivals:
            return None
        by = [each for each, head in heads.items() if tuple(head) == best]
        nothing_else = [head for head, names in rivals.items() if names == len(head)]
        if [*rivals.values()].count(rivals[best]) == 1 and (
            best in nothing_else or (len(rivals) == 1 and not self._only_others_even(heads, by))
        ):
            return by[0] if len(best) > 1 else self._for_width(1)
        splitting = [each for each, head in heads.items() if tuple(head) in rivals and len(head) > 1]
        even = [each for each in splitting if self._even(each, heads[each])]
        if len(even) == 1 and not nothing_else:
            return even[0]
        raise self._unsure(heads, splitting)

    def _only_others_even(self, heads: dict[str, _Fields], ours: Sequence[str]) -> bool:
        others = [each for each in self._usual if each not in ours and self._even(each, heads.get(each, []))]
        return bool(others) and not any(self._even(each, heads[each]) for each in ours)

    def _by_evenness(self, heads: dict[str, _Fields]) -> str:
        """The delimiter by which all records have as many fields as the header."""
        splitting = [each for each in self._usual if len(heads.get(each, [])) > 1]
        even = [each for each in splitting if self._even(each, heads[each])]
        if len(even) == 1 or (self._tabs and "\t" in even):
            return even[0]
        if even:
            raise self._unsure(heads, even)
        # Uneven records alone are no evidence against the only character that splits the header,
        # unless another splits what follows: then the first line is no header.
        for each in self._usual:
            if each not in splitting and (skip := self._body_begins(each)):
                raise self._preamble(each, skip, "the first line is unlike those that follow")
        if len(splitting) > 1:
            raise self._unsure(heads, splitting)
        return splitting[0] if splitting else self._for_width(1)

    def _for_width(self, width: int) -> str:
        """The delimiter by which nearly all records have `width` fields."""
        fitting = [each for each in self._usual if self._share(each, width) >= _NEARLY_ALL]
        if fitting and (width == 1 or len(fitting) == 1 or (self._tabs and "\t" in fitting)):
            return fitting[0]
        if not fitting and width == 1:
            # Every usual delimiter occurs in the text, so none of them is one.
            fitting = [each for each in map(chr, range(1, 32)) if each not in self._text]
            if fitting:
                return fitting[0]
        raise _refused(
            f"cannot tell the delimiter: {_listed(fitting) if fitting else 'none'} of the usual ones makes "
            f"{width} field{'s' * (width > 1)} of the records",
            f"format=Csv(delimiter={(fitting or [';'])[0]!r})",
        )

    def _body_begins(self, delimiter: str) -> int:
        """The number of lines before those that `delimiter` splits evenly; 0 where it splits none so."""
        counts = [len(fields) for fields in self._records(self._first, delimiter)]
        body = counts[len(counts) // 2 :]
        width = max(body, key=body.count, default=1)
        if width == 1 or body.count(width) < _NEARLY_ALL * len(body) or len(counts) < 2:
            return 0
        lengths = (len(next(self._records([line], delimiter), [])) for line in self._first)
        return next((at for at, length in enumerate(lengths) if length == width), 0)

    def _refuse_preamble(self, heads: dict[str, _Fields], *, more_than: int) -> None:
        """Raise DeliveryRefused where a later line has more of the names asked for than the first one."""
        for at, line in enumerate(self._first[1:], start=1) if self._wanted else ():
            for each in heads:
                head = next(self._records([line], each), [])
                if (names := self._asked_for(head)) > more_than and (names > 1 or names == len(head)):
                    raise self._preamble(each, at, f"the names asked for are on line {self._form.skip + at + 1}")

    def _preamble(self, delimiter: str, skip: int, seen: str) -> DeliveryRefused:
        given = f"delimiter={delimiter!r}, " if delimiter != self._usual[0] else ""
        return _refused(f"lines before the header: {seen}", f"format=Csv({given}skip={self._form.skip + skip})")

    def _unsure(self, heads: dict[str, _Fields], candidates: Sequence[str]) -> DeliveryRefused:
        seen = ", ".join(f"{each!r} makes {len(heads[each])} columns" for each in candidates)
        return _refused(f"cannot tell the delimiter: {seen}", f"format=Csv(delimiter={candidates[0]!r})")

    def _asked_for(self, head: Iterable[str]) -> int:
        return len(self._wanted.intersection(map(_folded, head)))

    def _even(self, delimiter: str, head: _Fields) -> bool:
        return len(head) > 1 and self._share(delimiter, len(head)) >= _NEARLY_ALL

    def _share(self, delimiter: str, width: int) -> float:
        """The share of the records, the header among them, that have `width` fields."""
        counts = [len(fields) for fields in self._records(io.StringIO(self._text, newline=""), delimiter)]
        if not self._whole and len(counts) > 1:
            counts.pop()  # it may go on
        return counts.count(width) / len(counts) if counts else 0

    def _records(self, lines: Iterable[str], delimiter: str) -> Iterator[_Fields]:
        if self._form.quote is None:
            return filter(
                None, csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE, escapechar=self._form.escape)
            )
        return filter(
            None, csv.reader(lines, delimiter=delimiter, quotechar=self._form.quote, escapechar=self._form.escape)
        )


def _decoded(sample: bytes) -> tuple[str, bool]:
    """The first megabyte as text, without a last line that it cuts; and whether it is all."""
    if len(sample) <= SAMPLE:
        return sample.decode(errors="replace"), True
    text = sample[:SAMPLE].decode(errors="replace")
    end = max(text.rfind("\n"), text.rfind("\r")) + 1
    return text[:end] if end else text, False


def _before_footer(text: str, footer: str) -> str:
    lines = io.StringIO(text, newline="")
    begun = list(itertools.islice(lines, 1))
    return "".join((*begun, *itertools.takewhile(lambda line: not re.search(footer, line.rstrip("\r\n")), lines)))


def _folded(name: str) -> str:
    return name.strip().casefold()


def _listed(delimiters: Sequence[str]) -> str:
    return " and ".join(map(repr, delimiters))


def _refused(what: str, declaration: str) -> DeliveryRefused:
    remedy = f"Look at the file and declare what is right, such as {declaration}."
    return DeliveryRefused(what, remedy=remedy, guess=True)
