"""`platform ci`: the whole deployment proved in a home that is thrown away, on the sample's deliveries if it has it.

Belongs here: what is proved, and the report. Elsewhere: the checks themselves (orchestration/checks.py).
"""

import json
import os
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import dagster as dg

from platform_assets.commands.execution import run_assets
from platform_assets.definitions import build_definitions
from platform_assets.engine.store.pseudonyms import SETTING as PSEUDONYM_KEY
from platform_assets.errors import counted, lines
from platform_assets.project.configured import (
    configured_deployment,
    declared_feeds,
    declared_marts,
    declared_project,
)
from platform_assets.project.dbt_marts import mart_disagreements
from platform_assets.project.dbt_sources import drifted_sources
from platform_assets.project.manifest import current_manifest, run_dbt
from platform_assets.project.promised import Promises
from platform_assets.project.sample import sample_links
from platform_assets.project.state import State
from platform_assets.settings import Settings

_ROWS_PER_DAY: Final = 500
_DIRT: Final = 0.02
_UNTIL: Final = date(2026, 3, 31)  # fixed, so that two runs prove the same


@dataclass(frozen=True)
class Case:
    """One thing proved; `problem` says why it failed."""

    group: str
    name: str
    took_s: float
    problem: str | None


def run_ci(days: int, tell: Callable[[str], None]) -> list[Case]:
    """Prove definitions, dbt project, its sources and marts against their contracts, a run and every asset check."""
    cases = [
        _case("definitions", "load", lambda: dg.Definitions.validate_loadable(build_definitions())),
        _case("dbt", "sources_follow_the_feeds", _sources_follow),
        _case("dbt", "marts_follow_their_contracts", _marts_follow),
        _case("dbt", "consumers_keep_what_they_use", _consumers_keep),
    ]
    if cases[0].problem is not None:
        return cases
    with tempfile.TemporaryDirectory(prefix="platform-ci-") as folder, _environment(Path(folder)) as settings:
        if not declared_feeds():
            tell("no feed is declared, so there is nothing to build; `platform feed add FILE` declares one")
            return cases
        if sample_links():
            tell(f"{counted(days, 'day')} of sample deliveries in {folder}")
            _deliver_sample(settings.landing, days)
        else:
            tell("the sample is taken out: models and checks run on empty tables")
        began = time.monotonic()
        outcome = run_assets(settings, tell)
        took_s = time.monotonic() - began
        cases.append(Case("run", "everything", took_s, None if outcome.success else "\n".join(outcome.failures)))
        cases += [
            Case(check.asset, check.check, 0.0, (check.description or "failed") if check.blocks else None)
            for check in outcome.checks
        ]
        cases.append(_case("releases", "personal_data_is_declared", _personal_data_is_declared))
        tell("dbt unit tests")
        cases.append(_case("dbt", "unit_tests", lambda: _unit_tests(settings.home)))
    return cases


def write_junit(cases: Sequence[Case], path: Path) -> None:
    """The cases as JUnit XML."""
    failed = sum(case.problem is not None for case in cases)
    suite = ElementTree.Element("testsuite", name="platform ci", tests=str(len(cases)), failures=str(failed))
    for case in cases:
        element = ElementTree.SubElement(
            suite, "testcase", classname=case.group, name=case.name, time=f"{case.took_s:.3f}"
        )
        if case.problem is not None:
            said = lines(case.problem)
            ElementTree.SubElement(element, "failure", message=said.partition("\n")[0]).text = said
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _case(group: str, name: str, prove: Callable[[], object]) -> Case:
    began = time.monotonic()
    problem = None
    try:
        prove()
    except Exception as error:  # noqa: BLE001 - whatever it is, the report is where it belongs
        problem = f"{type(error).__name__}: {error}"
    return Case(group, name, time.monotonic() - began, problem)


def _deliver_sample(landing: Path, days: int) -> None:
    from samples.retail.simulator import simulate

    simulate(landing, days=days, rows_per_day=_ROWS_PER_DAY, seed=1, dirt=_DIRT, until=_UNTIL)


def _sources_follow() -> None:
    if drifted := drifted_sources(declared_feeds()):
        listed = ", ".join(map(str, drifted))
        raise AssertionError(f"{listed}: drifted from the feeds; run `platform feed sources`")


def _marts_follow() -> None:
    if differ := mart_disagreements(declared_marts(), current_manifest()):
        raise AssertionError("\n".join(differ))


def _consumers_keep() -> None:
    promises = Promises(json.loads(current_manifest().read_bytes()), datetime.now(UTC).date())
    if promises.broken:
        raise AssertionError("\n".join(f"{each}. {each.remedy}" for each in promises.broken))
    if drifted := [str(path) for path in promises.drifted()]:
        raise AssertionError(
            f"{', '.join(drifted)}: not what consumers are promised now; `platform run` writes it, to be committed"
        )


def _personal_data_is_declared() -> None:
    """Whether every product says what becomes of personal data, by what the run has just built."""
    _, deployment = configured_deployment(lambda _: None)
    project = declared_project(deployment.feeds)
    state = State.of(project, deployment)
    if refused := [cause for each in project.products if (cause := state.personal(each).refused) is not None]:
        raise AssertionError("\n".join(f"{cause.sentence}. {cause.remedy}" for cause in refused))


def _unit_tests(home: Path) -> None:
    if (problem := run_dbt(["build", "--select", "resource_type:unit_test"], home / "dbt")) is not None:
        raise AssertionError(problem)


@contextmanager
def _environment(folder: Path) -> Iterator[Settings]:
    """A throw-away home and landing folder, whatever the environment names."""
    ours = {
        "PLATFORM_HOME": str(folder / "home"),
        "PLATFORM_LANDING": str(folder / "landing"),
        "DAGSTER_HOME": str(folder / "home" / "dagster"),
        # What is made here is thrown away, and needs no secret.
        PSEUDONYM_KEY: secrets.token_hex(32),
    }
    ways = (f"{PSEUDONYM_KEY}_FILE", f"{PSEUDONYM_KEY}_COMMAND")
    others = [key for key in os.environ if key.startswith("PLATFORM_FEED_") or key in ways]
    before = {key: os.environ.get(key) for key in (*ours, *others)}
    (folder / "landing").mkdir()
    os.environ.update(ours)
    for key in others:
        del os.environ[key]
    try:
        yield Settings.from_environment()
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
