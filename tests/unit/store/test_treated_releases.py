"""Personal data in releases: dropped, pseudonymised or kept, the same in every mart and release; and persons erased."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from shop import KEY, Shop

from platform_assets.engine.store.erasure import Made, Traces, erase_from_releases, found_in_releases, held
from platform_assets.engine.store.pseudonyms import Key
from platform_assets.engine.store.release import Label, MartLabel, Release, Releases
from platform_assets.errors import ReleaseRefused

ANNA, BERT = "anna@canary.example", "bert@canary.example"
OURS = Key(KEY)
BUYERS = {"email": "pseudonym", "phone": "drop", "number": "pseudonym"}
MADE = Made(models=[("main", "buyers"), ("main", "lines")], columns={("main", "buyers"): {"email": {"email"}}})


@pytest.fixture
def releases(shop: Shop) -> Releases:
    with duckdb.connect(str(shop.deployment.warehouse.marts)) as marts:
        marts.execute(
            "CREATE TABLE buyers AS SELECT * FROM (VALUES "
            f"('{ANNA}', '555-1', 100::DECIMAL(9,2), 1), ('{BERT}', '555-2', 200, 2), (NULL, NULL, NULL, 3)"
            ") t(email, phone, number, bought)"
        )
        marts.execute("COMMENT ON COLUMN buyers.phone IS 'Telephone, such as 555-1'")
        marts.execute(
            "CREATE TABLE lines AS SELECT * FROM (VALUES "
            f"('{ANNA}', 100, 7::BIGINT, 2::BIGINT), ('{BERT}', 200, 7, 3)) t(email, number, _delivery_id, _line)"
        )
    return shop.deployment.releases_of("shop")


def publish(
    shop: Shop, releases: Releases, personal: Mapping[str, Mapping[str, str]], key: Key | None = OURS
) -> Release:
    """A release as the product declares it, of marts whose version is the same as ever."""
    labels = {
        mart: MartLabel(
            version="1",
            personal=personal.get(mart, {}),
            pseudonyms=key.id if key is not None and "pseudonym" in personal.get(mart, {}).values() else None,
        )
        for mart in ("buyers", "lines")
    }
    now = datetime.now(tz=UTC)
    return releases.publish(shop.deployment.warehouse, now, list(labels), lambda: Label(labels, key=key))


def files_with(folder: Path, text: str) -> set[str]:
    """The names of the files in which the text stands, as it is or in the rows of a Parquet file."""
    found = {path.name for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()}
    return found | {path.name for path in folder.rglob("*.parquet") if text in str(pl.read_parquet(path).to_dicts())}


def test_what_is_dropped_is_nowhere_and_pseudonyms_join(shop: Shop, releases: Releases) -> None:
    made = publish(shop, releases, {"buyers": BUYERS, "lines": {"email": "pseudonym", "number": "pseudonym"}})
    assert made.marts["buyers"].columns == {"email": "VARCHAR", "number": "VARCHAR", "bought": "INTEGER"}
    assert (made.marts["buyers"].personal, made.marts["buyers"].pseudonyms) == (BUYERS, OURS.id)
    with duckdb.connect(str(releases.link), read_only=True) as reader:
        rows = reader.execute("SELECT * FROM buyers ORDER BY bought").fetchall()
        joined = reader.execute("SELECT bought FROM buyers JOIN lines USING (email, number) ORDER BY 1").fetchall()
        comments = reader.execute("SELECT comment FROM duckdb_columns() WHERE comment IS NOT NULL").fetchall()
    assert rows[0] == (OURS.pseudonym(ANNA), OURS.pseudonym("100"), 1)
    assert rows[2] == (None, None, 3)
    assert joined == [(1,), (2,)]
    assert comments == []
    for secret in (ANNA, "canary.example", "555-1", KEY):
        assert files_with(releases.folder, secret) == set()


def test_the_same_value_has_the_same_pseudonym_in_the_next_release_and_costs_nothing(
    shop: Shop, releases: Releases
) -> None:
    first = publish(shop, releases, {"buyers": BUYERS})
    again = publish(shop, releases, {"buyers": BUYERS})
    assert again.parquet("buyers").stat().st_ino == first.parquet("buyers").stat().st_ino


@pytest.mark.parametrize("other", ["another key", "another treatment"])
def test_what_is_declared_otherwise_is_written_anew_though_the_rows_are_the_same(
    shop: Shop, releases: Releases, other: str
) -> None:
    publish(shop, releases, {"buyers": BUYERS})
    if other == "another key":
        made = publish(shop, releases, {"buyers": BUYERS}, Key(f"{KEY}!"))
        assert made.marts["buyers"].pseudonyms == Key(f"{KEY}!").id != OURS.id
        assert files_with(made.folder, Key(f"{KEY}!").pseudonym(ANNA)) == {"buyers.parquet"}
    else:
        made = publish(shop, releases, {"buyers": {**BUYERS, "email": "keep"}})
        assert "buyers.parquet" in files_with(made.folder, ANNA)


def test_a_mart_of_which_nothing_would_be_left_is_refused(shop: Shop, releases: Releases) -> None:
    with pytest.raises(ReleaseRefused, match="every column"):
        publish(shop, releases, {"buyers": dict.fromkeys(("email", "phone", "number", "bought"), "drop")})
    assert releases.current() is None


def erase(shop: Shop, releases: Releases, key: Key | None) -> list[str]:
    traces = Traces({"email": [ANNA]}, MADE, lines=[(7, 2)], key=key)
    removed = erase_from_releases(shop.deployment.warehouse, [releases], traces, {"erasure": "e1", "at": "now"})
    assert not any(found_in_releases([releases], traces).values())
    assert not any(name.startswith("release ") for name in held(shop.deployment.warehouse, [releases], traces))
    return removed


def bought(release: Release) -> list[int]:
    with release.opened() as connection:
        return [row[0] for row in connection.execute("SELECT bought FROM buyers ORDER BY 1").fetchall()]


def test_a_person_is_erased_by_pseudonyms_and_where_these_were_dropped_by_the_rows_of_raw(
    shop: Shop, releases: Releases
) -> None:
    publish(shop, releases, {"buyers": BUYERS, "lines": {"email": "drop"}})
    assert erase(shop, releases, OURS) == []
    release = releases.current()
    assert release is not None
    assert bought(release) == [2, 3]
    assert release.tables == {"buyers": 2, "lines": 1}
    assert release.erased[0]["rows"] == {"buyers": 1, "lines": 1}
    assert files_with(releases.folder, OURS.pseudonym(ANNA)) == set()


def test_a_release_with_pseudonyms_of_another_key_is_removed_since_nobody_is_found_in_it(
    shop: Shop, releases: Releases
) -> None:
    old = publish(shop, releases, {"buyers": BUYERS}, Key(f"{KEY}!"))
    new = publish(shop, releases, {"buyers": BUYERS})
    assert erase(shop, releases, OURS) == [f"shop/{old.id}"]
    assert [release.id for release in releases.all()] == [new.id]
