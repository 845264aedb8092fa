"""The page of threats names tests that exist; its unit of the service names folders that the platform has."""

import re
from pathlib import Path

import pytest
from machine import PROJECT

from platform_assets.project.manifest import DBT_PROJECT

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


def test_the_service_is_closed_in_and_still_may_write_what_it_must() -> None:
    (text,) = re.findall(r"^```ini\n(.*?)^```", PAGE, re.M | re.S)
    service = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    project = service["WorkingDirectory"]
    assert service["ExecStart"] == f"{project}/.venv/bin/platform ui"
    writable = f"/srv/platform/home {project}/{(DBT_PROJECT / 'target').relative_to(PROJECT)}"
    assert (service["ProtectSystem"], service["ReadWritePaths"]) == ("strict", writable)
    assert "Environment=PLATFORM_HOME=/srv/platform/home\n" in text
    assert (service["UMask"], service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == ("0077", "yes", "")
    # What would stop it: see the page.
    assert not {"DynamicUser", "MemoryDenyWriteExecute", "RestrictSUIDSGID"} & set(service)
