"""The page of the releases, gathered: what is wrong, what readers have, what was promised, delivered and means what.

Belongs here: what of the state the page shows, and writing it when that has changed. Elsewhere: its HTML (web), what is
wrong (problems.py), lineage and dictionary (page_docs.py). Asked of what is stored, so it is right whoever asks.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import dagster as dg

from platform_assets.alerts.incidents import Problem
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.chart import Chart
from platform_assets.engine.promises.daily import days_of_feed, days_of_mart
from platform_assets.engine.promises.freshness import mart_freshness
from platform_assets.engine.promises.kept import promises
from platform_assets.engine.promises.promise import Promise
from platform_assets.engine.store.charted import charted
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.release import Release
from platform_assets.errors import PlatformError, redacted
from platform_assets.orchestration.runs.dagster_internals import AssetGraph
from platform_assets.orchestration.watch.dagster_state import DagsterState
from platform_assets.orchestration.watch.deployment_state import DeploymentState
from platform_assets.orchestration.watch.page_docs import documented
from platform_assets.orchestration.watch.problems import everything
from platform_assets.project.configured import declared_charts, declared_marts
from platform_assets.project.graph import Project
from platform_assets.project.personal import personal_columns
from platform_assets.project.products import ReleasedProduct
from platform_assets.web.page import (
    DAYS,
    Day,
    Page,
    Promised,
    ShownChart,
    ShownDelivery,
    ShownMart,
    ShownProduct,
    Trouble,
)
from platform_assets.web.page_html import digest_of, shown_by, site_index, write_page

_DELIVERIES: Final = 60


def see_to_page(
    instance: dg.DagsterInstance,
    graph: AssetGraph,
    deployment: Deployment,
    project: Project,
    tell: Callable[[str], None],
) -> Path:
    """Keep the page right where something else is the work: that it cannot be written is told, and stops nothing.

    Gives where it lies.
    """
    try:
        seen = DagsterState(instance, graph, deployment.clock())
        keep_page(seen, DeploymentState(deployment, declared_marts(), project))
    except PlatformError as error:
        tell(f"the page of the releases is as it was: {error.what}")
    except Exception as error:  # noqa: BLE001 - whatever it is, readers have what was released
        tell(f"the page of the releases is as it was: {redacted(f'{type(error).__name__}: {error}')}")
    return site_index(deployment.home)


def keep_page(
    seen: DagsterState,
    stored: DeploymentState,
    looked: tuple[Sequence[Problem], Mapping[str, Exception]] | None = None,
) -> tuple[Path, bool]:
    """See that the page tells what is so now: where it lies, and whether it had to be written anew.

    looked: what `everything` found, where the caller has just asked. Raises StorageError.
    """
    charts, path = declared_charts(), site_index(stored.deployment.home)
    page = _page(seen, stored, *(looked or everything(seen, stored)), charts)
    if shown_by(path) == digest_of(page):
        return path, False
    write_page(replace(page, charts=tuple(_charts(stored, charts))), path)
    return path, True


def _page(
    seen: DagsterState,
    stored: DeploymentState,
    found: Sequence[Problem],
    unknown: Mapping[str, Exception],
    charts: Mapping[str, Chart],
) -> Page:
    """All of it but for the points of charts."""
    deliveries, more = _deliveries(stored)
    assets, columns = documented(stored)
    promised = promises(stored.deliveries, stored.released_marts, seen.now)
    return Page(
        as_of=seen.now,
        troubles=tuple(
            Trouble(each.title, each.detail, each.since, each.owner, each.assets, each.command)
            for each in sorted(found, key=lambda each: (each.since, each.key))
        ),
        unknown=tuple(sorted(unknown)),
        products=tuple(_product(stored, product, _release(stored, product)) for product in stored.project.products),
        promises=tuple(_promised(stored, each, seen.now) for each in promised),
        deliveries=deliveries,
        more_deliveries=more,
        assets=assets,
        columns=columns,
        drawn=(*sorted(_drawn_from(stored)), repr(charts)),
    )


def _release(stored: DeploymentState, product: ReleasedProduct | None) -> Release | None:
    """What readers get of the product."""
    return None if product is None else stored.assets.releases.get(product.name)


def _drawn_from(stored: DeploymentState) -> Iterator[str]:
    for product in stored.project.products:
        if (release := _release(stored, product)) is not None:
            yield f"{release.path} {len(release.erased)}"


def _product(stored: DeploymentState, product: ReleasedProduct, release: Release | None) -> ShownProduct:
    held = stored.assets.held_back([product.release])
    decided = release.decided if release is not None else ()
    return ShownProduct(
        product.name,
        product.owner,
        None if release is None else release.id,
        None if release is None else datetime.fromisoformat(release.created_at).astimezone(UTC),
        tuple(_marts(stored, product, release)),
        held="; ".join(each.why for each in held),
        notes=tuple(
            f"Delivery {each['delivery']} of {each['feed']} ({each['file']}) was {each['what']} by {each['by']}: "
            f"{each['why']}"
            for each in decided
        ),
    )


def _marts(stored: DeploymentState, product: ReleasedProduct, release: Release | None) -> Iterator[ShownMart]:
    promised = {each.mart: each for each in stored.released_marts}
    for name, asset in zip(product.tables, product.marts, strict=True):
        there = release.marts.get(name) if release is not None else None
        if there is None:
            yield ShownMart(name, asset, None, None, "no data", "")
        elif name not in promised:
            newest = datetime.fromisoformat(there.newest).astimezone(UTC) if there.newest else None
            yield ShownMart(name, asset, there.rows, newest, "no promise", "")
        else:
            fresh = mart_freshness(promised[name], stored.deliveries, stored.deployment.clock())
            late = "" if fresh.missing is None else str(fresh.missing)
            yield ShownMart(
                name,
                asset,
                there.rows,
                fresh.newest,
                "late" if late else "fresh" if fresh.is_fresh else "no data",
                late,
            )


def _promised(stored: DeploymentState, promise: Promise, now: datetime) -> Promised:
    if promise.subject in stored.deliveries and promise.kind != "fresh":
        days = days_of_feed(stored.deliveries[promise.subject], promise.kind, now, DAYS)
    else:
        mart = next(each for each in stored.released_marts if each.mart == promise.subject)
        days = days_of_mart(mart, stored.deliveries, now, DAYS)
    month = f"{promise.kept} of {promise.due} kept this month" if promise.due else "nothing was due this month"
    left = f"; {promise.budget_left:.0%} of the error budget left" if promise.due else ""
    return Promised(
        promise.subject,
        promise.kind,
        promise.owner,
        f"{month}, {promise.objective:.0%} promised{left}",
        promise.blame or "" if promise.broken else "",
        tuple(Day(each.day, each.due, each.kept, each.told) for each in days),
    )


def _deliveries(stored: DeploymentState) -> tuple[tuple[ShownDelivery, ...], int]:
    """The newest deliveries of all feeds, newest first, and how many older ones are known."""
    every = [receipt for each in stored.deliveries.values() for receipt in each.receipts]
    every.sort(key=lambda receipt: (receipt.committed_at, receipt.delivery_id), reverse=True)
    newest = every[:_DELIVERIES]
    named = {feed.name: feed for feed in stored.feeds}
    rejected = {
        name: stored.deployment.rejections_published(named[name])
        for name in {each.feed for each in newest if each.rejected}
    }
    return tuple(_delivery(each, rejected.get(each.feed, {}).get(each.delivery_id, ())) for each in newest), len(
        every
    ) - len(newest)


def _delivery(receipt: Receipt, rejections: Sequence[tuple[str | None, str, int]]) -> ShownDelivery:
    return ShownDelivery(
        receipt.delivery_id,
        receipt.feed,
        receipt.slot,
        receipt.committed_at,
        receipt.status,
        receipt.read,
        receipt.accepted,
        receipt.rejected,
        receipt.duplicate,
        tuple((column or "row", rule, rows) for column, rule, rows in rejections),
        "; ".join(filter(None, (receipt.trouble if receipt.problem else "", receipt.decided))),
    )


def _charts(stored: DeploymentState, charts: Mapping[str, Chart]) -> Iterator[ShownChart]:
    personal = personal_columns(stored.marts, stored.feeds, stored.deployment.home)
    for name, chart in charts.items():
        release = _release(stored, stored.project.product_with(chart.mart))
        if release is None:
            yield ShownChart(name, chart.heading, chart.mart, chart.unit, problem="There is no release of it yet.")
            continue
        there = release.marts.get(chart.mart)
        declared = there.personal if there is not None else {}
        kept = {column for column, fate in declared.items() if fate == "keep"}
        hidden = {*personal.get(chart.mart, ()), *declared} - kept
        of = charted(release, chart, hidden)
        yield ShownChart(
            name,
            chart.heading,
            chart.mart,
            chart.unit,
            chart.by or "",
            of.kind,
            of.axis,
            chart.x,
            of.x,
            tuple((series.name, series.values) for series in of.series),
            of.left_out,
            of.problem,
        )
