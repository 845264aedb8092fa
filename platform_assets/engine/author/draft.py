"""A proposed feed as the Python file its author would write: formatted, typed, ready for review.

Belongs here: text and its imports, also into a file that declares other feeds. Does not: conclusions (proposal.py).
"""

import ast
import dataclasses
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, Final

from platform_assets.engine.author.infer import Profile
from platform_assets.engine.author.proposal import Proposal
from platform_assets.engine.author.readings import TYPES, told
from platform_assets.engine.feed.formats import Format
from platform_assets.errors import ConfigurationError

_WIDTH: Final = 120
_SHOWN: Final = 40
_STANDARD: Final = ("datetime", "decimal")


def draft(proposal: Proposal, existing: str | None = None) -> str:
    """The module that declares the proposed feed: a new one, or `existing` with the feed behind what it has.

    Raises ConfigurationError where `existing` means something else by a name that is needed.
    """
    body = f"{_contract(proposal)}\n\n{_feed(proposal)}"
    needs = _needs(proposal)
    if existing is None:
        docstring = (
            f'''"""What {proposal.origin} delivers. To be filled in: who they are, how it comes, whom to ask."""'''
        )
        sections = (
            "\n".join(_import(module, names) for module, names in sorted(part.items()))
            for part in _sections(needs)
            if part
        )
        return f"{docstring}\n\n{f'{chr(10)}{chr(10)}'.join(sections)}\n\n\n{body}"
    taken = _bound(existing)
    for name in (class_name(proposal.name), proposal.name.upper()):
        if name in taken:
            raise ConfigurationError(
                f"feed {proposal.name!r}", f"{proposal.origin}.py has a {name} already", "Give it another --name."
            )
    for module, names in needs.items():
        for name in names:
            if taken.get(name, f"{module}.{name}") != f"{module}.{name}":
                raise ConfigurationError(
                    f"{proposal.origin}.py", f"means something else by {name}", "Give it another --origin."
                )
    missing = {module: {name for name in names if name not in taken} for module, names in needs.items()}
    return f"{_with_imports(existing, missing).rstrip()}\n\n\n{body}"


def field_line(profile: Profile, *, indent: str = "    ") -> str:
    """The column's declaration, its remarks above it."""
    remarks = list(profile.remarks)
    if profile.near is not None and not remarks:
        reading, example = profile.near
        remarks.append(f"nearly all are {told(reading)}, but not {_short(example)}: declared so, those are rejected")
    if profile.values:
        values = ", ".join(literal(value) for value in profile.values)
        remarks.append(f"only {len(profile.values)} values: isin=[{values}] would hold it to them")
    annotation = TYPES[profile.reading.kind].__name__
    return _comments(remarks, indent) + _call(f"{profile.name}: {annotation} = Field", profile.options, indent)


def class_name(name: str) -> str:
    """The name of the contract of the feed called `name`."""
    return "".join(word.capitalize() for word in name.split("_"))


