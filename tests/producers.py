"""Producers with a history: files as three unlike ones would have delivered them, and what is in them.

Belongs here: made-up deliveries of months whose headers, formats and columns changed on the way. Elsewhere: assertions.
"""

import csv
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

Row = dict[str, Any]


@dataclass
class History:
    """Files that were written, and their rows as they are meant. copies: rows that repeat one of their own file."""

    folder: Path
    files: list[Path] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    copies: int = 0

    def write(
        self,
        name: str,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        delimiter: str = ",",
        as_: str = "utf-8",
    ) -> None:
        """Write a file of the history."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_bytes(text.getvalue().encode(as_))
        self.files.append(path)


_PLACES: Final = tuple(
    (f"Region {at // 8}" if at >= 24 else "", f"Land {at % 24}", 100 + at, f"Bezirk {at}" if at % 4 else "")
    for at in range(60)
)
_PLACED: Final = (
    *("FIPS", "Admin2", "Province_State", "Country_Region", "Last_Update", "Lat", "Long_", "Confirmed", "Deaths"),
)
_REPORTS: Final[tuple[tuple[int, tuple[str, ...]], ...]] = (
    (0, ("Province/State", "Country/Region", "Last Update", "Confirmed", "Deaths")),
    (20, ("Province/State", "Country/Region", "Last Update", "Confirmed", "Deaths", "Latitude", "Longitude")),
    (35, _PLACED),
    (60, (*_PLACED, "Incidence_Rate", "Case-Fatality_Ratio")),
    (90, (*_PLACED, "Incident_Rate", "Case_Fatality_Ratio")),
)


def daily_reports(folder: Path, days: int = 120) -> History:
    """Reports of a day by place, called 01-22-2020.csv: the header changed four times, the times in four formats."""
    chance = random.Random(1)
    found = History(folder)
    for at in range(days):
        day = date(2020, 1, 22) + timedelta(days=at)
        header = [names for since, names in _REPORTS if since <= at][-1]
        lines = []
        for region, land, fips, district in _PLACES:
            when = datetime.combine(day, datetime.min.time()) + timedelta(minutes=chance.randrange(1440))
            confirmed = chance.randrange(1, 50_000)
            deaths = confirmed // chance.randrange(30, 70)
            rate, ratio = confirmed / 3.7e3, 100 * deaths / confirmed
            lost = at > 60 and chance.random() < 0.002
            cells = {
                "province": region, "country": land, "update": _written(when, at), "confirmed": str(confirmed),
                "deaths": f"{deaths}.0" if at % 3 == 0 else str(deaths), "fips": f"{fips}.0" if at < 70 else str(fips),
                "admin2": district, "lat": repr(fips / 7) if at > 30 else f"{fips / 7:.4f}", "long": repr(-fips / 11),
                "rate": repr(rate), "ratio": "#DIV/0!" if lost else repr(ratio),
            }  # fmt: skip
            lines.append([cells[_MEANS[name]] for name in header])
            found.rows.append(
                {"day": day, "country": land, "confirmed": confirmed, "deaths": deaths, "written": when, "at": at}
            )
        if at % 10 == 0:
            lines.append(lines[3])
            found.copies += 1
        found.write(f"{day:%m-%d-%Y}.csv", header, lines, as_="utf-8-sig" if at % 5 == 0 else "utf-8")
    return found


_MEANS: Final = {
    "Province/State": "province", "Province_State": "province",
    "Country/Region": "country", "Country_Region": "country",
    "Last Update": "update", "Last_Update": "update", "Confirmed": "confirmed", "Deaths": "deaths", "FIPS": "fips",
    "Admin2": "admin2", "Latitude": "lat", "Lat": "lat", "Longitude": "long", "Long_": "long",
    "Incidence_Rate": "rate", "Incident_Rate": "rate", "Case-Fatality_Ratio": "ratio", "Case_Fatality_Ratio": "ratio",
}  # fmt: skip


def _written(when: datetime, at: int) -> str:
    """A time, as it was written on the day."""
    if at < 10:
        return f"{when.month}/{when.day}/{when:%y %H:%M}"
    if at < 20:
        return f"{when.month}/{when.day}/{when:%Y %H:%M}"
    return f"{when:%Y-%m-%dT%H:%M:00}" if at < 35 else f"{when:%Y-%m-%d %H:%M:00}"


def stock_lists(folder: Path, months: int = 18) -> History:
    """The whole stock at the end of each month, as German spreadsheets write it: semicolons, decimal commas, cp1252."""
    chance = random.Random(2)
    found = History(folder)
    groups = ("Bänder", "Kästen", "Rollen")
    for at in range(months):
        first = date(2024 + (at + 1) // 12, (at + 1) % 12 + 1, 1)
        day = first - timedelta(days=1)
        text = "Bezeichnung" if at < 9 else "Artikelbezeichnung"
        header = ["Artikelnummer", text, "Warengruppe", "Bestand", "Preis", "Stichtag", "Letzter Zugang"]
        lines = []
        for article in range(80 + at):
            stock, price = chance.randrange(0, 5_000), Decimal(chance.randrange(50, 250_000)) / 100
            came = day - timedelta(days=chance.randrange(90))
            lines.append(
                [
                    f"{article:06}", f"Größe {article}", groups[article % 3], f"{stock:,}".replace(",", "."),
                    f"{price:,.2f}".translate(str.maketrans(",.", ".,")), f"{day:%d.%m.%Y}", f"{came:%d.%m.%Y}",
                ]
            )  # fmt: skip
            found.rows.append(
                {"day": day, "article": f"{article:06}", "group": groups[article % 3], "stock": stock, "price": price}
            )
        found.write(f"Bestand_{day:%Y-%m}.csv", header, lines, delimiter=";", as_="cp1252")
    return found


def order_exports(folder: Path, files: int = 60) -> History:
    """Order lines of each working day: columns come and go, codes have leading zeros, order numbers are plain numbers
    until the 40th file."""
    chance = random.Random(3)
    found = History(folder)
    day, number = date(2024, 1, 1), 10_000
    for at in range(files):
        while day.weekday() > 4:
            day += timedelta(days=1)
        header = ["order_ref", "line", "sku", "qty", "price", "state", "ordered", "email"]
        header += ["discount"] if 10 <= at < 30 else []
        header += ["channel"] if at >= 25 else []
        lines = []
        for _ in range(30):
            number += 1
            for line in range(1, chance.randrange(2, 4)):
                qty, price = chance.randrange(1, 9), Decimal(chance.randrange(100, 9_900)) / 100
                when = datetime.combine(day, datetime.min.time()) + timedelta(minutes=chance.randrange(1440))
                state = chance.choice(["new", "paid", "sent"])
                cells = {
                    "order_ref": f"{number}" if at < 40 else f"W-{number}", "line": f"{line}",
                    "sku": f"{chance.randrange(500):05}", "qty": f" {qty}", "price": f"{price}", "state": state,
                    "ordered": f"{when:%d/%m/%Y %H:%M}", "email": f"p{chance.randrange(99)}@example.com",
                    "discount": f"{chance.randrange(5)}" if line % 2 else "",
                    "channel": "web" if line % 2 else "shop",
                }  # fmt: skip
                lines.append([cells[name] for name in header])
                found.rows.append({"day": day, "state": state, "qty": qty, "price": price})
        found.write(f"orders_{day:%Y%m%d}.csv", header, lines)
        day += timedelta(days=1)
    return found
