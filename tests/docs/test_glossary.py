"""The glossary against the names in use: what it names exists, and what it forbids is the name of nothing public.

Belongs here: names. Elsewhere: words in the text of pages and of help (test_readme.py).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import generate
import pytest
from examples import Example
from test_readme import VERBS

import platform_assets
from platform_assets.cli.tree import app
from platform_assets.engine.feed.product import Product
from platform_assets.orchestration.runs.keys import deliveries_key, mart_key, quarantine_key, raw_key, release_key
from platform_assets.project.products import ReleasedProduct
from platform_assets.settings import PROJECT

GLOSSARY: Final = PROJECT / "docs" / "reference" / "glossary.md"
# Words that the glossary has for something else, and that a public name may hold all the same.
ALLOWED: Final[Mapping[str, str]] = {
    "Feed.key": "the columns that name a row, as every database calls them; not a file's place",
    "Feed.key_within": "the same key",
    "Feed.on_known_key": "the same key",
    "PLATFORM_AUDIT_KEY": "a secret to sign with, as everybody calls it; not a file's place",
    "PLATFORM_ERASE_KEY": "the same kind of secret",
    "PLATFORM_PSEUDONYM_KEY": "the same kind of secret",
    "PLATFORM_UI_KEY": "the key of a certificate, as everybody calls it",
    "feed drop": "to remove, as every database calls it; not a file that is dropped into a folder",
    "quarantine export": "rejected rows as a CSV file for their producer; not a release",
}
# Of what has a word of its own.
PARTS: Final = {
    "Csv",
    "Json",
    "Xml",
    "Excel",
    "Parquet",
    "Since",
    "Volume",
    "days",
    "gigabytes",
    "hours",
    "minutes",
    "seconds",
}
_IN_USE: Final = re.compile(r"(class|command|column|table|check|asset|setting|option) `([^`]+)`")


def rows() -> list[list[str]]:
    """The glossary's rows: word, meaning, names in use, what it is not called."""
    lines = [line for line in GLOSSARY.read_text().splitlines() if line.startswith("| **")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def columns_of(page: str) -> set[str]:
    """The first column of a reference page's tables."""
    text = (generate.REFERENCE / f"{page}.md").read_text()
    return set(re.findall(r"^\| `([^`]+)`", text, re.M))


def public_names() -> dict[str, set[str]]:
    """Kind -> public names of that kind. The reference pages among them are held to the code (test_reference.py)."""
    feed = replace(Example((), "").feed(), name="order_lines", origin="retail")
    retail = ReleasedProduct("retail", "team:sales", (), Product("retail"))
    keys = [raw_key(feed), quarantine_key(feed), deliveries_key(feed), mart_key("daily_sales"), release_key(retail)]
    return {
        "class": set(platform_assets.__all__),
        "command": {*VERBS, *(str(group.name) for group in app.registered_groups)},
        "column": columns_of("ledger"),
        "table": set(re.findall(r"^## (\S+)", (generate.REFERENCE / "ledger.md").read_text(), re.M)),
        "check": columns_of("checks"),
        "asset": {key.to_user_string() for key in keys},
        "setting": columns_of("settings"),
        "option": {f"{kind}.{each.name}" for kind in generate.DECLARATIONS for each in generate.options_of(kind)},
    }


NAMES: Final = public_names()


@pytest.mark.parametrize("row", rows(), ids=[row[0].strip("*") for row in rows()])
def test_what_the_glossary_names_exists(row: list[str]) -> None:
    found = _IN_USE.findall(row[2])
    assert found, "a word is the name of something"
    assert [f"{kind} {name}" for kind, name in found if name not in NAMES[kind]] == []


def test_every_class_that_authors_import_is_in_the_glossary() -> None:
    named = {name for row in rows() for kind, name in _IN_USE.findall(row[2]) if kind == "class"}
    assert set(platform_assets.__all__) - PARTS == named


@pytest.mark.parametrize(("word", "instead"), [(word, row[0]) for row in rows() for word in row[3].split(", ") if word])
def test_a_word_that_is_not_used_names_nothing(word: str, instead: str) -> None:
    pattern = re.compile(rf"(?<![a-z]){word.replace(' ', '[_ ]')}(s|es)?(?![a-z])")
    found = {
        name
        for names in NAMES.values()
        for name in names - set(ALLOWED)
        if pattern.search(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    }
    assert found == set(), f"say {instead}"


def test_names_that_are_allowed_exist() -> None:
    assert set(ALLOWED) <= set().union(*NAMES.values())
