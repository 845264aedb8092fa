"""Real servers for tests, and for a person who wants to try: `python tests/services.py` runs them until Ctrl-C.

Belongs here: starting and stopping them in a temporary folder. Elsewhere: what is asked of them. What is not installed
here skips its tests, and fails them in CI.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from machine import missing

_PASSWORD: Final = "a-secret-of-the-tests-7f3e"  # also looked for where it must not be
_STARTS_WITHIN_S: Final = 30.0


@dataclass
class PostgresServer:
    """A running PostgreSQL that only this machine reaches. bin: its programs. folder: all that it writes."""

    bin: Path
    folder: Path
    port: int
    password: str = _PASSWORD
    process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres", user: str = "platform", password: str | None = None) -> str:
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, or start it again."""
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        settings |= {"fsync": "off", "logging_collector": "off", "max_connections": 40}
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.bin / "postgres", "-D", self.folder / "data", *(f"--{k}={v}" for k, v in settings.items())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **_as_its_user(self.folder),
            )
        until = time.monotonic() + _STARTS_WITHIN_S
        ready = [str(self.bin / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        while subprocess.run(ready, check=False).returncode:
            assert time.monotonic() < until, (self.folder / "log").read_text()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it, as it stops when its machine is shut down; does nothing where it has stopped."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(_STARTS_WITHIN_S)
            self.process = None


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL of its own, with Debian's programs; its user `platform` may do everything."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not versions:
        missing("PostgreSQL is not installed: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        (folder / "password").write_text(_PASSWORD)
        user = _as_its_user(folder)
        if user:
            for each in (folder, folder / "password"):
                shutil.chown(each, "postgres", "postgres")
        made = [str(versions[-1] / "initdb"), f"--pgdata={folder / 'data'}", "--username=platform", "--no-sync"]
        made += ["--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, **user)
        server = PostgresServer(versions[-1], folder, _free_port())
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_its_user(folder: Path) -> dict[str, Any]:
    """PostgreSQL runs as nobody who may do everything."""
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    if os.geteuid() == 0:
        return {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": folder, "env": env, "umask": 0o077}
    return {}


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), postgres() as running:
        print(f"PostgreSQL: {running.url()}", flush=True)  # noqa: T201 - a person waits for it
        signal.pause()
