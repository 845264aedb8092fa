"""What is asked for: a request or a websocket, as far as the guard goes by it.

Belongs here: its headers, and what they say of who sends it and from where. Elsewhere: what follows (guard.py).
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final

from starlette.types import Receive, Scope

LARGEST_BODY: Final = 2 * 2**20  # bytes; what the UI sends is a hundredth of it
_SENT_WITHIN_S: Final = 20.0
_OWN: Final = ("same-origin", "none")
_LONGEST_SHOWN: Final = 100  # characters


class Refused(Exception):
    """Why something is refused, in one line; nothing of it was done.

    reason: the line, with {} where a value of the request stands; the same reason is not told again and again.
    """

    def __init__(
        self,
        reason: str,
        *values: object,
        status: HTTPStatus = HTTPStatus.FORBIDDEN,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.reason = reason
        self.why = reason.format(*(inert(str(value)) for value in values))
        self.status = status
        self.headers = headers or {}
        super().__init__(self.why)


def inert(text: str, longest: int = _LONGEST_SHOWN) -> str:
    """What somebody sent, fit for a terminal and one line."""
    shown = "".join(each if each.isprintable() else "?" for each in text[:longest])
    return f"{shown}…" if len(text) > longest else shown


@dataclass(frozen=True)
class Asked:
    """A request, or the handshake of a websocket. client: the address it comes from."""

    method: str
    path: str
    query: bytes
    headers: Mapping[str, tuple[str, ...]]
    client: str
    websocket: bool

    @classmethod
    def of(cls, scope: Scope) -> "Asked":
        """What the server has read."""
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in scope["headers"]:
            key = name.decode("latin-1").lower()
            headers[key] = (*headers.get(key, ()), value.decode("latin-1").strip())
        return cls(
            method=scope.get("method", "GET"),
            path=scope["path"],
            query=scope.get("query_string", b""),
            headers=headers,
            client=(scope.get("client") or ("?",))[0],
            websocket=scope["type"] == "websocket",
        )

    @property
    def host(self) -> str:
        """The name that we are called by, in lower case; empty if there is none."""
        return (self.header("host") or "").lower()

    @property
    def changes(self) -> bool:
        """Whether it may do more than read one answer."""
        return self.websocket or self.method not in ("GET", "HEAD")

    def header(self, name: str) -> str | None:
        """The one header of that name; None if there is none. Refused if there are several."""
        values = self.headers.get(name, ())
        if len(values) > 1:
            raise Refused("the header {} comes {} times", name, len(values), status=HTTPStatus.BAD_REQUEST)
        return values[0] if values else None

    def cookie(self, name: str) -> str | None:
        """The cookie of that name."""
        for each in self.headers.get("cookie", ()):
            try:
                found = SimpleCookie(each).get(name)
            except CookieError:
                continue
            if found is not None:
                return found.value
        return None

    def bearer(self) -> str | None:
        """The token that is sent."""
        kind, _, token = (self.header("authorization") or "").partition(" ")
        return token.strip() if kind.lower() == "bearer" else None

    def from_elsewhere(self) -> bool:
        """Whether the browser says that another site's page asks for it."""
        site = self.header("sec-fetch-site")
        return site is not None and site not in _OWN

    def is_a_page(self) -> bool:
        """Whether it is what a person opens, no part of a page."""
        mode = self.header("sec-fetch-mode")
        if mode is not None:
            return self.method == "GET" and mode == "navigate" and self.header("sec-fetch-dest") == "document"
        return self.method == "GET" and "text/html" in (self.header("accept") or "")

    def must_be_of_our_page(self, own: str) -> None:
        """Refuse it unless the browser says that a page of ours asks. own: our origin, as this request names us."""
        origin, site = self.header("origin"), self.header("sec-fetch-site")
        if origin is not None and origin != own:
            raise Refused("Origin {} is not this UI", origin)
        if site is not None and site != "same-origin":
            raise Refused("Sec-Fetch-Site is {}, not same-origin", site)
        if origin is site is None:
            raise Refused("neither Origin nor Sec-Fetch-Site says that a page of this UI asks, and there is no token")

    def is_json(self) -> bool:
        """Whether its media type is application/json, as Dagster spells it, with no more than a charset (UTF-8)."""
        kind, *parameters = (self.header("content-type") or "").split(";")
        pairs = [each.strip().lower().partition("=") for each in parameters]
        return kind.strip() == "application/json" and all(
            name == "charset" and value.strip('"') in ("utf-8", "utf8") for name, _, value in pairs
        )


async def body(asked: Asked, receive: Receive, largest: int = LARGEST_BODY) -> bytes:
    """All that is sent with it; refused beyond `largest` bytes, and where it does not come."""
    try:
        async with asyncio.timeout(_SENT_WITHIN_S):
            return await _body(asked, receive, largest)
    except TimeoutError:
        raise Refused("it was not sent within {} s", _SENT_WITHIN_S, status=HTTPStatus.REQUEST_TIMEOUT) from None


async def _body(asked: Asked, receive: Receive, largest: int) -> bytes:
    too_large = Refused("more than {} bytes were sent", largest, status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    said = asked.header("content-length")
    if said is not None and (not said.isdecimal() or int(said) > largest):
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Refused("the sender has gone", status=HTTPStatus.BAD_REQUEST)
        part = message.get("body", b"")
        size += len(part)
        if size > largest:
            raise too_large
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def again(content: bytes, receive: Receive) -> Receive:
    """What has been read, to be read once more; then what comes after it."""
    waiting = [{"type": "http.request", "body": content, "more_body": False}]

    async def replay() -> Any:  # noqa: ANN401 - an ASGI message
        return waiting.pop() if waiting else await receive()

    return replay


def json_object(content: bytes) -> dict[str, Any]:
    """The JSON object that it is; refused if it is none."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise Refused("what was sent is no JSON", status=HTTPStatus.BAD_REQUEST) from None
    if not isinstance(found, dict):
        raise Refused("what was sent is no JSON object", status=HTTPStatus.BAD_REQUEST)
    return found
