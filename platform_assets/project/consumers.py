"""What a change of marts would break for who reads them: columns that go, change their type, or marts that go.

Belongs here: comparing what readers have with what they would get. Elsewhere: who they are (exposures.py), what they
have been promised before a release (promised.py), holding the release (state.py).
A type may become wider as Apache Iceberg allows it: readers of such tables are used to that.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from platform_assets.engine.store.release import Release
from platform_assets.errors import listed, nearest
from platform_assets.project.causes import Cause
from platform_assets.project.exposures import Consumer, latest_versions
from platform_assets.project.manifest import asset_name, is_asset
from platform_assets.project.products import ReleasedProduct

GUIDE: Final = "docs/how-to/consumers.md"
ENDS_SOON: Final = timedelta(days=14)
"""From so long before its end a version of a mart is told of."""
_WIDER: Final = (("TINYINT", "SMALLINT", "INTEGER", "BIGINT"), ("FLOAT", "DOUBLE"))
_DECIMAL: Final = re.compile(r"DECIMAL\((\d+),(\d+)\)")
# Other names of DuckDB's types.
_ALIASES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("INT8", "LONG", "INT64"), "BIGINT"),
    **dict.fromkeys(("INT", "INT4", "SIGNED", "INT32"), "INTEGER"),
    **dict.fromkeys(("INT2", "SHORT", "INT16"), "SMALLINT"),
    **dict.fromkeys(("FLOAT8", "FLOAT64"), "DOUBLE"),
    **dict.fromkeys(("FLOAT4", "REAL"), "FLOAT"),
    **dict.fromkeys(("BOOL", "LOGICAL"), "BOOLEAN"),
    **dict.fromkeys(("BYTEA", "BINARY", "VARBINARY"), "BLOB"),
    **dict.fromkeys(("TEXT", "STRING", "CHAR", "BPCHAR", "NVARCHAR"), "VARCHAR"),
    "INT1": "TINYINT",
    "NUMERIC": "DECIMAL",
    "DATETIME": "TIMESTAMP",
}
_PHRASES: Final = {
    "TIMESTAMP WITH TIME ZONE": "TIMESTAMPTZ",
    "TIMESTAMP WITHOUT TIME ZONE": "TIMESTAMP",
    "TIME WITH TIME ZONE": "TIMETZ",
    "TIME WITHOUT TIME ZONE": "TIME",
    "DOUBLE PRECISION": "DOUBLE",
    "CHARACTER VARYING": "VARCHAR",
}


@dataclass(frozen=True)
class Offer:
    """A table as readers get it, or would.

    columns: name -> type; None where dbt does not hold the model to what is written of it. until: the day up to which
    this version of its model is served at least; None where no end is told. model, version: of one that has versions.
    table: its name in the warehouse. dropped: columns that no release has, because they are personal data.
    """

    columns: Mapping[str, str] | None
    until: date | None = None
    model: str = ""
    version: str = ""
    table: str = ""
    dropped: Collection[str] = ()


@dataclass(frozen=True)
class Break:
    """What of one mart a change would break. what: clauses. users: who reads it, as people are named."""

    mart: str
    what: tuple[str, ...]
    users: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        """All of it but what to do."""
        return f"{', '.join(self.what)}; used by {' and '.join(self.users)}"


@dataclass(frozen=True)
class Ending:
    """A version of a mart that ends soon or is over. users: who reads it still; latest: the mart to read instead."""

    mart: str
    until: date
    over: bool
    users: tuple[str, ...]
    latest: str

    @property
    def what(self) -> str:
        """That it ends, and who reads it."""
        read = f"read by {listed(self.users, 3)}" if self.users else "no exposure reads it"
        return f"{self.mart} {'has ended' if self.over else 'ends'} on {self.until}; {read}"

    @property
    def remedy(self) -> str:
        """What its owner does."""
        other = self.latest or "another mart"
        if self.users:
            return f"Let them read {other}, and say so in their exposures; or give a later end."
        if self.over:
            return "It can be deleted: its SQL, its version in the YAML, its contract."
        return f"Tell whoever may read it to read {other}; or give a later end."


def endings(
    consumers: Iterable[Consumer], offers: Mapping[str, Offer], latest: Mapping[str, str], today: date
) -> list[Ending]:
    """The versions of marts that end soon or have ended. latest: model -> the table of its latest version."""
    return [
        Ending(
            mart,
            offer.until,
            offer.until <= today,
            tuple(str(each) for each in consumers if mart in each.uses),
            latest.get(offer.model, ""),
        )
        for mart, offer in offers.items()
        if offer.until is not None and offer.until <= today + ENDS_SOON
    ]


def end_of(node: Mapping[str, Any]) -> date | None:
    """The day up to which a version of a model is served at least, by its `deprecation_date`."""
    said = node.get("deprecation_date")
    return datetime.fromisoformat(str(said)).date() if said else None


def offers_of(dbt: Mapping[str, Any]) -> dict[str, Offer]:
    """What readers would get of the marts of a manifest of dbt's, by the names that readers know; columns as written
    beside the model, which dbt holds its table to."""
    found = {}
    for key, node in dbt["nodes"].items():
        if is_asset(dbt, key) and asset_name(node).startswith("marts/"):
            held = node["config"].get("contract", {}).get("enforced", False)
            columns = {each["name"]: str(each["data_type"]) for each in node["columns"].values() if each["data_type"]}
            versioned = node.get("version") is not None
            found[node["alias"]] = Offer(
                columns if held else None,
                end_of(node) if versioned else None,
                node["name"] if versioned else "",
                str(node["version"]) if versioned else "",
                node["alias"],
            )
    latest = {name: table for name, table in latest_versions(dbt).items() if table in found}
    return found | {name: replace(found[table], until=None, model="", version="") for name, table in latest.items()}


def treated(offers: Mapping[str, Offer], treatments: Mapping[str, Mapping[str, str]]) -> dict[str, Offer]:
    """The same, once personal data is treated. treatments: table -> column -> "drop", "pseudonym" or "keep"."""
    found = dict(offers)
    for name, offer in offers.items():
        of = treatments.get(offer.table, {})
        if offer.columns is not None and of:
            columns = {
                column: "VARCHAR" if of.get(column) == "pseudonym" else kind
                for column, kind in offer.columns.items()
                if of.get(column) != "drop"
            }
            dropped = [column for column, how in of.items() if how == "drop"]
            found[name] = replace(offer, columns=columns, dropped=dropped)
    return found


def offered_by(release: Release) -> dict[str, Offer]:
    """What readers of a release get, by the names that they know."""
    found = {
        mart: Offer(each.columns, date.fromisoformat(each.until) if each.until else None)
        for mart, each in release.marts.items()
    }
    return found | {name: replace(found[mart], until=None) for name, mart in release.latest.items() if mart in found}


def fits(was: str, now: str) -> bool:
    """Whether who reads a column as of type `was` can read it as `now`: the same, or a wider one of its kind."""
    was, now = _usual(was), _usual(now)
    if was == now:
        return True
    if (one := _DECIMAL.fullmatch(was)) and (other := _DECIMAL.fullmatch(now)):
        return one[2] == other[2] and int(one[1]) <= int(other[1])
    return any(was in kinds and now in kinds and kinds.index(was) < kinds.index(now) for kinds in _WIDER)


def _usual(sql_type: str) -> str:
    """A type by the name that is usual among ours, whichever of DuckDB's names it was written by."""
    text = " ".join(sql_type.upper().split())
    for phrase, usual in _PHRASES.items():
        text = text.replace(phrase, usual)
    text = re.sub(
        r"\s*([(),\[\]])\s*", r"\1", re.sub(r"\w+", lambda word: _ALIASES.get(str(word[0]), str(word[0])), text)
    )
    text = re.sub(r"\bVARCHAR\(\d+\)", "VARCHAR", text)
    text = re.sub(r"\bDECIMAL\((\d+)\)", r"DECIMAL(\1,0)", text)
    return re.sub(r"\bDECIMAL\b(?!\()", "DECIMAL(18,3)", text)


