"""The releases in Dagster: each made when its product's marts are built and the blocking checks above them have passed.

Belongs here: making one in a run, and what Dagster hears of it. Elsewhere: whether the marts are fit (state.py), making
a release (engine/store/release.py).
"""

from collections.abc import Iterator
from typing import Any, Final

import dagster as dg

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.release import Label, Release
from platform_assets.errors import ReleaseRefused, StorageError, counted, listed
from platform_assets.orchestration.markdown import code, listing, table
from platform_assets.orchestration.rollback import to_unpin
from platform_assets.orchestration.runs.automation import Runs
from platform_assets.orchestration.runs.keys import BY_COMMAND_TAG, BY_ITSELF_TAG, RUN, WRITER_POOL, release_key
from platform_assets.orchestration.runs.resources import DeploymentResource
from platform_assets.orchestration.watch.page import see_to_page
from platform_assets.orchestration.watch.runbooks import of_check, shown
from platform_assets.project.causes import Cause
from platform_assets.project.graph import Project
from platform_assets.project.label import label_of
from platform_assets.project.products import ReleasedProduct
from platform_assets.project.state import OF_A_PRODUCT, State

READABLE: Final = "readable"


def release_asset(
    product: ReleasedProduct, project: Project, condition: dg.AutomationCondition[Any] | None
) -> dg.AssetsDefinition:
    """The published version of the product's marts, made by itself under `condition`."""

    @dg.asset(
        key=release_key(product),
        deps=[dg.AssetKey(mart.split("/")) for mart in product.marts],
        group_name="release",
        owners=[product.owner],
        kinds={"duckdb", "parquet"},
        pool=WRITER_POOL,
        automation_condition=condition,
        output_required=False,
        description=f"The marts of {product.name} as one immutable, read-only version: Parquet files, and a DuckDB "
        "file with a view on each. It is swapped in atomically, and made only when every blocking check above it has "
        f"passed; `releases/{product.name}/current.duckdb` always leads to the newest, or to the one that was pinned "
        f"(`platform release rollback {product.name}`, or the job `rollback`).",
    )
    def release(
        context: dg.AssetExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.MaterializeResult[Any]]:
        with deployment.opened(context) as opened:
            by_run = context.run.tags.get(BY_COMMAND_TAG) == RUN
            if by_run and not State.of(project, opened).to_be_made(product.release):
                context.log.info("Nothing new has come: the release is up to date.")
                return
            try:
                with opened.builds.changing((), context.run.run_id):
                    made = opened.releases_of(product.name).publish(
                        opened.warehouse,
                        opened.clock(),
                        product.tables,
                        lambda: _label(product, State.of(project, opened), opened),
                        [mart.split("/")[-1] for mart in project.marts],
                    )
            except _Unfit as unfit:
                _leave_it(context, product, unfit.cause)
                return
            pin = opened.releases_of(product.name).pinned()
            if pin is not None:
                context.log.info(f"Published beside: {product.name} is {pin}. {to_unpin(product.name)}")
            _prune(context, product, opened)
            graph = context.op_execution_context.job_def.asset_layer.asset_graph
            page = see_to_page(context.instance, graph, opened, project, context.log.warning)
        yield dg.MaterializeResult(
            metadata={
                "release": made.id,
                "path": dg.MetadataValue.path(made.path),
                **({"readers get": pin.release, "pinned": str(pin)} if pin is not None else {}),
                "page": dg.MetadataValue.path(page),
                "dagster/row_count": sum(made.tables.values()),
                "tables": dg.MetadataValue.md(_tables(made)),
                **(
                    {"personal": dg.MetadataValue.md(_personal(made))}
                    if any(m.personal for m in made.marts.values())
                    else {}
                ),
                **({"decided": dg.MetadataValue.md(_decided(made))} if made.decided else {}),
            }
        )

    return release


