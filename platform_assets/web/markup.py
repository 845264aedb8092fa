"""What comes from outside, as HTML: inert, whatever it is.

Belongs here: the only ways by which texts and times get into the page of the releases.
"""

from datetime import datetime
from html import escape
from typing import Final

from platform_assets.errors import printable

NO_VALUE: Final = "\N{EN DASH}"
_LONGEST: Final = 300


def text(given: object, most: int = _LONGEST) -> str:
    """Any text, inert: one line, without characters that steer or turn letters round, of bounded length."""
    return escape(printable(str(given), most))


def moment(at: datetime | None, *, as_of: bool = False) -> str:
    """A time of UTC to the minute. as_of: the one that the page is of."""
    if at is None:
        return NO_VALUE
    return f'<time datetime="{at:%Y-%m-%dT%H:%M:%SZ}"{" id=as-of" * as_of}>{at:%d %b %Y, %H:%M} UTC</time>'
