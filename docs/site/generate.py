"""Writes the reference pages from the code: `python docs/site/generate.py`, which `make docs` calls.

Belongs here: what is on these pages, and in which order. Elsewhere: the words (docstrings and help texts of what they
describe), the examples (options.py, examples.py), the site (conf.py).
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import typer
from examples import ARRIVED, SALES, Example, Sales, came_of
from options import EXAMPLES
from receipts import columns

import platform_assets
from platform_assets import Feed, Mart, Product
from platform_assets.cli.codes import explained
from platform_assets.cli.tree import app
from platform_assets.engine.store.receipts import Receipt
from platform_assets.orchestration.checks import check_specs
from platform_assets.orchestration.marts import mart_checks
from platform_assets.orchestration.release import release_checks
from platform_assets.orchestration.watch.freshness import mart_freshness_checks
from platform_assets.orchestration.watch.runbooks import of_check
from platform_assets.project.graph import NOTHING, Project
from platform_assets.project.products import ReleasedProduct
from platform_assets.settings import PROJECT, Settings

REFERENCE: Final = PROJECT / "docs" / "reference"
_WRITTEN: Final = "<!-- Written by docs/site/generate.py: change the code that it describes, then `make docs`. -->"
DECLARATIONS: Final = (
    *("Feed", "Files", "Csv", "Json", "Xml", "Excel", "Parquet"),
    *("Field", "Since", "Cadence", "Rejects", "Volume", "Retention", "Mart", "Chart"),
)
_OPTION: Final = re.compile(r"^([a-z_]+): ", re.M)
_MEANINGS: Final = {
    ("ledger.deliveries", "changed"): "the revision under which anything about the receipt last changed.",
    ("ledger.deliveries", "mark"): "a digest of slot, content and generation, to be compared with the journal.",
    ("ledger.slots", "feed"): "the feed.",
    ("ledger.slots", "slot"): "the file's path below the landing folder.",
    ("ledger.slots", "place"): "the slot's place in the order in which the feed's deliveries count.",
    ("ledger.slots", "filled_by"): "the delivery whose rows stand in raw for the slot.",
    ("ledger.slots", "delivery_id"): "the slot's newest delivery.",
    ("ledger.slots", "fingerprint"): "its content.",
    ("ledger.slots", "generation"): "which of the slot's deliveries it is.",
    ("ledger.slots", "position"): "where its source was last read, as JSON: of a file its size, times and inode.",
    ("ledger.slots", "traits"): "what a renamed file keeps: its size and the time of its last change.",
    ("ledger.slots", "changed"): "the revision under which this row last changed.",
    ("ledger.duplicates", "delivery_id"): "the delivery that brought the repeating row.",
    ("ledger.duplicates", "line"): "its line.",
    ("ledger.duplicates", "of_delivery"): "the delivery of the row that counts; empty where it is the same.",
    ("ledger.duplicates", "of_line"): "its line.",
    ("ledger.given_out", "revision"): "the last revision that a lost warehouse, or a dropped feed, had been given.",
    ("ledger.given_out", "delivery_id"): "the last id of a delivery that a dropped feed had been given; else 0.",
    ("ledger.profiles", "feed"): "the feed.",
    ("ledger.profiles", "delivery_id"): "one of its newest deliveries.",
    ("ledger.profiles", "revision"): "of the delivery, when it was measured.",
    ("ledger.profiles", "column"): "the column.",
    ("ledger.profiles", "figure"): "what was measured.",
    ("ledger.profiles", "value"): "the figure's value.",
    ("ledger.profiles", "example"): "the value of the column it is about, if any.",
}
_TABLES: Final = {
    "ledger.deliveries": "One receipt per delivery, written in the same transaction as its rows.",
    "ledger.slots": "What stands in each slot (a file's path), and the position in which its source was last read.",
    "ledger.duplicates": "Rows that repeat an earlier row of their delivery, or whose key a row of another delivery has.",
    "ledger.given_out": "What is never given out again: revisions and ids of a lost warehouse, or a dropped feed.",
    "ledger.profiles": "What the values of the newest deliveries are like.",
}


def pages() -> dict[Path, str]:
    """Every generated page with what it must hold."""
    return {
        REFERENCE / f"{name}.md": f"{_WRITTEN}\n\n{text.strip()}\n"
        for name, text in (
            ("declarations", declarations()),
            ("settings", settings()),
            ("commands", commands()),
            ("checks", checks()),
            ("ledger", ledger()),
        )
    }


# Declarations


def declarations() -> str:
    """Every option of what authors declare, with its examples and what came of them."""
    tried = [(example, came_of(example)) for example in EXAMPLES]
    options = {f"{kind}.{option.name}" for kind in DECLARATIONS for option in options_of(kind)}
    shown = {option for example in EXAMPLES for option in example.options}
    if options != shown:
        raise SystemExit(f"docs/site/options.py: no example for {options - shown}, none needed for {shown - options}")
    parts = [
        "# Declarations\n\nWhat feeds and marts are declared with: `from platform_assets import Feed, Field, …`. Every "
        "example was run: what came of it is what the platform answered. Where rows come in, their values are listed.\n\n"
        f"Examples of `Files`, of formats and of `Feed` change this feed:\n\n```python\n{SALES}```",
        *(_declaration(kind, tried) for kind in DECLARATIONS),
        "## Contract\n\n"
        + (platform_assets.Contract.__doc__ or "")
        + "\n\nA column is annotated with its type: `str`, `int`, "
        "`Decimal`, `float`, `datetime`, `date` or `bool`, and described by [Field](#field).",
        "## Durations\n\n"
        + "\n".join(
            f"- `{name}(n)`: {inspect.getdoc(getattr(platform_assets, name))}"
            for name in ("hours", "minutes", "seconds")
        ),
    ]
    return "\n\n".join(parts)


def _declaration(kind: str, examples: Sequence[tuple[Example, list[str]]]) -> str:
    about, _ = documented(getattr(platform_assets, kind))
    rows = [
        (f"`{option.name}`", f"`{option.type}`", f"`{option.default}`" if option.default else "required", option.text)
        for option in options_of(kind)
    ]
    tried = [
        (
            ", ".join(f"`{option.partition('.')[2]}`" for option in example.options),
            _code([example.code]),
            _code(line for name, content in example.files.items() for line in _delivered(name, content, example)),
            _code(lines or ["no row"]),
        )
        for example, lines in examples
        if example.options[0].startswith(f"{kind}.")
    ]
    delivers = any(delivered for _, _, delivered, _ in tried)
    head = ("option", "example", "delivered", "what came of it" if delivers else "means")
    return (
        f"## {kind}\n\n{about}\n\n" + table(("option", "type", "default", "means"), rows) + "\n\n" + table(head, tried)
    )


def _delivered(name: str, content: str | bytes, example: Example) -> Iterator[str]:
    """A delivered file as the page shows it: its lines, or its name where that is what counts."""
    if example.options[0].startswith("Files.") or len(example.files) > 1 or isinstance(content, bytes):
        yield f"{name}:"
    if isinstance(content, str):
        yield from content.splitlines()
    elif not name.endswith((".xlsx", ".parquet")):
        yield from content.decode("latin-1").splitlines()
    if example.arrived != ARRIVED and example.options[0].startswith("Since"):
        yield f"(arrived on {example.arrived:%d %B %Y})"


@dataclass(frozen=True)
class Option:
    """An option of a declaration: as it is written in the code, and what its docstring says."""

    name: str
    type: str
    default: str
    text: str


def options_of(kind: str) -> list[Option]:
    """The options of a class or function that authors use, in the order of its signature."""
    declared = getattr(platform_assets, kind)
    _, texts = documented(declared)
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(declared))).body
    found = []
    for name, annotation, default in _parameters(node):
        if name not in texts:
            raise SystemExit(f"{kind}'s docstring says nothing of {name}")
        choice = re.sub(
            r"Literal\[([^]]*)\]", lambda found: str(found[1]).replace(", '", " | '").replace(', "', ' | "'), annotation
        )
        found.append(Option(name, choice, default, texts[name]))
    if undeclared := set(texts) - {option.name for option in found}:
        raise SystemExit(f"{kind}'s docstring tells of {undeclared}, which it does not have")
    return found


def _parameters(node: ast.stmt) -> Iterator[tuple[str, str, str]]:
    """Name, type and default of what a class or function is called with."""
    if isinstance(node, ast.ClassDef):
        own = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"]
        if not own:
            for each in node.body:
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    yield each.target.id, ast.unparse(each.annotation), _default(each.value)
            return
        node = own[0]
    assert isinstance(node, ast.FunctionDef)
    if node.args.vararg is not None and node.args.vararg.annotation is not None:
        yield f"{node.args.vararg.arg}", f"*{ast.unparse(node.args.vararg.annotation)}", ""
    for argument, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        assert argument.annotation is not None
        yield argument.arg, ast.unparse(argument.annotation), _default(value)
    if node.args.kwarg is not None:
        yield node.args.kwarg.arg, "**Any", "{}"


def _default(value: ast.expr | None) -> str:
    if value is None:
        return ""
    written = ast.unparse(value)
    made = re.fullmatch(r"field\(default_factory=(\w+)\)", written)
    return f"{made[1]}()" if made else written


def documented(thing: object) -> tuple[str, dict[str, str]]:
    """What a docstring says as a whole, and of each option: `name: text`, continued on deeper lines."""
    written = inspect.getdoc(thing) or ""
    first = _OPTION.search(written)
    if first is None:
        return written, {}
    about, rest = written[: first.start()].strip(), written[first.start() :]
    texts: dict[str, str] = {}
    for part in re.split(r"\n(?=[a-z_]+: )", rest):
        name, _, text = part.partition(": ")
        texts[name] = " ".join(text.split())
    return about, texts


# Settings


def settings() -> str:
    """Every variable of the environment that is read, from the docstring of what they become."""
    written = inspect.getdoc(Settings) or ""
    rows = []
    for part in re.split(r"\n(?=(?:PLATFORM|DAGSTER)_)", written)[1:]:
        name, _, text = part.partition(": ")
        told = re.fullmatch(r"(.*) Default: (.*)\. Example: (.*)", " ".join(text.split()))
        if told is None:
            raise SystemExit(f"Settings: {name} lacks a default or an example")
        rows.append((f"`{name}`", told[1], told[2], told[3]))
    head = (
        "# Settings\n\nVariables of the environment. A wrong one ends a command with exit code 2 and names itself. "
        "So does a name that begins with `PLATFORM_` and is near a setting's name, also in `.env`; of others, a line tells. "
        "A secret may also come from a file or a command: [secrets](../how-to/secrets.md).\n\n"
    )
    return head + table(("variable", "is", "default", "example"), rows)


# Commands


def verbs() -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every verb, by what is typed after `platform`."""
    yield from _verbs(typer.main.get_command(app), "")


