"""The table of threats names tests that exist."""

import re
from pathlib import Path

import pytest
from machine import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text()
ROWS = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", PAGE.partition("## Threats")[2].partition("\n## ")[0], re.M)[2:]


def test_threats_are_told_once() -> None:
    assert ROWS
    assert len({threat for threat, *_ in ROWS}) == len(ROWS)


@pytest.mark.parametrize(("threat", "measure", "tests"), ROWS, ids=[threat for threat, *_ in ROWS])
def test_a_threat_has_a_measure_and_a_test(threat: str, measure: str, tests: str) -> None:
    assert measure
    named = re.findall(r"`([^`]+\.py)(?:::(\w+))?`", tests)
    assert named, "a test that does the attack again"
    for file, function in named:
        text = Path(PROJECT, file).read_text()
        assert not function or f"def {function}(" in text


def test_the_policy_leads_to_the_page() -> None:
    assert "(docs/security.md)" in (PROJECT / "SECURITY.md").read_text()
