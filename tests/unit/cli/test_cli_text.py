"""What the command line shows of data is text: file names and values are never markup."""

import pytest

from platform_assets.cli.common import say, show

ODD = "sales/x[1].csv [bold]not bold[/bold] [/]"


def test_progress_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say(ODD)
    assert capsys.readouterr().err == f"{ODD}\n"


def test_cells_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show("Rows", ("file",), [(ODD,)])
    assert ODD in capsys.readouterr().out
