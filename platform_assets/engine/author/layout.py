"""How files are written as a whole: the format to declare for them.

Belongs here: encoding, delimiter and lines before the header, where the reader is not sure of them itself. Elsewhere:
reading (engine/readers), what columns hold (infer.py).
"""

import codecs
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.author.given import Named
from platform_assets.engine.feed.feed import Files
from platform_assets.engine.feed.formats import Csv, Format, Json, Xml
from platform_assets.engine.readers import Reader, open_reader
from platform_assets.engine.readers.csv.dialect import SAMPLE, likely
from platform_assets.engine.readers.encodings import FAR, likely_encodings
from platform_assets.engine.readers.magic import kind_of
from platform_assets.engine.readers.packing.unpack import blocks_of, packing
from platform_assets.errors import ConfigurationError, DeliveryRefused, DeliveryUnfinished

_HEAD: Final = 1 << 20


@dataclass(frozen=True)
class Opened:
    """A file to open in several ways; `scratch` is where it may be unpacked."""

    named: Named
    scratch: Path

    @property
    def zipped(self) -> bool:
        """Whether it is an archive of several files."""
        return self.named.suffix.lower().endswith(".zip")

    def by(self, form: Format | None) -> Reader:
        """Its reader, if it is of the form."""
        path = self.named.path
        return open_reader(path, path.name, Files("*", format=form), scratch=self.scratch)

    def beginning(self, most: int) -> bytes:
        """Its first bytes, unpacked."""
        begin = b""
        for block in blocks_of(self.named.path, packing(self.named.path.name)):
            begin += block
            if len(begin) >= most:
                break
        return begin[:most]

    def refuse_another_kind(self) -> None:
        """Raise DeliveryRefused for what is not what its name says."""
        if self.named.kind not in (Csv, Json, Xml) or self.zipped:
            return
        if (found := kind_of(self.beginning(_HEAD))) is not None:
            what, ends = found
            remedy = (
                f"Give it a name that ends in {ends}." if ends else "Ask for the data in the format that the name says."
            )
            raise DeliveryRefused(f"by its content the file is {what}", remedy=remedy)

    def encoding(self) -> str | None:
        """The encoding to declare; None for what the reader takes the file for, and where no usual one reads it."""
        if self.zipped:
            for encoding in (None, "cp1252"):
                with suppress(DeliveryRefused):
                    self.by(Csv(delimiter=",", encoding=encoding))
                    return encoding
            return None
        found = likely_encodings(self.beginning(FAR), "utf-8")
        return found[0] if found and found[0] not in ("utf-8", "utf-16") else None

    def is_plain(self) -> bool:
        """Whether all its characters are ASCII, which any encoding reads alike."""
        return self.zipped or self.beginning(FAR).isascii()


def form_of(opened: Opened, given: Sequence[str], encoding: str | None) -> Format | None:
    """The format to declare for the likes of a file, None where the reader finds out all there is.

    given: what is known of it, such as "sheet=Orders". encoding: that of all files, where they are not UTF-8.
    """
    kind = opened.named.kind
    options = dict(_option(kind, each) for each in given)
    if kind is not Csv:
        return kind(**options) if options else None
    if encoding is not None:
        options.setdefault("encoding", encoding)
    if "delimiter" not in options and "skip" not in options and "header" not in options:
        options |= _layout(opened, options.get("encoding"))
    return Csv(**options) if options else None


def with_delimiter(form: Format | None, dialects: Sequence[Mapping[str, str]]) -> Format | None:
    """The form with the delimiter that was found in all files, so that the next one is read in the same way."""
    found = {dialect.get("delimiter", ",") for dialect in dialects}
    if not isinstance(form, Csv | None) or len(found) != 1 or found & {",", ""} or (form and form.delimiter):
        return form
    return with_options(form, delimiter=found.pop())


def with_options(form: Csv | None, **options: Any) -> Csv:  # noqa: ANN401 - of whatever type the option is
    """The form with more said of it."""
    known = {each.name: getattr(form, each.name) for each in fields(form)} if form else {}
    return Csv(**{**known, **options})


def _option(kind: type[Format], given: str) -> tuple[str, Any]:
    key, _, value = given.partition("=")
    if key not in {each.name for each in fields(kind)}:
        known = ", ".join(each.name for each in fields(kind))
        raise ConfigurationError(f"--format {given!r}", f"is no option of {kind.__name__}", f"Name one of: {known}.")
    if key == "skip":
        if not value.isdecimal():
            raise ConfigurationError(f"--format {given!r}", "is no number of lines", "Give one, such as skip=2.")
        return key, int(value)
    if key in ("header", "nulls", "partitions"):
        return key, tuple(value.split(","))
    return key, {"\\t": "\t", "tab": "\t"}.get(value, value) if key == "delimiter" else value


def _layout(opened: Opened, encoding: str | None) -> dict[str, Any]:
    """Delimiter and lines before the header, where the reader is not sure of them itself."""
    with suppress(DeliveryRefused, DeliveryUnfinished):
        reader = opened.by(Csv(encoding=encoding))
        if len(reader.header) > 1 and all(name.strip() for name in reader.header):
            return {}
    begin = opened.beginning(SAMPLE)
    usual = "utf-16" if begin[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    form = likely(begin.decode(encoding or usual, "replace").encode(), Csv(), opened.named.path.name)
    if form is None:
        return {}
    return {"delimiter": form.delimiter} | ({"skip": form.skip} if form.skip else {})