def literal(value: object) -> str:
    """`value` as the formatter writes it."""
    if isinstance(value, tuple):
        inner = ", ".join(map(literal, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    written = repr(value)
    if not isinstance(value, str):
        return written
    single = written[1:-1] if written[0] == "'" else written[1:-1].replace("'", "\\'")
    plain = single.replace("\\'", "'")
    if plain.count('"') > plain.count("'"):
        return f"'{single}'"
    return '"' + plain.replace('"', '\\"') + '"'


def _contract(proposal: Proposal) -> str:
    about = f"Rows of {proposal.name}, as in {_plain(proposal.file)}. To be filled in: what a row is, grain, units."
    lines = [f"class {class_name(proposal.name)}(Contract):"]
    lines += textwrap.wrap(f'"""{about}"""', _WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines.append("")
    return "\n".join(lines) + "\n" + "\n".join(field_line(column) for column in proposal.columns) + "\n"


def _feed(proposal: Proposal) -> str:
    source = [literal(proposal.pattern)]
    if proposal.form is not None:
        source.append(f"format={_form(proposal.form)}")
    drift = ["a column more quarantines its delivery: drift of a new feed should be seen; add or rescue would keep it"]
    on_drift = "fail"
    if proposal.left_out:
        names = " and ".join(_short(profile.header) for profile in proposal.left_out)
        drift = [f"{names} hold what no kind of a contract takes: rescue keeps them, as JSON in _extra"]
        on_drift = "rescue"
    keys = [
        f"no value of {name} comes twice in this file: if it names a row, key=({literal(name)},) says so"
        for name in proposal.keys
    ]
    moments = [f'"{column.name}"' for column in proposal.columns if column.reading.kind in ("timestamp", "date")]
    more_moments = [f"or one of: {', '.join(moments)}"] if len(moments) > 1 else []
    rhythm = proposal.rhythm
    arguments: Iterator[tuple[list[str], str]] = iter(
        [
            ([], f"name={literal(proposal.name)}"),
            (list(proposal.remarks), _call("source=Files", source, "    ", within=1)),
            ([], f"contract={class_name(proposal.name)}"),
            *([(more_moments, f"event_time={literal(proposal.event_time)}")] if proposal.event_time else []),
            (keys[:3] + drift, f"on_drift={literal(on_drift)}"),
            ([f"a guess: {rhythm.why}"], f"delivered=Cadence(cron={literal(rhythm.cron)}, within=hours(24))"),
            ([], f"owner={literal(proposal.owner)}"),
        ]
    )
    inner = "".join(f"{_comments(remarks, '    ')}    {text},\n" for remarks, text in arguments)
    return f"{proposal.name.upper()} = Feed(\n{inner})\n"


def _form(form: Format) -> str:
    given = {
        field.name: getattr(form, field.name)
        for field in dataclasses.fields(form)
        if getattr(form, field.name) != field.default
    }
    return f"{type(form).__name__}({', '.join(f'{key}={literal(value)}' for key, value in given.items())})"


def _call(begin: str, arguments: Mapping[str, Any] | list[str], indent: str, *, within: int = 0) -> str:
    """A call on one line, or with an argument a line where that is too long."""
    written = (
        arguments if isinstance(arguments, list) else [f"{key}={literal(value)}" for key, value in arguments.items()]
    )
    line = f"{begin}({', '.join(written)})"
    if len(indent) + len(line) + within > _WIDTH:
        line = f"{begin}(\n" + "".join(f"{indent}    {each},\n" for each in written) + f"{indent})"
    return line if within else indent + line


def _comments(remarks: list[str], indent: str) -> str:
    lines = (
        wrapped
        for remark in remarks
        for wrapped in textwrap.wrap(
            _plain(remark),
            _WIDTH,
            initial_indent=f"{indent}# ",
            subsequent_indent=f"{indent}# ",
            break_on_hyphens=False,
        )
    )
    return "".join(f"{line}\n" for line in lines)


def _plain(text: str) -> str:
    """Text for a comment or docstring: one line, nothing that ends it, no trailing blank."""
    shown = "".join(c if c.isprintable() else "?" for c in text).replace("\\", "/").replace('"""', "'''")
    return " ".join(shown.split()).rstrip('"') or "?"


def _short(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")


# ---- imports


def _needs(proposal: Proposal) -> dict[str, set[str]]:
    needs: dict[str, set[str]] = {
        "platform_assets": {"Cadence", "Contract", "Feed", "Field", "Files", "hours"},
    }
    for column in proposal.columns:
        kind = TYPES[column.reading.kind]
        if kind.__module__ in _STANDARD:
            needs.setdefault(kind.__module__, set()).add(kind.__name__)
    if proposal.form is not None:
        needs["platform_assets"].add(type(proposal.form).__name__)
    return needs


def _sections(needs: dict[str, set[str]]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    ours = {module: names for module, names in needs.items() if module not in _STANDARD}
    return {module: names for module, names in needs.items() if module in _STANDARD}, ours


def _import(module: str, names: set[str]) -> str:
    def order(name: str) -> tuple[int, str]:
        return (0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2), name

    ordered = sorted(names, key=order)
    line = f"from {module} import {', '.join(ordered)}"
    return line if len(line) <= _WIDTH else f"from {module} import (\n" + "".join(f"    {n},\n" for n in ordered) + ")"


def _bound(module: str) -> dict[str, str]:
    """What a module's names stand for: `module.name` where imported, their own line otherwise."""
    bound: dict[str, str] = {}
    for node in ast.parse(module).body:
        if isinstance(node, ast.ImportFrom):
            bound.update((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            bound.update(((alias.asname or alias.name).partition(".")[0], alias.name) for alias in node.names)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef):
            bound[node.name] = f"line {node.lineno}"
        else:
            names = (each for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store))
            bound.update((each.id, f"line {node.lineno}") for each in names)
    return bound


def _with_imports(module: str, missing: dict[str, set[str]]) -> str:
    """The module, importing also what is missing; all else stays as it is."""
    for origin, names in sorted(missing.items()):
        if names:
            module = _with_import(module, origin, names)
    return module


def _with_import(module: str, origin: str, names: set[str]) -> str:
    lines = module.splitlines(keepends=True)
    body = ast.parse(module).body
    imports = [node for node in body if isinstance(node, ast.ImportFrom | ast.Import)]
    for node in imports:
        if isinstance(node, ast.ImportFrom) and node.module == origin and not any(a.asname for a in node.names):
            last = node.end_lineno or node.lineno
            if "#" not in "".join(lines[node.lineno - 1 : last]):
                there = {alias.name for alias in node.names}
                lines[node.lineno - 1 : last] = [_import(origin, there | names) + "\n"]
                return "".join(lines)
    added = _import(origin, names) + "\n"
    standard = origin in _STANDARD
    kin = [node for node in imports if _of_section(node, standard=standard)]
    before = next((node for node in kin if isinstance(node, ast.ImportFrom) and (node.module or "") > origin), None)
    if before is not None:
        lines.insert(before.lineno - 1, added)
    elif kin:
        lines.insert(kin[-1].end_lineno or kin[-1].lineno, added)
    elif imports:
        first, last = imports[0].lineno - 1, imports[-1].end_lineno or 0
        lines[first:first] = [added, "\n"] if standard else []
        lines[last:last] = [] if standard else ["\n", added]
    else:
        docstring = body[0] if body and isinstance(body[0], ast.Expr) else None
        at = (docstring.end_lineno or 0) if docstring is not None else 0
        lines[at:at] = ["\n", added, "\n"]
    return re.sub(r"\n{4,}", "\n\n\n", "".join(lines))


def _of_section(node: ast.ImportFrom | ast.Import, *, standard: bool) -> bool:
    module = (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names if standard else top == "platform_assets"
