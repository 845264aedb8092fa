"""What this checkout declares and the environment configures, put together: feeds, marts and their deployment.

Belongs here: where declarations are found, and the way from settings to a deployment. No Dagster here, so that the
command line answers at once.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from platform_assets.alerts.channels import HEARTBEAT, Routes
from platform_assets.alerts.incidents import Alerts
from platform_assets.engine.audit.line import KEY_SETTING
from platform_assets.engine.audit.log import AuditLog
from platform_assets.engine.contract.shown import shown_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.disk import Floor
from platform_assets.engine.durable.private import Readers, close_file, is_ours, keep_private, make_private
from platform_assets.engine.feed.chart import Chart
from platform_assets.engine.feed.export import Export
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.feed.product import Product
from platform_assets.errors import ConfigurationError, listed
from platform_assets.project.declared import (
    load_charts,
    load_exports,
    load_feeds,
    load_marts,
    load_products,
    with_files,
)
from platform_assets.project.graph import Project, project_of
from platform_assets.project.manifest import DBT_PROJECT, current_manifest
from platform_assets.project.place import FEEDS_PACKAGE, MARTS_PACKAGE
from platform_assets.project.sample import check_sample_links
from platform_assets.settings import DISK_FLOOR, PROJECT, RELEASES_GROUP, Settings, settings_not_known

_SHORTEST_KEY: Final = 16
# What tells a home, or Dagster's, from a folder of somebody's other things; plain Dagster may have been there first.
_OF_DAGSTER: Final = ("dagster.yaml", "history/runs.db", "schedules/schedules.db", ".telemetry/id.yaml")
_IN_A_HOME: Final = (
    *("warehouse.duckdb", "marts.duckdb", "archive/*/journal.jsonl", "releases/*/current.duckdb", "seen/*.sqlite"),
    *("alerts.sqlite", "audit.jsonl", *(f"dagster/{name}" for name in _OF_DAGSTER)),
)
NO_FEED: Final = "no feed is declared: `platform feed add FILE` declares one, from a file such as it will deliver"


def declared_feeds() -> tuple[Feed, ...]:
    """The feeds, as their authors wrote them."""
    check_sample_links()
    return load_feeds(FEEDS_PACKAGE)


def declared_marts() -> tuple[Mart, ...]:
    """The marts that promise something."""
    return load_marts(MARTS_PACKAGE)


def declared_charts() -> dict[str, Chart]:
    """What the page of a release draws, by the name that each chart has beside its mart."""
    return load_charts(MARTS_PACKAGE, declared_marts())


def declared_products() -> tuple[Product, ...]:
    """The products of which something is declared beside their marts."""
    return load_products(MARTS_PACKAGE)


def declared_exports() -> tuple[Export, ...]:
    """The other databases that products are exported to."""
    return load_exports(MARTS_PACKAGE)


def has_personal_data() -> bool:
    """Whether any feed or mart has columns with personal data; not where the declarations cannot be read, for then no
    data was."""
    with contextlib.suppress(Exception):
        contracts = [feed.contract for feed in declared_feeds()] + [mart.contract for mart in declared_marts()]
        return any(shown_of(contract).personal for contract in contracts)
    return False


def declared_project(feeds: Sequence[Feed]) -> Project:
    """The assets that these feeds, and all else that is declared, amount to."""
    return project_of(feeds, declared_marts(), current_manifest(), declared_products(), declared_exports())


def opened_settings(notify: Callable[[str], None], *, make: bool = False) -> Settings:
    """The settings, and the home that they name kept from other users of the machine; what was open is mended.

    make: also make the home if it is not there.
    """
    settings = Settings.from_environment()
    if unknown := settings_not_known():
        notify(f"no setting of the platform is called {listed(unknown)}: docs/reference/settings.md has all")
    if make:
        make_private(settings.home)
    group = settings.releases_group
    readers = None if group is None else Readers("releases", group, RELEASES_GROUP)
    places = {settings.home: keep_private(settings.home, "PLATFORM_HOME", readers, known_by=_IN_A_HOME)}
    if settings.home not in settings.dagster_home.parents:
        places[settings.dagster_home] = keep_private(settings.dagster_home, "DAGSTER_HOME", known_by=_OF_DAGSTER)
    places[PROJECT / ".env"] = close_file(PROJECT / ".env")
    for written in (DBT_PROJECT / "target", DBT_PROJECT / "logs"):
        if is_ours(written):
            places[written] = keep_private(written, "dbt_project")
    if opened := [str(place) for place, mended in places.items() if mended]:
        notify(f"other users could get at {', '.join(opened)}: now this user alone can")
    return settings


def configured_deployment(notify: Callable[[str], None]) -> tuple[Settings, Deployment]:
    """The settings and the deployment they name, its state untouched."""
    return _deployment(opened_settings(notify), notify)


def prepared_deployment(notify: Callable[[str], None]) -> tuple[Settings, Deployment]:
    """The same, its tables made as today's feeds need them."""
    settings, deployment = _deployment(opened_settings(notify, make=True), notify)
    deployment.prepare()
    return settings, deployment


def _deployment(settings: Settings, notify: Callable[[str], None]) -> tuple[Settings, Deployment]:
    # A channel that cannot be used is refused at the start of anything, not when the first alert is due; but one that
    # a command would have to tell.
    _routes(settings, to_send=False)
    settings.export()
    failpoint.arm(settings.failpoint)
    deployment = Deployment(
        with_files(declared_feeds(), settings.feed_files),
        home=settings.home,
        landing=settings.landing,
        lock_wait=settings.lock_wait,
        floor=Floor() if settings.disk_floor is None else Floor.read(settings.disk_floor, DISK_FLOOR),
        notify=notify,
        erase_key=lambda: None if settings.erase_key is None else settings.erase_key.reveal(),
        pseudonym_key=lambda: None if settings.pseudonym_key is None else settings.pseudonym_key.reveal(),
    )
    return settings, deployment


def configured_alerts(notify: Callable[[str], None], *, to_send: bool) -> Alerts:
    """The alerts of this deployment, sent where the environment says. to_send: else no command is asked for a URL."""
    settings = opened_settings(notify)
    return Alerts(settings.home / "alerts.sqlite", _routes(settings, to_send=to_send))


def audit_log(home: Path) -> AuditLog:
    """The audit log of the deployment at `home`, signed with the key that the environment names."""
    secret = Settings.from_environment().audit_key

    def key() -> str | None:
        text = None if secret is None else secret.reveal()
        if text is not None and len(text) < _SHORTEST_KEY:
            raise ConfigurationError(
                KEY_SETTING,
                f"is shorter than {_SHORTEST_KEY} characters, and could be guessed from the log",
                "Make one: openssl rand -hex 32",
            )
        return text

    return AuditLog(home, key=key)


def _routes(settings: Settings, *, to_send: bool) -> Routes:
    given = dict(settings.alerts.channels)
    if settings.alerts.heartbeat is not None:
        given[HEARTBEAT] = settings.alerts.heartbeat
    urls = {name: secret.reveal() for name, secret in given.items() if to_send or secret.at_hand}
    unasked = set(given) - set(urls)
    heartbeat = urls.pop(HEARTBEAT, None)
    return Routes(urls, settings.alerts.hosts, heartbeat, unasked=unasked)
