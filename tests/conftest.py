"""Fixtures that several test folders share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from machine import in_ci
from receivers import Desk, Webhook, here, webhook
from shop import Shop

settings.register_profile(
    "platform", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("platform")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here, or in CI fail."""
    for need in item.iter_markers("needs"):
        if not need.args[0].exists():
            (pytest.fail if in_ci() else pytest.skip)(f"{need.args[0]} is not here")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no name: they may be packed by another library on another machine, or hold a clock."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """An empty deployment of the feed `sales`, prepared."""
    shop = Shop(tmp_path)
    shop.landing.mkdir()
    shop.deployment.prepare()
    return shop


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A web server on this machine that alerts can be told to."""
    with webhook() as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, hook: Webhook) -> Desk:
    """Somebody's alerts, told to `hook`."""
    return Desk(tmp_path / "home", {"PLATFORM_ALERT": hook.url()}, here(hook))
