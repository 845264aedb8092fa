"""A deployment driven from outside, by the real command on a throw-away home: in a process of its own, or in this one.

Belongs here: what several test files act and look with. Elsewhere: a deployment driven by its parts (shop.py).
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final
from unittest import mock

import dagster as dg
import duckdb
from machine import PROJECT

from platform_assets.cli import main
from platform_assets.cli.codes import ATTENTION, DONE

BIN: Final = Path(sys.executable).parent
# What a developer has exported must not steer a test; and compiled imports make every process faster.
_NOT_OURS: Final = ("PLATFORM_", "DAGSTER_", "DBT_", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Finished:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def did(self) -> bool:
        """Whether it did what it was asked for, be it that something waits for a person besides."""
        return self.code in (DONE, ATTENTION)

    @property
    def answer(self) -> Any:
        """What it answered with --json: the last line on standard output."""
        return json.loads(self.out.splitlines()[-1])


@dataclass
class Deployed:
    """A deployment with its state and its landing folder under `root`; its commands are called in `cwd`."""

    root: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = PROJECT
    product: str = "retail"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def landing(self) -> Path:
        return self.root / "landing"

    @property
    def releases(self) -> Path:
        """The folder of the product's releases."""
        return self.home / "releases" / self.product

    @property
    def current(self) -> Path:
        """The file that readers of the current release get."""
        return (self.releases / "current.duckdb").resolve()

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a process of this deployment sees."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_OURS)}
        places = {"PLATFORM_HOME": str(self.home), "PLATFORM_LANDING": str(self.landing)}
        return {**inherited, **places, **self.settings, **(more or {})}

    def start(
        self,
        *command: str,
        out: int | IO[str] = subprocess.PIPE,
        err: int | IO[str] = subprocess.PIPE,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start a command of the environment, at the head of a process group."""
        return subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=self.cwd,
            env=self.environment(env),
            stdout=out,
            stderr=err,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, within_s: float = 120, env: Mapping[str, str] | None = None) -> Finished:
        """Run a command of the environment to its end."""
        with self.start(*command, env=env) as process:
            try:
                out, err = process.communicate(timeout=within_s)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise AssertionError(f"{' '.join(command)} hangs\n{err[-3000:]}") from None
        return Finished(process.returncode, out, err)

    def verb(self, *arguments: str) -> Finished:
        """Run `platform …` in this process, which need not import everything first as a new one would."""
        out, err = io.StringIO(), io.StringIO()
        code: object = 0
        with (
            mock.patch.dict(os.environ, self.environment(), clear=True),
            mock.patch.object(sys, "argv", ["platform", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(action="ignore"),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code
        return Finished(int(str(code or 0)), out.getvalue(), err.getvalue())

    def platform(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        """Run `platform …` in a process of its own."""
        return self.run("platform", *arguments, env=env)

    def simulate(self, *, days: int, rows: int, until: str, dirt: float = 0.05) -> list[str]:
        """Let the sample retailer deliver; the files written."""
        done = self.platform(
            *("simulate", "--days", str(days), "--rows-per-day", str(rows), "--seed", "7"),
            *("--dirt", str(dirt), "--until", until, "--json"),
        )
        assert done.code == 0, done.err
        written: list[str] = done.answer["files"]
        return written

    def deliver(self, slot: str, lines: Sequence[str]) -> None:
        """Put a text file into the landing folder in one step, as a good producer does."""
        path = self.landing / slot
        partial = path.with_name(path.name + ".part")
        partial.write_text("".join(f"{line}\n" for line in lines))
        partial.replace(path)

    def lines(self, slot: str) -> list[str]:
        """The lines of a delivered text file."""
        return (self.landing / slot).read_text().splitlines()

    def query(self, sql: str, path: Path | None = None) -> list[tuple[Any, ...]]:
        """Ask a release, the current one by default, as any reader would."""
        with closing(duckdb.connect(str(path or self.current), read_only=True)) as connection:
            return connection.execute(sql).fetchall()

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's own account of what happened."""
        with dg.DagsterInstance.from_config(str(self.home / "dagster")) as instance:
            yield instance


@dataclass
class DeployedCopy(Deployed):
    """A deployment of a copy of the project, which lies in `folder` and may be changed; its commands are called in it
    and may take so long."""

    folder: str = "project"
    most_s: float = 300

    def __post_init__(self) -> None:
        self.cwd = self.project
        self.settings = {**self.settings, "PYTHONPATH": str(self.project)}

    @property
    def project(self) -> Path:
        return self.root / self.folder

    def platform(self, *arguments: str, env: Mapping[str, str] | None = None) -> Finished:
        return self.run("platform", *arguments, within_s=self.most_s, env=env)
