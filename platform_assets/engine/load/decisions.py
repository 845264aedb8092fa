"""What persons decide of deliveries: taken back, restored, let through; and making the ledger follow.

Belongs here: what of it is possible, in which state, and which deliveries have to come in again for it. Elsewhere:
where decisions are kept (archive/decisions.py), what one does to a delivery (delivery.py), bringing in (ingest.py).
A decision is noted first, then followed in one transaction. What a kill leaves in between, the next ingest follows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from platform_assets.engine.archive.archive import Archive
from platform_assets.engine.archive.decisions import UNDECIDED, Decided, Decision, decided_of
from platform_assets.engine.durable import failpoint
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.load.replay import linked
from platform_assets.engine.store.receipts import Receipt
from platform_assets.engine.store.unit import Unit
from platform_assets.errors import ConfigurationError, DecisionRefused, counted, printable

if TYPE_CHECKING:
    from platform_assets.engine.load.ingest import Intake

Verb = Literal["withdraw", "restore", "accept", "refuse"]
"""`refuse` undoes `accept`, as `restore` undoes `withdraw`."""
RECORDED: Final[Mapping[Verb, str]] = {
    "withdraw": "delivery withdraw",
    "restore": "delivery restore",
    "accept": "delivery accept",
    "refuse": "delivery accept --undo",
}
"""What the audit log calls each."""
_OF_ITS_DAY: Final = (
    *("read", "accepted", "rejected", "duplicate", "format", "dialect", "parts", "header", "unknown_columns"),
    *("problem", "problem_line", "problem_column", "remedy"),
)


@dataclass(frozen=True)
class Changed:
    """A delivery that stands otherwise, for a decision about another one. rows: of it that are in raw now."""

    delivery: int
    file: str
    was: str
    status: str
    rows: int


@dataclass(frozen=True)
class Followed:
    """What a decision came to. receipt: of the delivery, now; was: its status before; others: deliveries of the same
    content, which go with it; changed: further ones that stand otherwise now; gone: the one that it had replaced, where
    that cannot stand again, for the archive has no copy of it; raw, quarantine: rows that these tables gained of the
    feed (negative: lost)."""

    receipt: Receipt
    was: str
    others: tuple[int, ...]
    changed: tuple[Changed, ...]
    gone: int | None
    raw: int
    quarantine: int


def known_decisions(archive: Archive, unit: Unit, feed: Feed) -> dict[str, Decided]:
    """What was decided of the feed's deliveries: as it is kept, and, where that was lost, as receipts tell."""
    found = archive.decisions(feed.name).all()
    for receipt in unit.listing(feed.name).decided():
        if not found.keys() & receipt.subjects:
            told = Decided(receipt.withdrawn, receipt.allowed, receipt.delivery_id, receipt.slot)
            found[_subject(feed, receipt)] = told
    return found


def unfollowed(archive: Archive, unit: Unit, feed: Feed) -> list[Receipt]:
    """Deliveries whose receipts do not say what is decided of them: a kill came between, or the warehouse is older."""
    decided = known_decisions(archive, unit, feed)
    if not decided:
        return []
    contents = {about.partition(" ")[0] for about in decided}
    receipts = unit.listing(feed.name).decided(contents, {each.file for each in decided.values()})
    return [receipt for receipt in receipts if not receipt.follows(decided_of(decided, receipt.subjects))]


def follow(intake: "Intake", unit: Unit) -> list[Receipt]:
    """Make the ledger follow what is decided, and keep again what was lost beside the archive; what came in again."""
    _keep_what_receipts_tell(intake.archive, unit, intake.feed)
    late = [receipt.delivery_id for receipt in unfollowed(intake.archive, unit, intake.feed)]
    if not late:
        return []
    intake.notify(f"{intake.feed.name}: what was decided of {counted(len(late), 'delivery')} takes effect now")
    return intake.load(unit, [], again=linked(unit.ledger, intake.feed.name, late)).receipts


