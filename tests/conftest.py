"""Fixtures that several test folders share."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
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
