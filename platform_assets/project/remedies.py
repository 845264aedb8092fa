"""What a person can do where deliveries fail a check: each of the ways, with the commands to type.

Belongs here: those words, for commands, `platform why` and the UI. Elsewhere: what a decision does (engine/load).
"""

from collections.abc import Iterable

from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.store.receipts import Receipt


def ways_out(feed: Feed, evidence: str, receipts: Iterable[Receipt]) -> str | None:
    """What to do about the deliveries in force that a failed check names in its evidence; None where it names none.

    receipts: of the feed, newest first.
    """
    in_force = [each for each in receipts if each.status == "accepted" and each.allowed is None]
    named = [each.delivery_id for each in in_force if each.slot in evidence]
    if not named:
        return None
    return (
        f"Mend the file and have it delivered again under its name, or mend the contract: platform replay {feed.name}. "
        f"To let it through as it is: platform delivery accept {named[0]} --why '…'. "
        f"To take it back: platform delivery withdraw {named[0]} --why '…'."
    )
