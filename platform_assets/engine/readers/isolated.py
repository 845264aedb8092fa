"""A parser we do not trust, in a process of its own with caps on time and memory.

Belongs here: starting it, capping it, reading what it writes, and seeing that it ends, also when we die. Elsewhere:
what it parses. This file is also what the process starts as: it caps itself before the parser is even imported.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

_PR_SET_PDEATHSIG: Final = 1
_GLANCE_S: Final = 0.02
_BLOCK: Final = 1 << 20
# Libraries reserve far more address space than they use; beyond this they are asking for memory in earnest.
_RESERVED: Final = 6
_OUT_OF_MEMORY: Final = (b"memory allocation of", b"MemoryError", b"ArrowMemoryError", b"realloc of size")


class Stopped(Exception):
    """The parser did not finish; the text tells what it did instead, and `stderr` is what it wrote there."""

    def __init__(self, what: str, stderr: bytes = b"") -> None:
        super().__init__(what)
        self.stderr = stderr


class Parser:
    """`script` at work: what it writes to its standard output, as it writes it; what it reads, as we `ask`.

    It sees no environment, so no secrets, and imports nothing from the folder that it starts in. We wait for it, and it
    computes, for at most `seconds`; it holds at most `memory` bytes (for more than a moment), writes no file, and does
    not outlive this process. Every method raises Stopped where it crashed or went beyond that.
    """

    def __init__(self, script: Path, arguments: Sequence[str], *, seconds: int, memory: int) -> None:
        self._seconds, self._memory = seconds, memory
        self._waited = 0.0
        self._glanced = 0.0
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        caps = [str(os.getpid()), str(seconds), str(memory)]
        # One thread: each further one reserves address space, which is capped too.
        environment = {
            "LANG": "C.UTF-8",
            "POLARS_MAX_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-P", __file__, *caps, str(script), *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            cwd=tempfile.gettempdir(),
            env=environment,
        )
        assert self._process.stdout is not None
        with contextlib.suppress(AttributeError, OSError):  # where pipes are of one size only
            fcntl.fcntl(self._process.stdout, fcntl.F_SETPIPE_SZ, _BLOCK)
        self.close = weakref.finalize(self, _end, os.getpid(), self._process, self._stderr)

    @property
    def closed(self) -> bool:
        """Whether it has been ended."""
        return not self.close.alive

    def ask(self, what: bytes) -> None:
        """Write a line to the parser."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why, it is asked when it is read
            self._process.stdin.write(what + b"\n")

    def read(self, size: int) -> bytes:
        """The next `size` bytes of what it writes; less only where it has ended as it should."""
        blocks = []
        while size and (block := self._next(min(size, _BLOCK))):
            blocks.append(block)
            size -= len(block)
        return blocks[0] if len(blocks) == 1 else b"".join(blocks)

    def line(self) -> bytes:
        """A line, after which it writes nothing until it is asked."""
        line = b""
        while not line.endswith(b"\n") and (block := self._next(_BLOCK)):
            line += block
        return line

    def _next(self, most: int) -> bytes:
        if self.closed:
            return b""
        assert self._process.stdout is not None
        begun = time.monotonic()
        while not select.select([self._process.stdout], [], [], _GLANCE_S)[0]:
            self._glance()
            if self._waited + time.monotonic() - begun >= self._seconds:
                self.close()
                raise self._too_long()
        self._waited += time.monotonic() - begun
        if time.monotonic() - self._glanced >= _GLANCE_S:
            self._glance()
        block = os.read(self._process.stdout.fileno(), most)
        if not block:
            self._ended()
        return block

    def _glance(self) -> None:
        import psutil  # here: the parser's process starts with this file too, and has no use for it

        self._glanced = time.monotonic()
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if psutil.Process(self._process.pid).memory_info().rss > self._memory:
                self.close()
                raise self._too_much()

    def _ended(self) -> None:
        """Raise Stopped unless it ended as it should."""
        try:
            status = self._process.wait(max(self._seconds - self._waited, 1))
        except subprocess.TimeoutExpired:
            self.close()
            raise self._too_long() from None
        self._stderr.seek(0)
        stderr = self._stderr.read(_BLOCK)
        self.close()
        if status == 0:
            return
        if any(sign in stderr for sign in _OUT_OF_MEMORY):
            raise self._too_much()
        if status == -signal.SIGXCPU:
            raise self._too_long()
        raise Stopped(
            f"ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}", stderr
        )

    def _too_long(self) -> Stopped:
        return Stopped(f"took longer than {self._seconds} s")

    def _too_much(self) -> Stopped:
        return Stopped(f"took more than {self._memory >> 20} MB of memory")


def _end(parent: int, process: "subprocess.Popen[bytes]", stderr: IO[bytes]) -> None:
    if os.getpid() != parent:  # a fork of ours ends; the parser is not its own
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, stderr):
        assert pipe is not None
        pipe.close()


def run(script: Path, arguments: Sequence[str], *, seconds: int, memory: int, output: int) -> IO[bytes]:
    """All that a `Parser` wrote, at most `output` bytes, in a file that is gone when it is closed."""
    written = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's to close
    parser = Parser(script, arguments, seconds=seconds, memory=memory)
    try:
        while block := parser.read(_BLOCK):
            written.write(block)
            if written.tell() > output:
                raise Stopped(f"wrote more than {output >> 20} MB")
        written.seek(0)
    except BaseException:
        written.close()
        raise
    finally:
        parser.close()
    return written


def end_with(parent: int) -> None:
    """Do not outlive `parent`, which has started this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked for the signal
        os._exit(1)


def _confined(parent: int, seconds: int, memory: int) -> None:
    """Put this process under its caps."""
    end_with(parent)
    for what, cap in (
        (resource.RLIMIT_AS, memory * _RESERVED),
        (resource.RLIMIT_FSIZE, _BLOCK),  # of what it writes to stderr
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (cap, cap))
    # Where nothing tells of the parent's death, its processor time ends a parser that hangs. First by a signal that
    # says so: where both limits are one, the kernel sends SIGKILL, which may as well be another's.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


if __name__ == "__main__":
    _confined(*(int(cap) for cap in sys.argv[1:4]))
    del sys.argv[:4]
    runpy.run_path(sys.argv[0], run_name="__main__")