def _verbs(group: Any, before: str) -> Iterator[tuple[str, Any]]:
    for name, each in group.commands.items():
        if getattr(each, "callback", None) is not None:
            yield f"{before}{name}", each
        yield from _verbs(each, f"{before}{name} ") if hasattr(each, "commands") else ()


def commands() -> str:
    """Every verb with its arguments and options, from its help."""
    parts = [
        "# Commands\n\n`platform VERB --help` says the same. " + explained() + " With `--json` the answer "
        "is one line, the last of standard output; progress goes to standard error."
    ]
    for verb, command in verbs():
        about, _, example = inspect.cleandoc(command.help or "").partition("Example: ")
        rows = [_parameter(each) for each in command.params]
        example = f"\n\n```\n{example.strip()}\n```" if example else ""
        parts.append(
            f"## platform {verb}\n\n{_unwrapped(about.strip())}{example}\n\n" + table(("", "takes", "means"), rows)
        )
    return "\n\n".join(part.strip() for part in parts)


def _parameter(parameter: Any) -> tuple[str, str, str]:
    """A row about an argument or option."""
    annotation = parameter.type_descriptor.annotation
    takes = "" if getattr(parameter, "is_flag", False) else re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", str(annotation))
    names = [*parameter.opts, *getattr(parameter, "secondary_opts", ())]
    argument = not names[0].startswith("-")
    default = parameter.default
    shown = (
        f" Default: `{default}`."
        if isinstance(default, str | int | float | Path) and not isinstance(default, bool)
        else ""
    )
    needed = " Required." if parameter.required else ""
    written = " / ".join(f"`{name.upper() if argument else name}`" for name in names)
    return written, takes and f"`{takes}`", _plain(parameter.help or "") + needed + shown