def breaks(
    consumers: Iterable[Consumer], had: Mapping[str, Offer], get: Mapping[str, Offer], today: date
) -> list[Break]:
    """What `had` offers readers and `get` does not, where somebody is promised it: a consumer, or all who read a
    version of a model whose end has been told and has not come."""
    consumers = list(consumers)
    return [found for mart, was in sorted(had.items()) for found in _of_mart(mart, was, consumers, get, today)]


def would_break(found: Sequence[Break], product: ReleasedProduct, release: Release) -> Cause:
    """That a release of the product would break who reads the one that there is."""
    return Cause(
        kind="would break consumers",
        asset=product.release,
        what=f"a release of {product.name} would break who reads it",
        effect=f"the product is held, and its release of {release.created_at[:16].replace('T', ' ')} UTC serves on",
        evidence="; ".join(map(str, found)),
        remedy=" ".join(dict.fromkeys(each.remedy for each in found)),
        key=f"consumers:{product.name}",
        owner=product.owner,
    )


def _of_mart(
    mart: str, was: Offer, consumers: Sequence[Consumer], get: Mapping[str, Offer], today: date
) -> Iterable[Break]:
    if was.until is not None and was.until <= today:
        return
    now = get.get(mart)
    everybody = (f"all who read it: it is promised until {was.until}",) if was.until is not None else ()
    reading = [each for each in consumers if mart in each.uses]
    if now is None:
        if reading or everybody:
            users = (*map(str, reading), *everybody)
            yield Break(mart, (f"mart {mart} is gone",), users, _remedy(mart, reading, was, (), get))
        return
    if reading and _ends_too_soon(was, now, today):
        users = (*map(str, reading), *everybody)
        yield Break(
            mart,
            (f"{mart} would end on {now.until}" + (f", not on {was.until}" if was.until else ""),),
            users,
            f"Give it a `deprecation_date` that leaves them time. {GUIDE}",
        )
    found: dict[tuple[str, ...], tuple[list[str], list[str], list[Consumer]]] = {}
    for column, kind in (was.columns or {}).items():
        using = [each for each in reading if each.uses_column(mart, column)]
        said = None if now.columns is None else _changed(mart, column, kind, was.columns or {}, now.columns, now)
        if said is not None and (using or everybody):
            users = (*map(str, using), *everybody)
            clauses, columns, _ = found.setdefault(users, ([], [], using))
            clauses.append(said)
            columns.append(column)
    for users, (clauses, columns, using) in found.items():
        yield Break(mart, tuple(clauses), users, _remedy(mart, using, was, columns, get))


