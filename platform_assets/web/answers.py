"""Answers to changes: what Dagster says has come of what somebody asked for.

Belongs here: status and kind of an answer, for the audit log. Elsewhere: what was asked for (operations.py).
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.types import Message, Send

ANSWERED: Final = "answered"
FAILED: Final = "failed"
_MOST: Final = 2**20  # bytes of an answer that are read; one to a change has some hundred
_LONGEST: Final = 100  # characters of a kind


class Answer:
    """Passes an answer on, and keeps what it says. ended: awaited once, before the last part of it is passed on."""

    def __init__(self, send: Send, ended: Callable[["Answer"], Awaitable[None]]) -> None:
        self._send = send
        self._ended = ended
        self._whole = False
        self._status: int | None = None
        self._content = bytearray()

    async def send(self, message: Message) -> None:
        """Pass a part of it on."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body" and len(self._content) <= _MOST:
            self._content += message.get("body", b"")
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await self.end()
        await self._send(message)

    async def end(self) -> None:
        """There is no more of it."""
        if not self._whole:
            self._whole = True
            await self._ended(self)

    def outcome(self, key: str | None = None) -> tuple[str, Mapping[str, object]]:
        """`answered`, or `failed` where nothing can have been done as asked; with status and kind, such as
        LaunchRunSuccess, which stands there only if it was asked for. key: what GraphQL's answer calls the change."""
        if self._status is None:
            return FAILED, {}
        said: dict[str, object] = {"status": self._status}
        if self._status >= HTTPStatus.BAD_REQUEST:
            return FAILED, said
        answer = None if key is None else self._json()
        if answer is None:
            return ANSWERED, said
        data = answer.get("data") or {}
        found = data.get(key)
        if found is None and (answer.get("errors") or key not in data):
            return FAILED, {**said, "answer": "errors" if answer.get("errors") else "nothing"}
        kind = found.get("__typename") if isinstance(found, dict) else None
        return ANSWERED, {**said, "answer": kind[:_LONGEST]} if isinstance(kind, str) else said

    def _json(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._content)
        except (ValueError, RecursionError):  # longer than what is kept, or none
            return None
        return found if isinstance(found, dict) else None
