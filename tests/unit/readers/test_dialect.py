"""The delimiter is found where it is sure, and where it is not the delivery says what to declare."""

import csv
import io
import itertools
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import examples

from platform_assets.engine.feed.formats import Csv
from platform_assets.engine.readers.csv.dialect import SAMPLE, detect
from platform_assets.errors import DeliveryRefused


def found(sample: str, *wanted: str, name: str = "a.csv", **form: Any) -> str | None:
    return detect(sample.encode(), Csv(**form), name, wanted).delimiter


def refused(sample: str, *wanted: str, name: str = "a.csv", **form: Any) -> DeliveryRefused:
    with pytest.raises(DeliveryRefused) as error:
        found(sample, *wanted, name=name, **form)
    return error.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^", "\x01"])
def test_a_usual_delimiter_is_found_without_knowing_any_name(delimiter: str) -> None:
    assert found(f"a{delimiter}b c{delimiter}d\n1{delimiter}x y{delimiter}\n" * 3) == delimiter


@pytest.mark.parametrize("delimiter", ["~", ":", "#", "§"])
def test_any_delimiter_is_found_that_brings_out_the_names_asked_for(delimiter: str) -> None:
    assert found(f"a{delimiter}b\n1{delimiter}2,5\n", "a", "b", "other_name_of_b") == delimiter


def test_what_is_declared_is_not_doubted() -> None:
    assert found("a,b\n1,2\n", "a", "b", delimiter=";") == ";"


def test_nothing_else_of_the_declaration_changes() -> None:
    form = Csv(encoding="latin-1", quote="'", skip=2, nulls=("NA",))
    assert detect(b"a;b\n1;2\n", form, "a.csv", ()) == Csv(
        delimiter=";", encoding="latin-1", quote="'", skip=2, nulls=("NA",)
    )


@pytest.mark.parametrize("wanted", [(), ("net", "gross")])
def test_decimal_commas_do_not_mislead(wanted: tuple[str, ...]) -> None:
    assert found("net;gross\n1,5;2,5\n3,25;4,75\n", *wanted) == ";"


def test_a_header_with_as_many_commas_as_the_records_have_decimals_is_decided_by_the_names_only() -> None:
    sample = "net, EUR;gross\n1,5;2\n3,5;4\n"
    assert found(sample, "net, EUR", "gross") == ";"
    problem = refused(sample)
    assert problem.what == "cannot tell the delimiter: ',' makes 2 columns, ';' makes 2 columns"
    assert "format=Csv(delimiter=','" in problem.remedy


def test_quoted_delimiters_and_line_ends_do_not_count() -> None:
    assert found('a;b\n"x,y\n,;";1,5\n"z";2\n') == ";"
    assert found('a,b\n"1;2","3;4"\n"5;6","7;8"\n') == ","


def test_where_quotes_mean_nothing_they_hide_nothing() -> None:
    assert found('a|b\n"1|2"\n5" pipe|"\n', quote=None) == "|"
    assert found("'a,x'|b\n'1,2'|3\n", quote="'") == "|"


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(ends: str) -> None:
    assert found(ends.join(["", "a;b", "", "1,5;2,5", "3;4", ""])) == ";"


def test_a_few_ragged_records_change_nothing() -> None:
    assert found("a;b,c\n" + "1,5;2\n" * 5 + "1;2\n" * 40 + "1;2;3\n", "a", "b,c") == ";"
    assert found("a;b\n" + "1;2\n" * 40 + "1;2;3\n") == ";"


def test_the_only_character_that_splits_the_header_does_even_where_most_records_are_ragged() -> None:
    assert found("a,b\n1\n1,2,3\n3,4\n") == ","


def test_names_that_can_be_had_in_two_ways_are_not_guessed_at() -> None:
    assert "cannot tell the delimiter" in refused("a,b\n1,2\n", "a", "a,b").what
    assert found("a,b;c\n1;2\n3;4\n", "a", "c") == ";"  # each brings out one name, but only one is even


def test_names_are_known_whatever_their_case_and_order() -> None:
    assert found(" Gross ;NET, eur\n1,5;2,5\n", "net, EUR", "gross") == ";"


@pytest.mark.parametrize("name", ["a.tsv", "A.TSV", "a.csv"])
def test_the_name_of_a_tsv_decides_between_delimiters_that_fit_equally(name: str) -> None:
    sample = "a,x\tb\n1,5\t2\n3,5\t4\n"
    if name == "a.csv":
        assert "',' makes 2 columns, '\\t' makes 2 columns" in refused(sample, name=name).what
    else:
        assert found(sample, name=name) == "\t"


def test_the_name_of_a_tsv_is_not_trusted_blindly() -> None:
    assert found("a;b\n1;2\n", name="a.tsv") == ";"
    assert found("a\n1\n", name="a.tsv") == "\t"


# One column


@pytest.mark.parametrize("wanted", [(), ("a",)])
def test_one_column_has_no_delimiter_to_be_wrong_about(wanted: tuple[str, ...]) -> None:
    assert found("a\n1\n2\n", *wanted) == ","


def test_one_column_of_decimal_commas_is_one_column_if_that_is_its_name() -> None:
    delimiter = found("price\n1,5\n2,5\n", "price")
    assert delimiter not in (None, ",")
    assert "first line is unlike those that follow" in refused("price\n1,5\n2,5\n").what


