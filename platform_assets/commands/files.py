"""The files of the releases over HTTP, beside `platform ui`: what is on offer, and the server's life.

Belongs here: releases as the web offers them. Elsewhere: who may ask for what (web/files.py).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.store.release import Release
from platform_assets.engine.store.released import ReleasedMart
from platform_assets.errors import ConfigurationError
from platform_assets.settings import UiSettings
from platform_assets.web.door import opened
from platform_assets.web.files import FILES, Files, Offered, OfferedMart, Shelf, key_of
from platform_assets.web.page_html import site_index
from platform_assets.web.server import Server

_HERE = "127.0.0.1"


def shelf_of(deployment: Deployment) -> Shelf:
    """What the deployment has released, as it is at each request."""

    def offered(product: str, release: str | None) -> Offered | None:
        releases = deployment.releases_of(product)
        if release is None:
            found = releases.current()
        else:
            found = next((each for each in releases.all() if each.id == release), None)
        return None if found is None else _offered(found)

    def products() -> list[str]:
        return [each for each in deployment.released_products() if deployment.releases_of(each).current() is not None]

    return Shelf(site_index(deployment.home), products, offered)


def _offered(release: Release) -> Offered:
    files = tuple(release.parquet(mart) for mart in release.marts)
    return Offered(
        release.id,
        {
            mart: OfferedMart(
                release.parquet(mart), each.content, each.rows, ReleasedMart(mart, Path(release.path), files).csv
            )
            for mart, each in release.marts.items()
        },
    )


@contextmanager
def files_served(deployment: Deployment, folder: Path, port: int, tell: Callable[[str], None]) -> Iterator[None]:
    """Serve them at that port of this machine meanwhile; where it is taken, say so and serve none. folder: where the
    secret of the address is kept."""
    try:
        door = opened(_HERE, port, UiSettings(), shared=False)
    except ConfigurationError as error:
        tell(f"the files of the releases are not served: {error.what}")
        yield
        return
    key = key_of(folder)
    server = Server(Files(shelf_of(deployment), key, door), door, lambda: None)
    thread = threading.Thread(target=lambda: server.run(sockets=list(door.listening)), daemon=True)
    thread.start()
    tell(f"for programs on this machine, the files of the releases: http://{_HERE}:{door.port}/{key}/{FILES}")
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        door.close()
