"""What becomes of personal data in a release is declared by product; what nobody declares is not released."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from modelled import note_made
from shop import KEY, SALES, OpenSales

from platform_assets.engine.contract.model import Contract, Field
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.feed.product import Product, Treatment
from platform_assets.engine.store.pseudonyms import Key
from platform_assets.engine.store.release import MartRelease, Release
from platform_assets.errors import ConfigurationError
from platform_assets.project.lineage import Made, noted_origins
from platform_assets.project.products import ReleasedProduct
from platform_assets.project.treatments import Treatments, treatments_of

EMAIL = (("sales", "email"),)
MADE = {
    "buyers": Made(("sales",), {"sku": (("sales", "sku"),), "whose": EMAIL, "bought": ()}),
    "mails": Made(("sales",), {"whose": EMAIL, "domain": EMAIL, "odd": None}),
}


class Buyers(Contract):
    """Who bought."""

    sku: str = Field(pii="pseudonym")
    whose: str = Field()
    bought: int = Field()


def declared(
    personal: Mapping[str, Treatment],
    made: Mapping[str, Made] = MADE,
    feed: Feed = SALES,
    contracts: tuple[Mart, ...] = (),
    key: str | None = KEY,
) -> Treatments:
    marts = tuple(f"marts/{name}" for name in made)
    product = ReleasedProduct("shop", "team:shop", marts, Product("shop", personal=personal), contracts)
    return treatments_of(product, made, [feed], lambda: None if key is None else Key(key))


def refused(treatments: Treatments) -> str:
    assert treatments.refused is not None
    return f"{treatments.refused.sentence} {treatments.refused.remedy}"


def test_what_nobody_declares_is_refused_by_name_with_the_line_to_paste() -> None:
    said = refused(declared({}))
    assert "buyers.whose (from sales.email)" in said
    assert "mails.odd (cannot be followed; it may be from sales)" in said
    assert "bought" not in said
    line = declared({}).line
    assert line == 'SHOP = Product("shop", personal={"whose": "drop", "mails.domain": "drop", "mails.odd": "drop"})'
    pasted = eval(line.partition(" = ")[2], {"Product": Product})
    assert declared(pasted.personal).refused is None


def test_the_line_to_paste_keeps_what_is_declared_already() -> None:
    line = declared({"whose": "pseudonym", "mails.odd": "keep"}).line
    assert 'personal={"whose": "pseudonym", "mails.odd": "keep", "mails.domain": "drop"}' in line


def test_a_mart_s_own_declaration_goes_before_that_of_all_marts() -> None:
    found = declared({"whose": "pseudonym", "mails.whose": "drop", "DOMAIN": "drop", "odd": "keep"})
    assert found.refused is None
    assert (found.of("buyers"), found.of("mails")) == (
        {"whose": "pseudonym"}, {"whose": "drop", "domain": "drop", "odd": "keep"},
    )  # fmt: skip


def test_a_person_may_say_more_than_lineage_does_and_so_may_a_contract() -> None:
    every: dict[str, Treatment] = {"whose": "drop", "domain": "drop", "odd": "drop"}
    assert declared(every | {"bought": "drop"}).of("buyers") == {"whose": "drop", "bought": "drop"}
    marked = declared(every, contracts=(Mart("buyers", Buyers),))
    assert "buyers.sku (as its contract says)" in refused(marked)


def test_without_marks_nothing_is_asked_for() -> None:
    assert declared({}, feed=replace(SALES, contract=OpenSales)).refused is None


def test_a_feed_that_is_declared_no_more_may_have_been_personal() -> None:
    assert "buyers.whose" in refused(declared({}, feed=replace(SALES, name="others")))


def test_names_that_may_be_data_are_counted_and_refused() -> None:
    made = {"pivoted": Made(("sales",), {"sku": (("sales", "sku"),)}, unnamed=3)}
    assert "3 columns of pivoted" in refused(declared({}, made))
    assert declared({}, made, replace(SALES, contract=OpenSales)).refused is None


def test_what_was_never_noted_is_not_released() -> None:
    product = ReleasedProduct("shop", "team:shop", ("marts/buyers",), Product("shop"))
    assert "buyers" in refused(treatments_of(product, {}, [SALES]))
    assert treatments_of(product, {}, [replace(SALES, contract=OpenSales)]).refused is None


@pytest.mark.parametrize(
    ("personal", "said"),
    [
        ({"whoes": "drop"}, "'whoes'. Did you mean 'whose'?"),
        ({"mails.domian": "drop"}, "'mails.domian'. Did you mean 'domain'?"),
        ({"nothing_like_it": "keep"}, "'nothing_like_it'"),
    ],
)
def test_a_name_that_no_mart_has_is_refused_with_the_nearest(personal: dict[str, Treatment], said: str) -> None:
    every: dict[str, Treatment] = {"whose": "drop", "domain": "drop", "odd": "drop"}
    assert said in refused(declared(every | personal))


@pytest.mark.parametrize(
    ("personal", "said"),
    [
        ({"whose": "pseudonim"}, "Did you mean 'pseudonym'"),
        ({"whose": "hash"}, '"drop", "pseudonym" or "keep"'),
        ({"whose": 1}, "1 is not what can become of a column"),
        ({"": "drop"}, "names no column"),
        (["whose"], "names in curly brackets"),
        ("drop", "names in curly brackets"),
    ],
)
def test_a_wrong_declaration_is_refused_when_it_is_made(personal: dict[str, Treatment], said: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        Product("shop", personal=personal)
    assert said in str(wrong.value)


PSEUDONYMS: dict[str, Treatment] = {"whose": "pseudonym", "domain": "drop", "odd": "drop"}


@pytest.mark.parametrize(("key", "why"), [(None, "is not set"), ("short", "has 5 characters")])
def test_without_a_key_pseudonyms_are_refused_with_what_to_type(key: str | None, why: str) -> None:
    said = refused(declared(PSEUDONYMS, key=key))
    assert f"PLATFORM_PSEUDONYM_KEY {why}" in said
    assert "export PLATFORM_PSEUDONYM_KEY=$(openssl rand -hex 32)" in said
    assert "short" not in said
    assert declared({**PSEUDONYMS, "whose": "keep"}, key=None).refused is None, "no key is asked for where none is used"


def released(treatments: Treatments) -> Release:
    marts = {
        mart: MartRelease(personal=treatments.of(mart), pseudonyms=treatments.key_of(mart))
        for mart in ("buyers", "mails")
    }
    return Release("1", "shop", "/x/shop.duckdb", datetime.now(tz=UTC).isoformat(), marts)


def test_a_release_is_out_of_date_where_something_else_becomes_of_a_column_now() -> None:
    there = released(declared(PSEUDONYMS))
    assert declared(PSEUDONYMS).changed_since(there) == []
    assert declared({**PSEUDONYMS, "odd": "keep"}).changed_since(there) == ["mails"]
    assert declared({"domain": "drop", "odd": "drop"}).changed_since(there) == ["buyers", "mails"], (
        "nobody says any more"
    )
    assert declared(PSEUDONYMS, key=f"{KEY}!").changed_since(there) == ["buyers", "mails"], "all pseudonyms change"
    assert declared(PSEUDONYMS, key=None).changed_since(there) == [], "who has no key cannot tell"


def test_what_was_noted_is_read_again_or_else_not_known(tmp_path: Path) -> None:
    note_made(tmp_path, {"buyers": {"whose": [["sales", "email"]], "odd": None}}, [SALES])
    assert noted_origins(tmp_path) == {"buyers": Made(("sales",), {"whose": EMAIL, "odd": None})}
    for damaged in ("", "[]", '{"buyers": {}}', "\0", '{"buyers": {"feeds": 1, "columns": [], "unnamed": 0}}'):
        (tmp_path / "dbt/origins.json").write_text(damaged)
        assert noted_origins(tmp_path) == {}
