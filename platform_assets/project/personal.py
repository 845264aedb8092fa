"""Personal data in what dbt makes: which models and columns are made from it, and what dbt may say of them.

Belongs here: which columns of marts are personal, and what of dbt's words may be shown. Elsewhere: what columns are
made from (lineage.py), which columns of a contract are personal (engine/contract/shown.py), what becomes of them in a
release (treatments.py). A number that counts or adds up says nothing of a person; one that is copied or cast does.
"""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.contract.model import LINEAGE
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.errors import lines, redacted, words_of
from platform_assets.project.lineage import Made, Origins, named_without_ref, noted_origins
from platform_assets.project.manifest import asset_name, reached

_RAW: Final = "raw"
_UNDECLARED: Final = "_extra"
_OURS: Final = tuple(name for name in LINEAGE if name != _UNDECLARED)


class Personal:
    """The nodes of dbt that are made, at any remove, from a feed with personal data, or are a mart with such."""

    def __init__(self, manifest: Mapping[str, Any], feeds: Sequence[Feed], marts: Iterable[Mart]) -> None:
        self._feeds = {feed.name: feed for feed in feeds}
        self._marked = {mart.name: shown_of(mart.contract) for mart in marts if shown_of(mart.contract).personal}
        raw = {feed.name for feed in feeds if shown_of(feed.contract).personal}
        sources, nodes = manifest["sources"].items(), manifest["nodes"].items()
        starts = [key for key, each in sources if each["schema"] == _RAW and each["name"] in raw]
        starts += [key for key, read in named_without_ref(manifest).items() if not set(read).isdisjoint(starts)]
        starts += [key for key, each in nodes if each["alias"] in self._marked]
        self._nodes = reached(manifest["child_map"], starts)
        self._manifest = manifest

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._nodes)

    def reaches(self, node: str) -> bool:
        """Whether the node is one of them."""
        return node in self._nodes

    def told(self, text: str, node: str | None) -> str:
        """What dbt says of a node, or of none that is known, as it may be written down: of these without values."""
        if not self._nodes or (node is not None and node not in self._nodes):
            return lines(text)
        return redacted(text, self._code)

    def may_name(self, node: str, column: str) -> bool:
        """Whether a column of a node's table may be named: one that nobody has written down may be data itself."""
        return node not in self._nodes or redacted(column, self._code) == column

    def said_of(self, node: str, column: str, origins: Origins) -> str | None:
        """Why a column of a node's table is personal, for people; None where it is not."""
        if node not in self._nodes:
            return None
        known = self._manifest["nodes"][node]
        parts = origins.of(asset_name(known), column)
        if parts is None:
            return "Personal data: what it is made from cannot be followed." if origins.feeds_above(node) else None
        carried = [f"{feed}.{of}" for feed, of in parts if _is_personal(self._feeds.get(feed), of)]
        if carried:
            return f"Personal data, from {', '.join(carried)}."
        marked = self._marked.get(known["alias"])
        return "Personal data, as its contract says." if marked is not None and marked.holds(column) else None

    @functools.cached_property
    def _code(self) -> frozenset[str]:
        """The words that people have written: code, names and places, which may be shown."""
        texts = [*LINEAGE]
        for each in (*self._manifest["nodes"].values(), *self._manifest["sources"].values()):
            texts += [each.get("raw_code") or "", each["name"], each["original_file_path"], *each["columns"]]
            texts.append(each.get("alias") or "")
        return words_of(texts)


@dataclass(frozen=True)
class PersonalColumn:
    """A column of a mart that may hold personal data.

    made_from: the columns of feeds, `feed.column`, whose values it carries; where it cannot be followed, the feeds that
    it may be from. followed: whether it could be. marked: the mart's own contract says so.
    """

    name: str
    made_from: tuple[str, ...] = ()
    followed: bool = True
    marked: bool = False


def personal_columns(marts: Iterable[Mart], feeds: Sequence[Feed], home: Path) -> dict[str, Collection[str]]:
    """Of each mart, the columns whose values are not to be shown, by its contract and by what the last build noted."""
    noted = noted_origins(home)
    return {mart.name: [each.name for each in personal_of(mart, noted.get(mart.name), feeds)] for mart in marts}


def personal_of(mart: Mart | None, made: Made | None, feeds: Sequence[Feed]) -> list[PersonalColumn]:
    """The personal columns of a mart: those that its contract marks, and those that carry what a feed's contract marks.

    made: what its columns are made from; None where that is not known. Then, as where a column cannot be followed, it
    may be from anything that is personal above.
    """
    columns = mart.columns if mart is not None else ()
    marked = {column.name for column in columns if column.pii}
    secret = {feed.name for feed in feeds if shown_of(feed.contract).personal}
    if made is None:
        return [
            PersonalColumn(column.name, tuple(sorted(secret)), followed=False, marked=column.name in marked)
            for column in columns
            if column.name in marked or secret
        ]
    declared = {feed.name: feed for feed in feeds}
    above = tuple(feed for feed in made.feeds if feed in secret or feed not in declared)
    found = []
    for name in dict.fromkeys([*made.columns, *(column.name for column in columns)]):
        parts = made.columns.get(name)
        if parts is not None:
            carried = [f"{feed}.{of}" for feed, of in parts if _is_personal(declared.get(feed), of)]
            if carried or name in marked:
                found.append(PersonalColumn(name, tuple(carried), marked=name in marked))
        elif above or name in marked:
            found.append(PersonalColumn(name, above, followed=not above, marked=name in marked))
    return found


def _is_personal(feed: Feed | None, column: str) -> bool:
    """Whether a column of raw is personal. What a feed with personal data delivers undeclared may be, too; and so may
    what a feed has delivered that nobody declares any more."""
    if feed is None:
        return column not in _OURS
    shown = shown_of(feed.contract)
    return shown.holds(column) or (shown.personal and column == _UNDECLARED)
