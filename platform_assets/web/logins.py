"""Logins: codes that open the UI once, and the sessions they become. None of them outlives the UI.

Belongs here: who has proved what, and for how long. Elsewhere: passwords (users.py), what a session may do (guard.py).
Codes are files of the owner, for another process (`platform ui --login`) gives them out; sessions are in memory alone:
while the UI is down another user could have its port, and be sent the cookies.
"""

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.web.door import private

CODE_S: Final = 3600
SESSION_S: Final = 12 * 3600
_BYTES: Final = 32


@dataclass(frozen=True)
class Session:
    """Somebody who has logged in. host: the name under which, port and all; under another it is none. until: seconds
    since the epoch. proof: a digest of what they proved it with."""

    who: str
    host: str
    until: float
    proof: str = ""


class Logins:
    """Codes and sessions of one kind of door; another kind has a folder of its own, and does not know them."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._codes = private(folder / "codes")
        self._sessions: dict[str, Session] = {}  # by the hash of what the browser keeps
        self._clock = clock

    def code(self) -> str:
        """A new code. Whoever can call this owns the home."""
        made = secrets.token_urlsafe(_BYTES)
        _write(self._codes / _hashed(made), str(self._clock() + CODE_S))
        return made

    def redeem(self, code: str) -> bool:
        """Whether the code is one of ours and still good; afterwards it is not."""
        path = self._codes / _hashed(code)
        try:
            until = float(path.read_text())
            path.unlink()  # of two at once, one finds nothing to take away
        except (OSError, ValueError):
            return False
        return self._clock() < until

    def begin(self, who: str, host: str, proof: str = "") -> str:
        """A session of that person under that name; what the browser keeps of it."""
        now = self._clock()
        self._sessions = {key: each for key, each in self._sessions.items() if now < each.until}
        made = secrets.token_urlsafe(_BYTES)
        self._sessions[_hashed(made)] = Session(who, host, now + SESSION_S, proof)
        return made

    def session(self, token: str, host: str) -> Session | None:
        """The session that this is the token of, unless it is over or of another name."""
        session = self._sessions.get(_hashed(token))
        return session if session is not None and session.host == host and self._clock() < session.until else None

    def end(self, token: str) -> None:
        """Log out."""
        self._sessions.pop(_hashed(token), None)

    def end_all(self) -> None:
        """No code and no session is good any more."""
        self._sessions.clear()
        for path in self._codes.iterdir():
            with contextlib.suppress(OSError):
                path.unlink()


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
