"""What is being read of a feed, kept where the death of the process leaves it; and what was read in two deaths.

Belongs here: the note, and what it says afterwards. Elsewhere: taking in what a dead process was reading (alone.py).
The note is not brought to the disk: a machine that loses power accuses nothing.
"""

import contextlib
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from platform_assets.engine.durable.files import replacing
from platform_assets.errors import DeliveryRefused, StorageError

_LINE: Final = re.compile(r"([0-9a-f]{64})(?:\t(.*))?")


class UnderWay:
    """A line per delivery of the feed, by its content: begun and not ended, or convicted, with how its process died.

    Only who holds the store reads deliveries. So what somebody else finds begun, once he holds it, no living process is
    reading: neither pids nor clocks are asked.
    """

    def __init__(self, path: Path, excused: Iterable[str] = ()) -> None:
        """excused: contents that are read though they are convicted."""
        self._path = path
        self._excused = frozenset(excused)
        self._mine: set[str] = set()
        self._convicted: Mapping[str, str] | None = None

    def __bool__(self) -> bool:
        """Whether anything is noted."""
        return self._path.exists()

    def noted(self) -> Mapping[str, str]:
        """Contents that were being read when a process died; of those that are convicted, how the second one died."""
        try:
            lines = self._path.read_text().splitlines()
        except OSError:
            return {}
        found = (_LINE.fullmatch(line) for line in lines)
        noted: dict[str, str] = {}
        for each in filter(None, found):
            noted[each[1]] = each[2] or noted.get(each[1], "")
        return noted

    def begin(self, content: str, slot: str) -> None:
        """It is being read from now on. Raises DeliveryRefused where it is convicted, and not excused."""
        if self._convicted is None:
            self._convicted = {each: how for each, how in self.noted().items() if how}
        how = self._convicted.get(content)
        if how is not None and content not in self._excused:
            raise DeliveryRefused(
                f"was being read in two deaths of the process ({how})",
                remedy="Ask the producer for smaller files, or give the platform more memory. Then bring it in with "
                f"`platform replay {self._path.parent.name} --file {shlex.quote(slot)} --again`, or touch the file.",
            )
        self._mine.add(content)
        with contextlib.suppress(OSError):  # where nothing can be noted, a death accuses nothing
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as note:
                note.write(f"{content}\n")

    def settle(self) -> None:
        """This process has outlived what it began."""
        self._write({content: how for content, how in self.noted().items() if content not in self._mine})
        self._mine.clear()

    def convict(self, content: str, how: str) -> None:
        """A second process died while it read this delivery."""
        self._write({**self.noted(), content: how})

    def _write(self, noted: Mapping[str, str]) -> None:
        with contextlib.suppress(OSError, StorageError):
            if not noted:
                self._path.unlink(missing_ok=True)
                return
            with replacing(self._path) as partial:
                partial.write_text("".join(f"{each}\t{how}\n" if how else f"{each}\n" for each, how in noted.items()))
