"""What tests need of the machine that they run on, and how much of a long one is run where.

Belongs here: what may be missing elsewhere. Elsewhere: what tests act with (shop.py, deployed.py).
`@pytest.mark.needs(path)`, or `needs(there, what)`, skips a test where that is missing; in CI it fails instead, so that
nothing is left out unseen. Nothing else skips a test.
"""

import os
from pathlib import Path
from typing import Final, NoReturn

import pytest
from checkout import with_sample
from hypothesis import settings

CHECKOUT: Final = Path(__file__).parents[1]
PROJECT: Final = with_sample(CHECKOUT)
RETAIL: Final = CHECKOUT.parent / "shared" / "data" / "retail"  # 541,909 real rows; its README says whose
LONG: Final = "long"  # hypothesis' profile of the slow tier
CHROMEDRIVER: Final = Path("/usr/bin/chromedriver")


def in_ci() -> bool:
    """Whether this is the gate, which has to have everything."""
    return os.environ.get("CI") == "true"


def missing(what: str) -> NoReturn:
    """Skip the test that is running; in CI fail it."""
    (pytest.fail if in_ci() else pytest.skip)(what)


def examples(full: int) -> int:
    """How many examples of a property are tried: a quarter of `full` in `make test`, all of them in the slow tier."""
    return full if settings.get_current_profile_name() == LONG else max(2, full // 4)


def in_full() -> bool:
    """Whether long tests do all that they repeat."""
    return os.environ.get("FULL") == "1"


def rounds(full: int, part: int = 4) -> int:
    """How often a long test does what it repeats: a quarter of `full`, or another part, unless FULL=1."""
    return full if in_full() else full // part


_ADDRESSES = Path("/proc/net/if_inet6")
IPV6: Final = _ADDRESSES.exists() and any(line.endswith(" lo") for line in _ADDRESSES.read_text().splitlines())
