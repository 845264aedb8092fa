"""XML: the elements at a declared path are records; their attributes and child elements, by path, are fields.

Belongs here: what becomes a record and a field. Elsewhere: parsing (stream.py), types. Text stays as it is
written; nothing but blanks with a line break among them is layout; an empty element is NULL, as is one marked as nil.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import polars as pl

from platform_assets.engine.feed.formats import Xml
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, refuse_unreconciled
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.stored import StoredFrames
from platform_assets.engine.readers.xml.stream import Document, Element, local_name, repeated, start_tags
from platform_assets.errors import DeliveryRefused, quoted

_CHUNKS: Final = 16
_CELLS: Final = 1 << 20
_MOST_PLACES: Final = 10_000_000
_MOST_COLUMNS: Final = 10_000

Row = tuple[int, dict[str, str | None]]


class XmlReader:
    """Reads one XML delivery; see `Reader`. A record's line is that of its start tag."""

    format = "xml"
    looks_cut_off = False

    def __init__(self, copy: Path, *, form: Xml, wanted: Sequence[str], limits: Limits) -> None:
        self._copy = copy
        self._limits = limits
        self._path = tuple(local_name(name) for name in form.records.strip("/").split("/") if name)
        # A path is taken apart as far as the contract asks; "a/b/c" takes a and a/b apart.
        inner = [header.strip().casefold().split("/") for header in wanted]
        self._open = {"/".join(path[:at]) for path in inner for at in range(1, len(path))}
        self._stored = StoredFrames(limits)
        self._leads: dict[str, bool] = {}
        self._columns: dict[str, None] = {}
        self._encoding = "utf-8"
        if copy.stat().st_size == 0:
            return
        if not self._path:
            raise _undeclared(copy, limits)
        document = Document(self._path, limits)
        # Parsing a document costs far more than storing what it holds: it is done once.
        for rows in self._rows(document):
            frame = _frame(rows)
            self._columns.update(dict.fromkeys(frame.columns[1:]))
            self._stored.add(frame)
        self._encoding = document.encoding
        self._elsewhere = document.elsewhere
        if document.deepest < len(self._path) - 1:
            raise DeliveryRefused(
                f"no element {'/'.join(self._path[: document.deepest + 1])}; the outermost is {quoted(document.root)}",
                remedy=f"Compare the file with format=Xml(records={form.records!r}).",
            )

    @property
    def dialect(self) -> Mapping[str, str]:
        """See `Reader`."""
        return {"encoding": self._encoding, "records": "/".join(self._path)}

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """The paths that occur, in the order in which they do first."""
        return tuple(self._columns)

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. What occurs several times in a record is a JSON list, and an element with children that no
        path leads into is a JSON object; a field that a record lacks is NULL."""
        nothing = pl.DataFrame(schema=MALFORMED_SCHEMA)
        for frame in self._stored:
            fields = (
                (pl.col(header) if header in frame.columns else pl.lit(None, pl.String)).alias(name)
                for name, header in columns.items()
            )
            yield Batch(frame.select("_line", *fields), nothing)

    def reconcile(self, read: int) -> None:
        """See `Reader`; a record is a start tag of its name in the file's bytes, outside of comments and the like."""
        if self._columns:
            counted = start_tags(self._copy, self._path[-1], self._encoding, self._limits)
            refuse_unreconciled(counted - self._elsewhere, read)

    def _rows(self, document: Document) -> Iterator[list[Row]]:
        rows: list[Row] = []
        names: dict[str, None] = {}
        for at, elements in enumerate(document.records(self._copy), 1):
            for line, element in elements:
                fields: dict[str, str | None] = {}
                self._take(element, "", fields)
                rows.append((line, fields))
                names.update(fields)  # type: ignore[arg-type]  # for its keys
                if len(rows) * len(names) >= _CELLS:
                    yield rows
                    rows, names = [], {}
                if len(names) > _MOST_COLUMNS:
                    raise DeliveryRefused(
                        f"more than {_MOST_COLUMNS} different fields",
                        remedy="Declare the path of the records, not of what holds them all: Xml(records=…).",
                        line=line,
                    )
            if rows and at % _CHUNKS == 0:
                yield rows
                rows, names = [], {}
        if rows:
            yield rows

    def _take(self, element: Element, prefix: str, fields: dict[str, str | None]) -> None:
        """Put the attributes and children of a element into `fields`, by path."""
        for name, value in element.attributes.items():
            fields[f"{prefix}@{name}"] = value
        if element.text is not None:
            fields[prefix[:-1] or "#text"] = element.text
        for name, elements in element.grouped().items():
            path = prefix + name
            first = elements[0]
            if self._leads_on(path):
                self._take_apart(elements, path, fields)
            elif len(elements) > 1:
                fields[path] = _text([_plain(each) for each in elements])
            elif first.children is not None:
                fields[path] = _text(_plain(first))
            else:
                fields[path] = first.text
                for attribute, value in first.attributes.items():
                    fields[f"{path}/@{attribute}"] = value

    def _leads_on(self, path: str) -> bool:
        """Whether the contract asks for something within the elements at a path."""
        known = self._leads.get(path)
        if known is None:
            known = self._leads[path] = path.casefold() in self._open
        return known

    def _take_apart(self, elements: list[Element], path: str, fields: dict[str, str | None]) -> None:
        """The fields within an element; where it occurs several times, each a list with a place for each time."""
        each: list[dict[str, str | None]] = []
        for element in elements:
            each.append({})
            self._take(element, f"{path}/", each[-1])
        if len(each) == 1:
            fields.update(each[0])
            return
        names = dict.fromkeys(name for one in each for name in one)
        if len(names) * len(each) > _MOST_PLACES:
            raise DeliveryRefused(
                f"{quoted(path)} occurs {len(each)} times in a record, with {len(names)} different fields",
                remedy=f"Let the contract ask for {quoted(path)}, as one JSON text, and for nothing within.",
            )
        for name in names:
            fields[name] = _text([one.get(name) for one in each])


def _frame(rows: list[Row]) -> pl.DataFrame:
    names = dict.fromkeys(name for _, fields in rows for name in fields)
    data: dict[str, list[Any]] = {"_line": [line for line, _ in rows]}
    for name in names:
        data[name] = [fields.get(name) for _, fields in rows]
    return pl.DataFrame(data, schema={"_line": pl.Int64, **dict.fromkeys(names, pl.String)})


def _plain(element: Element) -> Any:  # noqa: ANN401 - as JSON has it
    """An element as JSON: its text, or an object where there is more to it."""
    if element.children is None and not element.attributes:
        return element.text
    content: dict[str, Any] = {f"@{name}": value for name, value in element.attributes.items()}
    for name, elements in element.grouped().items():
        content[name] = _plain(elements[0]) if len(elements) == 1 else [_plain(each) for each in elements]
    return content if element.text is None else {**content, "#text": element.text}


def _text(value: Any) -> str:  # noqa: ANN401 - as JSON has it
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _undeclared(copy: Path, limits: Limits) -> DeliveryRefused:
    likely = repeated(copy, limits)
    shown = quoted(*(f"{path} ({times} times)" for path, times in likely.items()))
    return DeliveryRefused(
        "which elements are the records is not declared" + (f"; these repeat: {shown}" if likely else ""),
        remedy=f"Declare it: Files(…, format=Xml(records={quoted(repr(next(iter(likely), 'export/orders/order')))})).",
    )
