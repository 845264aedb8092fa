"""How Sphinx builds the site from the pages: `make docs`.

Belongs here: settings of the generator, and the map of rooms as a picture. Elsewhere: the pages.
"""

import re
import sys
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "tests")]

import rooms  # noqa: E402
from drawing import picture  # noqa: E402

project: Final = "platform"
html_title: Final = "platform"
extensions: Final = ["myst_parser"]
exclude_patterns: Final = ["site", "_site"]
myst_heading_anchors: Final = 4
html_theme: Final = "furo"
html_static_path: Final = ["static"]
html_css_files: Final = ["site.css"]
html_show_copyright: Final = False
html_show_sphinx: Final = False
html_copy_source: Final = False
html_show_sourcelink: Final = False
html_permalinks_icon: Final = "#"
highlight_language: Final = "text"
suppress_warnings: Final = ["misc.highlighting_failure"]  # SQL of dbt is no SQL before it is rendered
pygments_style: Final = "friendly"

_MERMAID: Final = re.compile(r"^```mermaid\n.*?^```$", re.M | re.S)
_TITLED: Final = re.compile(r'^```(\w+) title="([^"]+)"$', re.M)


def _as_the_site_shows_it(_app: object, _page: str, text: list[str]) -> None:
    """The map as a picture; the name of a file above its content."""
    drawn = picture({name: sorted(rooms.direct(name)) for name in rooms.arrows()})
    shown = _MERMAID.sub(lambda _: f"```{{raw}} html\n{drawn}\n```", text[0])
    text[0] = _TITLED.sub(r"`\2`:\n\n```\1", shown)


def setup(app: Any) -> None:
    """What Sphinx calls."""
    app.connect("source-read", _as_the_site_shows_it)
