"""Whatever is delivered, renamed, restated, touched, killed, replayed or lost, in whatever order: raw is what a simple
model says."""

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from shop import Shop, child, ended, ingest_in_child, sales

NAMES = st.sampled_from(["a.csv", "b.csv", "c.csv"])
CONTENTS = st.sampled_from([1, 2, 3, 4])


class Model:
    """Slots stand for contents; raw holds each content that a slot stands for, once.

    A slot stands for new content it brings, and for any it is restated to. A first delivery that equals what raw
    holds is a mere copy and stands for nothing.
    """

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.stands_for: dict[str, int] = {}

    @property
    def raw(self) -> set[int]:
        return set(self.stands_for.values())

    def take(self, name: str, content: int) -> None:
        if self.last.get(name) == content:
            return
        self.last[name] = content
        if content not in self.raw or name in self.stands_for:
            self.stands_for[name] = content


class Deliveries(RuleBasedStateMachine):
    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.shop = Shop(Path(self.folder.name))
        self.shop.landing.mkdir()
        self.shop.deployment.prepare()
        self.model = Model()
        self.files: dict[str, int] = {}
        self.waiting: dict[str, int] = {}
        self.ingested = True

    @rule(name=NAMES, content=CONTENTS)
    def deliver(self, name: str, content: int) -> None:
        rows = [f"S{content}{at},{at}" for at in range(content)]
        self.shop.deliver(name, sales(*rows, rows[0], f"bad{content}"))
        self.files[name] = self.waiting[name] = content
        self.ingested = False

    @rule(name=NAMES, other=NAMES)
    def rename(self, name: str, other: str) -> None:
        if name in self.files and name != other:
            folder = self.shop.landing / "sales"
            (folder / name).replace(folder / other)
            self.files[other] = self.waiting[other] = self.files.pop(name)
            self.waiting.pop(name, None)
            self.ingested = False

    @rule(name=NAMES, second=st.integers(1, 9))
    def touch(self, name: str, second: int) -> None:
        path = self.shop.landing / "sales" / name
        if path.exists():
            os.utime(path, (second, second))
            self.ingested = False

    @rule()
    def lose_what_was_published(self) -> None:
        (self.shop.root / "home/seen/sales.sqlite").unlink(missing_ok=True)

    @rule(point=st.sampled_from(["claim", "mid-read", "before-commit", "after-commit"]))
    def ingest_and_be_killed(self, point: str) -> None:
        died = ended(child(ingest_in_child, self.shop.root, point)) != 0
        if died and point == "after-commit":
            self.take()
            self.ingested = False

    @rule()
    def replay(self) -> None:
        self.shop.deployment.replay(self.shop.feed, again=True)
        assert self.shop.reconciles()

    @rule()
    def lose_the_warehouse(self) -> None:
        self.shop.ingest()
        self.take()
        before = self.shop.rows()
        (self.shop.root / "home/warehouse.duckdb").unlink()
        self.shop.deployment.prepare()
        self.shop.ingest()
        assert self.shop.rows() == before

    @rule()
    def ingest(self) -> None:
        self.shop.ingest()
        self.take()
        assert self.shop.skus() == sorted(f"S{content}{at}" for content in self.model.raw for at in range(content))
        assert self.shop.reconciles()

    def take(self) -> None:
        """What is waiting has been taken in."""
        for name in sorted(self.waiting):
            self.model.take(name, self.waiting[name])
        self.waiting = {}
        self.ingested = True

    @invariant()
    def repeating_an_ingest_changes_nothing(self) -> None:
        if getattr(self, "ingested", False):
            receipts = self.shop.receipts()
            assert self.shop.ingest().receipts == []
            assert self.shop.receipts() == receipts

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()


Deliveries.TestCase.settings = settings(max_examples=7, stateful_step_count=12, deadline=None, derandomize=True)
TestAnyOrder: Any = Deliveries.TestCase
