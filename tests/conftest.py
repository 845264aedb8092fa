"""Fixtures that several test folders share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from receivers import Desk, Webhook, here, webhook
from shop import Shop

settings.register_profile(
    "platform", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("platform")


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
