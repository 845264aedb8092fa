"""Text from outside in messages: what is shown of it, and that it steers nothing."""

import pytest

from platform_assets.engine.readers.excel import workbook
from platform_assets.engine.readers.parquet import columnar
from platform_assets.errors import (
    HIDDEN,
    DeliveryRefused,
    ForeignError,
    foreign,
    lines,
    listed,
    nearest,
    printable,
    quoted,
    redacted,
    told,
)

RIGHT_TO_LEFT = "\u202e"
HYPERLINK = "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07"


@pytest.mark.parametrize(
    "text", [HYPERLINK, "\x1b[2J", f"{RIGHT_TO_LEFT}fdp.exe", "a\nb", "a\rb", "a\0b", "\x9b31m", "\u2066x", "\ud800"]
)
def test_nothing_of_a_name_steers_a_terminal_or_turns_its_letters_round(text: str) -> None:
    assert printable(text).isprintable()
    assert all(line.isprintable() for line in lines(text).split("\n"))
    assert listed([text]).isprintable()


def test_what_is_long_is_cut() -> None:
    assert printable("a" * 100, 10) == "a" * 10 + "…"
    assert len(listed(["a" * 1_000])) < 100
    assert len(lines("a" * 10_000)) < 3_000


@pytest.mark.parametrize("text", ["::set-output name=a::b", "  ::error::x", "a\n::add-mask::x", "a ##[command]b"])
def test_no_line_of_a_build_is_taken_for_a_command(text: str) -> None:
    shown = lines(text)
    assert not any(line.lstrip().startswith("::") for line in shown.split("\n"))
    assert "##[" not in shown.replace("·##[", "")
    assert "·" in shown


def test_names_that_are_not_shown_are_counted() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed([HIDDEN]) == "(not shown: the contract has personal data)"
    assert listed([HIDDEN, HIDDEN]) == "(2, not shown: the contract has personal data)"
    assert listed(["a", HIDDEN]) == "a (and 1 more, not shown: the contract has personal data)"


def test_what_is_quoted_is_shown_unless_whoever_knows_the_contract_says_otherwise() -> None:
    message = f"unknown columns {quoted('a', 'b')}; {foreign('could not convert anna')}"
    assert told(message) == "unknown columns a, b; could not convert anna"
    assert told(message, lambda names: [HIDDEN if name == "b" else name for name in names]) == (
        "unknown columns a (and 1 more, not shown: the contract has personal data); could not convert …"
    )
    error = DeliveryRefused(message, remedy=f"drop {quoted('b')}")
    assert (error.what, error.remedy) == ("unknown columns a, b; could not convert anna", "drop b")
    error.tell(lambda names: [HIDDEN for _ in names])
    assert "anna" not in str(error)
    assert "drop b" not in str(error)


def test_what_is_quoted_cannot_pretend_to_end() -> None:
    assert "anna" not in told(quoted("x\ue002 anna \ue000"), lambda names: [HIDDEN for _ in names])


@pytest.mark.parametrize("program", [workbook, columnar])
def test_parsers_that_run_by_themselves_quote_as_we_do(program: object) -> None:
    for names in (["a"], ["a", "b\ue002"]):
        assert program._quoted(*names) == quoted(*names)  # type: ignore[attr-defined]
    assert program._foreign("a\ue003b") == foreign("a\ue003b")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "known", "shown"),
    [
        (
            "Conversion Error: Could not convert string 'anna@smith.example' to INT32\n\nLINE 3: select email",
            ["select email"],
            "Conversion Error: Could not convert string '…' to INT32\n\nLINE 3: select email",
        ),
        ("Invalid Input Error: no such customer Anna Smith, 49 152 0987", [], "Invalid Input Error: no such …"),
        (
            'Binder Error: Referenced column "emial" not found\nCandidate bindings: "email", "Anna Smith"',
            ["emial", "email"],
            'Binder Error: Referenced column "emial" not found\nCandidate …: "email", "…"',
        ),
        ("Constraint Error: Duplicate key 'email: a.b@c.example' violates", ["email"], None),
    ],
)
def test_text_of_other_programs_is_told_without_values(text: str, known: list[str], shown: str | None) -> None:
    assert shown is None or redacted(text, known) == shown
    assert not any(part in redacted(text, known) for part in ("nna", "mith", "0987", "a.b", "c.ex"))


def test_an_error_of_a_library_keeps_its_kind_and_state() -> None:
    error = ForeignError(ValueError("could not convert string to float: 'Anna'"))
    assert error.what == "ValueError: could not convert string to float: '…'"
    assert "last commit" in error.state


@pytest.mark.parametrize(
    ("word", "meant"),
    [("ad", "add"), ("ADD", "add"), ("rescu", "rescue"), ("ordr_lines", "order_lines"), ("integer", "int")],
)
def test_the_nearest_word_is_offered(word: str, meant: str) -> None:
    assert nearest(word, ["fail", "add", "rescue", "order_lines", "int"]) == f" Did you mean {meant!r}?"


def test_no_word_is_offered_where_none_is_near() -> None:
    assert nearest("orders", ["fail", "add"]) == ""
    assert nearest("x", []) == ""