def _keep_what_receipts_tell(archive: Archive, unit: Unit, feed: Feed) -> None:
    kept = archive.decisions(feed.name)
    there = kept.all()
    if missing := {about: each for about, each in known_decisions(archive, unit, feed).items() if about not in there}:
        kept.keep(missing)


def _subject(feed: Feed, receipt: Receipt) -> str:
    """What a new decision about the delivery is about: its content, whatever it is called. Of a feed of full lists, of
    which two may be equal, its content as that file."""
    lists = feed.key_within == "delivery" and receipt.fingerprint is not None
    return receipt.subjects[1 if lists else 0]


def decide(intake: "Intake", verb: Verb, delivery: int, decision: Decision) -> Followed:
    """Decide about a delivery of the intake's feed, and bring in again all that hangs on it.

    Raises ConfigurationError where it is none of the feed, or it stands so already; DecisionRefused where it cannot be
    done; ReplayRefused where a copy is missing that other deliveries stand on.
    """
    feed, archive = intake.feed, intake.archive
    with intake.store.transaction(f"{verb} delivery {delivery} of {feed.name}") as unit:
        unit.tables(feed).refuse_retyped()
        receipt = unit.ledger.receipt(delivery)
        if receipt.feed != feed.name:
            raise ConfigurationError(
                f"delivery {delivery}",
                f"is of {receipt.feed}, not of {feed.name}",
                f"See: platform delivery list {feed.name}",
            )
        _keep_what_receipts_tell(archive, unit, feed)
        kept = archive.decisions(feed.name)
        subject = _subject(feed, receipt)
        known = kept.all()
        subject = next((each for each in receipt.subjects if known.get(each, UNDECIDED).stands), subject)
        before = known.get(subject, UNDECIDED)
        anew = decided_anew(verb, receipt, before, decision, archive)
        about = [delivery]
        if receipt.fingerprint is not None:
            about = [each.delivery_id for each in unit.listing(feed.name).of_content(receipt.fingerprint)]
        hanging = linked(unit.ledger, feed.name, about)
        agreed = False

        def agree() -> None:
            nonlocal agreed
            if verb == "accept":
                (now,) = unit.ledger.by_id([delivery])
                _refuse_unless_accepted(now)
            agreed = True

        unit.will_change(feed)  # so that a run is asked for, if this process dies here
        kept.keep({subject: anew})
        failpoint.reached("decided")
        try:
            intake.load(unit, [], again=hanging, agree=agree)
        except BaseException:
            # Once it may have been committed the decision stands: the next ingest follows it.
            if not agreed:
                kept.keep({subject: before})
            raise
        unit.publish(feed)
        return _followed(receipt, hanging, unit.ledger.by_id(each.delivery_id for each in hanging), verb)


def taken_back(receipt: Receipt, before: Receipt | None) -> Receipt:
    """The receipt of a withdrawn delivery: what it told of its rows `before`, if these are still the rows of its copy.

    Its revision is new only where rows leave raw with it.
    """
    if before is None:
        return replace(receipt, revision=0)
    counted = before.status in ("accepted", "superseded", "withdrawn")
    revision = receipt.revision if before.status == "accepted" else before.revision if counted else 0
    receipt = replace(receipt, revision=revision, accepted_at=before.accepted_at)
    if before.erased != receipt.erased:
        return receipt
    return replace(receipt, **{name: getattr(before, name) for name in _OF_ITS_DAY})


