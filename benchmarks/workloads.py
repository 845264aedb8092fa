"""What is measured, and what is to be reached.

Belongs here: one function per workload, which makes its data and names its contenders and goals. Elsewhere: how a
contender works (ours.py, bare.py, peers.py) or how it is measured (harness.py).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.harness import Contender, Goal, Site, Workload

_MOST_MB: Final = 1_000
_NEW_FILES: Final = 10
_IN_MEMORY: Final = Path("/dev/shm")


def csv(site: Site) -> Workload:
    """One large CSV."""
    return _one_file(site, ".csv", site.sizes.lines, cpu=1.6)


def gzip(site: Site) -> Workload:
    """The same, compressed."""
    return _one_file(site, ".csv.gz", site.sizes.lines, cpu=1.5)


def parquet(site: Site) -> Workload:
    """The same as Parquet."""
    return _one_file(site, ".parquet", site.sizes.lines, cpu=1.5)


def ndjson(site: Site) -> Workload:
    """As NDJSON."""
    return _one_file(site, ".ndjson", site.sizes.ndjson, cpu=1.4)


def quoted(site: Site) -> Workload:
    """A CSV in which, as in the real deliveries, one line in 75 has quotes."""
    return _one_file(site, ".csv", site.sizes.variants, cpu=1.6, quoted=True)


def london(site: Site) -> Workload:
    """A CSV whose timestamps are local time of a zone with summer time."""
    return _one_file(site, ".csv", site.sizes.variants, cpu=1.6, feed="london", timezone="Europe/London")


def files(site: Site) -> Workload:
    """Many small files at once; the bare load gets their list in one statement."""
    sizes = site.sizes
    lines = sizes.files * sizes.file_lines
    starts = range(0, lines, sizes.file_lines)
    bad = site.bad(lines)
    dirty, clean = site.folder(starts, bad=True), site.folder(starts)
    warm = site.lines(30, ".csv")
    return Workload(
        f"{sizes.files:,} CSV files of {sizes.file_lines:,} lines, 0.1 % bad",
        [
            Contender(
                "ours",
                "benchmarks.ours:load",
                {"files": {file.name: file for file in sorted(dirty.iterdir())}, "warm": warm},
                (lines - bad, bad),
            ),
            Contender(
                "bare DuckDB", "benchmarks.bare:load", {"files": sorted(clean.iterdir()), "warm": warm}, (lines, 0)
            ),
        ],
        [Goal("ours", "bare DuckDB", cpu=1.1, wall=1.1, memory=1.2, most_mb=_MOST_MB)],
        sizes.rounds,
    )


def daily(site: Site) -> Workload:
    """A day's lines on top of more and more history; and, on top of the most, a day delivered again with other lines,
    and a day under a feed that looks each row's key up in all of history."""
    sizes = site.sizes
    warm = site.lines(30, ".csv")
    first = -(-sizes.history[-1] // sizes.day) * sizes.day
    today = site.lines(first + sizes.day, ".csv", first=first)
    contenders, state, bare = [], None, None
    for upto, before in zip(sizes.history, (0, *sizes.history), strict=False):
        starts = range(-(-before // sizes.day) * sizes.day, upto, sizes.day)
        landing = site.folder(starts)
        state = site.state(f"ours-{upto}", "benchmarks.ours:prepare", landing=landing, start=state)
        bare = site.state(f"bare-{upto}.duckdb", "benchmarks.bare:prepare", folder=landing, start=bare)
        arguments = {"files": {"today.csv": today}, "warm": warm, "state": state}
        contenders += [
            Contender(f"ours into {_short(upto)}", "benchmarks.ours:load", arguments, (sizes.day, 0)),
            Contender(
                f"bare DuckDB into {_short(upto)}",
                "benchmarks.bare:load",
                {"files": [today], "warm": warm, "state": bare},
                (sizes.day, 0),
            ),
        ]
    least, most = _short(sizes.history[0]), _short(sizes.history[-1])
    again = {"files": {f"lines-{0:09}.csv": today}, "warm": warm, "state": state}
    contenders += [
        Contender(f"ours, restated in {most}", "benchmarks.ours:load", again, (sizes.day, 0)),
        Contender(
            f"ours, keys looked up in {most}", "benchmarks.ours:load", arguments | {"feed": "keyed"}, (sizes.day, 0)
        ),
    ]
    return Workload(
        f"a day of {sizes.day:,} lines into {least} to {most} lines of history",
        contenders,
        [Goal(f"ours into {most}", f"ours into {least}", cpu=1.2, wall=1.2)],
        sizes.rounds + 2,
    )


def landing(site: Site) -> Workload:
    """A landing folder in which everything ever delivered still lies, and a few new files."""
    waiting = site.sizes.waiting
    warm = site.lines(30, ".csv")
    place = site.crumbs(0, waiting)
    at = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    state = site.state(f"landing-{waiting}", "benchmarks.ours:prepare", landing=place, at=at)
    new = sorted(site.crumbs(20_000_000, _NEW_FILES).iterdir())
    lines = _NEW_FILES * 10
    there = {"warm": warm, "state": state, "landing": place}
    return Workload(
        f"{waiting:,} files in the landing folder, {_NEW_FILES} of them new",
        [
            Contender(
                "ours", "benchmarks.ours:arrive", there | {"files": {file.name: file for file in new}}, (lines, 0)
            ),
            Contender("ours, nothing new", "benchmarks.ours:arrive", there | {"files": {}}, (0, 0)),
            Contender("ours, a sensor's tick", "benchmarks.ours:tick", there, (0, 0)),
            Contender("bare listing of names", "benchmarks.bare:listing", {"landing": place}, (waiting, 0)),
            Contender("bare DuckDB, the new files", "benchmarks.bare:load", {"files": new, "warm": warm}, (lines, 0)),
        ],
        [],
        site.sizes.rounds + 2,
    )


def again(site: Site) -> Workload:
    """A file that was loaded, offered once more under another name."""
    lines = site.sizes.variants
    bad = site.bad(lines)
    file, warm = site.lines(lines, ".csv", bad=True), site.lines(30, ".csv")
    state = site.state(f"again-{lines}", "benchmarks.ours:prepare", landing=file)
    arguments = {"files": {"again.csv": file}, "warm": warm}
    return Workload(
        f"a CSV of {lines:,} lines offered again",
        [
            Contender("ours, again", "benchmarks.ours:load", arguments | {"state": state}, (0, 0)),
            Contender("ours, its load", "benchmarks.ours:load", arguments, (lines - bad, bad)),
        ],
        [Goal("ours, again", "ours, its load", cpu=0.1, wall=0.1)],
        site.sizes.rounds,
    )


def peers(site: Site) -> Workload:
    """The same job by others, on a file that the slowest of them can manage."""
    lines = site.sizes.peers
    bad = site.bad(lines)
    dirty, clean, warm = site.lines(lines, ".csv", bad=True), site.lines(lines, ".csv"), site.lines(30, ".csv")
    sound, judged = {"files": [clean], "warm": warm}, {"files": [dirty], "warm": warm}

    def peer(name: str, function: str, *, validates: bool, rows: tuple[int, int], most: int = 99) -> Contender:
        arguments = judged if validates else sound
        return Contender(name, f"benchmarks.peers:{function}", arguments, rows, peer=True, most_rounds=most)

    return Workload(
        f"one CSV of {lines:,} lines, peers",
        [
            Contender("ours", "benchmarks.ours:load", judged | {"files": {"lines.csv": dirty}}, (lines - bad, bad)),
            Contender("bare DuckDB", "benchmarks.bare:load", sound, (lines, 0)),
            peer("dlt, unvalidated (own Arrow reader)", "dlt_arrow", validates=False, rows=(lines, 0)),
            peer("dlt, unvalidated (its CSV reader)", "dlt_stock", validates=False, rows=(lines, 0)),
            peer("dlt, rows validated", "dlt_validated", validates=True, rows=(lines - bad, 0)),
            peer("pandas + SQLAlchemy (SQLite)", "pandas_sqlite", validates=False, rows=(lines, 0)),
            peer("pandas + SQLAlchemy (DuckDB)", "pandas_duckdb", validates=False, rows=(lines, 0), most=1),
            peer("Polars + Pandera by hand", "polars_pandera", validates=True, rows=(lines - bad, bad)),
        ],
        [
            Goal("ours", "dlt, unvalidated (own Arrow reader)", cpu=1 / 2),
            Goal("ours", "dlt, unvalidated (its CSV reader)", cpu=1 / 2),
            Goal("ours", "dlt, rows validated", cpu=1 / 15),
        ],
        site.sizes.rounds,
    )


def latency(site: Site) -> Workload:
    """A small file, from the moment it is complete until readers have its rows."""
    most = site.sizes.deliveries
    half, third = -(-most // 2), max(1, most // 3)

    def waited_for(name: str, function: str, deliveries: int, **arguments: str) -> Contender:
        given = {"deliveries": deliveries, **arguments}
        return Contender(name, f"benchmarks.latency:{function}", given, (0, 0), series=True)

    return Workload(
        "a file of 1,000 lines into a month of them",
        [
            waited_for("platform ui", "ours", most, launcher="warm"),
            waited_for("platform ui, Dagster's own launcher", "ours", half, launcher="dagster"),
            waited_for("platform run", "command", half),
            waited_for("platform run, after imports", "work", half),
            waited_for("stock Dagster + dbt", "stock", third),
        ],
        [
            Goal("platform ui", "stock Dagster + dbt", wall=1 / 10, most_s=8),
            Goal("platform ui, Dagster's own launcher", "stock Dagster + dbt", most_s=15),
            Goal("platform run, after imports", "platform run", most_s=3),
        ],
        rounds=1,
        waiting=True,
    )


def diff(site: Site) -> Workload:
    """Two releases of a mart in which one row in a hundred differs."""
    lines = site.sizes.lines
    before = site.lines(lines, ".parquet")
    given = {"before": before, "after": site.altered(before)}
    changed = int(site.call("benchmarks.data:altered_lines", {"of": before})["answer"])
    return Workload(
        f"what differs between two releases of {lines:,} rows, 1 % changed",
        [
            Contender("ours", "benchmarks.ours:differing", given, (changed, 0)),
            Contender("bare DuckDB", "benchmarks.bare:differing", given, (changed, 0)),
        ],
        [Goal("ours", "bare DuckDB", cpu=3.0, most_mb=_MOST_MB)],
        site.sizes.rounds,
    )


def publish(site: Site) -> Workload:
    """A product of which one small mart has changed."""
    rows = site.sizes.released
    state = {"state": site.state(f"released-{rows}", "benchmarks.releases:prepare", rows=rows)}
    done = 1_000, 4
    return Workload(
        f"a release of {64 * rows / 1e9:.2g} GB, of which a small mart has changed",
        [
            Contender("ours", "benchmarks.releases:publish", state, done),
            Contender("bare DuckDB, that mart alone", "benchmarks.releases:write_small", state, done),
        ],
        [Goal("ours", "bare DuckDB, that mart alone", most_s=2)],
        site.sizes.rounds,
    )


def readers(site: Site) -> Workload:
    """A reader of releases, alone and beside a writer that does nothing but load, build and release."""
    readings, day = site.sizes.readings, site.sizes.day
    files = [site.lines(first + day, ".csv", first=first) for first in range(0, 4 * day, day)]
    given = {"files": files, "readings": readings}

    def reader(name: str, *, writing: bool) -> Contender:
        return Contender(name, "benchmarks.releases:read", {**given, "writing": writing}, (readings, 0))

    return Workload(
        f"a release opened, asked and closed {readings} times",
        [reader("ours, nobody writes", writing=False), reader("ours, during writes", writing=True)],
        [Goal("ours, during writes", "ours, nobody writes", wall=1.2)],
        site.sizes.rounds + 2,
    )


WORKLOADS: Final[Mapping[str, Callable[[Site], Workload]]] = {
    make.__name__: make
    for make in (
        *(csv, quoted, london, gzip, parquet, ndjson, files, daily, landing, again),
        *(diff, peers, latency, publish, readers),
    )
}


def _one_file(
    site: Site,
    suffix: str,
    lines: int,
    *,
    cpu: float,
    quoted: bool = False,
    feed: str = "lines",
    timezone: str = "UTC",
) -> Workload:
    bad = site.bad(lines)
    dirty, clean = (site.lines(lines, suffix, bad=faulty, quoted=quoted) for faulty in (True, False))
    warm = site.lines(30, suffix)
    kind = f"{suffix.removeprefix('.')}{', 1.3 % of lines quoted' * quoted}{f', {timezone}' * (timezone != 'UTC')}"
    return Workload(
        f"one {kind} of {lines:,} lines, 0.1 % bad",
        [
            Contender(
                "ours",
                "benchmarks.ours:load",
                {"files": {f"lines{suffix}": dirty}, "warm": warm, "feed": feed},
                (lines - bad, bad),
            ),
            Contender(
                "bare DuckDB",
                "benchmarks.bare:load",
                {"files": [clean], "warm": warm, "timezone": timezone},
                (lines, 0),
            ),
        ],
        [Goal("ours", "bare DuckDB", cpu=cpu, memory=1.2, most_mb=_MOST_MB)],
        site.sizes.rounds,
    )


def _short(lines: int) -> str:
    return f"{lines / 1_000_000:g}M"
