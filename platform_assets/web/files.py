"""Files over HTTP: the page of the releases, and each current release's marts as Parquet and CSV, for programs here.

Belongs here: what a path leads to, and who may ask. Elsewhere: the releases (the engine), the guard of Dagster's UI
(guard.py). The first part of a path is a secret that nobody can guess; it stays the same, so that a workbook can ask
again tomorrow.
"""

import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from platform_assets.engine.durable.files import replacing
from platform_assets.web.asked import Asked, Refused
from platform_assets.web.door import Door, private

FILES: Final = "files"
_KEY: Final = "files-key"
_OWNER_ALONE: Final = 0o600
_HEADERS: Final[Mapping[str, str]] = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # whose path has the secret
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "private, no-cache",
}
_PARQUET: Final = "application/vnd.apache.parquet"
_CSV: Final = "text/csv; charset=utf-8"


@dataclass(frozen=True)
class OfferedMart:
    """A mart of a release. file: its Parquet file; content: a hash of its rows; csv: the rows as CSV, in pieces."""

    file: Path
    content: str
    rows: int
    csv: Callable[[], Iterator[bytes]]


@dataclass(frozen=True)
class Offered:
    """A release of a product: its marts by name."""

    release: str
    marts: Mapping[str, OfferedMart]


@dataclass(frozen=True)
class Shelf:
    """What is there to be read, looked up for each request. page: the page of the releases. products: those that have a
    release. offered: a product's current release, or the one of that id."""

    page: Path
    products: Callable[[], list[str]]
    offered: Callable[[str, str | None], Offered | None]


def key_of(folder: Path) -> str:
    """The secret part of the address, made once; who can read the home can read it. Removed, another is made."""
    path = private(folder) / _KEY
    try:
        return path.read_text()
    except FileNotFoundError:
        key = secrets.token_urlsafe(24)
        with replacing(path, mode=_OWNER_ALONE) as partial:
            partial.touch(mode=_OWNER_ALONE)
            partial.write_text(key)
        return key


class Files:
    """The ASGI application. Reads only; an answer is of one release, whatever is released meanwhile."""

    def __init__(self, shelf: Shelf, key: str, door: Door) -> None:
        self._shelf = shelf
        self._key = key
        self._hosts = door.hosts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer it, or say in one line why not."""
        if scope["type"] != "http":
            return
        try:
            answer = await run_in_threadpool(self._answer, Asked.of(scope))
        except Refused as refusal:
            answer = PlainTextResponse(f"{refusal.why}\n", refusal.status)
        for name, value in _HEADERS.items():
            answer.headers[name] = value
        await answer(scope, receive, send)

    def _answer(self, asked: Asked) -> Response:
        if asked.host not in self._hosts:
            raise Refused("this server has no such name", status=HTTPStatus.MISDIRECTED_REQUEST)
        if asked.changes:
            raise Refused("these files are only read", status=HTTPStatus.METHOD_NOT_ALLOWED)
        if asked.from_elsewhere():
            raise Refused("a page of another site asks for it")
        key, _, path = asked.path.removeprefix("/").partition("/")
        if not hmac.compare_digest(key.encode(), self._key.encode()):
            raise Refused("there is nothing at this address", status=HTTPStatus.NOT_FOUND)
        if path == "":
            return self._page()
        if path == FILES:
            return HTMLResponse(_index(self._shelf))
        return self._file(path, asked)

    def _page(self) -> Response:
        if not self._shelf.page.is_file():
            raise Refused("there is no page yet: it comes with the first release", status=HTTPStatus.NOT_FOUND)
        return FileResponse(self._shelf.page, media_type="text/html")

    def _file(self, path: str, asked: Asked) -> Response:
        """`<product>/<mart>.parquet` or `.csv`, or one of that release: `<product>/<release>/<mart>.parquet`."""
        product, *release, name = path.split("/") if path.count("/") in (1, 2) else ("", "")
        mart, _, kind = name.rpartition(".")
        there = product in self._shelf.products() and kind in ("parquet", "csv")
        offered = self._shelf.offered(product, release[0] if release else None) if there else None
        if offered is None or mart not in offered.marts:
            raise Refused(f"there is no such file; /…/{FILES} lists them", status=HTTPStatus.NOT_FOUND)
        found = offered.marts[mart]
        state = found.file.stat()
        tag = f'"{found.content[:32]}-{state.st_size:x}-{state.st_mtime_ns:x}-{kind}"'
        headers = {"etag": tag, "x-release": offered.release}
        if (known := asked.header("if-none-match")) and (known == "*" or tag in known):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        if kind == "parquet":
            return FileResponse(found.file, media_type=_PARQUET, stat_result=state, headers=headers)
        content = found.csv() if asked.method == "GET" else iter(())
        return StreamingResponse(content, media_type=_CSV, headers=headers | {"accept-ranges": "none"})


def _index(shelf: Shelf) -> str:
    """The addresses of all files, as they are now."""
    lines = []
    for product in shelf.products():
        offered = shelf.offered(product, None)
        for mart, each in offered.marts.items() if offered is not None else ():
            at = f"{quote(product)}/{quote(mart, safe='')}"
            lines.append(
                f'<tr><td>{escape(product)}<td>{escape(mart)}<td>{each.rows:,}<td><a href="{at}.parquet">Parquet</a>'
                f'<td><a href="{at}.csv">CSV</a>'
            )
    head = "<tr><th>product<th>mart<th>rows<th><th>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Files of the releases</title>'
        f"<h1>Files of the releases</h1><table>{head}{''.join(lines)}</table>"
    )
