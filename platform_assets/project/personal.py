"""Personal data in what dbt makes: which models and columns are made from it, and what dbt may say of them.

Belongs here: following personal data from feeds to marts, and noting it for whoever shows rows of marts. Elsewhere:
running dbt (orchestration/dbt.py), which columns of a contract are personal (engine/contract/shown.py).
"""

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.contract.column import Column
from platform_assets.engine.contract.model import LINEAGE
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.durable.files import replacing
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.errors import lines, redacted, words_of
from platform_assets.project.graph import raw_name
from platform_assets.project.manifest import asset_name, reached

Lineage = Mapping[str, Mapping[str, Sequence[tuple[str, str]]]]
"""Of each node that could be traced: column -> the (asset, column) that it is made from."""
_NOTED: Final = "personal.json"
_RAW: Final = "raw"
_NUMBERS: Final = ("integer", "decimal", "number", "boolean")


class Personal:
    """The nodes of dbt that are made, at any remove, from a feed with personal data, or are a mart with such."""

    def __init__(self, manifest: Mapping[str, Any], feeds: Iterable[Feed], marts: Iterable[Mart]) -> None:
        self._raw = {feed.name: feed for feed in feeds if shown_of(feed.contract).personal}
        named = {mart.name for mart in marts if shown_of(mart.contract).personal}
        sources, nodes = manifest["sources"].items(), manifest["nodes"].items()
        starts = [key for key, each in sources if each["schema"] == _RAW and each["name"] in self._raw]
        starts += [key for key, each in nodes if each["alias"] in named]
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

    def note(self, lineage: Lineage, target: Path) -> None:
        """Note which columns are made from personal data; of a node that nobody could trace, None: any may be."""
        found = {
            self._manifest["nodes"][key]["alias"]: sorted(self._columns(key, lineage)) if key in lineage else None
            for key in self._nodes
            if key.startswith("model.")
        }
        with replacing(target / _NOTED) as partial:
            partial.write_text(json.dumps(found))

    def _columns(self, node: str, lineage: Lineage) -> Iterable[str]:
        raw = {raw_name(feed): shown_of(feed.contract) for feed in self._raw.values()}
        assets = {asset_name(each): key for key, each in self._manifest["nodes"].items() if key in self._nodes}
        seen: set[tuple[str, str]] = set()

        def holds(asset: str, column: str) -> bool:
            if asset in raw:
                return raw[asset].holds(column)
            if (asset, column) in seen or asset not in assets:  # a model may read itself
                return False
            seen.add((asset, column))
            above = lineage.get(assets[asset])
            return above is None or any(holds(*each) for each in above.get(column, ()))

        for column, above in lineage[node].items():
            seen.clear()
            if any(holds(*each) for each in above):
                yield column

    @functools.cached_property
    def _code(self) -> frozenset[str]:
        """The words that people have written: code, names and places, which may be shown."""
        texts = [*LINEAGE]
        for each in (*self._manifest["nodes"].values(), *self._manifest["sources"].values()):
            texts += [each.get("raw_code") or "", each["name"], each["original_file_path"], *each["columns"]]
            texts.append(each.get("alias") or "")
        return words_of(texts)


def personal_columns(marts: Iterable[Mart], feeds: Iterable[Feed], home: Path) -> dict[str, Collection[str]]:
    """Of each mart, the columns whose values are not to be shown, by its contract and by what the last build noted."""
    anywhere = any(shown_of(feed.contract).personal for feed in feeds)
    try:
        noted = json.loads((home / "dbt" / _NOTED).read_text()) if anywhere else {}
    except (OSError, ValueError):
        noted = None
    found: dict[str, Collection[str]] = {}
    for mart in marts:
        made = None if noted is None else noted.get(mart.name, ())
        found[mart.name] = {c.name for c in mart.columns if c.pii or _may_hold(c, made)}
    return found


def _may_hold(column: Column, made: Collection[str] | None) -> bool:
    """Whether a column may hold what a person is known by. made: those made from such; None where it is not known.

    A number that is made from personal data counts or adds up, as a rule; the contract marks one that does not.
    """
    return made is None or (column.name in made and column.kind not in _NUMBERS)
