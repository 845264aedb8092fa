"""What a record of delimited text is, as expressions: to Python's re over bytes, and to Polars over lines.

Belongs here: fields, quotes, escapes, and what looks like a record that lost a delimiter. Elsewhere: blocks, and which
records are malformed (delimited.py).
"""

import csv
import io
import re
from typing import Final

from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.readers.limits import Limits

STRAY: Final = "stray quote"
UNKNOWN_ESCAPE: Final = "unknown escape"
Fields = list[str | None]
csv.field_size_limit(Limits.record)


class Grammar:
    """What a record is: fields, each quoted whole or not quoted at all, as many lines as quoted line ends make it."""

    def __init__(self, form: Csv) -> None:
        """form: with its delimiter known."""
        self.delimiter = form.delimiter or ","
        self.quote = form.quote
        self.escape = form.escape
        between, quote, escape = (re.escape(each or "") for each in (self.delimiter, form.quote, form.escape))
        # A character of several bytes cannot be left out of a set of bytes.
        no_delimiter, delimiter = ("", between) if self.delimiter.isascii() else (f"(?!{between})", "")
        pair = rf"{escape}(\r\n|[\s\S])"
        escaped = "|" + pair.replace("(", "(?:") if escape else ""

        def unquoted(but: str = "") -> str:
            return rf"(?>(?:{no_delimiter}[^{delimiter}\r\n{escape}{but}]{escaped})*)"

        # Atomic groups: Python before 3.11.5 gets a possessive repeat of anything longer than a character wrong.
        opened = f"{quote}(?>(?:[^{quote}{escape}]+|{quote}{quote}{escaped})*)" if quote else "(?!)"
        field = f"(?:{opened}{quote}|(?!{quote}){unquoted()})" if quote else unquoted()
        pure = f"(?:{opened}{quote}|{unquoted(quote)})" if quote else unquoted()
        end = r"(\r\n|\n|\r|\Z)"

        def compiled(pattern: str) -> re.Pattern[bytes]:
            return re.compile(pattern.encode())

        self._field = re.compile(field)
        self._pair = re.compile(pair if escape else "(?!)")
        self._doubled = re.compile(f"({quote}){quote}|{pair}" if quote else pair)
        self.record: Final = compiled(f"(?>(?:{field}{between})*){field}{end}")
        self.left_open: Final = compiled(rf"(?>(?:{field}{between})*){opened}\Z")
        # A record without a quote in an unquoted field that lost a delimiter beside a quoted one; one that goes on.
        until_lost = f"((?>(?:{pure}{between})*)(?>{pure}))"
        self._torn = compiled(f"{until_lost}({pure}(?>(?:{between}{pure})*)){end}")
        self._torn_open = compiled(rf"{until_lost}(?>(?:{pure}{between})*){opened}\Z")
        # What may follow an open quote, up to where it closes.
        self.closing: Final = re.compile(
            rf"(?>(?:[^{quote}]|{quote}{quote})*){quote}(?:{between}|\Z)" if quote else "(?!)"
        )

    def lines(self) -> tuple[str, str, str]:
        """Expressions for lines, to Polars: a record without a quote in an unquoted field; one with quotes in no more
        than one unquoted field; what may follow an open quote, up to where it closes."""
        between, quote, escape = (_literal(each or "") for each in (self.delimiter, self.quote, self.escape))
        missing = f"|{escape}N" if escape else ""
        if not quote:
            field = f"(?:[^{between}{escape}]*{missing})"
            return f"^{field}(?:{between}{field})*$", "^$", "^$"
        field = f"(?:{quote}(?:[^{quote}{escape}]|{quote}{quote})*{quote}|[^{quote}{between}{escape}]*{missing})"
        odd = f"[^{quote}{between}{escape}][^{between}{escape}]*"
        return (
            f"^{field}(?:{between}{field})*$",
            f"^(?:{field}{between})*{odd}(?:{between}{field})*$",
            f"^(?:[^{quote}]|{quote}{quote})*{quote}(?:{between}|$)",
        )

    def parts(self, record: str) -> list[str]:
        """The fields of a record, each as it is written."""
        found, at = [], 0
        while field := self._field.match(record, at):
            found.append(field[0])
            at = field.end() + len(self.delimiter)
            if at > len(record):
                break
        return found

    def fields(self, record: str) -> list[str | None]:
        """The fields of a record, with NULL for an escaped N. Raises ValueError for an escape that means nothing."""
        if self.escape is not None and self.escape in record:
            return [self._unescaped(part) for part in self.parts(record)]
        if self.quote is None or self.quote not in record:
            return [*record.split(self.delimiter)]
        text = io.StringIO(record, newline="")
        return [*next(csv.reader(text, delimiter=self.delimiter, quotechar=self.quote, strict=True))]

    def _unescaped(self, part: str) -> str | None:
        if part == f"{self.escape}N":
            return None
        quoted = self.quote is not None and part.startswith(self.quote)
        return self._doubled.sub(self._meant, part[1:-1]) if quoted else self._pair.sub(self._meant, part)

    def _meant(self, found: re.Match[str]) -> str:
        meant: str = found[found.lastindex or 0]
        if meant not in (self.quote, self.escape, self.delimiter, "\n", "\r", "\r\n"):
            raise ValueError(UNKNOWN_ESCAPE)
        return meant

    def quotes(self, record: str) -> int:
        """How many quotes there are, but for escaped ones."""
        return self._pair.sub("", record).count(self.quote) if self.quote else 0

    def strays(self, record: str) -> list[int]:
        """How many quotes there are in each unquoted field that has any."""
        if self.quote is None or self.quote not in record:
            return []
        unquoted = [part for part in self.parts(record) if not part.startswith(self.quote)]
        return [count for part in unquoted if (count := self.quotes(part))]

    def torn(self, block: bytes, start: int, reach: int, width: int) -> int | None:
        """Where a record ends that begins at `start` and would be one of `width` fields, had it not lost a delimiter
        beside a quoted field. `start` where there is none, None where what is before `reach` does not tell."""
        if self.quote is None:
            return start
        torn = self._torn.match(block, start, reach)
        if torn is None:
            return None if self._torn_open.match(block, start, reach) else start
        count = sum(len(self.parts(part.decode())) for part in torn.group(1, 2))
        return torn.end() if torn[2] and count == width else start


def _literal(text: str) -> str:
    """A character, if there is one, to Polars."""
    return f"\\x{{{ord(text):x}}}" if text else ""
