"""NDJSON: one JSON object a line; and what all JSON readers share: records are parsed once, and stored.

Belongs here: lines as records, lists as rows, what a JSON reader answers. Elsewhere: fields (fields.py), documents
(document.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import polars as pl

from platform_assets.engine.feed.formats import Json
from platform_assets.engine.readers import MALFORMED_SCHEMA, Batch, Part, refuse_unreconciled
from platform_assets.engine.readers.json.fields import NOT_JSON, Broken, Parsed, RecordParser, elements
from platform_assets.engine.readers.limits import Limits
from platform_assets.engine.readers.stored import StoredFrames
from platform_assets.engine.readers.text import Text
from platform_assets.errors import DeliveryRefused

_BLANKS: Final = " \t\r\n\x0b\x0c"


class StoredJson:
    """The rows of a JSON delivery, whatever its records are found in.

    Where a list is unnested, each element is a row beside the record's other fields, and `_line` is the row's number
    (the record's line would not name it). A record whose list is missing, null or empty is one row in which the
    element's fields are NULL: whether the contract lets it pass or rejects it, it is seen.
    """

    format = "json"
    looks_cut_off = False

    def __init__(self, form: Json, wanted: Sequence[str], limits: Limits) -> None:
        self._form = form
        self._wanted = tuple(wanted)
        self._counted = 0
        self.dialect: dict[str, str] = {}
        self._records = RecordParser(wanted)
        self._elements: RecordParser | None = None
        if form.unnest:
            beside = [name for name in wanted if not _is_within(name, form.unnest)]
            self._records = RecordParser([*beside, form.unnest])
            self._elements = RecordParser(wanted, prefix=f"{form.unnest}.", bare=form.unnest)
            self.dialect["line"] = "row"
        # Parsing JSON costs far more than storing what it holds: it is done once.
        self._stored = StoredFrames(limits)

    @property
    def parts(self) -> Sequence[Part]:
        """See `Reader`."""
        return ()

    @property
    def header(self) -> tuple[str, ...]:
        """The paths that occur, sorted: JSON objects have no order."""
        return tuple(sorted(self._columns()))

    def _columns(self) -> set[str]:
        found = set(self._records.columns)
        nulls = set(self._records.nulls)
        if self._elements is not None and self._form.unnest:
            if self._form.unnest in found and not self._elements.columns:
                nulls.add(self._form.unnest)  # there were but empty lists
            found.discard(self._form.unnest)
            found.update(self._elements.columns)
            nulls.update(self._elements.nulls)
        # Where nothing but null was instead of an object, its fields are there, as NULL.
        for path in nulls:
            if not any(_is_within(name, path) for name in found):
                found.update(name for name in self._wanted if _is_within(name, path))
        return found

    def batches(self, columns: Mapping[str, str]) -> Iterator[Batch]:
        """See `Reader`. A key that a record lacks is NULL, as is JSON's null."""
        frames = iter(self._stored)
        for frame, malformed, lines, malformed_lines in zip(frames, frames, frames, frames, strict=True):
            if lines.width and "line" not in self.dialect:
                frame, malformed = frame.with_columns(lines["_line"]), malformed.with_columns(malformed_lines["_line"])
            fields = (
                (pl.col(header) if header in frame.columns else pl.lit(None, pl.String)).alias(name)
                for name, header in columns.items()
            )
            yield Batch(frame.select("_line", *fields), malformed)

    def reconcile(self, read: int) -> None:
        """See `Reader`; records, and elements of lists, were counted before they were parsed."""
        refuse_unreconciled(self._counted, read)

    def _refuse_all_malformed(self) -> None:
        """Raise DeliveryRefused where there are records but none that has a field: that is no empty delivery."""
        if self._counted and not self._columns():
            first = next(
                ((line, rule) for frame in self._stored for line, rule in _malformed_in(frame)), (1, "no field in it")
            )
            raise DeliveryRefused(
                f"no object with fields in {self._counted} record{'s' * (self._counted > 1)}: {first[1]}",
                remedy="Compare the file with format=Json(…); if the JSON is broken, ask for the file again.",
                line=first[0],
                guess=True,
            )

    def _add(self, block: pl.DataFrame, *, escapes: bool, lines: pl.Series | None = None) -> Iterator[pl.DataFrame]:
        """Parse a block of records and store them; gives what is malformed.

        lines: the records' lines, where `_line` of the block numbers them because they may share a line.
        """
        first = block["_line"].first()
        for parsed in self._records.parse(block, escapes=escapes):
            at = [
                pl.DataFrame() if lines is None else lines.gather(frame["_line"] - first).to_frame("_line")
                for frame in (parsed.frame, parsed.malformed)
            ]
            rows = parsed if self._elements is None else self._unnested(parsed, self._elements, escapes=escapes)
            for frame in (rows.frame, rows.malformed, *at):
                self._stored.add(frame)
            yield parsed.malformed if lines is None else parsed.malformed.with_columns(at[1]["_line"])

    def _unnested(self, parsed: Parsed, inner: RecordParser, *, escapes: bool) -> Parsed:
        """A row for each element of the list, numbered from the last row on."""
        path = self._form.unnest
        assert path is not None
        outer = parsed.frame
        lists = outer[path].to_list() if path in outer.columns else [None] * outer.height
        malformed = list(parsed.malformed.iter_rows())
        texts: list[str | None] = []
        of_record: list[int] = []
        for at, text in enumerate(lists):
            if text is not None and not text.startswith("["):
                malformed.append((outer["_line"][at], text, f"{path} is not a list"))
                continue
            found: list[str | None] = [*elements(text)] if text is not None else []
            texts += found or [None]
            of_record += [at] * (len(found) or 1)
        rows = pl.DataFrame({"record": of_record, "text": texts}, schema={"record": pl.UInt32, "text": pl.String})
        first = self._counted + 1
        self._counted += rows.height + len(malformed)
        rows = rows.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("_line"))
        parts = list(inner.parse(rows.filter(pl.col("text").is_not_null()).select("_line", "text"), escapes=escapes))
        fields = pl.concat([part.frame for part in parts], how="diagonal") if parts else rows.select("_line").clear()
        broken = [row for part in parts for row in part.malformed.iter_rows()]
        malformed = [(first + rows.height + at, *rest) for at, (_, *rest) in enumerate(malformed)]
        beside = outer.drop("_line", path, strict=False)
        frame = pl.concat([rows.select("_line"), beside[rows["record"]]], how="horizontal")
        frame = frame.filter(~pl.col("_line").is_in([line for line, *_ in broken]))
        frame = frame.join(fields, on="_line", how="left", maintain_order="left")
        return Parsed(frame, pl.DataFrame([*broken, *malformed], schema=MALFORMED_SCHEMA, orient="row"))