def test_one_column_that_holds_every_usual_delimiter_is_one_column_still() -> None:
    text = "note\n" + "".join(f"x{each}y\n" for each in ",;\t|^\x01\x1f\xa6")
    delimiter = found(text, "note")
    assert delimiter is not None
    assert delimiter not in text


# The header is not where it should be


def test_a_preamble_is_suspected_where_the_names_come_later() -> None:
    problem = refused("Report, 2024\n\na;b;c\n1;2;3\n", "a", "b", "c")
    assert problem.what == "lines before the header: the names asked for are on line 3"
    assert "format=Csv(delimiter=';', skip=2)" in problem.remedy


def test_the_lines_already_skipped_are_counted() -> None:
    problem = refused("still no header\na,b\n1,2\n", "a", "b", skip=3)
    assert problem.what == "lines before the header: the names asked for are on line 5"
    assert "format=Csv(skip=4)" in problem.remedy


def test_a_preamble_is_suspected_where_the_records_are_unlike_the_first_line() -> None:
    problem = refused("Report, 2024\n" + "a;b;c\n" + "1;2;3\n" * 9)
    assert problem.what == "lines before the header: the first line is unlike those that follow"
    assert "format=Csv(delimiter=';', skip=1)" in problem.remedy


def test_what_was_advised_is_then_sure() -> None:
    sample = "Report, 2024\n\na;b;c\n1;2;3\n"
    assert found("".join(sample.splitlines(keepends=True)[2:]), "a", "b", "c", skip=2) == ";"


def test_no_value_of_the_file_is_told() -> None:
    for sample in ("secret, 2024\nsecret;secret;secret\n" + "s;s;s\n" * 9, "x,y;z\n1,5;2\n3,secret;secret\n"):
        assert "secret" not in str(refused(sample))


# Declared headers, footers, long files


def test_a_declared_header_says_how_many_fields_there_are() -> None:
    assert found("1,5;2\n3,5;4,5\n", header=("a", "b")) == ";"
    assert found("1,5\n3,5\n", header=("a",)) not in (None, ",")
    assert "make" in refused("1,5;2\n3,5;4\n", header=("a", "b")).what


def test_the_footer_is_no_record() -> None:
    sample = "a;b\n1;2\nTotal, 5\n,,,,\n"
    assert found(sample, footer="^Total") == ";"


@pytest.mark.parametrize("sample", ["", "\n\n", " \n"])
def test_where_there_is_nothing_to_separate_nothing_is_wrong(sample: str) -> None:
    assert found(sample) == ","
    assert found(sample, name="a.tsv", header=("a",)) == "\t"


def test_no_more_than_the_beginning_is_looked_at_and_a_cut_record_is_not_held_against_it() -> None:
    line = "é;2,5\n"
    sample = "a;b\n" + line * (SAMPLE // len(line.encode()) + 1) + "no record at all\n" * 10_000
    assert found(sample) == ";"


def test_a_field_of_any_length_is_looked_at() -> None:
    assert found(f"{'x' * 300_000};b\n1;2\n") == ";"


names = st.lists(
    st.text(st.sampled_from("ab é_,;|\t^:\"'\n"), min_size=1, max_size=5).filter(str.strip),
    min_size=1,
    max_size=4,
    unique_by=lambda name: name.strip().casefold(),
)
values = st.text(st.sampled_from("12,;|\t^: \"'\né"), max_size=6)


@settings(max_examples=examples(150))
@given(
    header=names,
    rows=st.lists(st.lists(values, min_size=4, max_size=4), max_size=6),
    delimiter=st.sampled_from([",", ";", "\t", "|", "^", ":"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    name=st.sampled_from(["a.csv", "a.tsv"]),
    others=st.lists(st.sampled_from(["a", "b", "c", "a,b"]), max_size=2),
)
@example(header=["a", "b"], rows=[["1,5", "2", "", ""]], delimiter=";", quoting=0, name="a.tsv", others=[])
def test_what_the_csv_module_writes_is_read_back_or_refused(
    header: list[str],
    rows: list[list[str]],
    delimiter: str,
    quoting: Any,
    name: str,
    others: list[str],
) -> None:
    content = io.StringIO(newline="")
    table = [header, *(row[: len(header)] for row in rows)]
    csv.writer(content, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerows(table)
    written = content.getvalue()
    try:
        form = detect(written.encode(), Csv(), name, [*header, *others])
    except DeliveryRefused:
        return
    assert form.delimiter is not None
    again = csv.reader(io.StringIO(written, newline=""), delimiter=form.delimiter)
    assert list(again) == table


def test_the_usual_delivery_is_never_refused() -> None:
    """Not being sure is cheap only if it is rare."""
    header = ["InvoiceNo", "Unit Price", "Customer ID"]
    rows = [["536365", "2,55", 'white "hanging" heart'], ["536366", "3.39", "x; y"], ["536367", "", "a|b\tc"]]
    ways: list[Any] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL]
    for delimiter, quoting in itertools.product(",;\t|", ways):
        content = io.StringIO(newline="")
        csv.writer(content, delimiter=delimiter, quoting=quoting).writerows([header, *rows * 20])
        assert found(content.getvalue()) == delimiter
        assert found(content.getvalue(), *header) == delimiter
        assert found(content.getvalue(), "unit price") == delimiter
