"""Logins: codes that open the UI once, and the sessions they become. Both are kept as hashes, in files of the owner.

Belongs here: who has proved what, and for how long. Elsewhere: passwords (users.py), what a session may do (guard.py).
Files, because another process (`platform ui --login`) gives out codes and a restart should end no session.
"""

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from platform_assets.web.door import private

CODE_S: Final = 3600
SESSION_S: Final = 12 * 3600
_BYTES: Final = 32


@dataclass(frozen=True)
class Session:
    """Somebody who has logged in. until: seconds since the epoch. proof: a digest of what they proved it with."""

    who: str
    until: float
    proof: str = ""


class Logins:
    """Codes and sessions of one kind of door; another kind has a folder of its own, and does not know them."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._codes = private(folder / "codes")
        self._sessions = private(folder / "sessions")
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

    def begin(self, who: str, proof: str = "") -> str:
        """A session of that person; what the browser keeps of it."""
        made = secrets.token_urlsafe(_BYTES)
        session = Session(who, self._clock() + SESSION_S, proof)
        _write(self._sessions / _hashed(made), json.dumps(asdict(session)))
        return made

    def session(self, token: str) -> Session | None:
        """The session that this is the token of, unless it is over."""
        try:
            session = Session(**json.loads((self._sessions / _hashed(token)).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return session if self._clock() < session.until else None

    def end(self, token: str) -> None:
        """Log out."""
        with contextlib.suppress(OSError):
            (self._sessions / _hashed(token)).unlink()

    def sweep(self) -> None:
        """Take away what is over."""
        for folder, longest in ((self._codes, CODE_S), (self._sessions, SESSION_S)):
            for path in folder.iterdir():
                with contextlib.suppress(OSError):
                    if path.stat().st_mtime + longest < self._clock():
                        path.unlink()


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
