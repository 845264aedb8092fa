"""How measuring goes: each thing in a fresh process of its own, contenders in turn, round after round.

Belongs here: processes, their folders, samples. Elsewhere: what is measured (workloads.py) or the table (report.py).
Kept small, and DuckDB out of it: a child's peak memory starts at its parent's.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PROJECT: Final = Path(__file__).parent.parent
_LONGEST_S: Final = 1800


@dataclass(frozen=True)
class Contender:
    """Something that is measured. `target` is MODULE:FUNCTION, `rows` what it must have accepted and rejected.

    most_rounds: the very slow are not measured as often as the others. series: it takes long to get ready, so one
    process answers with all its samples, which it has checked itself.
    """

    name: str
    target: str
    arguments: Mapping[str, Any]
    rows: tuple[int, int]
    peer: bool = False
    most_rounds: int = 99
    series: bool = False


@dataclass(frozen=True)
class Goal:
    """`of` may cost at most so many times what `to` costs; moreover at most so many MB at its peak, and seconds."""

    of: str
    to: str
    cpu: float | None = None
    wall: float | None = None
    memory: float | None = None
    most_mb: float | None = None
    most_s: float | None = None


@dataclass(frozen=True)
class Workload:
    """Contenders that are measured in turn, `rounds` times, and what is to be reached.

    waiting: what is measured is how long somebody waits, rather than what a process costs.
    """

    title: str
    contenders: Sequence[Contender]
    goals: Sequence[Goal]
    rounds: int
    waiting: bool = False


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    name: str = "full"
    rounds: int = 5
    lines: int = 10_000_000
    ndjson: int = 2_000_000
    variants: int = 2_000_000
    files: int = 1_000
    file_lines: int = 10_000
    history: tuple[int, ...] = (1_000_000, 10_000_000, 30_000_000)
    day: int = 30_000
    waiting: int = 100_000
    peers: int = 300_000
    deliveries: int = 10
    released: int = 80_000_000
    readings: int = 500


QUICK: Final = Sizes(
    name="quick",
    rounds=3,
    lines=300_000,
    ndjson=200_000,
    variants=200_000,
    files=30,
    history=(60_000, 300_000, 900_000),
    waiting=2_000,
    peers=100_000,
    deliveries=2,
    released=400_000,
    readings=60,
)


class Failed(Exception):
    """A process did not do what it was asked to."""


@dataclass
class Site:
    """The folder that holds data and states between runs, and the interpreters; nothing lies in the project.

    peers: the interpreter of the peers' environment, or None where there is none.
    """

    root: Path
    sizes: Sizes
    peers: Path | None
    notify: Callable[[str], None]

    def lines(self, last: int, suffix: str, *, first: int = 0, bad: bool = False, quoted: bool = False) -> Path:
        """A file of order lines `first` to `last`."""
        name = f"{first}-{last}{'-quoted' * quoted}{'-bad' * bad}{suffix}"
        return self._made(self._data / name, "benchmarks.data:file", first=first, last=last, bad=bad, quoted=quoted)

    def folder(self, starts: range, *, bad: bool = False) -> Path:
        """A folder of CSV files, one for each of `starts`."""
        name = f"{starts.start}-{starts.stop}-by-{starts.step}{'-bad' * bad}"
        return self._made(self._data / name, "benchmarks.data:folder", starts=list(starts), rows=starts.step, bad=bad)

    def crumbs(self, first: int, files: int) -> Path:
        """A folder of very small CSV files."""
        return self._made(
            self._data / f"crumbs-{first}-{files}",
            "benchmarks.data:crumbs",
            first=first,
            files=files,
            rows=10,
        )

    def altered(self, of: Path) -> Path:
        """A copy of a Parquet file of lines, some of them with another quantity."""
        return self._made(of.with_stem(f"{of.stem}-altered"), "benchmarks.data:altered", of=of)

    def bad(self, last: int) -> int:
        """How many of the first `last` lines are bad."""
        return int(self.call("benchmarks.data:bad_lines", {"first": 0, "last": last})["answer"])

    def state(self, name: str, target: str, **arguments: object) -> Path:
        """What a contender starts from; made anew whenever the code has changed."""
        path = self._states / name
        if not path.exists():
            for outdated in set(self.root.glob("states-*")) - {path.parent}:
                shutil.rmtree(outdated)
            self.notify(f"  preparing {name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            self.call(target, {"state": path, **arguments})
        return path

    def call(self, target: str, arguments: Mapping[str, object], *, peer: bool = False) -> dict[str, Any]:
        """Run MODULE:FUNCTION in a fresh process; what it measured or answered."""
        python = self.peers if peer else Path(sys.executable)
        result = self.root / "result.json"
        result.unlink(missing_ok=True)
        command = [str(python), "-m", "benchmarks.child", target, json.dumps(arguments, default=str), str(result)]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
        if done.returncode:
            raise Failed(f"{target} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        figures: dict[str, Any] = json.loads(result.read_text())
        return figures

    def measure(self, workload: Workload) -> dict[str, list[dict[str, Any]]]:
        """Samples by contender. Their order turns by one each round, so that nobody always runs behind the same."""
        contenders = [each for each in workload.contenders if self.peers is not None or not each.peer]
        samples: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contenders}
        for round_ in range(workload.rounds):
            for contender in _turned(contenders, round_):
                if round_ >= contender.most_rounds:
                    continue
                figures = self._once(contender)
                if contender.series:
                    samples[contender.name] += figures["answer"]
                    said = ", ".join(f"{sample['wall_s']:.1f}" for sample in figures["answer"])
                    self.notify(f"  {contender.name}: {said} s")
                    continue
                rows = tuple(figures.pop("rows"))
                if rows != contender.rows:
                    raise Failed(f"{contender.name}: {rows} rows accepted and rejected instead of {contender.rows}")
                samples[contender.name].append(figures)
                self.notify(
                    f"  {round_ + 1}/{workload.rounds} {contender.name}: CPU {figures['cpu_s']:.2f} s, "
                    f"wall {figures['wall_s']:.2f} s, {figures['peak_mb']:.0f} MB"
                )
        return samples

    def _once(self, contender: Contender) -> dict[str, Any]:
        run = self.root / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        try:
            return self.call(contender.target, {"run": run, **contender.arguments}, peer=contender.peer)
        finally:
            shutil.rmtree(run, ignore_errors=True)

    def _made(self, path: Path, target: str, **arguments: object) -> Path:
        if not path.exists():
            for outdated in set(self.root.glob("lines-*")) - {path.parent}:
                shutil.rmtree(outdated)
            self.notify(f"  making {path.name}")
            self.call(target, {"path": path, **arguments})
        return path

    @property
    def _data(self) -> Path:
        return self.root / f"lines-{_fingerprint([PROJECT / 'benchmarks' / 'data.py'])}"

    @property
    def _states(self) -> Path:
        own = [PROJECT / "benchmarks" / name for name in ("ours.py", "releases.py")]
        code = [*sorted((PROJECT / "platform_assets" / "engine").rglob("*.py")), *own]
        return self.root / f"states-{self._data.name}-{_fingerprint(code)}"


def _fingerprint(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


def _turned(contenders: Sequence[Contender], by: int) -> Iterator[Contender]:
    for at in range(len(contenders)):
        yield contenders[(at + by) % len(contenders)]
