"""The first marts of a feed: its staging model in dbt, a mart with something to chart, and the marts' contracts.

Belongs here: the text of these files, and which columns are worth it. Elsewhere: drafting the feed (engine/author),
dbt's sources (dbt_sources.py), how marts are held to their contracts (dbt_marts.py).
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from platform_assets.engine.contract.column import Column
from platform_assets.engine.feed.feed import Feed
from platform_assets.errors import ConfigurationError
from platform_assets.project.dbt_sources import sources_file
from platform_assets.project.manifest import model_folders

_MOST_SUMS: Final = 6
_OURS: Final = ("day", "month", "row_count")  # columns that a mart of sums has anyway
_SUMMED: Final[dict[str, str]] = {"integer": "bigint", "decimal": "decimal(38,4)", "number": "double"}
_WIDTH: Final = 120
_PYTHON: Final = {
    "text": "str",
    "integer": "int",
    "decimal": "Decimal",
    "number": "float",
    "timestamp": "datetime",
    "date": "date",
    "boolean": "bool",
}
_FROM: Final = {"Decimal": "decimal", "datetime": "datetime", "date": "datetime"}
# Numbers of which a sum means nothing, by a word of their name.
_NO_SUMS: Final = frozenset(
    {
        "lat",
        "long",
        "lng",
        "lon",
        "latitude",
        "longitude",
        "fips",
        "year",
        "month",
        "week",
        "day",
        "hour",
        "age",
        "rank",
    }
    | {"line", "pos", "position", "row", "seq", "version", "rate", "ratio", "percent", "pct", "share", "price", "preis"}
    | {"unit", "status", "latency", "rating", "average", "avg", "mean", "median", "min", "max", "std", "port", "zip"}
    | {
        "humidity",
        "pressure",
        "speed",
        "voltage",
        "altitude",
        "height",
        "index",
        "level",
        "score",
        "temperature",
        "id",
        "no",
        "nr",
        "number",
        "code",
        "key",
        "zeile",
        "jahr",
        "monat",
    }
)
_NO_SUMS_END: Final = ("preis", "nummer", "satz", "quote", "temperatur")


@dataclass(frozen=True)
class MartColumn:
    """A column of a mart: the SQL that makes it, its kind and SQL type as a contract has them."""

    name: str
    sql: str
    kind: str
    sql_type: str
    nullable: bool
    about: str
    rule: str = ""


@dataclass(frozen=True)
class FirstMart:
    """A mart to be written. grain: the columns that name a row of it; none where rows are those of a file."""

    feed: Feed
    name: str
    about: str
    columns: tuple[MartColumn, ...]
    grain: tuple[str, ...]
    source: str
    grouped: bool

    @property
    def headline(self) -> tuple[str, ...]:
        """The columns to be shown of it."""
        return tuple(column.name for column in self.columns[:6])


def first_marts(feed: Feed, dimension: str | None) -> list[FirstMart]:
    """The marts that the feed's declaration suggests. dimension: a column with few values."""
    staging = f"ref('{staging_name(feed)}')"
    shown = [column for column in feed.columns if column.pii is None]
    by = [_as_it_is(column) for column in shown if column.name == dimension and column.name not in _OURS]
    if feed.key_within == "delivery":
        newest = FirstMart(
            feed=feed,
            name=f"{feed.name}_latest",
            about=f"The newest list of {feed.name}. Grain: {' and '.join(feed.key)}.",
            columns=tuple(_as_it_is(column) for column in shown),
            grain=tuple(name for name in feed.key if any(column.name == name for column in shown)),
            source=f"{{{{ latest_snapshot({staging}, '{feed.name}') }}}} as newest",
            grouped=False,
        )
        if _dated(feed) is None:
            return [newest]
        # Not by the dates that rows have: of two lists of one day the last counts.
        lists = (
            f"{{{{ {staging} }}}} as listed\n"
            f"inner join {{{{ snapshot_lists('{feed.name}') }}}} as lists\n"
            "    on listed._delivery_id = lists.delivery_id"
        )
        days = [replace(each, sql="lists.listed_at") for each in _time(feed)]
        by = [replace(each, sql=f"listed.{each.sql}") for each in by]
        about = f"What the lists of {feed.name} add up to, each list that counts."
        return [newest, _adding_up(feed, about, [*days, *by], lists, "listed.")]
    by = [*_time(feed), *by]
    if not by:
        return [
            FirstMart(
                feed=feed,
                name=f"{feed.name}_rows",
                about=f"All accepted rows of {feed.name}, without personal data.",
                columns=tuple(_as_it_is(column) for column in shown),
                grain=(),
                source=f"{{{{ {staging} }}}}",
                grouped=False,
            )
        ]
    return [_adding_up(feed, f"What {feed.name} adds up to.", by, f"{{{{ {staging} }}}}", "")]


