"""Who reads which column of which mart, and what a change would break for them: by manifests as dbt writes them, and by
what has been promised. Elsewhere: by the real commands (tests/integration/test_kept_consumers.py)."""

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from platform_assets.errors import ConfigurationError
from platform_assets.project.consumers import Break, breaks, fits, offers_of, treated
from platform_assets.project.exposures import consumers_of, lost_model
from platform_assets.project.promised import Promises

TODAY: Final = date(2026, 11, 26)
SALES: Final = {"day": "date", "orders": "bigint", "revenue": "decimal(18,4)"}
WHO: Final = "Board (Sales, sales@example.com)"


def model(name: str, columns: Mapping[str, str], version: int | None = None, **said: Any) -> dict[str, Any]:
    """A model of the folder marts, as it stands in dbt's manifest."""
    alias = name if version is None else f"{name}_v{version}"
    return {
        "resource_type": "model",
        "name": name,
        "alias": alias,
        "fqn": ["shop", "marts", name, *([] if version is None else [f"v{version}"])],
        "original_file_path": f"models/marts/{alias}.sql",
        "config": {"materialized": "table", "contract": {"enforced": True}},
        "columns": {column: {"name": column, "data_type": kind} for column, kind in columns.items()},
        "version": version,
        **said,
    }


def exposure(*refs: tuple[str, int | None], columns: object = None, name: str = "board") -> dict[str, Any]:
    """An exposure that reads these models; `nodes` are filled in with the manifest."""
    return {
        "name": name,
        "label": name.title(),
        "type": "dashboard",
        "owner": {"name": "Sales", "email": "sales@example.com"},
        "original_file_path": "models/marts/exposures.yml",
        "config": {"meta": {} if columns is None else {"columns": columns}},
        "refs": [{"name": model, "package": None, "version": version} for model, version in refs],
    }


def manifest(*models: dict[str, Any], exposures: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """What dbt makes of them: a ref without a version is of the latest."""
    nodes = {f"model.shop.{each['alias']}": each for each in models}
    for each in exposures:
        each["depends_on"] = {
            "nodes": [
                key
                for ref in each["refs"]
                for key, node in nodes.items()
                if node["name"] == ref["name"]
                and node["version"] == (ref["version"] or node.get("latest_version", node["version"]))
            ]
        }
    return {"nodes": nodes, "exposures": {f"exposure.shop.{each['name']}": each for each in exposures}}


def versions(v2: Mapping[str, str], latest: int = 2, until: str | None = "2027-01-31") -> list[dict[str, Any]]:
    """Two versions of the model sales; the first has all its columns."""
    ends = None if until is None else f"{until}T00:00:00+00:00"
    return [
        model("sales", SALES, 1, latest_version=latest, deprecation_date=ends),
        model("sales", v2, 2, latest_version=latest),
    ]


def broken(had: dict[str, Any], get: dict[str, Any], today: date = TODAY) -> list[Break]:
    """What a change from one manifest to the other would break for the consumers of the second."""
    return breaks(consumers_of(get), offers_of(had), offers_of(get), today)


def less(*columns: str) -> dict[str, str]:
    """The columns of sales without these."""
    return {name: kind for name, kind in SALES.items() if name not in columns}


def test_an_exposure_uses_all_columns_of_its_marts_unless_it_says_which() -> None:
    dbt = manifest(
        model("sales", SALES), model("stock", SALES), exposures=(exposure(("sales", None), ("stock", None)),)
    )
    (board,) = consumers_of(dbt)
    assert board.uses == {"sales": None, "stock": None}
    dbt["exposures"]["exposure.shop.board"]["config"]["meta"]["columns"] = {"sales": ["Day"]}
    (board,) = consumers_of(dbt)
    assert (board.uses_column("sales", "day"), board.uses_column("sales", "orders")) == (True, False)
    assert board.uses_column("stock", "orders")
    assert not board.uses_column("another", "day")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["day"], "is not understood"),
        ({"sales": "day"}, "is not understood"),
        ({"sale": ["day"]}, "names 'sale', which the exposure does not depend on. Did you mean 'sales'?"),
    ],
)
def test_columns_that_cannot_be_understood_are_refused_with_their_place(columns: object, said: str) -> None:
    dbt = manifest(model("sales", SALES), exposures=(exposure(("sales", None), columns=columns),))
    with pytest.raises(
        ConfigurationError, match=r"exposure board .dbt_project/models/marts/exposures\.yml."
    ) as refused:
        consumers_of(dbt)
    assert said in str(refused.value)


def test_a_version_is_read_by_its_own_name_and_the_latest_by_that_of_the_model() -> None:
    reads = exposure(("sales", None), ("sales", 1))
    assert set(consumers_of(manifest(*versions(SALES), exposures=(reads,)))[0].uses) == {"sales", "sales_v1"}
    kept = [
        model("sales", SALES, 1, alias="sales", latest_version=2),  # the first version stays where it was
        model("sales", SALES, 2, latest_version=2),
    ]
    assert set(consumers_of(manifest(*kept, exposures=(reads,)))[0].uses) == {"sales_v2", "sales"}


