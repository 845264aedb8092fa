"""`platform setup`: this checkout made ready, for a UI too.

Belongs here: folders, Dagster's settings, dbt's sources and manifest, put there before anybody asks for them.
"""

from collections.abc import Callable

from platform_assets.engine.sources.landing import refuse_missing
from platform_assets.orchestration.runs.instance import prepare_dagster_home
from platform_assets.project.configured import (
    NO_FEED,
    declared_feeds,
    declared_project,
    prepared_deployment,
)
from platform_assets.project.dbt_sources import follow_feeds
from platform_assets.project.manifest import current_manifest
from platform_assets.settings import PROJECT, Settings


def make_landing() -> None:
    """Make the landing folder; nothing else does, so that a misspelt one is told."""
    Settings.from_environment().landing.mkdir(parents=True, exist_ok=True)


def prepare_checkout(tell: Callable[[str], None]) -> Settings:
    """Prepare state folders, Dagster's settings, dbt's sources and manifest; raises ConfigurationError where a model
    reads what no feed fills, or there is no landing folder."""
    settings, deployment = prepared_deployment(tell)
    if not deployment.feeds:
        tell(NO_FEED)
    else:
        refuse_missing(settings.landing)
    prepare_dagster_home(settings)
    follow_feeds(declared_feeds(), tell)
    declared_project(deployment.feeds)
    return settings


def write_env_file() -> None:
    """Write .env, if there is none: Dagster's own commands read it, and else keep their state in a temporary folder."""
    env_file = PROJECT / ".env"
    if not env_file.exists():
        home = PROJECT / ".platform" / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        env_file.touch(mode=0o600)
        env_file.write_text(f"DAGSTER_HOME=${{DAGSTER_HOME:-{home}}}\n")


def prepare_view(_: Callable[[str], None]) -> None:
    """What somebody needs who only looks: nothing of the deployment is made, opened or waited for."""
    settings = Settings.from_environment()
    prepare_dagster_home(settings)
    current_manifest()