def release_checks(project: Project) -> dg.AssetChecksDefinition:
    """Whether readers can read what they have, after each release and whenever the checks are run."""
    products = {release_key(product): product for product in project.products}
    specs = [
        dg.AssetCheckSpec(
            READABLE,
            asset=key,
            description="Readers can read every mart of the release that they have, and each has the rows that the "
            "release's manifest tells of.",
        )
        for key in products
    ]

    @dg.multi_asset_check(name="check_releases", specs=specs, can_subset=True)
    def check_releases(
        context: dg.AssetCheckExecutionContext, deployment: DeploymentResource
    ) -> Iterator[dg.AssetCheckResult]:
        here = deployment.look()
        for check in context.selected_asset_check_keys:
            yield _readable(check.asset_key, here.releases_of(products[check.asset_key].name).current())

    return check_releases


def _readable(key: dg.AssetKey, current: Release | None) -> dg.AssetCheckResult:
    damaged = {} if current is None else current.damaged()
    which = "there is no release yet" if current is None else f"{current.id}: {counted(len(current.marts), 'mart')}"
    said = f"{which}; {len(damaged)} cannot be read as released" if damaged else which
    failed = {"damaged": listing(("mart", "what is wrong"), damaged.items()), **shown(of_check(READABLE))}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=READABLE,
        passed=not damaged,
        description=said,
        metadata=failed if damaged else {},
    )


def _tables(made: Release) -> str:
    """The figures of the manifest, by mart."""
    cells = ("mart", "rows", "columns", "newest data", "bytes", "content", "served until")
    return table(
        cells,
        [
            (
                code(mart),
                each.rows,
                len(each.columns),
                each.newest or "",
                each.size,
                each.content[:12],
                each.until or "",
            )
            for mart, each in made.marts.items()
        ],
    )


def _personal(made: Release) -> str:
    """What has become of personal data."""
    treated = [(mart, column, how) for mart, each in made.marts.items() for column, how in each.personal.items()]
    return table(
        ("mart", "column", "in the release"), [(code(mart), code(column), how) for mart, column, how in treated]
    )


def _decided(made: Release) -> str:
    """Deliveries that a person withdrew or let through, among those that the release is made of."""
    cells = ("feed", "delivery", "file", "what", "by", "why")
    return table(cells, [[code(str(each[cell])) for cell in cells] for each in made.decided])


class _Unfit(Exception):
    """Why the marts must not be released."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _label(product: ReleasedProduct, state: State, deployment: Deployment) -> Label:
    """What the product's marts hold; _Unfit where they must not be released."""
    if (cause := state.unfit(product)) is not None:
        raise _Unfit(cause)
    return label_of(product, state, deployment)


def _prune(context: dg.AssetExecutionContext, product: ReleasedProduct, deployment: Deployment) -> None:
    """Remove releases that need not be kept. What cannot be removed now is with the next release."""
    kept = product.declared
    try:
        gone, freed = deployment.releases_of(product.name).prune(deployment.clock(), kept.keep, kept.least)
    except StorageError as error:
        context.log.warning(f"No old release was removed: {error.what}")
        return
    if gone:
        names = listed([each.id for each in gone])
        context.log.info(f"Releases that need not be kept were removed, {freed:,} bytes: {names}")


def _leave_it(context: dg.AssetExecutionContext, product: ReleasedProduct, cause: Cause) -> None:
    """Leave it to a later run, which is asked for when they are fit; raises ReleaseRefused where a person waits for
    this one, and no other is about to release."""
    runs = Runs.of(context.instance, [product.release], since=None)
    others = [
        run for run in runs.under_way if run.run_id != context.run.run_id and product.release in runs.targets(run)
    ]
    if not {BY_ITSELF_TAG, BY_COMMAND_TAG}.intersection(context.run.tags) and not others:
        raise ReleaseRefused(
            f"The marts of {product.name} are not fit to be released: {cause}",
            cause.remedy or "Mend what was found and run again; `platform check` runs the checks alone.",
        )
    if cause.kind in OF_A_PRODUCT:
        context.log_event(dg.AssetObservation(context.asset_key, description=f"{cause.sentence}. {cause.remedy}"))
        context.log.warning(f"{cause.sentence}. {cause.remedy}")
        return
    then = f"Run {others[0].run_id[:8]} is under way and releases then." if others else "It is made when they are."
    context.log.info(f"The marts of {product.name} are not fit to be released: {cause}. {then}")