def test_a_column_that_somebody_uses_must_not_go() -> None:
    had, reads = manifest(model("sales", SALES)), exposure(("sales", None))
    (found,) = broken(had, manifest(model("sales", less("orders")), exposures=(reads,)))
    assert str(found) == f"sales.orders is gone; used by {WHO}"
    assert "board (dbt_project/models/marts/exposures.yml)" in found.remedy
    assert "version" in found.remedy
    agreed = exposure(("sales", None), columns={"sales": ["day", "revenue"]})
    assert broken(had, manifest(model("sales", less("orders")), exposures=(agreed,))) == []
    assert broken(had, manifest(model("sales", less("orders")))) == [], "nobody uses it"


def test_a_mart_that_somebody_uses_must_not_go() -> None:
    had, reads = manifest(model("sales", SALES)), exposure(("sales", None))
    elsewhere = model("sales", SALES, fqn=["shop", "intermediate", "sales"])
    (found,) = broken(had, manifest(elsewhere, exposures=(reads,)))
    assert str(found) == f"mart sales is gone; used by {WHO}"


def test_a_renamed_column_is_told_with_its_new_name() -> None:
    had, reads = manifest(model("sales", SALES)), exposure(("sales", None))
    renamed = less("orders") | {"n_orders": "bigint"}
    (found,) = broken(had, manifest(model("sales", renamed), exposures=(reads,)))
    assert str(found) == f"sales.orders is gone (renamed to 'n_orders'?); used by {WHO}"


def test_a_column_that_is_dropped_as_personal_data_is_gone_too() -> None:
    dbt = manifest(model("sales", SALES), exposures=(exposure(("sales", None)),))
    (found,) = breaks(consumers_of(dbt), offers_of(dbt), treated(offers_of(dbt), {"sales": {"orders": "drop"}}), TODAY)
    assert str(found) == f"sales.orders is dropped as personal data; used by {WHO}"


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("integer", "bigint"),
        ("tinyint", "int4"),
        ("float", "double precision"),
        ("decimal(10,2)", "numeric(18, 2)"),
        ("varchar(10)", "text"),
        ("varchar(20)", "varchar(10)"),  # DuckDB has no length of text
        ("timestamptz", "timestamp with time zone"),
        ("struct(a int)[]", "STRUCT(a INTEGER)[]"),
        ("decimal", "DECIMAL(18,3)"),
    ],
)
def test_a_type_may_be_called_otherwise_and_become_wider(was: str, now: str) -> None:
    assert fits(was, now)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("bigint", "integer"),
        ("integer", "double"),
        ("integer", "decimal(18,0)"),
        ("bigint", "hugeint"),  # clients give another type, or round it
        ("integer", "uinteger"),
        ("decimal(18,4)", "decimal(10,4)"),
        ("decimal(18,4)", "decimal(18,2)"),
        ("decimal(10,2)", "decimal(18,4)"),  # the same number is written otherwise
        ("date", "timestamp"),
        ("timestamp", "timestamptz"),
        ("integer", "varchar"),
        ("struct(a int)", "struct(a int, b int)"),
    ],
)
def test_any_other_type_is_another_for_who_reads_it(was: str, now: str) -> None:
    assert not fits(was, now)
    had, get = manifest(model("sales", {"n": was})), manifest(model("sales", {"n": now}))
    get["exposures"] = manifest(model("sales", {}), exposures=(exposure(("sales", None)),))["exposures"]
    (found,) = broken(had, get)
    assert " turns from " in str(found)


def test_who_reads_the_old_version_may_lose_the_column_in_the_new_one() -> None:
    had = manifest(model("sales", SALES))
    assert broken(had, manifest(*versions(less("orders")), exposures=(exposure(("sales", 1)),))) == []


def test_who_reads_the_latest_version_is_told_which_one_still_has_the_column() -> None:
    had = manifest(model("sales", SALES))
    (found,) = broken(had, manifest(*versions(less("orders")), exposures=(exposure(("sales", None)),)))
    assert str(found) == f"sales.orders is gone; used by {WHO}"
    assert found.remedy.startswith("sales_v1 still has orders: let them read that, and say so: ref('sales', v=1)")
    still = manifest(*versions(less("orders"), latest=1), exposures=(exposure(("sales", None)),))
    assert broken(had, still) == [], "the name of the model leads to the old version"


def test_a_version_is_served_until_the_end_that_readers_were_told() -> None:
    had, get = manifest(*versions(less("orders"))), manifest(model("sales", less("orders"), 2, latest_version=2))
    (found,) = broken(had, get)
    assert str(found) == "mart sales_v1 is gone; used by all who read it: it is promised until 2027-01-31"
    assert broken(had, get, today=date(2027, 1, 31)) == []
    (found,) = broken(had, manifest(model("sales", less("day"), 1, latest_version=1), *versions(SALES)[1:]))
    assert "sales_v1.day is gone" in str(found)


