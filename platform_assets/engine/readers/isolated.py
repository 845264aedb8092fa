"""A parser we do not trust, in a process of its own with caps on time, memory and output.

Belongs here: starting it, capping it, and seeing that it ends, ours dying included. Does not: what it parses.
This file is also what the process starts as: it caps itself before the parser is even imported.
"""

import contextlib
import ctypes
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import psutil

_PR_SET_PDEATHSIG: Final = 1
_GLANCE_S: Final = 0.02
# Libraries reserve far more address space than they use; beyond this they are asking for memory in earnest.
_RESERVED: Final = 6
_OUT_OF_MEMORY: Final = (b"memory allocation of", b"MemoryError", b"ArrowMemoryError", b"realloc of size")


class Stopped(Exception):
    """The parser did not finish; the text says what it did instead."""


def run(script: Path, arguments: Sequence[str], *, seconds: int, memory: int, output: int) -> IO[bytes]:
    """What `script` wrote to its standard output, in a file that is gone when it is closed.

    It sees no environment, so no secrets. It runs for at most `seconds`, holds at most `memory` bytes (for more
    than a moment) and writes at most `output`; it does not outlive this process. Raises Stopped where it crashed
    or went beyond that.
    """
    caps = [str(os.getpid()), str(seconds), str(memory), str(output)]
    written = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    try:
        with tempfile.TemporaryFile() as said:
            # One thread: each further one reserves address space, which is capped too.
            environment = {
                "LANG": "C.UTF-8",
                "POLARS_MAX_THREADS": "1",
                "RAYON_NUM_THREADS": "1",
                "OMP_NUM_THREADS": "1",
            }
            with subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-I", __file__, *caps, str(script), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=said,
                cwd=tempfile.gettempdir(),
                env=environment,
            ) as process:
                try:
                    status = _watched(process, seconds=seconds, memory=memory)
                finally:
                    process.kill()
            said.seek(0)
            _refuse(status, said.read(1 << 20), seconds=seconds, memory=memory)
        written.seek(0)
    except BaseException:
        written.close()
        raise
    return written


def _watched(process: "subprocess.Popen[bytes]", *, seconds: int, memory: int) -> int:
    until = time.monotonic() + seconds
    while True:
        try:
            return process.wait(_GLANCE_S)
        except subprocess.TimeoutExpired:
            if time.monotonic() >= until:
                raise Stopped(f"took longer than {seconds} s") from None
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
                if psutil.Process(process.pid).memory_info().rss > memory:
                    raise Stopped(f"took more than {memory >> 20} MB of memory") from None


def _refuse(status: int, said: bytes, *, seconds: int, memory: int) -> None:
    if status == 0:
        return
    if any(sign in said for sign in _OUT_OF_MEMORY):
        raise Stopped(f"took more than {memory >> 20} MB of memory")
    if status == -signal.SIGXCPU:
        raise Stopped(f"took longer than {seconds} s")
    raise Stopped(f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}")


def _confined(parent: int, seconds: int, memory: int, output: int) -> None:
    """Put this process under its caps."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)
    for what, cap in (
        # Where nothing tells of the parent's death, its processor time ends a parser that hangs.
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory * _RESERVED),
        (resource.RLIMIT_FSIZE, output),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (cap, cap))


if __name__ == "__main__":
    _confined(*(int(cap) for cap in sys.argv[1:5]))
    del sys.argv[:5]
    runpy.run_path(sys.argv[0], run_name="__main__")
