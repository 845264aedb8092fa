"""The reference pages say what the code says, and their examples do what they show.

Belongs here: that they are up to date. Elsewhere: what is on them (docs/site/generate.py).
"""

import generate
from test_readme import VERBS

from platform_assets.settings import PROJECT


def test_reference_pages_are_as_the_code_is_now() -> None:
    stale = [page.relative_to(PROJECT).as_posix() for page in generate.stale()]
    assert stale == [], "write it anew: make docs"


def test_every_verb_is_in_the_list_of_commands() -> None:
    page = (generate.REFERENCE / "commands.md").read_text()
    assert [verb for verb in VERBS if f"\n## platform {verb}\n" not in page] == []
