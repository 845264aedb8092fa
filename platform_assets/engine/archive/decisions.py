"""Decisions: what a person decided of deliveries, kept beside the archive's copies of a feed.

Belongs here: the file of them. Elsewhere: making the ledger follow (load/decisions.py). A decision is about content, so
that it holds whatever the content is called, whenever it is offered again, and when the warehouse is lost.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from platform_assets.engine.durable.files import replacing
from platform_assets.errors import StorageError


@dataclass(frozen=True)
class Decision:
    """Who decided, why, and when (ISO 8601, UTC)."""

    by: str
    why: str
    at: str

    def __str__(self) -> str:
        return f"by {self.by}: {self.why}"


@dataclass(frozen=True)
class Decided:
    """What was decided of one content. withdrawn: its rows stay out. allowed: it comes in though it breaks tolerance,
    volume or drift. delivery, file: as it was called when the last decision was taken."""

    withdrawn: Decision | None = None
    allowed: Decision | None = None
    delivery: int = 0
    file: str = ""

    @property
    def stands(self) -> bool:
        """Whether anything is decided that was not undone."""
        return self.withdrawn is not None or self.allowed is not None


UNDECIDED = Decided()


def subjects(
    fingerprint: str | None, slot: str, size: int, arrived_at: datetime, moved_from: Iterable[str] = ()
) -> tuple[str, ...]:
    """What a decision may be about that holds for a delivery: its content; its content as this file, or as one that it
    was renamed from; of what was never copied, the file as it lay there."""
    if fingerprint is None:
        return (f"{slot} {size} {arrived_at.isoformat()}",)
    return (fingerprint, *(f"{fingerprint} {each}" for each in (slot, *moved_from)))


def decided_of(decided: Mapping[str, Decided], about: Iterable[str]) -> Decided:
    """What is decided about any of these."""
    found = (decided[each] for each in about if each in decided)
    return next((each for each in found if each.stands), UNDECIDED)


class Decisions:
    """The decisions of a feed by their subjects, in one file. Only who holds the warehouse writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> dict[str, Decided]:
        """Everything that was ever decided; a decision that was undone is there, empty."""
        try:
            stored = json.loads(self._path.read_bytes())
            return {str(about): _decided(each) for about, each in stored.items()}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StorageError(self._path, error.strerror or str(error)) from error
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise StorageError(self._path, "is not what decisions are kept as; put back a copy of it") from error

    def keep(self, decided: Mapping[str, Decided]) -> None:
        """Keep these beside the others, safe on disk when this returns."""
        text = json.dumps({about: asdict(each) for about, each in {**self.all(), **decided}.items()}, indent=1)
        # A name that is swept with what claims leave.
        with replacing(self._path, self._path.with_name(f".claiming-{self._path.name}")) as partial:
            partial.write_text(text + "\n")


def decision_of(stored: Mapping[str, Any] | None) -> Decision | None:
    """The decision that was stored as JSON."""
    return None if stored is None else Decision(**stored)


def _decided(stored: dict[str, Any]) -> Decided:
    marks = {name: decision_of(stored[name]) for name in ("withdrawn", "allowed")}
    return Decided(**{**stored, **marks})
