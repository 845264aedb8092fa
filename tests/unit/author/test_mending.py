"""What `contract diff` proposes is pasted into the feed's file as it is, and then every delivery is accepted."""

import ast
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import pytest
from shop import SALES, Shop

from platform_assets.engine.author.drift import Drift, compare
from platform_assets.engine.author.mending import Proposed
from platform_assets.engine.contract.model import Contract

CASES: Final = '''
"""Cases, as a university counts them."""

from datetime import datetime

from platform_assets import Contract, Field


class Cases(Contract):
    """Cases. Grain: place and day."""

    state: str = Field(source="Province/State", nullable=True)
    country: str = Field(source="Country/Region")  # as they write it
    updated: datetime = Field(
        source="Last Update",
        format=("%m/%d/%Y %H:%M", "%Y-%m-%dT%H:%M:%S"),
    )
    confirmed: int = Field(source="Confirmed", nullable=True, ge=0)
    recovered: int = Field(source="Recovered")
'''
FIRST: Final = "Province/State,Country/Region,Last Update,Confirmed,Recovered"
LATER: Final = "FIPS,Province_State,Country_Region,Last_Update,Lat,Long_,Confirmed"
# Five headers of one producer, each with rows of its day.
HISTORY: Final = (
    (FIRST, ["A,X,1/22/2020 17:00,1,0", ",Y,1/23/2020 17:00,2,0"]),
    (f"{FIRST},Latitude,Longitude", ["A,X,2020-03-01T10:13:19,5,0,30.9756,112.2707"]),
    (f"{LATER},Recovered", ["45001,A,X,3/23/20 23:19,34.2,-82.4,1,0", ",B,Y,3/23/20 23:19,,,1,0"]),
    (f"{LATER},Recovered,Case-Fatality_Ratio", ["45001,A,X,2020-05-29 02:32:28,34.2,-82.4,1,0,1.5"]),
    (f"{LATER},Case_Fatality_Ratio", ["45001,A,X,2020-11-09 05:25:53,34.22333378,-82.4,1,2.75"]),
)
_number = itertools.count()


def contract(text: str, folder: Path, name: str = "Cases") -> type[Contract]:
    """The contract that a Python file declares."""
    module = f"pasted_{next(_number)}"
    path = folder / f"{module}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(module, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])
    found: type[Contract] = getattr(sys.modules[module], name)
    return found


def pasted(text: str, proposed: Sequence[Proposed]) -> str:
    """The file as a person leaves it: old columns replaced, new ones at the end, imports at the head."""
    lines = text.splitlines()
    (declared,) = (each for each in ast.parse(text).body if isinstance(each, ast.ClassDef))
    places = {
        ast.unparse(e.target): (e.lineno, e.end_lineno or 0) for e in declared.body if isinstance(e, ast.AnnAssign)
    }
    for each in sorted((e for e in proposed if e.replaces), key=lambda e: -places[e.column][0]):
        first, last = places[each.column]
        lines[first - 1 : last] = each.declaration.splitlines()
    lines += [each.declaration for each in proposed if not each.replaces]
    return "\n".join(sorted({each.imports for each in proposed if each.imports}) + lines) + "\n"


def delivered(shop: Shop, history: Sequence[tuple[str, Sequence[str]]], text: str, folder: Path) -> Drift:
    shop.feed = replace(SALES, contract=contract(text, folder), event_time=None, volume=None)
    shop.deployment.prepare()
    for number, (header, rows) in enumerate(history, start=1):
        shop.deliver(f"{number:02}.csv", "\n".join([header, *rows]) + "\n")
    shop.ingest()
    return look(shop)


def look(shop: Shop) -> Drift:
    with shop.deployment.warehouse.reading("compare") as unit:
        return compare(unit, shop.feed, shop.deployment.archive.root)


