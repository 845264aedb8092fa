"""Sidecars: what the small file beside a delivery says of it.

Belongs here: reading one, and holding a delivery to it. Does not: which file is whose sidecar (landing.py).
"""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from platform_assets.errors import DeliveryRefused

_LARGEST: Final = 1 << 16
_COUNT: Final = re.compile(r"(?:rows\s*=\s*)?([0-9]{1,18})")
_SHA256: Final = re.compile(r"(?:sha256\s*=\s*)?([0-9a-fA-F]{64})(?:\s+\*?\S.*)?")


@dataclass(frozen=True)
class Expected:
    """What a delivery should be: its record count, the SHA-256 of its bytes; None where nothing is said.

    problem: why what is said is not understood.
    """

    rows: int | None = None
    fingerprint: str | None = None
    problem: str | None = None

    def hold(self, *, fingerprint: str | None = None, read: int | None = None) -> None:
        """Raise DeliveryRefused where the delivery is not what was expected, by what is known of it so far."""
        if self.problem is not None:
            raise DeliveryRefused(
                self.problem,
                remedy="Let it hold nothing, a record count (`123`, `rows=123`) or `sha256=…`, each on a line.",
            )
        if None not in (fingerprint, self.fingerprint) and fingerprint != self.fingerprint:
            raise DeliveryRefused(
                f"the sidecar announces SHA-256 {self.fingerprint}, but the file has {fingerprint}",
                remedy="Ask the producer to deliver the file and its sidecar again.",
            )
        if None not in (read, self.rows) and read != self.rows:
            raise DeliveryRefused(
                f"the sidecar announces {self.rows} records, but the file has {read}",
                remedy="The file may be cut off: ask the producer to deliver it and its sidecar again.",
            )


NOTHING: Final = Expected()


def read_sidecar(path: Path) -> Expected:
    """What the sidecar at `path` says; NOTHING where it only says by being there that its file is complete."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Expected(problem=f"its sidecar {path.name} cannot be read: {error.strerror}")
    with os.fdopen(source, "rb", buffering=0) as stream:
        if not stat.S_ISREG(os.fstat(source).st_mode):
            return Expected(problem=f"its sidecar {path.name} is not a regular file")
        try:
            content = stream.read(_LARGEST) or b""
        except OSError as error:
            return Expected(problem=f"its sidecar {path.name} cannot be read: {error.strerror}")
    return parsed(content.decode("utf-8-sig", "replace"), path.name)


def parsed(text: str, name: str) -> Expected:
    """What `text` announces. Words without a digit, such as "OK", announce nothing."""
    rows = fingerprint = None
    for line in filter(None, map(str.strip, text.splitlines())):
        if (found := _COUNT.fullmatch(line)) and rows in (None, int(found[1])):
            rows = int(found[1])
        elif (found := _SHA256.fullmatch(line)) and fingerprint in (None, found[1].lower()):
            fingerprint = found[1].lower()
        elif any(character.isdigit() for character in line):
            return Expected(problem=f"its sidecar {name} says {line[:80]!r}, which is not understood")
    return Expected(rows, fingerprint)
