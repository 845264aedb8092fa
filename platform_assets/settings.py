"""The only reader (and, for child processes, writer) of the environment.

Belongs here: every setting, its default and its check. Elsewhere: what a setting is used for.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath

from platform_assets.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parent.parent
_FEED_FILES_PREFIX = "PLATFORM_FEED_"
_FEED_FILES_SUFFIX = "_FILES"
_ALERT = "PLATFORM_ALERT"
_ALERT_HOSTS = "PLATFORM_ALERT_HOSTS"


@dataclass(frozen=True)
class AlertSettings:
    """Where alerts go. channels: variable -> comma-separated URLs, which are secret. hosts: who may be contacted."""

    channels: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: str = "hooks.slack.com"
    heartbeat: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Settings:
    """Where this deployment keeps its state and finds its deliveries.

    home: all state (warehouse, archive, releases, Dagster's storage). landing: where deliveries arrive.
    feed_files: feed name -> pattern under `landing`, instead of the one its declaration names.
    """

    home: Path
    landing: Path
    dagster_home: Path
    feed_files: Mapping[str, str] = field(default_factory=dict)
    failpoint: str | None = None
    lock_wait: timedelta = timedelta(seconds=60)
    alerts: AlertSettings = field(default_factory=AlertSettings)

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read and check the settings; a wrong one raises ConfigurationError naming its key."""
        env = os.environ
        home = Path(env.get("PLATFORM_HOME") or PROJECT / ".platform").expanduser().absolute()
        landing = Path(env.get("PLATFORM_LANDING") or PROJECT / "landing").expanduser().absolute()
        dagster_home = Path(env.get("DAGSTER_HOME") or home / "dagster").expanduser().absolute()
        feed_files = {}
        for key, value in env.items():
            if key.startswith(_FEED_FILES_PREFIX) and key.endswith(_FEED_FILES_SUFFIX) and value:
                pattern = PurePosixPath(value)
                if pattern.is_absolute() or ".." in pattern.parts:
                    raise ConfigurationError(
                        key,
                        f"{value!r} leaves the landing folder",
                        "Give a pattern relative to PLATFORM_LANDING, such as by-day/*.csv, "
                        "and point PLATFORM_LANDING at the folder above it.",
                    )
                feed_files[key.removeprefix(_FEED_FILES_PREFIX).removesuffix(_FEED_FILES_SUFFIX).lower()] = value
        wait = env.get("PLATFORM_LOCK_WAIT_S") or "60"
        try:
            lock_wait = timedelta(seconds=float(wait))
        except ValueError:
            raise ConfigurationError(
                "PLATFORM_LOCK_WAIT_S", f"{wait!r} is not a number of seconds", "Give a number, such as 60."
            ) from None
        return cls(
            home=home,
            landing=landing,
            dagster_home=dagster_home,
            feed_files=feed_files,
            failpoint=env.get("PLATFORM_FAILPOINT") or None,
            lock_wait=lock_wait,
            alerts=AlertSettings(
                channels={
                    key: value
                    for key, value in env.items()
                    if (key == _ALERT or key.startswith(f"{_ALERT}_")) and key != _ALERT_HOSTS and value
                },
                hosts=env.get(_ALERT_HOSTS) or AlertSettings.hosts,
                heartbeat=env.get("PLATFORM_HEARTBEAT") or None,
            ),
        )

    def export(self) -> None:
        """Let child processes (dbt, Dagster's runs) and libraries see the same folders as this process."""
        os.environ["PLATFORM_HOME"] = str(self.home)
        os.environ["PLATFORM_LANDING"] = str(self.landing)
        os.environ["DAGSTER_HOME"] = str(self.dagster_home)
