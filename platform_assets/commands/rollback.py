"""Which release readers get, as a person decides it: back to an earlier one, on to the newest; old ones removed.

Belongs here: going back and on, removing what need not be kept, a shadow beside the releases. Elsewhere: which release
is meant (releases.py), moving the link (engine/store/release.py), Dagster's job for it (orchestration/rollback.py).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from platform_assets.commands.releases import Listed, listing
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.product import Product
from platform_assets.engine.releases import WentBack, WentOn, go_back, go_on, meant, of_products
from platform_assets.engine.store.release import Label, Releases
from platform_assets.errors import ConfigurationError, ReleaseRefused, listed, nearest
from platform_assets.project.configured import (
    audit_log,
    configured_deployment,
    declared_products,
    declared_project,
    prepared_deployment,
)
from platform_assets.project.consumers import Break, breaks, offered_by
from platform_assets.project.exposures import consumers_of
from platform_assets.project.label import label_of
from platform_assets.project.manifest import current_manifest
from platform_assets.project.products import ReleasedProduct
from platform_assets.project.state import State
from platform_assets.settings import Settings, person


def rolled_back(tell: Callable[[str], None], words: Sequence[str], why: str) -> tuple[WentBack, list[Break]]:
    """Go back as a person at the command line, and tell Dagster's UI; and what that breaks for consumers, who are told
    by whoever goes back."""
    settings, deployment = configured_deployment(tell)
    releases, release = meant(deployment, words, "previous")
    about = {"product": releases.product, "release": release.id, "why": why}
    before = releases.current()
    with audit_log(deployment.home).doing(person(), "release rollback", about) as came:
        done = go_back(deployment, [releases.product, release.id], why, person())
        came.update(before=done.before)
    _show(tell, settings, releases)
    consumers = consumers_of(json.loads(current_manifest().read_bytes()))
    had = {} if before is None else offered_by(before)
    return done, breaks(consumers, had, offered_by(release), deployment.clock().date())


def product_unpinned(tell: Callable[[str], None], product: str | None) -> WentOn:
    """Go on as a person at the command line, and tell Dagster's UI."""
    settings, deployment = configured_deployment(tell)
    with audit_log(deployment.home).doing(person(), "release unpin", {"product": product}) as came:
        done = go_on(deployment, product)
        came.update(product=done.product, release=done.release)
    _show(tell, settings, deployment.releases_of(done.product))
    return done


def _show(tell: Callable[[str], None], settings: Settings, releases: Releases) -> None:
    """Have Dagster's UI and the page say which release readers have now; that is so whether or not they can."""
    from platform_assets.commands.execution import page_written
    from platform_assets.orchestration.rollback import tell_instance
    from platform_assets.orchestration.runs.instance import open_instance

    try:
        with open_instance(settings, settle=False) as instance:
            tell_instance(instance, releases)
        page_written(tell)
    except Exception as error:  # noqa: BLE001 - whatever Dagster's storage raises, or the project's code
        tell(f"Dagster's UI and the page could not be told: {type(error).__name__}")


@dataclass(frozen=True)
class Pruned:
    """Releases of a product that were removed, or would be. freed: bytes of the disk."""

    product: str
    removed: Sequence[str]
    freed: int
    kept: int


def releases_pruned(tell: Callable[[str], None], product: str | None, *, dry_run: bool) -> list[Pruned]:
    """Remove releases that need not be kept, by what is declared of their products."""
    _, deployment = configured_deployment(tell)
    declared = {each.name: each for each in declared_products()}

    def pruned(releases: Releases) -> Pruned:
        kept = declared.get(releases.product) or Product(releases.product)
        gone, freed = releases.prune(deployment.clock(), kept.keep, kept.least, dry_run=dry_run)
        left = len(releases.all()) - (len(gone) if dry_run else 0)
        return Pruned(releases.product, [each.id for each in gone], freed, left)

    chosen = of_products(deployment, product)
    if dry_run:
        return [pruned(releases) for releases in chosen]
    with audit_log(deployment.home).doing(person(), "release prune", {"products": [r.product for r in chosen]}) as came:
        found = [pruned(releases) for releases in chosen]
        came.update(removed={each.product: list(each.removed) for each in found if each.removed})
    return found


def shadow_made(tell: Callable[[str], None], product: str | None) -> Listed:
    """Publish a product's marts as they are built beside its releases, whether or not they are fit for readers."""
    _, deployment = prepared_deployment(tell)
    project = declared_project(deployment.feeds)
    names = [each.name for each in project.products]
    if product is None and len(names) == 1:
        product = names[0]
    chosen = next((each for each in project.products if each.name == product), None)
    if chosen is None:
        near = nearest(product, names) if product else ""
        problem = f"is no product.{near}" if product else "several products could be meant"
        raise ConfigurationError(f"product {product or ''!r}", problem, f"Name one of: {listed(names) or 'none yet'}.")
    releases = deployment.releases_of(chosen.name)
    with audit_log(deployment.home).doing(person(), "release shadow", {"product": chosen.name}) as came:
        made = releases.publish(
            deployment.warehouse,
            deployment.clock(),
            chosen.tables,
            lambda: _label(chosen, State.of(project, deployment), deployment),
            shadow=True,
        )
        came.update(release=made.id)
    return listing(releases, made)


def _label(product: ReleasedProduct, state: State, deployment: Deployment) -> Label:
    """Also of marts that are not fit to be released; but what is nobody's to see is in no shadow either."""
    if (refused := state.personal(product).refused) is not None:
        raise ReleaseRefused(str(refused), refused.remedy)
    return label_of(product, state, deployment)


def shadow_removed(tell: Callable[[str], None], product: str | None) -> list[str]:
    """Remove the shadow of a product, or of all; the products that had one."""
    _, deployment = configured_deployment(tell)
    chosen = [releases for releases in of_products(deployment, product) if releases.shadow() is not None]
    with audit_log(deployment.home).doing(person(), "release unshadow", {"products": [r.product for r in chosen]}):
        for releases in chosen:
            releases.unshadow()
    return [releases.product for releases in chosen]
