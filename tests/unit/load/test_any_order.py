"""Whatever is delivered, corrected, renamed, rotated, touched, killed, replayed or lost, in whatever order: raw is what
a simple model says, and what a clean first load of what stands would give."""

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from machine import examples
from shop import SALES, Shop, child, ended, ingest_in_child, sales

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Files, seconds

Policy = Literal["reject", "latest", "allow", "lists"]

NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv"])
CONTENTS = st.sampled_from([1, 2, 3, 4])
OTHER = replace(SALES, name="other", source=Files("other/*.csv", settle=seconds(0)))


def rows(content: int) -> list[tuple[str, int]]:
    """The rows of a delivery: it shares keys with every other."""
    return [(f"S{at}", content) for at in range(content % 3, 4)]


def text(content: int) -> str:
    lines = [f"{sku},{quantity}" for sku, quantity in rows(content)]
    return sales(*lines, lines[0], f"bad{content}")


class Model:
    """Slots stand for contents, each at a place in the order; raw holds each content once, at the first of its places.
    Full lists are each held, also one that equals another.

    A slot stands for new content it brings, and for any it is restated to, at the place it has. What a slot had goes
    with its place to another that has it now while it has it no longer. What elsewhere stands and stays is a mere
    copy, and stands for nothing.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.last: dict[str, tuple[int, int]] = {}
        self.stands: dict[str, tuple[int, int]] = {}
        self.places = 0

    def take(self, files: dict[str, tuple[int, int]]) -> None:
        """What lies there now, content and file by name, is taken in."""
        before, known = dict(self.stands), {content for _, content in self.stands.values()}
        new = {name: file for name, file in sorted(files.items()) if self._content(name) != file[0]}
        taken: dict[str, str] = {}
        for name, (content, file) in new.items():
            had = [other for other, last in self.last.items() if last[0] == content and other != name]
            for other in sorted(had, key=lambda each: (self.last[each][1] != file, each)):
                gone = files[other][0] != content if other in files else self.last[other][1] == file
                if gone and other not in taken.values() and before.get(other, (0, 0))[1] == content:
                    taken[name] = other
                    break
        own = {name: at for name, at in before.items() if name not in taken.values()}
        self.stands = dict(own)
        for name, (content, _) in new.items():
            if name in taken:
                self.stands[name] = before[taken[name]]
            elif content not in known or name in own or self.policy == "lists":
                self.places += 1
                self.stands[name] = (own[name][0] if name in own else self.places, content)
                known.add(content)
        self.last |= files

    def _content(self, name: str) -> int | None:
        return self.last[name][0] if name in self.last else None

    def in_order(self) -> list[tuple[str, int]]:
        """What stands: slot and content by place."""
        return [(name, content) for (_, content), name in sorted((at, name) for name, at in self.stands.items())]

    def raw(self) -> list[tuple[str, int]]:
        contents = [content for _, content in self.in_order()]
        if self.policy != "lists":
            contents = list(dict.fromkeys(contents))
        every = [row for content in contents for row in rows(content)]
        if self.policy in ("allow", "lists"):
            return sorted(every)
        return sorted(dict(every if self.policy == "latest" else every[::-1]).items())


class Deliveries(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(["reject", "latest", "allow", "lists"]))
    def open(self, policy: Policy) -> None:
        self.folder = tempfile.TemporaryDirectory()
        lists: dict[str, Any] = {"key_within": "delivery", "on_known_key": "reject"}
        self.declared: dict[str, Any] = {"key": ("sku",), **(lists if policy == "lists" else {"on_known_key": policy})}
        self.shop = Shop(Path(self.folder.name, "shop"), replace(SALES, **self.declared))
        (self.shop.landing / "other").mkdir(parents=True)
        self.model = Model(policy)
        self.files: dict[str, tuple[int, int]] = {}
        self.made = 0
        self.others = 0
        self.ingested = True
        self.deployment().prepare()

    def deployment(self, *, away: bool = False) -> Deployment:
        feeds = [OTHER] if away else [self.shop.feed, OTHER]
        return Deployment(feeds, home=self.shop.root / "home", landing=self.shop.landing)

    # ---- what producers do

    def put(self, name: str, content: int) -> None:
        self.made += 1
        path = self.shop.deliver(name, text(content))
        os.utime(path, ns=(self.made, self.made))  # no two files of one time
        self.files[name] = (content, self.made)
        self.ingested = False

    def move(self, moves: Iterable[tuple[str, str]]) -> None:
        folder = self.shop.landing / "sales"
        there = {name: file for name, file in moves if name in self.files}
        for name in there:
            (folder / name).rename(folder / f".{name}")
        moved = {other: self.files.pop(name) for name, other in there.items()}
        for name, other in there.items():
            (folder / f".{name}").replace(folder / other)
        self.files |= moved
        self.ingested = False

    @rule(name=NAMES, content=CONTENTS)
    def deliver(self, name: str, content: int) -> None:
        self.put(name, content)

    @rule(name=NAMES, other=NAMES)
    def rename(self, name: str, other: str) -> None:
        self.move([(name, other)])

    @rule(name=NAMES, other=NAMES)
    def swap(self, name: str, other: str) -> None:
        if name != other:
            self.move([(name, other), (other, name)])

    @rule(names=st.permutations(["a.csv", "b.csv", "c.csv"]), content=CONTENTS)
    def rotate(self, names: list[str], content: int) -> None:
        first, second, third = names
        self.move([(first, second), (second, third)])
        self.put(first, content)

    @rule(name=NAMES)
    def touch(self, name: str) -> None:
        if name in self.files:
            self.put(name, self.files[name][0])

    @rule(name=NAMES)
    def tidy_away(self, name: str) -> None:
        if self.files.pop(name, None) is not None:
            (self.shop.landing / "sales" / name).unlink()

    @rule()
    def another_feed_takes_ids(self) -> None:
        self.others += 1
        (self.shop.landing / f"other/{self.others}.csv").write_text(sales(f"S{self.others},1"))
        deployment = self.deployment()
        deployment.ingest(deployment.feed("other"))

    # ---- what befalls us

    @rule(point=st.sampled_from(["claim", "mid-read", "before-commit", "after-commit"]))
    def ingest_and_be_killed(self, point: str) -> None:
        died = ended(child(ingest_in_child, self.shop.root, point, tuple(self.declared.items()))) != 0
        if point == "after-commit" or not died:
            self.model.take(self.files)
        if died and point == "after-commit":
            assert self.deployment().unpublished(self.shop.feed)
        self.ingested = False

    @rule()
    def lose_what_was_published(self) -> None:
        for file in (self.shop.root / "home/seen").glob("sales.*"):
            file.unlink()
        assert self.deployment().unpublished(self.shop.feed)

    @rule()
    def replay(self) -> None:
        before = self.told()
        self.deployment().replay(self.shop.feed, again=True)
        assert self.told() == before
        self.holds()

    @rule(away=st.booleans())
    def lose_the_warehouse(self, *, away: bool) -> None:
        """And, where the feed is `away`, let another take its ids meanwhile."""
        (self.shop.root / "home/warehouse.duckdb").unlink()
        with suppress(FileNotFoundError):
            (self.shop.root / "home/warehouse.duckdb.wal").unlink()
        if away:
            self.others += 1
            (self.shop.landing / f"other/{self.others}.csv").write_text(sales(f"S{self.others},1"))
            gone = self.deployment(away=True)
            gone.prepare()
            gone.ingest(gone.feed("other"))
        self.deployment().prepare()
        self.ingest()

    @rule()
    def ingest(self) -> None:
        deployment = self.deployment()
        deployment.ingest(self.shop.feed)
        self.model.take(self.files)
        self.ingested = True
        self.holds()
        assert not deployment.unpublished(self.shop.feed)
        assert deployment.revision_published(self.shop.feed) == self.shop.status().revision

    def told(self) -> list[tuple[Any, ...]]:
        """All that receipts and notes say, but for times and revisions."""
        return self.shop.query(
            "SELECT delivery_id, slot, status, accepted, rejected, duplicate, supersedes, superseded_by, duplicate_of, "
            "(SELECT list((line, of_delivery, of_line) ORDER BY line) FROM ledger.duplicates n "
            "WHERE n.delivery_id = d.delivery_id) FROM ledger.deliveries d WHERE feed = 'sales' ORDER BY 1"
        )

    def holds(self) -> None:
        assert self.shop.rows() == self.model.raw()
        assert self.shop.reconciles()

    @rule()
    def load_what_stands_elsewhere(self) -> None:
        """A clean first load of what stands, in the order of places, comes to the same."""
        with tempfile.TemporaryDirectory() as folder:
            clean = Shop(Path(folder), self.shop.feed)
            clean.landing.mkdir()
            clean.deployment.prepare()
            for name, content in self.model.in_order():
                clean.deliver(name, text(content))
                clean.ingest()
            assert clean.rows() == self.model.raw()

    @invariant()
    def repeating_an_ingest_changes_nothing(self) -> None:
        if getattr(self, "ingested", False):
            receipts = self.shop.receipts()
            assert self.deployment().ingest(self.shop.feed).receipts == []
            assert self.shop.receipts() == receipts

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


Deliveries.TestCase.settings = settings(max_examples=examples(7), stateful_step_count=12, derandomize=True)
TestAnyOrder: Any = Deliveries.TestCase
