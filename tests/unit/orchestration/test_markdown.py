"""Text from outside in Dagster's Markdown can do nothing there."""

import pytest

from platform_assets.orchestration.markdown import code, table

ATTACKS = [
    "![x](https://evil.example/a.png)",
    "[click](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "https://evil.example",
    "a`b` <script>",
    "``` \n# heading",
    "a | b |\n|---|\n| c",
    "a\r\n\r\n<iframe>",
    "\u202egnp.exe",
    "\x1b[31mred",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_text_from_outside_is_code_on_one_line(attack: str) -> None:
    shown = code(attack)
    assert shown.startswith("`")
    assert shown.endswith("`")
    inner = shown[1:-1]
    assert inner.isprintable()
    assert not set(inner) & set("`|")


def test_a_cell_stays_a_cell() -> None:
    rows = table(("file", "problem"), [(code(attack), code(attack)) for attack in ATTACKS]).split("\n")
    assert len(rows) == 2 + len(ATTACKS)
    assert all(row.count("|") == 3 for row in rows)
    assert len(code("long" * 10_000)) < 1_100
