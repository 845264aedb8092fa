"""What this checkout declares and the environment configures, put together: feeds, marts and their deployment.

Belongs here: where declarations are found, and the way from settings to a deployment. No Dagster here, so that the
command line answers at once.
"""

from collections.abc import Callable
from typing import Final

from platform_assets.alerts.channels import Routes
from platform_assets.alerts.incidents import Alerts
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.project.declared import load_feeds, load_marts, with_files
from platform_assets.project.sample import check_sample_links
from platform_assets.settings import Settings

FEEDS_PACKAGE: Final = "platform_assets.feeds"
MARTS_PACKAGE: Final = "platform_assets.marts"
NO_FEED: Final = "no feed is declared: `platform feed add FILE` declares one, from a file such as it will deliver"


def declared_feeds() -> tuple[Feed, ...]:
    """The feeds, as their authors wrote them."""
    check_sample_links()
    return load_feeds(FEEDS_PACKAGE)


def declared_marts() -> tuple[Mart, ...]:
    """The marts that promise something."""
    return load_marts(MARTS_PACKAGE)


def configured_deployment(notify: Callable[[str], None]) -> tuple[Settings, Deployment]:
    """The settings and the deployment they name, its state untouched."""
    settings = Settings.from_environment()
    # A channel that cannot be used is refused at the start of anything, not when the first alert is due.
    _routes(settings)
    settings.export()
    failpoint.arm(settings.failpoint)
    deployment = Deployment(
        with_files(declared_feeds(), settings.feed_files),
        home=settings.home,
        landing=settings.landing,
        lock_wait=settings.lock_wait,
        notify=notify,
        erase_key=settings.erase_key,
    )
    return settings, deployment


def prepared_deployment(notify: Callable[[str], None]) -> tuple[Settings, Deployment]:
    """The same, its tables made as today's feeds need them."""
    settings, deployment = configured_deployment(notify)
    deployment.prepare()
    return settings, deployment


def configured_alerts() -> Alerts:
    """The alerts of this deployment, sent where the environment says."""
    settings = Settings.from_environment()
    return Alerts(settings.home / "alerts.sqlite", _routes(settings))


def _routes(settings: Settings) -> Routes:
    return Routes(settings.alerts.channels, settings.alerts.hosts, settings.alerts.heartbeat)
