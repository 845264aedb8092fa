"""The page of the releases, as values: all that it shows, ready to be read, in the order in which it is shown.

Belongs here: what the page consists of, and when two pages show the same. Elsewhere: where it comes from
(orchestration/watch/page.py), its HTML (page_html.py, site/). Nothing of it is personal data.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Final, Literal

Layer = Literal["feeds", "staging", "intermediate", "marts", "products", "consumers"]
DAYS: Final = 30
"""So many days a strip shows, today the last of them."""


@dataclass(frozen=True)
class Trouble:
    """Something that is not fine. what: a sentence. detail: the evidence. owner: who is on it. held: assets that wait
    for it. command: what to type next."""

    what: str
    detail: str
    since: datetime
    owner: str
    held: tuple[str, ...]
    command: str


@dataclass(frozen=True)
class Day:
    """A promise on a day. due, kept: deliveries. told: what was not kept, in words."""

    day: date
    due: int
    kept: int
    told: str = ""


@dataclass(frozen=True)
class Promised:
    """A promise of a feed or a mart. subject: its asset. figures: how it stands this month, in words. broken: what
    breaks it now, in words."""

    subject: str
    promise: str
    owner: str
    figures: str
    broken: str
    days: tuple[Day, ...]


@dataclass(frozen=True)
class ShownMart:
    """A mart in a release. rows: None where the release lacks it. newest: up to when its data goes."""

    name: str
    asset: str
    rows: int | None
    newest: datetime | None
    state: Literal["fresh", "late", "no data", "no promise"]
    late: str


@dataclass(frozen=True)
class ShownProduct:
    """A product and its release. held: why no newer one is made, in words. notes: what else readers should know, such
    as what a person decided of its deliveries."""

    name: str
    owner: str
    release: str | None
    released_at: datetime | None
    marts: tuple[ShownMart, ...]
    held: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ShownDelivery:
    """A delivery. rejections: (column, rule, rows), as far as its rows wait in quarantine. told: what is wrong, or what
    a person decided."""

    id: int
    feed: str
    file: str
    at: datetime
    status: str
    read: int
    accepted: int
    rejected: int
    duplicate: int
    rejections: tuple[tuple[str, str, int], ...] = ()
    told: str = ""


@dataclass(frozen=True)
class ShownAsset:
    """A feed, a model, a mart, a product or who consumes it. layer: its column in the drawing. inputs: names of
    assets. state: what is wrong with it, in words."""

    name: str
    layer: Layer
    about: str
    owner: str
    inputs: tuple[str, ...]
    state: str = ""


@dataclass(frozen=True)
class ShownColumn:
    """A column of an asset. personal: "" where it is not."""

    asset: str
    name: str
    type: str
    about: str
    rules: str
    personal: str


@dataclass(frozen=True)
class ShownChart:
    """A chart with its points: for each x, a value of each series, as exact text. problem: why it shows none."""

    name: str
    title: str
    mart: str
    unit: str
    by: str = ""
    kind: str = "line"
    axis: str = "category"
    x_name: str = ""
    x: tuple[str, ...] = ()
    series: tuple[tuple[str, tuple[str | None, ...]], ...] = ()
    left_out: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Page:
    """All of it. as_of: when this was looked at. unknown: how the keys begin of troubles that could not be looked for.
    more_deliveries: older ones, which are left out. drawn: what the charts are drawn from."""

    as_of: datetime
    troubles: Sequence[Trouble] = ()
    unknown: Sequence[str] = ()
    products: Sequence[ShownProduct] = ()
    promises: Sequence[Promised] = ()
    deliveries: Sequence[ShownDelivery] = ()
    more_deliveries: int = 0
    assets: Sequence[ShownAsset] = ()
    columns: Sequence[ShownColumn] = ()
    drawn: Sequence[str] = ()
    charts: Sequence[ShownChart] = ()

    def digest(self) -> str:
        """The same for pages that show the same, but for when they were made. Charts are not looked at: they follow
        from `drawn`, which costs nothing."""
        shown = replace(self, as_of=datetime.min.replace(tzinfo=UTC), charts=())
        return hashlib.sha256(repr(shown).encode(errors="replace")).hexdigest()[:32]
