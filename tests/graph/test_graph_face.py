"""The public face: what authors import from `platform_assets`, and that they need nothing else."""

import ast
import inspect
import json
import re
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Final

import pytest
from machine import PROJECT

import platform_assets

FACE: Final = PROJECT / "platform_assets" / "__init__.py"
HEAVY: Final = {"dagster", "dbt", "duckdb", "pandera", "polars", "pyarrow"}
AUTHOR: Final = '''
"""The weather service."""

from datetime import date, datetime
from decimal import Decimal

from platform_assets import (
    Cadence, Chart, Contract, Csv, Excel, Export, Feed, Field, Files, Json, Mart, Parquet, Product, Rejects, Retention,
    Since, Volume, Xml, days, gigabytes, hours, minutes, seconds,
)

FORMATS = (Csv(delimiter=";"), Json(records="data"), Xml(records="a/b"), Excel(sheet="Sheet1"), Parquet())


class Readings(Contract):
    """Readings of stations. Grain: station and day."""

    station: str = Field(source=("Station", Since(date(2026, 1, 1), "Code")), str_matches="^[A-Z]{3}$")
    measured_at: datetime = Field(format="%d.%m.%Y %H:%M", timezone="Europe/London")
    rain_mm: Decimal = Field(digits=(5, 1), ge=0, nullable=True)


READINGS = Feed(
    name="readings",
    source=Files(
        "weather/*.csv",
        settle=seconds(5),
        patience=minutes(10),
        format=FORMATS[0],
        sidecar=".done",
        largest=gigabytes(1),
    ),
    contract=Readings,
    event_time="measured_at",
    on_drift="add",
    key=("station", "measured_at"),
    key_within="feed",
    on_known_key="latest",
    tolerate=Rejects(rate=0.01),
    volume=Volume(least=0.8),
    keep=Retention(archive=hours(24)),
    delivered=Cadence(cron="0 7 * * *", within=hours(2), closed=("12-25",)),
    owner="team:weather",
)
RAIN = Mart(name="rain", contract=Readings, headline=("station", "rain_mm"))
WEATHER = Product("weather", keep=days(30), least=5)
RAIN_BY_DAY = Chart("rain", x="measured_at", y="rain_mm", per="day", by="station", unit="mm")
ANALYTICS = Export("weather", to="env:ANALYTICS_DB", marts=("rain",), schema="weather")
'''


class Prices(platform_assets.Contract):
    """What examples of a feed and a mart are of."""

    sku: str = platform_assets.Field()


WRONG: Final = (
    ('on_drift="add"', 'on_drift="ad"'),
    ("contract=Readings,\n    event_time", "contract=Field,\n    event_time"),
    ("within=hours(2)", "within=2"),
)


def imported_for_types() -> set[str]:
    """The names that type checkers find in the face."""
    (block,) = (node for node in ast.parse(FACE.read_text()).body if isinstance(node, ast.If))
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def mypy(folder: Path, text: str) -> tuple[int, str]:
    """What the strict type checker says of an author's file."""
    path = folder / "weather.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), str(path)],
        cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_type_checkers_and_python_find_the_same_names() -> None:
    assert set(platform_assets.__all__) == imported_for_types()
    assert list(platform_assets.__all__) == sorted(platform_assets.__all__)
    assert set(platform_assets.__all__) <= set(dir(platform_assets))
    with pytest.raises(AttributeError, match="no attribute 'Feeds'"):
        platform_assets.Feeds  # noqa: B018


@pytest.mark.parametrize("name", platform_assets.__all__)
def test_every_name_says_what_it_is_with_an_example_that_works(name: str) -> None:
    declared = getattr(platform_assets, name)
    assert declared.__name__ == name
    said = inspect.cleandoc(declared.__doc__ or "")
    known = {each: getattr(platform_assets, each) for each in platform_assets.__all__}
    known |= {"date": date, "Decimal": Decimal, "__name__": "weather", "Prices": Prices}
    if block := re.search(r"\n\n((?:    .*\n|\n)+)", f"{said}\n"):
        exec(inspect.cleandoc(block[1]), known)
    else:
        (example,) = re.findall(rf"`({name}\(.+?\))`", said, re.S)
        assert eval(example, known) is not None


def test_importing_the_platform_costs_nothing_until_something_is_asked_for() -> None:
    watch = (
        "import json, sys\nimport platform_assets\nbefore = sorted(sys.modules)\n"
        "platform_assets.Feed\nprint(json.dumps([before, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", watch], cwd=PROJECT, capture_output=True, text=True, check=True)
    before, after = ({name.partition(".")[0] for name in each} for each in json.loads(done.stdout))
    assert not HEAVY & before
    assert "pandera" in after
    assert not {"dagster", "dbt"} & after


def test_an_author_needs_nothing_deeper() -> None:
    namespace: dict[str, object] = {"__name__": "weather"}
    exec(compile(AUTHOR, "weather.py", "exec"), namespace)
    assert isinstance(namespace["READINGS"], platform_assets.Feed)
    used = {node.id for node in ast.walk(ast.parse(AUTHOR)) if isinstance(node, ast.Name)}
    assert set(platform_assets.__all__) <= used, "all of the face is tried"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_authors_file_is_checked_strictly(tmp_path: Path) -> None:
    assert mypy(tmp_path, AUTHOR)[0] == 0
    for right, wrong in WRONG:
        assert right in AUTHOR
        code, said = mypy(tmp_path, AUTHOR.replace(right, wrong))
        assert (code, said.count("error:")) == (1, 1), said
