"""A week of a small feed, so that every column of the ledger has something to show.

Belongs here: the deliveries, and what the ledger holds afterwards. Elsewhere: the page (generate.py).
"""

import io
import os
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from examples import ARRIVED, NOW, Example, opened

from platform_assets.engine.deployment import Deployment
from platform_assets.orchestration.checks import evaluated

_HEAD: Final = "sku,quantity,sold_on\n"
_FIRST: Final = f"{_HEAD}A1,2,2026-03-01\nA1,2,2026-03-01\nB7,many,2026-03-01\n"
_ANNOUNCED: Final = 'name="orders", source=Files("orders/*", sidecar=".done"), key=("sku",), on_known_key="reject"'
_SECOND: Final = f"{_HEAD}A1,3,2026-03-02\n"
# (table, column): these differ from machine to machine, or with every change of the code.
_VARYING: Final = {
    ("ledger.deliveries", "contract"): "3f0c8a91…",
    ("ledger.slots", "position"): "[61,1772434800000000000,1772434800000000000,1311862]",
    # A warehouse has to be lost for this table to hold anything.
    ("ledger.given_out", "revision"): 41,
    ("ledger.given_out", "delivery_id"): 0,
}


def columns() -> dict[tuple[str, str], tuple[str, object]]:
    """(table, column) -> its type, and what it holds: the first value that is there, None where there is none."""
    dated = Example((), "", columns="sku: str = Field()\nquantity: int = Field()\nsold_on: date = Field()")
    feed = replace(dated, declared='event_time="sold_on", on_drift="add", source=Files("sales/*")').feed()
    announced = replace(dated, declared=_ANNOUNCED).feed()
    with TemporaryDirectory() as folder:
        landing = Path(folder) / "landing"
        deployment = Deployment([feed, announced], home=Path(folder) / "home", landing=landing, clock=lambda: NOW)
        deployment.prepare()
        days: list[dict[str, str | bytes]] = [
            {"sales/2026-03-01.csv": _FIRST, "sales/2026-03-02.csv": _SECOND},
            {"sales/2026-03-01.csv": _FIRST.replace("many", "1"), "sales/copy.csv": _SECOND},
            {
                "sales/2026-03-03.csv": "sku,sold_on\nA1,2026-03-01\n",
                "sales/2026-03-04.csv": f"{_HEAD}A1,\xff,".encode("latin-1"),
            },
            {
                "sales/2026-03-05.zip": _zip({"north.csv": _SECOND}),
                "sales/2026-03-06.csv": f"shop,{_HEAD}East,C3,1,2026-03-06\n",
            },
            {"orders/a.csv": _SECOND, "orders/a.csv.done": "rows=1\n"},
            {"orders/b.csv": _SECOND.replace("3,", "4,"), "orders/b.csv.done": "rows=1\n"},
        ]
        for files in days:
            _deliver(landing, files)
            deployment.ingest(feed)
            deployment.ingest(announced)
        (landing / "sales/2026-03-06.csv").rename(landing / "sales/2026-03-06-final.csv")
        deployment.ingest(feed)
        deployment.replay(feed, again=True)
        list(evaluated(deployment, feed, {"values_as_usual"}))  # which takes the profiles
        with opened(deployment) as connection:
            found = connection.execute(
                "SELECT table_schema || '.' || table_name, column_name, data_type FROM information_schema.columns "
                "WHERE table_schema = 'ledger' ORDER BY table_name, ordinal_position"
            ).fetchall()
            held = {
                (table, column): connection.execute(f'SELECT "{column}" FROM {table} ORDER BY ALL DESC').fetchall()
                for table, column, _ in found
            }
    return {(table, column): (kind, _example((table, column), held)) for table, column, kind in found}


def _example(at: tuple[str, str], held: Mapping[tuple[str, str], list[tuple[object]]]) -> object:
    values = [value for (value,) in held[at] if value not in (None, "", [], "[]", "{}")]
    return _VARYING.get(at) or next(iter(values), None)


def _deliver(landing: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = landing / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(path, (ARRIVED.timestamp(), ARRIVED.timestamp()))


def _zip(files: Mapping[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return packed.getvalue()