def _adding_up(feed: Feed, about: str, by: Sequence[MartColumn], source: str, of: str) -> FirstMart:
    """A mart with the numbers of rows and sums `by` some columns. of: what stands before a column's name."""
    shown = [column for column in feed.columns if column.pii is None]
    columns = [*by, MartColumn("row_count", "count(*)", "integer", "bigint", False, "Number of rows.", "ge=1")]
    taken = {column.name for column in columns}
    columns += [each for each in _sums(feed, shown, of) if each.name not in taken]
    return FirstMart(
        feed=feed,
        name=f"{feed.name}_by_{by[0].name}",
        about=f"{about} Grain: {' and '.join(column.name for column in by)}.",
        columns=tuple(columns),
        grain=tuple(column.name for column in by),
        source=source,
        grouped=True,
    )


def files_of(feed: Feed, firsts: Sequence[FirstMart], module: Path) -> dict[Path, str]:
    """The files to be written, with their texts. module: that of the marts' contracts.

    Raises ConfigurationError where one is there already.
    """
    folders = model_folders()
    staging = sources_file(feed.origin, folders).parent
    marts = folders[0] / "marts"
    model = staging_name(feed)
    files = {
        staging / f"{model}.sql": _staging_sql(feed),
        staging / f"{model}.yml": _staging_yaml(feed),
    }
    for mart in firsts:
        files |= {marts / f"{mart.name}.sql": _mart_sql(mart), marts / f"{mart.name}.yml": _mart_yaml(mart)}
    files[module] = _contracts(feed, firsts)
    for path in files:
        if path.exists():
            raise ConfigurationError(path.name, "is there already", "Look at it, or give another --name.")
    return files


def staging_name(feed: Feed) -> str:
    """The staging model of a feed."""
    return f"stg_{feed.origin}__{feed.name}"


def _time(feed: Feed) -> Iterator[MartColumn]:
    """The day or month of a row: of its file's name where the feed declares it, else of its event time."""
    if (form := _dated(feed)) is not None:
        unit = "day" if "%d" in form or "%j" in form else "month"
        about = f"The {'day' if unit == 'day' else 'first day of the month'} in the file's name."
        yield MartColumn(unit, "_file_date", "date", "date", False, about)
        return
    for column in feed.columns:
        if column.name == feed.event_time and column.pii is None:
            sql = (
                f"cast({column.name} at time zone '{column.timezone}' as date)"
                if column.kind == "timestamp"
                else column.name
            )
            about = f"Day of {column.name}" + (f", {column.timezone}." if column.kind == "timestamp" else ".")
            yield MartColumn("day", sql, "date", "date", column.nullable, about)


def _dated(feed: Feed) -> str | None:
    """The format of the date in the names of its files; None where it has none, or no files."""
    return getattr(feed.source, "dated", None)


def _sums(feed: Feed, shown: Sequence[Column], of: str) -> Iterator[MartColumn]:
    """Sums of what can be added up."""
    worth = [
        column
        for column in shown
        if column.kind in _SUMMED
        and column.name not in feed.key
        and not _NO_SUMS & set(column.name.split("_"))
        and not column.name.rstrip("_").endswith(_NO_SUMS_END)
    ]
    for column in worth[:_MOST_SUMS]:
        kind = f"decimal(38,{column.digits[1]})" if column.kind == "decimal" else _SUMMED[column.kind]
        sql = f"cast(sum({of}{column.name}) as {kind})"
        yield MartColumn(column.name, sql, column.kind, kind, column.nullable, f"Sum of {column.name}.")


def _as_it_is(column: Column) -> MartColumn:
    about = column.description or f"{column.name.replace('_', ' ').capitalize()}."
    return MartColumn(column.name, column.name, column.kind, column.sql_type.lower(), column.nullable, about)


def _staging_columns(feed: Feed) -> list[str]:
    dated = ["_file_date"] if _dated(feed) is not None else []
    return [*(column.name for column in feed.columns), *dated, "_delivery_id", "_line"]


def _staging_sql(feed: Feed) -> str:
    columns = ",\n        ".join(_staging_columns(feed))
    return (
        f"with source as (\n    select * from {{{{ source('{feed.origin}', '{feed.name}') }}}}\n),\n\n"
        f"renamed as (\n    select\n        {columns}\n    from source\n)\n\nselect * from renamed\n"
    )