def decided_anew(verb: Verb, receipt: Receipt, before: Decided, decision: Decision, archive: Archive) -> Decided:
    """What is decided of the delivery's content from now on; raises ConfigurationError where it stands so already, or
    DecisionRefused where it cannot be."""
    this = Decided(before.withdrawn, before.allowed, receipt.delivery_id, receipt.slot)
    number = receipt.delivery_id
    name = f"delivery {number} ({printable(receipt.slot)})"
    if receipt.status == "duplicate" and verb != "restore":
        original = receipt.duplicate_of
        raise ConfigurationError(
            name,
            f"is a duplicate: its content is that of delivery {original}, and no row is its own",
            f"Decide about that one: platform delivery {_SPELLED[verb].format(id=original)}",
        )
    if verb == "withdraw":
        if receipt.withdrawn is not None:
            raise ConfigurationError(
                name,
                f"is withdrawn already, {receipt.withdrawn}",
                f"To undo that: platform delivery restore {number}",
            )
        return replace(this, withdrawn=decision)
    if verb == "restore":
        if receipt.withdrawn is None:
            raise ConfigurationError(name, f"is not withdrawn: it is {receipt.status}", "There is nothing to restore.")
        if receipt.fingerprint is not None and not (
            receipt.archived and archive.holds(archive.root / receipt.archived)
        ):
            raise DecisionRefused(
                f"{name} cannot be restored: the archive no longer has its copy",
                f"Have it delivered again (it stays out, but is copied); then: platform delivery restore {number}",
            )
        return replace(this, withdrawn=None)
    if receipt.withdrawn is not None:
        raise ConfigurationError(
            name, f"is withdrawn, {receipt.withdrawn}", f"First: platform delivery restore {number}"
        )
    if verb == "refuse":
        if receipt.allowed is None:
            raise ConfigurationError(name, "was not accepted by anybody", "There is nothing to undo.")
        return replace(this, allowed=None)
    if receipt.allowed is not None:
        raise ConfigurationError(
            name,
            f"is accepted already, {receipt.allowed}",
            f"To undo that: platform delivery accept {number} --undo",
        )
    if receipt.status == "superseded":
        raise ConfigurationError(
            name,
            f"no longer counts: delivery {receipt.superseded_by} took its place",
            f"See platform delivery show {receipt.superseded_by or receipt.delivery_id}.",
        )
    return replace(this, allowed=decision)


_SPELLED: Final[Mapping[Verb, str]] = {
    "withdraw": "withdraw {id} --why …",
    "restore": "restore {id}",
    "accept": "accept {id} --why …",
    "refuse": "accept {id} --undo",
}


def _refuse_unless_accepted(receipt: Receipt) -> None:
    """Raise DecisionRefused where a delivery that was to be let through does not come in, or no row of it does."""
    name = f"delivery {receipt.delivery_id} ({printable(receipt.slot)})"
    if receipt.status == "quarantined":
        raise DecisionRefused(
            f"{name} cannot be accepted: {receipt.trouble}", receipt.remedy or "Ask the producer for another file."
        )
    if receipt.rejected and not receipt.accepted + receipt.duplicate:
        raise DecisionRefused(
            f"{name} cannot be accepted: all of its {receipt.read} rows break the contract, so that none would come in",
            f"Mend contract or file; or, if nobody wants it: platform delivery withdraw {receipt.delivery_id} --why …",
        )


def _followed(receipt: Receipt, before: Sequence[Receipt], after: Sequence[Receipt], verb: Verb) -> Followed:
    now = next(each for each in after if each.delivery_id == receipt.delivery_id)
    was = {each.delivery_id: each for each in before}
    others = [e.delivery_id for e in after if e.decided != was[e.delivery_id].decided and e != now]
    changed = [
        Changed(each.delivery_id, each.slot, was[each.delivery_id].status, each.status, _held([each])[0])
        for each in after
        if each.delivery_id not in (now.delivery_id, *others) and each.status != was[each.delivery_id].status
    ]
    replaced = next((each for each in after if each.delivery_id == receipt.supersedes), None)
    gone = verb == "withdraw" and replaced is not None and replaced.superseded_by == receipt.delivery_id
    raw, quarantine = (there - was for there, was in zip(_held(after), _held(before), strict=True))
    instead = receipt.supersedes if gone else None
    return Followed(now, receipt.status, tuple(others), tuple(changed), instead, raw, quarantine)


def _held(receipts: Sequence[Receipt]) -> tuple[int, int]:
    """How many rows of these deliveries are in raw, and in quarantine."""
    in_force = [receipt for receipt in receipts if receipt.status == "accepted"]
    return sum(each.accepted for each in in_force), sum(each.rejected - each.expired for each in in_force)
