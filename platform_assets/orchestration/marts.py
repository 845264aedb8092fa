"""Contracts of marts as asset checks: every row of the built table, by the mart's Pandera model.

Belongs here: the check. Elsewhere: the contracts (platform_assets/marts), the models (dbt_project).
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import dagster as dg

from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.store.builds import CheckResult
from platform_assets.engine.store.marts import MartReport, check_marts
from platform_assets.errors import counted
from platform_assets.orchestration.held import Verdict, tell_held_back
from platform_assets.orchestration.markdown import code, listing, table
from platform_assets.orchestration.runs.keys import WRITER_POOL, mart_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.runbooks import of_check, shown
from platform_assets.project.graph import NOTHING, Project
from platform_assets.project.personal import personal_columns

CONTRACT: Final = "contract"
_SHOWN: Final = 20
_FIRST: Final = 3


def mart_checks(marts: Sequence[Mart], project: Project = NOTHING) -> dg.AssetChecksDefinition:
    """Holds marts to their contracts before anybody reads them; all in one step, which costs more than the checks."""

    def described(mart: Mart) -> str:
        columns = mart.columns
        rules = sum(len(column.rules) for column in columns)
        promised = mart.description.split("\n")[0]
        of = f"{counted(len(columns), 'column')}, {counted(rules, 'rule')}"
        return f"Every row keeps {mart.contract.__name__}: {of}. {promised}"

    specs = [
        dg.AssetCheckSpec(CONTRACT, asset=mart_key(mart.name), blocking=True, description=described(mart))
        for mart in marts
    ]

    @dg.multi_asset_check(name="check_marts", specs=specs, can_subset=True, pool=WRITER_POOL)
    def check_all(
        context: dg.AssetCheckExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.AssetCheckResult]:
        wanted = {key.asset_key for key in context.selected_asset_check_keys}
        with deployment.opened(context) as opened:
            secret = personal_columns(marts, opened.feeds, opened.home)
            reports = check_marts([mart for mart in marts if mart_key(mart.name) in wanted], opened.warehouse, secret)
            results = [_result(mart_key(mart.name), report) for mart, report in reports.items()]
            versions = {name: made.version for name, made in opened.builds.read().made.items()}
            opened.builds.note(
                results=[
                    CheckResult(name, CONTRACT, versions[name], result.passed, result.description or "", opened.clock())
                    for result in results
                    if (name := _asset_of(result)) in versions
                ]
            )
            broken = [_asset_of(result) for result in results if not result.passed]
            tell_held_back(context.op_execution_context, opened, project, broken)
        yield from results

    return check_all


def _asset_of(result: dg.AssetCheckResult) -> str:
    assert result.asset_key is not None
    return result.asset_key.to_user_string()


def _result(key: dg.AssetKey, report: MartReport) -> Verdict:
    passed = report.problem is None and report.broken == 0
    metadata: dict[str, Any] = {"rows": report.rows, "failed": report.broken}
    if report.rules:
        rules = [(code(column or "row"), code(rule), rows) for column, rule, rows in report.rules[:_SHOWN]]
        metadata["broken_rules"] = dg.MetadataValue.md(table(("column", "rule", "rows"), rules))
    if report.samples:
        head = ("column", "rule", "value", "row")
        metadata["samples"] = listing(head, ([each[name] for name in head] for each in report.samples))
    return Verdict(
        asset_key=key,
        check_name=CONTRACT,
        passed=passed,
        description=code(report.problem) or _summary(report),
        metadata=metadata if passed else metadata | shown(of_check(CONTRACT)),
    )


def _summary(report: MartReport) -> str:
    """How many rows break the contract, and which rules of which columns, such as is fit for one line."""
    said = f"{report.broken:,} of {counted(report.rows, 'row')} break the contract"
    rules = [
        f"{code(column or 'row')}: {code(rule)} ({counted(rows, 'row')})"
        for column, rule, rows in report.rules[:_FIRST]
    ]
    if not rules:
        return said
    value = next((each["value"] for each in report.samples if each["value"] is not None), None)
    such = f", such as {code(value)}" if value is not None and len(report.rules) == 1 else ""
    more = f" and {len(report.rules) - _FIRST} more rules" * (len(report.rules) > _FIRST)
    return f"{said}: {', '.join(rules)}{such}{more}"
