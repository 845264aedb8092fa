"""The entrance: who somebody is, by session, token, or a proxy's word; and the page where a session begins.

Belongs here: logging in and out. Elsewhere: codes and sessions (logins.py), passwords (users.py), what a person may ask
for (guard.py).
"""

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive

from platform_assets.errors import PlatformError
from platform_assets.web import pages
from platform_assets.web.answers import Answer
from platform_assets.web.asked import Asked, Refused, body, inert
from platform_assets.web.door import Door, is_loopback
from platform_assets.web.logins import SESSION_S, Logins
from platform_assets.web.users import Slow, Users

LOGIN: Final = "/login"
FIRST_PAGE: Final = "/asset-groups"  # the lineage of everything: never empty, and each asset is a click away
OWNER: Final = "ui:local"
_FORM_BYTES: Final = 8192
_LONGEST_NAME: Final = 200
_SILENT_S: Final = 60.0
_TRIES_FROM_ONE_PLACE: Final = 5
_TRIES_OF_ONE_NAME: Final = 50  # more, or anybody could lock somebody out


class Entry(Protocol):
    """An entry of the audit log."""

    @property
    def n(self) -> int:
        """Its number."""


class Record(Protocol):
    """Appends to the audit log, as AuditLog.record does."""

    def __call__(
        self, who: str, what: str, about: Mapping[str, object], *, outcome: str = "done", of: int | None = None
    ) -> Entry:
        """Append an entry."""


@dataclass(frozen=True)
class Begun:
    """A change that is written down, and whose outcome is not yet. key: what GraphQL's answer calls it."""

    person: "Person"
    what: str
    entry: int
    key: str | None


@dataclass(frozen=True)
class Person:
    """Who asks: `ui:anna`, `ui:local` (who can read the home), `token:ui` (a program)."""

    name: str
    by_token: bool = False


