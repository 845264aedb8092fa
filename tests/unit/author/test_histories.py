"""A feed from many files: which headers are one column, what changed on the way, and what is not of it."""

import gzip
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from platform_assets.engine.author.draft import declared_by, draft
from platform_assets.engine.author.file_dates import file_dates, likely_cadence
from platform_assets.engine.author.infer import InferredColumn
from platform_assets.engine.author.proposal import Proposal, propose
from platform_assets.engine.author.rehearsal import Rehearsal, rehearse
from platform_assets.engine.feed.feed import Feed, Rejects, Volume
from platform_assets.engine.feed.formats import Csv
from platform_assets.errors import ConfigurationError, DeliveryRefused

FIRST = date(2024, 1, 1)


def wrote(folder: Path, files: Sequence[Sequence[str]], name: str = "r_{:%Y-%m-%d}.csv") -> Path:
    """A folder with a file of these lines for each day."""
    folder.mkdir(parents=True, exist_ok=True)
    for at, lines in enumerate(files):
        (folder / name.format(FIRST + timedelta(days=at))).write_text("".join(f"{line}\n" for line in lines))
    return folder


def proposed(folder: Path, **known: Any) -> Proposal:
    return propose(folder, landing=folder.parent / "landing", **known)


def columns(folder: Path, **known: Any) -> dict[str, InferredColumn]:
    return {column.name: column for column in proposed(folder, **known).columns}


def tried(folder: Path) -> tuple[Feed, Rehearsal, str]:
    """The feed that is drafted at last, what became of the files, and the text."""
    proposal = proposed(folder)
    rehearsal, better = rehearse(declared_by(draft(proposal), proposal), proposal, lambda _: None)
    text = draft(better)
    return declared_by(text, better), rehearsal, text


def of_two(folder: Path, before: str, after: str, *, rows: Sequence[str], later: Sequence[str] = ()) -> Path:
    """Ten files: five with one header, five with another."""
    return wrote(folder, [[before, *rows]] * 5 + [[after, *(later or rows)]] * 5)


# ---- headers


def test_headers_that_differ_in_marks_and_case_are_one_column(tmp_path: Path) -> None:
    of_two(tmp_path / "d", "Last Update,Units", "Last_Update,units", rows=["2024-01-01,1", "2024-01-02,2"])
    found = columns(tmp_path / "d")
    assert found["last_update"].headers == ("Last Update", "Last_Update")
    assert found["units"].headers == ("Units",), "case makes no difference to a reader"
    assert not found["last_update"].optional


def test_a_renamed_column_is_known_by_its_place_and_values_and_the_draft_says_so(tmp_path: Path) -> None:
    rows = ["A1,red,5", "A2,blue,6", "A3,green,7"]
    of_two(tmp_path / "d", "sku,farbe,menge", "sku,colour,amount", rows=rows)
    found = columns(tmp_path / "d")
    assert found["colour"].headers == ("farbe", "colour")
    assert found["amount"].headers == ("menge", "amount")
    assert "'colour' since r_2024-01-06.csv: taken for the same column" in found["colour"].remarks[0]


def test_two_headers_of_one_file_are_never_one_column(tmp_path: Path) -> None:
    files = [["sku,price", "A,1", "B,2"], ["sku,price,Price 2", "A,1,1", "B,2,2"], ["sku,Price 2", "A,1", "B,2"]]
    found = columns(wrote(tmp_path / "d", files))
    assert {name: column.headers for name, column in found.items()} == {
        "sku": ("sku",),
        "price": ("price",),
        "price_2": ("Price 2",),
    }


def test_a_column_that_takes_the_place_of_an_unlike_one_is_another_column(tmp_path: Path) -> None:
    before = [f"S{n},word{n}" for n in range(9)]
    after = [f"S{n},other{n}" for n in range(9)]
    of_two(tmp_path / "d", "sku,coupon", "sku,channel", rows=before, later=after)
    found = columns(tmp_path / "d")
    assert found["coupon"].optional
    assert found["channel"].optional
    assert "may be what 'coupon' was until r_2024-01-05.csv" in " ".join(found["channel"].remarks)


def test_a_column_that_only_some_files_have_is_optional(tmp_path: Path) -> None:
    of_two(tmp_path / "d", "sku", "sku,state", rows=["A", "B"], later=["A,1", "B,2"])
    feed, rehearsal, text = tried(tmp_path / "d")
    assert "# in the 5 files since r_2024-01-06.csv" in text
    assert "state: int = Field(optional=True, nullable=True)" in text
    assert rehearsal.takes_all
    assert [column.optional for column in feed.columns] == [False, True]


# ---- values


