"""Deliveries that a process was reading when it died, each taken in by a process of its own that may die.

Belongs here: starting that process, seeing how it ends, and what it does. Elsewhere: what was being read
(under_way.py), taking in (ingest.py). The process starts as this module, too: it gets its work, pickled, from us alone.
"""

import contextlib
import json
import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from platform_assets.engine.load.offer import Offer, Outcome
from platform_assets.engine.readers.isolated import end_with
from platform_assets.engine.store.sql import lacks_memory
from platform_assets.errors import counted

if TYPE_CHECKING:
    from platform_assets.engine.load.ingest import Intake

_GLANCE_S: Final = 0.05
_SHARE: Final = 0.9  # of the memory that is free: a kernel that runs out may kill all of us
_OUT_OF_MEMORY: Final = 70
_ASKED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Taken:
    """What became of an offer. died: how the process died that read it; else `deliveries`, the receipts written, and
    `unfinished`, as in an outcome."""

    offer: Offer
    died: str | None = None
    deliveries: Sequence[int] = ()
    unfinished: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True)
class Stopped:
    """A clock that shows the same time for ever."""

    now: datetime

    def __call__(self) -> datetime:
        """That time."""
        return self.now


def unheard(told: str) -> None:
    """Tell nobody."""


def rest_of(intake: "Intake", offers: list[Offer], outcome: Outcome) -> list[Offer]:
    """What of `offers` is to be taken in by this process. What one was reading that died is taken in first, each in a
    process of its own; `outcome` gains what came of that. What such a process dies of as well is convicted.

    The store must be free.
    """
    under_way = intake.under_way()
    if not under_way:
        return offers
    with intake.store.transaction("see what was being read when a process died"):
        noted = under_way.noted()
    suspects = [offer for offer in offers if offer.refused is None and offer.fingerprint in noted]
    if not suspects:
        return offers
    intake.notify(
        f"{intake.feed.name}: {counted(len(suspects), 'delivery')} in hand when a process died, one at a time"
    )
    suspected = frozenset(offer.fingerprint or "" for offer in suspects)
    elsewhere = replace(intake, clock=Stopped(intake.clock()), notify=unheard, excused=suspected)
    done: set[str] = set()
    written: list[int] = []
    for taken in _taken(elsewhere, suspects):
        if taken.died is not None:
            under_way.convict(taken.offer.fingerprint or "", taken.died)
            continue
        done.add(taken.offer.slot)
        written += taken.deliveries
        outcome.unfinished |= dict(taken.unfinished)
    with intake.store.reading("see what was taken in alone") as unit:
        outcome.receipts += unit.ledger.by_id(written)
    return [offer for offer in offers if offer.slot not in done]


def _taken(intake: "Intake", offers: Sequence[Offer]) -> Iterator[Taken]:
    """Take in `offers` one by one, in another process for as long as that lives, then in the next one.

    Those that it could not say anything of are left out: whoever asks takes them in himself.
    """
    left = list(offers)
    while left:
        try:
            work = pickle.dumps(sys.path) + pickle.dumps((intake, left))
        except (pickle.PicklingError, AttributeError, TypeError):  # declared where no other process finds it
            return
        done, reading, died = 0, False, None
        with contextlib.closing(_answers(work)) as answers:
            for answer in answers:
                if isinstance(answer, str):
                    died = answer
                elif answer is None:
                    reading = True
                else:
                    yield Taken(left[done], None, answer["deliveries"], answer["unfinished"])
                    done, reading = done + 1, False
        if died is None or not reading:
            return
        yield Taken(left[done], died)
        left = left[done + 1 :]


def _answers(work: bytes) -> Generator[Any, None, None]:
    """What the process says: None where it begins to read, then what came of it; at last how it died, if it did."""
    command = [sys.executable, "-P", "-m", "platform_assets.engine.load.alone", str(os.getpid())]
    room = _room()
    crowded = False
    # A session of its own: Ctrl-C is for us, and we end it.
    with subprocess.Popen(  # noqa: S603 - our own
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
                stdin.write(work)
            pending = b""
            while True:
                if not select.select([process.stdout], [], [], _GLANCE_S)[0]:
                    with contextlib.suppress(psutil.Error):
                        if psutil.Process(process.pid).memory_info().rss > room:
                            crowded = True
                            process.kill()
                    continue
                block = os.read(process.stdout.fileno(), 1 << 16)
                if not block:
                    break
                *lines, pending = (pending + block).split(b"\n")
                yield from map(json.loads, lines)
            status = process.wait()
        finally:
            process.kill()
    if crowded or status == _OUT_OF_MEMORY:
        yield "likely out of memory"
    elif status < 0 and -status not in _ASKED:
        yield f"likely out of memory: {signal.Signals(-status).name}"


def _room() -> int:
    """How many bytes a process may take before there is none left for anybody."""
    free: int = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # no such limit
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, limit - used)
    return int(free * _SHARE)


def _main(parent: int) -> None:
    end_with(parent)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    work = sys.stdin.buffer
    sys.path[:] = [folder for folder in pickle.load(work) if folder]  # noqa: S301 - written by our parent
    intake, offers = pickle.load(work)  # noqa: S301
    for offer in offers:
        print(json.dumps(None), file=answers, flush=True)
        try:
            outcome = intake.take([offer])
        except Exception as error:
            if lacks_memory(error):
                os._exit(_OUT_OF_MEMORY)
            raise
        written = [receipt.delivery_id for receipt in outcome.receipts]
        said = {"deliveries": written, "unfinished": list(outcome.unfinished.items())}
        print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    _main(int(sys.argv[1]))
