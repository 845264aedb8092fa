"""What consumers are promised, generated and committed: `_promised.json` beside the marts that exposures read.

Belongs here: those files, and what today's models break of them, for `platform ci`, which has no releases to compare
with. Elsewhere: the comparison (consumers.py). A file is brought up to date with what is new, and with what nobody
reads any more; what would break a consumer it keeps saying, until the model or the exposure is mended.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from platform_assets.engine.durable.files import replacing
from platform_assets.errors import StorageError, nearest
from platform_assets.project.consumers import GUIDE, Break, Offer, breaks, offers_of
from platform_assets.project.exposures import consumers_of, latest_versions
from platform_assets.project.manifest import DBT_PROJECT, PROMISED, model_folders

_Said = dict[str, dict[str, Any]]


class Promises:
    """What consumers were promised, by the files, and what they would get, by a manifest of dbt's."""

    def __init__(self, dbt: Mapping[str, Any], today: date, project: Path = DBT_PROJECT) -> None:
        self.consumers = consumers_of(dbt)
        self._get = offers_of(dbt)
        files = [path for folder in model_folders(project) for path in sorted(folder.rglob(PROMISED))]
        self._said: dict[Path, _Said] = {path: json.loads(path.read_text()) for path in files}
        had = {mart: _offer(each) for said in self._said.values() for mart, each in said.items()}
        self.broken = [*breaks(self.consumers, had, self._get, today), *self._never_there(had)]
        self._places = _places(dbt, project)

    def drifted(self) -> dict[Path, str]:
        """The files that do not say what they should; what they should say, "" where they should not be."""
        broken = {each.mart for each in self.broken}
        used = {mart for each in self.consumers for mart in each.uses}
        texts: dict[Path, _Said] = {path: {} for path in self._said}
        for mart, offer in self._get.items():
            if offer.columns is not None and mart not in broken and (mart in used or offer.until is not None):
                texts.setdefault(self._places[mart], {})[mart] = _entry(offer)
        for path, said in self._said.items():
            texts[path] |= {mart: each for mart, each in said.items() if mart in broken}
        return {path: _text(said) for path, said in texts.items() if said != self._said.get(path, {})}

    def follow(self, tell: Callable[[str], None]) -> None:
        """Bring the files up to date, and say so; where they cannot be written they stay, and `platform ci` says it."""
        for path, text in self.drifted().items():
            name = path.relative_to(DBT_PROJECT.parent) if path.is_relative_to(DBT_PROJECT.parent) else path
            try:
                if text:
                    with replacing(path) as partial:
                        partial.write_text(text)
                else:
                    path.unlink(missing_ok=True)
            except (OSError, StorageError):
                tell(f"what consumers are promised has changed, and {name} cannot be written")
            else:
                tell(f"what consumers are promised: {name} {'written' if text else 'removed'}; commit it")

    def _never_there(self, had: Mapping[str, Offer]) -> Iterable[Break]:
        """Columns that a consumer says it uses and that its mart neither has nor had; marts of which nothing can be
        promised, because dbt does not hold them to what is written of them."""
        for consumer in self.consumers:
            for mart, columns in consumer.uses.items():
                there = self._get[mart].columns if mart in self._get else {}
                if there is None:
                    loose = f"nothing can be promised of {mart}: its dbt contract is not enforced"
                    remedy = f"Write `config: {{contract: {{enforced: true}}}}` into its YAML. {GUIDE}"
                    yield Break(mart, (loose,), (str(consumer),), remedy)
                if columns is None or not there:
                    continue
                names = {name.casefold() for name in (*there, *((had[mart].columns or {}) if mart in had else ()))}
                for column in columns:
                    if column.casefold() not in names:
                        meant = nearest(column, there).replace(" Did you", " (did you").replace("?", "?)")
                        what = f"there is no {mart}.{column}{meant}"
                        remedy = f"Mend `meta: columns:` of {consumer.name} (dbt_project/{consumer.file}). {GUIDE}"
                        yield Break(mart, (what,), (str(consumer),), remedy)


def _places(dbt: Mapping[str, Any], project: Path) -> dict[str, Path]:
    """Of each mart, by the names that readers know, the file that tells of it."""
    found = {
        node["alias"]: (project / node["original_file_path"]).with_name(PROMISED)
        for node in dbt["nodes"].values()
        if node["resource_type"] in ("model", "snapshot", "seed")
    }
    return found | {name: found[table] for name, table in latest_versions(dbt).items()}


def _entry(offer: Offer) -> dict[str, Any]:
    until = {} if offer.until is None else {"until": offer.until.isoformat()}
    return {**until, "columns": dict(offer.columns or {})}


def _offer(entry: Mapping[str, Any]) -> Offer:
    until = entry.get("until")
    return Offer(dict(entry["columns"]), date.fromisoformat(until) if until else None)


def _text(said: _Said) -> str:
    return json.dumps(dict(sorted(said.items())), indent=1, ensure_ascii=False) + "\n" if said else ""