def test_all_formats_of_a_history_are_declared(tmp_path: Path) -> None:
    files = [
        ["at", "1/22/20 12:00", "1/23/20 9:05"],
        ["at", "2/1/2020 23:59"],
        ["at", "2020-02-02T23:43:02"],
        ["at", "2020-03-22 23:45:00"],
    ]
    (column,) = columns(wrote(tmp_path / "d", files)).values()
    assert column.type.kind == "timestamp"
    assert column.type.options["format"] == (
        "%m/%d/%y %H:%M",
        "%m/%d/%Y %H:%M",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S",
    )
    assert "in the order of the other formats" in " ".join(column.remarks)


def test_the_order_of_day_and_month_is_decided_by_any_file(tmp_path: Path) -> None:
    (column,) = columns(
        wrote(tmp_path / "d", [["at", "01/02/2024"], ["at", "03/04/2024"], ["at", "25/04/2024"]])
    ).values()
    assert column.type.options["format"] == "%d/%m/%Y"


def test_the_order_of_day_and_month_is_decided_by_the_dates_in_the_names(tmp_path: Path) -> None:
    files = [["sku,at", f"A,{FIRST + timedelta(days=at):%m/%d/%Y}"] for at in range(10)]
    column = columns(wrote(tmp_path / "d", files))["at"]
    assert column.type.options["format"] == "%m/%d/%Y"
    assert "10 of 10 lie within days of the date in their file's name" in " ".join(column.remarks)


def test_an_order_that_nothing_decides_is_text_and_says_so(tmp_path: Path) -> None:
    (column,) = columns(wrote(tmp_path / "d", [["at", "01/02/2023"], ["at", "03/04/2022"]])).values()
    assert column.type.kind == "text"
    assert "%d/%m/%Y or %m/%d/%Y" in " ".join(column.remarks)


def test_whole_numbers_that_went_through_floats_are_whole_numbers(tmp_path: Path) -> None:
    found = columns(
        wrote(tmp_path / "d", [["units,customer_id", "12,17850", "3,17851"], ["units,customer_id", "12.0,17850.0"]])
    )
    assert (found["units"].type.kind, found["units"].options["point_zero"]) == ("integer", True)
    assert (found["customer_id"].type.kind, found["customer_id"].options["point_zero"]) == ("text", True)


def test_amounts_without_pence_stay_decimals(tmp_path: Path) -> None:
    assert columns(wrote(tmp_path / "d", [["price", "12.00", "5.00"]] * 2))["price"].type.kind == "decimal"


def test_digits_of_a_double_are_a_float(tmp_path: Path) -> None:
    (column,) = columns(wrote(tmp_path / "d", [["rate", "1.5"], ["rate", repr(1 / 3), "1e-05"]])).values()
    assert column.type.kind == "number"
    (column,) = columns(wrote(tmp_path / "e", [["rate", "1.5"], ["rate", repr(2 / 3)]])).values()
    assert (column.type.kind, "float" in " ".join(column.remarks)) == ("number", True)


def test_a_few_texts_in_one_file_of_many_are_rejected_rows_and_the_draft_says_which(tmp_path: Path) -> None:
    files = [["units", *map(str, range(100))] for _ in range(50)]
    files[20] += ["unknown", "see note", "tba"]
    feed, rehearsal, text = tried(wrote(tmp_path / "d", files))
    assert "units: int" in text
    assert "# 3 of 5,003 values are no int, in r_2024-01-21.csv: such rows are rejected; str would take them" in text
    assert (rehearsal.taken, rehearsal.rows, rehearsal.share) == (5_000, 5_003, "99.94 %")
    ((rule,)) = rehearsal.rules
    assert (rule.column, rule.rows, rule.files) == ("units", 3, (("r/r/r_2024-01-21.csv", 3),))
    assert feed.tolerate == Rejects(rate=0.05)


def test_many_texts_make_a_text(tmp_path: Path) -> None:
    files = [["units", *map(str, range(100))] for _ in range(20)]
    for each in files[:4]:
        each += ["unknown", "see note"]
    assert columns(wrote(tmp_path / "d", files))["units"].type.kind == "text"


def test_numbers_that_turn_into_codes_are_texts(tmp_path: Path) -> None:
    files = [["ref_code", *(f"{n}" for n in range(20))]] * 39 + [["ref_code", *(f"W-{n}" for n in range(20))]]
    assert columns(wrote(tmp_path / "d", files))["ref_code"].type.kind == "text"


def test_words_for_a_missing_value_are_declared_where_they_are_no_value_elsewhere(tmp_path: Path) -> None:
    files = [["units,rate,land", "1,2.5,NA", "2,3.5,DE"], ["units,rate,land", "NA,#DIV/0!,FR"]]
    proposal = proposed(wrote(tmp_path / "d", files))
    assert proposal.form == Csv(nulls=("#DIV/0!",)), "NA may be a land"
    assert {column.name: column.type.kind for column in proposal.columns} == {
        "units": "text",
        "rate": "decimal",
        "land": "text",
    }