def _ends_too_soon(was: Offer, now: Offer, today: date) -> bool:
    """Whether a version's end is moved forward, or told so late that it has come."""
    return now.until is not None and (now.until < was.until if was.until is not None else now.until <= today)


def _changed(
    mart: str, column: str, kind: str, had: Mapping[str, str], get: Mapping[str, str], now: Offer
) -> str | None:
    """What became of the column for who reads it; None where that can be read as it was."""
    if column in get:
        return (
            None if fits(kind, get[column]) else f"{mart}.{column} turns from {_usual(kind)} into {_usual(get[column])}"
        )
    if column in now.dropped:
        return f"{mart}.{column} is dropped as personal data"
    new = [name for name, of in get.items() if name not in had and fits(kind, of)]
    meant = nearest(column, new) or (f" Did you mean {new[0]!r}?" if len(new) == 1 else "")
    renamed = meant.replace(" Did you mean ", " (renamed to ").replace("?", "?)")
    return f"{mart}.{column} is gone{renamed}"


def _remedy(
    mart: str, using: Sequence[Consumer], was: Offer, columns: Collection[str], get: Mapping[str, Offer]
) -> str:
    """What to do instead: what is still served, else a version; or what says that the consumers agree."""
    it = f"mart {mart}" if not columns else listed([*columns], 3)
    serving = [
        (table, offer)
        for table, offer in get.items()
        if offer.model == mart and all(_offers(offer, column, (was.columns or {})[column]) for column in columns)
    ]
    if columns and serving:
        table, offer = serving[0]
        first = (
            f"{table} still has {it}: let them read that, and say so: ref('{mart}', v={offer.version}); or keep "
            f"`latest_version: {offer.version}` until they do."
        )
    else:
        first = f"Bring {it} back, or serve it on as a version of the model until an end date."
    who = [f"{each.name} (dbt_project/{each.file})" for each in using]
    agreed = "its `depends_on`" if not columns else f"`config: {{meta: {{columns: {{{mart}: […]}}}}}}`"
    said = f" Once they agree, take it out of what the exposure uses, {agreed}: {listed(who, 3)}." if who else ""
    return f"{first}{said} {GUIDE}"


def _offers(offer: Offer, column: str, kind: str) -> bool:
    return offer.columns is not None and column in offer.columns and fits(kind, offer.columns[column])
