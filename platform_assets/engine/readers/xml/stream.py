"""A stream of XML, by expat: elements below a path as they end, and what else there is to know of a document.

Belongs here: everything that meets the parser or the bytes. Elsewhere: records and their fields (reader.py). Document
types are refused, and with them entities of any kind. Names are local names, whatever namespace they are in.
"""

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

from platform_assets.engine.readers.limits import Limits
from platform_assets.errors import DeliveryRefused, DeliveryUnfinished, foreign

_DEEPEST: Final = 100
_MOST_PATHS: Final = 1000
_MOST_ELEMENTS: Final = 2_000_000
_BLANKS: Final = " \t\r\n"
_NOTHING: Final[dict[str, str]] = {}
_NIL: Final = "xsi:nil"
_NO_DATA: Final = ("schemaLocation", "noNamespaceSchemaLocation")


class Element:
    """An element: text and children are None where it has none."""

    __slots__ = ("attributes", "children", "name", "rest", "text")

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] | None = None
        self.text: str | None = None
        self.rest: list[str] | None = None  # of the text, until the element ends

    def grouped(self) -> "dict[str, list[Element]]":
        """The children by name."""
        groups: dict[str, list[Element]] = {}
        for child in self.children or ():
            groups.setdefault(child.name, []).append(child)
        return groups


class Document:
    """One pass over a document: its records as they end, and what was seen of it on the way."""

    def __init__(self, path: tuple[str, ...], limits: Limits) -> None:
        self._path = path
        self._limits = limits
        self.encoding = "utf-8"
        self.root = ""
        self.deepest = 0  # how many names of the path were found
        self.elsewhere = 0  # elements of the record's name that are no records

    def records(self, copy: Path) -> Iterator[list[tuple[int, Element]]]:
        """(line, element) of the records that end in a chunk of the file, for each chunk."""
        path, whole = self._path, len(self._path)
        done: list[tuple[int, Element]] = []
        open_elements: list[Element] = []
        names: dict[str, str] = {}
        depth = matched = line = began = held = 0

        def start(tag: str, attributes: dict[str, str]) -> None:
            nonlocal depth, matched, line, began, held
            name = names.get(tag) or names.setdefault(tag, local_name(tag))
            depth += 1
            if open_elements:
                if depth > whole + _DEEPEST:
                    raise _too_deep(parser.CurrentLineNumber)
                if (held := held + 1) > _MOST_ELEMENTS:
                    raise DeliveryRefused(
                        f"a record of more than {_MOST_ELEMENTS:,} elements",
                        remedy="Declare the path of the records, not of what holds them all: Xml(records=…).",
                        line=line,
                    )
                self.elsewhere += name == path[-1]
                element = Element(name, _attributes(attributes) if attributes else _NOTHING)
                above = open_elements[-1]
                if above.children is None:
                    above.children = [element]
                else:
                    above.children.append(element)
                open_elements.append(element)
                return
            if depth == 1:
                self.root = name
            if depth == matched + 1 <= whole and name == path[matched]:
                matched = depth
                self.deepest = max(self.deepest, matched)
                if matched == whole:
                    line, began, held = parser.CurrentLineNumber, parser.CurrentByteIndex, 0
                    open_elements.append(Element(name, _attributes(attributes) if attributes else _NOTHING))
                    return
            self.elsewhere += name == path[-1]

        def end(_: str) -> None:
            nonlocal depth, matched
            depth -= 1
            if open_elements:
                element = open_elements.pop()
                if element.rest is not None and element.text is not None:
                    element.text += "".join(element.rest)
                    element.rest = None
                if element.attributes and element.attributes.pop(_NIL, "") in ("true", "1"):
                    element.text = None
                elif element.text is not None and element.text[0] in _BLANKS:
                    element.text = _said(element)
                if not open_elements:
                    done.append((line, element))
                    matched -= 1
            elif matched > depth:
                matched = depth

        def text(piece: str) -> None:
            if open_elements:
                element = open_elements[-1]
                if element.text is None:
                    element.text = piece
                else:
                    if element.rest is None:
                        element.rest = []
                    element.rest.append(piece)

        parser = _parser()
        parser.buffer_text, parser.buffer_size = True, self._limits.markup_at_once
        parser.XmlDeclHandler = self._declared
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        for fed in _parsed(parser, copy, self._limits):
            if open_elements and fed - began > self._limits.record:
                raise _too_long("a record", line, self._limits)
            yield done
            done = []

    def _declared(self, _: str, encoding: str | None, __: int) -> None:
        self.encoding = (encoding or "utf-8").lower()


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _no_document_type
    return parser


def _no_document_type(*_: object) -> None:
    raise DeliveryRefused(
        "the document declares a document type (<!DOCTYPE …>)",
        remedy="Ask the producer for XML without: what it may declare can read other files or grow without bounds.",
    )