def test_marks_between_thousands_are_known_by_the_decimals_of_other_columns(tmp_path: Path) -> None:
    rows = [f"{n}.{n:03};{n},5" for n in range(1, 40)]
    column = columns(wrote(tmp_path / "d", [["stock;price", *rows]] * 2))["stock"]
    assert (column.type.kind, column.options["thousands"]) == ("integer", ".")


def test_a_list_that_was_complete_early_is_closed_and_one_that_grew_is_not(tmp_path: Path) -> None:
    files = [["state,kind", *("new,a" if n % 2 else "paid,b" for n in range(120))] for _ in range(12)]
    files[-1].append("new,c")
    found = columns(wrote(tmp_path / "d", files))
    assert found["state"].options["isin"] == ["new", "paid"]
    assert "isin" not in found["kind"].options


@pytest.mark.parametrize(
    ("name", "some", "closed"),
    [
        ("channel", ("web", "phone"), True),
        ("currency", ("EUR", "GBP"), True),
        ("order_status", ("In progress", "Done"), True),
        ("state", ("open", "closed"), True),
        ("state", ("NY", "CA"), False),
        ("country", ("DE", "FR"), False),
        ("salesman", ("Eva Klein", "Jo Weiss"), False),
        ("sold_in", ("Köln", "Bonn"), False),
        ("queue", ("web-1", "web-2"), False),
    ],
)
def test_a_list_of_places_people_or_things_is_never_closed(
    tmp_path: Path, name: str, some: tuple[str, str], closed: bool
) -> None:
    files = [[name, *(some[n % 2] for n in range(120))] for _ in range(12)]
    (found,) = columns(wrote(tmp_path / "d", files)).values()
    assert ("isin" in found.options) == closed
    assert set(found.values) == set(some), "the draft names them all the same"


def test_whole_numbers_of_which_one_has_an_exponent_are_a_float_and_the_draft_says_why(tmp_path: Path) -> None:
    (column,) = columns(wrote(tmp_path / "d", [["confirmed", "12", "99999"], ["confirmed", "1e+05"]])).values()
    assert column.type.kind == "number"
    assert "1 are written with an exponent" in " ".join(column.remarks)


# ---- lines that are no rows


def test_lines_of_sums_at_the_ends_of_files_are_a_footer_and_no_rows(tmp_path: Path) -> None:
    rows = [f"{n:04},Köln,{n}" for n in range(1, 30)]
    ends = [["Summe,,435"], ["Summe: 29 Zeilen"], [], ["Summe,,435", "Stand heute"], ["Stand gestern"]]
    folder = wrote(tmp_path / "d", [["bon,ort,menge", *rows, *ends[at % 5]] for at in range(20)])
    feed, rehearsal, text = tried(folder)
    assert (rehearsal.taken, rehearsal.rows) == (20 * 29, 20 * 29)
    assert "# 20 lines at the ends of files begin with 'Stand' or 'Summe' and are no rows: the footer" in text
    assert [column.nullable for column in feed.columns] == [False, False, False]


def test_what_rows_begin_with_too_is_no_footer_but_a_question(tmp_path: Path) -> None:
    rows = ["Total,wash,2.5", "Aqua,foam,1.5", "Total,,0.5"]
    feed, rehearsal, text = tried(wrote(tmp_path / "d", [["brand,product,price", *rows]] * 5))
    assert (rehearsal.taken, rehearsal.rows) == (15, 15)
    assert "5 files end with a line that begins with 'Total', and so do rows, it seems" in " ".join(text.split())
    assert getattr(feed.source.format, "footer", None) is None


# ---- names of files


@pytest.mark.parametrize(
    ("names", "form"),
    [
        (["01-22-2020", "01-23-2020"], "%m-%d-%Y"),
        (["22-01-2020", "23-01-2020"], "%d-%m-%Y"),
        (["orders_20240105", "orders_20240106"], "%Y%m%d"),
        (["Bestand_2024-01", "Bestand_2024-02"], "%Y-%m"),
        (["2024.01.31", "2024.02.29"], "%Y.%m.%d"),
        (["sales-05Jan2024", "sales-06Jan2024"], "%d%b%Y"),
        (["01-02-2020", "02-02-2020", "03-02-2020", "04-02-2020"], "%d-%m-%Y"),
    ],
)
def test_the_format_of_dates_in_names_is_the_one_that_reads_them_all(names: list[str], form: str) -> None:
    found = file_dates(names)
    assert found is not None
    assert found.form == form


def test_names_without_dates_have_none() -> None:
    assert file_dates(["a", "b"]) is None
    assert file_dates(["part_1", "part_2"]) is None


