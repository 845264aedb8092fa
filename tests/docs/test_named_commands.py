"""Every command line of the platform that a message, a runbook or a page names is one that can be typed.

Belongs here: that it parses. Elsewhere: whether it helps (the tests of what it is named for), what pages print
(test_how_to.py). A verb without its arguments, and an option beside it, name themselves.
"""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
from machine import PROJECT

from platform_assets.cli.tree import app

GROUP: Final[Any] = typer.main.get_command(app)
_NAMED: Final = re.compile(r"`platform ([^`]+)`|(?:[:$] |&& )platform ([a-z][^`\n;]*)")
_STOPS: Final = ("…", "&&", "||", "|", ">", ">>", "#")
PLACEHOLDER: Final = "1"  # a number is a name, too


def texts_of(module: Path) -> Iterator[str]:
    """The texts of a module, as one where it is written in parts; what is filled in is a placeholder."""
    tree = ast.parse(module.read_text())
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(each.value) if isinstance(each, ast.Constant) else PLACEHOLDER
                for each in node.values
                if isinstance(each, ast.Constant | ast.FormattedValue)
            )


def named(text: str) -> Iterator[str]:
    """The command lines in a text, without what a shell does with them, or with a sentence's stop."""
    for found in _NAMED.finditer(" ".join(text.split(" "))):
        line = (found[1] or found[2].partition(". ")[0]).strip().rstrip(".,)")
        yield line.rstrip("'\"") if line.count("'") % 2 or line.count('"') % 2 else line


def refused(line: str) -> str | None:
    """Why the line cannot be typed; None where it can."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        return str(error)
    stop = next((at for at, word in enumerate(words) if word in _STOPS or word.endswith("…")), len(words))
    words, whole = words[:stop], stop == len(words)
    command: Any = GROUP
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        if words[0] in (PLACEHOLDER, "VERB"):
            return None
        if words[0] not in command.commands:
            return None if command.invoke_without_command and command is not GROUP else f"no verb {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    if not words or not whole or command is GROUP:
        return None
    try:
        command.make_context(command.name, list(words))
    except Exception as error:  # noqa: BLE001 - of click, which typer has within itself
        ends = type(error).__name__
        named_alone = ends == "BadOptionUsage" or (ends == "MissingParameter" and words[0].startswith("-"))
        return None if named_alone or ends in ("NoArgsIsHelpError", "Exit") else str(error)
    return None


@pytest.mark.parametrize(
    "line", ["nonsense", "run --nonsense", "feed status extra words", "replay orders --delivery one"]
)
def test_what_cannot_be_typed_is_found(line: str) -> None:
    assert refused(line) is not None


@pytest.mark.parametrize("line", ["run", "replay", "feed add FILE --origin shop", 'check "key:marts/*"'])
def test_what_can_be_typed_passes(line: str) -> None:
    assert refused(line) is None


def test_messages_name_commands_that_can_be_typed() -> None:
    found = {
        f"{module.relative_to(PROJECT)}: platform {line}": why
        for module in sorted((PROJECT / "platform_assets").rglob("*.py"))
        for text in texts_of(module)
        for line in named(text)
        if (why := refused(line)) is not None
    }
    assert found == {}


@pytest.mark.parametrize("page", sorted((PROJECT / "docs").rglob("*.md")), ids=lambda page: page.stem)
def test_pages_name_commands_that_can_be_typed(page: Path) -> None:
    assert {line: why for line in named(page.read_text()) if (why := refused(line)) is not None} == {}