def _parsed(parser: expat.XMLParserType, copy: Path, limits: Limits) -> Iterator[int]:
    """Feed the file to the parser; after each chunk, how many bytes that makes."""
    fed = 0
    last = False
    try:
        with copy.open("rb") as file:
            while chunk := file.read(limits.markup_at_once):
                parser.Parse(chunk)
                fed += len(chunk)
                limits.budget.check()
                if fed - parser.CurrentByteIndex > limits.record:
                    raise _too_long("a tag, comment or the like", parser.CurrentLineNumber, limits)
                yield fed
        last = True
        parser.Parse(b"", True)
        yield fed
    except expat.ExpatError as error:
        if last:
            raise DeliveryUnfinished("the document ends before its outermost element does") from error
        raise DeliveryRefused(
            f"not XML: {expat.ErrorString(error.code)}",
            remedy="Ask the producer to write the file with an XML library.",
            line=error.lineno,
        ) from error
    except (LookupError, ValueError) as error:  # of an encoding that Python does not know, or not byte by byte
        raise DeliveryRefused(
            f"the encoding that the document declares cannot be read: {foreign(error)}",
            remedy="Ask the producer for UTF-8.",
            line=1,
        ) from error


def _too_long(what: str, line: int, limits: Limits) -> DeliveryRefused:
    return DeliveryRefused(
        f"{what} is longer than {limits.record >> 20} MB",
        remedy="Declare the path of the records, not of what holds them all: Xml(records=…).",
        line=line,
    )


def _too_deep(line: int) -> DeliveryRefused:
    return DeliveryRefused(
        f"elements are nested more than {_DEEPEST} deep", remedy="Ask the producer for flatter records.", line=line
    )


def local_name(name: str) -> str:
    """A name without the prefix of its namespace."""
    return name.rpartition(":")[2]


def _attributes(given: dict[str, str]) -> dict[str, str]:
    """By local name, but for those that say where names come from; by full name where two would be the same, whichever
    comes first."""
    found: dict[str, str] = {}
    locals_ = Counter(local_name(name) for name in given if not name.startswith("xmlns:"))
    for name, value in given.items():
        prefix, _, local = name.rpartition(":")
        if prefix == "xmlns" or name == "xmlns" or (prefix and local in _NO_DATA):
            continue
        if prefix and local == "nil":
            found[_NIL] = value
        else:
            found[name if locals_[local] > 1 else local] = value
    return found


def _said(element: Element) -> str | None:
    """The text of a element, unless it is layout."""
    if element.text is None or element.text.strip(_BLANKS):
        return element.text
    return None if "\n" in element.text or element.children is not None else element.text


def repeated(copy: Path, limits: Limits) -> dict[str, int]:
    """The elements that occur several times in another, by path, the outermost first; how many times at most."""
    seen: dict[str, int] = {}
    above: list[tuple[str, dict[str, int]]] = [("", {})]

    def start(tag: str, _: dict[str, str]) -> None:
        path, children = above[-1]
        name = local_name(tag)
        own = f"{path}/{name}" if path else name
        children[name] = children.get(name, 0) + 1
        if children[name] > 1 and (own in seen or len(seen) < _MOST_PATHS):
            seen[own] = max(seen.get(own, 0), children[name])
        if len(above) > _DEEPEST:
            raise _too_deep(parser.CurrentLineNumber)
        above.append((own, {}))

    def end(_: str) -> None:
        above.pop()

    parser = _parser()
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    for _ in _parsed(parser, copy, limits):
        pass
    return {path: seen[path] for path in sorted(seen, key=lambda path: (path.count("/"), -seen[path]))}


def start_tags(copy: Path, name: str, encoding: str, limits: Limits) -> int:
    """How many start tags of a local name the file has outside of comments, CDATA and processing instructions."""
    with copy.open("rb") as file:
        begin = file.read(2)
    wide = begin in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"<\0", b"\0<")
    decoder = codecs.getincrementaldecoder(encoding if not wide else _wide(begin))("replace") if wide else None
    word = re.escape(name.encode() if wide else name.encode(encoding, "replace"))
    mark = re.compile(rb"<(?:(!--)|(!\[CDATA\[)|(\?)|(?:[^\s<>/!?:]+:)?" + word + rb"(?=[\s/>]))")
    ends = {1: b"-->", 2: b"]]>", 3: b"?>"}
    count, until, buffer = 0, b"", b""
    with copy.open("rb") as file:
        while chunk := file.read(limits.markup_at_once):
            limits.budget.check()
            buffer += decoder.decode(chunk).encode() if decoder else chunk
            at = 0
            while True:
                if until:
                    found = buffer.find(until, at)
                    if found < 0:
                        at = max(at, len(buffer) - len(until) + 1)
                        break
                    at, until = found + len(until), b""
                match = mark.search(buffer, at)
                if match is None:
                    # What begins like a tag may go on in the next chunk; expat has seen that it ends before long.
                    begun = buffer.rfind(b"<", at)
                    at = begun if begun >= 0 and buffer.find(b">", begun) < 0 else len(buffer)
                    break
                until = ends.get(match.lastindex or 0, b"")
                count += not until
                at = match.end()
            buffer = buffer[at:]
    return count


def _wide(begin: bytes) -> str:
    """UTF-16 by its first two bytes; the mark, where there is one, says for itself."""
    return {b"<\0": "utf-16-le", b"\0<": "utf-16-be"}.get(begin, "utf-16")