@pytest.mark.parametrize(
    ("days", "cron"),
    [
        ([FIRST + timedelta(days=at) for at in range(60)], "0 6 * * *"),
        ([FIRST + timedelta(days=at) for at in range(60) if at % 7 < 5], "0 6 * * 1-5"),
        ([FIRST + timedelta(days=7 * at) for at in range(9)], "0 6 * * 1"),
        ([date(2024, month + 1, 1) - timedelta(days=1) for month in range(1, 12)], "0 6 L * *"),
        ([date(2024, month, 5) for month in range(1, 12)], "0 6 5 * *"),
        ([date(2023, 1, 1), date(2023, 4, 1), date(2023, 7, 1), date(2023, 10, 1)], "0 6 1 1,4,7,10 *"),
    ],
)
def test_when_files_come_follows_from_the_dates_in_their_names(days: list[date], cron: str) -> None:
    assert likely_cadence(days).cron == cron


def test_days_without_their_file_are_told() -> None:
    days = [FIRST + timedelta(days=at) for at in range(60) if at != 30]
    assert "1 such days have none: 2024-01-31" in likely_cadence(days).why


# ---- files


def test_what_cannot_be_used_is_named_and_set_aside(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "d", [["sku,units", "A,1"], ["sku,units", "B,2"], ["sku,units", "C,3"]])
    (folder / "README.md").write_text("read me")
    (folder / "empty.csv").write_text("")
    (folder / "header.csv").write_text("sku,units\n")
    (folder / "people.csv").write_text("name,town\nAnn,Bonn\n")
    (folder / "page.csv").write_text("<!doctype html><p>Log in")
    proposal = proposed(folder)
    assert proposal.rows == 3
    said = {each.file: each.why for each in proposal.aside}
    assert set(said) == {"README.md", "empty.csv", "header.csv", "people.csv", "page.csv"}
    assert "no row" in said["header.csv"]
    assert "other columns" in said["people.csv"]
    assert "a web page" in said["page.csv"]


def test_files_of_two_feeds_are_an_error_that_says_what_to_type(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "d", [["sku,units", "A,1"]] * 3)
    wrote(folder, [["name,town,street", "Ann,Bonn,B"]] * 3, name="p_{:%Y-%m-%d}.csv")
    with pytest.raises(ConfigurationError, match="have no columns in common") as error:
        proposed(folder)
    assert f"platform feed add '{folder}/p_*.csv'" in error.value.remedy or f"{folder}/p_*.csv" in error.value.remedy


def test_nothing_that_can_be_read_is_an_error(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "d", [[], []])
    with pytest.raises(DeliveryRefused, match="none of 2 files can be read"):
        proposed(folder)


def test_packed_and_plain_files_are_one_feed(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "d", [["sku,units", "A,1", "B,2"]] * 2)
    (folder / "r_2024-01-03.csv.gz").write_bytes(gzip.compress(b"sku,units\nC,3\n"))
    feed, rehearsal, _ = tried(folder)
    assert feed.source.places == ("r/r/r_*.csv", "r/r/r_*.csv.gz")
    assert rehearsal.takes_all


def test_texts_and_typed_files_are_one_feed_where_their_columns_agree(tmp_path: Path) -> None:
    folder = wrote(tmp_path / "d", [["sku,on", "A,2024-01-01", "B,2024-01-02"]] * 2)
    day = datetime(2024, 1, 3)  # noqa: DTZ001 - as spreadsheets have days
    pl.DataFrame({"sku": ["C"], "on": [day]}).write_parquet(folder / "r_2024-01-03.parquet")
    feed, rehearsal, _ = tried(folder)
    assert {column.name: column.kind for column in feed.columns} == {"sku": "text", "on_": "date"}
    assert rehearsal.takes_all


# ---- keys, volume


def test_files_that_list_the_same_keys_are_full_lists(tmp_path: Path) -> None:
    files = [["sku,units", *(f"S{n},{n + at}" for n in range(30))] for at in range(5)]
    feed, _, text = tried(wrote(tmp_path / "d", files))
    assert (feed.key, feed.key_within) == (("sku",), "delivery")
    assert "every file looks like a full list" in text


def test_keys_that_never_come_again_name_rows_of_the_feed(tmp_path: Path) -> None:
    files = [["order_no,sku,line", *(f"{at}{n // 2},S{n % 20},{n % 2}" for n in range(100, 130))] for at in range(1, 5)]
    feed, _, text = tried(wrote(tmp_path / "d", files))
    assert (feed.key, feed.key_within) == (("order_no", "line"), "feed")
    assert "never twice in 120 rows of 4 files" in text


def test_files_that_differ_much_get_a_wider_volume(tmp_path: Path) -> None:
    files = [["sku,units", *(f"S{at}-{n},1" for n in range(10 if at == 15 else 100))] for at in range(20)]
    feed, _, text = tried(wrote(tmp_path / "d", files))
    assert feed.volume == Volume(least=0.08)
    assert "1 of 20 files have less than half the rows" in text