def test_an_end_is_told_in_time() -> None:
    reads = (exposure(("sales", 1)),)
    had = manifest(*versions(SALES, until=None))
    (found,) = broken(had, manifest(*versions(SALES, until="2026-11-26"), exposures=reads))
    assert str(found) == f"sales_v1 would end on 2026-11-26; used by {WHO}"
    assert broken(had, manifest(*versions(SALES, until="2026-12-26"), exposures=reads)) == []
    (found,) = broken(manifest(*versions(SALES)), manifest(*versions(SALES, until="2027-01-30"), exposures=reads))
    assert "sales_v1 would end on 2027-01-30, not on 2027-01-31" in str(found)
    assert broken(manifest(*versions(SALES)), manifest(*versions(SALES, until="2028-01-30"), exposures=reads)) == []


def test_a_model_whose_columns_dbt_does_not_hold_is_not_judged_by_what_is_written_of_it() -> None:
    had, reads = manifest(model("sales", SALES)), exposure(("sales", None))
    loose = model("sales", {}, config={"materialized": "table", "contract": {"enforced": False}})
    assert broken(had, manifest(loose, exposures=(reads,))) == []


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "models" / "marts").mkdir(parents=True)
    (tmp_path / "dbt_project.yml").write_text("model-paths: [models, sample/models]\n")
    return tmp_path


def promised(project: Path) -> dict[str, Any]:
    """What the file says, mart by mart."""
    path = project / "models" / "marts" / "_promised.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def test_what_consumers_are_promised_is_written_and_held(project: Path) -> None:
    told: list[str] = []

    def follow(*models: dict[str, Any], reads: dict[str, Any] | None = None) -> Promises:
        found = Promises(manifest(*models, exposures=() if reads is None else (reads,)), TODAY, project)
        found.follow(told.append)
        return found

    reads = exposure(("sales", None))
    follow(model("sales", SALES), model("stock", SALES))
    assert (promised(project), told) == ({}, []), "nobody reads them"
    assert follow(model("sales", SALES), model("stock", SALES), reads=reads).broken == []
    assert promised(project) == {"sales": {"columns": SALES}}
    assert told.pop().endswith("_promised.json written; commit it")
    more = SALES | {"returns": "bigint"}
    follow(model("sales", more), reads=reads)
    assert promised(project) == {"sales": {"columns": more}}
    told.clear()

    found = follow(model("sales", less("orders")), reads=reads)
    assert [str(each) for each in found.broken] == [
        f"sales.orders is gone, sales.returns is gone; used by {WHO}",
    ]
    assert (promised(project), told) == ({"sales": {"columns": more}}, []), "a promise is not forgotten by itself"
    agreed = exposure(("sales", None), columns={"sales": ["day"]})
    assert follow(model("sales", less("orders")), reads=agreed).broken == []
    assert promised(project) == {"sales": {"columns": less("orders")}}
    follow(model("sales", SALES))
    assert not (project / "models" / "marts" / "_promised.json").exists()


def test_versions_are_promised_until_their_end_whoever_reads_them(project: Path) -> None:
    Promises(manifest(*versions(less("orders")), exposures=(exposure(("sales", None)),)), TODAY, project).follow(print)
    assert promised(project) == {
        "sales": {"columns": less("orders")},
        "sales_v1": {"until": "2027-01-31", "columns": SALES},
    }
    gone = manifest(model("sales", less("orders"), 2, latest_version=2))
    assert [each.mart for each in Promises(gone, TODAY, project).broken] == ["sales_v1"]
    assert Promises(gone, date(2027, 2, 1), project).broken == []


def test_a_mart_that_dbt_does_not_hold_to_its_columns_promises_nothing(project: Path) -> None:
    loose = model("sales", SALES, config={"materialized": "table", "contract": {"enforced": False}})
    (found,) = Promises(manifest(loose, exposures=(exposure(("sales", None)),)), TODAY, project).broken
    assert str(found) == f"nothing can be promised of sales: its dbt contract is not enforced; used by {WHO}"


def test_a_column_that_never_was_is_no_column_to_use(project: Path) -> None:
    reads = exposure(("sales", None), columns={"sales": ["dya"]})
    (found,) = Promises(manifest(model("sales", SALES), exposures=(reads,)), TODAY, project).broken
    assert str(found) == f"there is no sales.dya (did you mean 'day'?); used by {WHO}"


SAID: Final = (
    "Compilation Error\n  Exposure 'exposure.shop.board' (models/marts/exposures.yml) depends on a node named "
    "'sales' {}which was not found"
)


@pytest.mark.parametrize(("version", "table"), [("", "sales"), ("with version '1' ", "version 1 of sales")])
def test_a_mart_that_dbt_does_not_find_is_told_with_who_reads_it(project: Path, version: str, table: str) -> None:
    file = project / "models" / "marts" / "exposures.yml"
    file.write_text("exposures:\n  - {name: board, label: Board, owner: {name: Sales, email: sales@example.com}}\n")
    error = lost_model(SAID.format(version), [file], project)
    assert str(error).startswith(
        f"exposure board (dbt_project/models/marts/exposures.yml): reads {table}, which is gone. Board would break: "
        "Sales, sales@example.com"
    )
    assert lost_model("something else", [file], project) is None
