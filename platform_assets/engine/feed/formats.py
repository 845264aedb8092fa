"""Formats: how a feed's files are written, as its author declares it.

Belongs here: declarations and their checks. Elsewhere: reading, and finding out what is not declared (readers).
What is left None is detected where that is certain, and written down in the receipt.
"""

import re
from dataclasses import dataclass
from encodings.aliases import aliases
from typing import Final

from platform_assets.engine.contract.declaration import declaration
from platform_assets.errors import ConfigurationError, nearest

_CELLS: Final = re.compile(r"[A-Z]{1,3}([1-9][0-9]*)?(:[A-Z]{1,3}([1-9][0-9]*)?)?")


@declaration
@dataclass(frozen=True)
class Csv:
    """Delimited text: .csv, .tsv, .txt. Such as `Csv(delimiter=";", encoding="cp1252")`.

    delimiter: what separates fields; detected where None.
    encoding: a Python codec name; where None, the byte-order mark says it, else it is UTF-8.
    quote: the quoting character, doubled to stand for itself; None where quotes mean nothing.
    escape: the character after which the quote, the delimiter, a line end and itself stand for themselves, quoted or
        not, as MySQL writes them; a field `\\N` is NULL. Before any other character its meaning is not certain, and
        the record is rejected. (Spark escapes within quotes only: let it quote all.)
    skip: physical lines before the header.
    header: the column names, where no line of the file gives them.
    footer: a regular expression; the first line after the header in which it is found ends the data.
    nulls: fields that mean NULL besides the empty one, such as "NA".
    """

    delimiter: str | None = None
    encoding: str | None = None
    quote: str | None = '"'
    escape: str | None = None
    skip: int = 0
    header: tuple[str, ...] | None = None
    footer: str | None = None
    nulls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ConfigurationError("Csv.delimiter", f"{self.delimiter!r}", "Give one character, such as ';'.")
        if self.quote is not None and (
            len(self.quote) != 1 or not self.quote.isascii() or self.quote in "\0\r\n" or self.quote == self.delimiter
        ):
            raise ConfigurationError(
                "Csv.quote", f"{self.quote!r}", "Give one ASCII character, or None for no quoting."
            )
        if self.escape is not None and (
            len(self.escape) != 1
            or not self.escape.isascii()
            or self.escape.isalnum()
            or self.escape in "\0\r\n"
            or self.escape in (self.quote, self.delimiter)
        ):
            raise ConfigurationError(
                "Csv.escape",
                f"{self.escape!r}",
                r"Give one ASCII character, such as '\\'; a quote that is doubled needs no declaration.",
            )
        if self.skip < 0:
            raise ConfigurationError("Csv.skip", f"{self.skip}", "Give the number of lines before the header.")
        if self.footer is not None:
            try:
                re.compile(self.footer)
            except re.error as error:
                raise ConfigurationError(
                    "Csv.footer", f"{self.footer!r}: {error}", "Give a regular expression, such as '^Total'."
                ) from None
        _known_codec("Csv.encoding", self.encoding)


@declaration
@dataclass(frozen=True)
class Json:
    """JSON: .ndjson and .jsonl (an object a line), .json (an array of objects, one document, or objects in a row).

    Such as `Json(records="data.orders", unnest="lines")`.

    A contract names nested fields by their path, `Field(source="customer.address.city")`. Every other field of
    `customer` is then a column too, so that a new one is seen. Objects and lists that no path leads into are JSON text.

    records: the path of the array that holds the records, such as "data.orders"; "" where the document is the array.
    unnest: the path of a list in a record. Each element becomes a row, beside the record's other fields; with
        unnest="lines" its fields are "lines.sku" and so on (elements that are no objects: "lines"), and `_line` is the
        row's number. A record whose list is missing, null or empty is one row in which the element's fields are NULL:
        the contract says whether that is accepted. A record in which it is no list is malformed.
    encoding: a Python codec name; where None, the byte-order mark says it, else it is UTF-8.
    """

    records: str = ""
    unnest: str | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        _known_codec("Json.encoding", self.encoding)


@declaration
@dataclass(frozen=True)
class Xml:
    """XML: .xml, such as `Xml(records="export/orders/order")`.

    Fields are child elements by path ("customer/city") and attributes ("@id", "customer/@id").

    records: the path of the element that is a record, such as "export/orders/order"; it must be declared.
    """

    records: str = ""


@declaration
@dataclass(frozen=True)
class Excel:
    """A workbook: .xlsx, .xlsm, .xlsb, .xls, .ods. Such as `Excel(sheet="Orders", range="A3:F")`.

    sheet: the sheet's name; None where there is only one.
    range: the cells that hold header and records, such as "A3:F" (the used ones where None).
    """

    sheet: str | None = None
    range: str | None = None

    def __post_init__(self) -> None:
        if self.range is not None and not _CELLS.fullmatch(self.range):
            raise ConfigurationError("Excel.range", f"{self.range!r}", 'Give cells, such as "A3:F" or "B2:D40".')


@declaration
@dataclass(frozen=True)
class Parquet:
    """Parquet: .parquet. Such as `Parquet(partitions=("day",))`.

    partitions: keys of `key=value` folders above the file that the contract reads as columns.
    """

    partitions: tuple[str, ...] = ()


Format = Csv | Json | Xml | Excel | Parquet


def _known_codec(key: str, encoding: str | None) -> None:
    try:
        "".encode(encoding or "utf-8")
    except LookupError:
        raise ConfigurationError(
            key,
            f"unknown encoding {encoding!r}.{nearest(str(encoding), set(aliases.values()) | set(aliases))}",
            "Give a Python codec name, such as latin-1.",
        ) from None
