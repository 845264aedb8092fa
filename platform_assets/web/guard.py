"""The guard: every request and websocket passes it before Dagster's web server sees it.

Belongs here: what is let through, to whom, by which of Dagster's routes, and the headers of every answer. Elsewhere:
what a request says (asked.py), the login page's work (entrance.py), what GraphQL asks for (operations.py).
"""

import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_assets.web import operations, pages
from platform_assets.web.answers import Answer
from platform_assets.web.asked import Asked, Refused, again, body, inert, json_object
from platform_assets.web.door import Door
from platform_assets.web.entrance import LOGIN, Begun, Entrance, Person

GRAPHQL: Final = "graphql"
REPORT: Final = "report"
LOGS: Final = "logs"
FILE: Final = "file"
PAGE: Final = "page"
# Dagster's routes by their templates; one that is not here is served to nobody.
ROUTES: Final[Mapping[str, str]] = {
    "/graphql": GRAPHQL,
    "/report_asset_materialization/{asset_key:path}": REPORT,
    "/report_asset_check/{asset_key:path}": REPORT,
    "/report_asset_observation/{asset_key:path}": REPORT,
    "/logs/{path:path}": LOGS,
    "/download_debug/{run_id:str}": LOGS,
    "/notebook": LOGS,
    "/dagit/notebook": LOGS,
    "/server_info": PAGE,
    "/dagit_info": PAGE,
    "/{path:path}": PAGE,
    "/": PAGE,
}
_STATIC: Final = re.compile(r"root_static|\w+_static")
_NAMED_BY_CONTENT: Final = "/_next/static/"
_OPERATION: Final = re.compile(rb"op=\w{1,100}")  # how Dagster's page names a request; Dagster's server ignores it
_HEADERS: Final[Mapping[str, str]] = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# Files whose names change with their content: a browser need not ask again, and no page loads slower for the guard.
_KEEP: Final = "private, max-age=31536000, immutable"
_KEPT_STATUS: Final = {200, 304}


