"""A draft: the Python file of a proposed feed, formatted, typed and ready for review.

Belongs here: the text of a new file, and the feed that it declares. Elsewhere: what it says (proposal.py), writing it
(commands/author.py).
"""

import dataclasses
import importlib.util
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.author.candidates import TYPES, as_declared
from platform_assets.engine.author.infer import InferredColumn
from platform_assets.engine.author.proposal import Proposal
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.formats import Format

_WIDTH: Final = 120
_SHOWN: Final = 40


def draft(proposal: Proposal, *, own_file: bool = True) -> str:
    """The module that declares the proposed feed. own_file: its name will be the feed's origin."""
    about = f"""What {proposal.origin} delivers. To be filled in: who they are, how it comes, whom to ask."""
    return f'"""{about}"""\n\n{_imports(proposal)}\n\n\n{_contract(proposal)}\n\n{_feed(proposal, own_file=own_file)}'


def declared_by(text: str, proposal: Proposal) -> Feed:
    """The feed that a draft declares, before it is written among the others."""
    with tempfile.TemporaryDirectory(prefix="draft-") as folder:
        # A file, since what a contract's checks do is read from their source.
        path = Path(folder, f"{proposal.origin}.py")
        path.write_text(text)
        spec = importlib.util.spec_from_file_location(f"_draft_of_{proposal.origin}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    feed = getattr(module, proposal.name.upper())
    assert isinstance(feed, Feed)
    return dataclasses.replace(feed, origin=proposal.origin)


def field_line(column: InferredColumn, *, indent: str = "    ") -> str:
    """The column's declaration, its remarks above it."""
    remarks = list(column.remarks)
    if column.near is not None and not remarks:
        type_, example = column.near
        remarks.append(
            f"nearly all are {as_declared(type_)}, but not {_short(example)}: declare it so, and such rows are rejected"
        )
    if len(column.values) > 1 and not column.closed:
        values = ", ".join(literal(value) for value in column.values)
        remarks.append(f"only {len(column.values)} values: isin=[{values}] would hold it to them")
    annotation = TYPES[column.type.kind].__name__
    return _comments(remarks, indent) + _call(f"{column.name}: {annotation} = Field", column.options, indent)


def _class_name(proposal: Proposal) -> str:
    """The name of the feed's contract, which is none of those that are imported."""
    name = "".join(word.capitalize() for word in proposal.name.split("_"))
    return f"{name}Rows" if name in {"Decimal", *_ours(proposal)} else name


def _ours(proposal: Proposal) -> list[str]:
    """What the module imports of the platform."""
    more = [type(proposal.form).__name__] if proposal.form is not None else []
    more += ["Rejects"] if proposal.tolerate else []
    more += ["Volume"] if proposal.volume else []
    return sorted(["Cadence", "Contract", "Feed", "Field", "Files", "hours", *more])


def literal(value: object) -> str:
    """`value` as the formatter writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
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
    files = _plain(proposal.files).strip('"')
    about = f"Rows of {proposal.name}, as in {files}. To be filled in: what a row is, grain, units."
    lines = [f"class {_class_name(proposal)}(Contract):"]
    lines += textwrap.wrap(f'"""{about}"""', _WIDTH, initial_indent="    ", subsequent_indent="    ")
    lines.append("")
    return "\n".join(lines) + "\n" + "\n".join(field_line(column) for column in proposal.columns) + "\n"


def _imports(proposal: Proposal) -> str:
    """The standard library's lines, then the one of ours."""
    kinds = {TYPES[column.type.kind] for column in proposal.columns}
    needed = {(kind.__module__, kind.__name__) for kind in kinds if kind.__module__ != "builtins"}
    standard = [
        f"from {module} import {', '.join(sorted(name for of, name in needed if of == module))}\n"
        for module in sorted({module for module, _ in needed})
    ]
    return "".join(standard) + "\n" * bool(standard) + f"from platform_assets import {', '.join(_ours(proposal))}"


def _feed(proposal: Proposal, *, own_file: bool) -> str:
    source = [literal(pattern) for pattern in proposal.patterns]
    if proposal.dated is not None:
        source.append(f"dated={literal(proposal.dated)}")
    if proposal.form is not None:
        source.append(f"format={_form(proposal.form)}")
    times = [f'"{column.name}"' for column in proposal.columns if column.type.kind in ("timestamp", "date")]
    other_times = [f"or one of: {', '.join(times)}"] if len(times) > 1 else []
    cadence = proposal.cadence
    drift, on_drift = _drift(proposal)
    arguments: Iterator[tuple[list[str], str]] = iter(
        [
            ([], f"name={literal(proposal.name)}"),
            (list(proposal.remarks), _call("source=Files", source, "    ", within=1)),
            ([], f"contract={_class_name(proposal)}"),
            *([(other_times, f"event_time={literal(proposal.event_time)}")] if proposal.event_time else []),
            *_key(proposal),
            ([*_perhaps_keys(proposal), *drift], f"on_drift={literal(on_drift)}"),
            *(
                [([proposal.tolerate[1]], f"tolerate=Rejects(rate={proposal.tolerate[0]})")]
                if proposal.tolerate
                else []
            ),
            *([([proposal.volume[1]], f"volume=Volume(least={proposal.volume[0]})")] if proposal.volume else []),
            ([f"a guess: {cadence.why}"], f"delivered=Cadence(cron={literal(cadence.cron)}, within=hours(24))"),
            ([], f"owner={literal(proposal.owner)}"),
            *([] if own_file else [([], f"origin={literal(proposal.origin)}")]),
        ]
    )
    inner = "".join(f"{_comments(remarks, '    ')}    {text},\n" for remarks, text in arguments)
    return f"{proposal.name.upper()} = Feed(\n{inner})\n"


def _key(proposal: Proposal) -> Iterator[tuple[list[str], str]]:
    """The arguments that say what names a row, where all files show it."""
    if proposal.key:
        yield [proposal.key_why], f"key={literal(proposal.key)}"
        if proposal.full_lists:
            yield [], 'key_within="delivery"'


def _perhaps_keys(proposal: Proposal) -> list[str]:
    """What may name a row, where that is not sure."""
    if proposal.key_why:
        return [] if proposal.key else [proposal.key_why]
    if len(proposal.places) > 1:
        return ["no column, nor two or three of them, name a row within its file, so no key is declared"]
    return [
        f"no value of {name} comes twice in this file: if it names a row, key=({literal(name)},) says so"
        for name in proposal.keys[:3]
    ]


def _drift(proposal: Proposal) -> tuple[list[str], str]:
    if proposal.left_out:
        names = " and ".join(_short(column.header) for column in proposal.left_out)
        return [f"{names} hold what no kind of a contract takes: rescue keeps them, as JSON in _extra"], "rescue"
    why = "a column more quarantines its delivery: drift of a new feed should be seen; add or rescue would keep it"
    return [why], "fail"


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
    return " ".join(shown.split()) or "?"


def _short(value: str) -> str:
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")