def test_five_headers_of_a_producer_are_taken_once_the_proposal_is_pasted(shop: Shop, tmp_path: Path) -> None:
    report = delivered(shop, HISTORY, CASES, tmp_path)
    by_name = {each.column: each.declaration for each in report.proposed}
    assert by_name["country"] == '    country: str = Field(source=("Country/Region", "Country_Region"))'
    assert 'source=("Last Update", "Last_Update")' in by_name["updated"]
    assert by_name["case_fatality_ratio"].count("Case") == 2, "two headers of one name are one column"
    assert "optional=True" in by_name["recovered"], "a later header lacks it"
    assert "1 of 5 headers that came lack it" in by_name["recovered"]
    missing = {each.column: each.finding for each in report.findings if each.finding.startswith("missing")}
    assert "perhaps Country_Region is Country/Region renamed" in missing["Country/Region"]
    assert "declare it optional" in missing["Recovered"]

    mended = pasted(CASES, report.proposed)
    assert mended.startswith("from decimal import Decimal\n")
    shop.feed = replace(shop.feed, contract=contract(mended, tmp_path))
    shop.deployment.prepare()
    shop.deployment.replay(shop.feed)
    assert [(r.status, r.rejected) for r in shop.receipts()] == [("accepted", 0)] * len(HISTORY)
    assert shop.rows("count(*), count(DISTINCT country), count(updated)") == [(7, 2, 7)]
    again = look(shop)
    assert not again.drifted
    assert again.proposed == ()


@pytest.mark.parametrize("on_drift", ["add", "rescue"])
def test_what_was_kept_undeclared_is_declared_for_all_deliveries(
    shop: Shop, tmp_path: Path, on_drift: Literal["add", "rescue"]
) -> None:
    text = CASES.replace('Field(source="Recovered")', 'Field(source="Recovered", nullable=True)')
    history = [HISTORY[0], HISTORY[1]]
    shop.feed = replace(shop.feed, on_drift=on_drift)
    report = delivered(shop, history, text, tmp_path)
    assert [(each.column, each.replaces) for each in report.proposed if not each.replaces] == [
        ("latitude", False),
        ("longitude", False),
    ]
    shop.feed = replace(shop.feed, contract=contract(pasted(text, report.proposed), tmp_path))
    shop.deployment.replay(shop.feed)
    assert [(r.status, r.rejected) for r in shop.receipts()] == [("accepted", 0)] * 2


def test_dates_that_can_be_read_two_ways_are_not_guessed(shop: Shop, tmp_path: Path) -> None:
    header = f"{FIRST},Tested On"
    report = delivered(shop, [HISTORY[0], (header, ["A,X,1/22/2020 17:00,1,0,03/04/2020"])], CASES, tmp_path)
    (tested,) = report.proposed
    assert "tested_on: str = Field(" in tested.declaration
    assert "could be %d/%m/%Y or %m/%d/%Y: declare the right one" in tested.declaration
    assert "format=" not in tested.declaration.splitlines()[-1]
    history = [HISTORY[0], (FIRST.replace(" Update", "_Update"), ["A,X,03/04/2020,1,0"])]
    (updated,) = delivered(Shop(tmp_path / "other"), history, CASES, tmp_path).proposed
    assert "'03/04/2020' need a format more, which they do not tell for certain" in updated.declaration
    assert "%d" not in updated.declaration.replace("%m/%d/%Y %H", "").replace("%m-%d", "")


def test_headers_of_one_delivery_are_never_one_column(shop: Shop, tmp_path: Path) -> None:
    header = f"{FIRST},Case-Ratio,Case_Ratio,Country_Region"
    report = delivered(shop, [HISTORY[0], (header, ["A,X,1/22/2020 17:00,1,0,1,2,Z"])], CASES, tmp_path)
    assert [(each.column, each.headers) for each in report.proposed] == [
        ("case_ratio", ("Case-Ratio",)),
        ("case_ratio_2", ("Case_Ratio",)),
        ("country_region", ("Country_Region",)),
    ]
    shop.feed = replace(shop.feed, contract=contract(pasted(CASES, report.proposed), tmp_path))
    shop.deployment.prepare()
    shop.deployment.replay(shop.feed)
    assert {r.status for r in shop.receipts()} == {"accepted"}
