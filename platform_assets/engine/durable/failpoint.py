"""Named points at which a test can kill this process, to see what a real kill leaves behind.

Belongs here: the names and the kill; a run without PLATFORM_FAILPOINT notices nothing of it.
"""

import os
import signal
from typing import Final

from platform_assets.errors import ConfigurationError

POINTS: Final = (
    "mid-archive",
    "claim",
    "mid-read",
    "before-commit",
    "after-commit",
    "mid-release",
    "release-views",
    "release-manifest",
    "release-link",
    "pinned",
    "unpinned",
    "mid-prune",
    "mid-export",
    "before-export-commit",
    "after-export-commit",
    "mid-tick",
    "mid-erase",
    "mid-let-go",
    "mid-rewrite",
    "mid-erase-release",
    "erase-asked",
    "erase-found",
    "erase-replayed",
    "erase-made",
    "erase-released",
    "erase-rewritten",
    "decided",
    "drop-committed",
    "mid-drop",
    "rename-asked",
    "rename-archive",
    "rename-committed",
    "rename-noted",
    "mid-audit-line",
    "audit-line",
)

_armed: str | None = None


def arm(point: str | None) -> None:
    """Make `reached(point)` kill this process with SIGKILL; None disarms."""
    global _armed
    if point is not None and point not in POINTS:
        raise ConfigurationError("PLATFORM_FAILPOINT", f"unknown point {point!r}", f"Points are: {', '.join(POINTS)}.")
    _armed = point


def reached(point: str) -> None:
    """Die here if `point` is armed."""
    if point == _armed:
        os.kill(os.getpid(), signal.SIGKILL)