class NdjsonReader(StoredJson):
    """Reads one NDJSON delivery; see `Reader`."""

    format = "ndjson"

    def __init__(self, copy: Path, *, form: Json, wanted: Sequence[str], limits: Limits) -> None:
        super().__init__(form, wanted, limits)
        source = Text(copy, form.encoding, limits)
        self.dialect["encoding"] = source.encoding
        line = 1
        last = ""
        for chunk in source.chunks():
            text = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk
            block = pl.read_lines(text, name="text")
            block = block.select(pl.int_range(line, line + pl.len(), dtype=pl.Int64).alias("_line"), "text")
            line += block.height
            if block["text"].str.starts_with("{").all():
                counted = text.count(b"\n") + (not text.endswith(b"\n"))
            else:
                counted = sum(1 for each in text.split(b"\n") if each.strip())
                block = block.filter(pl.col("text").str.strip_chars(_BLANKS) != "")
            if self._elements is None:
                self._counted += counted
            elif counted != block.height:
                refuse_unreconciled(counted, block.height)
            for _ in self._add(block, escapes=b"\\" in text):
                pass
            if block.height and not text.endswith(b"\n"):
                last = block["text"][-1]
        if last:
            self.looks_cut_off = self._is_broken(last)
        if not self.looks_cut_off or self._counted > 1:
            self._refuse_all_malformed()

    def _is_broken(self, text: str) -> bool:
        try:
            self._records.record(text)
        except Broken as broken:
            return str(broken) == NOT_JSON
        return False


def _malformed_in(frame: pl.DataFrame) -> Iterator[tuple[int, str]]:
    return frame.select("_line", "rule").iter_rows() if "rule" in frame.columns else iter(())


def _is_within(name: str, path: str) -> bool:
    return name.strip().casefold().startswith(f"{path.casefold()}.")