def _unwrapped(text: str) -> str:
    return _plain("\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n")))


def _plain(text: str) -> str:
    """Help as Markdown: it means its stars and brackets."""
    return re.sub(r"([*<\[])", r"\\\1", text)


# Checks


def checks() -> str:
    """Every asset check with what it says of itself in Dagster."""
    feed = Example((), "").feed()
    mart = Mart("daily_sales", Sales)
    one = Project({}, (ReleasedProduct("PRODUCT", "team:sales", (), Product("PRODUCT")),))
    raw = check_specs(feed)
    held = [spec for made in (mart_checks([mart]), mart_freshness_checks([mart], NOTHING)) for spec in made.check_specs]
    parts = [
        "# Checks\n\nA blocking check that fails holds back what is made from the asset, and the release. `platform check` runs them."
    ]
    for title, specs in (
        (
            f"Of a feed's raw asset\n\nFigures are those of a feed that declares `tolerate=Rejects()` and `{_cadence(feed)}`.",
            raw,
        ),
        ("Of a mart", held),
        ("Of a product's release", release_checks(one).check_specs),
    ):
        rows = [
            (
                f"`{spec.name}`",
                "yes" if spec.blocking else "no",
                spec.description or "",
                f"[{page}](../runbooks/{page}.md)",
            )
            for spec in specs
            for page in [of_check(spec.name)]
        ]
        parts.append(f"## {title}\n\n" + table(("check", "blocking", "passes when", "when it fails"), rows))
    parts.append(
        "## Of a dbt model\n\nEvery dbt test of a model is a check of its asset, under the test's name: blocking where its severity "
        "is `error`. When it fails: [mart-broken](../runbooks/mart-broken.md)."
    )
    return "\n\n".join(parts)