class Told:
    """Lines for the terminal; the same reason once a minute, with how often it came meanwhile."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}

    def tell(self, reason: str, line: str) -> None:
        """Say it, unless that reason was said within the last minute."""
        now = self._clock()
        last, unsaid = self._last.get(reason, (-_SILENT_S, 0))
        if now - last < _SILENT_S:
            self._last[reason] = last, unsaid + 1
            return
        self._last[reason] = now, 0
        self._tell(line + (f" ({unsaid} more since)" if unsaid else ""))


class Entrance:
    """What a door asks of those who come."""

    def __init__(
        self, door: Door, logins: Logins, record: Record, tell: Callable[[str], None], users: Users | None = None
    ) -> None:
        """users: who may look at a shared view; none where only who owns the home comes in."""
        self.told = Told(tell)
        self._door = door
        self._logins = logins
        self._record = record
        self._tell = tell
        self._users = users
        self._slow = Slow()
        self._one_at_a_time = asyncio.Semaphore(1)  # a password costs memory to check

    @property
    def cookie(self) -> str:
        """Its name. Cookies know no ports: two UIs of one machine must not take each other's away.

        With TLS a browser takes one of such a name from this host alone, by no neighbour of its domain.
        """
        return f"{'__Host-' if self._door.scheme == 'https' else ''}platform_{self._door.port}"

    def page(self, problem: str = "") -> str:
        """What somebody sees who is not logged in."""
        return pages.how_to_log_in(problem) if self._users is None else pages.password_form(problem)

    def who(self, asked: Asked) -> Person | None:
        """Who asks; None if nobody is known. Refused where something false is claimed."""
        token = self._token_is_right(asked)
        proxied = self._named_by_proxy(asked, token=token)
        if proxied is not None:
            return Person(f"ui:{proxied}")
        if token:
            return Person("token:ui", by_token=True)
        session = self._logins.session(asked.cookie(self.cookie) or "", asked.host)
        if session is None:
            return None
        if self._users is not None and session.proof != self._users.proof(session.who.partition(":")[2]):
            return None  # the user was removed, or has another password
        return Person(session.who)

    def _token_is_right(self, asked: Asked) -> bool:
        sent = asked.bearer()
        if sent is None:
            return False
        right = self._door.token
        if right is None or not hmac.compare_digest(sent.encode(), right.encode()):
            raise Refused("the token is wrong", status=HTTPStatus.UNAUTHORIZED)
        return True

    def _named_by_proxy(self, asked: Asked, *, token: bool) -> str | None:
        settings = self._door.settings
        if not settings.proxy_header or self._users is None:
            return None
        name = asked.header(settings.proxy_header)
        if name is None:
            return None
        if asked.client not in settings.proxies:
            raise Refused("the header {} comes from {}, which is no proxy of ours", settings.proxy_header, asked.client)
        if is_loopback(asked.client) and not token:
            raise Refused("a proxy on this machine has to send the token, too: anybody here could be it")
        if not name or len(name) > _LONGEST_NAME or inert(name) != name[: len(name)]:
            raise Refused("the proxy names nobody", status=HTTPStatus.UNAUTHORIZED)
        return name

    async def login(self, asked: Asked, own: str, receive: Receive) -> Response:
        """The page, or what was sent with it. Only GET with a code and POST begin or end anything."""
        if asked.method == "POST":
            asked.must_be_of_our_page(own)
            return await self._with_password(asked, own, receive)
        if asked.method not in ("GET", "HEAD"):
            raise Refused("{} is not for {}", asked.method, LOGIN, status=HTTPStatus.METHOD_NOT_ALLOWED)
        code = (parse_qs(asked.query.decode("latin-1")).get("code") or [""])[-1]
        if not code or asked.method == "HEAD" or self._users is not None:
            person = None if asked.from_elsewhere() else self.who(asked)
            return HTMLResponse(pages.logged_in(person.name) if person is not None else self.page())
        if asked.header("sec-fetch-mode") not in (None, "navigate") or "prefetch" in (
            asked.header("sec-purpose") or ""
        ):
            raise Refused("a code is for a page that a person opens")
        if not self._logins.redeem(code):
            self.told.tell("code", f"refused: a login from {asked.client}: the code was used, is too old or wrong")
            return HTMLResponse(self.page("This link was used already, or is too old."), HTTPStatus.UNAUTHORIZED)
        return await self._begin(asked, own, OWNER)

    async def _with_password(self, asked: Asked, own: str, receive: Receive) -> Response:
        content = (await body(asked, receive, _FORM_BYTES)).decode("utf-8", "replace")
        try:
            form = parse_qs(content, max_num_fields=10)
        except ValueError:
            raise Refused("it is no login", status=HTTPStatus.BAD_REQUEST) from None
        if "out" in form:
            return self._log_out(asked, own)
        if self._users is None:
            raise Refused("this UI has no passwords: platform ui --login", status=HTTPStatus.METHOD_NOT_ALLOWED)
        name, password = (form.get(key, [""])[0] for key in ("name", "password"))
        tries = {
            f"from {self._behind(asked)}": _TRIES_FROM_ONE_PLACE,
            f"name {name[:_LONGEST_NAME]}": _TRIES_OF_ONE_NAME,
        }
        async with self._one_at_a_time:
            self._must_wait(tries)
            self._slow.wrong(*tries)  # until it proves right
            right = await run_in_threadpool(self._users.accepts, name, password)
            if right:
                self._slow.right(*tries)
        if not right:
            self.told.tell("password", f"refused: a login from {asked.client}: name or password is wrong")
            return HTMLResponse(self.page("Name or password is wrong."), HTTPStatus.UNAUTHORIZED)
        return await self._begin(asked, own, f"ui:{name}", self._users.proof(name) or "")

    def _log_out(self, asked: Asked, own: str) -> Response:
        self._logins.end(asked.cookie(self.cookie) or "")
        answer = HTMLResponse(self.page())
        answer.delete_cookie(self.cookie, secure=own.startswith("https:"))
        return answer

    async def _begin(self, asked: Asked, own: str, who: str, proof: str = "") -> Response:
        """A session. The browser goes on from a page of ours, so that it sends the cookie wherever it came from."""
        await self._write_down(Person(who), "login", {"from": asked.client}, "done")
        answer = HTMLResponse(pages.going_to(f"{own}{FIRST_PAGE}"))
        answer.set_cookie(
            self.cookie,
            self._logins.begin(who, asked.host, proof),
            max_age=SESSION_S,
            secure=own.startswith("https:"),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def begun(self, person: Person, what: str, about: Mapping[str, object], key: str | None = None) -> Begun:
        """Write down that somebody asks for a change, before Dagster does: what cannot be written down is refused."""
        return Begun(person, what, await self._write_down(person, what, about, "asked"), key)

    async def ended(self, begun: Begun, answer: Answer) -> None:
        """Write down what Dagster answered. The change is made by now, so that nothing is refused here."""
        outcome, said = answer.outcome(begun.key)
        try:
            await run_in_threadpool(self._record, begun.person.name, begun.what, said, outcome=outcome, of=begun.entry)
        except (PlatformError, OSError) as error:
            self._tell(inert(f"{begun.person.name}: {begun.what}: its outcome cannot be written down: {error}", 300))

    async def _write_down(self, person: Person, what: str, about: Mapping[str, object], outcome: str) -> int:
        try:
            entry = await run_in_threadpool(self._record, person.name, what, about, outcome=outcome)
        except (PlatformError, OSError) as error:
            raise Refused(
                "it cannot be written down, and so is not done: {}", error, status=HTTPStatus.SERVICE_UNAVAILABLE
            ) from None
        named = (
            f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in about.items()
        )
        self._tell(inert(" ".join([f"{person.name}: {what}", *named]), 300))
        return entry.n

    def _behind(self, asked: Asked) -> str:
        """The address somebody comes from, as a proxy of ours says it where there is one."""
        if asked.client not in self._door.settings.proxies:
            return asked.client
        return ",".join(asked.headers.get("x-forwarded-for", ())).rpartition(",")[2].strip() or asked.client

    def _must_wait(self, tries: Mapping[str, int]) -> None:
        wait = self._slow.wait_s(tries)
        if wait:
            raise Refused(
                "too many wrong tries; the next in {} s",
                int(wait) + 1,
                status=HTTPStatus.TOO_MANY_REQUESTS,
                headers={"retry-after": str(int(wait) + 1)},
            )
