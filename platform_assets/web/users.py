"""Users of the shared view: names and passwords, and how guessing them is made slow.

Belongs here: the file of hashed passwords. Elsewhere: what a user sees (shared.py), sessions (logins.py).
scrypt from the standard library: memory-hard, well kept, nothing to install.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.files import replacing
from platform_assets.errors import ConfigurationError
from platform_assets.web.door import private

SHORTEST: Final = 10  # characters of a password
LONGEST: Final = 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_COST: Final = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 2**20}  # 32 MB and a tenth of a second
_LONGEST_WAIT_S: Final = 60.0
_FORGOTTEN_AFTER_S: Final = 3600.0
_MOST_REMEMBERED: Final = 10_000


class Users:
    """Who may look at the shared view. The file is read anew at every question, so that a removed user is out."""

    def __init__(self, folder: Path) -> None:
        self._path = private(folder) / "users.json"
        self._nobody = _hashed(secrets.token_hex(), os.urandom(16))  # an unknown name takes as long as a wrong password

    def names(self) -> list[str]:
        return sorted(self._all())

    def add(self, name: str, password: str) -> None:
        """Write a user, or another password of one."""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "NAME", f"{name!r} is no name of a user", "Letters, digits and . _ @ + - are; at most 64."
            )
        if not SHORTEST <= len(password) <= LONGEST:
            raise ConfigurationError(
                "password",
                f"it has {len(password)} characters",
                f"Give at least {SHORTEST}: a sentence is easy to keep.",
            )
        self._write({**self._all(), name: _hashed(password, os.urandom(16))})

    def remove(self, name: str) -> None:
        """Take a user out; sessions of that user end with it."""
        users = self._all()
        if users.pop(name, None) is None:
            known = ", ".join(sorted(users)) or "there is none"
            raise ConfigurationError("NAME", f"there is no user {name!r}", f"Users are: {known}.")
        self._write(users)

    def proof(self, name: str) -> str | None:
        """A digest of the user's entry, which changes with the password; None if there is no such user."""
        entry = self._all().get(name)
        return None if entry is None else hashlib.sha256(entry.encode()).hexdigest()

    def accepts(self, name: str, password: str) -> bool:
        """Whether that is the user's password."""
        entry = self._all().get(name)
        written = entry or self._nobody
        try:
            salt = base64.b64decode(written.split("$")[1])
        except (ValueError, IndexError):
            return False
        right = hmac.compare_digest(_hashed(password[:LONGEST], salt), written)
        return right and entry is not None

    def _all(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text())
            return {str(name): str(entry) for name, entry in found.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, AttributeError):
            raise ConfigurationError(
                str(self._path), "is no file of users", "Move it away and add them again: platform ui user add NAME"
            ) from None

    def _write(self, users: Mapping[str, str]) -> None:
        with replacing(self._path, mode=0o600) as partial:
            descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(users, file, indent=1)


def _hashed(password: str, salt: bytes) -> str:
    made = hashlib.scrypt(password.encode(errors="replace"), salt=salt, **_COST)
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(made).decode()}"


class Slow:
    """Makes guessing slow: after some wrong tries each further one has to wait, twice as long each time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: dict[str, tuple[int, float]] = {}  # what is guessed at, or from where -> how often, when last

    def wait_s(self, tries: Mapping[str, int]) -> float:
        """Seconds until the next try is allowed; 0 if it is now. tries: what is guessed at -> how many are free."""
        return max(self._wait_s(key, free) for key, free in tries.items())

    def _wait_s(self, key: str, free: int) -> float:
        count, last = self._wrong.get(key, (0, 0.0))
        if count < free:
            return 0.0
        return max(0.0, last + min(2.0 ** min(count - free, 10), _LONGEST_WAIT_S) - self._clock())

    def wrong(self, *keys: str) -> None:
        """Remember a wrong try."""
        now = self._clock()
        if len(self._wrong) > _MOST_REMEMBERED:
            kept = {key: seen for key, seen in self._wrong.items() if seen[1] + _LONGEST_WAIT_S > now}
            self._wrong = kept if len(kept) <= _MOST_REMEMBERED else {}
        for key in keys:
            count, last = self._wrong.get(key, (0, now))
            self._wrong[key] = (1 if last + _FORGOTTEN_AFTER_S < now else count + 1, now)

    def right(self, *keys: str) -> None:
        """Forget the wrong tries."""
        for key in keys:
            self._wrong.pop(key, None)
