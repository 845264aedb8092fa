"""What the deployment has stored, at one moment: deliveries, releases, what is out of date. Read when asked for.

Belongs here: reading each thing once and without a lock, for a process that looks every few seconds. Elsewhere: what
Dagster has stored (dagster_state.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from platform_assets.engine.deployment import Deployment
from platform_assets.engine.feed.feed import Feed
from platform_assets.engine.feed.mart import Mart
from platform_assets.engine.promises.due import Deliveries
from platform_assets.engine.promises.marts import ReleasedMart, released_marts
from platform_assets.project.graph import NOTHING, Project
from platform_assets.project.manifest import mart_needs, mart_owners
from platform_assets.project.state import State


@dataclass(frozen=True)
class DeploymentState:
    """The deployment at one moment; `marts`: those that promise something."""

    deployment: Deployment
    marts: Sequence[Mart]
    project: Project = NOTHING

    @property
    def feeds(self) -> Sequence[Feed]:
        """The feeds of the deployment."""
        return self.deployment.feeds

    @cached_property
    def assets(self) -> State:
        """Which assets are out of date, and what holds them back."""
        return State.of(self.project, self.deployment)

    @cached_property
    def deliveries(self) -> Mapping[str, Deliveries]:
        """The newest deliveries by feed, by what was published of the ledger."""
        return {feed.name: self._of(feed) for feed in self.feeds}

    @cached_property
    def released_marts(self) -> Sequence[ReleasedMart]:
        """The marts, with the releases that have them and whom they belong to."""
        made_of = (
            self.feeds,
            self.deployment.all_releases(),
            mart_needs(self.feeds, self.marts),
            mart_owners(self.marts),
        )
        before = _released.get(self.deployment.home)
        if before is None or before[0] != made_of:
            before = _released[self.deployment.home] = made_of, released_marts(*made_of)
        return before[1]

    def newest_data(self, feed: str) -> datetime | None:
        """Up to when the feed's rows in raw go."""
        return self.deliveries[feed].in_raw.newest_data

    def changed_after(self, feed: str, revision: int) -> datetime | None:
        """When rows of the feed first changed after that revision."""
        times = [
            receipt.replayed_at or receipt.committed_at
            for receipt in self.deliveries[feed].receipts
            if receipt.revision > revision
        ]
        return min(times, default=None)

    def _of(self, feed: Feed) -> Deliveries:
        receipts = self.deployment.receipts_published(feed)
        before = _deliveries.get((self.deployment.home, feed.name))
        if before is None or before.receipts != receipts or before.feed != feed:
            before = _deliveries[self.deployment.home, feed.name] = Deliveries(feed, receipts)
        return before


# What is computed once for the same receipts and releases.
_deliveries: Final[dict[tuple[Path, str], Deliveries]] = {}
_released: Final[dict[Path, tuple[tuple[Any, ...], Sequence[ReleasedMart]]]] = {}
