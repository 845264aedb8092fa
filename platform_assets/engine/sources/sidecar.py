"""Sidecars: what the small file beside a delivery announces of it.

Belongs here: reading one. Elsewhere: which file is whose sidecar (landing.py), checking a delivery by it (archive).
"""

import os
import re
import stat
from pathlib import Path
from typing import Final

from platform_assets.engine.archive.expected import Expected

_LARGEST: Final = 1 << 16
_COUNT: Final = re.compile(r"(?:rows\s*=\s*)?([0-9]{1,18})")
_SHA256: Final = re.compile(r"(?:sha256\s*=\s*)?([0-9a-fA-F]{64})(?:\s+\*?\S.*)?")


def read_sidecar(path: Path) -> Expected:
    """What the sidecar at `path` announces; nothing, where it only shows by being there that its file is complete."""
    try:
        source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return Expected(problem=f"its sidecar {path.name} cannot be read: {error.strerror}")
    with os.fdopen(source, "rb", buffering=0) as stream:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            return Expected(problem=f"its sidecar {path.name} is not a regular file")
        if status.st_nlink > 1:
            return Expected(problem=f"its sidecar {path.name} has several names (hard links)")
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
