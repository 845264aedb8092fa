"""A producer with a history: two hundred days of readings whose header, times and columns changed again and again.

Belongs here: what it delivers, and what is true of it, reckoned without the platform. Elsewhere: what becomes of it
(tests/integration/test_history.py).
"""

import csv
import io
import os
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final

DAYS: Final = 200
FIRST: Final = date(2024, 1, 15)
NAMED: Final = "readings_%m-%d-%Y.csv"
_CITIES: Final = ("Århus", "Bergen", "Gdańsk", "Kiel", "Malmö", "Oulu", "Rostock", "Tallinn")
_STATES: Final = ("ok", "service", "offline")


@dataclass(frozen=True)
class Reading:
    """What one station said on one day."""

    station: str
    city: str
    at: datetime
    pm10: float
    no2: int
    state: str
    humidity: float | None
    remark: str | None


@dataclass(frozen=True)
class Era:
    """How files were written from a day on: header -> what stands there, and how times are written."""

    since: int
    header: Mapping[str, str]
    time: str
    bom: bool = False
    whole: str = "{}"


_OLD: Final = {"Station": "station", "City": "city", "Read At": "at", "PM10": "pm10", "NO2": "no2", "State": "state"}
_NEW: Final = {"Station_ID": "station", "City": "city", "Read_At": "at", "PM10": "pm10", "NO2": "no2", "State": "state"}
ERAS: Final = (
    Era(0, _OLD, "%m/%d/%y %H:%M"),
    Era(35, {**_OLD, "Humidity": "humidity"}, "%m/%d/%Y %H:%M", whole="{}.0"),
    Era(70, {**_NEW, "Humidity": "humidity"}, "%Y-%m-%dT%H:%M:%S", bom=True),
    Era(
        110,
        {
            "Station_ID": "station",
            "City_Name": "city",
            "Read_At": "at",
            "PM10": "pm10",
            "NO2": "no2",
            "Status": "state",
            "Humidity": "humidity",
            "Remark": "remark",
        },
        "%Y-%m-%d %H:%M:%S",
    ),
    Era(
        140,
        {
            "Remark": "remark",
            "Station_ID": "station",
            "City_Name": "city",
            "Read_At": "at",
            "PM_10": "pm10",
            "NO_2": "no2",
            "Status": "state",
            "Humidity": "humidity",
        },
        "%Y-%m-%d %H:%M:%S",
    ),
    Era(
        175,
        {
            "Station_ID": "station",
            "City_Name": "city",
            "Read_At": "at",
            "PM_10": "pm10",
            "NO_2": "no2",
            "Status": "state",
            "Remark": "remark",
        },
        "%Y-%m-%d %H:%M:%S",
    ),
)


@dataclass
class Producer:
    """Deliveries as files, in whatever order; `said`: what the newest file of each day says."""

    seed: int = 12
    said: dict[int, list[Reading]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._stations = [f"{n:04}" for n in self._random.sample(range(10_000), 24)]
        self._stations[0] = "0071"

    def day(self, number: int) -> date:
        """The day of that file."""
        return FIRST + timedelta(days=number)

    def name(self, number: int) -> str:
        """The file's name."""
        return self.day(number).strftime(NAMED)

    def readings(self, number: int) -> list[Reading]:
        """What all stations say on that day; another thing each time it is asked."""
        return [
            Reading(
                station,
                _CITIES[place % len(_CITIES)],
                datetime.combine(self.day(number), datetime.min.time())
                + timedelta(minutes=self._random.randrange(24 * 60)),
                self._random.random() * 80,
                self._random.randrange(200),
                self._random.choices(_STATES, (90, 6, 4))[0],
                round(self._random.random() * 100, 1) if self._random.random() > 0.1 else None,
                self._random.choice((None, None, None, "wind, strong", 'sensor "B" cleaned')),
            )
            for place, station in enumerate(self._stations)
        ]

    def write(self, folder: Path, number: int, era: Era | None = None) -> Path:
        """Write that day's file, as it was written then or as in another era; what it says is remembered."""
        era = era or [each for each in ERAS if each.since <= number][-1]
        self.said[number] = [_as_written(each, era) for each in self.readings(number)]
        return self._write(folder, number, self.said[number], era)

    def write_partly_broken(self, folder: Path, number: int) -> list[Reading]:
        """Write that day's file once more, with ten states that nobody knows; their readings."""
        self.said[number] = [_as_written(each, ERAS[-1]) for each in self.readings(number)]
        broken = [replace(each, state="broken") for each in self.said[number][:10]]
        self._write(folder, number, [*broken, *self.said[number][10:]], ERAS[-1])
        return broken

    def _write(self, folder: Path, number: int, readings: Iterable[Reading], era: Era) -> Path:
        path = folder / self.name(number)
        path.write_text(text(readings, era), encoding="utf-8-sig" if era.bom else "utf-8")
        # A copy has whatever time it was made at.
        os.utime(path, (1_700_000_000 + self._random.randrange(50_000_000),) * 2)
        return path


def _as_written(reading: Reading, era: Era) -> Reading:
    """The reading without what the era's files do not say."""
    kept = set(era.header.values())
    return replace(
        reading,
        humidity=reading.humidity if "humidity" in kept else None,
        remark=reading.remark if "remark" in kept else None,
    )


def text(readings: Iterable[Reading], era: Era) -> str:
    """A file of the readings, as the era writes it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(era.header)
    for each in readings:
        row = []
        for what in era.header.values():
            value = getattr(each, what)
            if what == "at":
                row.append(value.strftime(era.time))
            elif what == "no2":
                row.append(era.whole.format(value))
            else:
                row.append("" if value is None else str(value))
        writer.writerow(row)
    return out.getvalue()