class Guard:
    """ASGI middleware around Dagster's application, whose own routes say what a path leads to.

    refused: fields of GraphQL that the shared view does not have.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[BaseRoute],
        door: Door,
        entrance: Entrance,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        self._app = app
        self._routes = list(routes)
        self._door = door
        self._hosts = door.hosts()
        self._entrance = entrance
        self._withheld = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, or say in one line why not."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        asked = Asked.of(scope)
        kind = kind_of(self._routes, scope)
        send = _with_headers(send, may_be_kept=kind == FILE and asked.path.startswith(_NAMED_BY_CONTENT))
        try:
            begun: list[Begun] = []
            inner = await self._let_in(asked, kind, scope, receive, begun)
        except Refused as refusal:
            self._entrance.told.tell(f"{refusal.status}{refusal.reason}", f"refused: {_named(asked)}: {refusal.why}")
            answer = self._answer_to(begun, send)
            await _answer(self._refusal(asked, kind, refusal), asked, scope, receive, answer.send)
            return
        if isinstance(inner, Response):
            await inner(scope, receive, send)
        elif not begun:
            await self._app(scope, inner, send)
        else:
            answer = self._answer_to(begun, send)
            try:
                await self._app(scope, inner, answer.send)
            except Exception:
                await answer.end()
                raise

    def _answer_to(self, begun: Iterable[Begun], send: Send) -> Answer:
        async def ended(answer: Answer) -> None:
            for each in begun:
                await self._entrance.ended(each, answer)

        return Answer(send, ended)

    async def _let_in(
        self, asked: Asked, kind: str | None, scope: Scope, receive: Receive, begun: list[Begun]
    ) -> Receive | Response:
        """What Dagster is to read, or an answer of ours. begun: is given the changes that are asked for."""
        own = self._our_origin(asked)
        if scope.get("root_path"):
            raise Refused("this UI is served under no other path", status=HTTPStatus.BAD_REQUEST)
        if {".", ".."} & {*asked.path.split("/")}:
            raise Refused("no path has such parts", status=HTTPStatus.BAD_REQUEST)
        if asked.path == LOGIN and not asked.websocket:
            return await self._entrance.login(asked, own, receive)
        if not asked.changes and asked.from_elsewhere():
            if asked.is_a_page():
                return self._from_here(asked, own)
            raise Refused("a page of another site asks for it")
        person = self._entrance.who(asked)
        if asked.changes and not (person is not None and person.by_token):
            asked.must_be_of_our_page(own)
        if person is None:
            raise Refused("nobody is logged in", status=HTTPStatus.UNAUTHORIZED, headers={"www-authenticate": "Bearer"})
        self._by_route(asked, kind, person)
        if asked.websocket or asked.method != "POST":
            return receive
        if kind == GRAPHQL:
            _must_be_graphql(asked)
        content = await body(asked, receive)
        if kind == GRAPHQL:
            await self._graphql(json_object(content), person, begun)
        else:
            about = {"asset": asked.path.strip("/").partition("/")[2]}
            begun.append(await self._entrance.begun(person, "report", about))
        return again(content, receive)

    def _our_origin(self, asked: Asked) -> str:
        """What our own pages are called, by the name that this request has for us; refused if it is none of ours."""
        host = asked.host
        if host not in self._hosts:
            raise Refused(
                "Host {} is not this UI; another name goes into PLATFORM_UI_HOSTS",
                host or "(none)",
                status=HTTPStatus.MISDIRECTED_REQUEST,
            )
        if not self._door.may_come_from(asked.client):
            raise Refused("from other machines, the proxy alone leads here: it does TLS")
        outside = asked.client in self._door.settings.proxies and asked.header("x-forwarded-proto")
        return f"{outside if outside in ('http', 'https') else self._door.scheme}://{host}"

    def _from_here(self, asked: Asked, own: str) -> Response:
        """Go to the same place from a page of ours; `own` first, or a path like //host would lead elsewhere."""
        query = f"?{asked.query.decode('latin-1')}" if asked.query else ""
        return HTMLResponse(pages.going_to(f"{own}{asked.path}{query}"))

    def _by_route(self, asked: Asked, kind: str | None, person: Person) -> None:
        if kind is None:
            raise Refused("the guard does not know this route of Dagster", status=HTTPStatus.NOT_FOUND)
        if asked.websocket:
            if kind != GRAPHQL:
                raise Refused("no websocket is there")
            return
        allowed = {GRAPHQL: ("POST",), REPORT: ("POST",)}.get(kind, ("GET", "HEAD"))
        if asked.method not in allowed:
            raise Refused(
                "{} is not for {}",
                asked.method,
                asked.path,
                status=HTTPStatus.METHOD_NOT_ALLOWED,
                headers={"allow": ", ".join(allowed)},
            )
        if kind == REPORT and not person.by_token:
            raise Refused("events are reported with a token only (PLATFORM_UI_TOKEN)")
        if self._door.shared and kind in (REPORT, LOGS):
            raise Refused("the shared view is read-only, and shows no logs")

    async def _graphql(self, said: Mapping[str, Any], person: Person, begun: list[Begun]) -> None:
        query, variables, name = said.get("query"), said.get("variables"), said.get("operationName")
        if not isinstance(query, str) or not isinstance(variables or {}, dict) or not isinstance(name, str | None):
            raise Refused("it is no GraphQL request: query, variables, operationName", status=HTTPStatus.BAD_REQUEST)
        if self._door.shared:
            if await run_in_threadpool(operations.changes, query):
                raise Refused("the shared view is read-only")
            if found := await run_in_threadpool(operations.asks_for, query, self._withheld):
                raise Refused("{} is not shown in the shared view", found)
        elif "mutation" in query:  # the word has to be there, as such
            for each in await run_in_threadpool(operations.mutations, query, variables or {}, name):
                if each.name not in operations.HARMLESS:
                    written = await self._entrance.begun(person, each.what, each.about, each.key)
                    begun.append(written)

    def _refusal(self, asked: Asked, kind: str | None, refusal: Refused) -> Response:
        headers = dict(refusal.headers)
        if asked.is_a_page():
            found = self._entrance.page() if refusal.status == HTTPStatus.UNAUTHORIZED else pages.refused(refusal.why)
            return HTMLResponse(found, refusal.status, headers)
        if kind == GRAPHQL and asked.method == "POST":
            return JSONResponse({"errors": [{"message": refusal.why}]}, refusal.status, headers)
        return PlainTextResponse(f"{refusal.why}\n", refusal.status, headers)


def _must_be_graphql(asked: Asked) -> None:
    if asked.query and not _OPERATION.fullmatch(asked.query):
        raise Refused("a query in the URL", status=HTTPStatus.BAD_REQUEST)
    if not asked.is_json():
        raise Refused(
            "the media type is {}, not application/json",
            asked.header("content-type") or "missing",
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )


def kind_of(routes: Iterable[BaseRoute], scope: Scope) -> str | None:
    """What a path leads to, found as Starlette finds it: the first route that matches, else the first that matches but
    for its method. None where that is no route that we know."""
    partial: str | None = None
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.NONE:
            continue
        within = getattr(route, "routes", None)
        if within:
            return kind_of(within, {**scope, **child})
        path, name = getattr(route, "path", ""), getattr(route, "name", None) or ""
        kind = ROUTES.get(path) or (FILE if _STATIC.fullmatch(name) else None)
        if match is Match.FULL:
            return kind
        partial = partial or kind
    return partial


def _with_headers(send: Send, *, may_be_kept: bool) -> Send:
    """Every answer forbids frames and copies; what Dagster says of the content's safety stays."""

    async def sending(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            policies = [each for each in headers.getlist("content-security-policy") if each]
            said = "; ".join(p.strip().rstrip(";") for p in policies if "frame-ancestors" not in p)
            headers["content-security-policy"] = f"{said}; frame-ancestors 'none'".lstrip("; ")
            kept = may_be_kept and message["status"] in _KEPT_STATUS
            headers["cache-control"] = _KEEP if kept else "no-store"
        await send(message)

    return sending


async def _answer(response: Response, asked: Asked, scope: Scope, receive: Receive, send: Send) -> None:
    if asked.websocket and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
    else:
        await response(scope, receive, send)


def _named(asked: Asked) -> str:
    """A request in a line for the terminal: no query, which may hold a secret."""
    return f"{'websocket' if asked.websocket else inert(asked.method)} {inert(asked.path)} from {asked.client}"
