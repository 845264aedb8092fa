"""What README and docs say that can be checked: commands, options, settings, paths, links, words.

Belongs here: claims about names. Elsewhere: claims about behaviour (test_tutorial.py and the product's tests).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import typer
from machine import PROJECT
from test_tutorial import blocks
from typer.testing import CliRunner

from platform_assets.cli.tree import app
from platform_assets.engine.durable.failpoint import POINTS
from platform_assets.secrets import SECRETS

PAGES: Final = (PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md")))
_NAMES: Final = [page.relative_to(PROJECT).as_posix() for page in PAGES]
_CODE: Final = re.compile(r"```.*?^```|`[^`\n]+`", re.M | re.S)
_COMMAND: Final = re.compile(r"(?:(?<=[`\s/])|^)platform((?: (?:[a-z][a-z-]*|--[a-z-]+)\b)+)")
PACKAGE: Final = PROJECT / "platform_assets"
TESTS: Final = PROJECT / "tests"
_ROOTS: Final = ("platform_assets", "dbt_project", "samples", "docs", "tests", "benchmarks", ".ci", ".github")
_FORBIDDEN: Final = (
    r"batch(es)?",
    r"dead.letters?",
    r"error tables?",
    r"bronze|silver|gold",
    r"(bad|good) rows?",
    r"SLAs?",
    r"reprocess\w*",
    r"data ?sets?",
    r"source tables?",
    r"idempotency keys?",
)
ELSEWHERE: Final = {"https://semver.org"}
_LOCAL: Final = re.compile(r"(?<![\w.…])/(work|home|root|Users|tmp|var|mnt)/")


def _verbs(typed: typer.Typer, before: str = "") -> Iterator[str]:
    for each in typed.registered_commands:
        assert each.callback is not None
        yield f"{before}{each.name or each.callback.__name__}"
    for group in typed.registered_groups:
        assert group.typer_instance is not None
        yield from _verbs(group.typer_instance, f"{before}{group.name} ")


VERBS: Final = tuple(_verbs(app))
GROUPS: Final = {verb.rpartition(" ")[0] for verb in VERBS} - {""}


def code(page: Path) -> Iterator[str]:
    """The code of a page: fenced blocks and spans."""
    for found in _CODE.finditer(page.read_text()):
        yield found[0]


def help_of(*words: str) -> str | None:
    """The help text of a verb, or None where there is no such verb."""
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"})
    return result.output if result.exit_code == 0 else None


def commands(page: Path) -> set[tuple[str, ...]]:
    """What the page says after `platform`: verbs and options."""
    return {tuple(found[1].split()) for text in code(page) for found in _COMMAND.finditer(text)}


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_verbs_and_options_exist(page: Path) -> None:
    for words in commands(page):
        verb: tuple[str, ...] = words[:1] if not words[0].startswith("--") else ()
        while " ".join(verb) in GROUPS and len(verb) < len(words) and not words[len(verb)].startswith("--"):
            verb = words[: len(verb) + 1]
        said = help_of(*verb)
        assert said is not None, f"platform {' '.join(verb)} does not exist"
        for option in (word for word in words if word.startswith("--")):
            assert re.search(rf"{option}\b", said), f"platform {' '.join(verb)} has no {option}"


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert len(readme.splitlines()) <= 80
    linked = {(PROJECT / target).resolve() for target in re.findall(r"\]\((?!https?:)([^)#]+)", readme)}
    pages = {PROJECT / "docs" / "tutorial.md", PROJECT / "docs" / "architecture.md"}
    pages |= {
        page for folder in ("how-to", "reference", "explanation") for page in (PROJECT / "docs" / folder).iterdir()
    }
    assert pages <= linked


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), f"link to {target}"
        assert not anchor or anchor in anchors(there), f"{target} has no heading #{anchor}"


def test_links_to_other_sites_are_listed() -> None:
    """They are not asked for: a test needs no network."""
    assert {link for page in PAGES for link in re.findall(r"\]\((https?://[^)]+)\)", page.read_text())} == ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_modules_that_a_page_names_exist(page: Path) -> None:
    made = {block.title for block in blocks(page.read_text())}
    within = (PROJECT, PACKAGE, PACKAGE / "engine", PROJECT / "docs")
    for module in re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)*engine/\w+)`", page.read_text()):
        there = [root / module for root in within] if "/" in module else [*PACKAGE.rglob(module), *TESTS.rglob(module)]
        assert module in made or any(each.exists() for each in there), module


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_paths_exist(page: Path) -> None:
    made = {block.title for block in blocks(page.read_text()) if block.title}
    made |= {folder.as_posix() for title in made for folder in Path(title).parents}
    written = page.read_text()
    for path in re.findall(rf"(?<![\w/.-])((?:{'|'.join(map(re.escape, _ROOTS))})/[\w./*-]*)", written):
        path = path.rstrip(".,")
        if path.rstrip("/") not in made and not path.startswith(("dbt_project/target", "docs/_site")):
            assert path.strip("/") in made or list(PROJECT.glob(path.rstrip("/"))) or _made(path, made), path


def _made(pattern: str, made: set[str]) -> bool:
    return any(Path(title).match(pattern) for title in made)


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_words_are_those_of_the_design(page: Path) -> None:
    text = page.read_text()
    if page.name == "glossary.md":  # whose last column has the words that are not used
        text = "\n".join(line.rsplit("|", 2)[0] for line in text.splitlines())
    for word in _FORBIDDEN:
        found = re.search(rf"\b({word})\b", text, 0 if word.startswith("SLA") else re.I)
        assert found is None, f"{found[0]!r} is not a word of ours" if found else ""
    assert _LOCAL.search(text) is None


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_uses_the_same_words_and_gives_an_example(verb: str) -> None:
    said = help_of(*verb.split())
    assert said is not None
    assert f"Example: platform {verb}" in said
    for word in _FORBIDDEN:
        assert re.search(rf"\b({word})\b", said, 0 if word.startswith("SLA") else re.I) is None


def test_the_readme_begins_with_what_to_type() -> None:
    lines = (PROJECT / "README.md").read_text().splitlines()
    assert [line for line in lines[:12] if line.startswith("make ")] == ["make run", "make test"]
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M))
    for page in PAGES:
        for text in code(page):
            assert set(re.findall(r"\bmake ([a-z-]+)", text)) <= targets


def test_settings_are_those_that_are_read() -> None:
    code = "".join((PROJECT / "platform_assets" / name).read_text() for name in ("settings.py", "secrets.py"))
    read = set(re.findall(r'"((?:PLATFORM|DAGSTER)_[A-Z_]+[A-Z])"', code))
    listed = (PROJECT / "docs" / "reference" / "settings.md").read_text()
    assert set(re.findall(r"^\| `((?:PLATFORM|DAGSTER)_[A-Z_]+[A-Z])`", listed, re.M)) == read
    for page in PAGES:
        named = set(re.findall(r"\b(?:PLATFORM|DAGSTER)_[A-Z_]+[A-Z]\b", page.read_text()))
        # Those that hold the name of a feed or an owner.
        named = {name for name in named if not name.startswith(("PLATFORM_FEED_", "PLATFORM_ALERT_TEAM_"))}
        ways = {f"{secret}{way}" for secret in SECRETS for way in ("_FILE", "_COMMAND")}
        assert named <= read | ways, page


def test_architecture_lists_every_failpoint() -> None:
    text = (PROJECT / "docs" / "architecture.md").read_text()
    points = text[text.index("PLATFORM_FAILPOINT") : text.index("## The ledger")]
    named = re.findall(
        r"`([\w-]+)`", "\n".join(line.split("|")[1] for line in points.splitlines() if line[:3] == "| `")
    )
    assert sorted(named) == sorted(POINTS)