def _staging_yaml(feed: Feed) -> str:
    known = {
        "_file_date": "Date in the file's name.",
        "_delivery_id": "Delivery that brought the row.",
        "_line": "Physical line in the delivered file.",
    }
    personal = {column.name for column in feed.columns if column.pii}
    about = {each.name: _as_it_is(each).about + " Personal data." * (each.pii is not None) for each in feed.columns}
    about |= known
    lines = [f"      - {{name: {name}, description: {_quoted(about[name])}}}" for name in _staging_columns(feed)]
    description = f"Accepted rows of {feed.name}" + ("; holds personal data." if personal else ".")
    return "\n".join(
        [
            "version: 2\n\nmodels:",
            f"  - name: {staging_name(feed)}",
            f"    description: {_quoted(description)}",
            "    columns:",
            *lines,
            "",
        ]
    )


def _mart_sql(mart: FirstMart) -> str:
    columns = [
        column.sql if column.sql.rpartition(".")[2] == column.name else f"{column.sql} as {column.name}"
        for column in mart.columns
    ]
    text = "select\n    " + ",\n    ".join(columns) + f"\nfrom {mart.source}\n"
    if not mart.grouped:
        return text
    by = [column.sql for column in mart.columns if column.name in mart.grain]
    return text + "group by\n    " + ",\n    ".join(by) + "\n"


def _mart_yaml(mart: FirstMart) -> str:
    lines = [
        "version: 2\n\nmodels:",
        f"  - name: {mart.name}",
        f"    description: {_quoted(mart.about)}",
        "    config:",
        f'      meta: {{dagster: {{group: marts, owners: ["{mart.feed.owner}"]}}}}',
    ]
    if len(mart.grain) > 1:
        lines += [
            "    data_tests:",
            "      - unique_together:",
            "          arguments:",
            f"            columns: [{', '.join(mart.grain)}]",
        ]
    lines.append("    columns:")
    for column in mart.columns:
        tests = ["unique"] if mart.grain == (column.name,) else []
        tests += [] if column.nullable or column.name not in mart.grain else ["not_null"]
        kind = f'"{column.sql_type}"' if "," in column.sql_type else column.sql_type
        lines += [
            f"      - name: {column.name}",
            f"        description: {_quoted(column.about)}",
            f"        data_type: {kind}",
            *([f"        data_tests: [{', '.join(tests)}]"] if tests else []),
        ]
    return "\n".join([*lines, ""])


def _contracts(feed: Feed, firsts: Sequence[FirstMart]) -> str:
    kinds = {_PYTHON[column.kind] for mart in firsts for column in mart.columns}
    modules: dict[str, set[str]] = {}
    for kind in kinds & _FROM.keys():
        modules.setdefault(_FROM[kind], set()).add(kind)
    imports = "".join(f"from {module} import {', '.join(sorted(modules[module]))}\n" for module in sorted(modules))
    return (
        f'"""What the marts of {feed.origin} promise. To be filled in: units, rules that must hold."""\n\n'
        f"{imports}{chr(10) * bool(imports)}from platform_assets import Contract, Field, Mart\n"
        + "".join(f"\n\n{_contract(mart)}" for mart in firsts)
    )


def _contract(mart: FirstMart) -> str:
    fields = "".join(
        f"    {column.name}: {_PYTHON[column.kind]} = Field({_options(column)})\n" for column in mart.columns
    )
    about = textwrap.wrap(f'"""{mart.about}"""', _WIDTH, initial_indent="    ", subsequent_indent="    ")
    headline = ", ".join(f'"{name}"' for name in mart.headline)
    headline += "," * (len(mart.headline) == 1)
    contract = "".join(word.capitalize() for word in mart.name.split("_"))
    contract = f"{contract}Rows" if contract in {*_FROM, "Contract", "Field", "Mart"} else contract
    declared = f'{mart.name.upper()} = Mart("{mart.name}", {contract}, headline=({headline}))\n'
    if len(declared) > _WIDTH + 1:
        declared = f'{mart.name.upper()} = Mart(\n    "{mart.name}",\n    {contract},\n    headline=({headline}),\n)\n'
    return f"class {contract}(Contract):\n" + "\n".join(about) + f"\n\n{fields}\n\n{declared}"


def _options(column: MartColumn) -> str:
    options = ["nullable=True"] if column.nullable else []
    if column.kind == "decimal" and column.sql_type != "decimal(18,4)":
        precision, scale = column.sql_type.removeprefix("decimal(").removesuffix(")").split(",")
        options.append(f"digits=({precision}, {scale})")
    return ", ".join([*options, *([column.rule] if column.rule else [])])


def _quoted(text: str) -> str:
    """A text as YAML writes it on one line."""
    return '"' + " ".join(text.split()).replace("\\", "\\\\").replace('"', '\\"') + '"'