def _cadence(feed: Feed) -> str:
    return f'delivered=Cadence(cron="{feed.delivered.cron}", within=hours(3))'


# Ledger


def ledger() -> str:
    """Every column of the ledger, with the receipt of a small delivery."""
    _, texts = documented(Receipt)
    if set(texts) != {column.name for column in fields(Receipt)}:
        raise SystemExit(
            f"Receipt's docstring and columns differ: {set(texts) ^ {column.name for column in fields(Receipt)}}"
        )
    held = columns()
    meanings = {("ledger.deliveries", name): text for name, text in texts.items()} | _MEANINGS
    if set(meanings) != set(held):
        raise SystemExit(f"the ledger's columns and what is said of them differ: {set(meanings) ^ set(held)}")
    parts = [
        "# Ledger\n\nThe schema `ledger` of `warehouse.duckdb`. Read it with SQL while nothing runs; "
        "`platform feed status` and `platform quarantine list` show what people need of it. "
        "Examples are from several deliveries of a small feed."
    ]
    for name, about in _TABLES.items():
        rows = [
            (f"`{column}`", f"`{kind}`", meanings[table_of, column], _cell(value))
            for (table_of, column), (kind, value) in held.items()
            if table_of == name
        ]
        parts.append(f"## {name}\n\n{about}\n\n" + table(("column", "type", "is", "example"), rows))
    return "\n\n".join(parts)


def _cell(value: object) -> str:
    if value is None:
        return ""
    written = f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else str(value)
    short = re.sub("(?<=[0-9a-f]{8})[0-9a-f]{56}", "…", written)
    return f"`{short}`"


# Markdown


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns that are empty throughout are left out. Empty where there are no rows."""
    kept = [at for at in range(len(head)) if any(row[at] for row in rows)]
    lines = [[head[at] for at in kept], ["---" for _ in kept], *([_escaped(row[at]) for at in kept] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if rows else ""


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|").replace("\n", " ")


def _code(lines: Iterable[str]) -> str:
    """Lines as code within a cell."""
    return "<br>".join(f"`` {line} ``" if "`" in line else f"`{line}`" for line in lines)


def stale() -> dict[Path, str]:
    """Pages that are not what the code says, with what they must hold."""
    return {page: text for page, text in pages().items() if not page.exists() or page.read_text() != text}


if __name__ == "__main__":
    for page, text in stale().items():
        page.write_text(text)
        sys.stdout.write(f"{page.relative_to(PROJECT)} written\n")
