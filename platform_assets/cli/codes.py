"""Exit codes: how a command ends, so that cron and scripts know it without reading.

Belongs here: the four codes and what they say. Elsewhere: which one a verb's answer means (render.py), errors
(`main`), what waits for a person (commands/attention.py).
"""

from typing import Final

DONE: Final = 0
FAILED: Final = 1
MISUSED: Final = 2
ATTENTION: Final = 3
INTERRUPTED: Final = 130

MEANING: Final = {
    DONE: "done",
    ATTENTION: "done, but something waits for a person: a delivery that is quarantined whole, or one that is missing, "
    "or a release that is pinned",
    FAILED: "failed, or held by a blocking check",
    MISUSED: "asked for wrongly: a setting, a declaration, an option, an unknown feed, no landing folder",
}
"""What each code means, in the order in which people meet them."""


def explained() -> str:
    """The codes as one sentence for `--help`."""
    return "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in MEANING.items()) + "."
