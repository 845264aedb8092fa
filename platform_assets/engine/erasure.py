"""An erasure: a person out of a feed and all that was made of it, step by step, each of which may be done again.

Belongs here: the order of the steps, what of them is noted, and the proof afterwards. Elsewhere: what dbt makes of the
feed (commands/erase.py), each step (load, store, erase). Whatever stops it, the same command takes it up again: the
tombstone stands from the first moment, so that nothing comes in meanwhile, and every step asks what is still there.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.archive.archive import content_of
from platform_assets.engine.deployment import Deployment
from platform_assets.engine.durable import failpoint
from platform_assets.engine.durable.files import replacing
from platform_assets.engine.durable.sqlite import vacuum
from platform_assets.engine.erase.certificate import Account, Delivery, signed
from platform_assets.engine.erase.copies import Copies, holds_bytes
from platform_assets.engine.erase.tombstones import Erased, Person, Tombstone
from platform_assets.engine.load.cleaning import let_go
from platform_assets.engine.store.erasure import (
    DISTINCTIVE,
    Made,
    Traces,
    erase_from_releases,
    found_in_releases,
    found_in_snapshots,
    held,
    remove_from_made,
    remove_without_copies,
    write_anew,
)
from platform_assets.engine.store.receipts import Receipt
from platform_assets.errors import counted

# What dbt compiled is SQL; from it is told which columns are made of which, and which are personal.
_WITHOUT_VALUES: Final = ("compiled", "lineage.json", "origins.json")
_SQLITE: Final = ("seen/*.sqlite", "builds.sqlite", "alerts.sqlite")


@dataclass(frozen=True)
class Found:
    """What the archive holds of a person. lines: rows of raw or quarantine (delivery, line)."""

    deliveries: Sequence[Delivery] = ()
    lines: Sequence[tuple[int, int]] = ()
    slots: Sequence[str] = ()
    unreadable: Sequence[Receipt] = field(default_factory=list)

    def and_also(self, before: "Found") -> "Found":
        """With what was found before a kill."""
        return replace(self, lines=sorted({*self.lines, *before.lines}), slots=sorted({*self.slots, *before.slots}))


class Erasure:
    """Takes a person out of a deployment. made: what dbt makes of the feed; assets: the names of that."""

    def __init__(
        self, deployment: Deployment, person: Person, made: Made, assets: Sequence[str], notify: Callable[[str], None]
    ) -> None:
        self._deployment = deployment
        self._person = person
        self._feed = person.feed
        self._made = made
        self._assets = assets
        self._notify = notify
        self._key = deployment.tombstones.key
        self._folder = deployment.tombstones.folder

    @property
    def id(self) -> str:
        """What names the erasure; says nothing of the person."""
        return self._person.tombstone(self._key, "", "").id

    def look(self, by: str) -> tuple[Account, list[str]]:
        """What there is of the person, with nothing changed; and files of it in the landing folder."""
        stone = self._tombstone(by)
        found = self._search(stone)
        account = self._counted(self._begun(stone)[0], found)
        return account, self._landing(found)

    def run(self, by: str) -> tuple[dict[str, Any], Path, list[str]]:
        """Take the person out: the certificate, where it lies, and files of the person in the landing folder."""
        stone = self._tombstone(by)
        self._deployment.tombstones.keep(stone)
        failpoint.reached("erase-asked")
        self._notify("looking through the archive")
        before, begun = self._begun(stone)
        found = self._search(stone).and_also(begun)
        account = self._note(self._counted(before, found), found)
        failpoint.reached("erase-found")
        account = self._note(self._replayed(account, found), found)
        failpoint.reached("erase-replayed")
        traces = self._traces(found)
        with self._deployment.builds.changing(self._assets, f"erasure {stone.id}"):
            remove_from_made(self._deployment.warehouse, self._feed, traces)
            failpoint.reached("erase-made")
            account = self._note(self._released(account, traces, stone), found)
            failpoint.reached("erase-released")
            self._notify("writing files anew")
            written = write_anew(self._deployment.warehouse)
        account = replace(account, written_anew=sorted({*account.written_anew, *written, *self._others()}))
        failpoint.reached("erase-rewritten")
        account = replace(account, left=self._left(stone, traces), finished_at=self._now())
        landing = self._landing(found)
        account = replace(account, landing=len(landing))
        certificate = signed(account, self._key)
        path = self._keep(certificate)
        if not account.left:
            self._deployment.tombstones.finish(stone, str(account.finished_at))
        self._account_file(stone.id).unlink(missing_ok=True)
        return certificate, path, landing

    # ---- what there is

    def _tombstone(self, by: str) -> Tombstone:
        stone = self._person.tombstone(self._key, self._now(), by)
        known = [each for each in self._deployment.tombstones.of(self._feed.name) if each.id == stone.id]
        return replace(known[0], finished_at=None) if known else stone

    def _search(self, stone: Tombstone) -> Found:
        """Look through every copy of the feed's deliveries."""
        deployment = self._deployment
        with deployment.warehouse.reading("look for a person") as unit:
            receipts = unit.ledger.receipts(self._feed.name)[::-1]
        copies = Copies(self._feed, deployment.archive, Erased(self._feed, self._key, [stone]))
        searched: dict[str, tuple[int, list[int]] | None] = {}
        deliveries, lines, slots, unreadable = [], [], [], []
        for receipt in receipts:
            if receipt.archived is None:
                continue
            copy = deployment.archive.root / receipt.archived
            if receipt.archived not in searched:
                searched[receipt.archived] = self._searched(copies, copy, receipt)
            if (of := searched[receipt.archived]) is None:
                unreadable.append(receipt)
            elif of[1]:
                deliveries.append(Delivery(receipt.delivery_id, of[0], receipt.fingerprint, content_of(copy)))
                lines += [(receipt.delivery_id, line) for line in of[1]]
                slots.append(receipt.slot)
        return Found(deliveries, lines, slots, unreadable)

    def _searched(self, copies: Copies, copy: Path, receipt: Receipt) -> tuple[int, list[int]] | None:
        """Rows of the person in a copy, and their lines; None where it cannot be told. No row and no line, but a copy
        that has to go, is (0, [0])."""
        if not copy.exists():
            return (0, []) if receipt.status in ("superseded", "duplicate", "withdrawn") else None
        if (found := copies.found(copy, receipt.slot)) is not None:
            return found.rows, [start for start, _ in found.spans]
        return (0, [0]) if copies.names_one(copy, receipt.slot) else None

    def _counted(self, account: Account, found: Found) -> Account:
        """The account with what was found, beside what was found before a kill."""
        deployment = self._deployment
        traces = self._traces(found)
        with deployment.warehouse.reading("look for a person") as unit:
            raw, quarantine = unit.tables(self._feed).holding(found.lines)
        snapshots = found_in_snapshots(deployment.warehouse, traces)
        known = {each.delivery: each for each in account.deliveries}
        return replace(
            account,
            deliveries=[*account.deliveries, *(each for each in found.deliveries if each.delivery not in known)],
            raw=max(raw, account.raw),
            quarantine=max(quarantine, account.quarantine),
            unsearched=[receipt.delivery_id for receipt in found.unreadable],
            snapshots={name: max(rows, account.snapshots.get(name, 0)) for name, rows in snapshots.items()},
            models=sorted(f"{schema}.{name}" for schema, name in self._made.models),
            releases={**found_in_releases(deployment.products(), traces), **account.releases},
        )

    def _traces(self, found: Found) -> Traces:
        own = [(schema, self._feed.name) for schema in ("raw", "quarantine")]
        return Traces(self._person.forms, self._made, found.lines, own, self._deployment.pseudonym_key)

    def _landing(self, found: Found) -> list[str]:
        return sorted({slot for slot in found.slots if (self._deployment.landing / slot).is_file()})

    # ---- taking it out

    def _replayed(self, account: Account, found: Found) -> Account:
        """Bring the deliveries in again without the person, from copies that are written anew."""
        deployment, feed = self._deployment, self._feed
        wanted = {each.delivery for each in found.deliveries}
        lost = {r.delivery_id: r for r in found.unreadable if r.status == "accepted" and not self._copy(r).exists()}
        without = remove_without_copies(deployment.warehouse, feed, self._traces(found), list(lost))
        if found.deliveries:
            come_in = counted(len(found.deliveries), "delivery comes", "deliveries come")
            self._notify(f"{feed.name}: {come_in} in again without the person")
            deployment.replay(feed, lambda receipt: receipt.delivery_id in wanted, again=True)
        with deployment.warehouse.transaction("let go of copies") as unit:
            unit.will_change(feed)
            unit.publish(feed)
            gone = let_go(feed, deployment.archive, unit, [*(deployment.archive.root / feed.name).glob("??/*")])
            after = {receipt.delivery_id: receipt for receipt in unit.ledger.receipts(feed.name)}
        deployment.archive.sweep()
        known = {each.before for each in account.deliveries}
        deliveries = [
            replace(each, after=after[each.delivery].rewritten if each.delivery in after else None)
            for each in account.deliveries
        ]
        deliveries += [Delivery(each, rows, lost[each].fingerprint, None) for each, rows in without.items()]
        orphans = [name for name in gone if content_of(Path(name)) not in known]
        return replace(
            account,
            deliveries=deliveries,
            unclaimed=account.unclaimed + len(orphans),
            unsearched=[each for each in account.unsearched if each not in lost],
        )

    def _released(self, account: Account, traces: Traces, stone: Tombstone) -> Account:
        deployment = self._deployment
        mark = {"erasure": stone.id, "at": self._now()}
        removed = erase_from_releases(deployment.warehouse, deployment.products(), traces, mark)
        return replace(account, releases_removed=[*account.releases_removed, *removed])

    def _others(self) -> Iterator[str]:
        """Other files that may still hold what they were told of: written anew, or removed."""
        home = self._deployment.home
        for path in (home / "dbt").glob("*") if (home / "dbt").is_dir() else ():
            if path.name not in _WITHOUT_VALUES:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        yield "dbt"
        for pattern in _SQLITE:
            for path in sorted(home.glob(pattern)):
                vacuum(path)
                yield path.relative_to(home).as_posix()

    def _copy(self, receipt: Receipt) -> Path:
        return self._deployment.archive.root / str(receipt.archived)

    # ---- the proof

    def _left(self, stone: Tombstone, traces: Traces) -> dict[str, int]:
        """Where the person can still be found: rows in tables by table, files by the bytes of what names the person."""
        deployment = self._deployment
        left = held(deployment.warehouse, deployment.products(), traces)
        if again := self._search(stone).deliveries:
            left["archive"] = len(again)
        asked = [form for forms in self._person.forms.values() for form in forms if len(form) >= DISTINCTIVE]
        for path in deployment.home.rglob("*") if asked else ():
            if path.is_file() and not path.is_symlink() and holds_bytes(path, asked):
                left[path.relative_to(deployment.home).as_posix()] = 1
        return left

    # ---- what is noted

    def _begun(self, stone: Tombstone) -> tuple[Account, Found]:
        """The account as far as it came before a kill, and what was found by then."""
        try:
            noted = json.loads(self._account_file(stone.id).read_bytes())
            lines = [(int(delivery), int(line)) for delivery, line in noted["lines"]]
            return Account.stored(noted["account"]), Found(lines=lines, slots=noted["slots"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return Account(stone.id, stone.feed, sorted(stone.marks), stone.asked_at, stone.asked_by), Found()

    def _note(self, account: Account, found: Found) -> Account:
        with replacing(self._account_file(account.erasure), mode=0o600) as partial:
            noted = {"account": asdict(account), "lines": list(found.lines), "slots": list(found.slots)}
            partial.write_text(json.dumps(noted))
        return account

    def _keep(self, certificate: Mapping[str, Any]) -> Path:
        folder = self._folder / "certificates"
        number = 1 + len(list(folder.glob(f"{certificate['erasure']}-*.json")))
        path = folder / f"{certificate['erasure']}-{number}.json"
        with replacing(path, mode=0o400) as partial:
            partial.write_text(json.dumps(certificate, indent=1) + "\n")
        return path

    def _account_file(self, name: str) -> Path:
        return self._folder / f"{name}.account"

    def _now(self) -> str:
        return self._deployment.clock().isoformat()
