"""Settings that do not exist are named: a misspelt one ends the command, any other is told of in a line."""

import pytest

from platform_assets.errors import ConfigurationError
from platform_assets.project.configured import opened_settings
from platform_assets.settings import Settings


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("PLATFORM_HOEM", "PLATFORM_HOME"),
        ("PLATFORM_LANDNG", "PLATFORM_LANDING"),
        ("PLATFORM_LOCK_WAIT", "PLATFORM_LOCK_WAIT_S"),
        ("PLATFORM_DISK_FLOR", "PLATFORM_DISK_FLOOR"),
        ("PLATFORM_ALERTS", "PLATFORM_ALERT"),
        ("PLATFORM_ALERT_HOST", "PLATFORM_ALERT_HOSTS"),
        ("PLATFORM_UI_HOST", "PLATFORM_UI_HOSTS"),
        ("PLATFORM_FEED_ORDERS_FILE", "PLATFORM_FEED_ORDERS_FILES"),
    ],
)
def test_a_misspelt_setting_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, wrong: str, right: str
) -> None:
    monkeypatch.setenv(wrong, "x")
    with pytest.raises(ConfigurationError, match=f"{wrong}: there is no such setting. Did you mean '{right}'"):
        Settings.from_environment()


@pytest.mark.parametrize(
    "name",
    [
        "PLATFORM_ALERT_TEAM_SALES",
        "PLATFORM_ALERT_FILE",
        "PLATFORM_AUDIT_KEY_COMMAND",
        "PLATFORM_FEED_ORDERS_FILES",
        "PLATFORM_RELEASES_GROUP",
        "PLATFORM_UI_PROXY_HEADER",
        "PLATFORM_PROJECT",
        "OTHER_PLATFORM_HOEM",
    ],
)
def test_other_settings_are_read_or_somebody_elses(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    Settings.from_environment()


def test_a_name_that_nothing_is_near_is_told_of(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PLATFORM_HOME", f"{tmp_path}/home")
    monkeypatch.setenv("DAGSTER_HOME", f"{tmp_path}/dagster")
    monkeypatch.setenv("PLATFORM_PROJECT", "of another tool")
    told: list[str] = []
    opened_settings(told.append, make=True)
    assert [line for line in told if "PLATFORM_PROJECT" in line]
