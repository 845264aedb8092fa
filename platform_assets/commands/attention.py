"""What waits for a person though the work is done: deliveries that are quarantined or missing, releases pinned.

Belongs here: finding it, without Dagster. Elsewhere: who is told of it unasked (orchestration/watch), that a command
then ends with exit code 3 (cli/codes.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import printable
from platform_assets.project.sample import sample_goes_on
from platform_assets.project.state import State


@dataclass(frozen=True)
class Attention:
    """Something that waits for a person. about: the feed, the mart or the product."""

    what: str
    about: str
    remedy: str


def waiting_for_people(deployment: Deployment) -> list[Attention]:
    """What of all feeds and products waits for a person, by what was published of the ledger; takes no lock."""
    return [*(each for feed in deployment.feeds for each in _of(deployment, feed.name)), *_pinned(deployment)]


def _pinned(deployment: Deployment) -> Iterator[Attention]:
    """Products whose readers keep an earlier release until somebody says otherwise."""
    for releases in deployment.products():
        if (pin := releases.pinned()) is not None:
            remedy = f"Give readers the newest again: platform release unpin {releases.product}"
            yield Attention(f"{releases.product} is {pin}", releases.product, remedy)


def of_versions(state: State) -> Iterator[Attention]:
    """Versions of marts that end soon, or can go."""
    for each in state.ending():
        yield Attention(each.what, each.mart, each.remedy)


def of_quarantined(receipts: Iterable[Receipt]) -> Iterator[Attention]:
    """Those of the deliveries that wait in quarantine as a whole."""
    for receipt in receipts:
        if receipt.status == "quarantined":
            yield Attention(
                f"{printable(receipt.slot)} is quarantined: {receipt.trouble}",
                receipt.feed,
                receipt.remedy or f"See it: platform quarantine explain {receipt.feed}",
            )


def _of(deployment: Deployment, name: str) -> Iterator[Attention]:
    feed = deployment.feed(name)
    theirs = Deliveries(feed, deployment.receipts_published(feed))
    yield from of_quarantined(theirs.receipts)
    if absent := theirs.absent(deployment.clock()):
        more = f", and {len(absent) - 1} more of it" if len(absent) > 1 else ""
        goes_on = sample_goes_on(deployment.landing, feed.source.places, deployment.clock().date())
        remedy = f"Ask {feed.owner} for it; the feed's record: platform promises"
        yield Attention(f"{absent[0]}{more}", name, remedy if goes_on is None else f"The sample goes on: {goes_on}")
