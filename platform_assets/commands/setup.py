"""`platform setup` and `platform ui`: this checkout made ready, and Dagster's UI opened on it.

Belongs here: folders, Dagster's settings and dbt's manifest, put there before anybody asks for them.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from platform_assets.orchestration.runs.instance import open_instance, prepare_dagster_home
from platform_assets.project.configured import NO_FEED, prepared_deployment
from platform_assets.project.manifest import current_manifest
from platform_assets.settings import PROJECT, Settings


def prepare_checkout(tell: Callable[[str], None]) -> Settings:
    """Prepare state folders, Dagster's settings and dbt's manifest."""
    settings, deployment = prepared_deployment(tell)
    if not deployment.feeds:
        tell(NO_FEED)
    settings.landing.mkdir(parents=True, exist_ok=True)
    prepare_dagster_home(settings)
    current_manifest()
    return settings


def write_env_file() -> None:
    """Write .env, if there is none: Dagster's own commands read it, and else keep their state in a temporary folder."""
    env_file = PROJECT / ".env"
    if not env_file.exists():
        home = PROJECT / ".platform" / "dagster"
        home.mkdir(parents=True, exist_ok=True)
        env_file.touch(mode=0o600)
        env_file.write_text(f"DAGSTER_HOME=${{DAGSTER_HOME:-{home}}}\n")


def open_ui(port: int, tell: Callable[[str], None]) -> None:
    """Become Dagster's UI, daemon included; does not return."""
    settings = prepare_checkout(tell)
    open_instance(settings).dispose()  # rid of runs that died with their machine, before anything new is asked for
    tell(f"http://127.0.0.1:{port}  (Ctrl-C ends it; copy a file into {settings.landing} and watch)")
    dagster = str(Path(sys.executable).with_name("dagster"))
    os.chdir(PROJECT)
    os.execv(dagster, [dagster, "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", str(port)])  # noqa: S606
