"""Fixtures that several test folders share."""

import os
import shutil
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from unittest import mock

import pytest
from databases import There, in_postgres, in_sqlite
from hypothesis import HealthCheck, settings
from machine import LONG, missing
from receivers import Desk, Webhook, here, webhook
from services import PostgresServer, postgres
from shop import Keyed, Shop

settings.register_profile(
    "short",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.register_profile(LONG, settings.get_profile("short"), max_examples=100)
settings.load_profile("short")


@pytest.hookimpl(wrapper=True)
def pytest_xdist_auto_num_workers() -> Generator[None, int, int]:
    """One more than there are cores: a test that has started processes mostly waits for them."""
    cores = yield
    return cores + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests may take long come first, so that all workers end together."""
    longest: Counter[Path] = Counter()
    for item in items:
        longest[item.path] += sum(mark.args[0] for mark in item.iter_markers("timeout"))
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs something that is not here, or in CI fail."""
    for need in item.iter_markers("needs"):
        there, *what = need.args
        if not (there.exists() if isinstance(there, Path) else there):
            missing(*what or [f"{there} is not here"])


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no name: they may be packed by another library on another machine, or hold a clock."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(autouse=True)
def _protected_no_longer() -> Iterator[None]:
    """What a command or a code location sets for its process (settings.py) ends with the test that called it here."""
    umask = os.umask(0o022)
    os.umask(umask)
    with mock.patch.dict(os.environ):
        yield
    os.umask(umask)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an empty deployment of the feed `sales` lies, prepared; not to be touched."""
    shop = Shop(tmp_path_factory.mktemp("prepared"))
    shop.landing.mkdir()
    shop.deployment.prepare()
    return shop.root


@pytest.fixture
def shop(tmp_path: Path, prepared: Path) -> Shop:
    """An empty deployment of the feed `sales`, prepared."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path)


@pytest.fixture
def keyed(shop: Shop) -> Keyed:
    """The same, with a key to erase persons with."""
    return Keyed(shop.root)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    """A web server on this machine that alerts can be told to."""
    with webhook() as made:
        yield made


@pytest.fixture
def desk(tmp_path: Path, hook: Webhook) -> Desk:
    """Somebody's alerts, told to `hook`."""
    return Desk(tmp_path / "home", {"PLATFORM_ALERT": hook.url()}, here(hook))


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["postgres", "sqlite"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> There:
    """Either database, empty."""
    return (
        in_sqlite(tmp_path) if request.param == "sqlite" else in_postgres(request.getfixturevalue("server"), tmp_path)
    )


@pytest.fixture
def pg(server: PostgresServer, tmp_path: Path) -> There:
    """A schema of PostgreSQL, empty."""
    return in_postgres(server, tmp_path)
